"""Checks of what was said: each statement by whom it had to be, resting on those before it, and the units throughout.

The tables say which statements the relay makes and what each rests on (``transfers.statements.SAID`` is how the
gateway makes them); here they are read from the outside, from signed words alone.
"""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from gateway.domain.transfers import FINAL, State
from gateway.errors import GatewayError
from gateway.evidence.form import place
from gateway.evidence.said import Case, Fault, Said
from gateway.signing import envelope
from gateway.signing.envelope import Item
from gateway.signing.messages import ANSWER_TYPES

#: Every statement about a transfer; it is an item of this kind in a message of type ``transfer.<kind>``.
KINDS = (
    "request", "propose", "offer", "answer", "commit", "released", "voided", "settle", "credited", "cancel", "closed",
)  # fmt: skip
#: From whom, and to whom but the gateway.
BY_SOURCE, BY_ACQUIRER = ("propose", "released", "voided"), ("answer", "credited")
TO_SOURCE, TO_ACQUIRER = ("request", "commit", "cancel"), ("offer", "settle")
#: Which member names which earlier item by hash; which names an earlier message by id and hash of its JWS.
ITEMS_NAMED: Mapping[str, Mapping[str, str]] = {
    "offer": {"proposal": "propose"},
    "answer": {"offer": "offer"},
    "commit": {"proposal": "propose", "answer": "answer"},
    "settle": {"proposal": "propose", "answer": "answer", "release": "released"},
}
MESSAGE_NAMED = {"released": "commit", "credited": "settle"}
#: Which earlier messages travel with a statement.
CARRIED = {"offer": ("propose",), "commit": ("propose", "answer"), "settle": ("propose", "answer", "released")}
CARRIED_AT_END = {True: ("propose", "answer", "released", "credited"), False: ("propose", "voided")}
#: In which order the log has them.
ORDER = ("propose", "offer", "answer", "commit", "released", "settle", "credited", "closed")
_CREDITED = {"propose", "offer", "answer", "commit", "released", "settle", "credited", "closed"}
#: What must have been said in a state, and what cannot have been.
SPOKEN: Mapping[State, tuple[set[str], set[str]]] = {
    State.PROPOSED: ({"propose"}, {"offer", "commit", "settle", "cancel", "closed"}),
    State.DELAYED: ({"propose"}, {"offer", "commit", "settle", "cancel", "closed"}),
    State.CHECKED: ({"propose", "offer"}, {"commit", "settle", "cancel", "closed"}),
    State.ACCEPTED: ({"propose", "offer", "answer"}, {"commit", "settle", "cancel", "closed"}),
    State.COMMITTING: ({"propose", "offer", "answer", "commit"}, {"settle", "closed"}),
    State.RELEASED: ({"propose", "offer", "answer", "commit", "released", "settle"}, {"closed"}),
    State.ENDING: ({"propose", "cancel"}, {"settle", "closed"}),
    State.COMPLETED: (_CREDITED, {"voided"}),
    State.REFUSED: ({"propose", "cancel", "voided", "closed"}, {"settle"}),
    State.REJECTED: ({"propose", "answer", "cancel", "voided", "closed"}, {"settle"}),
    State.CANCELLED: ({"propose", "voided", "closed"}, {"settle"}),
    State.ATTENTION: ({"propose"}, {"closed"}),
}
#: What a state that is not final is worth: whoever made the bundle may know more, and the messages cannot tell.
AT_LEAST = "at least this far: later statements and revocations may have been left out"
#: What a gateway that has lost its records, and was shown what came later, need not have.
_LOST = {"offer", "commit"}


class Statements:
    """The statements of a bundle by kind, each with its message; of ``closed`` one to each side."""

    def __init__(self, case: Case) -> None:
        self.all: dict[str, list[tuple[Said, Item]]] = {kind: [] for kind in KINDS}
        for kind, found in self.all.items():
            found += [(said, i) for said in case.of_type(f"transfer.{kind}") for i in said.items if i.kind == kind]
        # That a transfer was closed here may follow an answer, and is none.
        self.all["answer"] = [a for a in self.all["answer"] if a[1].value.get("answer") != "closed-here"]
        self.keys, self.gateway = case.keys, case.bundle.gateway
        self.shown = any(said.was_shown for said in case.said)
        self.source = case.bundle.transfer[:5]
        self.acquirer = next((o for o in map(self._other, (*TO_ACQUIRER, *BY_ACQUIRER)) if o), None)

    def first(self, kind: str) -> tuple[Said, Item] | None:
        """The first statement of a kind."""
        return self.all[kind][0] if self.all[kind] else None

    def _other(self, kind: str) -> str | None:
        found = self.first(kind)
        if found is None:
            return None
        statement = found[0].statement
        return statement.sender if kind in BY_ACQUIRER else statement.receiver


def course(case: Case) -> Iterator[Fault]:
    """What the state says was said, by whom it had to be, each resting on what came before it."""
    found = Statements(case)
    yield from _foreign(case)
    yield from _between(found)
    for kind, statements in found.all.items():
        most = 2 if kind == "closed" else 1
        yield from (Fault(said.place, f"{kind} is said once more") for said, _ in statements[most:])
        for said, item in statements:
            yield from (Fault(f"{said.place}.jws", why) for why in _founded(found, kind, said, item))
    yield from _ordered(found)
    yield from _standing(case, found)
    if case.bundle.state not in FINAL:
        case.remarks["course"] = AT_LEAST


def _foreign(case: Case) -> Iterator[Fault]:
    known = {f"transfer.{kind}" for kind in KINDS} | ANSWER_TYPES
    for said in case.said:
        whole = said.type in ANSWER_TYPES and not said.statement.listed  # it is about everything that it answers
        if said.type not in known or not (said.items or whole):
            yield Fault(said.place, f"a {said.type} without an item of this transfer is no part of its course")


def _between(found: Statements) -> Iterator[Fault]:
    """Every statement is from whom and to whom it must be."""
    sides = {found.source, found.acquirer}
    for kind, statements in found.all.items():
        for said, _ in statements:
            pair = (said.statement.sender, said.statement.receiver)
            by = {found.source} if kind in BY_SOURCE else {found.acquirer} if kind in BY_ACQUIRER else {found.gateway}
            to = {found.gateway} if kind in BY_SOURCE + BY_ACQUIRER else sides
            to = {found.source} if kind in TO_SOURCE else {found.acquirer} if kind in TO_ACQUIRER else to
            if pair[0] not in by or pair[1] not in to:
                yield Fault(f"{said.place}.jws", f"a {kind} is not {pair[0]}'s to say to {pair[1]}")


def _founded(found: Statements, kind: str, said: Said, item: Item) -> Iterator[str]:
    """Why a statement does not rest on those it must rest on.

    What was said before data were lost may name what was said then, and is not here.
    """
    if kind == "commit" and (answer := found.first("answer")) and answer[1].value.get("answer") != "accepted":
        yield "it commits what was not accepted"
    if found.shown:
        return
    for member, step in ITEMS_NAMED.get(kind, {}).items():
        named = found.first(step)
        if named is None or item.value.get(member) != named[1].sha256:
            yield f"it names another {step} than is here"
    if kind in MESSAGE_NAMED:
        named, reference = found.first(MESSAGE_NAMED[kind]), item.value.get(MESSAGE_NAMED[kind])
        if named is None or (reference != _reference(named[0]) and not _carries(found, said, reference)):
            yield f"it names another {MESSAGE_NAMED[kind]} than is here"
    carried = CARRIED_AT_END[item.value.get("state") == State.COMPLETED] if kind == "closed" else CARRIED.get(kind, ())
    for step in carried:
        earlier = found.first(step)
        if earlier is not None and earlier[0].jws not in said.statement.evidence:
            yield f"it does not carry the {step}"


def _carries(found: Statements, said: Said, reference: object) -> bool:
    """Whether a message shows what it names itself: the gateway's words that it has lost since, and signed anew."""
    for jws in said.statement.evidence:
        try:
            carried = envelope.verify_carried(jws, {}, found.keys, at=said.statement.sent_at)
        except GatewayError:
            continue
        if carried.sender == found.gateway and reference == {"id": carried.id, "sha256": carried.jws_sha256}:
            return True
    return False


def _reference(said: Said) -> dict[str, str]:
    return {"id": said.statement.id, "sha256": said.digest}


def _ordered(found: Statements) -> Iterator[Fault]:
    if found.shown:
        return
    last = -1
    for kind in ORDER:
        for said, _ in found.all[kind]:
            if said.logged.entry.index < last:
                yield Fault(said.place, f"the log has its {kind} before what that rests on")
        last = max([last, *(said.logged.entry.index for said, _ in found.all[kind])])


def _standing(case: Case, found: Statements) -> Iterator[Fault]:
    state = case.bundle.state
    must, cannot = SPOKEN[state]
    there = {kind for kind, statements in found.all.items() if statements}
    if missing := sorted(must - there - (_LOST if found.shown else set())):
        yield Fault("state", f"{state} needs {', '.join(missing)}")
    if more := sorted(cannot & there):
        yield Fault("state", f"it is not {state} where there is {', '.join(more)}")
    for said, item in found.all["closed"]:
        if state not in FINAL or item.value.get("state") != state:
            yield Fault("state", f"{said.place} closes the transfer as another")
    answer = found.first("answer")
    if answer and state is State.REJECTED and answer[1].value.get("answer") != "rejected":
        yield Fault("state", "its acquirer has not rejected it")


def conservation(case: Case) -> Iterator[Fault]:
    """The units proposed are each named once and as many as the quantity says; those given names are among them."""
    found = Statements(case)
    proposed, released = found.first("propose"), found.first("released")
    if proposed is None:
        yield Fault("messages", "there is no proposal")
        return
    where = _place(case, proposed[1])
    try:
        blocks = sorted(_units(block) for block in proposed[1].value["blocks"])
        named = [_units(block) for block in released[1].value["itmo"]] if released else []
    except (KeyError, TypeError):
        yield Fault(where, "its blocks, or those of the release, cannot be read")
        return
    if any(a[0] == b[0] and b[1] <= a[2] for a, b in pairwise(blocks)):
        yield Fault(where, "a unit is in two blocks")
    quantity = sum(last - first + 1 for _, first, last in blocks)
    if proposed[1].value.get("quantity") != quantity:
        yield Fault(where, f"its blocks hold {quantity} units")
    for series, first, last in named:
        if not any(series == block[0] and block[1] <= first <= last <= block[2] for block in blocks):
            yield Fault(where, "the release gives identifiers to units that were not proposed")
    case.remarks["conservation"] = f"{quantity} units in {len(blocks)} blocks"


def _units(block: Any) -> tuple[tuple[str, str], int, int]:
    """Series, first and last serial of a block; raises ``KeyError`` or ``TypeError`` where they are not these."""
    registry, series = block["origin"]["registry"], block["origin"]["series"]
    first, last = block["first"], block["last"]
    if not (type(registry) is type(series) is str and type(first) is type(last) is int and 0 < first <= last):
        raise TypeError("no units")
    return (registry, series), first, last


def _place(case: Case, item: Item) -> str:
    return place("items", case.bundle.items.index(item.text))
