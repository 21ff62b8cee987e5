"""Says records to sections and notifications to first transferring Parties, and hears what becomes of each.

What of one kind is waiting for one link goes in one message: signed, stored and owed in one transaction, then sent
until every item in it is answered. One that is refused keeps the registry's reasons, raises an alarm and is not
repeated; ``later`` is no answer, nor is a refusal of the whole message that is no verdict. The first answer counts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from gateway import db
from gateway.alarms import store as alarms
from gateway.alarms.store import Alarm
from gateway.domain import wire
from gateway.domain.check_codes import Finding
from gateway.domain.proposals import MAX_BLOCKS
from gateway.holdings.recording import Told
from gateway.messages import outbox, owed
from gateway.messages.inbox import Inbound
from gateway.messages.outbox import Draft, Node
from gateway.messages.owed import Owed
from gateway.messages.receipts import MAX_NAMED
from gateway.recordings import store
from gateway.recordings.store import Answered, State, Waiting
from gateway.signing import compact
from gateway.signing.messages import is_hash

#: How many bytes of records one message carries: half of what a body may have, because JSON escapes their quotes. The
#: longest record fits when it is alone.
MAX_MESSAGE_BYTES = 4 * 1024 * 1024
#: How many of a registry's findings are kept with a record, and how much of one is told in an alarm.
MAX_FINDINGS, MAX_TOLD = 20, 200
#: The code of an alarm about a refusal that gives none.
NO_REASON = 3006
#: The type of message that tells each.
_SAID_IN = {Told.RECORD: "action.record", Told.NOTIFICATION: "action.notice"}
#: What a registry that refuses it will not do.
_WANTED = {Told.RECORD: "record", Told.NOTIFICATION: "be notified of"}
_ANSWERS = {state.value: state for state in (State.RECORDED, State.REFUSED)}


async def record(tx: db.Tx, node: Node) -> int:
    """Say what is waiting, one message of each kind to each link; how many messages that is."""
    now = node.clock()
    ready = await store.ready(tx, now)
    batches = [batch for due in ready if (batch := _fitting(await store.waiting(tx, due)))]
    if not batches:
        return 0
    drafts = [Draft(b[0].link, _SAID_IN[b[0].kind], items=[one.item for one in b]) for b in batches]
    stored = [s.message.id for s in await outbox.store(tx, node, drafts)]
    together = list(zip(batches, stored, strict=True))
    await store.say(tx, [(one, message) for batch, message in together for one in batch])
    await owed.add(tx, [Owed(batch[0].link, message) for batch, message in together], now)
    return len(batches)


def _fitting(waiting: Sequence[Waiting]) -> list[Waiting]:
    """As many as one message takes, from the first on."""
    batch: list[Waiting] = []
    blocks = size = 0
    for one in waiting:
        blocks += one.block_count
        size += len(one.item.encode())
        if batch and (blocks > MAX_BLOCKS or size > MAX_MESSAGE_BYTES):
            break
        batch.append(one)
    return batch


async def answered(tx: db.Tx, inbound: Inbound, said: Mapping[str, tuple[str, Sequence[Finding]]]) -> None:
    """Hear a receipt: what it says of each item, by hash. One that answers none of them changes nothing."""
    answers = {
        compact.decode(item): (_ANSWERS[state], [] if state == State.RECORDED else _kept(findings))
        for item, (state, findings) in said.items()
        if state in _ANSWERS and is_hash(item)
    }
    if not answers:
        return
    message = _answered(inbound)
    found = await store.answer(tx, message, answers, inbound.entry_id)
    await store.settle(tx, message)
    await alarms.sound(tx, [_alarm(one, inbound) for one in found if one.state is State.REFUSED], inbound.at)


async def refused(tx: db.Tx, inbound: Inbound) -> None:
    """Hear a refusal of a whole message: if it is a verdict, the same bytes will never get another answer."""
    if inbound.message.seq is None:
        return
    body = wire.members(inbound.message.body, "body", frozenset({"findings"}))
    findings = _kept([wire.parse_finding(value) for value in wire.array(body["findings"], "findings")])
    message = _answered(inbound)
    found = await store.refuse(tx, message, findings, inbound.entry_id)
    await store.settle(tx, message)
    # Of what one message tells one stands for all.
    await alarms.sound(tx, [_alarm(one, inbound, more=len(found) - 1) for one in found[:1]], inbound.at)


def _answered(inbound: Inbound) -> str:
    answers = inbound.message.in_reply_to
    assert answers is not None  # a receipt or a refusal answers something, or it would not have been verified
    return answers.id


def _kept(findings: Sequence[Finding]) -> list[dict[str, object]]:
    few = findings[:MAX_FINDINGS]
    return [wire.finding_to_wire(replace(f, blocks=f.blocks[:MAX_NAMED])) for f in few]


def _alarm(one: Answered, inbound: Inbound, more: int = 0) -> Alarm:
    first = one.findings[0] if one.findings else {"code": NO_REASON}
    why = str(first.get("detail", "it gives no reason"))[:MAX_TOLD]
    others = f" and {more} more with it" if more else ""
    sender = inbound.message.sender
    detail = f"{sender} refuses to {_WANTED[one.kind]} {one.action}{others}: {why}"
    return Alarm(sender, one.cause, first["code"], detail, inbound.entry_id)
