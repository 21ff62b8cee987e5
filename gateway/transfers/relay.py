"""The worker's side of transfers: decides what is due, then sends what is stored.

What is due now is taken in lists: overdue transfers are ended, proposals checked and offered, acceptances
committed; each decision is one transaction that signs and stores what it says. Then every statement that still
waits for its answer is sent, outside any transaction, to each peer at its own pace, and the answer goes through
the inbox like any other message. A send that brings nothing puts the row off, longer each time; nothing is ever
concluded from silence (R6). Losing the process at any point loses nothing: the rows say what is due.
"""

import asyncio
import secrets
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import structlog

from gateway import crash, db
from gateway.domain import checks
from gateway.domain.check_codes import Finding
from gateway.domain.registry import Accepted, Outcome, OutgoingMessage, Registry, Rejected, Unknown
from gateway.domain.transfers import CANCELLABLE, FINAL, Event, State, advance
from gateway.errors import GatewayError, Kind
from gateway.messages import outbox
from gateway.messages import store as messages
from gateway.messages.inbox import Inbox
from gateway.messages.outbox import LONGEST_WAIT_SECONDS, Draft, Lease, Node, Wait
from gateway.requests import store as requests
from gateway.signing.envelope import VerifiedMessage
from gateway.transfers import leases, steps, store
from gateway.transfers.judge import judge
from gateway.transfers.queries import ANSWER_LIFE as QUERY_LIFE
from gateway.transfers.statements import SAID
from gateway.transfers.steps import Taken
from gateway.transfers.store import Row

#: Longer than any send may take, so that two workers do not send the same statement at once.
LEASE = timedelta(seconds=60)
#: After a bare receipt the peer has the matter in hand and sends its own message; ask again only after this long.
RECEIPT_WAIT_SECONDS = 15.0
#: From which attempt on a peer that receipts but does not answer is asked where a transfer stands, and about how many
#: transfers at once. A silent peer is not asked: sending it the same bytes says more.
ASK_FROM, ASKED_AT_ONCE = 3, 10
#: How many codes of a peer's are shown as the reason why a transfer waits.
MAX_CODES = 10
#: Messages under way at once from one worker to one peer: a peer that hangs delays nobody else's transfers.
SENDS_AT_ONCE = 8
#: The states in which something said waits for its answer.
SPEAKING = tuple(SAID)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Sending:
    """A stored message that is due to a peer, and the transfers leased for it (none for a request)."""

    peer: str
    message_id: str
    transfers: tuple[str, ...]
    #: How often it has been sent since the last of these transfers moved, this time included.
    attempts: int = 1


@dataclass(frozen=True, slots=True)
class _Came:
    """What came of a send that left its statement due: why that waits, how long at least, and whether it was taken."""

    why: str
    floor_seconds: float = 1.0
    receipted: bool = False


#: Locks what is due for a decision, at most so many rows; decides on them.
Due = Callable[[db.Tx, datetime, int], Awaitable[list[Row]]]
Decided = list[tuple[Row, Event, tuple[Finding, ...]]]
Act = Callable[[db.Tx, Sequence[Row], datetime], Awaitable[Decided]]


async def end_overdue(_tx: db.Tx, rows: Sequence[Row], _now: datetime) -> Decided:
    """End what has not reached a commit in its time (3005)."""
    late = (Finding(3005, detail="the time for reaching a commit is over"),)
    return [(row, Event.TIME_OVER, late) for row in rows]


async def check(tx: db.Tx, rows: Sequence[Row], now: datetime) -> Decided:
    """Judge proposals; the offer, or the cancel, is stored with the verdict."""
    kept = await store.steps(tx, [row.id for row in rows], ("propose",))
    proposals = [(row.source, steps.read_proposal(kept[row.id, "propose"])) for row in rows]
    judged = zip(rows, await judge(tx, proposals, now), strict=True)
    passed = {True: Event.CHECKS_PASSED, False: Event.CHECKS_FAILED}
    return [(row, passed[checks.passed(found)], found) for row, found in judged]


async def commit(_tx: db.Tx, rows: Sequence[Row], _now: datetime) -> Decided:
    """Store the commit of what the acquirer has accepted: from here on only the source's word counts."""
    return [(row, Event.COMMIT_STORED, ()) for row in rows]


#: What is decided in each turn, in this order: which rows are due for it, and what it is.
DECISIONS: tuple[tuple[Due, Act], ...] = (
    (lambda tx, now, limit: store.lock_overdue(tx, CANCELLABLE, now, limit), end_overdue),
    (lambda tx, now, limit: store.lock_due(tx, State.PROPOSED, now, limit), check),
    (lambda tx, now, limit: store.lock_due(tx, State.ACCEPTED, now, limit), commit),
)


class Relay:
    """What one worker does; any number of workers may run."""

    def __init__(
        self,
        database: db.Database,
        node: Node,
        inbox: Inbox,
        registry_of: Callable[[str], Awaitable[Registry | None]],
    ) -> None:
        #: Unlike any other worker's, this one's next life included; no longer than PostgreSQL takes it (63 bytes).
        self.worker_id = f"gateway-worker-{secrets.token_hex(8)}"
        self._db = database
        self._node = node
        self._inbox = inbox
        self._registry_of = registry_of
        self._running: dict[asyncio.Task[None], str] = {}
        self._failed: list[tuple[Sending, Wait]] = []
        self._gates: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(SENDS_AT_ONCE))
        self.moved = asyncio.Event()

    async def begin(self) -> bool:
        """Decide what is due now and start sending what is; whether anything was. ``moved`` is set as sends end."""
        self.moved.clear()
        await self._give_back()
        decided = [await self._decide(due, act) for due, act in DECISIONS]
        return await self._start_sends() or any(decided)

    async def take_over(self) -> None:
        """Free what workers that are gone had leased, so that nothing waits for the end of a lease."""
        now = self._node.clock()

        async def freed(tx: db.Tx) -> None:
            await leases.take_over(tx, SPEAKING, now)
            await requests.take_over(tx, now)

        await self._db.run(freed, "take-over")

    async def finish(self) -> None:
        """Wait for the sends under way."""
        while self._running:
            await asyncio.wait(self._running)

    async def turn(self) -> bool:
        """Do what is due now, to its end; whether anything was."""
        began = await self.begin()
        await self.finish()
        return began

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
            await self._db.run(lambda tx: store.put_off(tx, seen[0], until, why), "put-off")
            log.error("transfer-put-off", transfer=seen[0].id, act=act.__name__, error=repr(error)[:500])
        return bool(seen)

    async def _act(self, tx: db.Tx, due: Due, act: Act, limit: int, seen: list[Row] | None = None) -> list[Row]:
        now = self._node.clock()
        rows = await due(tx, now, limit)
        if seen is not None:
            seen[:] = rows
        taken = []
        for row, event, findings in await act(tx, rows, now) if rows else []:
            after = advance(row.progress, event)
            if after is not None:
                taken.append(Taken(row, event, after, findings))
        await steps.take(tx, self._node, taken, now, cause_entry=None)
        return rows

    async def _start_sends(self) -> bool:
        """Lease what is due to peers that are not busy, and start sending it; whether there was any."""
        now = self._node.clock()
        lease = Lease(self.worker_id, now + LEASE)
        busy = [peer for peer, number in Counter(self._running.values()).items() if number >= SENDS_AT_ONCE]

        async def leased(tx: db.Tx) -> list[Sending]:
            asked = await requests.lease_due(tx, now, lease, busy)
            rows = await leases.lease_due(tx, SPEAKING, now, lease, busy)
            return [*_due(rows), *(Sending(peer, message, ()) for peer, message in asked)]

        sendings = await self._db.run(leased, "lease")
        for sending in sendings:
            task = asyncio.create_task(self._try_send(sending, lease))
            self._running[task] = sending.peer
            task.add_done_callback(self._sent)
        return bool(sendings)

    def _sent(self, task: "asyncio.Task[None]") -> None:
        del self._running[task]
        self.moved.set()
        if not task.cancelled() and task.exception() is not None:
            log.error("send-failed", error=repr(task.exception())[:500])

    async def _give_back(self) -> None:
        """Put off what could not be sent for a reason of our own (no database, no file handle): its lease ends now."""
        while self._failed:
            await self._wait(*self._failed[0])
            del self._failed[0]

    async def _try_send(self, sending: Sending, lease: Lease) -> None:
        try:
            await self._send(sending, lease)
        except Exception as error:
            why = f"the gateway could not go on with it: {error!r}"[:500]
            self._failed.append((sending, Wait(lease, self._node.clock(), 1.0, why)))
            raise

    async def _send(self, sending: Sending, lease: Lease) -> None:
        async with self._gates[sending.peer]:
            now = self._node.clock()
            if now > lease.until - LEASE / 2 and sending.transfers:  # waited long for its turn
                renewed = now + LEASE
                mine = await self._db.run(lambda tx: leases.renew(tx, sending.transfers, lease, renewed), "renew")
                if not mine:
                    return
                lease = replace(lease, until=renewed)
            came = await self._deliver(sending)
            if came.receipted and sending.attempts >= ASK_FROM:
                await self._ask(sending, lease)
        wait = Wait(lease, self._node.clock(), min(came.floor_seconds, LONGEST_WAIT_SECONDS), came.why)
        await self._wait(sending, wait)

    async def _wait(self, sending: Sending, wait: Wait) -> None:
        if sending.transfers:
            await self._db.run(lambda tx: leases.wait(tx, sending.transfers, wait), "wait")
        else:
            await self._db.run(lambda tx: requests.wait(tx, sending.message_id, wait), "wait")

    async def _deliver(self, sending: Sending) -> _Came:
        """Send the stored bytes once and apply the answer."""
        async with self._db.reading() as tx:
            [stored] = await messages.outgoing(tx, [sending.message_id])
        match await self._post(stored):
            case None:
                return _Came(f"no connector reaches {sending.peer}")
            case Accepted(body):
                return await self._apply(body, stored)
            case Rejected(detail, retry_after):
                return _Came(f"{sending.peer} did not take {stored.type}: {detail}", retry_after or 1.0)
            case Unknown(reason):
                return _Came(f"no answer from {sending.peer} to {stored.type}: {reason}")

    async def _post(self, stored: messages.Message) -> Outcome | None:
        registry = await self._registry_of(stored.peer)
        if registry is None:
            return None
        crash.passing(f"send.{stored.type}.before-send")
        outcome = await registry.send(OutgoingMessage(stored.message_id, stored.type, stored.body, stored.content_type))
        crash.passing(f"send.{stored.type}.after-send")
        return outcome

    async def _apply(self, body: bytes, stored: messages.Message) -> _Came:
        try:
            reply = await self._inbox.absorb(body, stored)
        except GatewayError as error:
            log.warning("answer-refused", peer=stored.peer, message=stored.message_id, why=error.detail)
            return _Came(f"the answer of {stored.peer} to {stored.type} was refused: {error.detail}")
        return _waiting(stored, reply)

    async def _ask(self, sending: Sending, lease: Lease) -> None:
        """Ask where some of what was receipted and not answered stands; a statement that is shown is heard at once."""

        async def queries(tx: db.Tx) -> list[messages.Message]:
            waiting = await leases.held(tx, sending.transfers, lease, ASKED_AT_ONCE)
            expires = self._node.clock() + QUERY_LIFE
            bodies = [{"transfer": transfer, "my_state": state} for transfer, state in waiting]
            drafts = [
                Draft(sending.peer, "status.query", body=body, expires_at=expires, numbered=False) for body in bodies
            ]
            stored = await outbox.store(tx, self._node, drafts)
            return await messages.outgoing(tx, [s.message.id for s in stored])

        for query in await self._db.run(queries, "ask"):
            if isinstance(outcome := await self._post(query), Accepted):
                await self._apply(outcome.body, query)


def _named(act: Act) -> str:
    return f"decide.{act.__name__}"


def _waiting(stored: messages.Message, reply: VerifiedMessage) -> _Came:
    if reply.type == "refusal":
        return _Came(f"{stored.peer} refused {stored.type}: {_codes([reply.body])}", RECEIPT_WAIT_SECONDS)
    codes = _codes([item.value for item in reply.items])
    why = f"{stored.peer} has receipted {stored.type}{codes and f', with {codes}'}; its own message is awaited"
    return _Came(why, RECEIPT_WAIT_SECONDS, receipted=True)


def _codes(values: Sequence[dict[str, Any]]) -> str:
    """The codes of a peer's findings, few and readable whatever it wrote there."""
    lists = [value["findings"] for value in values if isinstance(value.get("findings"), list)]
    found = {f["code"] for findings in lists for f in findings if isinstance(f, dict) and type(f.get("code")) is int}
    return ", ".join(str(code) for code in sorted(found)[:MAX_CODES])


def _due(rows: Sequence[Row]) -> list[Sending]:
    """Which stored messages the rows' statements are in: what is due to one peer travels together."""
    due: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        for said in SAID[row.state]:
            message_id = getattr(row, said.column)
            told = row.told_source_at if said.to_source else row.told_acquirer_at
            peer = said.peer(row)
            if message_id is not None and peer is not None and (row.state not in FINAL or told is None):
                due.setdefault((peer, message_id), []).append(row.id)
    tried = {row.id: row.attempts for row in rows}
    return [
        Sending(peer, message_id, tuple(ids), max(tried[i] for i in ids)) for (peer, message_id), ids in due.items()
    ]
