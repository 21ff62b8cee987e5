"""Receives a message: verifies it, applies it once, and answers with a signed receipt, in one transaction.

    1  read its structure, look up the claimed sender's keys, verify (``signing.envelope``)
    2  take the replay key: a message seen before gets its stored answer
    3  append its log entry and keep its exact bytes
    4  hand it to the handler of its type, which changes state and says what became of each item
    5  sign and store the answer, which promises the entry's leaf; keep it under the replay key

An answer that came in an HTTP response passes through the same steps and the same handlers (``absorb``), but
is not answered again. What cannot be attributed to a registered key changes nothing, never reaches the log,
and is remembered in a bounded ring only (``strangers``): that error is raised to the edge as it is.

A handler that raises a ``GatewayError`` with a code refuses the whole message: whatever it wrote is taken back
(it runs behind a savepoint), and the refusal is the message's verdict, unless it is forbidden at this time only
(``Kind.FORBIDDEN``: the state of the link). Any other error, and one that will pass (``Kind.UNAVAILABLE``), takes
everything back.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from gateway import crash, db
from gateway.audit import log
from gateway.domain.authority import certificate_1004
from gateway.domain.check_codes import Finding
from gateway.errors import GatewayError, Kind
from gateway.messages import logged, outbox, receipts, store
from gateway.messages.aside import aside
from gateway.messages.groups import MAX_SMALL_BYTES, Groups
from gateway.messages.outbox import Draft, Node
from gateway.messages.receipts import ItemReceipt
from gateway.signing import compact, envelope
from gateway.signing.envelope import EnvelopeError, Fault, Origin, Reference, Unverified, VerifiedMessage
from gateway.signing.trust import PeerKey

#: How many refused strangers are remembered, so that a flood of them costs no memory.
STRANGERS_KEPT = 1_000
#: Bodies from this size on are read outside the event loop.
LARGE_BODY = 256 * 1024
_REUSED = "the id was used before for other bytes"


@dataclass(frozen=True, slots=True)
class Inbound:
    """A verified message inside the transaction that applies it."""

    message: VerifiedMessage
    entry_id: int
    at: datetime


Handler = Callable[[db.Tx, Node, Inbound], Awaitable[Sequence[ItemReceipt]]]
#: As ``Handler``, for several messages of one sender: the items' receipts of each.
Together = Callable[[db.Tx, Node, Sequence[Inbound]], Awaitable[Sequence[Sequence[ItemReceipt]]]]
#: Every key ever registered for a claimed sender, with windows and revocations.
KeysOf = Callable[[db.Tx, Sequence[str]], Awaitable[Sequence[PeerKey]]]
#: Whether a sender may send one message more now.
Admits = Callable[[db.Tx, str], Awaitable[bool]]
#: What is done in the transaction that applies an answer, once it is applied.
Then = Callable[[db.Tx, VerifiedMessage], Awaitable[None]]
Query = Callable[[db.Tx, Node, Inbound], Awaitable[Draft]]


@dataclass(frozen=True, slots=True)
class Answer:
    """The exact bytes to answer with."""

    body: bytes
    content_type: str


@dataclass(frozen=True, slots=True)
class Stranger:
    """A message that no registered key vouches for."""

    at: datetime
    claimed_sender: str | None
    fault: str


@dataclass(slots=True)
class _Arrival:
    """A message that has arrived (see ``receive``); once admitted it stays so, however often applying it is tried."""

    unverified: Unverified
    certificate: str | None
    admitted: bool = False


class Inbox:
    """Where every message enters. ``handlers`` and ``queries`` give each type of the closed set its function.

    Small messages of the types in ``together`` are applied with others of their sender that arrive meanwhile.
    """

    def __init__(
        self,
        database: db.Database,
        node: Node,
        keys_of: KeysOf,
        handlers: Mapping[str, Handler],
        queries: Mapping[str, Query],
        together: Mapping[str, Together],
        admits: Admits,
    ) -> None:
        self._db = database
        self._node = node
        self._keys_of = keys_of
        self._handlers = handlers
        self._queries = queries
        self._admits = admits
        self._grouped = {
            kind: Groups(partial(self._receive_together, handler), self._receive_alone, _size)
            for kind, handler in together.items()
        }
        self.strangers: deque[Stranger] = deque(maxlen=STRANGERS_KEPT)

    async def receive(self, body: bytes, content_type: str, certificate: str | None = None) -> Answer:
        """Apply the message ``body`` and answer it; raises ``EnvelopeError`` for what nobody vouches for.

        ``certificate`` is the link whose TLS client certificate the connection showed, if it showed one's.
        """
        sender = None
        try:
            unverified = await read(body)
            if unverified.content_type != content_type:
                raise EnvelopeError(Fault.WRONG_ENVELOPE, f"this message is {unverified.content_type}")
            sender = unverified.claimed_sender
            grouped = self._grouped.get(str(unverified.signed.payload.get("type")))
            arrival = _Arrival(unverified, certificate)
            if grouped is not None and _size(arrival) <= MAX_SMALL_BYTES:
                return await grouped.join(sender, arrival)
            return await self._receive_alone(arrival)
        except EnvelopeError as error:
            self.remember(error.fault.value, sender)
            raise

    async def _receive_alone(self, arrival: _Arrival) -> Answer:
        answer = await self._db.run(lambda tx: self._answer(tx, arrival), _commit("receive", arrival.unverified))
        await self._db.ring()
        return answer

    async def _receive_together(self, handler: Together, group: Sequence[_Arrival]) -> Sequence[Answer | None]:
        """Apply what is new and sound of a group in one transaction; None for each that has to be applied alone."""
        name = _commit("receive", group[0].unverified)
        answers = await self._db.run(lambda tx: self._answer_together(tx, handler, group), name)
        await self._db.ring()
        return answers

    def remember(self, fault: str, claimed_sender: str | None = None) -> None:
        """Remember that something was refused which nobody vouches for."""
        self.strangers.append(Stranger(self._node.clock(), claimed_sender, fault))

    async def absorb(self, body: bytes | Unverified, sent: store.Message, then: Then | None = None) -> VerifiedMessage:
        """Apply the answer a peer gave to ``sent`` in its HTTP response, and ``then`` in the same transaction.

        Raises ``GatewayError`` when it is none, or is refused: logged, if a registered key vouches for it, and
        without effect. ``sent`` is still due then.
        """
        unverified = await read(body) if isinstance(body, bytes) else body

        async def applied(tx: db.Tx) -> VerifiedMessage | GatewayError:
            absorbed = await self._absorb(tx, unverified, sent)
            if then is not None and not isinstance(absorbed, GatewayError):
                await then(tx, absorbed)
            return absorbed

        absorbed = await self._db.run(applied, _commit("absorb", unverified))
        if isinstance(absorbed, GatewayError):
            raise absorbed
        return absorbed

    async def _answer(self, tx: db.Tx, arrival: _Arrival) -> Answer:
        now = self._node.clock()
        try:
            message = await self._verify(tx, arrival.unverified, now)
        except EnvelopeError as error:
            if error.origin is None:
                raise
            await self._admit(tx, error.origin.sender, arrival)
            return await self._refuse_envelope(tx, error, error.origin, now)
        await self._admit(tx, message.sender, arrival)
        if foreign := certificate_1004(arrival.certificate, message.sender):
            return await self._refuse_unkept(tx, "foreign-certificate", foreign[0], _origin(message), now)
        if message.in_reply_to is not None:
            return await self._refuse_kept(tx, message, Finding(1010, detail=f"{message.type} is an answer here"), now)
        earlier = await self._take(tx, message)
        if earlier is not None and not earlier.same_bytes:
            return await self._refuse_kept(tx, message, Finding(2002, detail=_REUSED), now)
        if earlier is not None and earlier.answer is not None:
            return Answer(earlier.answer, str(earlier.content_type))
        entry = logged.received(message, now)
        entry_id = await _keep(tx, message, entry)
        draft = await self._apply(tx, Inbound(message, entry_id, now), compact.encode(entry.leaf_hash))
        [answer] = await outbox.store(tx, self._node, [draft])
        if draft.numbered:
            await store.keep_answers(tx, [(message.sender, message.id, answer.entry_id)])
        return Answer(answer.message.body, answer.message.content_type)

    async def _admitted(self, tx: db.Tx, sender: str, arrival: _Arrival) -> bool:
        arrival.admitted = arrival.admitted or await self._admits(tx, sender)
        return arrival.admitted

    async def _admit(self, tx: db.Tx, sender: str, arrival: _Arrival) -> None:
        """Raise UNAVAILABLE 9003 for a sender beyond its limit: nothing is kept, and it may come again."""
        if not await self._admitted(tx, sender, arrival):
            context = {"retry_after_seconds": 1}
            detail = "this is more than the link may send at a time"
            raise GatewayError(Kind.UNAVAILABLE, detail, code=9003, context=context)

    async def _answer_together(
        self, tx: db.Tx, handler: Together, group: Sequence[_Arrival]
    ) -> Sequence[Answer | None]:
        now = self._node.clock()
        keys = await self._keys_of(tx, [group[0].unverified.claimed_sender])
        sound: dict[str, VerifiedMessage] = {}
        for arrival in group:
            message = self._sound(arrival, keys, now)
            if message is not None and await self._admitted(tx, message.sender, arrival):  # the others hear it alone
                sound.setdefault(message.id, message)  # the second of an id is a repetition, or worse
        named = [(m.sender, m.id, compact.decode(m.sha256)) for m in sound.values()]
        fresh = await store.take_new_keys(tx, named)
        messages = [m for m in sound.values() if m.id in fresh]
        drafts = [logged.received(m, now) for m in messages]
        entries = await _keep_all(tx, messages, drafts)
        inbounds = [Inbound(m, entry, now) for m, entry in zip(messages, entries, strict=True)]
        receipted = await handler(tx, self._node, inbounds) if inbounds else []
        leaves = [compact.encode(draft.leaf_hash) for draft in drafts]
        answers = [receipts.receipt(*said) for said in zip(messages, receipted, leaves, strict=True)]
        stored = await outbox.store(tx, self._node, answers)
        await store.keep_answers(tx, [(m.sender, m.id, a.entry_id) for m, a in zip(messages, stored, strict=True)])
        told = {
            id(m.received): Answer(a.message.body, a.message.content_type)
            for m, a in zip(messages, stored, strict=True)
        }
        return [told.get(id(arrival.unverified.received)) for arrival in group]

    def _sound(self, arrival: _Arrival, keys: Sequence[PeerKey], now: datetime) -> VerifiedMessage | None:
        try:
            message = envelope.verify(arrival.unverified, keys, receiver=self._node.code, now=now)
        except EnvelopeError:
            return None
        foreign = certificate_1004(arrival.certificate, message.sender)
        return message if message.in_reply_to is None and not foreign else None

    async def _absorb(self, tx: db.Tx, unverified: Unverified, sent: store.Message) -> VerifiedMessage | GatewayError:
        """The answer, applied; or why it has no effect, which is returned so that its log entry stays."""
        now = self._node.clock()
        try:
            message = await self._verify(tx, unverified, now)
        except EnvelopeError as error:
            if error.origin is not None:
                await log.append(tx, [logged.refused(error.fault.value, error.fault.code, error.origin, now)])
            return error
        try:
            handler = self._answering(message, sent)
        except GatewayError as error:  # no answer to this: logged, and free to be the answer to what it does answer
            await _keep(tx, message, logged.received(message, now))
            return error
        earlier = await self._take(tx, message)
        if earlier is not None and earlier.same_bytes:
            return message
        entry_id = await _keep(tx, message, logged.received(message, now))
        if earlier is not None:
            return GatewayError(Kind.CONFLICT, _REUSED, code=2002)
        try:
            async with tx.begin_nested():
                await handler(tx, self._node, Inbound(message, entry_id, now))
        except GatewayError as error:
            if error.code is None or error.kind in (Kind.UNAVAILABLE, Kind.FORBIDDEN):  # none of the message's (R23)
                raise
            return error
        return message

    def _answering(self, message: VerifiedMessage, sent: store.Message) -> Handler:
        """What receives an answer to ``sent``; raises UNTRUSTED or REJECTED when this is none."""
        asked = Reference(sent.message_id, compact.encode(sent.sha256))
        if message.sender != sent.peer or message.in_reply_to != asked:
            raise GatewayError(Kind.UNTRUSTED, f"no answer of {sent.peer} to the message that was sent", code=3004)
        handler = self._handlers.get(message.type)
        if handler is None:
            raise GatewayError(Kind.REJECTED, f"{message.type} is no answer", code=3004)
        return handler

    async def _verify(self, tx: db.Tx, unverified: Unverified, now: datetime) -> VerifiedMessage:
        keys = await self._keys_of(tx, [unverified.claimed_sender])
        verify = partial(envelope.verify, unverified, keys, receiver=self._node.code, now=now)
        return verify() if len(unverified.received) < LARGE_BODY else await aside(verify)

    async def _apply(self, tx: db.Tx, inbound: Inbound, leaf: str) -> Draft:
        message = inbound.message
        try:
            if query := self._queries.get(message.type):
                return await query(tx, self._node, inbound)
            handler = self._handlers.get(message.type)
            if handler is None:
                raise GatewayError(Kind.REJECTED, f"{message.type} is not received here", code=1010)
            async with tx.begin_nested():
                items = await handler(tx, self._node, inbound)
            return receipts.receipt(message, items, leaf)
        except GatewayError as error:
            if error.code is None or error.kind is Kind.UNAVAILABLE:  # none of the message's (R23)
                raise
            finding = Finding(error.code, detail=error.detail)
            verdict = error.kind is not Kind.FORBIDDEN and message.type not in self._queries
            return receipts.refusal(message.sender, receipts.reply_to(message), [finding], leaf, numbered=verdict)

    async def _refuse_envelope(self, tx: db.Tx, error: EnvelopeError, origin: Origin, now: datetime) -> Answer:
        """Refuse a message whose signature is good: logged, answered, not kept as a verdict (a clock may catch up).

        A repetition of what was answered while it was in time gets that answer: expiry ends beginnings only.
        """
        earlier = await store.earlier(tx, origin.sender, origin.message_id, compact.decode(origin.sha256))
        if earlier is not None and earlier.same_bytes and earlier.answer is not None:
            return Answer(earlier.answer, str(earlier.content_type))
        finding = Finding(error.fault.code, detail=error.detail)
        return await self._refuse_unkept(tx, error.fault.value, finding, origin, now)

    async def _refuse_unkept(self, tx: db.Tx, fault: str, finding: Finding, origin: Origin, now: datetime) -> Answer:
        """Refuse a message for how it came or is wrapped: logged; no verdict, because it may yet come well."""
        entry = logged.refused(fault, finding.code, origin, now)
        await log.append(tx, [entry])
        return await self._refuse(tx, origin, finding, entry)

    async def _refuse_kept(self, tx: db.Tx, message: VerifiedMessage, finding: Finding, now: datetime) -> Answer:
        """Refuse a message and keep its bytes. No verdict: an answer may yet come where it answers, and under an id
        that was used before the first bytes' effect stands.
        """
        entry = logged.received(message, now)
        await _keep(tx, message, entry)
        return await self._refuse(tx, _origin(message), finding, entry)

    async def _refuse(self, tx: db.Tx, origin: Origin, finding: Finding, entry: log.Draft) -> Answer:
        in_reply_to = Reference(origin.message_id, origin.sha256)
        leaf = compact.encode(entry.leaf_hash)
        draft = receipts.refusal(origin.sender, in_reply_to, [finding], leaf, numbered=False)
        [answer] = await outbox.store(tx, self._node, [draft])
        return Answer(answer.message.body, answer.message.content_type)

    async def _take(self, tx: db.Tx, message: VerifiedMessage) -> store.Earlier | None:
        digest = compact.decode(logged.kept_sha256(message))
        return await store.take_replay_key(tx, message.sender, message.id, digest)


def _commit(act: str, unverified: Unverified) -> str:
    """The name of the commit of a message: its type only claims to be one."""
    name = f"{act}.{unverified.signed.payload.get('type')}"
    return name if name in crash.COMMITS else f"{act}.other"


async def read(body: bytes) -> Unverified:
    """Read the form of a message; a large one in a thread, because a hostile one may take a second of it."""
    if len(body) < LARGE_BODY:
        return envelope.read(body)
    return await aside(partial(envelope.read, body))


def _origin(message: VerifiedMessage) -> Origin:
    return Origin(message.id, message.sender, message.sha256)


async def _keep(tx: db.Tx, message: VerifiedMessage, entry: log.Draft) -> int:
    [entry_id] = await _keep_all(tx, [message], [entry])
    return entry_id


async def _keep_all(tx: db.Tx, messages: Sequence[VerifiedMessage], drafts: Sequence[log.Draft]) -> list[int]:
    """Append the entries of messages to the log and keep their bytes; the entries' ids."""
    entries = await log.append(tx, drafts)
    kept = [
        store.Message(
            entry_id, "in", message.sender, message.id, message.type, message.seq,
            message.in_reply_to.id if message.in_reply_to else None, compact.decode(logged.kept_sha256(message)),
            envelope.LINK_JSON if message.items and not logged.is_kept_bare(message) else envelope.JOSE,
            logged.kept_bytes(message), draft.at,
        )
        for message, draft, entry_id in zip(messages, drafts, entries, strict=True)
    ]  # fmt: skip
    await store.insert(tx, kept)
    return entries


def _size(arrival: _Arrival) -> int:
    return len(arrival.unverified.received)
