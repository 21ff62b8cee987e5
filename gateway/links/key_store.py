"""Rows of the keys that linked systems sign with: which vouch for whom, from when until when, and which no longer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Column, DateTime, insert
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from gateway import db
from gateway.signing.trust import PeerKey, Revocation


class PeerKeyRow(SQLModel, table=True):
    """A key under which a link's messages are verified."""

    __tablename__ = "peer_key"

    link: str = Field(primary_key=True, foreign_key="link.code")
    kid: str = Field(primary_key=True)
    jwk: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False))
    not_before: datetime = Field(sa_type=DateTime(timezone=True))
    not_after: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    revoked_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    revoked_reason: str | None = None
    compromised_since: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    registered_by: int


@dataclass(frozen=True, slots=True)
class Word:
    """What an entry of the log says of one key: that it ``registers`` it, or until when it counts, from then on.

    ``signed_by`` is the key that signed the message that said so; nothing where people did.
    """

    kid: str
    at: datetime
    registers: bool
    not_after: datetime | None
    signed_by: str | None


async def keys(tx: db.Tx | db.ReadTx, codes: Sequence[str]) -> list[PeerKey]:
    """Every key ever registered for these links, with windows and revocations."""
    found = await db.rows(
        tx,
        """
        SELECT link, kid, jwk, not_before, not_after, revoked_at, revoked_reason, compromised_since
        FROM peer_key WHERE link = ANY(CAST(:codes AS text[])) ORDER BY not_before
        """,
        {"codes": list(codes)},
    )
    return [
        PeerKey.from_jwk(
            r.link,
            r.jwk,
            not_before=r.not_before,
            not_after=r.not_after,
            revoked_at=r.revoked_at,
            revoked_reason=Revocation(r.revoked_reason) if r.revoked_reason else None,
            compromised_since=r.compromised_since,
        )
        for r in found
    ]


async def words(tx: db.Tx | db.ReadTx, code: str) -> list[Word]:
    """What the log says of the keys of a link and their ends, in its order (by the index ``log_entry_of_keys``)."""
    found = await db.rows(
        tx,
        """
        SELECT k.kid, e.at, e.kind IN ('link.registered', 'key.registered') AS registers,
               CAST(r.said ->> 'not_after' AS timestamptz) AS not_after, r.said ->> 'signed_by' AS signed_by
        FROM log_entry e JOIN log_record l ON l.entry_id = e.id
        CROSS JOIN LATERAL (SELECT CAST(convert_from(l.record, 'UTF8') AS jsonb) AS said) AS r
        CROSS JOIN LATERAL
          jsonb_array_elements_text(coalesce(r.said -> 'keys', jsonb_build_array(r.said -> 'key'))) AS k(kid)
        WHERE e.kind IN ('link.registered', 'key.registered', 'key.ended', 'key.reopened')
          AND r.said ->> 'link' = :code ORDER BY e.id
        """,
        {"code": code},
    )
    return [
        Word(r.kid, r.at, r.registers, r.not_after.astimezone(UTC) if r.not_after else None, r.signed_by) for r in found
    ]


async def change_keys_alone(tx: db.Tx) -> None:
    """Let nobody else change keys until ``tx`` ends: the second of two finds what the first has brought or revoked."""
    await db.rows(tx, "SELECT pg_advisory_xact_lock(7, 0)")


async def key_owners(tx: db.Tx | db.ReadTx, kids: Sequence[str]) -> dict[str, str]:
    """Whose each of these keys is, the gateway's own included; one that is nobody's is left out."""
    found = await db.rows(
        tx,
        """
        SELECT kid, link FROM peer_key WHERE kid = ANY(CAST(:kids AS text[]))
        UNION ALL SELECT kid, 'this gateway' FROM own_key WHERE kid = ANY(CAST(:kids AS text[])) ORDER BY kid
        """,
        {"kids": list(kids)},
    )
    return {r.kid: r.link for r in found}


async def end_keys(tx: db.Tx, code: str, ends: Mapping[str, datetime | None]) -> None:
    """Write until when each of these keys of a link counts; None is without an end."""
    await db.execute(
        tx,
        """
        UPDATE peer_key k SET not_after = e.not_after
        FROM unnest(CAST(:kids AS text[]), CAST(:ends AS timestamptz[])) AS e(kid, not_after)
        WHERE k.link = :code AND k.kid = e.kid
        """,
        {"code": code, "kids": list(ends), "ends": list(ends.values())},
    )


async def add_keys(tx: db.Tx, new: Sequence[PeerKey], entry_id: int) -> None:
    """Register keys for their owners."""
    await tx.execute(
        insert(PeerKeyRow),
        [
            {
                "link": key.owner,
                "kid": key.kid,
                "jwk": dict(key.jwk),
                "not_before": key.not_before,
                "not_after": key.not_after,
                "registered_by": entry_id,
            }
            for key in new
        ],
    )


async def revoke_key(
    tx: db.Tx, code: str, kid: str, at: datetime, reason: Revocation, compromised_since: datetime | None
) -> bool:
    """Write a revocation; False when there is no such key, or it was revoked before."""
    done = await db.execute(
        tx,
        """
        UPDATE peer_key SET revoked_at = :at, revoked_reason = :reason, compromised_since = :since
        WHERE link = :code AND kid = :kid AND revoked_at IS NULL
        """,
        {"code": code, "kid": kid, "at": at, "reason": reason.value, "since": compromised_since},
    )
    return done.rowcount == 1
