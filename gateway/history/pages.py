"""Verifies a page of history, before anything of it is stored.

    1  it answers what was asked: whose feed, for whom, behind which cursor (8005)
    2  it numbers its records on, no more than were asked for (8005, 8002), and its digest binds them (8004)
    3  each record is one of the protocol (2001), with sound data (its own codes), not from the future (1009)
    4  no record comes twice (8005), each is about units that the viewer may see (8001)
    5  where the registry has a log that is watched, each is in it, and it goes on from what it was (8004)

``read`` does what needs the page alone, ``stored`` what needs the feed; each gives what is wrong in the first step that
fails. Whether what records say fits other records and the book is found after they are stored (``contradictions``): it
is no reason not to keep them.
"""

import json
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from gateway import db
from gateway.domain import wire
from gateway.domain.check_codes import Finding
from gateway.domain.history import AHEAD, Cursor, Known, Record, parse_record
from gateway.domain.identifiers import PartyCode
from gateway.domain.units import Attributes, ItmoNaming, Origin, UnitRange
from gateway.errors import GatewayError, Kind
from gateway.history import page_store
from gateway.history.asked import HEAD, Asked, read_cursor, written_cursor
from gateway.history.page_store import Found, Told
from gateway.history.store import Feed
from gateway.signing import compact
from gateway.signing.envelope import VerifiedMessage

#: The largest page that is taken, in bytes: as a delivery, with its own JWS beside it, it still fits into a message.
MAX_BYTES = 7 * 1024 * 1024
#: How many records are named that one and the same fault is found in.
MAX_NAMED = 20
_BODY = HEAD | {"after", "until", "more"}


@dataclass(frozen=True, slots=True)
class Question:
    """What a ``history.query`` asks for."""

    asked: Asked
    after: Cursor
    limit: int

    @property
    def body(self) -> dict[str, object]:
        """Its body."""
        return {**self.asked.written, "after": written_cursor(self.after), "limit": self.limit}


@dataclass(frozen=True, slots=True)
class Page:
    """A page that is sound by itself; ``hashes`` are those of its records, in order."""

    until: Cursor
    more: bool
    records: tuple[Record, ...]
    hashes: tuple[bytes, ...]


def read(message: VerifiedMessage, question: Question, now: datetime) -> Page | tuple[Finding, ...]:
    """The page that ``message`` brings in answer to ``question``, or what is wrong with it."""
    try:
        until, more = _head(message, question)
        hashes = tuple(compact.decode(item.sha256) for item in message.items)
        if findings := _chain(hashes, question, until, more=more):
            return findings
        known = Known()
        parsed = [(item, parse_record(item.text, item.sha256, item.value, known)) for item in message.items]
    except GatewayError as error:
        return (Finding(error.code or 2001, detail=error.detail),)
    faults = [(item.sha256, found) for item, found in parsed if isinstance(found, tuple)]
    if faults:
        return tuple(_of_record(sha256, finding) for sha256, found in faults[:MAX_NAMED] for finding in found)
    records = tuple(found for _, found in parsed if isinstance(found, Record))
    future = [r for r in records if r.at - now > AHEAD]
    if future:
        detail = "a record is more than 300 s in the future"
        return tuple(Finding(1009, (r.block.range,), f"{detail}: {r.sha256}") for r in future[:MAX_NAMED])
    return Page(until, more, records, hashes)


def _head(message: VerifiedMessage, question: Question) -> tuple[Cursor, bool]:
    body = wire.members(message.body, "body", _BODY, frozenset({"log"}))
    if type(body["more"]) is not bool:
        raise wire.malformed("more is true or false")
    if Asked.read(body) != question.asked or read_cursor(body["after"]) != question.after:
        detail = "this page is of another feed, or goes on from another place, than was asked for"
        raise GatewayError(Kind.REJECTED, detail, code=8005)
    return read_cursor(body["until"]), body["more"]


def _chain(hashes: Sequence[bytes], question: Question, until: Cursor, *, more: bool) -> tuple[Finding, ...]:
    number = len(hashes)
    if until.number != question.after.number + number or (more and not number):
        detail = f"{number} records do not lead from {question.after.number} to {until.number}"
        return (Finding(8005, detail=detail if number or not more else "there are more, and none comes"),)
    if number > question.limit:
        return (Finding(8002, detail=f"at most {question.limit} records were asked for"),)
    if question.after.beyond(hashes) != until:
        return (Finding(8004, detail=f"the digest at {until.number} is not that of the records"),)
    return ()


def _of_record(sha256: str, finding: Finding) -> Finding:
    return Finding(finding.code, finding.blocks, f"{finding.detail} (record {sha256})")


async def stored(tx: db.Tx, feed: Feed, page: Page) -> tuple[Finding, ...]:
    """What is wrong with a page's records where the feed has others before them."""
    if twice := await page_store.again(tx, feed, page.hashes):
        return (Finding(8005, detail=f"the feed has record {compact.encode(twice[0])} already"),)
    hidden = await page_store.unseen(tx, feed, _foreign(page.records, feed.asked.viewer.party))
    detail = f"{feed.asked.viewer.party} may not see these units"
    return tuple(Finding(8001, (r.block.range,), f"{detail} (record {r.sha256})") for r in hidden[:MAX_NAMED])


class _Brought:
    """Units that records of a page have brought so far: separate ranges of each series, in order."""

    def __init__(self) -> None:
        self._firsts: dict[Origin, list[int]] = {}
        self._lasts: dict[Origin, list[int]] = {}

    def add(self, units: UnitRange) -> None:
        firsts, lasts = self._of(units)
        begin, end = bisect_left(lasts, units.first), bisect_right(firsts, units.last)
        whole = min([units.first, *firsts[begin:end]]), max([units.last, *lasts[begin:end]])
        firsts[begin:end], lasts[begin:end] = [whole[0]], [whole[1]]

    def overlap(self, units: UnitRange) -> bool:
        firsts, lasts = self._of(units)
        at = bisect_left(lasts, units.first)
        return at < len(firsts) and firsts[at] <= units.last

    def _of(self, units: UnitRange) -> tuple[list[int], list[int]]:
        return self._firsts.setdefault(units.origin, []), self._lasts.setdefault(units.origin, [])


def _foreign(records: Iterable[Record], party: PartyCode) -> list[Record]:
    """Those that do not concern a Party by themselves, nor by units that came to it earlier in the page."""
    brought, foreign = _Brought(), []
    for record in records:
        units = record.block.range
        if not record.concerns(party) and not brought.overlap(units):
            foreign.append(record)
        if record.target is not None and record.target.party == party:
            brought.add(units)
    return foreign


async def contradictions(tx: db.Tx, feed: Feed, page: Page) -> list[Found]:
    """What the records of a page that was just kept say against other records, or against the book (4010)."""
    found = []
    for mine, other in await page_store.standing_apart(tx, feed, page.until):
        detail = f"record {compact.encode(mine)} says otherwise than {compact.encode(other)}"
        found.append(Found(Finding(4010, detail=detail), mine))
    for told, units in await page_store.against_the_book(tx, _told(page.records)):
        record = next(r for r in told.by if r.block.first <= units.first <= r.block.last)
        where = f"{units.origin.registry} {units.origin.series} {units.first}-{units.last}"
        detail = f"the book has other attributes or identifiers of {where}"
        found.append(Found(Finding(4010, (units,), detail), compact.decode(record.sha256)))
    return found


def _told(records: Sequence[Record]) -> list[Told]:
    """What records tell of units, those together that are told the same and lie together."""
    alike: dict[tuple[Origin, Attributes, ItmoNaming | None], list[Record]] = {}
    for record in records:
        block = record.block
        alike.setdefault((block.origin, block.attributes, block.itmo), []).append(record)
    texts: dict[Attributes, str] = {}
    told = []
    for (origin, attributes, itmo), those in alike.items():
        if attributes not in texts:
            texts[attributes] = _without_authorisation(wire.attributes_to_wire(attributes))
        stem, offset = (itmo.stem, itmo.offset) if itmo else (None, None)
        for together in _together(those):
            units = UnitRange(origin, together[0].block.first, max(r.block.last for r in together))
            told.append(Told(units, texts[attributes], stem, offset, tuple(together)))
    return told


def _together(records: Iterable[Record]) -> list[list[Record]]:
    """Records by the ranges without a gap that they are about, each in order."""
    found: list[list[Record]] = []
    reached = 0
    for record in sorted(records, key=lambda r: r.block.first):
        if found and record.block.first <= reached + 1:
            found[-1].append(record)
            reached = max(reached, record.block.last)
        else:
            found.append([record])
            reached = record.block.last
    return found


def _without_authorisation(attributes: Mapping[str, object]) -> str:
    return json.dumps({name: value for name, value in attributes.items() if name != "authorisation"})
