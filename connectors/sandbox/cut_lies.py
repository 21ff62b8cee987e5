"""Lies about a cut: answers that cannot be true, or lead nowhere, so that whoever compares can be seen to stop.

A lie is told to the next questions of its kind, as often as is wished, and is forgotten with the process; the books are
as they were. Silence half-way is a fault of the receiver (``faults``: ``refuse`` or ``lose-reply`` with a ``skip``).
Runs cannot overlap inside a node, because each begins after the one before: they overlap by going on beyond its end.
"""

import base64
import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from . import strictjson
from .clock import uuid7
from .nodes import MOST_RUNS
from .shapes import MAX_ITEMS
from .strictjson import MAX_INTEGER
from .told_nodes import varint

Body = dict[str, Any]


@dataclass
class Waiting:
    """A lie, and how many answers it will strike yet after those it lets pass."""

    lie: str
    left: int
    skip: int = 0


@dataclass
class CutLies:
    """The lies that wait, and the first answer since they were set."""

    waiting: list[Waiting] = field(default_factory=list)
    first: Body | None = None

    def clear(self) -> None:
        """Tell the truth again."""
        self.waiting.clear()
        self.first = None

    def take(self, names: Mapping[str, Any]) -> str | None:
        """Give the first of these lies whose turn it is, and count that it was told."""
        for one in self.waiting:
            if one.lie in names and one.left and one.skip:
                one.skip -= 1
            elif one.lie in names and one.left:
                one.left -= 1
                return one.lie
        return None

    def of_cut(self, taken: Mapping[str, Any]) -> Body:
        """Give what is said of a cut that was taken: true, or a lie."""
        lie = self.take(ON_CUTS)
        return ON_CUTS[lie](dict(taken)) if lie else dict(taken)

    def of_nodes(self, said: Body, asked: int) -> Body:
        """Give what is told of so many nodes: true, or a lie."""
        lie = self.take(ON_NODES)
        self.first = self.first or (said if self.waiting else None)
        if lie == "same":
            return {**self.first, "cut": said["cut"]} if self.first else said
        return ON_NODES[lie](said, asked) if lie else said

    def of_listing(self, said: Body, texts: list[str], after: str | None) -> tuple[Body, list[str]]:
        """Give a page of positions: true, or a lie."""
        lie = self.take(ON_LISTINGS)
        return ON_LISTINGS[lie](said, texts, after) if lie else (said, texts)


def _packed(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _root(taken: Body) -> Body:
    """Name a root that nothing that is listed afterwards leads to."""
    other = _packed(hashlib.sha256(b"a book that nobody keeps").digest())
    return {**taken, "books": [{**book, "root": other} for book in taken["books"]]}


def _moving(taken: Body) -> Body:
    """List transfers in flight in bytes that are none."""
    return {**taken, "moving": _packed(b"\xff" * 21 + b"no transfer at all")}


def _totals(taken: Body) -> Body:
    """Count a unit more of everything than there is."""
    books = taken["books"]
    more = [{**book, "totals": [{**one, "quantity": one["quantity"] + 1} for one in book["totals"]]} for book in books]
    return {**taken, "books": more}


def _no_book(taken: Body) -> Body:
    """Leave out the last book."""
    return {**taken, "books": taken["books"][:-1]}


def _by_type(taken: Body) -> Body:
    """Count everything in accounts of another type than it is in."""
    books = taken["books"]
    moved = [{**book, "totals": [{**one, "account_type": 230} for one in book["totals"]]} for book in books]
    return {**taken, "books": moved}


def _other_book(taken: Body) -> Body:
    """Speak of the book of another registry as well as of its own."""
    return {**taken, "books": [*taken["books"], {**taken["books"][0], "registry": "ZZZ01"}]}


def _nothing_of(told: bytes) -> Callable[[Body, int], Body]:
    """Tell the same of every node that was asked for."""
    return lambda said, asked: {**said, "answered": asked, "told": _packed(told * asked)}


def _endless(said: Body, asked: int) -> Body:
    """Tell sixteen children of every node, of digests nobody has seen: there is always more to ask."""
    told = b"".join(
        b"\3\xff\xff" + b"".join(b"\2" + varint(1000) + os.urandom(16) for _ in range(16)) for _ in range(asked)
    )
    return {**said, "answered": asked, "told": _packed(told)}


def _runs(count: int, length: int) -> Callable[[Body, int], Body]:
    """Tell so many runs of every node, each so long."""
    told = b"\4" + varint(count) + (varint(1) + varint(length) + varint(0)) * count
    states = _packed(hashlib.sha256(b"no state").digest())
    return lambda said, asked: {**said, "answered": asked, "told": _packed(told * asked), "states": states}


def _again(text: str) -> str:
    """List the same units once more, in another account."""
    return strictjson.dumps({**strictjson.loads(text), "account": "199-9"})


ON_CUTS: Mapping[str, Callable[[Body], Body]] = {
    "root": _root,
    "moving": _moving,
    "totals": _totals,
    "by-type": _by_type,
    "other-book": _other_book,
    "no-book": _no_book,
    "long-ago": lambda taken: {**taken, "taken_at": "0001-01-01T00:00:00.000Z"},
    "to-come": lambda taken: {**taken, "taken_at": "2999-01-01T00:00:00.000Z"},
}
ON_NODES: Mapping[str, Callable[[Body, int], Body]] = {
    "same": lambda said, asked: said,
    "other-nodes": _nothing_of(b"\4\1\0\1\0"),
    "nothing": _nothing_of(b"\0"),
    "as-you-say": _nothing_of(b"\1"),
    "endless": _endless,
    "overlap": _runs(1, MAX_INTEGER),
    "too-many": _runs(MOST_RUNS + 1, 1),
    "garbage": lambda said, asked: {**said, "told": _packed(os.urandom(64))},
    "short": lambda said, asked: {**said, "told": said["told"][:-4]},
    "too-much": lambda said, asked: {**said, "answered": min(said["answered"] + 1, 4096)},
    "other-registry": lambda said, asked: {**said, "registry": "ZZZ01"},
    "other-cut": lambda said, asked: {**said, "cut": uuid7()},
}
ON_LISTINGS: Mapping[str, Callable[[Body, list[str], str | None], tuple[Body, list[str]]]] = {
    "listed-for-ever": lambda said, texts, after: ({**said, "next": after or "MEC01/SYNTHETIC/1"}, texts),
    "listed-twice": lambda said, texts, after: (
        said,
        [text for one in texts for text in (one, _again(one))][:MAX_ITEMS],
    ),
    "listed-backwards": lambda said, texts, after: (said, texts[::-1]),
}
#: Every lie about a cut.
LIES = (*ON_CUTS, *ON_NODES, *ON_LISTINGS)
