"""How often a token may be asked for: a bucket of tries for each client, and one for whoever has proven nothing.

A client's bucket is drawn from only by what its own key has signed, so nobody uses up another's. Each process counts
for itself.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from math import floor

from gateway.domain.buckets import Bucket

#: Tokens a client may be given at once (a token is good for ten minutes), and how many more each second.
CLIENT_BURST, CLIENT_PER_SECOND = 60, 1.0
#: The same for requests that prove nothing, all senders together.
STRANGERS_BURST, STRANGERS_PER_SECOND = 60, 2.0
#: The bucket of those.
STRANGERS = ""


@dataclass(slots=True)
class Limits:
    """The buckets of a process."""

    clock: Callable[[], datetime]
    _buckets: dict[str, Bucket] = field(default_factory=dict)

    def take(self, whose: str) -> int | None:
        """Take a try from a bucket; nothing, or after how many seconds to come again when there is none left."""
        burst, rate = (
            (STRANGERS_BURST, STRANGERS_PER_SECOND) if whose == STRANGERS else (CLIENT_BURST, CLIENT_PER_SECOND)
        )
        now = self.clock().timestamp()
        bucket = self._buckets.setdefault(whose, Bucket(burst, now))
        wait = bucket.take(now, burst=burst, per_second=rate)
        return None if wait is None else floor(wait) + 1
