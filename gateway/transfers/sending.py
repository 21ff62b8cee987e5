"""Sends what is stored and due, outside any transaction, to each peer at its own pace, and applies the answers.

Every statement that still waits for its answer is sent; so is every message that is due as a whole (``owed``). The
answer goes through the inbox like any other message. A send that brings nothing puts off what it was about, longer
each time; nothing is ever concluded from silence (R6). The only place that sends.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import structlog

from gateway import crash, db
from gateway.domain.registry import Accepted, Outcome, OutgoingMessage, Registry, Rejected, Unknown
from gateway.domain.transfers import FINAL
from gateway.errors import GatewayError
from gateway.messages import outbox, owed
from gateway.messages import store as messages
from gateway.messages.inbox import Inbox
from gateway.messages.outbox import LONGEST_WAIT_SECONDS, Draft, Lease, Node, Wait
from gateway.signing.envelope import VerifiedMessage
from gateway.transfers import leases
from gateway.transfers.queries import ANSWER_LIFE as QUERY_LIFE
from gateway.transfers.statements import SAID
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
#: Types of messages that are owed as a whole.
WHOLE = frozenset({"transfer.request", "action.record", "action.notice", "link.keys", "history.deliver"})
#: The states in which something said waits for its answer.
SPEAKING = tuple(SAID)

#: The connector to a link, or nothing when no connector is of its kind.
RegistryOf = Callable[[db.ReadTx, str], Awaitable[Registry | None]]

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Sending:
    """A stored message that is due to a peer, and the transfers leased for it (none where it is owed as a whole)."""

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


class Sender:
    """The sends of one worker."""

    def __init__(
        self,
        worker_id: str,
        database: db.Database,
        node: Node,
        inbox: Inbox,
        registry_of: RegistryOf,
    ) -> None:
        self._worker_id = worker_id
        self._db = database
        self._node = node
        self._inbox = inbox
        self._registry_of = registry_of
        self._running: dict[asyncio.Task[None], str] = {}
        self._failed: list[tuple[Sending, Wait]] = []
        self._gates: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(SENDS_AT_ONCE))
        #: Set whenever a send has ended.
        self.moved = asyncio.Event()

    async def take_over(self) -> None:
        """Free what workers that are gone had leased, so that nothing waits for the end of a lease."""
        now = self._node.clock()

        async def freed(tx: db.Tx) -> None:
            await leases.take_over(tx, SPEAKING, now)
            await owed.take_over(tx, now)

        await self._db.run(freed, "take-over")

    async def finish(self) -> None:
        """Wait for the sends under way."""
        while self._running:
            await asyncio.wait(self._running)

    async def start(self) -> bool:
        """Lease what is due to peers that are not busy, and start sending it; whether there was any."""
        now = self._node.clock()
        lease = Lease(self._worker_id, now + LEASE)
        busy = [peer for peer, number in Counter(self._running.values()).items() if number >= SENDS_AT_ONCE]

        async def leased(tx: db.Tx) -> list[Sending]:
            whole = await owed.lease_due(tx, now, lease, busy)
            rows = await leases.lease_due(tx, SPEAKING, now, lease, busy)
            return [*_due(rows), *(Sending(o.peer, o.message_id, (), o.attempts) for o in whole)]

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

    async def give_back(self) -> None:
        """Put off what could not be sent for a reason of our own (no database, no file handle): its lease ends now."""
        while self._failed:
            await self._db.run(lambda tx: _wait(tx, *self._failed[0]), "wait")
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
            if now > lease.until - LEASE / 2:  # waited long for its turn
                if not await self._renew(sending, lease, now + LEASE):
                    return
                lease = replace(lease, until=now + LEASE)
            came = await self._deliver(sending, lease)
            if came is None:
                return
            if came.receipted:
                await self._ask(sending, lease)
        await self._db.run(lambda tx: self._put_off(tx, sending, lease, came), "wait")

    async def _renew(self, sending: Sending, lease: Lease, until: datetime) -> bool:
        async def renewed(tx: db.Tx) -> bool:
            if sending.transfers:
                return await leases.renew(tx, sending.transfers, lease, until)
            return await owed.renew(tx, sending.message_id, lease, until)

        return await self._db.run(renewed, "renew")

    async def _put_off(self, tx: db.Tx, sending: Sending, lease: Lease, came: _Came) -> None:
        """Put off what is still due of a sending; what the answer has moved on is not."""
        wait = Wait(lease, self._node.clock(), min(came.floor_seconds, LONGEST_WAIT_SECONDS), came.why)
        await _wait(tx, sending, wait)

    async def _deliver(self, sending: Sending, lease: Lease) -> _Came | None:
        """Send the stored bytes once and apply the answer; nothing when what that left due was put off with it."""
        async with self._db.reading() as tx:
            [stored] = await messages.outgoing(tx, [sending.message_id])
            registry = await self._registry_of(tx, sending.peer)
        if registry is None:
            return _Came(f"no connector reaches {sending.peer}")
        match await _post(registry, stored):
            case Accepted(body):
                return await self._apply(body, stored, sending, lease)
            case Rejected(detail, retry_after):
                return _Came(f"{sending.peer} did not take {stored.type}: {detail}", retry_after or 1.0)
            case Unknown(reason):
                return _Came(f"no answer from {sending.peer} to {stored.type}: {reason}")

    async def _apply(self, body: bytes, stored: messages.Message, sending: Sending, lease: Lease) -> _Came | None:
        """Apply an answer and put off what it leaves due; where the peer is to be asked first, that waits."""
        asks: list[_Came] = []

        async def put_off(tx: db.Tx, reply: VerifiedMessage) -> None:
            came = _waiting(stored, reply)
            asks[:] = [came] if came.receipted and sending.transfers and sending.attempts >= ASK_FROM else []
            if not asks:
                await self._put_off(tx, sending, lease, came)

        try:
            await self._inbox.absorb(body, stored, put_off)
        except GatewayError as error:
            log.warning("answer-refused", peer=stored.peer, message=stored.message_id, why=error.detail)
            return _Came(f"the answer of {stored.peer} to {stored.type} was refused: {error.detail}")
        return asks[0] if asks else None

    async def _ask(self, sending: Sending, lease: Lease) -> None:
        """Ask where some of what was receipted and not answered stands; a statement that is shown is heard at once."""
        async with self._db.reading() as tx:
            registry = await self._registry_of(tx, sending.peer)
        assert registry is not None  # it has just receipted something

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
            if isinstance(outcome := await _post(registry, query), Accepted):
                with suppress(GatewayError):  # logged; it is asked again
                    await self._inbox.absorb(outcome.body, query)


async def _post(registry: Registry, stored: messages.Message) -> Outcome:
    crash.passing(f"send.{stored.type}.before-send")
    outcome = await registry.send(OutgoingMessage(stored.message_id, stored.type, stored.body, stored.content_type))
    crash.passing(f"send.{stored.type}.after-send")
    return outcome


async def _wait(tx: db.Tx, sending: Sending, wait: Wait) -> None:
    if sending.transfers:
        await leases.wait(tx, sending.transfers, wait)
    else:
        await owed.wait(tx, sending.message_id, wait)


def _waiting(stored: messages.Message, reply: VerifiedMessage) -> _Came:
    if reply.type == "refusal":
        return _Came(f"{stored.peer} refused {stored.type}: {_codes([reply.body])}", RECEIPT_WAIT_SECONDS)
    codes = _codes([item.value for item in reply.items])
    rest = "what it put off is sent again" if stored.type in WHOLE else "its own message is awaited"
    why = f"{stored.peer} has receipted {stored.type}{codes and f', with {codes}'}; {rest}"
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
