"""Calls in anybody's name: principals as a test wants them, and tokens made for each call.

The tokens are signed by the key and in the way of the token endpoint, which is not asked: a test that moves the clock,
or lasts for longer than a token, goes on calling.
"""

from collections.abc import Callable, Generator
from datetime import UTC, datetime
from functools import partial

import httpx

from gateway import db, wiring
from gateway.access import store
from gateway.access.store import Principal
from gateway.access.tokens import Authority
from gateway.audit import log
from gateway.domain.callers import EVERYTHING, Caller, Scope
from gateway.settings import Settings, token_signer
from gateway.wiring import Gateway


class Bearer(httpx.Auth):
    """Shows a fresh access token of a principal at each call."""

    def __init__(
        self, authority: Authority, principal: str, scopes: frozenset[Scope], clock: Callable[[], datetime]
    ) -> None:
        self._fresh = lambda: authority.token(principal, scopes, clock())

    @property
    def header(self) -> str:
        """What is shown now."""
        return f"Bearer {self._fresh()}"

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["authorization"] = self.header
        yield request


async def registered(tx: db.Tx, caller: Caller) -> None:
    """Make a caller known, with exactly these scopes, which no role needs to have."""
    made = Principal(caller.id, caller.person, caller.id, caller.sight.code, None, caller.scopes)
    [entry_id] = await log.append(tx, [log.draft("access.client-added", datetime.now(UTC), {"principal": caller.id})])
    assert await store.add(tx, made, entry_id)


class Cast:
    """Who may call the operator API of a stage: each is a principal of the gateway, with exactly these scopes."""

    def __init__(self, gateway: Gateway, authority: Authority) -> None:
        self._gateway = gateway
        self._authority = authority
        self._known: dict[str, Caller] = {}

    async def bearer(self, caller: Caller) -> Bearer:
        """The tokens of a caller, who becomes known to the gateway."""
        if caller.id not in self._known:
            await self._gateway.database.run(partial(registered, caller=caller), "access")
            self._known[caller.id] = caller
        assert self._known[caller.id] == caller, "another caller has this id"
        return Bearer(self._authority, caller.id, caller.scopes, self._gateway.node.clock)


def persons(*names: str) -> list[Caller]:
    """Persons of these names who may do everything."""
    return [Caller(name, person=True, sight=EVERYTHING, scopes=frozenset(Scope)) for name in names]


async def introduced(
    settings: Settings, caller: Caller, *others: Caller, clock: Callable[[], datetime] = wiring.utc_now
) -> Bearer:
    """Make callers known to the gateway with these settings; what the first shows there, by ``clock``."""
    gateway = wiring.build(settings)
    for one in (caller, *others):
        await gateway.database.run(partial(registered, caller=one), "access")
    await gateway.close()
    return Bearer(Authority(settings.issuer_name, token_signer(settings)), caller.id, caller.scopes, clock)
