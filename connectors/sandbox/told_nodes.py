"""What is asked of nodes, and what is told of them: the bytes of ``asked`` and ``told``. No database here.

A question is a list of places, series' nodes and the directory's, each with what the asker has there. ``Telling``
decides what the answer tells of each (section 14 of the link contract): ``wanted`` are the nodes it has still to see,
``see`` shows them, and when none is wanted ``pack`` gives the bytes. So one statement answers many questions at once,
and nothing here waits. Raises ``Malformed`` for bytes that are no question.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Generic, TypeVar

from .directory import DEEPEST, Directory, Entry, children_of
from .nodes import FANOUT, MOST_RUNS, TOP, Key, Run
from .strictjson import Malformed

#: Nodes of one question.
MAX_ASKED = 4096
#: Bytes up to which nodes are told; what the widening adds, names and states come on top and stay within 4 MiB.
FULL_BYTES = 3 * 1024 * 1024
#: Nodes that are not told further, up to which all of them are.
MOST_WIDENED = 64
#: Bytes of a digest in a question and in an answer.
SHORT = 16
_NOTHING, _SAME, _BRIEF, _CHILDREN, _RUNS, _SERIES = range(6)
_MAX_VARINT = 8
#: Nodes of a question that are told before more of the book is looked at: what they show is at most 3 MiB.
_AT_ONCE = 128

T = TypeVar("T")


@dataclass(frozen=True)
class Asked:
    """A place, and the first bytes of the digests of the children that the asker has there."""

    place: "Place"
    known: Mapping[int, bytes]


@dataclass(frozen=True)
class Node:
    """A node of the serials of a series."""

    series: str
    key: Key


#: A node of a series, or a prefix of the directory.
Place = Node | str


@dataclass(frozen=True)
class Content:
    """What is in a node of serials: its runs if they are few, else (count, digest) of its children."""

    count: int
    runs: Sequence[Run] = ()
    children: Sequence[tuple[int, bytes]] = ()


class _Reader:
    def __init__(self, packed: bytes) -> None:
        self._packed, self._at = packed, 0

    def more(self) -> bool:
        return self._at < len(self._packed)

    def take(self, count: int) -> bytes:
        taken = self._packed[self._at : self._at + count]
        if len(taken) != count:
            raise Malformed("the question ends in the middle of a node")
        self._at += count
        return taken

    def varint(self) -> int:
        value = 0
        for nr in range(_MAX_VARINT):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << 7 * nr
            if byte < 0x80:
                return value
        raise Malformed("a number is too long")


def read(packed: bytes, series: Sequence[str]) -> list[Asked]:
    """Read a question; raises ``Malformed``."""
    reader, asked = _Reader(packed), list[Asked]()
    while reader.more():
        if len(asked) == MAX_ASKED:
            raise Malformed("more than 4096 nodes")
        place = _place(reader, series)
        mask = int.from_bytes(reader.take(2))
        asked.append(Asked(place, {which: reader.take(SHORT) for which in range(FANOUT) if mask >> which & 1}))
    return asked


def _place(reader: _Reader, series: Sequence[str]) -> Place:
    kind = reader.take(1)[0]
    if kind == 0:
        characters = reader.take(reader.take(1)[0])
        if len(characters) > DEEPEST or any(character > 15 for character in characters):
            raise Malformed("no prefix of the directory")
        return "".join(f"{character:x}" for character in characters)
    index = reader.varint() if kind == 1 else len(series)
    if index >= len(series):
        raise Malformed("neither a prefix nor a node of a series that is named")
    level = reader.take(1)[0]
    nr = reader.varint()
    if level > TOP or nr >> 4 * (TOP - level):
        raise Malformed("no node of a series")
    return Node(series[index], Key(level, nr))


def varint(value: int) -> bytes:
    """Write a number as unsigned LEB128."""
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)


@dataclass
class _Told:
    """A node in the answer: ``kind`` is its byte, ``parts`` what is told of the children."""

    place: Place
    kind: int
    count: int = 0
    digest: bytes = b""
    parts: list["_Told | None"] = field(default_factory=list)
    runs: Sequence[Run] = ()
    entries: Sequence[Entry] = ()

    def size(self) -> int:
        """Give about how many bytes it takes, rather more than fewer."""
        inside = sum(part.size() for part in self.parts if part)
        return 30 + inside + 24 * len(self.runs) + 24 * len(self.entries)


class Telling:
    """What the answer to a question tells, as far as the nodes of the book have been seen."""

    def __init__(self, asked: Sequence[Asked], directory: Directory) -> None:
        self._directory = directory
        self._asked = list(asked)
        self._told: list[_Told] = []
        self._seen: dict[Node, Content] = {}
        self._size = 0

    def wanted(self) -> list[Node]:
        """Give the nodes that must be seen before more can be told; none when all is told."""
        while self._size <= FULL_BYTES and (turn := self._asked[len(self._told) :][:_AT_ONCE]):
            unseen = self._unseen(turn)
            if unseen:
                return unseen
            self._begin(turn)
        while 0 < len(wide := self._wide()) <= MOST_WIDENED:
            nodes = [told.place for told in wide if isinstance(told.place, Node)]
            unseen = [node for node in nodes if node not in self._seen]
            if unseen:
                return unseen
            for told in wide:
                self._open(told, {})
        return []

    def see(self, contents: Mapping[Node, Content]) -> None:
        """Show what is in nodes that were wanted."""
        self._seen.update(contents)

    def pack(self) -> tuple[int, bytes, list[str], list[bytes]]:
        """Give how many nodes are told, the bytes that tell of them, and the series and states these name."""
        names, states = _Index[str](), _Index[bytes]()
        packed = b"".join(_packed(told, names.of, states.of) for told in self._told)
        return len(self._told), packed, names.values, states.values

    def _unseen(self, turn: Sequence[Asked]) -> list[Node]:
        """Give of the nodes asked for, and then of their children that are told as well, those not seen yet."""
        asked = [(one.place, one.known) for one in turn if isinstance(one.place, Node)]
        unseen = [node for node, _ in asked if node not in self._seen]
        if unseen:
            return unseen
        told = [
            Node(node.series, node.key.child(which))
            for node, known in asked
            for which, (count, digest) in enumerate(self._seen[node].children)
            if count and known.get(which) != digest[:SHORT]
        ]
        return [node for node in told if node not in self._seen]

    def _begin(self, turn: Sequence[Asked]) -> None:
        """Tell what is in these nodes and in their children, until the answer is full."""
        for asked in turn:
            told = _Told(asked.place, _BRIEF)
            self._open(told, asked.known)
            for part in told.parts if told.kind == _CHILDREN else ():
                if part and part.kind == _BRIEF:
                    self._open(part, {})
            self._size += told.size()
            if self._size > FULL_BYTES and self._told:
                break
            self._told.append(told)
        self._seen.clear()

    def _open(self, told: _Told, known: Mapping[int, bytes]) -> None:
        """Tell what is in a node, its children briefly; those the asker knows as they are need no more."""
        if isinstance(told.place, str):
            self._open_prefix(told, told.place, known)
            return
        content = self._seen[told.place]
        told.count = content.count
        if content.count <= MOST_RUNS:
            told.kind, told.runs = (_RUNS, content.runs) if content.count else (_NOTHING, ())
            return
        series, key = told.place.series, told.place.key
        told.kind = _CHILDREN
        told.parts = [
            _part(Node(series, key.child(which)), said, known.get(which)) for which, said in enumerate(content.children)
        ]

    def _open_prefix(self, told: _Told, prefix: str, known: Mapping[int, bytes]) -> None:
        told.count = len(self._directory.under(prefix))
        if self._directory.is_listed(prefix):
            told.entries = self._directory.under(prefix)
            told.kind = _SERIES if told.entries else _NOTHING
            told.parts = [
                _Told(Node(entry.name, entry.apex), _BRIEF, entry.count, entry.digest) for entry in told.entries
            ]
            return
        told.kind = _CHILDREN
        told.parts = [
            _part(child, self._directory.said(child), known.get(which))
            for which, child in enumerate(children_of(prefix))
        ]

    def _wide(self) -> list[_Told]:
        """Give the nodes of serials that have many runs and are told no further, up to one more than are widened."""
        briefs = (told for told in _all(self._told) if told.kind == _BRIEF and isinstance(told.place, Node))
        return list(islice((told for told in briefs if told.count > MOST_RUNS), MOST_WIDENED + 1))


class _Index(Generic[T]):
    """Values in the order in which they were first named."""

    def __init__(self) -> None:
        self._places: dict[T, int] = {}

    def of(self, value: T) -> int:
        return self._places.setdefault(value, len(self._places))

    @property
    def values(self) -> list[T]:
        return list(self._places)


def _part(place: Place, said: tuple[int, bytes], known: bytes | None) -> _Told | None:
    count, digest = said
    if not count:
        return None
    return _Told(place, _SAME if known == digest[:SHORT] else _BRIEF, count, digest)


def _all(told: Iterable[_Told | None]) -> Iterator[_Told]:
    for one in told:
        if one:
            yield one
            yield from _all(one.parts)


def _packed(told: _Told, series: Callable[[str], int], state: Callable[[bytes], int]) -> bytes:
    kind = bytes([told.kind])
    if told.kind == _BRIEF:
        return kind + varint(told.count) + told.digest[:SHORT]
    if told.kind == _CHILDREN:
        mask = sum(1 << which for which, part in enumerate(told.parts) if part)
        return kind + mask.to_bytes(2) + b"".join(_packed(part, series, state) for part in told.parts if part)
    if told.kind == _SERIES:
        listed = []
        for entry, part in zip(told.entries, told.parts, strict=True):
            apex = varint(series(entry.name)) + bytes([entry.apex.level]) + varint(entry.apex.nr)
            listed.append(apex + (_packed(part, series, state) if part else b""))
        return kind + varint(len(listed)) + b"".join(listed)
    if told.kind == _RUNS and isinstance(told.place, Node):
        return kind + varint(len(told.runs)) + _runs(told.runs, told.place.key.first, state)
    return kind


def _runs(runs: Sequence[Run], begins: int, state: Callable[[bytes], int]) -> bytes:
    written, free = [], begins
    for run in runs:
        written.append(varint(run.first - free) + varint(run.last - run.first + 1) + varint(state(run.state)))
        free = run.last + 1
    return b"".join(written)
