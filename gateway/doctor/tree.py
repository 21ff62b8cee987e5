"""The check of the log's tree: built again from the entries, and compared with what is stored and what was signed.

Entries are read in the order of their leaves, some at a time; nothing is kept of a tile that is whole. What is not yet
integrated is no fault, only what is and does not fit.
"""

from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field

from gateway import db
from gateway.audit import merkle, store
from gateway.audit.checkpoint import Checkpoint
from gateway.audit.merkle import Growth
from gateway.doctor.report import MOST_KEPT, Remark, finding
from gateway.doctor.scene import Scene
from gateway.errors import GatewayError
from gateway.signing import notes

#: Leaves, and checkpoints, that are read at once: whole tiles.
PART = 64 * merkle.TILE_WIDTH


@dataclass
class Trees:
    """The tree that the entries make, and what is wrong with the one that is stored."""

    size: int = 0
    remarks: list[Remark] = field(default_factory=list)


async def trees(tx: db.ReadTx, _scene: Scene) -> AsyncIterator[Trees]:
    """The log's one tree."""
    made = Trees()
    head = await store.head(tx)
    grown = Growth.of(0, {})
    for checkpoint in [one async for one in _published(tx)]:
        if checkpoint.size > head.size:
            made.remarks.append(finding("its checkpoint is of more leaves than the tree has", leaves=checkpoint.size))
            continue
        await _grow(tx, grown, checkpoint.size, made)
        if grown.size == checkpoint.size and grown.root != checkpoint.root:
            made.remarks.append(finding("its checkpoint states another root", leaves=checkpoint.size))
    await _grow(tx, grown, head.size, made)
    made.size = grown.size
    if grown.size != head.size:
        made.remarks.append(finding(f"the head has {head.size} leaves", leaves=grown.size))
    elif grown.root != head.root:
        made.remarks.append(finding("the head has another root", leaves=grown.size))
    await _compare(tx, grown, made, last=True)
    for entry in await store.left_out(tx, head.swept, MOST_KEPT):
        made.remarks.append(finding("it was passed over: it has no leaf", entry=entry))
    if await store.stopped(tx) is not None:
        what = "nothing is published any more: a checkpoint of ours is known that is not in this tree"
        made.remarks.append(finding(what))
    yield made


def tree(made: Trees, _scene: Scene) -> Iterable[Remark]:
    """The log's tiles, head and checkpoints are those of its entries."""
    return made.remarks


async def _published(tx: db.ReadTx) -> AsyncIterator[Checkpoint]:
    above = 0
    while found := await store.published(tx, above, 1_000):
        for one in found:
            try:
                yield Checkpoint.read(notes.read(one.note).text)
            except GatewayError:
                yield Checkpoint("", one.size, b"")
        above = found[-1].size


async def _grow(tx: db.ReadTx, grown: Growth, size: int, made: Trees) -> None:
    while grown.size < size:
        leaves = await store.leaf_hashes(tx, grown.size, min(PART, size - grown.size))
        if not leaves:
            break
        grown.add(leaves)
        await _compare(tx, grown, made, last=False)


async def _compare(tx: db.ReadTx, grown: Growth, made: Trees, *, last: bool) -> None:
    """Compare the tiles that no later leaf changes, at the ``last`` all, and forget them."""
    done = {at: hashes for at, hashes in grown.tiles.items() if last or len(hashes) == 32 * merkle.TILE_WIDTH}
    stored = await store.tiles(tx, list(done)) if done else {}
    made.remarks += list(_different(done, stored))
    for at in done:
        del grown.tiles[at]


def _different(made: dict[tuple[int, int], bytes], stored: dict[tuple[int, int], bytes]) -> Iterator[Remark]:
    for (level, nr), hashes in sorted(made.items()):
        if stored.get((level, nr)) != hashes:
            yield finding("its tile is not that of the entries", level=level, tile=nr)
