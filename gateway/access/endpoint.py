"""The token endpoint: an assertion that a client's key has signed, once, for an access token of ten minutes.

What it must say is judged in ``tokens``; here the form is read, the principal fetched, the assertion used up in the
transaction of the answer, and whoever comes too often put off: where it names nobody, before the database is asked.
Answers are those of RFC 6749, errors too. Fails with UNAVAILABLE without a database.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from gateway import db
from gateway.access import commands, store, tokens
from gateway.access.limits import STRANGERS, Limits
from gateway.access.tokens import Answer, Authority
from gateway.domain.callers import Scope
from gateway.messages.outbox import Node
from gateway.signing import jwt
from gateway.signing.keys import ALGORITHMS

#: The longest form, in bytes: the longest assertion, and room for the rest.
MAX_FORM = 2 * jwt.MAX_BYTES
#: Members a form may have: there are five that mean anything.
MAX_FIELDS = 16
#: How old may be what is known of who there is and which keys sign, where it only saves work: anybody may ask.
KEPT_SECONDS = 1.0
#: What a client must be able to do, as authorisation servers name it.
AUTH_METHOD = "private_key_jwt"


class Endpoint:
    """Gives tokens, on this database, in the name of this authority."""

    def __init__(self, database: db.Database, node: Node, authority: Authority) -> None:
        self._database = database
        self._node = node
        self._authority = authority
        self._limits = Limits(node.clock)
        self._principals = db.Kept(database, store.ids, KEPT_SECONDS)
        self._token_keys = db.Kept(database, store.token_keys, KEPT_SECONDS)

    async def register(self) -> None:
        """Make known which key signs the tokens given here; raises CONFLICT when that key was revoked."""
        async with self._database.reading() as tx:
            there = await store.token_key(tx, self._authority.signer.kid)
        if there is None or there.revoked:
            await self._database.run(
                lambda tx: commands.register_token_key(tx, self._node, self._authority.signer), "token-key"
            )

    async def answer(self, body: bytes) -> Answer:
        """What a request with this form is answered."""
        form = _read(body)
        claimed = tokens.claimed(form) if form else None
        stranger = claimed is None or claimed not in await self._principals.get()
        if stranger and (put_off := self._put_off(STRANGERS)):
            return put_off
        if form is None:
            return _error("invalid_request", "a form, each member once")
        answer = await self._answer(form, claimed)
        if not stranger and answer.assertion is None and answer.status != 429:  # it has proven nothing
            return self._put_off(STRANGERS) or answer
        return answer

    async def _answer(self, form: Mapping[str, str], claimed: str | None) -> Answer:
        now = self._node.clock()

        if claimed is None:
            return self._authority.answer(form, None, [], now)

        async def work(tx: db.Tx) -> Answer:
            principal = await store.find(tx, claimed)
            keys = await store.keys(tx, principal.id, now) if principal else []
            answer = self._authority.answer(form, principal, keys, now)
            shown = answer.assertion
            if shown is None:
                return answer
            if put_off := self._put_off(shown.principal):
                return put_off
            if not await store.use_up(tx, shown.principal, shown.jti, shown.expires_at, now):
                return _error("invalid_client", "the assertion was used before")
            return answer

        return await self._database.run(work, "token")

    def _put_off(self, whose: str) -> Answer | None:
        """The answer to whoever has come too often."""
        seconds = self._limits.take(whose)
        if seconds is None:
            return None
        said = {"error": "temporarily_unavailable", "error_description": "too many requests: come again later"}
        return Answer(429, said, retry_after_seconds=seconds)

    async def jwks(self) -> list[dict[str, str]]:
        """The public keys that tokens given on this database are verified by."""
        return [dict(key.jwk) for key in await self._token_keys.get() if not key.revoked]

    def metadata(self, base: str) -> dict[str, Any]:
        """What clients must know (RFC 8414); ``base`` is the address we were called at, without a path."""
        issuer = self._authority.issuer
        at = issuer if issuer.startswith("https://") else base.rstrip("/")
        return {
            "issuer": issuer,
            "token_endpoint": f"{at}/token",
            "jwks_uri": f"{at}/jwks",
            "scopes_supported": [scope.value for scope in Scope],
            "response_types_supported": [],
            "grant_types_supported": ["client_credentials"],
            "token_endpoint_auth_methods_supported": [AUTH_METHOD],
            "token_endpoint_auth_signing_alg_values_supported": list(ALGORITHMS),
        }


def _read(body: bytes) -> dict[str, str] | None:
    """The members of a form; nothing for what is none, or names one twice (RFC 6749 section 3.2)."""
    try:
        text = body.decode("ascii")
        members = parse_qsl(
            text, keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=MAX_FIELDS
        )
    except ValueError:
        return None
    form = dict(members)
    return form if members and len(form) == len(members) and len(body) <= MAX_FORM else None


def _error(error: str, why: str) -> Answer:
    return Answer(400, {"error": error, "error_description": why})
