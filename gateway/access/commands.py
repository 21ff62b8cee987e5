"""People and machines come and go, and their keys; so do the keys that tokens are signed with. Each is a log entry.

Whoever administers one registry does so for that registry alone, and gives nobody what its people cannot have; of what
belongs to another they hear the same as of what is not there (8001). So a name is a registry's own: another may give it
too, and who administers both says whom they mean by the id. The log names principals by pseudonym. Raises
MALFORMED (2001, 2014 for a time, 1007 for a key) with the field that is wrong, CONFLICT (2004) for what was given or
done before, and NOT_FOUND (3001) to whoever is bound to all.
"""

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gateway import db
from gateway.access import store
from gateway.access.store import Principal
from gateway.audit import log
from gateway.domain import moments
from gateway.domain.callers import Caller, Role, Scope
from gateway.errors import GatewayError, Kind
from gateway.messages.outbox import Node
from gateway.signing.keys import Signer
from gateway.signing.trust import PeerKey

#: Keys of one principal that count at one time: one in use, one to come, and some to spare.
MAX_KEYS = 10

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_ID = re.compile(r"[pc]-[0-9a-f]{16}")
_CODE = re.compile(r"[A-Z]{3}[0-9]{2}")
_KID = re.compile(r"[A-Za-z0-9_-]{43}")  # RFC 7638: base64url of a SHA-256
#: What only a person does, whatever a machine is told.
_FOR_PEOPLE = frozenset({Scope.APPROVALS_DECIDE, Scope.ACCESS_ADMIN})


@dataclass(frozen=True, slots=True)
class Wanted:
    """Somebody to be added: a person by their role, or a machine by its scopes."""

    name: str
    registry: str | None
    jwks: Sequence[Mapping[str, Any]]
    role: Role | None = None
    scopes: frozenset[Scope] = frozenset()
    not_after: datetime | None = None

    @property
    def person(self) -> bool:
        """Whether it is a person."""
        return self.role is not None


def wanted_person(written: Mapping[str, Any]) -> Wanted:
    """A person as two administrators have decided to add them: ``name``, ``registry``, ``role``, ``keys``, an end."""
    until = written["not_after"]
    return Wanted(
        written["name"],
        written["registry"],
        written["keys"],
        role=Role(written["role"]),
        not_after=moments.read(until) if until else None,
    )


async def add(tx: db.Tx, node: Node, by: Caller, wanted: Wanted) -> tuple[Principal, list[str]]:
    """Register a person or a machine with their keys; them, and the key ids."""
    by.require_for(wanted.registry)
    if not _NAME.fullmatch(wanted.name):
        raise _malformed("name", "1 to 64 of A-Z, a-z, 0-9, '.', '_', '@' and '-', the first a letter or digit")
    if _ID.fullmatch(wanted.name):
        raise _malformed("name", "this is what the gateway's own ids look like")
    if wanted.registry is not None and not (
        _CODE.fullmatch(wanted.registry) and await store.known(tx, wanted.registry)
    ):
        raise _malformed("registry", f"no registry and no link has the code {wanted.registry[:16]!r}")
    _require_scopes(wanted)
    made = f"{'p' if wanted.person else 'c'}-{secrets.token_hex(8)}"
    new = Principal(made, wanted.person, wanted.name, wanted.registry, wanted.role, wanted.scopes)
    keys = _keys(made, wanted.jwks, node.clock(), wanted.not_after)
    record = {
        "principal": made,
        "registry": wanted.registry,
        "role": wanted.role.value if wanted.role else None,
        "scopes": sorted(wanted.scopes),
        "keys": [key.kid for key in keys],
        "by": by.id,
        **by.marks,
    }
    entry_id = await _entry(tx, node, f"access.{_noun(new)}-added", record)
    if not await store.add(tx, new, entry_id):
        raise GatewayError(Kind.CONFLICT, f"name: {wanted.name} was given before, and is not given again", code=2004)
    await _add_keys(tx, keys, entry_id)
    return new, [key.kid for key in keys]


async def revoke(tx: db.Tx, node: Node, by: Caller, name: str, *, person: bool) -> Principal:
    """Let a person or a machine call no longer, from now on. It cannot be undone."""
    found = await _administered(tx, by, name, person)
    entry_id = await _entry(
        tx, node, f"access.{_noun(found)}-revoked", {"principal": found.id, "by": by.id, **by.marks}
    )
    if not await store.revoke(tx, found.id, entry_id):
        raise GatewayError(Kind.CONFLICT, f"{name} was revoked before", code=2004)
    return found


async def add_keys(
    tx: db.Tx, node: Node, by: Caller, name: str, jwks: Sequence[Mapping[str, Any]], *,
    person: bool, not_after: datetime | None,
) -> tuple[Principal, list[str]]:  # fmt: skip
    """Register further keys of a person or machine; the earlier ones count as before. Them, and the key ids."""
    found = await _administered(tx, by, name, person)
    if found.revoked:
        raise GatewayError(Kind.CONFLICT, f"{name} was revoked", code=2004)
    keys = _keys(found.id, jwks, node.clock(), not_after)
    if len(keys) + len(await store.keys(tx, found.id, node.clock())) > MAX_KEYS:
        raise GatewayError(Kind.CONFLICT, f"keys: at most {MAX_KEYS} count at one time; revoke one first", code=2004)
    record = {"principal": found.id, "keys": [key.kid for key in keys], "by": by.id, **by.marks}
    await _add_keys(tx, keys, await _entry(tx, node, "access.key-added", record))
    return found, [key.kid for key in keys]


async def revoke_key(tx: db.Tx, node: Node, by: Caller, name: str, kid: str, *, person: bool) -> Principal:
    """Let a key of a person or machine count no longer, from now on."""
    found = await _administered(tx, by, name, person)
    if _KID.fullmatch(kid):
        entry_id = await _entry(
            tx, node, "access.key-revoked", {"principal": found.id, "key": kid, "by": by.id, **by.marks}
        )
        if await store.revoke_key(tx, found.id, kid, entry_id):
            return found
    raise GatewayError(Kind.CONFLICT, f"{name} has no such key that counts", code=2004)


async def register_token_key(tx: db.Tx, node: Node, signer: Signer) -> bool:
    """Let tokens signed by this key count, for every process on this database; False when they do.

    Raises CONFLICT for a key that was revoked: a process that has it must not start.
    """
    await store.alone(tx)
    there = await store.token_key(tx, signer.kid)
    if there is not None:
        if there.revoked:
            raise GatewayError(Kind.CONFLICT, f"the token key {signer.kid} was revoked", code=2004)
        return False
    entry_id = await _entry(tx, node, "access.token-key-registered", {"key": signer.kid})
    await store.add_token_key(tx, signer.kid, signer.public_jwk(), entry_id)
    return True


async def revoke_token_key(tx: db.Tx, node: Node, by: Caller, kid: str) -> None:
    """Let no token signed by this key count any more, from now on; its holders ask for another."""
    by.require_all()
    if not _KID.fullmatch(kid) or await store.token_key(tx, kid) is None:
        raise GatewayError(Kind.NOT_FOUND, "no such token key is registered", code=3001)
    entry_id = await _entry(tx, node, "access.token-key-revoked", {"key": kid, "by": by.id, **by.marks})
    if not await store.revoke_token_key(tx, kid, entry_id):
        raise GatewayError(Kind.CONFLICT, f"the token key {kid} was revoked before", code=2004)


def _require_scopes(wanted: Wanted) -> None:
    """A machine has scopes, does not decide, and never halts the gateway from one registry."""
    if wanted.person:
        return
    if not wanted.scopes:
        raise _malformed("scopes", "a client has at least one")
    if theirs := sorted(_FOR_PEOPLE & wanted.scopes):
        raise _malformed("scopes", f"{theirs[0]} is a person's")
    if wanted.registry is not None and Scope.GATEWAY_HALT in wanted.scopes:
        raise _malformed("scopes", f"{Scope.GATEWAY_HALT} is for those bound to all")


def _keys(owner: str, jwks: Sequence[Mapping[str, Any]], now: datetime, not_after: datetime | None) -> list[PeerKey]:
    """The keys as given; raises MALFORMED with the field for one that cannot be used."""
    if not_after is not None and moments.known(not_after) <= now:
        raise _malformed("not_after", "a key that has ended verifies nothing")
    try:
        keys = [PeerKey.from_jwk(owner, jwk, not_before=now, not_after=not_after) for jwk in jwks]
    except GatewayError as error:
        raise GatewayError(error.kind, f"keys: {error.detail}", code=error.code) from None
    if not 1 <= len({key.kid for key in keys}) == len(keys) <= MAX_KEYS:
        raise _malformed("keys", f"1 to {MAX_KEYS} keys, each once")
    return keys


async def _add_keys(tx: db.Tx, keys: Sequence[PeerKey], entry_id: int) -> None:
    """Register them; a key speaks for one principal, so one that was registered ever is refused."""
    added = await store.add_keys(tx, keys, entry_id)
    if left := [key.kid for key in keys if key.kid not in added]:
        raise GatewayError(Kind.CONFLICT, f"keys: {left[0]} was registered before", code=2004)


async def _administered(tx: db.Tx, by: Caller, name: str, person: bool) -> Principal:
    """Whom this name means, if ``by`` administers them."""
    found = await store.named(tx, by.sight, name, person=person) if _NAME.fullmatch(name) else []
    if len(found) > 1:
        known = ", ".join(f"{one.id} of {one.registry or 'all'}" for one in found)
        raise GatewayError(Kind.CONFLICT, f"several are named so; say which by its id: {known}", code=2004)
    if found:
        return found[0]
    raise by.sight.absent(f"no {'person' if person else 'client'} is named so", 3001)


async def _entry(tx: db.Tx, node: Node, kind: str, record: Mapping[str, Any]) -> int:
    [entry_id] = await log.append(tx, [log.draft(kind, node.clock(), record)])
    return entry_id


def _noun(principal: Principal) -> str:
    return "person" if principal.person else "client"


def _malformed(field: str, why: str) -> GatewayError:
    return GatewayError(Kind.MALFORMED, f"{field}: {why}", code=2001)
