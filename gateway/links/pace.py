"""How fast a link may send: a bucket of tokens for each, in this process, which fills with the rate of its limit.

Each message takes a token once its signature is verified, so that nobody can use up another's. The rate is looked up
again after some seconds; a link without a limit has no bucket. Several processes that serve allow the rate each.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from gateway import db
from gateway.domain.buckets import Bucket
from gateway.links import store

#: How long a rate that was looked up counts, in seconds.
LOOK_SECONDS = 5.0


@dataclass(slots=True)
class _Allowed:
    """The rate of a link in messages per second, None for no limit; when it was looked up, and the bucket it fills."""

    rate: int | None
    looked: float
    bucket: Bucket


class Pace:
    """The buckets of a process; ``clock`` is in seconds and never goes back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._allowed: dict[str, _Allowed] = {}

    async def admits(self, tx: db.Tx, link: str) -> bool:
        """Take a token of ``link``, which has registered keys; False when it has none left."""
        allowed = await self._look(tx, link)
        if allowed.rate is None:
            return True
        return allowed.bucket.take(self._clock(), burst=allowed.rate, per_second=allowed.rate) is None

    async def _look(self, tx: db.Tx, link: str) -> _Allowed:
        allowed, now = self._allowed.get(link), self._clock()
        if allowed is None or now >= allowed.looked + LOOK_SECONDS:
            rate = await store.rate(tx, link)
            if allowed is None or allowed.rate != rate:
                allowed = self._allowed[link] = _Allowed(rate, now, Bucket(rate or 0, now))
            allowed.looked = now
        return allowed
