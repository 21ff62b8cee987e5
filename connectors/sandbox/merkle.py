"""The Merkle tree of RFC 6962 section 2.1, as pure functions on hashes and numbers.

A tree is known by its *peaks*: the roots of the perfect subtrees its leaves fall into, from left to right, one for
each bit of its size. They are enough to grow it and to give its root. Written for the sandbox alone, so that a
mistake is not shared with the gateway. Nothing here fails but ``consistent``, which says no.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence

#: Hash of a tree without leaves.
EMPTY = hashlib.sha256(b"").digest()
HASH_BYTES = 32
#: No consistency proof of a tree of up to 2^63 leaves is longer (C2SP tlog-witness).
MAX_PROOF = 63

_LEAF, _NODE = b"\x00", b"\x01"

#: Leaves ``first`` to ``end``, the last one not included.
Span = tuple[int, int]


def leaf(entry: bytes) -> bytes:
    """Give the hash of a leaf."""
    return hashlib.sha256(_LEAF + entry).digest()


def node(left: bytes, right: bytes) -> bytes:
    """Give the hash of the node over two subtrees."""
    return hashlib.sha256(_NODE + left + right).digest()


def grow(peaks: Sequence[bytes], size: int, leaves: Iterable[bytes]) -> list[bytes]:
    """Give the peaks of a tree of ``size`` leaves after more leaf hashes."""
    grown = list(peaks)
    for added in leaves:
        subtree, bits = added, size
        while bits & 1:
            subtree, bits = node(grown.pop(), subtree), bits >> 1
        grown.append(subtree)
        size += 1
    return grown


def root(peaks: Sequence[bytes]) -> bytes:
    """Give the root of the tree with these peaks."""
    if not peaks:
        return EMPTY
    found = peaks[-1]
    for peak in reversed(peaks[:-1]):
        found = node(peak, found)
    return found


def perfect(span: Span) -> Iterator[Span]:
    """Give the perfect subtrees under a node of a tree, left to right."""
    first, end = span
    while first < end:
        width = 1 << ((end - first).bit_length() - 1)
        yield first, first + width
        first += width


def proof_spans(old: int, size: int) -> list[Span]:
    """Give the nodes of the consistency proof from ``old`` to ``size`` leaves (0 < old <= size), in its order."""
    spans, span, whole = [], (0, size), True
    # What of the old tree lies under the present node, and whether that is the old tree itself.
    while (under := old - span[0]) != span[1] - span[0]:
        middle = span[0] + _left(span[1] - span[0])
        if under <= middle - span[0]:
            spans.append((middle, span[1]))
            span = (span[0], middle)
        else:
            spans.append((span[0], middle))
            span, whole = (middle, span[1]), False
    return [*([] if whole else [span]), *reversed(spans)]


def consistent(old: int, old_root: bytes, size: int, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Say whether a proof leads from the root of ``old`` leaves to that of ``size`` (RFC 9162 section 2.1.4.2)."""
    if old == 0 or old == size:
        return not proof and (old == 0 or old_root == new_root)
    if old > size:
        return False
    # Where the old tree is perfect, its root is the first node and is not sent.
    path = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    if not path:
        return False
    at, last = old - 1, size - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    was = now = path[0]
    for step in path[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            was, now = node(step, was), node(step, now)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            now = node(now, step)
        at, last = at >> 1, last >> 1
    return last == 0 and was == old_root and now == new_root


def _left(size: int) -> int:
    """Give the leaves of the left subtree: the largest power of two below ``size``."""
    return 1 << ((size - 1).bit_length() - 1)
