"""Moments that persons and machines name: with an offset, and of a time that every system of dates can hold.

One at the edge of what can be written is of the year 10000 or 0 elsewhere: it could be stored, and never read again.
"""

from datetime import UTC, datetime

from gateway.errors import GatewayError, Kind

#: The first and the last.
FIRST, LAST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


def read(text: str) -> datetime:
    """The moment that is written so (ISO 8601, with its offset from UTC); raises MALFORMED with 2014."""
    try:
        return known(datetime.fromisoformat(text))
    except ValueError:
        raise _none(text) from None


def known(moment: datetime) -> datetime:
    """The same moment in UTC; raises MALFORMED with 2014 without an offset, or before ``FIRST`` or after ``LAST``."""
    if moment.tzinfo is None or not FIRST <= moment <= LAST:
        raise _none(moment.isoformat())
    return moment.astimezone(UTC)


def _none(text: str) -> GatewayError:
    detail = f"{text[:64]!r} is not a time such as 2026-03-01T12:00:00Z, from {FIRST.year} to {LAST.year}"
    return GatewayError(Kind.MALFORMED, detail, code=2014)
