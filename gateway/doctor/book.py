"""Checks of the book: every unit in one place, and no position that a registry's signed word did not move."""

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from gateway import db
from gateway.doctor import book_store
from gateway.doctor.report import Remark, finding
from gateway.doctor.scene import Scene
from gateway.domain.callers import EVERYTHING
from gateway.holdings import actions
from gateway.holdings.actions import Totals

#: First and last serial.
Serials = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Piece:
    """A block at a place, as one row of ``book_store.movements`` has it; members that the row has not are None."""

    what: str
    serials: Serials
    registry: str
    party: str | None
    account_type: int | None
    transfer: str | None

    @property
    def place(self) -> tuple[str, str | None, int | None]:
        """Where it is."""
        return self.registry, self.party, self.account_type

    def fits(self, due: "Piece") -> bool:
        """Whether it is at the place where ``due`` should be; what the notice does not say may be anything."""
        return all(wanted is None or wanted == there for wanted, there in zip(due.place, self.place, strict=True))


@dataclass(frozen=True, slots=True)
class Movement:
    """What one entry of the log did in the book, by series, and the transfers it completed without known claims."""

    entry: int
    pieces: dict[tuple[str, str], list[Piece]]
    unclaimed: tuple[str, ...]


def accounts(found: Any, _scene: Scene) -> Iterable[Remark]:
    """Every completed transfer, use and cancellation is accounted for once, with all its units, and nothing else is."""
    if found.quantity is None:
        yield finding(f"{found.said:,} units are accounted for, and nothing has moved them", cause=found.cause)
        return
    about = {"cause": found.cause, "entry": found.entry_id}
    if found.said != found.quantity:
        yield finding(f"{found.said:,} of its {found.quantity:,} units are accounted for", **about)
    if found.others:
        yield finding(f"{found.others} of its rows name another action, Party, registry or entry", **about)


def first_transfers_here(found: Any, _scene: Scene) -> Iterable[Remark]:
    """Every first transfer outside a relay is of an issuance, or of a notice of it, that the same entry applied."""
    if not found.told:
        yield finding(
            f"{found.quantity:,} units are first transferred by nothing", cause=found.cause, entry=found.entry_id
        )


async def movements(tx: db.ReadTx, _scene: Scene) -> AsyncIterator[Movement]:
    """Every entry that moved something in the book, or should have."""
    entry: int | None = None
    gathered: list[Any] = []
    async for row in book_store.movements(tx):
        if entry is not None and row.entry_id != entry:
            yield _movement(entry, gathered)
            gathered = []
        entry = row.entry_id
        gathered.append(row)
    if entry is not None:
        yield _movement(entry, gathered)


def _movement(entry: int, rows: Sequence[Any]) -> Movement:
    pieces: dict[tuple[str, str], list[Piece]] = defaultdict(list)
    for r in rows:
        if r.first is not None:
            piece = Piece(r.what, (r.first, r.last), r.registry, r.party, r.account_type, r.transfer)
            pieces[r.origin, r.series].append(piece)
    return Movement(entry, pieces, tuple(r.transfer for r in rows if r.first is None))


def positions(movement: Movement, _scene: Scene) -> Iterable[Remark]:
    """An entry moves in the book exactly the units of the notices and credits in its message, each to its place.

    Units that a notice gives an authorisation, or first transfers where they are, are opened anew at the same place.
    """
    for (registry, series), pieces in movement.pieces.items():
        of: dict[str, list[Piece]] = defaultdict(list)
        for piece in pieces:
            of[piece.what].append(piece)
        due = of["credited"] + of["entered"] + of["left"] + of["corrected"]
        name = f"{registry} {series}"
        if not due and not of["marked"] and not movement.unclaimed:
            what = "it moved units, and its message is neither a notice nor a credit of them"
            yield finding(what, entry=movement.entry, units=f"{name} {_shown(_serials(of['opened'] + of['closed']))}")
            continue
        yield from _arrived(movement.entry, name, of["opened"], due)
        was, now = of["closed"] + of["entered"], of["opened"]
        before, after = _serials(was), _serials(now)
        for what, units in (
            ("not marked as announced", _minus(_serials(of["marked"]), after)),
            ("vanished", _minus(before, after)),
            ("appeared from nowhere", _minus(after, before)),
            ("were in two places before", _doubled(was)),
            ("are in two places since", _doubled(now)),
        ):
            if units:
                yield finding(f"units {what}", entry=movement.entry, units=f"{name} {_shown(units)}")
        if not movement.unclaimed:
            strayed = _strayed(of["opened"], of["closed"], due)
            if strayed:
                yield finding("other units moved with them", entry=movement.entry, units=f"{name} {_shown(strayed)}")


def _arrived(entry: int, name: str, opened: Sequence[Piece], due: Sequence[Piece]) -> Iterable[Remark]:
    """Every block that was to move is at its new place."""
    for wanted in _by_place(due).values():
        there = _serials(piece for piece in opened if piece.fits(wanted[0]))
        for piece in wanted if _minus(_serials(wanted), there) else ():
            missing = _minus([piece.serials], there)
            if missing:
                about: dict[str, str | int] = {"transfer": piece.transfer} if piece.transfer else {}
                where = " ".join(str(part) for part in piece.place if part is not None)
                yield finding(f"not moved to {where}", **about, entry=entry, units=f"{name} {_shown(missing)}")


def _strayed(opened: Sequence[Piece], closed: Sequence[Piece], due: Sequence[Piece]) -> list[Serials]:
    """Units that were not to move and are at another place than before."""
    moved, everything = _serials(due), _serials(closed)
    before, after = _by_place(closed), _by_place(opened)
    return [
        serials
        for place, pieces in after.items()
        for serials in _minus(_both(_minus(_serials(pieces), moved), everything), _serials(before.get(place, ())))
    ]


def _by_place(pieces: Iterable[Piece]) -> dict[tuple[str, str | None, int | None], list[Piece]]:
    found = defaultdict(list)
    for piece in pieces:
        found[piece.place].append(piece)
    return found


def _serials(pieces: Iterable[Piece]) -> list[Serials]:
    """The serials of pieces in order, without overlaps, adjoining ones joined."""
    joined: list[Serials] = []
    for first, last in sorted(piece.serials for piece in pieces):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(last, joined[-1][1]))
        else:
            joined.append((first, last))
    return joined


def _doubled(pieces: Iterable[Piece]) -> list[Serials]:
    """The serials that several of the pieces have."""
    found: list[Serials] = []
    reach = 0
    for first, last in sorted(piece.serials for piece in pieces):
        if first <= reach:
            found.append((first, min(last, reach)))
        reach = max(reach, last)
    return found


def _minus(these: Sequence[Serials], those: Sequence[Serials]) -> list[Serials]:
    """What is in ``these`` and not in ``those``; both in order and without overlaps."""
    left: list[Serials] = []
    nr = 0
    for first, last in these:
        while nr < len(those) and those[nr][1] < first:
            nr += 1
        at, ahead = first, nr
        while ahead < len(those) and those[ahead][0] <= last:
            if at < those[ahead][0]:
                left.append((at, those[ahead][0] - 1))
            at = those[ahead][1] + 1
            ahead += 1
        if at <= last:
            left.append((at, last))
    return left


def _both(these: Sequence[Serials], those: Sequence[Serials]) -> list[Serials]:
    return _minus(these, _minus(these, those))


def _shown(serials: Sequence[Serials], most: int = 5) -> str:
    shown = ", ".join(f"{first}-{last}" for first, last in serials[:most])
    return f"{shown} and {len(serials) - most} more blocks" if len(serials) > most else shown


def series(row: Any, _scene: Scene) -> Iterable[Remark]:
    """Of every series as many units are held as were announced, and no unit has two places or two claims."""
    units = f"{row.registry} {row.series}"
    if row.entered != row.live:
        yield finding(f"{row.entered:,} units were announced, {row.live:,} have a place", units=units)
    if row.position_overlap is not None:
        yield finding(f"unit {row.position_overlap} has two places", units=units)
    if row.claim_overlap is not None:
        yield finding(f"unit {row.claim_overlap} is claimed twice", units=units)


@dataclass(frozen=True, slots=True)
class Books:
    """The totals of all registries."""

    totals: tuple[Totals, ...]


async def books(tx: db.ReadTx, _scene: Scene) -> AsyncIterator[Books]:
    """The totals, as the gateway itself computes them."""
    yield Books(tuple(await actions.totals(tx, EVERYTHING)))


def conservation(found: Books, _scene: Scene) -> Iterable[Remark]:
    """Issued is held, in transit, used or cancelled: over all registries, and for each with what came and went."""
    if not actions.conserved(found.totals):
        yield finding("what was issued is not what is held, in transit, used and cancelled")
    for t in found.totals:
        should = t.issued + t.moved_in - t.moved_out
        has = t.held + t.used + t.cancelled
        if should != has:
            yield finding(f"it should have {should:,} units and has {has:,}", registry=t.registry)
        if t.held < 0:
            yield finding(f"{t.in_transit:,} units are in transit from it, which it does not hold", registry=t.registry)
