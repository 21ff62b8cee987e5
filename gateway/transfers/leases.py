"""What is due, and leases: which worker sends it, until when, and when it is tried again.

A lease saves work and nothing else: whoever sends without one sends the same bytes, and its late writes are refused
by state and version (R3, R4, N6 of the protocol). It ends by its time, with its worker's session, or as the row
moves on. A wait doubles with each attempt that moved nothing and says why.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from gateway import db
from gateway.domain.transfers import State
from gateway.links.store import CLOSED_NOW
from gateway.messages.outbox import LONGEST_WAIT_SECONDS, Lease, Wait
from gateway.transfers import store

#: What waits for nobody but the gateway itself, and what its rows say while that is halted, before the reason.
WAITING_FOR_US = (State.PROPOSED, State.ACCEPTED)
HALTED = "the gateway is halted: "


@dataclass(frozen=True, slots=True)
class Look:
    """What a look without a lock finds to be done: rows that may be overdue, some that may be outside their window or
    whose window opens, proposals to be checked, acceptances to be committed, statements or whole messages to be sent.
    """

    overdue: bool
    outside: bool
    delayed: bool
    proposed: bool
    accepted: bool
    unsent: bool


async def look(tx: db.ReadTx, cancellable: Iterable[State], speaking: Iterable[State], now: datetime) -> Look:
    """Look what there is to be done now."""
    free = "next_at <= :now AND (leased_until IS NULL OR leased_until <= :now)"
    found = await db.one(
        tx,
        f"""
        SELECT EXISTS (SELECT FROM transfer WHERE state = ANY(CAST(:states AS text[])) AND deadline <= :now
                         AND next_at IS NOT NULL AND (leased_until IS NULL OR leased_until <= :now)) AS overdue,
               EXISTS (SELECT FROM link l WHERE {CLOSED_NOW}) AS outside,
               EXISTS (SELECT FROM transfer WHERE state = 'delayed' AND {free}) AS delayed,
               EXISTS (SELECT FROM transfer WHERE state = 'proposed' AND {free}) AS proposed,
               EXISTS (SELECT FROM transfer WHERE state = 'accepted' AND {free}) AS accepted,
               EXISTS (SELECT FROM transfer WHERE state = ANY(CAST(:speaking AS text[])) AND {free})
                 OR EXISTS (SELECT FROM owed WHERE {free}) AS unsent
        """,
        {
            "states": [s.value for s in cancellable],
            "speaking": [s.value for s in speaking],
            "now": now,
            "minute": store.minute(now),
        },
    )
    assert found is not None  # EXISTS always says something
    return Look(**found._mapping)


async def lease_due(
    tx: db.Tx, states: Sequence[State], now: datetime, lease: Lease, busy: Sequence[str]
) -> list[store.Row]:
    """Lease rows whose statement is due to be sent, up to one message's worth, for as long as a send may take.

    Rows that wait for a ``busy`` peer are passed over. The transaction commits lazily: a lease that is lost with the
    database's machine is a statement that is sent once more.
    """
    found = await db.rows(
        tx,
        f"""
        WITH due AS (
          SELECT id FROM transfer
          WHERE next_at <= :now AND (leased_until IS NULL OR leased_until <= :now)
            AND state = ANY(CAST(:states AS text[]))
            AND NOT coalesce(CASE WHEN state IN ('committing', 'ending') THEN source = ANY(CAST(:busy AS text[]))
                                  WHEN state IN ('checked', 'released') THEN acquirer = ANY(CAST(:busy AS text[]))
                                  ELSE (told_source_at IS NULL AND source = ANY(CAST(:busy AS text[])))
                                    OR (told_acquirer_at IS NULL AND closed_acquirer_id IS NOT NULL
                                        AND acquirer = ANY(CAST(:busy AS text[])))
                             END, false)
          ORDER BY next_at LIMIT :limit FOR UPDATE SKIP LOCKED
        )
        UPDATE transfer t SET leased_until = :until, leased_by = :worker, attempts = attempts + 1
        FROM due CROSS JOIN {db.LAZILY} WHERE t.id = due.id
        RETURNING {store.COLUMNS}
        """,
        {
            "now": now,
            "until": lease.until,
            "worker": lease.worker,
            "states": [s.value for s in states],
            "busy": list(busy),
            "limit": store.MAX_TRANSFERS,
        },
    )
    return [store.row_of(r) for r in found]


async def wait(tx: db.Tx, ids: Sequence[str], wait: Wait) -> None:
    """Put off rows whose sending moved nothing: the wait doubles with each attempt, up to the longest.

    A row that has moved on meanwhile, or was leased by somebody else, is left alone.
    """
    await db.execute(
        tx,
        """
        UPDATE transfer SET leased_until = NULL, leased_by = NULL, waiting = :why, next_at = CAST(:now AS timestamptz)
          + greatest(:floor, least(:longest, power(2, least(attempts, 16) - 1))) * interval '1 second'
        WHERE id = ANY(CAST(:ids AS text[])) AND leased_until = :until AND leased_by = :worker
        """,
        {
            "ids": list(ids),
            "until": wait.lease.until,
            "worker": wait.lease.worker,
            "now": wait.now,
            "floor": wait.floor_seconds,
            "why": wait.why,
            "longest": LONGEST_WAIT_SECONDS,
        },
    )


async def renew(tx: db.Tx, ids: Sequence[str], lease: Lease, until: datetime) -> bool:
    """Renew a lease that waited for its turn; False when all these rows have moved on or are another's by now."""
    found = await db.rows(
        tx,
        """
        UPDATE transfer SET leased_until = :later
        WHERE id = ANY(CAST(:ids AS text[])) AND leased_until = :until AND leased_by = :worker
        RETURNING id
        """,
        {"ids": list(ids), "until": lease.until, "worker": lease.worker, "later": until},
    )
    return bool(found)


async def held(tx: db.Tx, ids: Sequence[str], lease: Lease, limit: int) -> list[tuple[str, str]]:
    """Those of ``ids`` that have not moved on since they were leased, with their states; at most ``limit``."""
    found = await db.rows(
        tx,
        """
        SELECT id, state FROM transfer
        WHERE id = ANY(CAST(:ids AS text[])) AND leased_until = :until AND leased_by = :worker ORDER BY id LIMIT :limit
        """,
        {"ids": list(ids), "until": lease.until, "worker": lease.worker, "limit": limit},
    )
    return [(r.id, r.state) for r in found]


async def take_over(tx: db.Tx, states: Sequence[State], now: datetime) -> None:
    """Free what workers that are gone have leased (``db.ALIVE``): their transfers go on at once."""
    await db.execute(
        tx,
        f"""
        UPDATE transfer SET leased_until = NULL, leased_by = NULL
        WHERE next_at <= :now AND leased_until > :now AND state = ANY(CAST(:states AS text[]))
          AND leased_by <> ALL({db.ALIVE})
        """,
        {"now": now, "states": [s.value for s in states]},
    )


async def hold(tx: db.Tx, rows: Sequence[store.Row], until: datetime, why: str) -> None:
    """Leave rows that the caller has locked alone until then, and say why; they were not tried."""
    await db.execute(
        tx,
        "UPDATE transfer SET next_at = :until, waiting = :why WHERE id = ANY(CAST(:ids AS text[]))",
        {"ids": [row.id for row in rows], "until": until, "why": why},
    )


async def wake_halted(tx: db.Tx, now: datetime) -> None:
    """Let what waits for the end of a halt go on at once."""
    await db.execute(
        tx,
        "UPDATE transfer SET next_at = :now, waiting = NULL"
        " WHERE state = ANY(CAST(:states AS text[])) AND next_at IS NOT NULL AND waiting LIKE :halted",
        {"now": now, "states": [s.value for s in WAITING_FOR_US], "halted": f"{HALTED}%"},
    )


async def wake_delayed(tx: db.Tx, source: str, now: datetime) -> None:
    """Let what waits for a source's transfer window be looked at again: that has changed."""
    await db.execute(
        tx,
        "UPDATE transfer SET next_at = :now WHERE source = :source AND state = 'delayed' AND next_at IS NOT NULL",
        {"source": source, "now": now},
    )


async def wake_reconciled(tx: db.Tx, registries: Sequence[str], now: datetime) -> None:
    """Let what waits for the reconciliation of one of these registries be looked at again: its cut is taken."""
    await db.execute(
        tx,
        """
        UPDATE transfer SET next_at = :now WHERE state = 'delayed' AND next_at > :now
          AND (transferring_registry = ANY(CAST(:registries AS text[]))
               OR acquiring_registry = ANY(CAST(:registries AS text[])))
        """,
        {"registries": list(registries), "now": now},
    )


async def put_off(tx: db.Tx, row: store.Row, until: datetime, why: str) -> None:
    """Leave a row alone until then: a decision on it failed, and no other row shall wait for it."""
    await db.execute(
        tx,
        """
        UPDATE transfer SET leased_until = :until, next_at = :until, attempts = attempts + 1, waiting = :why
        WHERE id = :id AND version = :version
        """,
        {"id": row.id, "version": row.version, "until": until, "why": why},
    )
