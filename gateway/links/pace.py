"""How fast a link may send: a bucket of tokens for each, in this process, which fills with the rate of its limit.

Each message takes a token once its signature is verified, so that nobody can use up another's. The rate is looked up
again after some seconds; a link without a limit has no bucket. Several processes that serve allow the rate each.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from gateway import db
from gateway.links import store

#: How long a rate that was looked up counts, in seconds.
LOOK_SECONDS = 5.0


@dataclass(slots=True)
class _Bucket:
    """What a link may still send at ``at``; ``rate`` is messages per second, None is no limit."""

    rate: int | None
    looked: float
    left: float
    at: float


class Pace:
    """The buckets of a process; ``clock`` is in seconds and never goes back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}

    async def admits(self, tx: db.Tx, link: str) -> bool:
        """Take a token of ``link``, which has registered keys; False when it has none left."""
        bucket, now = await self._bucket(tx, link), self._clock()
        if bucket.rate is None:
            return True
        bucket.left = min(float(bucket.rate), bucket.left + (now - bucket.at) * bucket.rate)
        bucket.at = now
        if bucket.left < 1:
            return False
        bucket.left -= 1
        return True

    async def _bucket(self, tx: db.Tx, link: str) -> _Bucket:
        bucket, now = self._buckets.get(link), self._clock()
        if bucket is None or now >= bucket.looked + LOOK_SECONDS:
            rate = await store.rate(tx, link)
            if bucket is None or bucket.rate != rate:
                bucket = self._buckets[link] = _Bucket(rate, now, float(rate or 0), now)
            bucket.looked = now
        return bucket
