"""Where a log is verified from: a web server, a folder, or this gateway's own database.

From a server only what is asked for is read, and no more of it than there can be. A redirect is not followed: like a
page for people, it means that nothing is there. A server that gives no answer is asked again a few times. Fails with
UNAVAILABLE, and with MALFORMED for an address that is none.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from gateway.audit import reading
from gateway.audit.folder import Folder
from gateway.errors import GatewayError, Kind

TIMEOUT_SECONDS = 30.0
#: How often an answer is asked for, with a pause before each time but the first.
TRIES, PAUSE_SECONDS = 4, 0.5
_COME_AGAIN = {408, 429}


def is_address(where: str) -> bool:
    """Whether it is a web server's rather than a folder."""
    return "://" in where


def in_folder(where: str) -> reading.Files:
    """The log in a folder; raises NOT_FOUND."""
    if not Path(where).is_dir():
        raise GatewayError(Kind.NOT_FOUND, f"{where} is no folder")
    folder = Folder(Path(where))
    return reading.Files(folder.read, widths=folder.widths)


@asynccontextmanager
async def on_server(where: str) -> AsyncIterator[reading.Files]:
    """The log below an address, such as https://gateway.example/log."""
    if not _is_of_a_log(where):
        raise GatewayError(Kind.MALFORMED, f"{where} is not the address of a log: http(s)://HOST/PATH")
    async with httpx.AsyncClient(timeout=TIMEOUT_SECONDS, follow_redirects=False, trust_env=False) as client:
        yield reading.Files(_Server(client, where.rstrip("/")), query=True)


def _is_of_a_log(where: str) -> bool:
    try:
        parts = urlsplit(where)
        plain = not (parts.query or parts.fragment or "@" in parts.netloc or parts.port == 0)
    except ValueError:  # brackets, or a port that is no number
        return False
    return plain and parts.scheme in ("http", "https") and bool(parts.hostname)


class _Server:
    """Reads below ``base``, over the connections of ``client``."""

    def __init__(self, client: httpx.AsyncClient, base: str) -> None:
        self._client, self._base = client, base

    async def __call__(self, path: str, most: int) -> bytes | None:
        """What is served at ``path``; None if nothing is."""
        why = ""
        for tried in range(TRIES):
            await asyncio.sleep(tried * PAUSE_SECONDS)
            try:
                async with self._client.stream("GET", f"{self._base}/{path}") as answer:
                    if answer.status_code == 200:
                        return None if _for_people(answer) else await _body(answer, most)
                    if 300 <= answer.status_code < 500 and answer.status_code not in _COME_AGAIN:
                        return None
                    why = f"status {answer.status_code}"
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                why = f"{type(error).__name__}: {error}"
        raise GatewayError(Kind.UNAVAILABLE, f"{self._base}/{path}: {why}")


def _for_people(answer: httpx.Response) -> bool:
    """A listing of a folder, say."""
    kind: str = answer.headers.get("content-type", "")
    return kind.startswith("text/html")


async def _body(answer: httpx.Response, most: int) -> bytes:
    found = bytearray()
    async for part in answer.aiter_bytes():
        found += part
        if len(found) > most:
            break
    return bytes(found[: most + 1])
