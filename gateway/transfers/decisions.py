"""What a worker decides: which transfers are due for it, and what is stored with it; each decision one transaction.

Overdue transfers are ended, proposals checked and offered, acceptances committed: what is due is decided together, and
if that fails one by one, so that no row waits for a faulty one. What is to be recorded is signed at last, so that no
transfer waits for it. Nothing is sent here.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import structlog

from gateway import db
from gateway.audit import log as audit
from gateway.authorisations import store as authorisations
from gateway.domain import checks
from gateway.domain.check_codes import Finding
from gateway.domain.transfers import CANCELLABLE, Event, State, advance
from gateway.errors import GatewayError, Kind
from gateway.halts import store as halts
from gateway.links import store as links
from gateway.messages.outbox import LONGEST_WAIT_SECONDS, Node
from gateway.recordings import commands as recordings
from gateway.recordings import store as recorded
from gateway.signing.compact import encode
from gateway.transfers import judge, leases, steps, store, viewers
from gateway.transfers.statements import SAID
from gateway.transfers.steps import Taken
from gateway.transfers.store import Row

log = structlog.get_logger()

#: When what a reconciliation holds is looked at again, if nothing wakes it: a mark stands for about a second, and may
#: go between the judging of a proposal and the noting of its wait.
MARKED_SECONDS = 5

#: Locks what is due for a decision, at most so many rows; decides on them.
Due = Callable[[db.Tx, datetime, int], Awaitable[list[Row]]]
Decided = list[Taken]
Act = Callable[[db.Tx, Sequence[Row], datetime], Awaitable[Decided]]


async def end_overdue(_tx: db.Tx, rows: Sequence[Row], _now: datetime) -> Decided:
    """End what has not reached a commit in its time (3005)."""
    late = (Finding(3005, detail="the time for reaching a commit is over"),)
    return _taken((row, Event.TIME_OVER, late) for row in rows)


async def delay(tx: db.Tx, rows: Sequence[Row], now: datetime) -> Decided:
    """Let proposals wait for the transfer window of their source's link to open."""
    sources = {row.source: await links.find(tx, row.source) for row in rows}
    windows = {source: link.window for source, link in sources.items() if link and link.window}
    opening = {source: opens for source, window in windows.items() if (opens := window.opening(now.astimezone(UTC)))}
    held = [row for row in rows if row.source in opening]
    entry_id = await _noted(tx, held, "transfers.delayed", now)
    taken = _taken((row, Event.OUTSIDE_WINDOW, ()) for row in held)
    return [replace(t, entry_id=entry_id, next_at=opening[t.row.source]) for t in taken]


async def reopen(tx: db.Tx, rows: Sequence[Row], now: datetime) -> Decided:
    """Let proposals be checked that waited for a window."""
    entry_id = await _noted(tx, rows, "transfers.taken-up", now)
    return [replace(t, entry_id=entry_id) for t in _taken((row, Event.WINDOW_OPENED, ()) for row in rows)]


async def _noted(tx: db.Tx, rows: Sequence[Row], kind: str, now: datetime) -> int | None:
    """One entry for what is decided and said to nobody; it names the proposals by hash."""
    if not rows:
        return None
    kept = await store.steps(tx, [row.id for row in rows], ("propose",))
    [entry_id] = await audit.append(tx, [audit.draft(kind, now, {"items": [encode(s.sha256) for s in kept.values()]})])
    return entry_id


async def check(tx: db.Tx, rows: Sequence[Row], now: datetime) -> Decided:
    """Judge proposals; the offer, or the cancel, is stored with the verdict."""
    kept = await store.steps(tx, [row.id for row in rows], ("propose",))
    proposals = [(row.source, steps.read_proposal(kept[row.id, "propose"])) for row in rows]
    judged = list(zip(rows, await judge.judge(tx, proposals, now, draw=True), strict=True))
    held = [row for row, verdict in judged if checks.waits(verdict.findings)]
    entry_id = await _noted(tx, held, "transfers.delayed", now)
    going = [(row, verdict) for row, verdict in judged if not checks.waits(verdict.findings)]
    await authorisations.rely(tx, [reliance for _, verdict in going for reliance in verdict.reliances])
    await viewers.add(tx, [(row.id, party) for row, verdict in going for party in verdict.first_transferred_by])
    passed = {True: Event.CHECKS_PASSED, False: Event.CHECKS_FAILED}
    taken = _taken((row, passed[checks.passed(verdict.findings)], verdict.findings) for row, verdict in going)
    until = now + timedelta(seconds=MARKED_SECONDS)
    waiting = _taken((row, Event.HELD_BY_RECONCILIATION, ()) for row in held)
    return taken + [replace(t, entry_id=entry_id, next_at=until) for t in waiting]


async def commit(tx: db.Tx, rows: Sequence[Row], _now: datetime) -> Decided:
    """Store the commit of what the acquirer has accepted: from here on only the source's word counts.

    What has been revoked since it passed its checks, or is marked by now, is not committed any more.
    """
    stopped = await judge.stopped_since(tx, [row.id for row in rows])
    return _taken(
        (row, Event.CHECKS_FAILED, stopped[row.id]) if row.id in stopped else (row, Event.COMMIT_STORED, ())
        for row in rows
    )


def _taken(decided: Iterable[tuple[Row, Event, tuple[Finding, ...]]]) -> Decided:
    """The steps of what is decided, where it is one from where the row stands."""
    steps = ((row, event, advance(row.progress, event), findings) for row, event, findings in decided)
    return [Taken(row, event, after, findings) for row, event, after, findings in steps if after is not None]


async def _free(tx: db.Tx, state: State, now: datetime, limit: int) -> list[Row]:
    """Lock what is due in a state that a halt holds up; during one it waits, and says why, until that is lifted or its
    own time is over. Looked for before any row is locked: who lifts a halt waits for us, and then wants the rows.
    """
    reason = await halts.halted(tx)
    rows = await store.lock_due(tx, state, now, limit)
    if reason is None:
        return rows
    until = now + timedelta(seconds=LONGEST_WAIT_SECONDS)
    await leases.hold(tx, rows, until, f"{leases.HALTED}{reason}")
    return []


#: What is decided in each turn, in this order: which rows are due for it, and what it is.
DECISIONS: tuple[tuple[Due, Act], ...] = (
    (lambda tx, now, limit: store.lock_overdue(tx, CANCELLABLE, now, limit), end_overdue),
    (lambda tx, now, limit: store.lock_due(tx, State.DELAYED, now, limit), reopen),
    (store.lock_outside, delay),
    (lambda tx, now, limit: _free(tx, State.PROPOSED, now, limit), check),
    (lambda tx, now, limit: _free(tx, State.ACCEPTED, now, limit), commit),
)


class Decisions:
    """The decisions of one worker."""

    def __init__(self, database: db.Database, node: Node) -> None:
        self._db = database
        self._node = node
        #: Whether the last look found something to record, or something to send.
        self.to_record = False
        self.to_send = False

    async def take(self) -> bool:
        """Decide on the transfers that are due now; whether any was. One look says which decisions there are."""
        now = self._node.clock()
        async with self._db.reading() as tx:
            found = await leases.look(tx, CANCELLABLE, SAID, now)
            self.to_record = bool(await recorded.ready(tx, now))
        proposed = found.proposed or found.delayed
        there = (found.overdue, found.delayed, found.outside and proposed, proposed, found.accepted)
        wanted = [(due, act) for (due, act), is_there in zip(DECISIONS, there, strict=True) if is_there]
        decided = any([await self._decide(due, act) for due, act in wanted])
        self.to_send = decided or found.unsent
        return decided

    async def record(self) -> bool:
        """Sign what waits to be recorded; whether there was any. If that fails it waits, and no transfer with it."""
        try:
            return await self._db.run(lambda tx: recordings.record(tx, self._node), "decide.record") > 0
        except Exception as error:
            if isinstance(error, GatewayError) and error.kind is Kind.UNAVAILABLE:
                raise
            log.error("decision-failed", act="record", error=repr(error)[:500])
            return False

    async def _decide(self, due: Due, act: Act) -> bool:
        """Decide on what is due, together; if that fails, one by one, so that no row waits for a faulty one."""
        try:
            return bool(await self._db.run(lambda tx: self._act(tx, due, act, store.MAX_TRANSFERS), _named(act)))
        except Exception as error:  # a fault of the program, in one row's data or in its code
            if isinstance(error, GatewayError) and error.kind is Kind.UNAVAILABLE:
                raise
            log.error("decision-failed", act=act.__name__, error=repr(error)[:500])
        alone = 0
        while alone < store.MAX_TRANSFERS and await self._decide_one(due, act):
            alone += 1
        return alone > 0

    async def _decide_one(self, due: Due, act: Act) -> bool:
        """Decide on the one row that is due longest; if that fails, the row is put off and says why."""
        seen: list[Row] = []
        try:
            await self._db.run(lambda tx: self._act(tx, due, act, 1, seen), _named(act))
        except Exception as error:
            if (isinstance(error, GatewayError) and error.kind is Kind.UNAVAILABLE) or not seen:
                raise
            until = self._node.clock() + timedelta(seconds=LONGEST_WAIT_SECONDS)
            why = f"the gateway cannot {act.__name__.replace('_', ' ')} this one: {error!r}"[:500]
            await self._db.run(lambda tx: leases.put_off(tx, seen[0], until, why), "put-off")
            log.error("transfer-put-off", transfer=seen[0].id, act=act.__name__, error=repr(error)[:500])
        return bool(seen)

    async def _act(self, tx: db.Tx, due: Due, act: Act, limit: int, seen: list[Row] | None = None) -> list[Row]:
        now = self._node.clock()
        rows = await due(tx, now, limit)
        if seen is not None:
            seen[:] = rows
        taken = await act(tx, rows, now) if rows else []
        await steps.take(tx, self._node, taken, now, cause_entry=None)
        return rows


def _named(act: Act) -> str:
    return f"decide.{act.__name__}"
