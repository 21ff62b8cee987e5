"""The registry's clock, which its operator may step, and times and ids as the wire contract writes them."""

import os
import time
from datetime import UTC, datetime, timedelta

_ahead = timedelta()


def present() -> datetime:
    """Give the present time, as far off the real one as ``step`` has set it."""
    return datetime.now(UTC) + _ahead


def step(seconds: float) -> None:
    """Set the clock of this process so many seconds ahead of the real time (or back)."""
    global _ahead
    _ahead = timedelta(seconds=seconds)


def stamp(moment: datetime) -> str:
    """Write an aware time as ``YYYY-MM-DDTHH:MM:SS.mmmZ``."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def now() -> str:
    """Give the present time as the contract writes it."""
    return stamp(present())


def uuid7() -> str:
    """Make a UUIDv7 (RFC 9562 section 5.7): milliseconds, then 74 random bits."""
    value = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
