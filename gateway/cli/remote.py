"""Asks a gateway that runs elsewhere: gets a token with the client's key (``web.client``), and calls.

Nothing is kept between commands: each gets a token of its own. Everything goes to the one address that was given, over
TLS unless that is a loopback address or a Unix socket, and redirects are not followed. Fails with MALFORMED (the
options), UNAVAILABLE (nobody there, or no gateway) and what getting a token fails with.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from gateway.domain.addresses import is_loopback
from gateway.errors import GatewayError, Kind
from gateway.signing.keys import SoftwareKey
from gateway.web.client import Tokens

TIMEOUT_SECONDS = 60.0


def call(gateway: str, client: str, method: str, path: str, **wanted: Any) -> httpx.Response:
    """Make one call of the operator API of the gateway at ``gateway`` as ``client``, which is ID=KEYFILE."""
    with _as(client, gateway) as (http, _):
        return http.request(method, path, **wanted)


@contextmanager
def streamed(gateway: str, client: str, path: str, **wanted: Any) -> Iterator[httpx.Response]:
    """An answer that is read as it comes, however long it is."""
    with _as(client, gateway) as (http, _), http.stream("GET", path, **wanted) as answer:
        yield answer


def token(gateway: str, client: str, scopes: Sequence[str]) -> str:
    """A token of the gateway at ``gateway`` for ``client``; for these scopes, or for all it has."""
    with _as(client, gateway, scopes) as (http, tokens):
        http.get("/healthz")  # which anybody may call
        return tokens.token


@contextmanager
def _as(client: str, gateway: str, scopes: Sequence[str] = ()) -> Iterator[tuple[httpx.Client, Tokens]]:
    """Calls as a client, and the tokens it shows."""
    name, _, file = client.partition("=")
    if not name or not file:
        raise GatewayError(Kind.MALFORMED, "--client is ID=KEYFILE: the client's id and the file of its key")
    key = SoftwareKey.load(Path(file))
    try:
        with opened(gateway) as http:
            http.auth = tokens = Tokens(str(http.base_url), name, key, scopes)
            yield http, tokens
    except httpx.HTTPError as error:
        raise GatewayError(Kind.UNAVAILABLE, f"{gateway} cannot be reached: {error}") from error


def opened(gateway: str) -> httpx.Client:
    """A client of the gateway at https://…, at http://… on a loopback address, or at unix:PATH."""
    if gateway.startswith("unix:"):
        transport = httpx.HTTPTransport(uds=gateway.removeprefix("unix:"))
        return httpx.Client(transport=transport, base_url="http://gateway", timeout=TIMEOUT_SECONDS, trust_env=False)
    try:
        at = urlsplit(gateway)
        host, _ = at.hostname or "", at.port
    except ValueError:
        raise _no_address(gateway) from None
    if (
        at.scheme not in ("http", "https")
        or not host
        or "@" in at.netloc
        or at.path.strip("/")
        or at.query
        or at.fragment
    ):
        raise _no_address(gateway)
    local = is_loopback(host)
    if at.scheme == "http" and not local:
        raise GatewayError(Kind.MALFORMED, f"--gateway {gateway}: a token is sent in the clear to loopback only: https")
    return httpx.Client(base_url=gateway, timeout=TIMEOUT_SECONDS, trust_env=not local)


def _no_address(gateway: str) -> GatewayError:
    return GatewayError(Kind.MALFORMED, f"--gateway {gateway} is not https://HOST[:PORT] or unix:PATH")
