"""The timeline of a transfer in plain sentences, made from its messages: for reading, and no evidence itself.

The same messages always make the same sentences, so that a verifier can make them again. Whatever the messages hold,
a sentence is short, and what should be in it and is not is a question mark.
"""

from collections.abc import Callable, Iterator
from typing import Any

from gateway.evidence.course import KINDS
from gateway.evidence.form import Sentence
from gateway.evidence.said import Case, Fault, Said
from gateway.signing.envelope import Item
from gateway.signing.messages import format_time

#: What a word of a sentence has at most: ids and accounts are shorter.
_LONGEST = 64


def sentences(said: list[Said]) -> list[Sentence]:
    """What was said, in the log's order."""
    return [Sentence(at=format_time(one.logged.at), text=_sentence(one)) for one in said]


def timeline(case: Case) -> Iterator[Fault]:
    """The timeline says what the messages say."""
    made = sentences(case.said)
    if len(made) != len(case.bundle.timeline):
        yield Fault("timeline", f"there are {len(made)} messages, and {len(case.bundle.timeline)} sentences")
        return
    for nr, (told, found) in enumerate(zip(case.bundle.timeline, made, strict=True)):
        if told != found:
            yield Fault(f"timeline[{nr}]", f"the message says: {found.at} {found.text}")


def _sentence(said: Said) -> str:
    kind = said.type.removeprefix("transfer.")
    item = next((i for i in said.items if i.kind == kind), None)
    sender, receiver = said.statement.sender, said.statement.receiver
    if said.type == "refusal":
        told = f"{sender} refuses a message of {receiver}: {_codes(said.statement.body)}."
    elif item is not None and (kind in KINDS or kind == "receipt"):
        told = _TOLD[kind](sender, receiver, item)
    else:
        told = f"{sender} says {_word(said.type)} to {receiver}."
    return f"{told} (It was shown again after data had been lost.)" if said.was_shown else told


def _propose(sender: str, _to: str, item: Item) -> str:
    value = item.value
    blocks = value.get("blocks")
    number = len(blocks) if isinstance(blocks, list) else "?"
    units = f"{_word(value.get('quantity'))} t in {number} {'block' if number == 1 else 'blocks'}"
    ends = f"from {_address(value.get('transferring'))} to {_address(value.get('acquiring'))}"
    return f"{sender} proposes to transfer {units} {ends} for {_word(value.get('purpose'))}."


def _answer(sender: str, _to: str, item: Item) -> str:
    words = {"accepted": "accepts the transfer and promises to credit it", "rejected": "rejects the transfer"}
    told = words.get(str(item.value.get("answer")), "says that the transfer was closed there")
    return f"{sender} {told}{_because(item)}."


def _released(sender: str, _to: str, item: Item) -> str:
    first = " It is their first transfer." if item.value.get("first_transfer") is True else ""
    return f"{sender} has released the units at {_word(item.value.get('released_at'))}: they have left it.{first}"


def _credited(sender: str, _to: str, item: Item) -> str:
    account, at = _word(item.value.get("account")), _word(item.value.get("credited_at"))
    return f"{sender} has credited the units to account {account} at {at}{_because(item)}."


def _receipt(sender: str, to: str, item: Item) -> str:
    return f"{sender} confirms to {to} what it has received; there the transfer is {_word(item.value.get('state'))}."


_TOLD: dict[str, Callable[[str, str, Item], str]] = {
    "request": lambda by, to, i: f"{by} asks {to} to propose a transfer of {_word(i.value.get('quantity'))} t.",
    "propose": _propose,
    "offer": lambda by, to, _: f"{by} has checked the proposal and offers it to {to}.",
    "answer": _answer,
    "commit": lambda by, to, _: f"{by} commits: {to} may release the units now.",
    "released": _released,
    "voided": lambda by, _, i: f"{by} declares that the units stay and will not be released{_because(i)}.",
    "settle": lambda by, to, _: f"{by} shows {to} the release: {to} is to credit the units.",
    "credited": _credited,
    "cancel": lambda by, to, i: f"{by} asks {to} to confirm that the units stay{_because(i)}.",
    "closed": lambda by, to, i: f"{by} tells {to} that the transfer is {_word(i.value.get('state'))}{_because(i)}.",
    "receipt": _receipt,
}


def _because(item: Item) -> str:
    told = _codes(item.value)
    return f" ({told})" if told else ""


def _codes(value: dict[str, Any]) -> str:
    findings = value.get("findings")
    listed = findings if isinstance(findings, list) else []
    codes = [_word(finding.get("code")) for finding in listed if isinstance(finding, dict)][:10]
    return f"codes {', '.join(codes)}" if codes else ""


def _address(value: object) -> str:
    members = value if isinstance(value, dict) else {}
    return "/".join(_word(members.get(name)) for name in ("registry", "party", "account"))


def _word(value: object) -> str:
    if type(value) is int:
        return str(value)
    return value[:_LONGEST] if type(value) is str and value else "?"
