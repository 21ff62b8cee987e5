"""Shows the history that was pulled, offline: the records that are seen, page by page, and how far each feed is.

Records are in the order of their own times, newest first. One page reads a bounded number of candidates: it may hold
fewer records than asked for, even none, and still be followed by another. A feed that is asked for and not seen, or
not there, is FORBIDDEN (8001; NOT_FOUND to who sees everything); a unit of which nothing is seen has no records. Raises
MALFORMED (2001) for a cursor that was not given for this question, LIMIT (2005) for a range of ITMO identifiers that
leads to too many blocks, and what parsing the name of a unit raises.
"""

import json
import re
from base64 import urlsafe_b64decode
from dataclasses import asdict, dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

from gateway import db
from gateway.domain.callers import Sight
from gateway.domain.history import HistoryType
from gateway.domain.identifiers import MAX_SERIAL, ItmoId, parse_itmo_id, parse_registry_code
from gateway.domain.units import Origin, UnitRange
from gateway.errors import GatewayError, Kind
from gateway.history import view_store
from gateway.history.view_store import Along, Edge, Question
from gateway.signing import compact

#: Most records of one page.
MAX_PAGE = 500
#: Candidates one statement reads, and statements of one page.
WINDOW, MAX_WINDOWS = 2_000, 25
#: Up to how many records of its feeds are all looked at, because sorting them is less than passing over others'.
FEW = 20_000
#: Up to how many units their own records are looked up: each has some, and they are sorted.
FEW_UNITS = 10_000
#: Longest name of units: two ITMO identifiers.
MAX_UNITS = 130
#: Longest cursor that is looked at, in characters; ours have less than half.
MAX_CURSOR = 400
#: Most findings of one feed that are shown.
MAX_FINDINGS = 100
#: A range by its origin: a series is what ``domain.wire`` takes for one.
_RANGE = re.compile(r"([^/]*)/([A-Za-z0-9._-]{1,64})/([0-9]{1,16})(?:-([0-9]{1,16}))?")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked for; ``None`` is no restriction.

    ``units`` are REGISTRY/SERIES/FIRST[-LAST], an ITMO identifier, or two with ``..`` between them. ``party`` and
    ``account`` are whose books the units were in or came to; ``since`` is in it, ``until`` is not.
    """

    source: str | None = None
    registry: str | None = None
    account: str | None = None
    party: str | None = None
    activity: str | None = None
    authorisation: str | None = None
    vintage: int | None = None
    units: str | None = None
    type: HistoryType | None = None
    since: datetime | None = None
    until: datetime | None = None

    @property
    def given(self) -> dict[str, str]:
        """The restrictions that there are, as text."""
        each = {name: value for name, value in asdict(self).items() if value is not None}
        return {name: v.isoformat() if isinstance(v, datetime) else str(v) for name, v in each.items()}


@dataclass(frozen=True, slots=True)
class Witness:
    """A feed that has the record: under which number, and when it was pulled."""

    source: str
    registry: str
    number: int
    retrieved_at: datetime


@dataclass(frozen=True, slots=True)
class Found:
    """What was found in a record, or in a page."""

    code: int
    detail: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Record:
    """One record: its exact ``text`` (RFC 8785), whose SHA-256 (base64url) names it, and what is known beside it."""

    sha256: str
    text: str
    said: dict[str, Any]
    witnesses: list[Witness]
    corrected_by: list[str]
    findings: list[Found]


@dataclass(frozen=True, slots=True)
class Page:
    """Records, newest first; ``next`` is the cursor of the page after, None after the last."""

    records: list[Record]
    next: str | None


@dataclass(frozen=True, slots=True)
class Feed:
    """How far a feed is pulled and handed on; ``digest`` (base64url) binds its first ``number`` records.

    ``walked`` is how far one that is read again was found to be as before, ``due`` that it was called for and not
    pulled since.
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


def parse_units(text: str) -> UnitRange | tuple[ItmoId, ItmoId]:
    """Read a range of units; raises MALFORMED with 2006 or 2007 (2010, 2011 as identifiers do)."""
    if "/" not in text:
        first, _, last = text.partition("..")
        ends = parse_itmo_id(first), parse_itmo_id(last or first)
        if ends[0].stem != ends[1].stem or ends[0].serial > ends[1].serial:
            raise GatewayError(Kind.MALFORMED, "the two identifiers are no range: first..last of one kind", code=2007)
        return ends
    parts = _RANGE.fullmatch(text)
    if parts is None:
        detail = "units are REGISTRY/SERIES/FIRST[-LAST], or ITMO identifiers FIRST[..LAST]"
        raise GatewayError(Kind.MALFORMED, detail, code=2006)
    first_serial, last_serial = int(parts[3]), int(parts[4] or parts[3])
    if not (1 <= first_serial <= MAX_SERIAL and 1 <= last_serial <= MAX_SERIAL):
        raise GatewayError(Kind.MALFORMED, "a serial lies outside 1 to 2^53-1", code=2006)
    if first_serial > last_serial:
        raise GatewayError(Kind.MALFORMED, "the first serial is larger than the last", code=2007)
    return UnitRange(Origin(parse_registry_code(parts[1]), parts[2]), first_serial, last_serial)


async def page(tx: db.ReadTx, sight: Sight, wanted: Wanted, *, limit: int = 50, cursor: str | None = None) -> Page:
    """The records that are wanted and seen, from the newest on or from where ``cursor`` says; at most ``limit``."""
    edge = None if cursor is None else _opened(cursor, sight, wanted)
    asked = await _question(tx, sight, wanted)
    most, found = min(limit, MAX_PAGE), list[Record]()
    for _ in range(MAX_WINDOWS):
        window = await view_store.window(tx, asked, edge, candidates=WINDOW, limit=most - len(found))
        found += [_record(row) for row in window.rows]
        edge = window.end
        if edge is None or len(found) == most:
            break
    return Page(found, None if edge is None else _sealed(edge, sight, wanted))


async def feeds(tx: db.ReadTx, sight: Sight) -> list[Feed]:
    """The feeds that are seen, by source and registry."""
    return [_feed(row, sight) for row in await view_store.feeds(tx, sight)]


async def feed(tx: db.ReadTx, sight: Sight, source: str, registry: str) -> tuple[int, Feed]:
    """One feed with its id; raises as the module says."""
    found = await view_store.feeds(tx, sight, source, registry)
    if not found:
        raise _absent(sight)
    return found[0].id, _feed(found[0], sight)


async def findings(tx: db.ReadTx, sight: Sight, source: str, registry: str) -> list[Found]:
    """What was found in a feed, newest first."""
    rows = await view_store.findings(tx, sight, source, registry, most=MAX_FINDINGS)
    return [Found(r.code, r.detail, r.at) for r in rows]


async def _question(tx: db.ReadTx, sight: Sight, wanted: Wanted) -> Question:
    seen = await view_store.named(tx, sight, wanted.source, wanted.registry)
    if not seen.feeds and (wanted.source is not None or wanted.registry is not None):
        raise _absent(sight)
    units = None if wanted.units is None else await _units(tx, sight, wanted.units)
    along = Along.FEEDS if seen.records <= FEW else Along.TIME
    if units is not None and sum(one.quantity for one in units) <= FEW_UNITS:
        along = Along.UNITS
    return Question(
        sight, along, wanted.source, wanted.registry, wanted.account, wanted.party, wanted.activity,
        wanted.authorisation, wanted.vintage, wanted.type and wanted.type.value, wanted.since, wanted.until, units,
    )  # fmt: skip


async def _units(tx: db.ReadTx, sight: Sight, text: str) -> tuple[UnitRange, ...]:
    read = parse_units(text)
    if isinstance(read, UnitRange):
        return (read,)
    first, last = read
    found = await view_store.origins(tx, sight, first.stem, first.serial, last.serial)
    if len(found) > view_store.MAX_ORIGINS:
        raise GatewayError(Kind.LIMIT, "these identifiers lead to too many blocks: ask for fewer", code=2005)
    return tuple(found)


def _absent(sight: Sight) -> GatewayError:
    return sight.absent("no such history is pulled here", 8001)


def _record(row: Any) -> Record:
    return Record(
        compact.encode(bytes(row.sha256)),
        row.item,
        json.loads(row.item),
        [Witness(**{**one, "retrieved_at": datetime.fromisoformat(one["retrieved_at"])}) for one in row.witnesses],
        [compact.encode(bytes(one)) for one in row.corrected_by],
        [Found(**{**one, "at": datetime.fromisoformat(one["at"])}) for one in row.findings or ()],
    )


def _feed(row: Any, sight: Sight) -> Feed:
    digest = compact.encode(bytes(row.digest))
    due = row.called and not row.stopped
    return Feed(
        row.source, row.registry, row.party, row.number, digest, row.delivered, row.walk_number, row.stopped, due,
        row.attempts, sight.why(row.waiting), row.next_at, row.pulled_at, row.findings,
    )  # fmt: skip


def _sealed(edge: Edge, sight: Sight, wanted: Wanted) -> str:
    """A cursor: where to go on, and a digest that shows for whom and for what it was given.

    It gives no right: whoever makes one up sees what they would have seen by asking.
    """
    place = f"{edge[0].isoformat()}/{edge[1]}"
    return compact.encode(f"{place}/{_digest(place, sight, wanted)}".encode())


def _digest(place: str, sight: Sight, wanted: Wanted) -> str:
    about = json.dumps([place, sight.code, sight.party, wanted.given], sort_keys=True)
    return sha256(f"history cursor {about}".encode()).hexdigest()[:32]


def _opened(cursor: str, sight: Sight, wanted: Wanted) -> Edge:
    try:
        read = urlsafe_b64decode(cursor[:MAX_CURSOR] + "=" * (-len(cursor) % 4))
        place, _, digest = read.decode("ascii").rpartition("/")
        at, record_id = place.split("/")
        if digest != _digest(place, sight, wanted) or compact.encode(read) != cursor:
            raise ValueError(cursor)
        return datetime.fromisoformat(at), int(record_id)
    except ValueError:
        raise GatewayError(Kind.MALFORMED, "the cursor was not given for this question", code=2001) from None
