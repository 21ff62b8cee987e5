"""Judges what a run compared: which differences something explains, which are findings, and what is only a remark.

Reads, and changes nothing. Guarantees that what is said of a book is either all that differs in it, or that the book is
one of those that are left to persons, of which no unit is let go; that the cost follows what differs and what is known
of it, up to a limit for each difference; and that remarks are few, however much a registry tells.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from gateway import db
from gateway.domain.units import UnitRange
from gateway.holdings import fingerprints
from gateway.reconciliation import cases, classify, moving_store, reading, settled_store
from gateway.reconciliation.classify import Differing, Judged, Known
from gateway.reconciliation.moving_store import MOST_PIECES, Moving, Standing
from gateway.reconciliation.reading import Cut, TheirBook, Totals
from gateway.reconciliation.store import Run

#: Findings of one run: more are no work for persons, and the books are another case than any of their units.
MOST_FINDINGS = 100_000
#: Differences of which everything is looked up at once, so that what is known of them never fills the memory.
AT_ONCE = 1_000
#: Remarks of a run that are kept: a registry may tell of thousands of transfers, and persons read the first few.
MOST_REMARKS = 20


@dataclass(frozen=True, slots=True)
class Compared:
    """A book as it was compared.

    ``untrue``: what its registry said cannot be, or is more than can be compared: nothing that is not found is let go.
    ``mended``: what was kept of it here was wrong, and was made anew before it was compared.
    """

    registry: str
    root: bytes
    theirs: TheirBook
    totals: Totals
    differences: tuple[Differing, ...] = ()
    untrue: bool = False
    mended: bool = False

    @property
    def codes(self) -> tuple[int, ...]:
        """By which totals it does not agree (6201, 6202)."""
        return reading.disagreeing(self.totals, self.theirs.totals)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to; ``status`` is decided by the findings where it is None. Without a ``cut``, none was taken."""

    status: int | None
    books: Sequence[Compared] = ()
    cut: Cut | None = None
    remarks: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a run found, explained or not, by book.

    ``still``: the units of each book that differ, explained or not, or of which nothing was told, or that are of a
    transfer which is not shown to be known to both sides; no case lets them go.
    ``cut_off``: books with more findings than are kept. ``astray``: transfers in flight there and unknown here.
    """

    judged: Sequence[Judged] = ()
    remarks: tuple[str, ...] = ()
    still: Mapping[str, Sequence[UnitRange]] = field(default_factory=dict)
    cut_off: frozenset[str] = frozenset()
    astray: Sequence[str] = ()

    def untrue(self, book: Compared) -> bool:
        """Whether a book is left to persons as a whole."""
        return book.untrue or book.registry in self.cut_off


async def judge(tx: db.Tx, run: Run, outcome: Outcome, now: datetime) -> Verdict:
    """Judge what a run came to; without a cut there is nothing to judge."""
    cut = outcome.cut
    if cut is None:
        return Verdict(remarks=_few(outcome.remarks))
    assert run.fence is not None and run.cut_at is not None  # the cut is taken
    fence = await moving_store.fence(tx, run.fence, run.cut_at, cut.taken_at)
    judged = [one for each in outcome.books for one in await _book(tx, each, fence, now)]
    before = moving_store.told_before(run.cut_at, cut.taken_at)
    of_transfers = await _transfers(tx, run, cut, fence, before, now)
    remarks = of_transfers.remarks
    judged = classify.distinct([*judged, *of_transfers.judged])
    still: dict[str, list[UnitRange]] = defaultdict(list)
    for one in outcome.books:
        still[one.registry] += [differing.units for differing in one.differences]
        if cut.moving_more:
            still[one.registry] += await cases.of_transfers(tx, one.registry)
    for standing in of_transfers.one_sided:
        still[standing.registry] += standing.units
    # What is explained is of no consequence, and goes first.
    judged.sort(key=lambda one: one.explained_by is not None)
    kept, left = judged[:MOST_FINDINGS], judged[MOST_FINDINGS:]
    if left:
        remarks.insert(0, f"there are {len(judged)} findings; the first {MOST_FINDINGS} are kept")
    cut_off = frozenset(one.found.registry for one in left)
    kept.sort(key=lambda one: (one.found.registry, one.found.units))
    return Verdict(kept, _few([*outcome.remarks, *remarks]), still, cut_off, of_transfers.astray)


@dataclass(frozen=True, slots=True)
class _Transfers:
    """What is known of transfers to one side, or may be.

    ``judged``: findings. ``one_sided``: those of which nothing shows that both sides know them, findings or not.
    ``astray``: those in flight there that were never heard of here.
    """

    judged: list[Judged] = field(default_factory=list)
    one_sided: list[Standing] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    astray: list[str] = field(default_factory=list)


async def _transfers(tx: db.Tx, run: Run, cut: Cut, fence: int, before: datetime, now: datetime) -> _Transfers:
    found = _Transfers()
    moving = sorted(cut.moving)
    locked = moving_store.by_letter(cut.moving, "L")
    for standing in await moving_store.over_here(tx, run.link, moving, before):
        found.one_sided.append(standing)
        if standing.transfer in locked and standing.state != "completed":
            found.judged.extend(classify.orphaned(standing))
        else:
            found.remarks.append(f"transfer {standing.transfer} is {standing.state} here and in flight there (6401)")
    await _unknown_here(tx, run, found, await moving_store.unknown_here(tx, moving, before, now))
    if cut.moving_more:
        found.remarks.append(
            "more transfers are in flight there than are told: what is known to one side alone stays so"
        )
        return found
    for standing in await moving_store.unknown_there(tx, run.link, moving, fence):
        found.one_sided.append(standing)
        if standing.old:
            found.judged.extend(classify.one_sided(standing))
    return found


async def _unknown_here(tx: db.Tx, run: Run, found: _Transfers, unknown: Sequence[str]) -> None:
    """Remark what is unknown here; of as many as are told it is looked whether their proposals were refused."""
    asked, others = unknown[:MOST_REMARKS], unknown[MOST_REMARKS:]
    refused = await moving_store.refused_here(tx, run.link, asked)
    found.astray.extend(transfer for transfer in asked if transfer not in refused)
    if refused and others:  # what was refused with these may be among the others: that is no news
        found.remarks.append(f"{len(others)} more in flight there are unknown here, or were refused")
        others = ()
    found.remarks.extend(
        f"transfer {transfer} is in flight there and unknown here (6401)" for transfer in (*found.astray, *others)
    )


async def _book(tx: db.Tx, compared: Compared, fence: int, now: datetime) -> list[Judged]:
    if not compared.differences:
        return []
    judged: list[Judged] = []
    for first in range(0, len(compared.differences), AT_ONCE):
        some = compared.differences[first : first + AT_ONCE]
        known = await _known(tx, compared.registry, some, fence, now)
        full = len(judged) > MOST_FINDINGS  # more pieces would be thrown away
        for differing, one in zip(some, known, strict=True):
            judged += classify.judge(differing, Known((), one.moved, one.held, (), beyond=True) if full else one)
    return judged


async def _known(tx: db.Tx, registry: str, differences: Sequence[Differing], fence: int, now: datetime) -> list[Known]:
    """What is known of the units of differences.

    Each statement sees what was committed before it: live claims are read before what has moved, or a transfer that
    completes in between would be in neither.
    """
    units = [one.units for one in differences]
    claimed = await moving_store.claims(tx, registry, units, now)
    moved = await fingerprints.moved_since(tx, registry, fence, units)
    for nr, over in await _completed(tx, registry, moved, fence, now):
        claimed[nr] += over
    held = await moving_store.held(tx, units)
    settled = await settled_store.settled(tx, registry, units)
    known: list[Known] = []
    for nr, (places, more) in enumerate(held):
        claims = claimed[nr] if len(claimed[nr]) <= MOST_PIECES else ()
        told = settled[nr] if len(settled[nr]) <= MOST_PIECES else ()
        beyond = more or max(len(claimed[nr]), len(places)) > MOST_PIECES
        known.append(Known(claims, moved[nr], places, told, beyond))
    return known


async def _completed(
    tx: db.Tx, registry: str, moved: Sequence[Sequence[UnitRange]], fence: int, now: datetime
) -> list[tuple[int, list[Moving]]]:
    """What was claimed of the units that have moved by transfers that are over since, by the number of the difference.

    Nothing else can have been: a transfer is completed as its units move.
    """
    numbers = [nr for nr, pieces in enumerate(moved) for _ in pieces]
    pieces = [piece for of in moved for piece in of]
    found = await moving_store.completed(tx, registry, pieces, fence, now) if pieces else []
    return list(zip(numbers, found, strict=True))


def _few(remarks: Sequence[str]) -> tuple[str, ...]:
    if len(remarks) <= MOST_REMARKS:
        return tuple(remarks)
    more = len(remarks) - MOST_REMARKS
    serious = " (6401)" if any("(6401)" in one for one in remarks[MOST_REMARKS:]) else ""
    return (*remarks[:MOST_REMARKS], f"and {more} more{serious}")
