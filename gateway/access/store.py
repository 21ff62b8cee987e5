"""Rows of principals and of their keys, of the keys tokens are signed with, and of assertions that are used up.

A *principal* is a person or a machine. It is bound to a registry, to a link (a system's own people), or to all
(``registry`` null). Its scopes are read anew for each call, so that what is taken away is gone at once.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from gateway import db
from gateway.domain.callers import ROLES, Caller, Role, Scope, Sight
from gateway.signing.trust import PeerKey

#: How long an assertion is remembered beyond its end: longer than a machine's clock is ever set back.
REMEMBERED = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Principal:
    """A person (with a role) or a machine (with scopes), and what they are bound to: one code, or all (None)."""

    id: str
    person: bool
    name: str
    registry: str | None
    role: Role | None
    scopes: frozenset[Scope]
    revoked: bool = False

    @property
    def allowed(self) -> frozenset[Scope]:
        """What they may do: the halt concerns everybody, so who is bound to one registry never has it."""
        scopes = ROLES[self.role] if self.role else self.scopes
        return scopes if self.registry is None else scopes - {Scope.GATEWAY_HALT}


@dataclass(frozen=True, slots=True)
class Key:
    """A key of a principal, as it is shown."""

    kid: str
    alg: str
    not_after: datetime | None
    revoked: bool


@dataclass(frozen=True, slots=True)
class TokenKey:
    """A key that access tokens are signed with, as it is shown."""

    kid: str
    jwk: Mapping[str, str]
    revoked: bool


_PRINCIPAL = "p.id, p.kind, p.name, p.registry, p.role, p.scopes, p.revoked_by"


async def caller(tx: db.Tx | db.ReadTx, principal: str) -> Caller | None:
    """Who this id is, as a caller; nothing for one that is not there or was revoked."""
    return next(iter(await _callers(tx, "p.id = :given", principal)), None)


async def by_name(tx: db.Tx | db.ReadTx, name: str) -> list[Caller]:
    """Who has this name, of whatever registry, or this id; without those that were revoked."""
    return await _callers(tx, ":given IN (p.name, p.id)", name)


async def standing(tx: db.Tx, principal: str) -> Caller | None:
    """As ``caller``, and nobody revokes them until ``tx`` ends."""
    return next(iter(await _callers(tx, "p.id = :given", principal, "FOR SHARE OF p")), None)


async def _callers(tx: db.Tx | db.ReadTx, condition: str, given: str, lock: str = "") -> list[Caller]:
    # Which Party's registry it is counts from the link's activation on: two persons have vouched for that by then.
    rows = await db.rows(
        tx,
        f"""
        SELECT {_PRINCIPAL}, CASE WHEN k.activated_by IS NOT NULL THEN l.party END AS party
        FROM principal p LEFT JOIN link_registry l ON l.registry = p.registry LEFT JOIN link k ON k.code = l.link
        WHERE {condition} AND p.revoked_by IS NULL {lock}
        """,
        {"given": given},
    )
    found = [(_principal(r), r.party) for r in rows]
    return [Caller(one.id, one.person, Sight(one.registry, party), one.allowed) for one, party in found]


async def ids(tx: db.ReadTx) -> frozenset[str]:
    """Everybody who may call."""
    return frozenset(r.id for r in await db.rows(tx, "SELECT id FROM principal WHERE revoked_by IS NULL", {}))


async def find(tx: db.Tx | db.ReadTx, principal: str) -> Principal | None:
    """The principal with this id, revoked or not."""
    r = await db.one(tx, f"SELECT {_PRINCIPAL} FROM principal p WHERE p.id = :id", {"id": principal})
    return _principal(r) if r else None


async def named(tx: db.Tx | db.ReadTx, sight: Sight, name: str, *, person: bool) -> list[Principal]:
    """The people, or the machines, in sight that have this name, or this id; revoked or not."""
    found = await db.rows(
        tx,
        f"""
        SELECT {_PRINCIPAL} FROM principal p WHERE :name IN (p.name, p.id) AND p.kind = :kind
          AND (CAST(:sight AS text) IS NULL OR p.registry = :sight) ORDER BY p.id
        """,
        {"name": name, "kind": _kind(person), "sight": sight.code},
    )
    return [_principal(r) for r in found]


async def listing(
    tx: db.ReadTx, sight: Sight, *, person: bool, after: str | None, limit: int
) -> list[tuple[Principal, list[Key]]]:
    """The people, or the machines, bound to what is seen, with every key they ever had: by name and id (which are the
    two words of ``after``) from there on.
    """
    found = await db.rows(
        tx,
        f"""
        SELECT {_PRINCIPAL}, coalesce(k.keys, '[]') AS keys FROM principal p
        LEFT JOIN LATERAL (
          SELECT jsonb_agg(jsonb_build_object('kid', kid, 'alg', jwk ->> 'alg', 'not_after', not_after,
                                              'revoked', revoked_by IS NOT NULL) ORDER BY added_by, kid) AS keys
          FROM principal_key WHERE principal = p.id
        ) k ON true
        WHERE p.kind = :kind AND (CAST(:sight AS text) IS NULL OR p.registry = :sight)
          AND (CAST(:after AS text) IS NULL
            OR (p.name, p.id) > (split_part(:after, ' ', 1), split_part(:after, ' ', 2)))
        ORDER BY p.name, p.id LIMIT :limit
        """,
        {"kind": _kind(person), "sight": sight.code, "after": after, "limit": limit},
    )
    return [(_principal(r), [_shown(key) for key in r.keys]) for r in found]


async def known(tx: db.Tx | db.ReadTx, code: str) -> bool:
    """Whether a link or a registry has this code."""
    found = await db.one(
        tx,
        """
        SELECT EXISTS (SELECT FROM link WHERE code = :code)
            OR EXISTS (SELECT FROM link_registry WHERE registry = :code) AS known
        """,
        {"code": code},
    )
    return found is not None and bool(found.known)


async def add(tx: db.Tx, new: Principal, entry_id: int) -> bool:
    """Insert a principal; False when the name was given before in its registry."""
    done = await db.execute(
        tx,
        """
        INSERT INTO principal (id, kind, name, registry, role, scopes, added_by)
        VALUES (:id, :kind, :name, :registry, :role, CAST(:scopes AS text[]), :entry) 
        ON CONFLICT (registry, name) DO NOTHING
        """,
        {
            "id": new.id,
            "kind": _kind(new.person),
            "name": new.name,
            "registry": new.registry,
            "role": new.role.value if new.role else None,
            "scopes": None if new.role else sorted(new.scopes),
            "entry": entry_id,
        },
    )
    return done.rowcount == 1


async def revoke(tx: db.Tx, principal: str, entry_id: int) -> bool:
    """Note that a principal counts no longer; False when it was revoked before."""
    return await _revoke(tx, "principal", "id = :principal", {"principal": principal}, entry_id)


async def add_keys(tx: db.Tx, new: Sequence[PeerKey], entry_id: int) -> list[str]:
    """Register keys of principals; the ids of those that were not registered before, for whomever."""
    added = await db.rows(
        tx,
        """
        INSERT INTO principal_key (kid, principal, jwk, not_after, added_by)
        SELECT n.kid, n.principal, n.jwk, n.not_after, :entry
        FROM unnest(CAST(:kids AS text[]), CAST(:principals AS text[]), CAST(:jwks AS jsonb[]),
                    CAST(:ends AS timestamptz[])) AS n(kid, principal, jwk, not_after)
        ON CONFLICT (kid) DO NOTHING RETURNING kid
        """,
        {
            "kids": [key.kid for key in new],
            "principals": [key.owner for key in new],
            "jwks": [json.dumps(dict(key.jwk)) for key in new],
            "ends": [key.not_after for key in new],
            "entry": entry_id,
        },
    )
    return [r.kid for r in added]


async def revoke_key(tx: db.Tx, principal: str, kid: str, entry_id: int) -> bool:
    """Note that a principal's key counts no longer; False when it has no such key, or it was revoked before."""
    what = {"principal": principal, "kid": kid}
    return await _revoke(tx, "principal_key", "principal = :principal AND kid = :kid", what, entry_id)


async def keys(tx: db.Tx | db.ReadTx, principal: str, now: datetime) -> list[PeerKey]:
    """The keys under which a principal's assertions are verified at this moment."""
    found = await db.rows(
        tx,
        """
        SELECT jwk, not_after FROM principal_key
        WHERE principal = :principal AND revoked_by IS NULL AND coalesce(not_after > :now, true)
        """,
        {"principal": principal, "now": now},
    )
    return [PeerKey.from_jwk(principal, r.jwk, not_before=now, not_after=r.not_after) for r in found]


async def add_token_key(tx: db.Tx, kid: str, jwk: Mapping[str, str], entry_id: int) -> None:
    """Register a key that access tokens are signed with."""
    await db.execute(
        tx,
        """
        INSERT INTO token_key (kid, jwk, registered_by) VALUES (:kid, CAST(:jwk AS jsonb), :entry)
        """,
        {"kid": kid, "jwk": json.dumps(dict(jwk)), "entry": entry_id},
    )


async def token_keys(tx: db.Tx | db.ReadTx) -> list[TokenKey]:
    """Every key that access tokens were ever signed with, the latest first."""
    found = await db.rows(tx, "SELECT kid, jwk, revoked_by FROM token_key ORDER BY registered_by DESC")
    return [TokenKey(r.kid, r.jwk, r.revoked_by is not None) for r in found]


async def token_key(tx: db.Tx | db.ReadTx, kid: str) -> TokenKey | None:
    """The token key with this id, revoked or not."""
    r = await db.one(tx, "SELECT kid, jwk, revoked_by FROM token_key WHERE kid = :kid", {"kid": kid})
    return TokenKey(r.kid, r.jwk, r.revoked_by is not None) if r else None


async def revoke_token_key(tx: db.Tx, kid: str, entry_id: int) -> bool:
    """Note that tokens signed with a key count no longer; False when there is none, or it was revoked before."""
    return await _revoke(tx, "token_key", "kid = :kid", {"kid": kid}, entry_id)


async def alone(tx: db.Tx) -> None:
    """Let nobody else register a token key until ``tx`` ends: two processes may start with one at one moment."""
    await db.rows(tx, "SELECT pg_advisory_xact_lock(8, 0)")


async def use_up(tx: db.Tx, principal: str, jti: str, expires_at: datetime, now: datetime) -> bool:
    """Use an assertion up, once: False when it was before. Forgets the principal's that nobody can show any more."""
    await db.execute(
        tx,
        "DELETE FROM assertion WHERE principal = :principal AND expires_at < :over",
        {"principal": principal, "over": now - REMEMBERED},
    )
    done = await db.execute(
        tx,
        """
        INSERT INTO assertion (principal, jti, expires_at) VALUES (:principal, :jti, :expires)
        ON CONFLICT (principal, jti) DO NOTHING
        """,
        {"principal": principal, "jti": jti, "expires": expires_at},
    )
    return done.rowcount == 1


async def _revoke(tx: db.Tx, table: str, condition: str, what: Mapping[str, str], entry_id: int) -> bool:
    statement = f"UPDATE {table} SET revoked_by = :entry WHERE {condition} AND revoked_by IS NULL"
    return (await db.execute(tx, statement, {**what, "entry": entry_id})).rowcount == 1


def _principal(r: Any) -> Principal:
    scopes = frozenset(scope for scope in Scope if scope.value in (r.scopes or ()))
    role = Role(r.role) if r.role else None
    return Principal(r.id, r.kind == "person", r.name, r.registry, role, scopes, r.revoked_by is not None)


def _shown(key: Mapping[str, Any]) -> Key:
    ends = datetime.fromisoformat(key["not_after"]) if key["not_after"] else None
    return Key(key["kid"], key["alg"], ends, key["revoked"])


def _kind(person: bool) -> str:
    return "person" if person else "machine"
