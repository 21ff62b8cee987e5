"""What arrives at ``POST /messages``: proven, handled in one transaction, answered.

The replay key, the effect and the stored signed answer are one transaction (R12). The same bytes again get
the stored answer, also after their time is over; other bytes under the same id are refused (2002). Queries
change nothing and are not stored. A refusal of a whole message is no verdict and is not stored (R23).
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence

from . import (
    acquirer,
    backup,
    clock,
    cuts,
    envelope,
    history_pages,
    outcomes,
    own_log,
    post,
    proposing,
    reconciled,
    records,
    rotating,
    showing_cut,
    showing_positions,
    source,
    status,
    told_actions,
    told_history,
)
from .database import Tx
from .envelope import INCOMING, QUERIES, QUERY_TIME, Draft, Message, Outgoing, Refusal
from .outcomes import Outcome
from .registry import Registry

Handler = Callable[[Tx, Registry, Message], Awaitable[Sequence[Outcome]]]


async def _closed(tx: Tx, registry: Registry, message: Message) -> list[Outcome]:
    """Split a closed by the role this registry has in each transfer: its id names the source."""
    judged: dict[str, Outcome] = {}
    for handler, is_source in ((source.closed, True), (acquirer.closed, False)):
        own = [i for i in message.own if i.value["transfer"].startswith(f"{registry.code}-") == is_source]
        if own:
            part = Message(message.jws, message.jws_sha256, message.body_sha256, message.payload, own, message.evidence)
            judged |= {outcome.item.sha256: outcome for outcome in await handler(tx, registry, part)}
    return [judged[item.sha256] for item in message.own]


#: What each type of message is handled by.
HANDLERS: Mapping[str, Handler] = {
    "transfer.request": proposing.request,
    "transfer.offer": acquirer.offer,
    "transfer.commit": source.commit,
    "transfer.cancel": source.cancel,
    "transfer.settle": acquirer.settle,
    "transfer.closed": _closed,
    "action.record": records.record,
    "action.notice": told_actions.take,
    "link.keys": rotating.announced,
    "history.deliver": told_history.take,
    "reconciliation.result": reconciled.take,
}
#: What is taken by the international registry alone.
_RECORDED = {"action.record"}


async def receive(
    registry: Registry, content_type: str, body: bytes, handlers: Mapping[str, Handler] = HANDLERS
) -> Outgoing:
    """Answer one message; raises ``Unattributable`` or ``KeysMissing`` where nothing can be signed."""
    try:
        message = envelope.read(content_type, body, registry.gateway, registry.trust, _taken(registry))
        if message.type in QUERIES:
            envelope.check_times(message)
            return await _answer_query(registry, message)
        answer = await registry.database.run(
            f"receive.{message.type}", lambda tx: _handle(tx, registry, message, handlers)
        )
        if message.type == "link.keys":
            await registry.database.run("admin.look", lambda tx: rotating.take_up(tx, registry))
        return answer
    except Refusal as refusal:
        return await _refusal(registry, refusal)


async def refuse(registry: Registry, content_type: str, body: bytes, code: int) -> Outgoing:
    """Refuse a message unread, whatever it says; raises like ``receive``."""
    try:
        message = envelope.read(content_type, body, registry.gateway, registry.trust, _taken(registry))
        return await _refusal(registry, Refusal(code, "not now", message.id, message.body_sha256))
    except Refusal as refusal:
        return await _refusal(registry, refusal)


def _taken(registry: Registry) -> Mapping[str, str | None]:
    """Give the types this kind of registry takes, with the kind of their items."""
    records_here = registry.kind == "international"
    return {name: kind for name, kind in INCOMING.items() if records_here or name not in _RECORDED}


async def _handle(tx: Tx, registry: Registry, message: Message, handlers: Mapping[str, Handler]) -> Outgoing:
    agree, stored = await post.claim(tx, message)
    if not agree:
        raise Refusal(2002, "another message had this id", message.id, message.body_sha256)
    if stored is not None:
        return stored
    envelope.check_times(message)
    judged = await handlers[message.type](tx, registry, message)
    return await outcomes.conclude(tx, registry, message, judged)


async def _answer_query(registry: Registry, message: Message) -> Outgoing:
    named = {"id": message.id, "sha256": message.body_sha256}
    if message.type == "time.query":
        await registry.database.run("receive.time.query", backup.serving)
        time = {"time": clock.now()}
        return _sign(registry, Draft("time.answer", body=time, in_reply_to=named, expires_in=QUERY_TIME))
    if message.type == "history.query":
        return _sign(registry, await _history(registry, message))
    if message.type == "positions.query":
        return _sign(registry, await _positions(registry, message))
    if message.type == "cut.query":
        cut = await registry.database.run("receive.cut.query", lambda tx: cuts.answer(tx, registry, message))
        return _sign(registry, cut)
    draft = await registry.database.run("receive.status.query", lambda tx: status.answer(tx, registry, message))
    return _sign(registry, draft)


async def _history(registry: Registry, message: Message) -> Draft:
    """Give what waits its place, in the feed and in this registry's own log, and answer from that."""
    more, signer = True, registry.logs.own
    while more:
        end, more = await registry.database.run(
            "history.place", lambda tx: history_pages.prepare(tx, registry.code, message)
        )
    if signer is not None:
        await own_log.publish(registry, signer)
    return await registry.database.run(
        "receive.history.query", lambda tx: history_pages.answer(tx, registry.tricks, signer, message, end)
    )


async def _positions(registry: Registry, message: Message) -> Draft:
    async def answer(tx: Tx) -> Draft:
        if "cut" in message.body:
            return await showing_cut.answer(tx, registry, message)
        return await showing_positions.answer(tx, registry.code, message)

    return await registry.database.run("receive.positions.query", answer)


async def _refusal(registry: Registry, refusal: Refusal) -> Outgoing:
    await registry.database.run("receive.refused", backup.serving)
    body = {"findings": [outcomes.finding(refusal.code, refusal.detail)]}
    named = {"id": refusal.message_id, "sha256": refusal.sha256}
    return _sign(registry, Draft("refusal", body=body, in_reply_to=named))


def _sign(registry: Registry, draft: Draft) -> Outgoing:
    """Sign what is not stored and has no number."""
    return envelope.compose(draft, registry.key, registry.code, registry.gateway, None)
