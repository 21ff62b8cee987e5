"""A registry's book for comparisons, and its answers about nodes, written from the link contract's section 14.

It shares with the gateway only the digests of ``domain.fingerprints``, which have tests and vectors of their own: nodes
are found, questions read and answers packed by code of its own. A series lies in arrays and what is said of its nodes
is kept, so that a book of ten million runs fits; a changed copy computes anew only what the changes touch. Synthetic.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from gateway.domain import fingerprints
from gateway.domain.fingerprints import (
    DirectoryContent,
    Node,
    NodeContent,
    Run,
    SeriesEntry,
    Summary,
    apex,
    of_children,
    of_runs,
)

FULL = 4 * 1024 * 1024
Key = tuple[int, int]
#: Of an answer: series, answered, told, states.
Answer = tuple[list[str], int, bytes, bytes]


class Series:
    """The runs of one series, in order and maximal: firsts, lasts, and the place of each state in ``palette``."""

    def __init__(
        self, name: str, firsts: "array[int]", lasts: "array[int]", states: "array[int]", palette: list[bytes]
    ):
        self.name, self.firsts, self.lasts, self.states, self.palette = name, firsts, lasts, states, palette
        self._kept: dict[Key, Summary] = {}
        self._before: dict[Key, Summary] = {}
        self._stale: set[Key] = set()

    @classmethod
    def of(cls, name: str, runs: Sequence[Run]) -> "Series":
        palette = sorted({run.state for run in runs})
        place = {state: nr for nr, state in enumerate(palette)}
        return cls(
            name,
            array("q", (run.first for run in runs)),
            array("q", (run.last for run in runs)),
            array("H", (place[run.state] for run in runs)),
            palette,
        )

    def after(self, other: "Series", touched: Iterable[tuple[int, int]]) -> "Series":
        """This, which is another series but in these ranges: what is said of other nodes is taken over."""
        self._before = other._kept
        self._stale = {
            (level, nr)
            for first, last in touched
            for level in range(fingerprints.TOP + 1)
            for nr in range(first >> 4 * level, (last >> 4 * level) + 1)
        }
        return self

    @property
    def entry(self) -> SeriesEntry:
        node = apex(self.name, self.firsts[0], self.lasts[-1])
        return SeriesEntry(node, self.summary(node))

    def summary(self, node: Node) -> Summary:
        return self._summary(node.level, node.nr, 0, len(self.firsts))

    def content(self, node: Node) -> NodeContent:
        low, high = self._inside(node.level, node.nr, 0, len(self.firsts))
        summary = self.summary(node)
        if summary.count <= 64:
            return NodeContent(node, summary, runs=tuple(self._runs(node.first, node.last, low, high)))
        children = [self._summary(node.level - 1, 16 * node.nr + which, low, high) for which in range(16)]
        return NodeContent(node, summary, children=tuple(children))

    def _inside(self, level: int, nr: int, low: int, high: int) -> tuple[int, int]:
        first, after = nr << 4 * level, nr + 1 << 4 * level
        return bisect_left(self.lasts, first, low, high), bisect_left(self.firsts, after, low, high)

    def _runs(self, first: int, last: int, low: int, high: int) -> Iterator[Run]:
        for at in range(low, high):
            state = self.palette[self.states[at]]
            yield Run(max(self.firsts[at], first), min(self.lasts[at], last), state)

    def _summary(self, level: int, nr: int, low: int, high: int) -> Summary:
        key = level, nr
        if (kept := self._kept.get(key)) is not None:
            return kept
        if key not in self._stale and (kept := self._before.get(key)) is not None:
            return kept
        low, high = self._inside(level, nr, low, high)
        if high - low <= 64:
            made = of_runs(self._runs(nr << 4 * level, (nr + 1 << 4 * level) - 1, low, high))
        else:
            children = [self._summary(level - 1, 16 * nr + which, low, high) for which in range(16)]
            made = of_children(high - low, children)
        if high > low:
            self._kept[key] = made
        return made


class Book:
    """Series by name. ``full`` is how many bytes of an answer are enough."""

    def __init__(self, series: Iterable[Series], full: int = FULL) -> None:
        self.series = {one.name: one for one in series if len(one.firsts)}
        self.full = full
        self._directories: dict[str, DirectoryContent] = {}
        self._entries = [one.entry for one in self.series.values()]

    @classmethod
    def of(cls, runs: dict[str, list[Run]], full: int = FULL) -> "Book":
        return cls((Series.of(name, of) for name, of in runs.items()), full)

    @property
    def root(self) -> bytes:
        return self.directory("").summary.digest

    def directory(self, prefix: str) -> DirectoryContent:
        if prefix not in self._directories:
            self._directories[prefix] = fingerprints.directory(prefix, self._entries)
        return self._directories[prefix]

    def node(self, node: Node) -> NodeContent:
        if node.series not in self.series:
            return NodeContent(node, fingerprints.NOTHING)
        return self.series[node.series].content(node)

    def content(self, target: Node | str) -> NodeContent | DirectoryContent:
        return self.directory(target) if isinstance(target, str) else self.node(target)

    def answer(self, series: Sequence[str], asked: bytes) -> Answer:
        """What a registry answers to ``series`` and ``asked`` of a ``positions.query``."""
        writing = Writing()
        trees: list[Any] = []
        size = 0
        for target, said in read_asked(series, asked):
            trees.append(self._told(target, said))
            size += Writing().write(trees[-1])
            if size >= self.full:
                break
        self.expand(trees)
        for tree in trees:
            writing.write(tree)
        return list(writing.series), len(trees), bytes(writing.packed), b"".join(writing.states)

    def _told(self, target: Node | str, said: list[bytes]) -> Any:
        content = self.content(target)
        if content.summary.count <= 64:
            return _listed(content)
        parts: list[Any] = []
        for which, child in enumerate(content.children):
            under = _child(target, which)
            if child.count == 0:
                parts.append(None)
            elif said[which] == child.digest[:16]:
                parts.append("same")
            elif child.count <= 64:
                parts.append(_listed(self.content(under)))
            else:
                parts.append(["children", self._digests(under)])
        return ["children", parts]

    def _digests(self, target: Node | str) -> list[Any]:
        return [
            ["digest", _child(target, which), child] if child.count else None
            for which, child in enumerate(self.content(target).children)
        ]

    def expand(self, trees: list[Any]) -> None:
        """Tell nodes of many runs further, as long as there are few of them."""
        while 1 <= len(many := [one for tree in trees for one in _many(tree)]) <= 64:
            for one in many:
                one[:] = ["children", self._digests(one[1])]


def _child(target: Node | str, which: int) -> Node | str:
    return f"{target}{which:x}" if isinstance(target, str) else target.child(which)


def _listed(content: NodeContent | DirectoryContent) -> Any:
    if not content.summary.count:
        return None
    if isinstance(content, NodeContent):
        return ["runs", content.node, content.runs]
    return ["series", [[one.apex, ["digest", one.apex, one.summary]] for one in content.series]]


def _many(tree: Any) -> Iterator[list[Any]]:
    """Nodes of serials told by a digest that have more than 64 runs."""
    if tree is None or tree == "same":
        return
    if tree[0] == "digest" and isinstance(tree[1], Node) and tree[2].count > 64:
        yield tree
    elif tree[0] == "children":
        for part in tree[1]:
            yield from _many(part)
    elif tree[0] == "series":
        for _, part in tree[1]:
            yield from _many(part)


class Writing:
    """Packs nodes told: None, "same", or a list of what it is and what belongs to it."""

    def __init__(self) -> None:
        self.packed = bytearray()
        self.series: dict[str, int] = {}
        self.states: dict[bytes, int] = {}

    def write(self, tree: Any) -> int:
        """How many bytes there are then."""
        if tree is None or tree == "same":
            self.packed.append(0 if tree is None else 1)
        else:
            getattr(self, f"_{tree[0]}")(*tree[1:])
        return len(self.packed)

    def number(self, value: int) -> None:
        while value >= 128:
            self.packed.append(128 | value % 128)
            value //= 128
        self.packed.append(value)

    def _digest(self, _: Node | str, summary: Summary) -> None:
        self.packed.append(2)
        self.number(summary.count)
        self.packed += summary.digest[:16]

    def _children(self, parts: list[Any]) -> None:
        self.packed.append(3)
        self.packed += sum(2**nr for nr, part in enumerate(parts) if part is not None).to_bytes(2, "big")
        for part in parts:
            if part is not None:
                self.write(part)

    def _runs(self, node: Node, runs: Sequence[Run]) -> None:
        self.packed.append(4)
        self.number(len(runs))
        free = node.first
        for run in runs:
            self.number(run.first - free)
            self.number(run.last - run.first + 1)
            self.number(self.states.setdefault(run.state, len(self.states)))
            free = run.last + 1

    def _series(self, listed: list[Any]) -> None:
        self.packed.append(5)
        self.number(len(listed))
        for node, told in listed:
            self.number(self.series.setdefault(node.series, len(self.series)))
            self.packed.append(node.level)
            self.number(node.nr)
            self.write(told)


def read_asked(series: Sequence[str], asked: bytes) -> Iterator[tuple[Node | str, list[bytes]]]:
    """The nodes asked for, and of each what is said of its sixteen children."""
    at = 0

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte, at = asked[at], at + 1
            value |= byte % 128 << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(asked):
        kind, at = asked[at], at + 1
        target: Node | str
        if kind == 0:
            target = asked[at + 1 : at + 1 + asked[at]].hex()[1::2]
            at += 1 + asked[at]
        else:
            name = series[number()]
            level, at = asked[at], at + 1
            target = Node(name, level, number())
        there = int.from_bytes(asked[at : at + 2], "big")
        at += 2
        said = [b""] * 16
        for which in range(16):
            if there & 2**which:
                said[which], at = asked[at : at + 16], at + 16
        assert all(len(one) in (0, 16) for one in said)
        yield target, said
