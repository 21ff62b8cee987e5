"""Speaks to other logs and witnesses over HTTP, as C2SP says: tiles are fetched, checkpoints are brought.

A network that fails is UNAVAILABLE: nothing was learnt, and it is tried again by whoever wanted to know.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence

from connectors.http import Client
from gateway.domain.registry import Unknown
from gateway.errors import GatewayError, Kind

_HASH_BYTES = 32

Tiles = Callable[[Sequence[tuple[int, int]]], Awaitable[Mapping[tuple[int, int], bytes]]]
Widths = Callable[[int, int], tuple[str, int]]


class Other:
    """Another log, or another witness, through the client that all connectors share."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def post(self, url: str, body: bytes) -> tuple[int, str, bytes]:
        """Post ``body``: status, content type and body of the answer."""
        answer = await self._client.exchange("POST", url, body)
        if isinstance(answer, Unknown):
            raise GatewayError(Kind.UNAVAILABLE, answer.reason)
        return answer.status_code, answer.headers["content-type"].split(";")[0].strip(), answer.content

    async def get(self, url: str) -> bytes | None:
        """What is at ``url``, or nothing where the server says that there is nothing."""
        answer = await self._client.exchange("GET", url)
        if isinstance(answer, Unknown):
            raise GatewayError(Kind.UNAVAILABLE, answer.reason)
        if answer.status_code == 404:
            return None
        if answer.status_code != 200:
            raise GatewayError(Kind.UNAVAILABLE, f"status {answer.status_code}")
        return answer.content

    def tiles(self, url: str, written: Widths) -> Tiles:
        """The tiles of the log at ``url``; ``written`` gives a tile's path and width in the tree that is meant."""

        async def read(wanted: Sequence[tuple[int, int]]) -> Mapping[tuple[int, int], bytes]:
            found = {}
            for level, nr in wanted:
                path, width = written(level, nr)
                whole = path.partition(".p/")[0]
                # A partial tile may be gone once the whole one is there.
                for name in dict.fromkeys((path, whole) if width else ()):
                    hashes = await self.get(f"{url}/tile/{level}/{name}")
                    if hashes is not None and len(hashes) in (_HASH_BYTES * width, _HASH_BYTES * 256):
                        found[level, nr] = hashes[: _HASH_BYTES * width]
                        break
            return found

        return read
