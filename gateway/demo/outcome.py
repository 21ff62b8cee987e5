"""What came of the demo: the gateway's book, the registries' own, every arrow, the records, the doctor's word."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.demo.history import Feed
from gateway.demo.plan import Move
from gateway.demo.proving import Proof
from gateway.demo.reconciling import Compared
from gateway.demo.records import Records
from gateway.demo.rights import Try
from gateway.demo.rules import Rules
from gateway.doctor.report import Report

#: What a registry's own books and the gateway's book of it must agree on.
_SAME = ("issued", "held", "used", "cancelled", "moved_in", "moved_out")


@dataclass(frozen=True, slots=True)
class Way:
    """What was to go one way at one time, and what came of it; ``code`` is the refusal's."""

    arrow: str
    source: str
    to: str
    activity: str
    quantity: int
    transfers: int
    state: str
    code: int | None = None
    #: With what code it was to be refused, if it was.
    expected: int | None = None

    @property
    def as_it_should(self) -> bool:
        """Completed, or refused with the very code."""
        return (self.state, self.code) == (("completed", None) if self.expected is None else ("refused", self.expected))


@dataclass(frozen=True, slots=True)
class Result:
    """What the demo found at its end, in tonnes; ``agrees``: every registry's own books are those of the gateway."""

    books: dict[str, Any]
    #: Link code → that registry's own books; and the registries behind each link in the gateway's book.
    registries: Mapping[str, Mapping[str, Any]]
    behind: Mapping[str, Sequence[str]]
    total: int
    completed: int
    final: int
    units_moved: int
    seconds: float
    ways: tuple[Way, ...] = ()
    records: Records | None = None
    #: What the rules made of the units; None for a story that has nothing to show of them.
    rules: Rules | None = None
    #: Tonnes debited and not credited when the worker was killed; nothing was proposed where this is 0.
    nowhere: int = 0
    #: Who tried to see and do what, and what came of it.
    tries: tuple[Try, ...] = ()
    #: The history that was pulled and handed on, feed by feed; empty for a story that does not wait for it.
    history: tuple[Feed, ...] = ()
    #: The reconciliations, that of a book made wrong on purpose included; none for a story that shows none.
    compared: tuple[Compared, ...] = ()
    #: What was verified of the log and of a transfer's evidence; None for a story that shows nothing of them.
    proof: Proof | None = None
    #: What the doctor found of the gateway's database at the end.
    doctor: Report | None = None

    @property
    def agrees(self) -> bool:
        """Whether each registry of the demo says of itself what the gateway's book says of it."""
        book = {row["registry"]: row for row in self.books["registries"]}
        return all(
            own[name] == sum(book.get(registry, {}).get(name, 0) for registry in self.behind[link])
            for link, own in self.registries.items()
            for name in _SAME
        )

    @property
    def conservation(self) -> str:
        """``holds`` when nothing is lost or doubled, by the gateway's book and by the registries' own."""
        return "holds" if self.agrees and self.books["conservation"] == "holds" else "broken"

    @property
    def settled(self) -> bool:
        """Whether every transfer is final, and the registries' own books and records are as the gateway says."""
        return self.final == self.total and self.agrees and (self.records is None or self.records.equal)

    @property
    def succeeded(self) -> bool:
        """Conservation holds, all ended as it should, and everything in the database fits together."""
        healthy = self.doctor is not None and self.doctor.fits
        tried = all(one.as_it_should for one in self.tries)
        ruled = self.rules is None or self.rules.as_they_should
        proven = self.proof is None or self.proof.as_it_should
        told = all(feed.equal for feed in self.history) and all(one.as_it_should for one in self.compared)
        ended = self.settled and tried and ruled and proven and told and all(way.as_it_should for way in self.ways)
        return self.conservation == "holds" and ended and healthy


def ways(moves: Sequence[Move], transfers: Sequence[Mapping[str, Any]]) -> tuple[Way, ...]:
    """What came of each move, those of one kind together; ``transfers`` as the operator API lists them."""
    rows: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in transfers:
        rows.setdefault(_key(row["transferring"], row["acquiring"], row["quantity"]), []).append(row)
    grouped: dict[tuple[Any, ...], list[tuple[Move, Mapping[str, Any]]]] = {}
    for move in moves:
        terms = move.terms()
        found = rows.get(_key(terms["transferring"], terms["acquiring"], move.quantity)) or [{"state": "absent"}]
        kind = (move.arrow, move.registry, move.to, move.parts[0][0])
        grouped.setdefault(kind, []).append((move, found.pop()))
    return tuple(_way(members) for members in grouped.values())


def _way(members: Sequence[tuple[Move, Mapping[str, Any]]]) -> Way:
    move = members[0][0]
    states = sorted({row["state"] for _, row in members})
    ended = [row for _, row in members if row["state"] != "completed"]
    codes = {finding["code"] for row in ended for finding in row.get("findings", ())}
    return Way(
        move.arrow,
        move.registry,
        move.to,
        move.parts[0][0].activity,
        quantity=sum(member.quantity for member, _ in members),
        transfers=len(members),
        state=" and ".join(states),
        code=move.code if move.code in codes else min(codes, default=None),
        expected=move.code,
    )


def _key(transferring: Mapping[str, Any], acquiring: Mapping[str, Any], quantity: int) -> tuple[Any, ...]:
    return transferring["registry"], transferring["party"], acquiring["registry"], acquiring["party"], quantity
