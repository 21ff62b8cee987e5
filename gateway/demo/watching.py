"""Watches the gateway through its operator API, cheaply: looking must not slow what is seen."""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx

from gateway.demo.network import Network
from gateway.errors import GatewayError, Kind

#: The states in which nothing more happens.
FINAL = ("completed", "refused", "rejected", "cancelled")
#: How long the demo waits while nothing changes at all.
PATIENCE_SECONDS = 120.0
#: How long between looks: at least this, and this multiple of what the last look took.
POLL_SECONDS, POLL_FACTOR = 0.05, 8.0
#: Rows one call lists.
PAGE = 500

#: Told of (transfers, of these final, tonnes arrived) as things happen.
Progress = Callable[[int, int, int], None]


class Watch:
    """Somebody who looks at the gateway of a network."""

    def __init__(self, http: httpx.Client, network: Network, progress: Progress) -> None:
        self._http = http
        self._network = network
        self._progress = progress
        self._tokens = network.tokens()

    def books(self) -> dict[str, Any]:
        """The gateway's book: totals for each registry, and how many transfers are in each state."""
        found: dict[str, Any] = self._get("books")
        tally: dict[str, int] = found["transfers"]
        self._progress(sum(tally.values()), final(tally), sum(row["moved_in"] for row in found["registries"]))
        return found

    def pages(self, name: str, **query: Any) -> Iterator[Mapping[str, Any]]:
        """Everything the gateway lists under a name."""
        before: dict[str, Any] = {}
        while True:
            found = self._get(name, limit=PAGE, **query, **before)
            yield from found[name]
            if not found["next"]:
                return
            before = {"before": found["next"]}

    def until_final(self, proposed: int) -> bool:
        """Look until at least so many transfers are known and every one is final; whether it came to that."""

        def ended(books: dict[str, Any]) -> bool:
            tally: dict[str, int] = books["transfers"]
            return sum(tally.values()) >= proposed and final(tally) == sum(tally.values())

        return self._until(ended)

    def until_issued(self, quantity: int) -> None:
        """Look until the book has at least so much issued: only then can a proposal of it pass its checks."""
        if not self._until(lambda books: sum(row["issued"] for row in books["registries"]) >= quantity):
            raise GatewayError(Kind.INVARIANT, "what was issued does not reach the gateway")

    def _until(self, holds: Callable[[dict[str, Any]], bool]) -> bool:
        """Look until the book is so, or nothing has changed for too long; whether it is so."""
        seen: dict[str, Any] = {}
        changed = time.monotonic()
        while True:
            self._network.check()
            looked = time.monotonic()
            books = self.books()
            if holds(books):
                return True
            if books != seen:
                seen, changed = books, looked
            if looked - changed > PATIENCE_SECONDS:
                return False
            time.sleep(max(POLL_SECONDS, POLL_FACTOR * (time.monotonic() - looked)))

    def _get(self, name: str, **query: Any) -> dict[str, Any]:
        answer = self._http.get(f"{self._network.operator}/api/v1/{name}", params=query, auth=self._tokens)
        return dict(answer.raise_for_status().json())


def final(tally: Mapping[str, int]) -> int:
    """How many of the transfers are in a state in which nothing more happens."""
    return sum(tally.get(state, 0) for state in FINAL)
