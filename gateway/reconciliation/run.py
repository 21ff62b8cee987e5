"""One run: the steps by which the books of a link are compared with its registry's.

    planned     a cut is named and announced (``cut.query``)
    announced   at its moment the books are marked: proposals wait as ``delayed`` (4019)
    marked      once the mark is in the log's tree, that is our cut; the registry takes its own; the mark goes
    taken       what the registry had told by then has arrived; totals, roots and what differs are compared
    ended       findings, cases, log and the signed result are written in one transaction (``ending``)

Every step is written by who holds the run's lease, out of the state it was in: killed anywhere, whoever comes next goes
on, and there is one result. The mark stands no longer than ``CUT_SECONDS``, whatever happens. A registry that does not
answer is asked again, each time later; after ``TRIES`` tries in one state, or cuts named in vain, the run is denied
(7). One whose answers cannot be true is left to persons (99), with what it signed; so is a book of which what is kept
here contradicts itself (``holdings.fingerprints``), and a run that ``TRIES`` workers could not go on with, whatever
stopped them. A run that was asked for as ``whole`` makes what is kept anew before it compares.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import structlog

from gateway import db
from gateway.audit import log
from gateway.audit import store as tree
from gateway.domain import wire
from gateway.errors import GatewayError, Kind
from gateway.history.questions import Questions, Refused, Traffic
from gateway.holdings import fingerprints, flags
from gateway.links import store as links
from gateway.messages.outbox import Lease, Node, Wait
from gateway.reconciliation import ending, reading, store
from gateway.reconciliation.arrival import arrived
from gateway.reconciliation.comparing import Comparing
from gateway.reconciliation.judging import Compared, Outcome
from gateway.reconciliation.marking import unmark
from gateway.reconciliation.reading import Asked, Cut
from gateway.reconciliation.store import Run, State
from gateway.signing import compact
from gateway.signing.messages import new_message_id

#: Longer than any question and its answer take; renewed while a run is under way.
LEASE = timedelta(seconds=60)
#: How long books are marked at most: the tree takes a mark in within a second, and a registry takes its cut at once.
CUT_SECONDS = 60.0
#: How long it is tried to take the cuts: who does so takes the mark away in time, before the sweep has to.
TAKE_SECONDS = CUT_SECONDS - 5.0
#: How often it is looked whether the mark is in the tree, and how long a registry may think that it is too early.
LOOK_SECONDS, EARLY_SECONDS = 0.05, 0.5
#: Tries in one state, and cuts that are named, before a run is given up: with the waits in between, several minutes.
#: What a registry had told and has not arrived after so many waits is a remark (3007).
TRIES = 8
#: Codes of a registry that does not take a cut any more at its moment, or does not keep it.
GONE = frozenset({6101, 6103})
#: Statuses of the Kyoto log on the way: totals of a Party differ, only those by account type do, blocks are compared.
TOTALS, BY_TYPE, BLOCKS = 3, 98, 4
#: How much of a reason is kept.
MAX_WHY = 300

journal = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Means:
    """What it takes to reconcile; ``every`` and ``announce`` are how often, and how long ahead, when nobody asks."""

    database: db.Database
    node: Node
    questions: Questions
    every: timedelta
    announce: timedelta


class Lost(Exception):
    """Another worker does this run by now."""


class Running:
    """A run that ``worker`` has leased."""

    def __init__(self, means: Means, run: Run, worker: str) -> None:
        self._means, self._worker = means, worker
        self.run = run
        #: Whether it is over for now: ended, put off, or another's.
        self.over = False
        self._traffic = Traffic()

    async def go_on(self) -> None:
        """Take the next step; raises only what is a fault of the database or of the program."""
        with self._mine():
            if self.run.attempts > TRIES and self.run.cut is not None:
                await self._give_up(99, f"{TRIES} workers have begun this and did not come to its end")
                return
            steps = {
                State.PLANNED: self._announce,
                State.ANNOUNCED: self._announced,
                State.MARKED: self._take,
                State.TAKEN: self._compare,
            }
            try:
                await steps[self.run.state]()
            except GatewayError as error:
                if error.kind is Kind.INVARIANT:
                    raise
                await self._failed(error)

    @contextmanager
    def _mine(self) -> Iterator[None]:
        """What is done while the run is this worker's; it is over here as soon as another has it."""
        try:
            yield
        except Lost:
            self.over = True

    async def put_off(self, why: str, floor_seconds: float = 1.0) -> None:
        """End for now: the run is gone on with later, each time later than before."""
        self.over, now = True, self._now
        wait = Wait(Lease(self._worker, now), now, floor_seconds, _kept(why))
        await self._means.database.run(lambda tx: store.wait(tx, self.run, wait), "reconcile.wait")
        journal.info("reconciliation-waits", link=self.run.link, why=wait.why)

    async def broken(self, why: str) -> None:
        """Put off what a fault stopped; what was tried often enough is left to persons: a ``whole`` run may heal it."""
        with self._mine():
            if self.run.attempts >= TRIES and self.run.cut is not None:
                await self._give_up(99, why)
            else:
                if self.run.state is State.MARKED:
                    await self._unmark()
                await self.put_off(why)

    async def keep(self) -> None:
        """Renew the lease; whether it is still held is seen as the next step is written."""
        until = self._now + LEASE
        await self._means.database.run(lambda tx: store.keep_on(tx, self.run, self._worker, until), "reconcile.lease")

    @property
    def _now(self) -> datetime:
        return self._means.node.clock()

    async def _failed(self, error: GatewayError) -> None:
        """Put off what may succeed later; end what cannot be true, or was tried often enough."""
        why = f"{error.detail}" + (f" ({error.code})" if error.code else "")
        vain = _cannot_be(error) and self.run.cuts >= TRIES
        if error.code == 6901:
            await self._give_up(99, why)
        elif (self.run.attempts >= TRIES or vain) and self.run.cut is not None:
            await self._give_up(7, why)
        else:
            if self.run.state is State.MARKED:
                await self._unmark()
            if _cannot_be(error):
                await self._name()
            await self.put_off(why, float(error.context.get("retry_after_seconds", 1.0)))

    async def _give_up(self, status: int, why: str) -> None:
        """End the run without a comparison, and without a mark."""
        if self.run.state is State.MARKED:
            await self._unmark()
        await self._end(Outcome(status, remarks=(why,)))

    async def _announce(self) -> None:
        """Name a cut, and tell the registry when it will be."""
        await self._name()
        if self._asked.at > self._now:
            await self._tell()

    async def _name(self) -> None:
        """Name a cut: the run's first, or another in the place of one whose moment is over, or that was forgotten."""
        now, cut = self._now, new_message_id()
        at = now + timedelta(seconds=self.run.announce_seconds)
        at -= timedelta(microseconds=at.microsecond % 1000)  # as it is written

        async def noted(tx: db.Tx) -> int:
            fence = (await tree.head(tx)).size
            _held(await store.announce(tx, self.run, self._worker, cut, at, fence, now))
            record = {"reconciliation": self.run.id, "link": self.run.link, "cut": cut, "at": wire.time_to_wire(at)}
            await log.append(tx, [log.draft("reconciliation.named", now, record)])
            return fence

        fence = await self._run(noted, "reconcile.begin")
        cuts = self.run.cuts + 1
        self.run = replace(self.run, state=State.ANNOUNCED, cut=cut, cut_at=at, fence=fence, cuts=cuts)

    async def _announced(self) -> None:
        if self._asked.at > self._now:
            await self._tell()  # who announced it died of it, or was not heard
        else:
            await self._mark()

    async def _tell(self) -> None:
        """Announce the cut, and leave the run alone until its moment."""
        await self._ask_for_cut()
        await self._run(lambda tx: store.rest(tx, self.run, self._worker, self._asked.at), "reconcile.wait")
        self.over = True

    async def _mark(self) -> None:
        """Let nothing new begin with the books; the entry that says so is the last one of our cut."""
        now, run = self._now, self.run
        until = now + timedelta(seconds=CUT_SECONDS)

        async def marked(tx: db.Tx) -> int:
            record = {"reconciliation": run.id, "cut": run.cut, "link": run.link}
            [entry_id] = await log.append(tx, [log.draft("reconciliation.cut", now, record)])
            _held(await store.mark(tx, run, self._worker, entry_id, until))
            await flags.mark_reconciling(tx, await self._registries(tx), entry_id)
            return entry_id

        entry_id = await self._run(marked, "reconcile.mark")
        self.run = replace(run, state=State.MARKED, mark_id=entry_id)

    async def _take(self) -> None:
        """Take our cut and have the registry take its own; then take the mark away."""
        run = self.run
        try:
            async with asyncio.timeout(TAKE_SECONDS):
                size = await self._sequenced()
                answer = await self._ask_for_cut()
                while answer is None:
                    await asyncio.sleep(EARLY_SECONDS)
                    answer = await self._ask_for_cut()
        except TimeoutError:
            raise GatewayError(Kind.UNAVAILABLE, f"no cut was taken in {TAKE_SECONDS} s", code=9001) from None
        cut, jws = answer

        async def taken(tx: db.Tx) -> None:
            _held(await store.take(tx, run, self._worker, size, jws, cut.taken_at, cut.told, self._now))
            await unmark(tx, self._means.node, run.id, await self._registries(tx), compact.digest(jws))

        await self._run(taken, "reconcile.cut")
        await self._means.database.ring()
        taken_at, told = cut.taken_at, cut.told
        attempts = 1 if run.taken_at is None else run.attempts  # tries to compare go on from one cut to the next
        self.run = replace(
            run, state=State.TAKEN, size=size, answer=jws, taken_at=taken_at, told=told, attempts=attempts
        )

    async def _sequenced(self) -> int:
        assert self.run.mark_id is not None  # the books are marked by it
        while True:
            async with self._means.database.reading() as tx:
                size = await store.sequenced(tx, self.run.mark_id)
            if size is not None:
                return size
            await asyncio.sleep(LOOK_SECONDS)

    async def _unmark(self) -> None:
        async def unmarked(tx: db.Tx) -> None:
            _held(await store.unmark(tx, self.run, self._worker))
            await unmark(tx, self._means.node, self.run.id, await self._registries(tx), None)

        await self._run(unmarked, "reconcile.cut")
        self.run = replace(self.run, state=State.ANNOUNCED)

    async def _compare(self) -> None:
        """Compare every book of the cut, and end the run with what was found."""
        cut, remarks = self._cut(), []
        means = self._means
        if not await arrived(means.database, means.node, means.questions, self.run.link, cut.told):
            if self.run.attempts < TRIES:
                await self.put_off(f"what {self.run.link} had told by its cut has not all arrived (3007)")
                return
            remarks.append(f"not all that {self.run.link} had told by then has arrived (3007)")
        comparing = Comparing(
            self._means.database, self._means.questions, self.run.link, str(self.run.cut), self._traffic
        )
        books = []
        for registry, theirs in cut.books.items():
            own, mended = await self._own(registry)
            totals = {(t.party, t.account_type, t.vintage): t.quantity for t in own.totals}
            books.append(Compared(registry, own.root, theirs, totals, mended=mended))
            if mended:
                remarks.append(f"{registry}: what was kept of its book here was wrong, and was made anew")
        await self._show(books)
        compared = [await self._differences(comparing, book, remarks) for book in books]
        await self._end(Outcome(None, compared, cut, tuple(remarks)))

    async def _show(self, books: Sequence[Compared]) -> None:
        """Show what the totals came to, and then that blocks are compared."""
        codes = {code for book in books for code in book.codes}
        if codes:
            await self._progress(TOTALS if 6201 in codes else BY_TYPE)
        if any(book.root != book.theirs.root for book in books):
            await self._progress(BLOCKS)

    async def _progress(self, status: int) -> None:
        await self._run(lambda tx: store.progress(tx, self.run, self._worker, status), "reconcile.take")

    async def _own(self, registry: str) -> tuple[fingerprints.Book, bool]:
        """Our book at its cut, and whether what was kept of it was wrong, which is seen only where it is made anew."""
        size = self._size
        taken: fingerprints.Book | None = None
        try:
            taken = await self._run(lambda tx: fingerprints.take(tx, registry, size), "reconcile.take")
        except Exception as error:  # whatever is made of rows that are wrong
            if not self.run.whole or (isinstance(error, GatewayError) and error.kind is Kind.UNAVAILABLE):
                raise
        if not self.run.whole:
            assert taken is not None  # or it would have been raised
            return taken, False
        rebuilt, same = await self._run(lambda tx: fingerprints.rebuild(tx, registry, size), "reconcile.take")
        return rebuilt, taken is None or not same

    async def _differences(self, comparing: Comparing, book: Compared, remarks: list[str]) -> Compared:
        """A book with what differs in it; what its registry cannot mean is a remark, and leaves the book to persons."""
        theirs = book.theirs.root
        try:
            found, more = await (
                comparing.listed(book.registry)
                if theirs is None
                else comparing.differences(book.registry, book.root, theirs)
            )
        except GatewayError as error:
            if error.code != 6901 and error.kind is not Kind.INVARIANT:
                raise
            ours = "" if error.code == 6901 else ": what is kept here is wrong, a full run makes it anew"
            remarks.append(f"{book.registry}: {error.detail}"[: MAX_WHY - 65] + f"{ours} (6901)")
            return replace(book, untrue=True)
        if more:
            remarks.append(f"{book.registry}: more differs, or is told, than can be compared")
        elif not reading.follows(book.totals, book.theirs.totals, found):
            remarks.append(f"{book.registry}: its totals are not those of its positions (6901)")
            return replace(book, differences=tuple(found), untrue=True)
        return replace(book, differences=tuple(found), untrue=more)

    async def _end(self, outcome: Outcome) -> None:
        traffic, run = self._traffic, self.run
        outcome = replace(outcome, remarks=tuple(map(_kept, outcome.remarks)))

        async def ended(tx: db.Tx) -> None:
            _held(await ending.end(tx, self._means.node, run, self._worker, outcome, traffic))

        await self._run(ended, "reconcile.end")
        self.over = True
        await self._means.database.ring()

    @property
    def _asked(self) -> Asked:
        run = self.run
        assert run.cut is not None and run.cut_at is not None  # it was named before anything else
        return Asked(run.link, run.cut, run.cut_at)

    @property
    def _size(self) -> int:
        assert self.run.size is not None  # the cut is taken
        return self.run.size

    def _cut(self) -> Cut:
        """The registry's cut, out of what it signed: as it came it told all the books that the link then had."""
        assert self.run.answer is not None  # the cut is taken
        body = compact.read(self.run.answer).payload["body"]
        books = [wire.text(book["registry"], "registry") for book in body["books"]]
        cut = reading.read_body(body, self._asked, books)
        assert cut is not None  # as above
        return cut

    async def _ask_for_cut(self) -> tuple[Cut, str] | None:
        """The registry's cut and its signed text; nothing while it is only announced."""
        answer = await self._means.questions.ask(self.run.link, "cut.query", self._asked.body, self._traffic)
        async with self._means.database.reading() as tx:
            registries = await self._registries(tx)
        cut = reading.read(answer, self._asked, registries, self._now)
        return (cut, answer.jws) if cut is not None else None

    async def _registries(self, tx: db.Tx | db.ReadTx) -> tuple[str, ...]:
        link = await links.find(tx, self.run.link)
        assert link is not None  # its run refers to it
        return link.registries

    async def _run(self, work: Callable[[db.Tx], Awaitable[Any]], name: str) -> Any:
        return await self._means.database.run(work, name)


def _cannot_be(error: GatewayError) -> bool:
    """Whether another cut is needed: the registry keeps this one no more, or ours lies between moves of some units."""
    return (isinstance(error, Refused) and bool(error.codes & GONE)) or error.kind is Kind.CONFLICT


def _kept(why: str) -> str:
    """A reason as it is kept: what a peer has said in it may be what no database takes."""
    return "".join(one if one.isprintable() else "?" for one in why[:MAX_WHY])


def _held(done: bool) -> None:
    if not done:
        raise Lost
