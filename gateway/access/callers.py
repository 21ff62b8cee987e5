"""Whose token is that, and what may they do now?

A token says who was authenticated and what they asked for; what they may do is read from the database at each call, so
that whoever is revoked, or whose token key is, is out at once. Raises UNAUTHENTICATED (8001), which does not say more
than that the token is not good.
"""

from collections.abc import Callable
from datetime import datetime

from gateway import db
from gateway.access import store, tokens
from gateway.access.store import TokenKey
from gateway.domain.callers import Caller
from gateway.signing import jwt
from gateway.signing.trust import PeerKey


class Registered:
    """Tells callers by the tokens that a gateway on this database, under this name, has given."""

    def __init__(self, database: db.Database, issuer: str, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._issuer = issuer
        self._clock = clock

    async def of(self, token: str) -> Caller:
        """Whose token this is; raises UNAUTHENTICATED unless it and they count now."""
        if not token:
            raise jwt.refused("a bearer token is needed")
        read, now = jwt.read(token), self._clock()
        if read.typ != jwt.ACCESS_TOKEN or read.kid is None:
            raise jwt.refused("this is no access token")
        async with self._database.reading() as tx:
            key = await store.token_key(tx, read.kid)
            claims = jwt.proven(read, _counting(key, now))
            principal, scopes = tokens.judged(claims, self._issuer, now)
            caller = await store.caller(tx, principal)
        if caller is None:
            raise jwt.refused("whoever this token was given to may call no longer")
        return Caller(caller.id, caller.person, caller.sight, frozenset(s for s in caller.scopes if s in scopes))


def _counting(key: TokenKey | None, now: datetime) -> list[PeerKey]:
    return [PeerKey.from_jwk("", key.jwk, not_before=now)] if key is not None and not key.revoked else []
