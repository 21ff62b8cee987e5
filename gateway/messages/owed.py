"""Messages of ours that are due as a whole, to a peer that has not answered them for good: requests and records.

A row is here as long as its message is due, and says when it is sent next, who sends it now, and why it waits; who
learns that the peer has answered takes it away. (What is due of a transfer is its own row's to say: there one message
may wait for the answers to some of its items.) Leases are as in ``transfers.leases``: they save work and nothing else.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from gateway import db
from gateway.messages.outbox import LONGEST_WAIT_SECONDS, Lease, Wait

#: Messages leased in one go.
AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Owed:
    """A stored message that is due to ``peer``; ``attempts`` counts how often it was sent, this time included."""

    peer: str
    message_id: str
    attempts: int = 0


async def add(tx: db.Tx, messages: Sequence[Owed], now: datetime) -> None:
    """Let the worker send these, which were stored in this transaction, from now on."""
    await db.execute(
        tx,
        """
        INSERT INTO owed (message_id, peer, next_at)
        SELECT *, :now FROM unnest(CAST(:ids AS uuid[]), CAST(:peers AS text[]))
        """,
        {"ids": [m.message_id for m in messages], "peers": [m.peer for m in messages], "now": now},
    )


async def done(tx: db.Tx, message_id: str) -> None:
    """Send this message no more: its peer has answered it for good."""
    await db.execute(tx, "DELETE FROM owed WHERE message_id = :id", {"id": message_id})


async def lease_due(tx: db.Tx, now: datetime, lease: Lease, busy: Sequence[str]) -> list[Owed]:
    """Lease messages that are due to peers that are not ``busy``, for as long as a send may take."""
    found = await db.rows(
        tx,
        """
        WITH due AS (
          SELECT message_id FROM owed
          WHERE next_at <= :now AND (leased_until IS NULL OR leased_until <= :now)
            AND peer <> ALL(CAST(:busy AS text[]))
          ORDER BY next_at LIMIT :limit FOR UPDATE SKIP LOCKED
        )
        UPDATE owed o SET leased_until = :until, leased_by = :worker, attempts = attempts + 1
        FROM due WHERE o.message_id = due.message_id
        RETURNING o.peer, CAST(o.message_id AS text) AS message_id, o.attempts
        """,
        {"now": now, "until": lease.until, "worker": lease.worker, "busy": list(busy), "limit": AT_ONCE},
    )
    return [Owed(r.peer, r.message_id, r.attempts) for r in found]


async def wait(tx: db.Tx, message_id: str, wait: Wait) -> None:
    """Put off a message that is still due: the wait doubles with each attempt, up to the longest.

    One that was answered meanwhile, or leased by somebody else, is left alone.
    """
    await db.execute(
        tx,
        """
        UPDATE owed SET leased_until = NULL, leased_by = NULL, waiting = :why, next_at = CAST(:now AS timestamptz)
          + greatest(:floor, least(:longest, power(2, least(attempts, 16) - 1))) * interval '1 second'
        WHERE message_id = :id AND leased_until = :until AND leased_by = :worker
        """,
        {
            "id": message_id,
            "until": wait.lease.until,
            "worker": wait.lease.worker,
            "now": wait.now,
            "floor": wait.floor_seconds,
            "why": wait.why,
            "longest": LONGEST_WAIT_SECONDS,
        },
    )


async def renew(tx: db.Tx, message_id: str, lease: Lease, until: datetime) -> bool:
    """Renew a lease that waited for its turn; False when the message was answered or is another worker's by now."""
    renewed = await db.execute(
        tx,
        """
        UPDATE owed SET leased_until = :later
        WHERE message_id = :id AND leased_until = :until AND leased_by = :worker
        """,
        {"id": message_id, "until": lease.until, "worker": lease.worker, "later": until},
    )
    return renewed.rowcount == 1


async def take_over(tx: db.Tx, now: datetime) -> None:
    """Free what workers that are gone have leased (``db.ALIVE``)."""
    await db.execute(
        tx,
        f"""
        UPDATE owed SET leased_until = NULL, leased_by = NULL
        WHERE next_at <= :now AND leased_until > :now AND leased_by <> ALL({db.ALIVE})
        """,
        {"now": now},
    )
