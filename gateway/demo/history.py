"""Shows that every Party has the history of its units where it keeps its books: pulled, verified, and handed on.

Each feed must end at the same record with the same digest in three places: at the registry it was pulled from, here,
and in the books it is for. Raises INVARIANT when a process ends meanwhile.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from gateway.demo.network import Network
from gateway.demo.watching import PATIENCE_SECONDS, POLL_SECONDS


@dataclass(frozen=True, slots=True)
class Feed:
    """A feed of ``records``: pulled from ``source`` for the books ``registry``; ``equal`` in all three places."""

    source: str
    registry: str
    records: int
    equal: bool


def across(http: httpx.Client, network: Network) -> tuple[Feed, ...]:
    """Wait until every feed that was called for is pulled, and those with records are equal; what there is then."""
    deadline, tokens = time.monotonic() + PATIENCE_SECONDS, network.tokens()
    while True:
        network.check()
        listed = http.get(f"{network.operator}/api/v1/history/feeds", auth=tokens).raise_for_status().json()
        feeds = tuple(_feeds(http, network, listed))
        settled = all(feed.equal for feed in feeds) and not any(row["due"] for row in listed)
        if (feeds and settled) or time.monotonic() > deadline:
            return feeds
        time.sleep(POLL_SECONDS)


def _feeds(http: httpx.Client, network: Network, listed: list[dict[str, Any]]) -> Iterator[Feed]:
    links = {registry: member.code for member in network.members for registry in member.registries}
    for row in filter(lambda row: row["number"], listed):
        here = {"number": row["number"], "digest": row["digest"]}
        source, registry = row["source"], row["registry"]
        at_source = _end(http, network.registries[source], "", party=row["party"])
        at_home = _end(http, network.registries[links[registry]], "/told", source=source, code=registry)
        yield Feed(source, registry, row["number"], at_source == here == at_home)


def _end(http: httpx.Client, url: str, which: str, **asked: str) -> Any:
    answer = http.get(f"{url}/admin/history{which}", params={**asked, "limit": 1})
    return answer.raise_for_status().json()["end"]
