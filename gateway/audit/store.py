"""STUB, to be dropped: where entries are in the tree."""

from collections.abc import Sequence

from gateway import db


async def indexes(tx: db.Tx | db.ReadTx, entry_ids: Sequence[int]) -> dict[int, int]:
    """The leaf index of each of these entries that has one."""
    found = await db.rows(
        tx,
        "SELECT entry_id, leaf_index FROM log_leaf WHERE entry_id = ANY(CAST(:ids AS bigint[]))",
        {"ids": list(entry_ids)},
    )
    return {r.entry_id: r.leaf_index for r in found}
