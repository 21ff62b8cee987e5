"""What differs between two books: units of one series, in one state here and in another, or none, there."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from gateway.domain.fingerprints import Run


@dataclass(frozen=True, slots=True)
class Difference:
    """Units ``first`` to ``last`` of a series, and the SHA-256 of their state here and there, None: not in the book."""

    series: str
    first: int
    last: int
    here: bytes | None
    there: bytes | None


def differing(series: str, here: Sequence[Run], there: Sequence[Run]) -> Iterator[Difference]:
    """What differs between the runs of one series, each in order: pieces in order, not joined."""
    bounds = sorted({at for run in (*here, *there) for at in (run.first, run.last + 1)})
    ours, theirs = _States(here), _States(there)
    for first, after in pairwise(bounds):
        mine, other = ours.at(first), theirs.at(first)
        if mine != other:
            yield Difference(series, first, after - 1, mine, other)


def joined(pieces: Iterable[Difference]) -> list[Difference]:
    """By the name of the series and the serial, those side by side that differ alike as one."""
    found: list[Difference] = []
    for piece in sorted(pieces, key=lambda one: (one.series, one.first)):
        if found and side_by_side(found[-1], piece) and (found[-1].here, found[-1].there) == (piece.here, piece.there):
            found[-1] = Difference(piece.series, found[-1].first, piece.last, piece.here, piece.there)
        else:
            found.append(piece)
    return found


def side_by_side(one: Difference, other: Difference) -> bool:
    """Whether the second begins where the first has ended."""
    return one.series == other.series and one.last + 1 == other.first


class _States:
    """The state at serials that are asked for in order."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self._runs, self._at = runs, 0

    def at(self, serial: int) -> bytes | None:
        while self._at < len(self._runs) and self._runs[self._at].last < serial:
            self._at += 1
        if self._at < len(self._runs) and self._runs[self._at].first <= serial:
            return self._runs[self._at].state
        return None
