"""Nodes of a series: what is kept of the units of a book so that it can be compared. No database here.

A *run* is a longest range of serials of one series in one state, which its SHA-256 names. A *node* is the interval of
16^level serials that begins at nr * 16^level. Of a node with ``MOST_RUNS`` runs or fewer the runs are kept (a
``Leaf``), of one with more what is said of its sixteen children (an ``Inner``); nodes in which nothing is are not kept,
and of the series only what lies in its *apex*, the smallest node with all its units. A ``Tree`` changes where units
were touched, and nowhere else: what it needs and was not given is named in ``missing``. Digests are as the link
contract writes them (section 14).
"""

import hashlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

#: Runs of a node, and series of a node of the directory, up to which they are listed.
MOST_RUNS = 64
FANOUT = 16
#: Level of the one node that every serial lies in.
TOP = 14
#: Where no unit is, there is no state either.
NO_STATE = bytes(32)
_RUN_BYTES, _SUMMARY_BYTES = 48, 104


class Key(NamedTuple):
    """A node of a series."""

    level: int
    nr: int

    @property
    def first(self) -> int:
        """Its first serial; 0, which no unit has, for the first of each level."""
        return self.nr << 4 * self.level

    @property
    def last(self) -> int:
        """Its last serial."""
        return (self.nr + 1 << 4 * self.level) - 1

    def child(self, which: int) -> "Key":
        """One of its sixteen children."""
        return Key(self.level - 1, self.nr * FANOUT + which)

    def parent(self) -> "Key":
        """The node it is a child of."""
        return Key(self.level + 1, self.nr // FANOUT)

    def holds(self, other: "Key") -> bool:
        """Whether ``other`` is this node, or lies in it."""
        return other.level <= self.level and other.nr >> 4 * (self.level - other.level) == self.nr


class Run(NamedTuple):
    """Units ``first`` to ``last`` in one state, by its SHA-256."""

    first: int
    last: int
    state: bytes


@dataclass(frozen=True, slots=True)
class Summary:
    """What is said of a node that is not empty; ``head`` and ``tail`` are the states at its first and last serial."""

    count: int
    digest: bytes
    head: bytes
    tail: bytes


@dataclass(frozen=True)
class Leaf:
    """A node by its runs, clipped to it."""

    runs: tuple[Run, ...]

    def summary(self, key: Key) -> Summary:
        """Say what its parent keeps of it."""
        first, last = self.runs[0], self.runs[-1]
        head = first.state if first.first == key.first else NO_STATE
        return Summary(
            len(self.runs), digest_of_runs(self.runs), head, last.state if last.last == key.last else NO_STATE
        )

    def packed(self) -> bytes:
        """Write it for the database."""
        return b"".join(run.first.to_bytes(8) + run.last.to_bytes(8) + run.state for run in self.runs)


@dataclass(frozen=True)
class Inner:
    """A node by its children; ``None`` is an empty one."""

    children: tuple[Summary | None, ...]

    @property
    def count(self) -> int:
        """Its runs: those of its children, where one that goes on in the next child is one."""
        whole = sum(child.count for child in self.children if child)
        for left, right in zip(self.children, self.children[1:], strict=False):
            if left and right and left.tail == right.head != NO_STATE:
                whole -= 1
        return whole

    def summary(self) -> Summary:
        """Say what its parent keeps of it."""
        first, last = self.children[0], self.children[-1]
        digest = digest_of_children((child.count, child.digest) if child else (0, NO_STATE) for child in self.children)
        return Summary(self.count, digest, first.head if first else NO_STATE, last.tail if last else NO_STATE)

    def packed(self) -> bytes:
        """Write it for the database."""
        mask = sum(1 << which for which, child in enumerate(self.children) if child)
        said = (c.count.to_bytes(8) + c.digest + c.head + c.tail for c in self.children if c)
        return mask.to_bytes(2) + b"".join(said)


Kept = Leaf | Inner


def leaf_of(packed: bytes) -> Leaf:
    """Read what ``Leaf.packed`` wrote."""
    return Leaf(
        tuple(
            Run(
                int.from_bytes(packed[at : at + 8]), int.from_bytes(packed[at + 8 : at + 16]), packed[at + 16 : at + 48]
            )
            for at in range(0, len(packed), _RUN_BYTES)
        )
    )


def inner_of(packed: bytes) -> Inner:
    """Read what ``Inner.packed`` wrote."""
    mask, at = int.from_bytes(packed[:2]), 2
    children: list[Summary | None] = []
    for which in range(FANOUT):
        if not mask >> which & 1:
            children.append(None)
            continue
        said = packed[at : at + _SUMMARY_BYTES]
        children.append(Summary(int.from_bytes(said[:8]), said[8:40], said[40:72], said[72:]))
        at += _SUMMARY_BYTES
    return Inner(tuple(children))


def digest_of_runs(runs: Iterable[Run]) -> bytes:
    """Digest of a node with these runs, ``MOST_RUNS`` at most; of none it is 32 zero bytes."""
    said = b"".join(run.first.to_bytes(8) + run.last.to_bytes(8) + run.state for run in runs)
    return hashlib.sha256(b"\0" + said).digest() if said else NO_STATE


def digest_of_children(children: Iterable[tuple[int, bytes]]) -> bytes:
    """Digest of a node with more runs, by (count, digest) of its sixteen children."""
    return hashlib.sha256(b"\1" + b"".join(count.to_bytes(8) + digest for count, digest in children)).digest()


def smallest(first: int, last: int) -> Key:
    """Give the smallest node with both serials: the apex of a series whose units lie between them."""
    level = 0
    while first >> 4 * level != last >> 4 * level:
        level += 1
    return Key(level, first >> 4 * level)


def joined(pieces: Iterable[Run]) -> list[Run]:
    """Join pieces, in order and apart, to longest runs."""
    runs: list[Run] = []
    for piece in pieces:
        if runs and runs[-1].last + 1 == piece.first and runs[-1].state == piece.state:
            runs[-1] = Run(runs[-1].first, piece.last, piece.state)
        else:
            runs.append(piece)
    return runs


def clipped(runs: Sequence[Run], first: int, last: int) -> list[Run]:
    """Give the runs, in order, inside an interval, cut at its ends."""
    begin = bisect_left(runs, first, key=lambda run: run.last)
    end = bisect_right(runs, last, key=lambda run: run.first)
    return [Run(max(run.first, first), min(run.last, last), run.state) for run in runs[begin:end]]


def merged(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Give the same serials as ranges in order that neither meet nor touch."""
    whole: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if whole and first <= whole[-1][1] + 1:
            whole[-1] = (whole[-1][0], max(last, whole[-1][1]))
        else:
            whole.append((first, last))
    return whole


def _patched(runs: Sequence[Run], touched: Sequence[tuple[int, int]], now: Sequence[Run]) -> list[Run]:
    """Give the runs with what is now in the touched ranges instead of what was."""
    stays: list[Run] = []
    at = 0
    for run in runs:
        first = run.first
        while at and touched[at - 1][1] >= first:
            at -= 1
        while at < len(touched) and touched[at][1] < first:
            at += 1
        for low, high in touched[at:]:
            if low > run.last:
                break
            if first < low:
                stays.append(Run(first, low - 1, run.state))
            first = high + 1
        if first <= run.last:
            stays.append(Run(first, run.last, run.state))
    return joined(sorted([*stays, *now]))


class Tree:
    """Kept nodes of one series, as far as they are at hand, and what becomes of them.

    ``changed`` gives each node that is to be written, or ``None`` for one that is to go.
    """

    def __init__(self, kept: Mapping[Key, Kept]) -> None:
        self._kept = kept
        self.changed: dict[Key, Kept | None] = {}
        self.missing: set[Key] = set()

    def built(self, runs: Sequence[Run]) -> tuple[Key, Summary] | None:
        """Make the nodes of a series from all its runs; gives its apex."""
        if not runs:
            return None
        apex = smallest(runs[0].first, runs[-1].last)
        summary = self._build(apex, runs)
        return (apex, summary) if summary else None

    def grown(
        self, apex: tuple[Key, Summary] | None, touched: Sequence[tuple[int, int]], now: Sequence[Run]
    ) -> tuple[Key, Summary] | None:
        """Change the nodes where units were touched; ``now`` are the runs inside these ranges. Gives the new apex.

        The result counts only if nothing is ``missing``.
        """
        if apex is None:
            return self.built(now)
        root = smallest(min(apex[0].first, touched[0][0]), max(apex[0].last, touched[-1][1]))
        if root == apex[0] and root not in self._kept:
            self.missing.add(root)
            return None
        above, summary = apex
        self._kept = dict(self._kept)
        while above != root:
            which, above = above.nr % FANOUT, above.parent()
            inner = Inner(tuple(summary if nr == which else None for nr in range(FANOUT)))
            self._kept[above] = inner
            summary = inner.summary()
        grown = self._update(root, touched, now)
        return None if grown is None or self.missing else self._lowered(root, grown)

    def _lowered(self, key: Key, summary: Summary) -> tuple[Key, Summary]:
        """Go down to the smallest node in which everything is: nodes above the apex are not kept."""
        node = self._now(key)
        while isinstance(node, Inner) and len(inside := [nr for nr in range(FANOUT) if node.children[nr]]) == 1:
            self.changed[key] = None
            key, summary = key.child(inside[0]), node.children[inside[0]] or summary
            node = self._now(key)
        if not isinstance(node, Leaf):
            return key, summary
        lowest = smallest(node.runs[0].first, node.runs[-1].last)
        if lowest != key:
            self.changed[key] = None
            self.changed[lowest] = node
        return lowest, node.summary(lowest)

    def _now(self, key: Key) -> Kept | None:
        return self.changed[key] if key in self.changed else self._kept.get(key)

    def _put(self, key: Key, node: Kept | None) -> None:
        if node is not None or key in self._kept or key in self.changed:
            self.changed[key] = node

    def _build(self, key: Key, runs: Sequence[Run]) -> Summary | None:
        if len(runs) <= MOST_RUNS:
            leaf = Leaf(tuple(runs)) if runs else None
            self._put(key, leaf)
            return leaf.summary(key) if leaf else None
        parts = [key.child(which) for which in range(FANOUT)]
        inner = Inner(tuple(self._build(part, clipped(runs, part.first, part.last)) for part in parts))
        self._put(key, inner)
        return inner.summary()

    def _update(self, key: Key, touched: Sequence[tuple[int, int]], now: Sequence[Run]) -> Summary | None:
        kept = self._kept.get(key)
        if not isinstance(kept, Inner):
            return self._build(key, _patched(kept.runs if kept else (), touched, now))
        children = list(kept.children)
        for which, ranges in _parts(key, touched):
            part = key.child(which)
            if children[which] is not None and part not in self._kept:
                self.missing.add(part)
                continue
            children[which] = self._update(part, ranges, clipped(now, part.first, part.last))
        inner = Inner(tuple(children))
        if inner.count > MOST_RUNS:
            self._put(key, inner)
            return inner.summary()
        return self._build(key, joined(self._gathered(key, inner)))

    def _gathered(self, key: Key, inner: Inner) -> Iterator[Run]:
        """Give the runs of children that are not kept any more, because together they are few."""
        for which in range(FANOUT):
            part = key.child(which)
            if inner.children[which]:
                node = self._now(part)
                if isinstance(node, Leaf):
                    yield from node.runs
                elif isinstance(node, Inner):  # above the apex: it stands for the one child it has
                    yield from self._gathered(part, node)
                else:
                    self.missing.add(part)
            self._put(part, None)


def _parts(key: Key, touched: Sequence[tuple[int, int]]) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    """Give for each child that is touched its ranges, cut at its ends."""
    by_child: dict[int, list[tuple[int, int]]] = {}
    shift = 4 * (key.level - 1)
    for low, high in touched:
        begin, end = max(low, key.first), min(high, key.last)
        for nr in range(begin >> shift, (end >> shift) + 1):
            part = Key(key.level - 1, nr)
            by_child.setdefault(nr % FANOUT, []).append((max(begin, part.first), min(end, part.last)))
    yield from by_child.items()
