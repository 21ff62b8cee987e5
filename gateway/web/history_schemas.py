"""What operators are shown of the history of units. Hashes are base64url of 32 bytes, times are UTC."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel

from gateway.history.difference import Which


class Witness(BaseModel):
    """A feed that has a record: under which number, and when it was pulled."""

    source: str
    registry: str
    number: int
    retrieved_at: datetime


class Found(BaseModel):
    """What was found in a record or in a page; ``code`` is one of the check table."""

    code: int
    detail: str
    at: datetime


class PulledRecord(BaseModel):
    """What one transaction did with one block. ``said`` is the record, ``text`` its exact text (RFC 8785).

    ``sha256`` is that of the text and names it. ``corrected_by`` are records that take its place; those that it takes
    the place of itself, it names in ``said.corrects``.
    """

    sha256: str
    text: str
    said: dict[str, Any]
    witnesses: list[Witness]
    corrected_by: list[str]
    findings: list[Found]


class PulledPage(BaseModel):
    """Records by their times, newest first. While ``next`` is not null more may follow, even after an empty page."""

    records: list[PulledRecord]
    next: str | None


class Feed(BaseModel):
    """What ``registry`` may see in ``source``: ``number`` records are pulled, ``delivered`` of them handed on.

    ``digest`` is SHA-256 over the digest before and the SHA-256 of each record in turn, from 32 zero bytes on.
    ``walked`` is how far a feed that is read again was found to be as before; one that is ``stopped`` was not.
    """

    source: str
    registry: str
    party: str
    number: int
    digest: str
    delivered: int
    walked: int | None
    stopped: bool
    due: bool
    attempts: int
    waiting: str | None
    next_at: datetime
    pulled_at: datetime | None
    findings: int


class FeedFound(BaseModel):
    """A feed, and the newest of what was found in it."""

    feed: Feed
    found: list[Found]


class Shown(BaseModel):
    """What ``source`` shows, as of its own clock, and how old that is.

    Items are as the source wrote them: positions (``party``, ``account``, ``block``), or records (``sha256``, ``text``,
    ``said``). ``next`` continues after the last, also where all that was looked at did not match.
    """

    source: str
    registry: str
    party: str
    as_of: datetime
    age_seconds: float
    items: list[dict[str, Any]]
    next: str | None


class Difference(BaseModel):
    """A number of the feed under which there is not the same record, with its text here and there."""

    number: int
    which: Which
    here: str | None
    there: str | None


class Comparison(BaseModel):
    """Numbers ``after`` + 1 to ``until`` of a feed as its source shows it, held against what was pulled.

    ``here`` is how many records were pulled. ``counts`` may count more than are listed; ``next`` is where a further
    comparison goes on, null at the end of the source's feed.
    """

    source: str
    registry: str
    party: str
    as_of: datetime
    after: int
    until: int
    here: int
    counts: dict[str, int]
    differences: list[Difference]
    next: str | None
