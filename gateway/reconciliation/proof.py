"""That what was told in the course of a comparison hashes to the root that was told before it.

A node is told by its count and 16 bytes of its digest, and later by its children, which are told in their turn, until
all that is left are runs and nodes that are as they are here. Then each digest can be computed from below, whole: those
told must be among them, and the root must be theirs. So a registry cannot tell of differences that are not in the
book whose root it has signed, and cannot keep one back: the gateway's book with the differences found has that root.
What does not hold is 6901.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Union

from gateway.domain.fingerprints import (
    FANOUT,
    MOST_RUNS,
    NOTHING,
    Node,
    SeriesEntry,
    Summary,
    of_children,
    of_prefixes,
    of_series,
)
from gateway.domain.identifiers import MAX_SERIAL
from gateway.reconciliation.differences import Difference, side_by_side
from gateway.reconciliation.packing import Digest, impossible


@dataclass(slots=True, eq=False)
class Shape:
    """A node that was told by its children, or by its series: what is known of each, in that order.

    ``node`` is None in the directory; ``here`` is how many runs the gateway's own node has; ``apexes`` are those of the
    series listed; ``claim`` is what was told of the node before.
    """

    node: Node | None
    here: int
    claim: Digest | None
    apexes: tuple[Node, ...] = ()
    parts: list[Union[Summary, "Shape"]] = field(default_factory=lambda: [NOTHING] * FANOUT)


def proven(shape: Shape, changes: Mapping[str, "Changes"]) -> Summary:
    """What is to be said of the node, computed from below; 6901 where it is not what was told."""
    parts = [one if isinstance(one, Summary) else proven(one, changes) for one in shape.parts]
    if shape.node is not None:
        of_series_here = changes.get(shape.node.series)
        summary = of_children(shape.here + (of_series_here.more_runs(shape.node) if of_series_here else 0), parts)
        if summary.count <= MOST_RUNS:
            impossible(f"a node of {summary.count} runs is told by its children")
    elif shape.apexes:
        summary = of_series([SeriesEntry(*one) for one in zip(shape.apexes, parts, strict=True)])
    else:
        summary = of_prefixes(parts)
        if summary.count <= MOST_RUNS:
            impossible(f"a directory of {summary.count} series is told by its children")
    require(shape.claim, summary)
    return summary


def require(claim: Digest | None, summary: Summary) -> None:
    """6901 unless a node is what was told of it before."""
    if claim is not None and not claim.fits(summary):
        impossible("a node is told otherwise than by its digest")


class Changes:
    """By how many runs the nodes of one series differ, from what differs in it.

    A run begins at a serial whose unit is not in the state of the unit before it. Where no unit differs and none did
    just before, runs begin here as there; so it is enough to look at each difference and just behind it. ``states``
    gives the state, here as there, of the units ``beside`` differences.
    """

    def __init__(
        self, series: str, differences: Sequence[Difference], states: Mapping[tuple[str, int], bytes | None]
    ) -> None:
        self._differences = differences
        self._firsts = [one.first for one in differences]
        at: list[tuple[int, int]] = []
        for nr, one in enumerate(differences):
            before = differences[nr - 1] if nr and side_by_side(differences[nr - 1], one) else None
            same = None if before else states.get((series, one.first - 1))
            here, there = (before.here, before.there) if before else (same, same)
            at.append((one.first, _begins(there, one.there) - _begins(here, one.here)))
            if nr + 1 == len(differences) or not side_by_side(one, differences[nr + 1]):
                state = states.get((series, one.last + 1))
                at.append((one.last + 1, _begins(one.there, state) - _begins(one.here, state)))
        self._at = [serial for serial, _ in at]
        self._sums = [0]
        for _, more in at:
            self._sums.append(self._sums[-1] + more)

    def more_runs(self, node: Node) -> int:
        """How many more runs the node has there than here; the run of its first serial begins with the node."""
        inside = self._sums[bisect_right(self._at, node.last)] - self._sums[bisect_right(self._at, node.first)]
        which = bisect_right(self._firsts, node.first) - 1
        if which >= 0 and node.first <= self._differences[which].last:
            one = self._differences[which]
            inside += (one.there is not None) - (one.here is not None)
        return inside


def beside(differences: Sequence[Difference]) -> list[tuple[str, int]]:
    """The serials just before and behind differences that do not differ themselves, and can be units."""
    found: dict[tuple[str, int], None] = {}
    for nr, one in enumerate(differences):
        if not nr or not side_by_side(differences[nr - 1], one):
            found[one.series, one.first - 1] = None
        if nr + 1 == len(differences) or not side_by_side(one, differences[nr + 1]):
            found[one.series, one.last + 1] = None
    return [(series, serial) for series, serial in found if 1 <= serial <= MAX_SERIAL]


def _begins(before: bytes | None, state: bytes | None) -> int:
    return int(state is not None and state != before)
