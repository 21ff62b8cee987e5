"""How much goes into one message: 1,000 items, 3,000 blocks, and bytes enough to spare for what JSON adds."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from . import shapes
from .signature import MAX_BODY_BYTES

#: Item text of one message; the wrapper writes it longer, and hashes come on top.
MAX_TEXT_BYTES = MAX_BODY_BYTES // 3


@dataclass(frozen=True)
class Written:
    """An item ready to be sent, and how many blocks it names; ``about`` is what the caller knows it by."""

    about: str
    text: str
    blocks: int


def batches(items: Iterable[Written]) -> Iterator[list[Written]]:
    """Put items together, in order, in as few messages as the limits allow."""
    batch: list[Written] = []
    blocks = size = 0
    for item in items:
        length = len(item.text.encode())
        full = len(batch) == shapes.MAX_ITEMS or blocks + item.blocks > shapes.MAX_BLOCKS
        if batch and (full or size + length > MAX_TEXT_BYTES):
            yield batch
            batch, blocks, size = [], 0, 0
        batch.append(item)
        blocks += item.blocks
        size += length
    if batch:
        yield batch
