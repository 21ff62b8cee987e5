"""Fingerprints of books: digests by which two registries find where their books differ, and nothing more is sent.

A *book* is what one registry (a section is one) holds. Its units lie on the serials of their series, 1 to 2^53 - 1. A
*run* is the longest range of serials of one series whose units are in one *state*: a text that says all that is
compared of a unit. A *node* is an interval of serials that is the same for everybody: of 16^level serials, beginning at
a multiple of that. Of the runs, clipped to it, a node has a count and a digest, so a block that was cut or joined
without changing a unit changes neither. Where it has more than ``MOST_RUNS`` the digest is over those of its sixteen
children, so that a change touches one path. Above the series lies the *directory*: nodes that are prefixes of the
SHA-256 of a series' name, one character of sixteen a level.

The same is written for registries in ``openapi/link.yaml``, section 14. Digests are SHA-256 and never summed: sums can
be forged (anchor: Meyer, arXiv 2212.13567).
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: Runs of a node, and series of a directory node, up to which they are listed.
MOST_RUNS = 64
FANOUT = 16
#: Level of the interval that every serial lies in: 16^14 is beyond 2^53.
TOP = 14
#: Characters of a directory's longest prefix: 2^64 buckets, which no two series of a book share by chance.
DEEPEST = 16
HASH_BYTES = 32
#: A run as it is hashed.
RUN_BYTES = 16 + HASH_BYTES
#: What digests begin with, so that one of a kind is never taken for one of another.
_RUNS, _CHILDREN, _SERIES, _PREFIXES = (bytes([kind]) for kind in range(4))
_CANONICAL = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True)


@dataclass(frozen=True, slots=True)
class Run:
    """Units ``first`` to ``last`` of a series, in one state, which is named by its SHA-256 (32 bytes)."""

    first: int
    last: int
    state: bytes


@dataclass(frozen=True, slots=True)
class Summary:
    """What is said of a node: how many runs (or series, of a directory node) it has, and its digest (32 bytes)."""

    count: int
    digest: bytes


#: A node in which nothing is.
NOTHING = Summary(0, bytes(HASH_BYTES))


@dataclass(frozen=True, slots=True, order=True)
class Node:
    """An interval of the serials of a series, which is named ``REGISTRY/SERIES``."""

    series: str
    level: int
    nr: int

    @property
    def first(self) -> int:
        """Its first serial; 0, which no unit has, for the first node of each level."""
        return self.nr << 4 * self.level

    @property
    def last(self) -> int:
        """Its last serial."""
        return (self.nr + 1 << 4 * self.level) - 1

    @property
    def parent(self) -> "Node":
        """The node that it is a child of."""
        return Node(self.series, self.level + 1, self.nr // FANOUT)

    def child(self, which: int) -> "Node":
        """One of its children, 0 to 15."""
        return Node(self.series, self.level - 1, self.nr * FANOUT + which)

    def holds(self, other: "Node") -> bool:
        """Whether another node of the series is this one or lies in it."""
        return other.level <= self.level and other.nr >> 4 * (self.level - other.level) == self.nr


def apex(series: str, first: int, last: int) -> Node:
    """The smallest node that holds these serials."""
    level = 0
    while first >> 4 * level != last >> 4 * level:
        level += 1
    return Node(series, level, first >> 4 * level)


@dataclass(frozen=True, slots=True)
class SeriesEntry:
    """A series in a directory: the smallest node that holds all its units, and what is said of that."""

    apex: Node
    summary: Summary

    @property
    def name(self) -> str:
        """``REGISTRY/SERIES``."""
        return self.apex.series


@dataclass(frozen=True, slots=True)
class NodeContent:
    """A node of serials: its runs if it has ``MOST_RUNS`` at most, else what is said of its sixteen children."""

    node: Node
    summary: Summary
    runs: tuple[Run, ...] = ()
    children: tuple[Summary, ...] = ()


@dataclass(frozen=True, slots=True)
class DirectoryContent:
    """A node of the directory: its series, by their names' SHA-256, or what is said of its sixteen children."""

    prefix: str
    summary: Summary
    series: tuple[SeriesEntry, ...] = ()
    children: tuple[Summary, ...] = ()


def state_text(party: str, account_type: int, attributes: Mapping[str, Any], itmo: tuple[str, int] | None) -> str:
    """All that is compared of a unit, as RFC 8785 JSON; ``itmo`` is the stem of its identifier and the offset.

    That it was first transferred shows in its having an identifier, which it gets then and keeps.
    """
    named = None if itmo is None else {"stem": itmo[0], "offset": itmo[1]}
    return _CANONICAL.encode(
        {"party": party, "account_type": account_type, "attributes": dict(attributes), "itmo": named}
    )


def hashed(text: str) -> bytes:
    """The SHA-256 of a state, or of the name of a series."""
    return hashlib.sha256(text.encode()).digest()


def of_runs(runs: Iterable[Run]) -> Summary:
    """What is said of a node with these runs, in order and clipped to it: at most ``MOST_RUNS``."""
    return of_packed(b"".join(run.first.to_bytes(8) + run.last.to_bytes(8) + run.state for run in runs))


def of_packed(runs: bytes) -> Summary:
    """The same of runs as they are hashed, ``RUN_BYTES`` each: first, last (8 bytes, big-endian), state."""
    return Summary(len(runs) // RUN_BYTES, hashlib.sha256(_RUNS + runs).digest()) if runs else NOTHING


def of_children(count: int, children: Sequence[Summary]) -> Summary:
    """What is said of a node of ``count`` runs, more than ``MOST_RUNS``, by what is said of its sixteen children."""
    return Summary(count, hashlib.sha256(_CHILDREN + _written(children)).digest())


def of_series(entries: Sequence[SeriesEntry]) -> Summary:
    """What is said of a directory node with these series, at most ``MOST_RUNS``, by their names' SHA-256."""
    if not entries:
        return NOTHING
    whole = hashlib.sha256(_SERIES)
    for one in sorted(entries, key=lambda entry: hashed(entry.name)):
        place = bytes([one.apex.level]) + one.apex.nr.to_bytes(8)
        whole.update(hashed(one.name) + place + one.summary.count.to_bytes(8) + one.summary.digest)
    return Summary(len(entries), whole.digest())


def of_prefixes(children: Sequence[Summary]) -> Summary:
    """What is said of a directory node of more series, by what is said of its sixteen children."""
    count = sum(child.count for child in children)
    return Summary(count, hashlib.sha256(_PREFIXES + _written(children)).digest())


def _written(children: Sequence[Summary]) -> bytes:
    return b"".join(child.count.to_bytes(8) + child.digest for child in children)


def clipped(runs: Iterable[Run], first: int, last: int) -> list[Run]:
    """The runs inside an interval, cut at its ends."""
    return [Run(max(r.first, first), min(r.last, last), r.state) for r in runs if r.first <= last and first <= r.last]


def joined(pieces: Iterable[Run]) -> list[Run]:
    """Pieces in order, without overlaps, as maximal runs."""
    runs: list[Run] = []
    for piece in pieces:
        if runs and runs[-1].last + 1 == piece.first and runs[-1].state == piece.state:
            runs[-1] = Run(runs[-1].first, piece.last, piece.state)
        else:
            runs.append(piece)
    return runs


def content(node: Node, runs: Sequence[Run]) -> NodeContent:
    """A node by the runs of its series, from nothing else: for small books, and to prove what was maintained."""
    own = clipped(runs, node.first, node.last)
    if len(own) <= MOST_RUNS:
        return NodeContent(node, of_runs(own), runs=tuple(own))
    children = tuple(content(node.child(which), own).summary for which in range(FANOUT))
    return NodeContent(node, of_children(len(own), children), children=children)


def directory(prefix: str, entries: Sequence[SeriesEntry]) -> DirectoryContent:
    """A directory node by all series of a book, from nothing else."""
    own = [entry for entry in entries if hashed(entry.name).hex().startswith(prefix)]
    if len(own) <= MOST_RUNS or len(prefix) == DEEPEST:
        own.sort(key=lambda entry: hashed(entry.name))
        return DirectoryContent(prefix, of_series(own), series=tuple(own))
    children = tuple(directory(f"{prefix}{which:x}", own).summary for which in range(FANOUT))
    return DirectoryContent(prefix, of_prefixes(children), children=children)
