"""The Merkle tree of RFC 6962 section 2.1, in the tiles of C2SP tlog-tiles: plain arithmetic, no I/O.

A *node* is a whole subtree ``(height, nr)`` over the leaves ``[nr * 2**height, (nr + 1) * 2**height)``. A *tile*
``(level, nr)`` holds up to 256 consecutive nodes of height ``8 * level``. A tree of any size is a handful of whole
subtrees side by side (``whole``), and its root, like every hash of a proof, is the fold of such a handful (``fold``).

Guarantees: what is proved here verifies with any RFC 6962 verifier; a proof has exactly one accepted form. ``Growth``
appends leaves to a tree of which it holds the right edge alone. Raises ``ValueError`` for an index or a size that does
not fit the tree.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import NamedTuple

#: Nodes in a whole tile, and the bytes of one.
TILE_WIDTH = 256
HASH_BYTES = 32
_TILE_HEIGHT = 8
#: The root of the tree without leaves.
EMPTY_ROOT = sha256(b"").digest()
#: More hashes no proof can have: a size has at most 63 bits.
MAX_PROOF = 63
#: No tree of ours is larger (C2SP sizes fit an int64).
MAX_SIZE = 2**63 - 1


class Node(NamedTuple):
    """A whole subtree."""

    height: int
    nr: int


class Range(NamedTuple):
    """The leaves ``[start, end)`` of one hash of a proof."""

    start: int
    end: int


class Place(NamedTuple):
    """Where a node's hashes are: ``number`` of them from ``first`` on in the tile ``(level, nr)``."""

    level: int
    nr: int
    first: int
    number: int


def leaf_hash(entry: bytes) -> bytes:
    """The hash of a leaf."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of a node with these children."""
    return sha256(b"\x01" + left + right).digest()


def subtree(hashes: Sequence[bytes]) -> bytes:
    """The root over hashes of equal height, of which the last may be of a smaller tree."""
    if not hashes:
        return EMPTY_ROOT
    level = list(hashes)
    while len(level) > 1:
        odd = level[-1:] if len(level) % 2 else []
        level = [node_hash(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)] + odd
    return level[0]


def fold(hashes: Sequence[bytes]) -> bytes:
    """The root of a row of whole subtrees, each smaller than the one before it, as ``whole`` gives them."""
    root = hashes[-1]
    for left in reversed(hashes[:-1]):
        root = node_hash(left, root)
    return root


def whole(span: Range) -> list[Node]:
    """The whole subtrees that ``span`` consists of; it must begin where a tree of its size may."""
    nodes, start, left = [], span.start, span.end - span.start
    while left:
        height = left.bit_length() - 1
        nodes.append(Node(height, start >> height))
        start, left = start + (1 << height), left - (1 << height)
    return nodes


def place(node: Node) -> Place:
    """The hashes of which ``subtree`` gives the node's."""
    level, rest = divmod(node.height, _TILE_HEIGHT)
    first = node.nr << rest
    return Place(level, first // TILE_WIDTH, first % TILE_WIDTH, 1 << rest)


def inclusion(index: int, size: int) -> list[Range]:
    """The ranges whose hashes prove leaf ``index`` in the tree of ``size`` leaves, the leaf's sibling first."""
    if not 0 <= index < size <= MAX_SIZE:
        raise ValueError(f"leaf {index} is not in a tree of {size}")
    start, end, path = 0, size, []
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(Range(middle, end))
            end = middle
        else:
            path.append(Range(start, middle))
            start = middle
    return path[::-1]


def consistency(old: int, size: int) -> list[Range]:
    """The ranges whose hashes prove that the tree of ``old`` leaves begins that of ``size``; none if one is empty."""
    if not 0 <= old <= size <= MAX_SIZE:
        raise ValueError(f"a tree of {old} does not begin one of {size}")
    if old in (0, size):
        return []
    start, end, path = 0, size, []
    while old != end:
        middle = start + _split(end - start)
        if old <= middle:
            path.append(Range(middle, end))
            end = middle
        else:
            path.append(Range(start, middle))
            start = middle
    return [*([Range(start, end)] if start else []), *path[::-1]]


def included(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether ``proof`` shows ``leaf`` at ``index`` under ``root`` (RFC 9162 section 2.1.3.2)."""
    try:
        path = inclusion(index, size)
    except ValueError:
        return False
    if len(proof) != len(path):
        return False
    found = leaf
    for hashed, span in zip(proof, path, strict=True):
        found = node_hash(found, hashed) if span.start > index else node_hash(hashed, found)
    return found == root


def consistent(old: int, size: int, proof: Sequence[bytes], old_root: bytes, root: bytes) -> bool:
    """Whether ``proof`` shows that the tree of ``old`` leaves begins that of ``size`` (RFC 9162 section 2.1.4.2)."""
    try:
        path = consistency(old, size)
    except ValueError:
        return False
    if len(proof) != len(path):
        return False
    if old == 0:
        return old_root == EMPTY_ROOT and (size > 0 or root == EMPTY_ROOT)
    if old == size:
        return old_root == root
    begun = path[0].end == old  # the old tree's right end is a part of its own, else it is one whole subtree
    hashes = list(proof) if begun else [old_root, *proof]
    before = after = hashes[0]
    for hashed, span in zip(hashes[1:], path[1:] if begun else path, strict=True):
        if span.end <= old:
            before, after = node_hash(hashed, before), node_hash(hashed, after)
        else:
            after = node_hash(after, hashed)
    return before == old_root and after == root


def _split(size: int) -> int:
    """The largest power of two smaller than ``size``, which is at least 2."""
    return 1 << ((size - 1).bit_length() - 1)


def widths(size: int) -> list[int]:
    """How many nodes of each level's last tile a tree of ``size`` has, 0 where that level ends in a whole tile."""
    found = []
    while size:
        found.append(size % TILE_WIDTH)
        size //= TILE_WIDTH
    return found


@dataclass
class Growth:
    """A tree that grows: its size, and the incomplete last tile of each level."""

    size: int
    edge: dict[int, list[bytes]]
    #: What was added to or begun, with all its hashes.
    tiles: dict[tuple[int, int], bytes] = field(default_factory=dict)

    @classmethod
    def of(cls, size: int, edge: Mapping[int, bytes]) -> "Growth":
        """The tree of ``size`` leaves whose last tiles are ``edge``; a wider tile than the size has is cut."""
        held = {level: cut(edge.get(level, b""))[:width] for level, width in enumerate(widths(size)) if width}
        if any(len(held.get(level, ())) != width for level, width in enumerate(widths(size))):
            raise ValueError(f"these are not the last tiles of a tree of {size}")
        return cls(size, held)

    def add(self, leaves: Sequence[bytes]) -> None:
        """Append leaf hashes."""
        self._add(0, self.size // TILE_WIDTH, leaves)
        self.size += len(leaves)

    def _add(self, level: int, nr: int, hashes: Sequence[bytes]) -> None:
        if not hashes:
            return
        row, done, above = [*self.edge.get(level, ()), *hashes], 0, []
        while len(row) - done >= TILE_WIDTH:
            tile = row[done : done + TILE_WIDTH]
            self.tiles[level, nr + done // TILE_WIDTH] = b"".join(tile)
            above.append(subtree(tile))
            done += TILE_WIDTH
        self.edge[level] = rest = row[done:]
        if rest:
            self.tiles[level, nr + done // TILE_WIDTH] = b"".join(rest)
        self._add(level + 1, nr // TILE_WIDTH, above)

    @property
    def root(self) -> bytes:
        """The root of the tree."""
        tail: list[bytes] = []
        for level in range(max(self.edge, default=-1) + 1):
            row = [*self.edge.get(level, ()), *tail]
            tail = [subtree(row)] if row else []
        return tail[0] if tail else EMPTY_ROOT


def cut(hashes: bytes) -> list[bytes]:
    """The hashes of a tile."""
    return [hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)]


def path(nr: int, width: int) -> str:
    """How C2SP writes the number of a tile in an address: ``x001/x234/067``, with ``.p/<W>`` if it is partial."""
    groups = []
    rest = nr
    while True:
        rest, group = divmod(rest, 1000)
        groups.append(f"{group:03d}")
        if not rest:
            break
    written = "/".join([*(f"x{group}" for group in groups[:0:-1]), groups[0]])
    return written if width == TILE_WIDTH else f"{written}.p/{width}"
