"""Searches the log: by transfer, unit, Party, link, type, code, time and actor, page by page, within what is seen.

Pages are in the order of the entries' ids, newest first, and end at the entry that was the newest when the first page
was taken: what comes later is on none of them, so no entry is on two. Every page names the newest checkpoint that is
published. One page reads a bounded number of candidates: it may hold fewer entries than asked for, even none, and still
be followed by another.

A *code* is where it was given: in messages that refuse (``refusal``, and the findings of a ``receipt``), in entries of
messages that were refused unkept, and in the rows of transfers, records and alarms. An *actor* is the pseudonym of a
person or machine as entries of decisions name it; in whose name a transfer was asked for is kept with the request.

Raises FORBIDDEN (8001) for a transfer that is not seen or not there (NOT_FOUND 3001 to who sees everything), MALFORMED
(2001) for a cursor that was not given for this search, and what parsing the parts of a question raises.
"""

import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from hashlib import sha256
from typing import Any

from gateway import db
from gateway.domain.callers import Sight
from gateway.domain.identifiers import MAX_SERIAL, ItmoId, parse_itmo_id, parse_registry_code
from gateway.errors import GatewayError, Kind
from gateway.evidence import store, unit_store
from gateway.evidence.store import Along, Question
from gateway.evidence.unit_store import Unit
from gateway.messages.store import jws_of
from gateway.signing import compact, messages

#: Most entries of one page.
MAX_PAGE = 500
#: Candidates one statement reads, fewer where the words of each may have to be read; and statements of one page. What a
#: process makes of so many entries at once delays what else it serves by some hundredths of a second.
WINDOW, WORDY_WINDOW, MAX_WINDOWS = 2_000, 200, 25
#: A unit by its origin: a series is what ``domain.wire`` takes for one.
_UNIT = re.compile(r"([^/]*)/([A-Za-z0-9._-]{1,64})/([0-9]{1,16})")
#: Longest cursor that is looked at, in characters; ours have less than half.
MAX_CURSOR = 400


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is searched for; ``None`` is no restriction. ``unit`` is REGISTRY/SERIES/SERIAL, or an ITMO identifier."""

    transfer: str | None = None
    unit: str | None = None
    party: str | None = None
    link: str | None = None
    type: str | None = None
    code: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    actor: str | None = None

    @property
    def given(self) -> dict[str, str]:
        """The restrictions that there are, as text."""
        each = {name: value for name, value in asdict(self).items() if value is not None}
        return {name: v.isoformat() if isinstance(v, datetime) else str(v) for name, v in each.items()}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The newest published state of the log: tree size, root (base64, RFC 6962) and the signed note with both."""

    size: int
    root: str
    note: str


@dataclass(frozen=True, slots=True)
class Message:
    """The message of an entry; ``sha256`` (base64url) is of its bytes as received or sent."""

    id: str
    type: str
    direction: str
    peer: str
    seq: int | None
    in_reply_to: str | None
    sha256: str


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of the log: its public leaf, where that is in the tree, and what may be shown beside it.

    ``leaf_index`` is None until the entry is sequenced. ``record`` is the exact text to which the leaf commits:
    ``base64url(SHA-256(salt || record))`` is its member ``record``; None to who may not see it.
    """

    entry: int
    leaf_index: int | None
    at: datetime
    kind: str
    leaf: str
    leaf_hash: str
    message: Message | None
    record: str | None
    salt: str | None


@dataclass(frozen=True, slots=True)
class Page:
    """Entries, newest first; ``next`` is the cursor of the page after, None after the last."""

    entries: list[Entry]
    next: str | None
    checkpoint: Checkpoint | None


def parse_unit(text: str) -> tuple[str, str, int] | ItmoId:
    """Read REGISTRY/SERIES/SERIAL, or an ITMO identifier; raises MALFORMED with 2006 (2010, 2011 as identifiers do)."""
    if "/" not in text:
        return parse_itmo_id(text)
    parts = _UNIT.fullmatch(text)
    if parts is None:
        raise GatewayError(Kind.MALFORMED, "a unit is REGISTRY/SERIES/SERIAL or an ITMO identifier", code=2006)
    if not 1 <= int(parts[3]) <= MAX_SERIAL:
        raise GatewayError(Kind.MALFORMED, "a serial lies outside 1 to 2^53-1", code=2006)
    return parse_registry_code(parts[1]), parts[2], int(parts[3])


async def unit(tx: db.ReadTx, text: str) -> Unit | None:
    """The unit of that name, if the book knows its series, or its ITMO identifier."""
    named = parse_unit(text)
    if isinstance(named, ItmoId):
        return await unit_store.named(tx, named)
    return await unit_store.unit(tx, *named)


async def page(tx: db.ReadTx, sight: Sight, wanted: Wanted, *, limit: int = 50, cursor: str | None = None) -> Page:
    """The entries that are wanted and seen, from the newest on or from where ``cursor`` says; at most ``limit``."""
    edge, until_entry = (None, await store.newest(tx)) if cursor is None else _opened(cursor, sight, wanted)
    asked = await question(tx, sight, wanted, until_entry)
    most, found = min(limit, MAX_PAGE), list[Entry]()
    for _ in range(MAX_WINDOWS):
        entries, edge = await window(tx, asked, edge, limit=most - len(found))
        found += entries
        if edge is None or len(found) == most:
            break
    following = None if edge is None else _sealed(edge, until_entry, sight, wanted)
    return Page(found, following, await checkpoint(tx))


async def window(
    tx: db.ReadTx, asked: Question, edge: int | None, *, limit: int | None = None
) -> tuple[list[Entry], int | None]:
    """The entries among the next candidates after ``edge``, and where those end: None after the last there are."""
    candidates = WINDOW if asked.code is None else WORDY_WINDOW
    found = await store.window(tx, asked, edge, candidates=candidates, limit=limit or candidates)
    return [_entry(row) for row in found.rows if _meets(row, asked)], found.end


async def question(
    tx: db.ReadTx, sight: Sight, wanted: Wanted, until_entry: int, *, oldest_first: bool = False
) -> Question:
    """What is wanted, as the store is asked: what it is narrowed down by is found, and which index leads there."""
    asked = Question(
        sight, Along.LOG, until_entry, type=wanted.type, code=wanted.code, actor=wanted.actor, link=wanted.link,
        party=wanted.party, since=wanted.since, until=wanted.until, oldest_first=oldest_first,
    )  # fmt: skip
    if sight.code is not None:
        asked = replace(asked, own=await store.own_link(tx, sight))
    if wanted.party is not None:
        asked = replace(asked, party_links=tuple(await store.links_of(tx, wanted.party)))
    if wanted.code is not None:
        asked = replace(asked, coded=tuple(await store.coded(tx, wanted.code)))
    if wanted.actor is not None:
        asked = replace(asked, requested=tuple(await store.requests_of(tx, wanted.actor)))
    if wanted.transfer is not None or wanted.unit is not None:
        return await _about(tx, sight, wanted, asked)
    if sight.code is None and wanted.party is None:
        return await _along(tx, wanted, asked)
    mine = wanted.link is not None and wanted.link == asked.own and wanted.party is None
    return replace(asked, along=Along.PEER, kinds=("refused",)) if mine else asked


async def _about(tx: db.ReadTx, sight: Sight, wanted: Wanted, asked: Question) -> Question:
    """The question about one transfer, one unit, or one transfer as far as it is about one unit."""
    transfers, actions, causes = [], list[Any](), list[str]()
    of = await unit(tx, wanted.unit) if wanted.unit is not None else None
    if of is not None:
        transfers = [row.id for row in await unit_store.transfers(tx, sight, of)]
        actions = list(await unit_store.actions(tx, sight, of))
        _, _, causes = await unit_store.causes(tx, of)
    if wanted.transfer is not None:
        known = await store.seen_transfers(tx, sight, [wanted.transfer])
        if not known:
            raise sight.absent(f"there is no transfer {wanted.transfer}", 3001)
        transfers, actions = [t for t in known if wanted.unit is None or t in transfers], []
        causes = transfers
    told = await unit_store.records(tx, sight, causes)
    about = {entry for row in told for entry in (row.said_by, row.answered_by) if entry is not None}
    about |= {*await store.entries_of_transfers(tx, transfers), *(a.entry_id for a in actions)}
    of_actions = tuple(a.id for a in actions)
    return replace(asked, along=Along.ABOUT, about=tuple(sorted(about)), transfers=tuple(transfers), actions=of_actions)


async def _along(tx: db.ReadTx, wanted: Wanted, asked: Question) -> Question:
    """The index that leads to the fewest candidates, for who sees everything."""
    if wanted.actor is not None:
        kinds = tuple(await store.kinds(tx, (*messages.TYPES, "evidence", "refused")))
        return replace(asked, along=Along.KINDS, kinds=kinds)
    if wanted.code is not None:
        return replace(asked, along=Along.KINDS, kinds=store.SAYING_CODES)
    if wanted.link is not None:
        return replace(asked, along=Along.PEER, kinds=("refused",))
    if wanted.type is not None:
        return replace(asked, along=Along.KINDS, kinds=(wanted.type,))
    return asked


async def checkpoint(tx: db.ReadTx) -> Checkpoint | None:
    """The newest published checkpoint (C2SP tlog-checkpoint: origin, size, root, then signatures)."""
    found = await store.checkpoint(tx)
    return Checkpoint(found[0], found[1].split("\n")[2], found[1]) if found is not None else None


def _meets(row: Any, asked: Question) -> bool:
    """Whether an entry says what only its words can tell."""
    if asked.actor is not None and row.id not in asked.requested and not _by(row, asked.actor):
        return False
    return asked.code is None or row.id in (asked.coded or ()) or asked.code in _codes(row)


def _by(row: Any, actor: str) -> bool:
    """Whether a record names an actor as who acted; a record that is not shown names nobody."""
    record = json.loads(bytes(row.record)) if row.record is not None else {}
    person, by = record.get("person"), record.get("by")
    named = [*(str(person).split(" and ") if person else ()), *(by if isinstance(by, list) else [by])]
    return actor in named


def _codes(row: Any) -> set[int]:
    """The codes that an entry's message gives, or its record."""
    if row.kind == "refused":
        return {json.loads(bytes(row.record)).get("code")} if row.record is not None else set()
    body = bytes(row.body) if row.body is not None else b"{}"
    if row.kind == "refusal":
        payload = json.loads(compact.decode(jws_of(body).split(".")[1]))
        return _found(payload.get("body"))
    items = json.loads(body).get("items", []) if body.lstrip()[:1] == b"{" else []
    return {code for item in items for code in _found(json.loads(item))}


def _found(said: Any) -> set[int]:
    findings = said.get("findings") if isinstance(said, dict) else None
    return {f["code"] for f in findings or () if isinstance(f, dict) and isinstance(f.get("code"), int)}


def _entry(row: Any) -> Entry:
    record = bytes(row.record).decode() if row.record is not None else None
    salt = encoded(row.salt) if row.salt is not None else None
    leaf, leaf_hash = bytes(row.leaf).decode(), encoded(row.leaf_hash)
    return Entry(row.id, row.leaf_index, row.at, row.kind, leaf, leaf_hash, message(row), record, salt)


def message(row: Any) -> Message | None:
    """The message of a row that has one."""
    if row.message is None:
        return None
    reply = row.in_reply_to
    return Message(row.message, row.type, row.direction, row.peer, row.seq, reply, encoded(row.sha256))


def encoded(value: bytes) -> str:
    """Bytes as the protocol writes them: base64url without padding."""
    return urlsafe_b64encode(bytes(value)).rstrip(b"=").decode()


def _sealed(edge: int, until_entry: int, sight: Sight, wanted: Wanted) -> str:
    """A cursor: where to go on, and a digest that shows for whom and for what it was given.

    It gives no right: whoever makes one up sees what they would have seen by asking.
    """
    place = f"{edge}.{until_entry}"
    return encoded(f"{place}.{_digest(place, sight, wanted)}".encode())


def _digest(place: str, sight: Sight, wanted: Wanted) -> str:
    about = json.dumps([place, sight.code, sight.party, wanted.given], sort_keys=True)
    return sha256(f"audit cursor {about}".encode()).hexdigest()[:32]


def _opened(cursor: str, sight: Sight, wanted: Wanted) -> tuple[int, int]:
    try:
        read = urlsafe_b64decode(cursor[:MAX_CURSOR] + "=" * (-len(cursor) % 4))
        place, _, digest = read.decode("ascii").rpartition(".")
        edge, until_entry = place.split(".")
        if digest != _digest(place, sight, wanted) or encoded(read) != cursor:
            raise ValueError(cursor)
        return int(edge), int(until_entry)
    except ValueError:
        raise GatewayError(Kind.MALFORMED, "the cursor was not given for this search", code=2001) from None
