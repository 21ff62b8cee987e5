"""Rows of the gateway's own keys, of who was told of each, and what the log says of keys.

A row is written once and ended once: a key is retired in good order, or revoked. What may sign is judged by PostgreSQL
where messages are stored (``may_sign``, used by ``messages.store.insert``).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gateway import db
from gateway.domain.callers import EVERYTHING, Sight
from gateway.keys.entries import Event
from gateway.signing.trust import PeerKey, Revocation


@dataclass(frozen=True, slots=True)
class OwnKey:
    """A key of ours. ``signs`` from ``not_before`` on, until it is retired or revoked."""

    kid: str
    jwk: Mapping[str, str]
    not_before: datetime
    retired_at: datetime | None
    revoked_at: datetime | None
    revoked_reason: Revocation | None
    #: When its revocation was entered, which may say that it reaches back.
    revoked_on: datetime | None

    @property
    def signs(self) -> bool:
        """Whether messages may be signed with it."""
        return self.retired_at is None and self.revoked_at is None


@dataclass(frozen=True, slots=True)
class Told:
    """A link that was told of a key (or of its end), by which message, and when it receipted that."""

    message_id: str
    kid: str
    link: str
    ends: bool
    state: str
    receipted_at: datetime | None
    waiting: str | None


async def keys(tx: db.Tx | db.ReadTx) -> list[OwnKey]:
    """Every key of ours, the oldest first."""
    found = await db.rows(
        tx,
        """
        SELECT k.kid, k.jwk, k.not_before, k.retired_at, k.revoked_at, k.revoked_reason, e.at AS revoked_on
        FROM own_key k LEFT JOIN log_entry e ON e.id = k.revoked_by ORDER BY k.registered_by
        """,
    )
    return [
        OwnKey(
            r.kid,
            r.jwk,
            r.not_before,
            r.retired_at,
            r.revoked_at,
            Revocation(r.revoked_reason) if r.revoked_reason else None,
            r.revoked_on,
        )
        for r in found
    ]


async def add(tx: db.Tx, key: PeerKey, entry_id: int) -> None:
    """Register a key of ours, by the entry that records it."""
    await db.execute(
        tx,
        """
        INSERT INTO own_key (kid, jwk, not_before, registered_by)
        VALUES (:kid, CAST(:jwk AS jsonb), :not_before, :entry)
        """,
        {"kid": key.kid, "jwk": json.dumps(dict(key.jwk)), "not_before": key.not_before, "entry": entry_id},
    )


async def stop_signing(tx: db.Tx) -> None:
    """Let nobody store a numbered message until ``tx`` ends; what was signed before is seen after this."""
    await db.rows(tx, "SELECT peer FROM outgoing_stream ORDER BY peer FOR UPDATE")


async def retire(tx: db.Tx, kid: str, at: datetime, entry_id: int) -> None:
    """Write that a key signs no more from a time on."""
    await db.execute(
        tx,
        "UPDATE own_key SET retired_at = :at, retired_by = :entry WHERE kid = :kid",
        {"kid": kid, "at": at, "entry": entry_id},
    )


async def revoke(tx: db.Tx, kid: str, at: datetime, reason: Revocation, entry_id: int) -> None:
    """Write that a key is revoked, since when and why."""
    await db.execute(
        tx,
        """
        UPDATE own_key SET revoked_at = :at, revoked_reason = :reason, revoked_by = :entry WHERE kid = :kid
        """,
        {"kid": kid, "at": at, "reason": reason.value, "entry": entry_id},
    )


async def tell(tx: db.Tx, kid: str, messages: Mapping[str, str], *, ends: bool) -> None:
    """Note which message (by link) tells whom of a key, or of its end."""
    await db.execute(
        tx,
        """
        INSERT INTO own_key_told (message_id, kid, link, ends)
        SELECT id, :kid, link, :ends FROM unnest(CAST(:ids AS uuid[]), CAST(:links AS text[])) AS t(id, link)
        """,
        {"kid": kid, "ends": ends, "ids": list(messages.values()), "links": list(messages)},
    )


async def receipted(tx: db.Tx, message_id: str, entry_id: int) -> bool:
    """Note that a message about a key was receipted; False when it is none, or was receipted before."""
    done = await db.execute(
        tx,
        "UPDATE own_key_told SET receipted_by = :entry WHERE message_id = :id AND receipted_by IS NULL",
        {"id": message_id, "entry": entry_id},
    )
    return done.rowcount == 1


async def told(tx: db.Tx | db.ReadTx, kid: str | None = None, sight: Sight = EVERYTHING) -> list[Told]:
    """Who in sight was told of a key, or of every key, and of its end."""
    found = await db.rows(
        tx,
        """
        SELECT CAST(t.message_id AS text) AS message_id, t.kid, t.link, t.ends, l.state, e.at, o.waiting
        FROM own_key_told t JOIN link l ON l.code = t.link LEFT JOIN log_entry e ON e.id = t.receipted_by
        LEFT JOIN owed o ON o.message_id = t.message_id
        WHERE (t.kid = :kid OR CAST(:kid AS text) IS NULL)
          AND (CAST(:sight AS text) IS NULL OR t.link = :sight) ORDER BY t.kid, t.link, t.ends
        """,
        {"kid": kid, "sight": sight.code},
    )
    return [Told(r.message_id, r.kid, r.link, r.ends, r.state, r.at, r.waiting) for r in found]


async def entry_of(tx: db.ReadTx, message_id: str, sight: Sight) -> list[Event]:
    """The entries of the log for messages in sight with this id; two senders may have chosen the same."""
    found = await db.rows(
        tx,
        """
        SELECT e.kind, e.at, r.record FROM message m JOIN log_entry e ON e.id = m.entry_id
        JOIN log_record r ON r.entry_id = e.id WHERE m.message_id = :id AND m.direction <> 'shown'
          AND (CAST(:sight AS text) IS NULL OR m.peer = :sight) ORDER BY e.id
        """,
        {"id": message_id, "sight": sight.code},
    )
    return [_event(r) for r in found]


async def events(tx: db.ReadTx, links: Sequence[str] | None = None) -> list[Event]:
    """What the log says of our keys and those of some links, or of all, in its order (by ``log_entry_of_keys``)."""
    found = await db.rows(
        tx,
        """
        SELECT e.kind, e.at, r.record FROM log_entry e JOIN log_record r ON r.entry_id = e.id
        WHERE e.kind IN ('link.registered', 'key.registered', 'key.ended', 'key.reopened', 'key.revoked',
                         'own-key.registered', 'own-key.retired', 'own-key.revoked')
          AND (CAST(:links AS text[]) IS NULL OR e.kind LIKE 'own-key.%'
               OR CAST(convert_from(r.record, 'UTF8') AS jsonb) ->> 'link' = ANY(CAST(:links AS text[])))
        ORDER BY e.id
        """,
        {"links": list(links) if links is not None else None},
    )
    return [_event(r) for r in found]


def _event(row: Any) -> Event:
    return Event(row.kind, row.at, json.loads(bytes(row.record)))


def usable(keys: Sequence[OwnKey]) -> list[OwnKey]:
    """Those that may sign."""
    return [key for key in keys if key.signs]
