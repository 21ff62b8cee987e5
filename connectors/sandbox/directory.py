"""The directory of a book: its series, found by prefixes of the SHA-256 of their names. No database here.

A node of the directory is a prefix of up to ``DEEPEST`` characters of lower-case hex; its digest is over its series if
they are ``MOST_RUNS`` or fewer, else over its sixteen children (section 14 of the link contract).
"""

import hashlib
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from .nodes import FANOUT, MOST_RUNS, NO_STATE, Key

#: Characters of the longest prefix.
DEEPEST = 16


@dataclass(frozen=True)
class Entry:
    """A series of a book: ``REGISTRY/SERIES``, its apex, and what is said of that."""

    name: str
    apex: Key
    count: int
    digest: bytes

    @property
    def place(self) -> str:
        """Where it is in the directory: the SHA-256 of its name, in hex."""
        return hashlib.sha256(self.name.encode()).hexdigest()


class Directory:
    """All series of one book, in the order of their places."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        placed = sorted(((entry.place, entry) for entry in entries), key=lambda placed: placed[0])
        self._places = [place for place, _ in placed]
        self._entries = [entry for _, entry in placed]

    @property
    def root(self) -> bytes:
        """The digest of the whole book."""
        return self.said("")[1]

    def under(self, prefix: str) -> list[Entry]:
        """Give the series of a node."""
        begin = bisect_left(self._places, prefix)
        return self._entries[begin : bisect_left(self._places, prefix + "g")]

    def is_listed(self, prefix: str) -> bool:
        """Say whether a node is told by its series."""
        return len(prefix) == DEEPEST or len(self.under(prefix)) <= MOST_RUNS

    def said(self, prefix: str) -> tuple[int, bytes]:
        """Give the count and the digest of a node."""
        inside = self.under(prefix)
        if not inside:
            return 0, NO_STATE
        if self.is_listed(prefix):
            return len(inside), hashlib.sha256(b"\2" + b"".join(map(_written, inside))).digest()
        children = (self.said(child) for child in children_of(prefix))
        whole = b"".join(count.to_bytes(8) + digest for count, digest in children)
        return len(inside), hashlib.sha256(b"\3" + whole).digest()


def children_of(prefix: str) -> list[str]:
    """Give the sixteen children of a node."""
    return [f"{prefix}{which:x}" for which in range(FANOUT)]


def _written(entry: Entry) -> bytes:
    apex = bytes([entry.apex.level]) + entry.apex.nr.to_bytes(8)
    return bytes.fromhex(entry.place) + apex + entry.count.to_bytes(8) + entry.digest
