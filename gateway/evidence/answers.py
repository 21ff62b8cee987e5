"""Checks of items and answers: that everything shown is of this transfer, and who has confirmed what to whom."""

from collections.abc import Iterator
from typing import Any

from gateway.evidence.form import place
from gateway.evidence.said import Case, Fault, Said
from gateway.signing import compact
from gateway.signing.envelope import Item
from gateway.signing.messages import ANSWER_TYPES


def items(case: Case) -> Iterator[Fault]:
    """Every item shown is about this transfer, or a receipt for one that is."""
    known = {item.sha256: item for said in case.said for item in said.items}
    asked = [i.value["request"] for i in known.values() if i.kind == "propose" and "request" in i.value]
    for nr, text in enumerate(case.bundle.items):
        item = known.get(compact.digest(text))
        if item is not None and not _is_of(item, case.bundle.transfer, asked, list(known)):
            yield Fault(place("items", nr), "it is about another transfer")


def _is_of(item: Item, transfer: str, asked: list[Any], known: list[str]) -> bool:
    if "transfer" in item.value:
        return bool(item.value["transfer"] == transfer)
    if item.kind == "request":
        return item.value.get("request") in asked
    return item.kind == "receipt" and item.value.get("item") in known


def answers(case: Case) -> Iterator[Fault]:
    """Every answer names the message it answers, by id and bytes; the gateway's promise its entry's leaf."""
    promised = 0
    for said in case.said:
        if said.statement.in_reply_to is None:
            continue
        answered = _answered(case, said)
        if answered is None:
            if said.type in ANSWER_TYPES:
                yield Fault(f"{said.place}.jws", "what it answers is not here")
            continue
        yield from (Fault(f"{said.place}.jws", why) for why in _differences(case, said, answered))
        promised += said.statement.sender == case.bundle.gateway
    case.remarks["answers"] = f"{promised} of the gateway's answers promise a leaf, and each is in the tree"


def _answered(case: Case, said: Said) -> Said | None:
    """The message that went the other way and that this one names."""
    answer, named = said.statement, said.statement.in_reply_to
    for other in case.said:
        asked = other.statement
        if named is not None and asked.id == named.id and asked.sender == answer.receiver:
            return other if asked.receiver == answer.sender else None
    return None


def _differences(case: Case, said: Said, answered: Said) -> Iterator[str]:
    named, record = said.statement.in_reply_to, answered.logged.record
    if named is not None and not answered.was_shown and record.get("sha256") != named.sha256:
        yield "it answers other bytes than were logged"
    ours = said.statement.sender == case.bundle.gateway and said.type in ANSWER_TYPES
    if ours and said.statement.leaf != compact.encode(answered.logged.leaf_hash):
        yield "it promises another leaf than that of the message it answers"
    hashes = [item.sha256 for item in answered.items]  # no set: what is looked for may be any JSON
    # Which item a registry means, its receipt may say by the transfer alone; ours says both.
    if ours and any(item.kind == "receipt" and item.value.get("item") not in hashes for item in said.items):
        yield "it is a receipt for an item that is not here"
