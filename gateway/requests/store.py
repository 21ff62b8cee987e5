"""Rows of requests: what was asked of whom, and what the source has answered. That it is due is in ``owed``."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gateway import db
from gateway.messages import owed
from gateway.messages.owed import Owed


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
    """Insert a request, whose message is due from now on."""
    await db.execute(
        tx,
        """
        INSERT INTO transfer_request (id, caller, idempotency_key, sha256, source, message_id, state, created_at)
        VALUES (:id, :caller, :key, :sha, :source, :message, 'sent', :now)
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
    await owed.add(tx, [Owed(request.source, request.message_id)], now)


async def find(tx: db.Tx | db.ReadTx, caller: str, idempotency_key: str) -> Request | None:
    """The request a caller made under a key, if any."""
    r = await db.one(
        tx,
        """
        SELECT CAST(q.id AS text) AS id, q.source, CAST(q.message_id AS text) AS message_id, q.state, q.findings,
               q.sha256, t.id AS transfer, o.waiting
        FROM transfer_request q LEFT JOIN transfer t ON t.request_id = q.id
        LEFT JOIN owed o ON o.message_id = q.message_id
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
    """Note the source's answer to the request sent as ``message_id``, if it is one; nothing more is to be sent."""
    settled = await db.execute(
        tx,
        """
        UPDATE transfer_request SET state = :state, findings = CAST(:findings AS jsonb)
        WHERE message_id = :message AND state = 'sent'
        """,
        {"message": message_id, "state": state, "findings": json.dumps(list(findings))},
    )
    if settled.rowcount:
        await owed.done(tx, message_id)
