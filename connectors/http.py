"""The HTTP client all connectors share: sends bytes once, within bounds, and classifies how that ended.

Every failure becomes one of three outcomes. *Rejected* is said only by the registry itself: an unsigned
problem document (4xx, or 503 with its Retry-After), after which nothing has happened there. *Accepted* is an
answer with status 200, of a content type the wire knows and a bounded size. Everything else (time-out, connection
lost or refused, 5xx without a problem document, an oversize or unreadable answer) is *Unknown*. Nothing is
retried here and nothing is followed: repeating is the relay's decision. What may not be called is sent nothing;
that is *Unknown* too, so the statement stays due and its row says why.
"""

import asyncio
import errno
import socket
import ssl
from collections.abc import AsyncIterator, Collection
from typing import Any, Final

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from gateway.domain.addresses import Reach
from gateway.domain.registry import Accepted, Outcome, Rejected, Unknown
from gateway.signing.envelope import JOSE, LINK_JSON, MAX_BODY

#: For a whole exchange, however it drips: well below the relay's lease, so that a lease outlives every send.
TIMEOUT_SECONDS: Final = 30.0
CONNECT_TIMEOUT_SECONDS: Final = 5.0
#: Connections to one peer: above what a worker sends it at once, so that no send spends its time waiting for one.
#: All peers together have no limit, or some that hang would use it up.
PER_PEER: Final = 16
#: Below the 5 s after which many servers close an idle connection, so that none is closed just as we send on it.
KEEP_ALIVE_SECONDS: Final = 4.0
#: No peer can ask to be left alone for longer by Retry-After.
LONGEST_RETRY_AFTER_SECONDS: Final = 300.0
#: How much of a body is written at once, in bytes.
PART: Final = 256 * 1024


class Client:
    """The connections of a process, some to each peer it may reach. ``timeout_seconds`` is for a whole exchange."""

    def __init__(self, reach: Reach, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._timeout_seconds = timeout_seconds
        tls = httpx.create_ssl_context(trust_env=False)
        self._http = httpx.AsyncClient(
            transport=AiohttpTransport(verify=tls, client=lambda: _session(tls, reach, plain=False)),
            mounts={"http://": AiohttpTransport(verify=tls, client=lambda: _session(tls, reach, plain=True))},
            timeout=httpx.Timeout(None, connect=CONNECT_TIMEOUT_SECONDS),
            follow_redirects=False,
            trust_env=False,
        )

    async def post(
        self,
        url: str,
        body: bytes,
        content_type: str,
        answers: Collection[str] = (LINK_JSON, JOSE),
        most: int = MAX_BODY,
    ) -> Outcome:
        """Send ``body`` once and say how it ended; raises nothing for what happens on the network.

        An answer is of one of the content types ``answers`` and has at most ``most`` bytes.
        """
        headers = {"content-type": content_type, "accept": ", ".join((*answers, "application/problem+json"))}
        headers["content-length"] = str(len(body))
        try:
            async with (
                asyncio.timeout(self._timeout_seconds),
                self._http.stream("POST", url, content=_parts(body), headers=headers) as response,
            ):
                return _outcome(response, await _read(response, most), answers)
        except TimeoutError:
            return Unknown(f"time-out: the exchange was not over after {self._timeout_seconds:g} s")
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, aiohttp.ClientError, OSError) as error:
            return Unknown(f"{type(error).__name__}: {error}"[:300])

    async def exchange(self, method: str, url: str, body: bytes | None = None) -> httpx.Response | Unknown:
        """Exchange what is no message of the protocol: the whole response, its content read, or why there is none."""
        try:
            async with (
                asyncio.timeout(self._timeout_seconds),
                self._http.stream(method, url, content=body) as response,
            ):
                content = await _read(response)
        except TimeoutError:
            return Unknown(f"time-out: the exchange was not over after {self._timeout_seconds:g} s")
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, aiohttp.ClientError, OSError) as error:
            return Unknown(f"{type(error).__name__}: {error}"[:300])
        if content is None:
            return Unknown("the answer is larger than any that is read")
        kind = {"content-type": response.headers.get("content-type", "")}
        return httpx.Response(response.status_code, headers=kind, content=content)

    async def close(self) -> None:
        """Close every connection."""
        await self._http.aclose()


def _session(tls: ssl.SSLContext, reach: Reach, *, plain: bool) -> aiohttp.ClientSession:
    """The session below the client; made at the first send, because it belongs to the event loop."""

    def permitted(info: tuple[Any, ...]) -> socket.socket:
        """The socket for an address that a name resolved to, or that was given: the last look before it is called."""
        family, kind, protocol, _, (address, *_) = info
        if not reach.permits(address, plain=plain):
            how = "plain HTTP" if plain else "HTTPS"
            raise OSError(errno.EACCES, f"{address} is not called by {how}: GATEWAY_PRIVATE_PEERS does not name it")
        return socket.socket(family, kind, protocol)

    pool = aiohttp.TCPConnector(
        limit=0, limit_per_host=PER_PEER, keepalive_timeout=KEEP_ALIVE_SECONDS, ssl=tls, socket_factory=permitted
    )
    return aiohttp.ClientSession(connector=pool)


async def _parts(body: bytes) -> AsyncIterator[bytes]:
    """The body in pieces, because a large one written at once would hold up everything else of the process."""
    for at in range(0, len(body), PART):
        yield body[at : at + PART]


async def _read(response: httpx.Response, most: int = MAX_BODY) -> bytes | None:
    """The body, or nothing when it is larger than a message may be."""
    received = bytearray()
    async for chunk in response.aiter_bytes():
        received += chunk
        if len(received) > most:
            return None
    return bytes(received)


def _outcome(response: httpx.Response, body: bytes | None, answers: Collection[str]) -> Outcome:
    kind = response.headers.get("content-type", "").split(";")[0].strip().lower()
    if body is None:
        return Unknown("the answer is larger than a message may be")
    if response.status_code == 200 and kind in answers:
        return Accepted(body)
    if kind == "application/problem+json" and (400 <= response.status_code < 500 or response.status_code == 503):
        return Rejected(f"{response.status_code} {_detail(response, body)}"[:300], _retry_after(response))
    return Unknown(f"status {response.status_code} with {kind or 'no content type'}")


def _detail(response: httpx.Response, body: bytes) -> str:
    try:
        problem = httpx.Response(200, content=body).json()
    except ValueError:
        return response.reason_phrase
    return str(problem.get("detail") or problem.get("title") or "") if isinstance(problem, dict) else ""


def _retry_after(response: httpx.Response) -> float | None:
    value = response.headers.get("retry-after", "")
    return min(float(value), LONGEST_RETRY_AFTER_SECONDS) if value.isdecimal() else None
