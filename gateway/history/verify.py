"""Proves the history that is kept: from the texts of the records and the signatures of the pages they came in.

Of each feed, from its beginning on: every number has its record; each record is named by the SHA-256 of its text, and
found by what its text says; the digest over all of them is that of each page and of the feed; each page is its source's
own, signed under a key that counted when it came, and lists exactly its records, without gap from page to page; where a
page names the source's own log, the checkpoint is that log's, and no two of one log have one size and two roots. That
each record is in that tree was proven when the page came: the tree's other leaves are not kept.

Feeds are read some pages at a time, each time in a transaction of its own, while others write: what was stored once
stays. Memory is that of some pages, whatever the length. Fails with the database; what is wrong is a ``Fault``.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any

from gateway import db
from gateway.audit import witness_store
from gateway.audit.checkpoint import Checkpoint
from gateway.domain import wire
from gateway.domain.history import HASH_BYTES, START, Cursor, canonical
from gateway.domain.identifiers import parse_itmo_id
from gateway.errors import GatewayError, Kind
from gateway.history import verify_store
from gateway.history.asked import Asked, read_cursor
from gateway.links import key_store
from gateway.signing import compact, envelope, notes
from gateway.signing.envelope import CarriedMessage
from gateway.signing.notes import Verifier
from gateway.signing.trust import PeerKey

#: Pages that are read at once: of a thousand records each.
PAGES = 5
#: Faults that are kept; the others are counted.
MAX_KEPT = 100
#: The keys of a link as they counted when a page was stored.
KeysAt = Callable[[str, datetime], Sequence[PeerKey]]
#: Told how many records are verified, of how many.
Tell = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong, in which feed and at which number of it, if it is at one."""

    what: str
    source: str | None = None
    registry: str | None = None
    number: int | None = None

    def __str__(self) -> str:
        """As people read it."""
        at = f"{self.source} for {self.registry}" if self.source else "history"
        return f"{at}{f', record {self.number}' if self.number else ''}: {self.what}"


@dataclass(frozen=True, slots=True)
class Proven:
    """A feed as it was proven: ``digest`` (base64url) binds its ``records``, which came in ``pages`` signed pages.

    ``logged`` of these name the source's own log. ``faults`` is how many were found in it.
    """

    source: str
    registry: str
    party: str
    records: int
    pages: int
    logged: int
    digest: str
    faults: int


@dataclass(slots=True)
class Verdict:
    """What came of it all: ``found`` counts the faults that are not listed, too."""

    feeds: list[Proven] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    found: int = 0

    @property
    def valid(self) -> bool:
        """Whether nothing is wrong."""
        return not self.found

    def add(self, faults: Sequence[Fault]) -> None:
        """Count faults, and keep the first."""
        self.found += len(faults)
        self.faults += faults[: MAX_KEPT - len(self.faults)]


@dataclass
class Proof:
    """A feed on the way from its beginning to its end, as its row said when it was begun."""

    feed: Any
    keys_at: KeysAt
    #: The keys of the source's own logs, as far as they are watched.
    log_keys: Sequence[Verifier] = ()
    at: Cursor = START
    pages: int = 0
    logged: int = 0
    #: Origin and size → root of the trees of the source's logs that pages name.
    _roots: dict[tuple[str, int], bytes] = field(default_factory=dict)

    async def read(self, tx: db.ReadTx) -> list[Fault]:
        """What is wrong with the next pages; ``done`` after the last."""
        pages = await verify_store.pages(tx, self.feed.id, self.at.number, self.feed.number, most=PAGES)
        if not pages:
            return list(self._rest())
        kept = await verify_store.records(tx, self.feed.id, self.at.number, pages[-1].last)
        found, begin = list[Fault](), 0
        for page in pages:
            end = next((nr for nr in range(begin, len(kept)) if kept[nr].number > page.last), len(kept))
            found += self._page(page, kept[begin:end])
            begin = end
        return found

    @property
    def done(self) -> bool:
        """Whether the end of the feed is reached."""
        return self.at.number >= int(self.feed.number)

    def _fault(self, what: str, number: int | None = None) -> Fault:
        return Fault(what, self.feed.source, self.feed.registry, number)

    def ends(self) -> Iterator[Fault]:
        """What its row says of its end, which the records do not."""
        if self.feed.beyond or self.feed.pages_beyond:
            yield self._fault(f"{self.feed.beyond} records and {self.feed.pages_beyond} pages lie beyond its end")
        if not 0 <= self.feed.delivered <= self.feed.number:
            yield self._fault(f"{self.feed.delivered} records are said to be delivered, of {self.feed.number}")
        if self.at.number == self.feed.number and self.at.digest != bytes(self.feed.digest):
            yield self._fault("its digest is not that of its records", self.feed.number)

    def _rest(self) -> Iterator[Fault]:
        yield self._fault(f"no page ends between there and record {self.feed.number}", self.at.number + 1)
        self.at = Cursor(self.feed.number, bytes(self.feed.digest))

    def _page(self, page: Any, kept: Sequence[Any]) -> Iterator[Fault]:
        before, self.pages = self.at, self.pages + 1
        if page.first != before.number + 1:
            yield self._fault(f"its page begins at record {page.first}", before.number + 1)
        numbers = [row.number for row in kept]
        if numbers != list(range(before.number + 1, page.last + 1)):
            missing = sorted(set(range(before.number + 1, page.last + 1)) - set(numbers))
            yield self._fault("its record is gone", missing[0])
        for row in kept:
            yield from (self._fault(what, row.number) for what in _faults_of(row))
        hashes = [sha256(row.item.encode()).digest() for row in kept]
        reached = before.beyond(hashes)
        if reached.digest != bytes(page.digest):
            yield self._fault("the digest of its page is not that of the records up to there", page.last)
        # From here on by what the page says, so that one fault is not found again at every number after it.
        self.at = Cursor(page.last, bytes(page.digest))
        try:
            said = self._signed(page)
            yield from (self._fault(what, page.first) for what in self._differences(said, before, page, hashes))
            yield from (self._fault(what, page.first) for what in self._own_log(said))
        except (GatewayError, KeyError, TypeError, ValueError) as error:
            why = error.detail if isinstance(error, GatewayError) else "it lacks what a page has"
            yield self._fault(f"its page proves nothing: {why}", page.first)

    def _signed(self, page: Any) -> CarriedMessage:
        """The page, if it is the source's own; raises as verifying does."""
        if page.at is None:
            raise GatewayError(Kind.UNTRUSTED, "its entry in the log is gone")
        return envelope.verify_carried(page.jws, {}, self.keys_at(self.feed.source, page.at), at=page.at)

    def _differences(self, said: CarriedMessage, before: Cursor, page: Any, hashes: Sequence[bytes]) -> Iterator[str]:
        asked = Asked.read(said.body)
        named = (asked.of, asked.viewer.registry, asked.viewer.party)
        if (said.type, said.sender, *named) != (
            "history.page", self.feed.source, self.feed.source, self.feed.registry, self.feed.party
        ):  # fmt: skip
            yield f"its page is a {said.type} of {said.sender}, of {named[0]} for {named[1]}"
        if list(said.listed) != [compact.encode(one) for one in hashes]:
            yield "its page lists other records"
        stated = read_cursor(said.body["after"]), read_cursor(said.body["until"])
        if stated != (Cursor(page.first - 1, before.digest), Cursor(page.last, bytes(page.digest))):
            yield f"its page states records {stated[0].number + 1}-{stated[1].number}, or another digest of them"

    def _own_log(self, said: CarriedMessage) -> Iterator[str]:
        """What does not hold of the source's own log, where the page names it."""
        if "log" not in said.body:
            return
        self.logged += 1
        log = wire.members(said.body["log"], "log", frozenset({"checkpoint", "leaves", "salts"}))
        note = notes.read(str(log["checkpoint"]))
        head, leaves = Checkpoint.read(note.text), wire.array(log["leaves"], "leaves")
        if self.log_keys:
            note.signed_by(self.log_keys)
        if len(leaves) != len(said.listed) or len(compact.decode(log["salts"])) != HASH_BYTES * len(leaves):
            yield "its page does not name a leaf and a salt for each record"
        if len(set(leaves)) != len(leaves) or not all(0 <= leaf < head.size for leaf in leaves):
            yield "its page names leaves that the tree does not have, or one twice"
        if self._roots.setdefault((head.origin, head.size), head.root) != head.root:
            yield "its page's checkpoint is of another tree than an earlier page's of the same size"


async def verify(
    database: db.Database, source: str | None = None, registry: str | None = None, tell: Tell | None = None
) -> Verdict:
    """Prove every feed, or those of a source or for a registry; raises NOT_FOUND where none that is named is kept."""
    async with database.reading() as tx:
        feeds = await verify_store.feeds(tx, source, registry)
        keys = await link_keys(tx, {feed.source for feed in feeds})
        logs = await log_keys(tx)
        alone = await verify_store.nowhere(tx, most=MAX_KEPT) if source is registry is None else []
    if not feeds and (source or registry):
        raise GatewayError(Kind.NOT_FOUND, "no such history is pulled here", code=8001)
    verdict, total, done = Verdict(), sum(feed.number for feed in feeds), 0
    for feed in feeds:
        proof, found = Proof(feed, lambda link, _at: keys[link], logs.get(feed.source, ())), verdict.found
        while not proof.done:
            async with database.reading() as tx:
                verdict.add(await proof.read(tx))
            if tell is not None:
                tell(done + min(proof.at.number, feed.number), total)
        verdict.add(list(proof.ends()))
        done += feed.number
        verdict.feeds.append(_proven(proof, verdict.found - found))
    verdict.add([Fault(f"record {compact.encode(one)} is in no feed") for one in alone])
    return verdict


def _proven(proof: Proof, faults: int) -> Proven:
    feed = proof.feed
    digest = compact.encode(proof.at.digest)
    return Proven(
        feed.source, feed.registry, feed.party, feed.number, proof.pages, proof.logged, digest, faults
    )  # fmt: skip


async def link_keys(tx: db.ReadTx, links: set[str]) -> Mapping[str, Sequence[PeerKey]]:
    """Every key that was ever registered for these links, as it counts now."""
    found = await key_store.keys(tx, sorted(links))
    return {link: [key for key in found if key.owner == link] for link in links}


async def log_keys(tx: db.ReadTx) -> Mapping[str, Sequence[Verifier]]:
    """The keys of the logs that are watched, by the link they are behind."""
    keys = defaultdict[str, list[Verifier]](list)
    for log in await witness_store.watched(tx):
        keys[log.link] += [Verifier.read(vkey) for vkey in log.vkeys]
    return keys


def _faults_of(row: Any) -> Iterator[str]:
    """What is wrong with one record by itself."""
    if sha256(row.item.encode()).digest() != bytes(row.sha256):
        yield "it is named by another hash than that of its text"
    try:
        value = json.loads(row.item)
        different = sorted(name for name, said in _columns(value).items() if getattr(row, name) != said)
        written = canonical(value) == row.item
    except (GatewayError, KeyError, TypeError, ValueError, AttributeError):
        yield "its text cannot be read as that of a record"
        return
    if not written:
        yield "its text is not written as RFC 8785 says"
    if different:
        yield f"its row says otherwise than its text: {', '.join(different)}"


def _columns(value: Mapping[str, Any]) -> dict[str, Any]:
    """What the row of a record has, by its text."""
    block, attributes = value["block"], value["block"]["attributes"]
    ends = {
        f"{name}_{part}": value[name][part] if name in value else None
        for name in ("from", "to")
        for part in ("registry", "party", "account")
    }
    named = parse_itmo_id(block["itmo"]["first"]) if "itmo" in block else None
    return {
        **{name: value[name] for name in ("registry", "transaction", "type")},
        **{name: block[name] for name in ("first", "last")},
        **{name: attributes[name] for name in ("vintage", "activity")},
        **ends,
        "at": wire.parse_time(value["at"]),
        "origin_registry": block["origin"]["registry"],
        "series": block["origin"]["series"],
        "host": attributes["first_transferring_party"],
        "authorisation": attributes["authorisation"]["id"],
        "itmo_stem": named and str(named.stem),
        "itmo_first": named and named.serial,
        "corrects": compact.decode(value["corrects"]) if "corrects" in value else None,
    }
