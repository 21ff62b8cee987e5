"""How a program of ours calls an operator API elsewhere: with tokens that it asks for under its own key.

An ``httpx.Auth`` for both kinds of client. The token endpoint is found by its well-known address (RFC 8414), and asked
for a token before the first call and again before that one ends. Raises UNAUTHENTICATED when none is given, UNAVAILABLE
when none is given now, UNTRUSTED when an assertion would go elsewhere, or could be
shown elsewhere because it names another gateway.
"""

import time
from collections.abc import Callable, Generator, Sequence
from datetime import UTC, datetime
from typing import Any

import httpx

from gateway.errors import GatewayError, Kind
from gateway.signing import jwt
from gateway.signing.keys import Signer

WELL_KNOWN = "/.well-known/oauth-authorization-server"
_GRANT = {
    "grant_type": "client_credentials",
    "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
}
#: How long before its end a token is used no more, in seconds: longer than a call takes.
_EARLY_SECONDS = 60

Asking = Generator[httpx.Request, httpx.Response, None]


class Tokens(httpx.Auth):
    """The tokens of one client of the gateway at ``gateway`` (an address without a path)."""

    requires_response_body = True

    def __init__(
        self, gateway: str, client: str, signer: Signer, scopes: Sequence[str] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self._gateway = gateway.rstrip("/")
        self._client = client
        self._signer = signer
        self._scope = {"scope": " ".join(scopes)} if scopes else {}
        self._clock = clock
        self._until = 0.0
        self.token = ""

    def auth_flow(self, request: httpx.Request) -> Asking:
        """Show a token that is good, asking for one first where there is none."""
        yield from self._asking()
        request.headers["authorization"] = f"Bearer {self.token}"
        yield request

    def _asking(self) -> Asking:
        """The calls that end with a good ``token``; none while there is one."""
        if self._clock() < self._until:
            return
        found = _said((yield httpx.Request("GET", f"{self._gateway}{WELL_KNOWN}")), self._gateway)
        endpoint, issuer = str(found.get("token_endpoint")), str(found.get("issuer"))
        if issuer.startswith("https://") and issuer != self._gateway:  # RFC 8414, section 3.3
            raise GatewayError(Kind.UNTRUSTED, f"{self._gateway} gives itself out for {issuer}")
        if not endpoint.startswith(f"{self._gateway}/"):
            raise GatewayError(Kind.UNTRUSTED, f"{self._gateway} sends its callers elsewhere: {endpoint}")
        shown = jwt.assertion(self._signer, self._client, issuer, datetime.fromtimestamp(self._clock(), UTC))
        form = _GRANT | self._scope | {"client_assertion": shown}
        given = _said((yield httpx.Request("POST", endpoint, data=form)), self._gateway)
        if not isinstance(given.get("access_token"), str) or not isinstance(given.get("expires_in"), int):
            raise GatewayError(Kind.UNAVAILABLE, f"{self._gateway} answered with no token, and not why")
        self.token = given["access_token"]
        self._until = self._clock() + given["expires_in"] - _EARLY_SECONDS


def _said(answer: httpx.Response, gateway: str) -> dict[str, Any]:
    """What was answered; raises UNAUTHENTICATED with the words of a refusal."""
    try:
        said = answer.json()
    except ValueError:
        said = None
    if not isinstance(said, dict):
        raise GatewayError(Kind.UNAVAILABLE, f"{gateway} answered {answer.status_code}, and nothing a gateway says")
    if not answer.is_success:
        why = said.get("error_description") or said.get("detail") or said.get("error")
        passing = answer.status_code == 429 or answer.status_code >= 500
        kind = Kind.UNAVAILABLE if passing else Kind.UNAUTHENTICATED
        raise GatewayError(kind, f"{gateway} gives no token: {why}", code=9003 if passing else 8001)
    return said
