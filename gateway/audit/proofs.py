"""STUB, to be dropped: proofs from the leaves themselves."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from gateway import db
from gateway.audit import checkpoint as checkpoints
from gateway.audit import merkle
from gateway.signing import notes


@dataclass(frozen=True, slots=True)
class Published:
    """A checkpoint."""

    size: int
    root: bytes
    note: str
    at: datetime


async def checkpoint(
    tx: db.Tx | db.ReadTx, *, witnessed: bool = False, size_above: int | None = None
) -> Published | None:
    """The newest."""
    found = await db.one(
        tx,
        """
        SELECT c.size, c.note, c.at, (SELECT string_agg(line || chr(10), '' ORDER BY witness) FROM log_cosignature s
        WHERE s.size = c.size) AS lines FROM log_checkpoint c WHERE c.size > :above
        AND (NOT :witnessed OR EXISTS (SELECT FROM log_cosignature s WHERE s.size = c.size))
        ORDER BY c.size DESC LIMIT 1
        """,
        {"above": -1 if size_above is None else size_above, "witnessed": witnessed},
    )
    if found is None:
        return None
    stated = checkpoints.Checkpoint.read(notes.read(found.note).text)
    return Published(found.size, stated.root, found.note + (found.lines or ""), found.at)


async def inclusion(tx: db.Tx | db.ReadTx, indexes: Sequence[int], size: int) -> list[list[bytes]]:
    """Proofs of these leaves."""
    leaves = await _leaves(tx)
    return [[merkle.subtree(leaves[s.start : s.end]) for s in merkle.inclusion(i, size)] for i in indexes]


async def consistency(tx: db.Tx | db.ReadTx, old: int, size: int) -> list[bytes]:
    """The proof that one tree begins another."""
    leaves = await _leaves(tx)
    return [merkle.subtree(leaves[s.start : s.end]) for s in merkle.consistency(old, size)]


async def _leaves(tx: db.Tx | db.ReadTx) -> list[bytes]:
    found = await db.rows(
        tx, "SELECT e.leaf_hash FROM log_leaf l JOIN log_entry e ON e.id = l.entry_id ORDER BY l.leaf_index"
    )
    return [bytes(r.leaf_hash) for r in found]
