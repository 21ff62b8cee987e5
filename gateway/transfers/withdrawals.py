"""Withdrawals that overtook their proposals: kept by the transfer's id, so that the proposal ends as it arrives.

Nothing would be lost without them, because the source refuses the commit anyway (N2 of the protocol); with them nobody
is offered what was withdrawn.
"""

from collections.abc import Iterable, Sequence

from gateway import db
from gateway.transfers.store import Step


async def beside(tx: db.Tx, source: str) -> None:
    """Let proposals of this source go on beside each other, but not beside a withdrawal that looks for one of them."""
    await db.rows(tx, "SELECT pg_advisory_xact_lock_shared(5, hashtext(:source))", {"source": source})


async def alone(tx: db.Tx, source: str) -> None:
    """Wait for proposals of this source that are being received, and let none begin until this transaction ends."""
    await db.rows(tx, "SELECT pg_advisory_xact_lock(5, hashtext(:source))", {"source": source})


async def remember(tx: db.Tx, steps: Sequence[Step]) -> None:
    """Keep statements of withdrawal for transfers that have not been proposed yet; the first one stays."""
    await db.execute(
        tx,
        """
        INSERT INTO early_withdrawal (transfer_id, item, sha256, entry_id)
        SELECT * FROM unnest(CAST(:id AS text[]), CAST(:item AS text[]), CAST(:sha AS bytea[]),
                             CAST(:entry AS bigint[]))
        ON CONFLICT DO NOTHING
        """,
        {
            "id": [s.transfer for s in steps],
            "item": [s.item for s in steps],
            "sha": [s.sha256 for s in steps],
            "entry": [s.entry_id for s in steps],
        },
    )


async def of(tx: db.Tx, ids: Iterable[str]) -> dict[str, Step]:
    """The withdrawals that overtook the proposals of these transfers."""
    found = await db.rows(
        tx,
        """
        SELECT transfer_id, item, sha256, entry_id FROM early_withdrawal
        WHERE transfer_id = ANY(CAST(:ids AS text[]))
        """,
        {"ids": list(ids)},
    )
    return {r.transfer_id: Step(r.transfer_id, "voided", r.item, bytes(r.sha256), r.entry_id) for r in found}
