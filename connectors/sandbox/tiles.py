"""A Merkle tree cut into tiles (C2SP tlog-tiles): where a tile is, and a tree that grows by tiles.

A tile of level L holds up to 256 hashes, each of a perfect subtree of 256^L leaves; 256 of them are one hash of the
level above. ``parse`` takes exactly the addresses the specification writes, so a path can lead nowhere else; it gives
nothing for any other text.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from . import merkle
from .merkle import HASH_BYTES, Span

WIDTH = 256
FULL_BYTES = WIDTH * HASH_BYTES
#: Levels a tree of up to 2^63 leaves has.
LEVELS = 8

_ADDRESS = re.compile(r"(0|[1-9][0-9]?|entries)/((?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?")

#: Level and number.
Key = tuple[int, int]


@dataclass(frozen=True)
class Address:
    """A tile, or (``entries``) a bundle of entries, of so many of its up to 256 members."""

    level: int
    number: int
    width: int = WIDTH
    entries: bool = False

    @property
    def path(self) -> str:
        """How it is asked for: 1234067 is ``x001/x234/067``; a partial one says its width."""
        groups = [f"{self.number % 1000:03}"]
        rest = self.number // 1000
        while rest:
            groups.insert(0, f"x{rest % 1000:03}")
            rest //= 1000
        name = "entries" if self.entries else str(self.level)
        return f"{name}/{'/'.join(groups)}" + (f".p/{self.width}" if self.width < WIDTH else "")


def parse(path: str) -> Address | None:
    """Read the address of a tile, if it is one."""
    found = _ADDRESS.fullmatch(path)
    if found is None:
        return None
    name, groups, width = found.groups()
    number = int(groups.replace("x", "").replace("/", ""))
    level = 0 if name == "entries" else int(name)
    address = Address(level, number, int(width or WIDTH), name == "entries")
    return address if level < 64 and address.path == path else None


def width_of(level: int, number: int, size: int) -> int:
    """Give how many hashes a tile has in a tree of ``size`` leaves; 0 where it has no such tile."""
    return max(min(WIDTH, (size >> 8 * level) - number * WIDTH), 0)


def needed(old: int, size: int) -> list[Address]:
    """Give the tiles of leaves that hold what a tree of ``size`` has more than one of ``old`` leaves."""
    numbers = range(old // WIDTH, -(-size // WIDTH)) if size > old else range(0)
    return [Address(0, number, width_of(0, number, size)) for number in numbers]


def edge(size: int) -> list[Key]:
    """Give the tiles that a tree grows at: the partial one of each level, where there is one."""
    return [(level, (size >> 8 * level) // WIDTH) for level in range(LEVELS) if (size >> 8 * level) % WIDTH]


def holding(span: Span) -> list[Key]:
    """Give the tiles from which the node over ``span`` is computed."""
    return [_place(part)[0] for part in merkle.perfect(span)]


def hash_of(span: Span, tiles: Mapping[Key, bytes]) -> bytes:
    """Compute a node from tiles (those of ``holding``)."""
    peaks = []
    for part in merkle.perfect(span):
        key, first, count = _place(part)
        hashes = tiles[key]
        members = [hashes[at * HASH_BYTES : (at + 1) * HASH_BYTES] for at in range(first, first + count)]
        peaks.append(merkle.root(merkle.grow([], 0, members)))
    return merkle.root(peaks)


def _place(perfect: Span) -> tuple[Key, int, int]:
    """Say in which tile a perfect subtree is: the tile, its first hash there, how many."""
    first, end = perfect
    level = ((end - first).bit_length() - 1) // 8
    at = first >> 8 * level
    return (level, at // WIDTH), at % WIDTH, (end - first) >> 8 * level


@dataclass
class Tree:
    """A tree of ``size`` leaves with (at least) the tiles of its ``edge``; those it touches are changed."""

    size: int
    tiles: dict[Key, bytes] = field(default_factory=dict)

    def append(self, leaves: Iterable[bytes]) -> None:
        """Grow by these leaf hashes."""
        for added in leaves:
            self._put(0, self.size, added)
            self.size += 1

    def root(self) -> bytes:
        """Give the root."""
        return hash_of((0, self.size), self.tiles) if self.size else merkle.EMPTY

    def _put(self, level: int, at: int, added: bytes) -> None:
        key = (level, at // WIDTH)
        self.tiles[key] = full = self.tiles.get(key, b"") + added
        if len(full) == FULL_BYTES:
            above = [full[i : i + HASH_BYTES] for i in range(0, FULL_BYTES, HASH_BYTES)]
            self._put(level + 1, at // WIDTH, merkle.root(merkle.grow([], 0, above)))
