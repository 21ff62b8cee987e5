"""A bucket of tokens: how often something may be done, in bursts and in the long run. No clock of its own."""

from dataclasses import dataclass


@dataclass(slots=True)
class Bucket:
    """What is ``left`` at second ``at`` of its owner's clock."""

    left: float
    at: float

    def take(self, now: float, *, burst: float, per_second: float) -> float | None:
        """Take a token: nothing if there was one, or in how many seconds there will be.

        At most ``burst`` are there, and ``per_second`` (above 0) flow back; a clock that was set back gives none.
        """
        self.left = min(burst, self.left + max(0.0, now - self.at) * per_second)
        self.at = now
        if self.left < 1:
            return (1 - self.left) / per_second
        self.left -= 1
        return None
