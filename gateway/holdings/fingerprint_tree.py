"""The kept nodes of series: what a batch of changes makes of them, without the database.

A series' tree is kept from the interval of all serials down to the nodes with ``MOST_RUNS`` runs at most, its *leaves*,
which keep their runs as they are hashed. An *inner* node keeps of each child that is not empty what is said of it and
its first and last run's ends and states: by these it knows which runs go on from one child to the next, so its own
count is exact without looking further down. So the tree depends on the runs alone, not on how it came about.

``Batch`` goes down from the roots (``begin``, ``descend``), level by level so that a level's rows are loaded in one
statement, and up again (``ascend``). Units that are to go and are not there, or are to come and are there, are a
CONFLICT: the log has given a later move a smaller leaf than an earlier one, and this size lies between the two.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise, starmap
from struct import Struct
from typing import NamedTuple

from gateway.domain.fingerprints import FANOUT, MOST_RUNS, NOTHING, TOP, Summary, of_children, of_packed
from gateway.errors import GatewayError, Kind

#: First and last serial, SHA-256 of the state; as hashed.
RUN = Struct(">QQ32s")
_PART = Struct(">BQ32sQ32sQ32s")

Runs = list[tuple[int, int, bytes]]
Serials = tuple[int, int]


class Key(NamedTuple):
    """A node of a series, by the number the book gives the series."""

    series_id: int
    level: int
    nr: int

    def child(self, which: int) -> "Key":
        """One of its children, 0 to 15."""
        return Key(self.series_id, self.level - 1, self.nr * FANOUT + which)


class Kept(NamedTuple):
    """A node's row: whether it has children, and these or its runs."""

    inner: bool
    content: bytes


class Part(NamedTuple):
    """A node as its parent keeps it: runs, digest, first serial and its state, last serial and its state."""

    runs: int
    digest: bytes
    first: int
    head: bytes
    last: int
    tail: bytes


Parts = dict[int, Part]
#: Serials that go, and runs that come; each in order and without overlaps.
Changes = tuple[list[Serials], Runs]


def read_runs(content: bytes) -> Runs:
    """The runs of a leaf."""
    return list(RUN.iter_unpack(content))


def read_parts(content: bytes) -> Parts:
    """The children of an inner node that are not empty."""
    return {which: Part(*part) for which, *part in _PART.iter_unpack(content)}


def said(parts: Parts) -> tuple[Summary, ...]:
    """What is said of the sixteen children."""
    return tuple(Summary(*parts[which][:2]) if which in parts else NOTHING for which in range(FANOUT))


def counted(parts: Parts) -> int:
    """How many runs they have together: one that goes on in the next child is counted once."""
    ordered = [parts[which] for which in sorted(parts)]
    going_on = sum(one.last + 1 == two.first and one.tail == two.head for one, two in pairwise(ordered))
    return sum(part.runs for part in ordered) - going_on


def whole(parts: Parts) -> Part:
    """A node of more than ``MOST_RUNS`` runs, by its children."""
    first, last = parts[min(parts)], parts[max(parts)]
    count = counted(parts)
    digest = of_children(count, said(parts)).digest
    return Part(count, digest, first.first, first.head, last.last, last.tail)


def leaf(runs: Runs) -> tuple[Part, Kept]:
    """A node of ``MOST_RUNS`` runs at most, one at least, and its row."""
    content = b"".join(starmap(RUN.pack, runs))
    count, digest = len(runs), of_packed(content).digest
    return Part(count, digest, runs[0][0], runs[0][2], runs[-1][1], runs[-1][2]), Kept(False, content)


def without(runs: Runs, gone: list[Serials]) -> Runs:
    """The runs that are left when serials go; raises CONFLICT unless all of them are there."""
    left: Runs = []
    at, taken = 0, 0
    for first, last, state in runs:
        while at < len(gone) and gone[at][0] <= last:
            begin, end = gone[at]
            cut = max(begin, first)
            if cut > first:
                left.append((first, cut - 1, state))
            taken += min(end, last) - cut + 1
            first = min(end, last) + 1
            if end > last:
                break
            at += 1
        if first <= last:
            left.append((first, last, state))
    if taken != sum(last - first + 1 for first, last in gone):
        raise _out_of_order("units leave that are not there")
    return left


def together(runs: Runs, coming: Runs) -> Runs:
    """Both as maximal runs; raises CONFLICT when a unit is in two."""
    pieces = sorted(runs + coming) if runs else coming
    found: Runs = []
    before_first, before_last, before_state = -1, -1, b""
    for first, last, state in pieces:
        if first <= before_last:
            raise _out_of_order("units come that are there")
        if first == before_last + 1 and state == before_state:
            before_last = last
            found[-1] = (before_first, last, state)
        else:
            before_first, before_last, before_state = first, last, state
            found.append((first, last, state))
    return found


def _out_of_order(what: str) -> GatewayError:
    return GatewayError(Kind.CONFLICT, f"{what}: moves of them lie on both sides of this cut; take a later one")


def split(key: Key, runs: Runs) -> Iterator[tuple[int, Runs]]:
    """The runs of each child that has any, clipped to it."""
    shift = 4 * (key.level - 1)
    at = 0
    for nr in range(runs[0][0] >> shift, (runs[-1][1] >> shift) + 1):
        begin, end = nr << shift, (nr + 1 << shift) - 1
        stop = bisect_left(runs, (end + 1,), at)
        own = runs[at:stop]
        if own and own[0][0] < begin:
            own[0] = (begin, *own[0][1:])
        going_on = bool(own) and own[-1][1] > end
        if going_on:
            own[-1] = (own[-1][0], end, own[-1][2])
        at = stop - going_on
        if own:
            yield nr % FANOUT, own


class Batch:
    """Changes of some series of one book, carried through their trees."""

    def __init__(self) -> None:
        self.rows: dict[Key, Kept] = {}
        self.gone: set[Key] = set()
        self._inner: list[dict[Key, Parts]] = [{} for _ in range(TOP + 1)]
        self._made: dict[Key, Part | None] = {}
        self._touched: dict[Key, set[int]] = {}
        self._going: dict[Key, Changes] = {}

    def touched(self, changes: Mapping[int, Changes]) -> list[Key]:
        """Take what changes in each series, by its number; the roots, which are to be loaded for ``descend``."""
        self._going = {Key(series_id, TOP, 0): one for series_id, one in changes.items()}
        return list(self._going)

    def descend(self, kept: Mapping[Key, Kept]) -> list[Key]:
        """Go on to the children of these nodes that are touched, which are to be loaded next; none at the bottom."""
        here, self._going = self._going, {}
        for key, changes in here.items():
            row = kept.get(key)
            if row is None or not row.inner:
                self._change(key, row, changes)
                continue
            self._inner[key.level][key] = read_parts(row.content)
            self._touched[key] = set()
            for which, own in _handed_down(key, changes):
                self._touched[key].add(which)
                self._going[key.child(which)] = own
        return list(self._going)

    def ascend(self, level: int) -> list[Key]:
        """Bring the inner nodes of a level up to date; children to load for ``join``, of those that are leaves now."""
        missing: list[Key] = []
        for key, parts in self._inner[level].items():
            for which in self._touched[key]:
                part = self._made.pop(key.child(which))
                if part is None:
                    parts.pop(which, None)
                else:
                    parts[which] = part
            if not parts:
                self._made[key] = None
                self.gone.add(key)
            elif counted(parts) > MOST_RUNS:
                self.rows[key] = Kept(True, _written(parts))
                self._made[key] = whole(parts)
            else:
                missing += [child for which in parts if (child := key.child(which)) not in self.rows]
        return missing

    def join(self, level: int, kept: Mapping[Key, Kept]) -> None:
        """Make leaves of the inner nodes of a level that have so few runs by now."""
        for key, parts in self._inner[level].items():
            if key in self._made:
                continue
            runs: Runs = []
            for which in sorted(parts):
                child = key.child(which)
                row = self.rows.pop(child, None) or kept[child]
                runs = runs + read_runs(row.content)
                self.gone.add(child)
            self._made[key], self.rows[key] = leaf(together([], runs))

    def roots(self) -> dict[int, Part | None]:
        """The node of all serials of each series that was touched; None where nothing is left."""
        return {key.series_id: part for key, part in self._made.items()}

    def _change(self, key: Key, row: Kept | None, changes: Changes) -> None:
        gone, coming = changes
        runs = without(read_runs(row.content) if row else [], gone)
        self._made[key] = self._build(key, together(runs, coming) if coming else runs)
        if row is not None and self._made[key] is None:
            self.gone.add(key)

    def _build(self, key: Key, runs: Runs) -> Part | None:
        if not runs:
            return None
        if len(runs) <= MOST_RUNS:
            part, self.rows[key] = leaf(runs)
            return part
        parts: Parts = {}
        for which, own in split(key, runs):
            part_of = self._build(key.child(which), own)
            assert part_of is not None
            parts[which] = part_of
        self.rows[key] = Kept(True, _written(parts))
        return whole(parts)


def _handed_down(key: Key, changes: Changes) -> Iterator[tuple[int, Changes]]:
    """What of the changes concerns each child."""
    shift = 4 * (key.level - 1)
    own: dict[int, Changes] = {}
    low = min(pieces[0][0] for pieces in changes if pieces) >> shift
    if all(not pieces or pieces[-1][1] >> shift == low for pieces in changes):  # as in most nodes
        yield low % FANOUT, changes
        return
    for first, last in changes[0]:
        for which, begin, end in _clipped(first, last, shift):
            own.setdefault(which, ([], []))[0].append((begin, end))
    for first, last, state in changes[1]:
        for which, begin, end in _clipped(first, last, shift):
            own.setdefault(which, ([], []))[1].append((begin, end, state))
    yield from own.items()


def _clipped(first: int, last: int, shift: int) -> Iterable[tuple[int, int, int]]:
    low, high = first >> shift, last >> shift
    if low == high:
        return ((low % FANOUT, first, last),)
    return [(nr % FANOUT, max(first, nr << shift), min(last, (nr + 1 << shift) - 1)) for nr in range(low, high + 1)]


def _written(parts: Parts) -> bytes:
    return b"".join(_PART.pack(which, *parts[which]) for which in sorted(parts))
