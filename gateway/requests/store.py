"""Rows of requests. Like a transfer's, the row is the job: it says what is next, and when."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gateway import db
from gateway.messages.outbox import LONGEST_WAIT_SECONDS, Lease, Wait

#: Requests sent in one go.
AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it stands: ``sent`` until the source has answered, then ``recorded`` or ``refused``."""

    id: str
    source: str
    message_id: str
    state: str
    findings: list[dict[str, Any]]
    sha256: bytes
    transfer: str | None
    waiting: str | None


async def insert(tx: db.Tx, request: Request, caller: str, idempotency_key: str, now: datetime) -> None:
    """Insert a request that is about to be sent."""
    await db.execute(
        tx,
        """
        INSERT INTO transfer_request
          (id, caller, idempotency_key, sha256, source, message_id, state, next_at, created_at)
        VALUES (:id, :caller, :key, :sha, :source, :message, 'sent', :now, :now)
        """,
        {
            "id": request.id,
            "caller": caller,
            "key": idempotency_key,
            "sha": request.sha256,
            "source": request.source,
            "message": request.message_id,
            "now": now,
        },
    )


async def find(tx: db.Tx | db.ReadTx, caller: str, idempotency_key: str) -> Request | None:
    """The request a caller made under a key, if any."""
    r = await db.one(
        tx,
        """
        SELECT CAST(q.id AS text) AS id, q.source, CAST(q.message_id AS text) AS message_id, q.state, q.findings,
               q.sha256, t.id AS transfer, q.waiting
        FROM transfer_request q LEFT JOIN transfer t ON t.request_id = q.id
        WHERE q.caller = :caller AND q.idempotency_key = :key
        """,
        {"caller": caller, "key": idempotency_key},
    )
    return Request(**{**r._mapping, "sha256": bytes(r.sha256)}) if r else None


async def serialise(tx: db.Tx, caller: str, idempotency_key: str) -> None:
    """Let one transaction at a time decide about this key: two equal calls at one instant make one request."""
    await db.rows(
        tx,
        "SELECT pg_advisory_xact_lock(2, hashtext(:key))",
        {"key": f"{caller} {idempotency_key}"},
    )


async def open_of(tx: db.Tx, source: str, requests: Sequence[str]) -> set[str]:
    """Those of ``requests`` that were made of this source and have no transfer yet; they are locked.

    Locked first, then looked at: of two proposals for one request, the second sees the first one's transfer.
    """
    asked = {"source": source, "ids": list(requests)}
    await db.rows(
        tx,
        """
        SELECT id FROM transfer_request
        WHERE source = :source AND id = ANY(CAST(:ids AS uuid[])) ORDER BY id FOR UPDATE
        """,
        asked,
    )
    found = await db.rows(
        tx,
        """
        SELECT CAST(q.id AS text) AS id FROM transfer_request q
        WHERE q.source = :source AND q.id = ANY(CAST(:ids AS uuid[]))
          AND NOT EXISTS (SELECT FROM transfer t WHERE t.request_id = q.id)
        """,
        asked,
    )
    return {r.id for r in found}


async def settle(tx: db.Tx, message_id: str, state: str, findings: Sequence[dict[str, Any]]) -> None:
    """Note the source's answer to the request sent as ``message_id``; nothing more is to be sent."""
    await db.execute(
        tx,
        """
        UPDATE transfer_request SET state = :state, findings = CAST(:findings AS jsonb), next_at = NULL,
          leased_until = NULL, leased_by = NULL, waiting = NULL
        WHERE message_id = :message AND state = 'sent'
        """,
        {"message": message_id, "state": state, "findings": json.dumps(list(findings))},
    )


async def lease_due(tx: db.Tx, now: datetime, lease: Lease, busy: Sequence[str]) -> list[tuple[str, str]]:
    """Lease requests that are due to sources that are not ``busy``; (source, message id) of each."""
    found = await db.rows(
        tx,
        """
        WITH due AS (
          SELECT id FROM transfer_request
          WHERE next_at <= :now AND (leased_until IS NULL OR leased_until <= :now)
            AND source <> ALL(CAST(:busy AS text[]))
          ORDER BY next_at LIMIT :limit FOR UPDATE SKIP LOCKED
        )
        UPDATE transfer_request q SET leased_until = :until, leased_by = :worker, attempts = attempts + 1
        FROM due WHERE q.id = due.id
        RETURNING q.source, CAST(q.message_id AS text) AS message_id
        """,
        {"now": now, "until": lease.until, "worker": lease.worker, "busy": list(busy), "limit": AT_ONCE},
    )
    return [(r.source, r.message_id) for r in found]


async def wait(tx: db.Tx, message_id: str, wait: Wait) -> None:
    """Put off a request that was not answered: the wait doubles with each attempt, up to the longest."""
    await db.execute(
        tx,
        """
        UPDATE transfer_request SET leased_until = NULL, leased_by = NULL, waiting = :why,
          next_at = CAST(:now AS timestamptz)
            + greatest(:floor, least(:longest, power(2, least(attempts, 16) - 1))) * interval '1 second'
        WHERE message_id = :message AND leased_until = :until AND leased_by = :worker
        """,
        {
            "message": message_id,
            "until": wait.lease.until,
            "worker": wait.lease.worker,
            "now": wait.now,
            "floor": wait.floor_seconds,
            "why": wait.why,
            "longest": LONGEST_WAIT_SECONDS,
        },
    )


async def take_over(tx: db.Tx, now: datetime) -> None:
    """Free what workers that are gone have leased (``db.GONE``)."""
    await db.execute(
        tx,
        f"""
        UPDATE transfer_request SET leased_until = NULL, leased_by = NULL
        WHERE next_at <= :now AND leased_until > :now AND {db.GONE}
        """,
        {"now": now},
    )
