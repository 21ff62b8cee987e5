"""Reads one feed, page by page, from where it was left to its end.

    1  store a query for what follows the feed's cursor; commit; send it
    2  fetch what proves the page in its registry's log, if that has one
    3  absorb the answer: verify the page and store it with the feed's new number and digest, in one transaction

A page that is refused leaves nothing but evidence: its JWS, an entry of the log, a finding for each code, an alarm; the
feed waits, longer each time. A registry that does not know our cursor any more (8003), or whose digest does not hold
(8004), is read again from the beginning (the *walk*), and compared with what we have: if all is as before, the pull
goes on from its end. If not, its past has changed: the feed is stopped and its link distrusted. Killed anywhere,
whoever comes next goes on from the last page stored.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

import structlog

from gateway import db
from gateway.alarms import store as alarms
from gateway.alarms.store import Alarm
from gateway.audit import log, witness_store
from gateway.audit.witness_store import Watched
from gateway.domain import wire
from gateway.domain.check_codes import Finding
from gateway.domain.history import MAX_PAGE, START, Cursor
from gateway.domain.registry import Accepted, Registry, Rejected, Unknown
from gateway.errors import GatewayError, Kind
from gateway.history import asking, deliver, page_store, pages, store
from gateway.history.asking import RegistryOf
from gateway.history.inclusion import Changed, Shown, TilesOf, Tree
from gateway.history.page_store import Found
from gateway.history.pages import MAX_BYTES, Page, Question
from gateway.history.store import Feed, Seen
from gateway.messages import store as messages
from gateway.messages.aside import aside
from gateway.messages.inbox import Inbox, read
from gateway.messages.outbox import LONGEST_WAIT_SECONDS, Lease, Node, Wait
from gateway.signing import compact
from gateway.signing.envelope import EnvelopeError, Unverified, VerifiedMessage

#: Longer than the next page may take: sending the query, fetching what proves the answer, and storing it.
LEASE = timedelta(seconds=60)
#: How long what proves a page may take to come.
PROOF_SECONDS = 45.0
#: Records that are always asked for at once: so many of the longest there can be fit into a page.
FEWEST = 50
#: The longest JWS of a page: one of the most records, with the places of all in a log. In a delivery it is evidence and
#: stands in that message's own JWS, which no longer one would leave room for.
MAX_JWS = 256 * 1024
#: How much of a reason is shown.
MAX_WHY = 300

#: What is done when a registry's past has changed: its link, what it is about, the log entry, and what to say.
Distrust = Callable[[db.Tx, str, str, int, str], Awaitable[None]]

journal = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Means:
    """What it takes to pull; ``every`` is how long a feed rests that nobody calls for."""

    database: db.Database
    node: Node
    inbox: Inbox
    registry_of: RegistryOf
    tiles_of: TilesOf
    distrust: Distrust
    every: timedelta


@dataclass(frozen=True, slots=True)
class _Proof:
    """What was fetched to prove a page: the tree it is in; or what is wrong with that."""

    shown: Shown | None = None
    tree: Tree | None = None
    fault: Finding | None = None
    changed: bool = False


class Reading:
    """One pull of a feed that ``worker`` has leased."""

    def __init__(self, means: Means, feed: Feed, worker: str) -> None:
        self._means, self._worker = means, worker
        self.feed = feed
        #: Whether it is over: read to its end, put off, or another's by now; and why it waits, where it does.
        self.over = False
        self.waiting: str | None = None
        self._walked = False
        #: Records asked for at once: fewer where earlier tries failed, because a page may be too large to be taken.
        self._limit = max(FEWEST, MAX_PAGE >> max(0, feed.attempts - 1))
        self._logs: tuple[Watched, ...] = ()
        self._tree: Tree | None = None

    @property
    def _state(self) -> tuple[Feed, bool, str | None, bool, int]:
        """What a transaction changes of it."""
        return self.feed, self.over, self.waiting, self._walked, self._limit

    @_state.setter
    def _state(self, state: tuple[Feed, bool, str | None, bool, int]) -> None:
        self.feed, self.over, self.waiting, self._walked, self._limit = state

    async def page(self) -> None:
        """Ask for the next page and take it; raises only what is a fault of the database or of the program."""
        feed = self.feed
        question = Question(feed.asked, feed.walk or feed.cursor, self._limit)
        asked = await self._means.database.run(lambda tx: self._ask(tx, question), "pull.ask")
        if asked is None:
            return
        registry, query = asked
        match await asking.post(registry, query):
            case Accepted(body):
                try:
                    await self._absorb(body, query, question)
                except GatewayError as error:
                    await self._failed(error)
            case Rejected(detail, retry_after):
                await self.put_off(f"{feed.asked.of} did not take history.query: {detail}", retry_after or 1.0)
            case Unknown(reason):
                await self.put_off(f"no answer from {feed.asked.of} to history.query: {reason}")

    async def give_back(self) -> None:
        """End between two pages."""
        self.over = True
        now = self._means.node.clock()
        await self._means.database.run(lambda tx: store.give_back(tx, self.feed, self._worker, now), "pull.wait")

    async def _ask(self, tx: db.Tx, question: Question) -> tuple[Registry, messages.Message] | None:
        of, now = self.feed.asked.of, self._means.node.clock()
        if not await store.keep_on(tx, self.feed, self._worker, now + LEASE):
            if await store.give_back(tx, self.feed, self._worker, now):
                self.over, self.waiting = True, "its links are no longer open for it"
            else:
                self._lost()
            return None
        registry = await self._means.registry_of(tx, of)
        if registry is None:
            await self._wait(tx, f"no connector reaches {of}")
            return None
        self._logs = tuple(one for one in await witness_store.watched(tx) if one.link == of)
        return registry, await asking.query(tx, self._means.node, of, "history.query", question.body)

    def _lost(self) -> None:
        self.over, self.waiting = True, "another worker pulls it"

    async def _absorb(self, body: bytes, query: messages.Message, question: Question) -> None:
        if len(body) > MAX_BYTES:
            raise GatewayError(Kind.LIMIT, f"a page has at most {MAX_BYTES} bytes", code=8002)
        unverified = await read(body)
        if len(unverified.signed.text) > MAX_JWS:
            raise GatewayError(Kind.LIMIT, f"the JWS of a page has at most {MAX_JWS} bytes", code=8002)
        proof = await self._proof(unverified)

        before = self._state

        async def taken(tx: db.Tx, message: VerifiedMessage) -> None:
            self._state = before  # where the database took a try back, what it led to is not so
            await self._take(tx, message, question, proof)

        try:
            await self._means.inbox.absorb(unverified, query, taken)
        except BaseException:
            self._state = before
            raise

    async def _failed(self, error: GatewayError) -> None:
        """What came is no answer at all, or none that can be judged now."""
        if error.kind is Kind.CONFLICT and error.context.get("lost"):
            self._lost()
            return
        if isinstance(error, EnvelopeError) and error.origin is None:
            self._means.inbox.remember(error.fault.value, self.feed.asked.of)
        code = f" ({error.code})" if error.code else ""
        await self.put_off(f"the answer of {self.feed.asked.of} to history.query was refused{code}: {error.detail}")

    async def _proof(self, unverified: Unverified) -> _Proof:
        """Fetch what proves the page in the registry's log; raises UNAVAILABLE or NOT_FOUND if it cannot be had."""
        body = unverified.signed.payload.get("body")
        if self.feed.walk is not None or not self._logs or not unverified.texts or not isinstance(body, dict):
            return _Proof()
        try:
            if "log" not in body:
                return _Proof(fault=Finding(8004, detail="the page does not show where its records are in the log"))
            shown = Shown.read(body["log"], self._logs, len(unverified.texts))
            async with asyncio.timeout(PROOF_SECONDS):
                self._tree = await shown.fetched(self._means.tiles_of, self._tree, self.feed.seen)
        except TimeoutError:
            self._tree = None
            why = f"its log did not show its tiles in {PROOF_SECONDS} s"
            raise GatewayError(Kind.UNAVAILABLE, why, code=3001) from None
        except GatewayError as error:
            self._tree = None
            if error.code not in (2001, 8004):
                raise
            return _Proof(fault=Finding(error.code, detail=error.detail), changed=isinstance(error, Changed))
        return _Proof(shown, self._tree)

    async def _take(self, tx: db.Tx, message: VerifiedMessage, question: Question, proof: _Proof) -> None:
        """Do what an answer leads to, in the transaction that keeps it."""
        now = self._means.node.clock()
        if message.type != "history.page":
            await self._refused(tx, message)
            return
        work = partial(pages.read, message, question, now)
        page = await aside(work) if message.items else work()
        if isinstance(page, tuple):
            await self._refuse(tx, message, page)
        elif self.feed.walk is not None:
            await self._compare(tx, message, page)
        elif found := await pages.stored(tx, self.feed, page) if page.records else ():
            await self._refuse(tx, message, found)
        elif found := _proven(proof, page):
            await self._refuse(tx, message, found, changed=proof.changed)
        else:
            await self._store(tx, message, page, proof)

    async def _store(self, tx: db.Tx, message: VerifiedMessage, page: Page, proof: _Proof) -> None:
        feed, now = self.feed, self._means.node.clock()
        seen, tree = feed.seen, proof.tree
        if tree is not None and (seen is None or seen.origin != tree.origin or seen.size < tree.size):
            seen = Seen(tree.origin, tree.size, tree.root)
        if page.records:
            if not await store.advance(tx, feed, self._worker, page.until, seen):
                raise GatewayError(Kind.CONFLICT, "another pulls this feed by now", context={"lost": True})
            await page_store.keep(tx, feed, page.until, message.id, message.jws, page.records, page.hashes)
            if found := await pages.contradictions(tx, feed, page):
                entry = await page_store.entry_of(tx, message.sender, message.id)
                await self._tell(tx, found, entry, now)
            await deliver.go_on(tx, self._means.node, feed.id)
        self.feed = replace(feed, cursor=page.until, seen=seen, compared=False)
        self._limit = min(MAX_PAGE, 2 * self._limit)
        if not page.more:
            self.over = True
            await store.rest(tx, feed, self._worker, now, now + self._means.every)

    async def _compare(self, tx: db.Tx, message: VerifiedMessage, page: Page) -> None:
        """Compare a page that was read again with what we have, as far as we have it."""
        feed, walk = self.feed, self.feed.walk
        assert walk is not None  # or nothing would be compared
        until = min(page.until.number, feed.cursor.number)
        known = await page_store.hashes(tx, feed, walk.number, until)
        came = list(page.hashes[: until - walk.number])
        if came != known:
            first = next(n for n, pair in enumerate(zip(came, known, strict=True), walk.number + 1) if len({*pair}) > 1)
            await self._change(tx, message, f"its record {first} is another than before", first)
        elif not page.more and page.until.number < feed.cursor.number:
            detail = f"it has {page.until.number} records and had {feed.cursor.number}"
            await self._change(tx, message, detail, page.until.number + 1)
        else:
            await self._walk_to(tx, None if until == feed.cursor.number else page.until)
            self._limit = min(MAX_PAGE, 2 * self._limit)

    async def _walk_to(self, tx: db.Tx, cursor: Cursor | None) -> None:
        if not await store.walk_to(tx, self.feed, self._worker, cursor):
            raise GatewayError(Kind.CONFLICT, "another pulls this feed by now", context={"lost": True})
        self.feed = replace(self.feed, walk=cursor, compared=self.feed.compared or cursor is None)

    async def _refused(self, tx: db.Tx, message: VerifiedMessage) -> None:
        """Hear a refusal: one of our cursor leads to the walk, once in a pull; any other puts the feed off."""
        codes = _codes(message)
        if 8003 in codes and not self._walked and (self.feed.walk or self.feed.cursor) != START:
            self._walked = True
            await self._walk_to(tx, START)
            return
        said = ", ".join(str(code) for code in codes)
        await self._wait(tx, f"{message.sender} answered history.query by {message.type}{said and f' with {said}'}")

    async def _refuse(
        self, tx: db.Tx, message: VerifiedMessage, found: Sequence[Finding], *, changed: bool = False
    ) -> None:
        """Take nothing of a page: note why, and read the feed again from its beginning if its digest does not hold.

        That was done is not done again until a page holds: it would show the same.
        """
        if changed:
            await self._change(tx, message, found[0].detail, self.feed.cursor.number)
            return
        entry = await self._entry(tx, "history.refused", message, {"codes": sorted({f.code for f in found})})
        await self._tell(tx, [Found(one) for one in found], entry, self._means.node.clock())
        if (
            any(f.code == 8004 for f in found)
            and not self.feed.compared
            and self.feed.walk is None
            and self.feed.cursor != START
        ):
            await self._walk_to(tx, START)
        await self._wait(tx, f"a page is refused: {found[0].code} {found[0].detail}")

    async def _change(self, tx: db.Tx, message: VerifiedMessage, detail: str, number: int) -> None:
        """Stop a feed whose past has changed at a number; the page that shows it and the one before are evidence."""
        feed = self.feed
        before = (
            await page_store.page_with(tx, feed.id, min(number, feed.cursor.number)) if feed.cursor.number else None
        )
        more = {"number": number, "before": compact.digest(before.jws) if before else None, "detail": detail}
        entry = await self._entry(tx, "history.changed", message, more)
        why = f"the past of {feed.asked.of} for {feed.asked.viewer.registry} has changed: {detail}"[:MAX_WHY]
        # First, because it locks the link, as those do who open it again and then change its feeds.
        await self._means.distrust(tx, feed.asked.of, _about(feed), entry, why)
        await page_store.note(tx, feed, [Found(Finding(8004, detail=why))], self._means.node.clock(), entry)
        await store.stop(tx, feed, why)
        self.over, self.waiting = True, why

    async def _entry(self, tx: db.Tx, kind: str, message: VerifiedMessage, more: Mapping[str, object]) -> int:
        record = {**self.feed.asked.written, "message": message.id, "jws": message.jws_sha256, **more}
        [entry_id] = await log.append(tx, [log.draft(kind, self._means.node.clock(), record)])
        return entry_id

    async def _tell(self, tx: db.Tx, found: Sequence[Found], entry: int, now: datetime) -> None:
        """Note findings, and raise an alarm for each code."""
        feed = self.feed
        await page_store.note(tx, feed, found, now, entry)
        first = {one.finding.code: one.finding for one in reversed(found)}
        details = {code: f"history: {one.detail}"[:MAX_WHY] for code, one in first.items()}
        await alarms.sound(tx, [Alarm(feed.asked.of, _about(feed), c, d, entry) for c, d in details.items()], now)

    async def put_off(self, why: str, floor_seconds: float = 1.0) -> None:
        """End for now: the feed is tried again later, each time later than before."""
        await self._means.database.run(lambda tx: self._wait(tx, why, floor_seconds), "pull.wait")

    async def _wait(self, tx: db.Tx, why: str, floor_seconds: float = 1.0) -> None:
        self.over, self.waiting, now = True, why[:MAX_WHY], self._means.node.clock()
        floor = min(floor_seconds, LONGEST_WAIT_SECONDS)
        await store.wait(tx, self.feed, Wait(Lease(self._worker, now), now, floor, self.waiting))
        journal.info("pull-waits", of=self.feed.asked.of, registry=self.feed.asked.viewer.registry, why=self.waiting)


def _about(feed: Feed) -> str:
    """What an alarm of a feed is about, where others name a transfer."""
    return f"history of {feed.asked.viewer.registry}"


def _proven(proof: _Proof, page: Page) -> tuple[Finding, ...]:
    if proof.fault is not None:
        return (proof.fault,)
    if proof.shown is not None and proof.tree is not None:
        try:
            proof.shown.judge(proof.tree, page.records)
        except GatewayError as error:
            return (Finding(error.code or 8004, detail=error.detail),)
    return ()


def _codes(message: VerifiedMessage) -> list[int]:
    """The codes of a refusal, whatever else it says."""
    try:
        found = [wire.parse_finding(value) for value in wire.array(message.body.get("findings"), "findings")]
    except GatewayError:
        return []
    return sorted({one.code for one in found})
