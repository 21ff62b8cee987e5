"""The comparison with a registry that cannot tell nodes: both books listed in order, and merged.

Two streams of units, by the name of their series (code points) and their serials, are read side by side; memory is that
of one piece of each, and of what differs. Pieces need not be maximal: how units lie in blocks is no difference. A
listing out of order, or with a unit twice, is 6901; one that does not end is left when too much of it differs.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

from gateway.domain.fingerprints import Run
from gateway.domain.identifiers import MAX_SERIAL
from gateway.errors import invariant
from gateway.reconciliation.compare import MAX_DIFFERENCES
from gateway.reconciliation.differences import Difference, side_by_side
from gateway.reconciliation.packing import impossible

#: Pieces that differ, joined or not, after which nothing more is read: who lists for ever is not heard for ever.
MAX_PIECES = 10 * MAX_DIFFERENCES


@dataclass(frozen=True, slots=True)
class Piece:
    """Units of one series in one state, as they are listed."""

    series: str
    run: Run


async def merged(here: AsyncIterator[Piece], there: AsyncIterator[Piece]) -> tuple[list[Difference], bool]:
    """What differs between two listings, by series and serial; and whether there is more that is not listed."""
    found: list[Difference] = []
    pieces = 0
    async for one in _pieces(_ours(here), _theirs(there)):
        pieces += 1
        if found and side_by_side(found[-1], one) and (found[-1].here, found[-1].there) == (one.here, one.there):
            found[-1] = replace(found[-1], last=one.last)
        else:
            found.append(one)
        if len(found) > MAX_DIFFERENCES or pieces > MAX_PIECES:
            return found[:MAX_DIFFERENCES], True
    return found, False


async def _pieces(here: AsyncIterator[Piece], there: AsyncIterator[Piece]) -> AsyncIterator[Difference]:
    ours, theirs = await anext(here, None), await anext(there, None)
    while ours is not None or theirs is not None:
        series, first, last = _alike(ours, theirs)
        mine, other = _state(ours, series, first), _state(theirs, series, first)
        if mine != other:
            yield Difference(series, first, last, mine, other)
        if mine is not None and ours is not None:
            ours = _behind(ours, last) or await anext(here, None)
        if other is not None and theirs is not None:
            theirs = _behind(theirs, last) or await anext(there, None)


def _alike(ours: Piece | None, theirs: Piece | None) -> tuple[str, int, int]:
    """The next units that are alike in each book: they end where a piece ends, or one of the other book begins."""
    pieces = [one for one in (ours, theirs) if one is not None]
    series, first = min((one.series, one.run.first) for one in pieces)
    ends = [one.run.last if one.run.first == first else one.run.first - 1 for one in pieces if one.series == series]
    return series, first, min(ends)


def _state(piece: Piece | None, series: str, serial: int) -> bytes | None:
    return piece.run.state if piece is not None and (piece.series, piece.run.first) == (series, serial) else None


def _behind(piece: Piece, serial: int) -> Piece | None:
    run = piece.run
    return Piece(piece.series, Run(serial + 1, run.last, run.state)) if serial < run.last else None


async def _theirs(listed: AsyncIterator[Piece]) -> AsyncIterator[Piece]:
    """As it comes; 6901 where that is not in order."""
    before = ("", 0)
    async for one in listed:
        if not (_in_order(before, one)):
            impossible("positions are not listed in order, each unit once")
        before = one.series, one.run.last
        yield one


async def _ours(listed: AsyncIterator[Piece]) -> AsyncIterator[Piece]:
    before = ("", 0)
    async for one in listed:
        invariant(_in_order(before, one), "the own book is not listed in order")
        before = one.series, one.run.last
        yield one


def _in_order(before: tuple[str, int], one: Piece) -> bool:
    run = one.run
    return before < (one.series, run.first) and 1 <= run.first <= run.last <= MAX_SERIAL
