"""Asks a gateway that runs elsewhere: finds its token endpoint, gets a token with the client's key, and calls.

Nothing is kept between commands: each gets a token of its own. Everything goes to the one address that was given, over
TLS unless that is a loopback address or a Unix socket; a token endpoint elsewhere gets no assertion, and redirects are
not followed. Fails with MALFORMED (the options), UNAVAILABLE (nobody there, or no gateway), UNTRUSTED (a token endpoint
elsewhere) and UNAUTHENTICATED (no token).
"""

from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx

from gateway.errors import GatewayError, Kind
from gateway.signing import assertion
from gateway.signing.keys import SoftwareKey

TIMEOUT_SECONDS = 60.0
METADATA = "/.well-known/oauth-authorization-server"
_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


def call(gateway: str, client: str, method: str, path: str, **wanted: Any) -> httpx.Response:
    """Make one call of the operator API of the gateway at ``gateway`` as ``client``, which is NAME=KEYFILE."""
    name, _, file = client.partition("=")
    if not name or not file:
        raise GatewayError(Kind.MALFORMED, "--client is NAME=KEYFILE: the client's name and the file of its key")
    key = SoftwareKey.load(Path(file))
    try:
        with opened(gateway) as http:
            bearer = _token(http, name, key)
            return http.request(method, path, headers={"authorization": f"Bearer {bearer}"}, **wanted)
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
    if at.scheme not in ("http", "https") or not host or "@" in at.netloc or at.query or at.fragment:
        raise _no_address(gateway)
    local = _is_loopback(host)
    if at.scheme == "http" and not local:
        raise GatewayError(Kind.MALFORMED, f"--gateway {gateway}: a token is sent in the clear to loopback only: https")
    return httpx.Client(base_url=gateway, timeout=TIMEOUT_SECONDS, trust_env=not local)


def _token(http: httpx.Client, name: str, key: SoftwareKey) -> str:
    """A token for whatever the client may do; raises as the module says."""
    said = _object(http.get(METADATA))
    issuer, endpoint = said.get("issuer"), said.get("token_endpoint")
    if not isinstance(issuer, str) or not isinstance(endpoint, str):
        raise GatewayError(Kind.UNAVAILABLE, f"no gateway answers at {http.base_url}")
    url = urljoin(str(http.base_url), endpoint)
    if _origin(url) != _origin(str(http.base_url)):
        raise GatewayError(Kind.UNTRUSTED, f"{http.base_url} names a token endpoint elsewhere: {endpoint}")
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": _ASSERTION_TYPE,
        "client_assertion": assertion.make(key, name, issuer, datetime.now(UTC)),
    }
    answer = http.post(url, data=form)
    given = _object(answer)
    if not answer.is_success or not isinstance(given.get("access_token"), str):
        why = " ".join(str(given[part]) for part in ("error", "error_description", "detail") if part in given)
        kind = Kind.UNAVAILABLE if answer.status_code >= 500 or answer.status_code == 429 else Kind.UNAUTHENTICATED
        raise GatewayError(kind, f"{name} gets no token: {why or answer.status_code}")
    return str(given["access_token"])


def _object(answer: httpx.Response) -> dict[str, Any]:
    """The JSON object of an answer; an empty one if it is none."""
    try:
        value = answer.json()
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _origin(url: str) -> tuple[str, str | None, int | None]:
    at = urlsplit(url)
    return at.scheme, at.hostname, at.port or {"http": 80, "https": 443}.get(at.scheme)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _no_address(gateway: str) -> GatewayError:
    return GatewayError(Kind.MALFORMED, f"--gateway {gateway} is not https://HOST[:PORT][/PATH] or unix:PATH")
