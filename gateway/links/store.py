"""Rows of links, of the registries behind them and of the keys they sign with.

A *link* is a system that speaks to the gateway (``MEC01``, ``INT01``, ``KOR01``); a *registry* is a set of
books behind it. A Party's own registry is one link and one registry; the international registry is one link
with a registry, its section, per Party.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Column, DateTime, Text, insert, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel, col

from gateway import db
from gateway.domain.callers import Sight
from gateway.signing.trust import PeerKey, Revocation


class LinkRow(SQLModel, table=True):
    """A link as stored."""

    __tablename__ = "link"

    code: str = Field(primary_key=True)
    kind: str
    url: str
    state: str
    time_limit_hours: int = 24
    opening_parts: int = 0
    changed_by: int


class LinkRegistryRow(SQLModel, table=True):
    """A registry, and the link it is reached by."""

    __tablename__ = "link_registry"

    # ``registry`` is SQLAlchemy's own word on a class, so the attribute has another name than the column.
    code: str = Field(sa_column=Column("registry", Text, key="code", primary_key=True))
    link: str = Field(foreign_key="link.code")
    party: str | None = None
    since: int | None = Field(default=None, foreign_key="log_entry.id")


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
class Link:
    """A link and the registries behind it."""

    code: str
    kind: str
    url: str
    state: str
    time_limit_hours: int
    registries: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Behind:
    """The link a registry is behind, and the Party whose books that registry keeps (None: every Party's)."""

    code: str
    kind: str
    state: str
    party: str | None


@dataclass(frozen=True, slots=True)
class Section:
    """One Party's books in an international registry, and the link of that."""

    registry: str
    link: str


async def links(tx: db.Tx | db.ReadTx, sight: Sight) -> list[Link]:
    """The links seen, by code: one's own, or the one behind which one's own registry is."""
    found = await db.rows(
        tx,
        """
        SELECT l.code, l.kind, l.url, l.state, l.time_limit_hours,
               coalesce(array_agg(r.registry ORDER BY r.registry) FILTER (WHERE r.registry IS NOT NULL), '{}')
                 AS registries
        FROM link l LEFT JOIN link_registry r ON r.link = l.code
        WHERE CAST(:sight AS text) IS NULL OR l.code = :sight
           OR l.code = (SELECT o.link FROM link_registry o WHERE o.registry = :sight)
        GROUP BY l.code ORDER BY l.code
        """,
        {"sight": sight.code},
    )
    return [Link(r.code, r.kind, r.url, r.state, r.time_limit_hours, tuple(r.registries)) for r in found]


async def find(tx: db.Tx | db.ReadTx, code: str) -> LinkRow | None:
    """The row of the link ``code``, or nothing."""
    found = await db.one(
        tx,
        """
        SELECT code, kind, url, state, time_limit_hours, opening_parts, changed_by FROM link WHERE code = :code
        """,
        {"code": code},
    )
    return LinkRow(**found._mapping) if found else None


async def state(tx: db.Tx | db.ReadTx, code: str) -> str | None:
    """The state of the link ``code``, or nothing when there is none."""
    found = await db.one(tx, "SELECT state FROM link WHERE code = :code", {"code": code})
    return str(found.state) if found else None


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


async def behind(tx: db.Tx | db.ReadTx, registries: Sequence[str]) -> dict[str, Behind]:
    """Which link each of these registries is reached by; a registry that is not linked is left out."""
    found = await db.rows(
        tx,
        """
        SELECT r.registry, r.party, l.code, l.kind, l.state
        FROM link_registry r JOIN link l ON l.code = r.link
        WHERE r.registry = ANY(CAST(:registries AS text[]))
        """,
        {"registries": list(registries)},
    )
    return {r.registry: Behind(r.code, r.kind, r.state, r.party) for r in found}


async def register_alone(tx: db.Tx) -> None:
    """Let no other link be registered, and no action be noted for a section, until ``tx`` ends (``sections()``).

    MUST come before the log entry of the registration: an action with a later entry finds its sections.
    """
    await db.rows(tx, "SELECT pg_advisory_xact_lock(4, 0)")


async def taken(tx: db.Tx, codes: Sequence[str]) -> dict[str, str]:
    """Those of ``codes`` that are a registry's or a link's already, and the link each belongs to."""
    found = await db.rows(
        tx,
        """
        SELECT registry AS code, link FROM link_registry WHERE registry = ANY(CAST(:codes AS text[]))
        UNION SELECT code, code FROM link WHERE code = ANY(CAST(:codes AS text[])) ORDER BY code
        """,
        {"codes": list(codes)},
    )
    return {r.code: r.link for r in found}


async def sections(tx: db.Tx | db.ReadTx) -> dict[str, Section]:
    """The Parties that have a section in an international registry, and that section."""
    found = await db.rows(tx, "SELECT party, registry, link FROM sections()")
    return {r.party: Section(r.registry, r.link) for r in found}


async def activated_beside(tx: db.Tx, code: str) -> frozenset[str]:
    """The registries whose link was activated, be it suspended or closed since, but for those of the link ``code``."""
    found = await db.rows(
        tx,
        """
        SELECT r.registry FROM link_registry r JOIN link l ON l.code = r.link
        WHERE l.state <> 'requested' AND l.code <> :code
        """,
        {"code": code},
    )
    return frozenset(r.registry for r in found)


async def change_keys_alone(tx: db.Tx) -> None:
    """Let nobody else announce keys until ``tx`` ends: of two who bring one key, the second finds the first's."""
    await db.rows(tx, "SELECT pg_advisory_xact_lock(7, 0)")


async def key_owners(tx: db.Tx, kids: Sequence[str]) -> dict[str, str]:
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


async def end_keys(tx: db.Tx, code: str, ends: Mapping[str, datetime]) -> None:
    """Write until when each of these keys of a link counts."""
    await db.execute(
        tx,
        """
        UPDATE peer_key k SET not_after = e.not_after
        FROM unnest(CAST(:kids AS text[]), CAST(:ends AS timestamptz[])) AS e(kid, not_after)
        WHERE k.link = :code AND k.kid = e.kid
        """,
        {"code": code, "kids": list(ends), "ends": list(ends.values())},
    )


async def add(tx: db.Tx, link: Link, parties: dict[str, str | None], entry_id: int) -> None:
    """Insert a link with its registries (each with its Party, where it is one Party's)."""
    await tx.execute(
        insert(LinkRow).values(
            code=link.code,
            kind=link.kind,
            url=link.url,
            state=link.state,
            time_limit_hours=link.time_limit_hours,
            changed_by=entry_id,
        )
    )
    await tx.execute(
        insert(LinkRegistryRow),
        [{"code": r, "link": link.code, "party": parties.get(r), "since": entry_id} for r in link.registries],
    )
    await db.execute(tx, "INSERT INTO outgoing_stream (peer) VALUES (:code)", {"code": link.code})


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


async def readdress(tx: db.Tx, code: str, url: str, entry_id: int) -> None:
    """Change the address of a link."""
    await tx.execute(update(LinkRow).where(col(LinkRow.code) == code).values(url=url, changed_by=entry_id))


async def limit_time(tx: db.Tx, code: str, hours: int, entry_id: int) -> None:
    """Change the time limit of a link."""
    await tx.execute(
        update(LinkRow).where(col(LinkRow.code) == code).values(time_limit_hours=hours, changed_by=entry_id)
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


async def take_part(tx: db.Tx, code: str, *, part: int, last: bool, entry_id: int) -> bool:
    """Count a part of the opening balance, and with the last make the link active; False when it is not its turn."""
    done = await db.execute(
        tx,
        """
        UPDATE link SET opening_parts = :part, state = CASE WHEN :last THEN 'active' ELSE state END, changed_by = :entry
        WHERE code = :code AND state = 'requested' AND opening_parts = CAST(:part AS integer) - 1
        """,
        {"code": code, "part": part, "last": last, "entry": entry_id},
    )
    return done.rowcount == 1
