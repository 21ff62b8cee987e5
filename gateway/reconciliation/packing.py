"""Nodes asked and told, in the bytes of ``openapi/link.yaml`` section 14: the questions written, the answers read.

``read_told`` takes what a peer made and believes nothing: whatever has no meaning in the contract, or more than one, is
refused (6901), and no byte is left over. It proves form only; that what is told is true of the digests told before is
for ``comparing`` and ``proof``. Memory is bounded by the bytes: the least of a node is one, of a run three.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn, TypeVar

from gateway.domain.fingerprints import DEEPEST, FANOUT, HASH_BYTES, MOST_RUNS, TOP, Node, Run, Summary, hashed
from gateway.domain.identifiers import MAX_SERIAL
from gateway.errors import GatewayError, Kind

#: Bytes of a digest that are asked and told; the root of a book is told whole, in the answer about the cut.
START = 16
#: Nodes of one question, by the contract.
MAX_ASKED = 4096
#: Bytes of a packed field: 5,600,000 characters of base64url, by the contract.
MAX_PACKED = 4_200_000
#: Bytes of a varint: 56 bits, more than a serial has.
MAX_VARINT = 8
#: Kinds of a node told.
_NOTHING, _AS_SAID, _DIGEST, _CHILDREN, _RUNS, _SERIES = range(6)
_DIRECTORY, _SERIALS = range(2)


@dataclass(frozen=True, slots=True)
class Asked:
    """A node asked for: of a series, or a prefix of the directory; ``said`` are the asker's sixteen children.

    Of each child the first 16 bytes of its digest, empty where nothing is; no children at all: nothing is said.
    """

    target: Node | str
    said: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Nothing:
    """Nothing is there."""


@dataclass(frozen=True, slots=True)
class AsSaid:
    """A child: it is as the asker said."""


@dataclass(frozen=True, slots=True)
class Digest:
    """A node that is not told further: its count, and the first 16 bytes of its digest."""

    count: int
    start: bytes

    def fits(self, summary: Summary) -> bool:
        """Whether it is said of the same content."""
        return self == Digest(summary.count, summary.digest[:START])


@dataclass(frozen=True, slots=True)
class Children:
    """The sixteen children of a node."""

    parts: tuple["Told", ...]


@dataclass(frozen=True, slots=True)
class Runs:
    """The runs of a node of serials, 64 at most."""

    runs: tuple[Run, ...]


@dataclass(frozen=True, slots=True)
class Listed:
    """The series of a directory node, 64 at most: the apex of each, and what is told of it."""

    series: tuple[tuple[Node, "Told"], ...]


#: Names of series, by the contract.
_NAME = re.compile(r"[A-Z]{3}[0-9]{2}/.{1,256}", re.DOTALL)
_One = TypeVar("_One", str, bytes)
Told = Nothing | AsSaid | Digest | Children | Runs | Listed
NOTHING_TOLD = Nothing()


def impossible(detail: str) -> NoReturn:
    """Raise 6901: what is answered about a cut cannot be true."""
    raise GatewayError(Kind.REJECTED, detail, code=6901)


def write_asked(nodes: Sequence[Asked]) -> tuple[list[str], bytes]:
    """A question's ``series`` and ``asked``."""
    places: dict[str, int] = {}
    packed = bytearray()
    for one in nodes:
        if isinstance(one.target, str):
            packed += bytes([_DIRECTORY, len(one.target), *(int(letter, 16) for letter in one.target)])
        else:
            packed.append(_SERIALS)
            _write_varint(packed, places.setdefault(one.target.series, len(places)))
            packed.append(one.target.level)
            _write_varint(packed, one.target.nr)
        packed += sum(1 << which for which, start in enumerate(one.said) if start).to_bytes(2)
        packed += b"".join(one.said)
    return list(places), bytes(packed)


def read_told(asked: Sequence[Asked], series: Sequence[str], told: bytes, states: bytes) -> list[Told]:
    """What an answer tells of the nodes asked for; 6901 where its bytes are not of the contract."""
    if max(len(told), len(states)) > MAX_PACKED:
        impossible("more is told than a message may hold")
    if len(states) % HASH_BYTES:
        impossible("states are not 32 bytes each")
    reading = _Reading(series, told, [states[at : at + HASH_BYTES] for at in range(0, len(states), HASH_BYTES)])
    found = [reading.asked_for(one) for one in asked]
    reading.end()
    return found


def _write_varint(packed: bytearray, value: int) -> None:
    while value > 0x7F:
        packed.append(value & 0x7F | 0x80)
        value >>= 7
    packed.append(value)


class _Reading:
    """One pass over the bytes told."""

    def __init__(self, series: Sequence[str], told: bytes, states: Sequence[bytes]) -> None:
        self._series, self._told, self._states = series, told, states
        self._at = 0

    def end(self) -> None:
        if self._at != len(self._told):
            impossible("bytes are left over after the nodes told")

    def asked_for(self, one: Asked) -> Told:
        """A node that was asked for: told as nothing, as its runs or series, or by its children."""
        kind = self._byte()
        if kind == _NOTHING:
            return NOTHING_TOLD
        if kind in (_AS_SAID, _DIGEST):
            impossible("a node that was asked for is not told")
        return self._further(kind, one.target, one.said)

    def _part(self, target: Node | str, said: bytes) -> Told:
        """A child, or the apex of a series."""
        kind = self._byte()
        if kind == _NOTHING:
            impossible("a node that is said not to be empty is told as nothing")
        if kind == _AS_SAID:
            if not said:
                impossible("a node is told to be as was said, and nothing was said of it")
            return AsSaid()
        if kind == _DIGEST:
            if not (count := self._varint()):
                impossible("a node of which nothing is counted has a digest")
            return Digest(count, self._bytes(START))
        return self._further(kind, target, ())

    def _further(self, kind: int, target: Node | str, said: tuple[bytes, ...]) -> Told:
        if kind == _CHILDREN:
            return self._children(target, said)
        if kind == _RUNS and isinstance(target, Node):
            return self._runs(target)
        if kind == _SERIES and isinstance(target, str):
            return self._listed(target)
        impossible(f"a node cannot be told as {kind}")

    def _children(self, target: Node | str, said: tuple[bytes, ...]) -> Children:
        if len(target) == DEEPEST if isinstance(target, str) else target.level == 0:
            impossible("a node that has no children is told by its children")
        if not (there := int.from_bytes(self._bytes(2))):
            impossible("a node is told by its children, and none of them is there")
        parts: list[Told] = []
        for which in range(FANOUT):
            if there >> which & 1:
                child = f"{target}{which:x}" if isinstance(target, str) else target.child(which)
                parts.append(self._part(child, said[which] if said else b""))
            else:
                parts.append(NOTHING_TOLD)
        return Children(tuple(parts))

    def _runs(self, node: Node) -> Runs:
        runs: list[Run] = []
        after, end = node.first, min(node.last, MAX_SERIAL)
        for _ in range(self._few("runs")):
            first = after + self._varint()
            last = first + self._varint() - 1
            state = self._pick(self._states, "a state")
            if not 1 <= first <= last <= end:
                impossible("a run does not lie in its node")
            if runs and runs[-1].last + 1 == first and runs[-1].state == state:
                impossible("two runs side by side are in one state")
            runs.append(Run(first, last, state))
            after = last + 1
        return Runs(tuple(runs))

    def _listed(self, prefix: str) -> Listed:
        found: dict[str, tuple[Node, Told]] = {}
        for _ in range(self._few("series")):
            name = self._pick(self._series, "a series")
            if not _NAME.fullmatch(name):
                impossible("a series is not named as series are")
            if name in found or not hashed(name).hex().startswith(prefix):
                impossible("a series is told twice, or under another's prefix")
            level, nr = self._byte(), self._varint()
            if level > TOP or nr > MAX_SERIAL >> 4 * level:
                impossible("the apex of a series lies beyond the serials")
            apex = Node(name, level, nr)
            found[name] = (apex, self._part(apex, b""))
        return Listed(tuple(found.values()))

    def _few(self, what: str) -> int:
        if not 1 <= (count := self._varint()) <= MOST_RUNS:
            impossible(f"{count} {what} are listed of a node")
        return count

    def _pick(self, among: Sequence[_One], what: str) -> _One:
        if (index := self._varint()) >= len(among):
            impossible(f"{what} that is not in the answer is meant")
        return among[index]

    def _varint(self) -> int:
        value = shift = 0
        for byte in self._told[self._at : self._at + MAX_VARINT]:
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                if value >> shift - 7 == 0 and shift > 7:
                    impossible("a number is written longer than it is")
                self._at += shift // 7
                return value
        if shift < 7 * MAX_VARINT:
            impossible("what is told ends in the middle of a node")
        impossible("a number has more than 8 bytes")

    def _byte(self) -> int:
        return self._bytes(1)[0]

    def _bytes(self, number: int) -> bytes:
        taken = self._told[self._at : self._at + number]
        if len(taken) < number:
            impossible("what is told ends in the middle of a node")
        self._at += number
        return taken
