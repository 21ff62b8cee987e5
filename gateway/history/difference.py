"""Compares a feed as it was pulled with the feed as its source shows it now: record by record, by their SHA-256.

The source's feed is read from a number on, some thousand records a call, and nothing of it is kept. What is only there
was not pulled yet, or is missing here; what is only here, the source shows no longer; two texts under one number are
two pasts. A call ends with a cursor where the next goes on, or with none at the feed's end. Raises as ``live`` does,
MALFORMED 8003 for a number beyond what is pulled, and CONFLICT 8003 where the source's feed is another one before it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from gateway import db
from gateway.domain.callers import Sight
from gateway.domain.history import START, Cursor, Record
from gateway.errors import GatewayError, Kind
from gateway.history import view_store
from gateway.history.live import Live, cursor_text, parse_cursor
from gateway.history.questions import Refused
from gateway.signing import compact

#: Later than any answer.
_NEVER = datetime.max.replace(tzinfo=UTC)
#: Records compared in one call, and differences after which it ends: a person looks at each.
MAX_RECORDS, MAX_DIFFERENCES = 10_000, 1_000


class Which(StrEnum):
    """What differs."""

    #: The source has a record under this number, and nothing is kept under it.
    MISSING_HERE = "missing-here"
    #: A record is kept under this number, and the source's feed ends before it.
    MISSING_THERE = "missing-there"
    #: Two records under one number.
    DIFFERENT = "different"


@dataclass(frozen=True, slots=True)
class Difference:
    """One number of the feed, and the text of the record here and there, where there is one."""

    number: int
    which: Which
    here: str | None
    there: str | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Numbers ``after`` + 1 to ``until`` of the source's feed, compared, the first as of ``as_of``.

    ``next`` is None at its end, ``here`` is how many records are kept of the feed, ``counts`` how many differences of
    each kind were found in this part; those that are listed are the first.
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


@dataclass(frozen=True, slots=True)
class _Kept:
    """The feed as it is kept; ``id`` is None where none is."""

    id: int | None
    number: int


async def compare(
    database: db.Database, live: Live, sight: Sight, source: str, registry: str, *, after: str = "0"
) -> Comparison:
    """Compare a feed from a number on, or from a cursor (NUMBER.DIGEST) that an earlier call gave."""
    asked = await live.viewer(sight, source, registry)
    async with database.reading() as tx:
        found = await view_store.held(tx, source, registry)
        kept = _Kept(None, 0) if found is None else _Kept(found.id, found.number)
        begin = cursor = parse_cursor(after) if "." in after else await _cursor(tx, kept, after)
    differences, more, as_of = list[Difference](), True, _NEVER
    while more and cursor.number - begin.number < MAX_RECORDS and len(differences) < MAX_DIFFERENCES:
        try:
            piece = await live.piece(asked, cursor)
        except Refused as refused:
            raise _elsewhere(refused, source, cursor) from refused
        differences += await _compared(database, kept, cursor.number, piece.records)
        cursor, more, as_of = piece.until, piece.more, min(as_of, piece.as_of)
    counts = {which.value: sum(d.which is which for d in differences) for which in Which}
    if not more and kept.number > cursor.number:
        counts[Which.MISSING_THERE] = kept.number - cursor.number
        differences += await _left(database, kept, cursor.number)
    return Comparison(
        asked.of, asked.viewer.registry, asked.viewer.party, as_of, begin.number, cursor.number, kept.number,
        counts, differences, cursor_text(cursor) if more else None,
    )  # fmt: skip


async def _cursor(tx: db.ReadTx, kept: _Kept, number: str) -> Cursor:
    """Where the feed that is kept is at a number."""
    if not (number.isascii() and number.isdecimal()) or int(number) > kept.number:
        detail = f"a comparison begins at a number from 0 to {kept.number}, or where another ended"
        raise GatewayError(Kind.MALFORMED, detail, code=8003)
    if kept.id is None or int(number) == 0:
        return START
    last, digest, hashes = await view_store.behind(tx, kept.id, int(number))
    return Cursor(last, digest).beyond(hashes)


async def _compared(database: db.Database, kept: _Kept, after: int, there: Sequence[Record]) -> list[Difference]:
    """The differences in one part of the feed, which begins behind ``after``."""
    here: Mapping[int, Any] = {}
    if kept.id is not None and after < kept.number:
        async with database.reading() as tx:
            rows = await view_store.pulled(tx, kept.id, after, min(after + len(there), kept.number))
        here = {row.number: row for row in rows}
    found = list[Difference]()
    for number, record in enumerate(there, after + 1):
        mine = here.get(number)
        if mine is None:
            found.append(Difference(number, Which.MISSING_HERE, None, record.text))
        elif bytes(mine.sha256) != compact.decode(record.sha256):
            found.append(Difference(number, Which.DIFFERENT, mine.item, record.text))
    return found


async def _left(database: db.Database, kept: _Kept, after: int) -> list[Difference]:
    """The first of the records that are kept behind the end of the source's feed."""
    assert kept.id is not None  # there is something in it
    async with database.reading() as tx:
        rows = await view_store.pulled(tx, kept.id, after, min(after + MAX_DIFFERENCES, kept.number))
    return [Difference(row.number, Which.MISSING_THERE, row.item, None) for row in rows]


def _elsewhere(refused: Refused, source: str, cursor: Cursor) -> GatewayError:
    if 8003 not in refused.codes:
        return refused
    detail = f"the feed of {source} is another one up to number {cursor.number}: compare from an earlier one, from 0"
    return GatewayError(Kind.CONFLICT, detail, code=8003)
