"""Hands pages on to the registry whose books they are for: in order, one of a feed at a time, until it is receipted.

A ``history.deliver`` is the page as it was pulled: its texts and, as evidence, its registry's own JWS. It is owed like
any message (``messages.owed``): the same bytes again until there is a receipt, which moves ``delivered`` and stores the
next one in the same transaction. A refusal that is no verdict leaves it due; that the registry lacks what comes before
(8005) is an alarm. So is a verdict against it, and a page of which no message can be made: nothing more of the feed is
handed on then until two persons reactivate the registry's link. Neither holds up other feeds.
"""

from collections.abc import Sequence

import structlog

from gateway import db
from gateway.alarms import store as alarms
from gateway.alarms.store import Alarm
from gateway.domain import wire
from gateway.errors import GatewayError, Kind, invariant
from gateway.history import deliver_store, page_store
from gateway.history.asked import written_cursor
from gateway.history.deliver_store import Undelivered
from gateway.history.page_store import StoredPage
from gateway.messages import outbox, owed
from gateway.messages.inbox import Inbound
from gateway.messages.outbox import Draft, Node
from gateway.messages.owed import Owed
from gateway.messages.receipts import ItemReceipt

#: The refusal of a delivery that would leave a gap.
GAP = 8005
#: The code of an alarm about a refusal that gives none, and how much of a refusal an alarm tells.
NO_REASON, MAX_TOLD = 3006, 200

journal = structlog.get_logger()


async def go_on(tx: db.Tx, node: Node, feed_id: int | None = None) -> int:
    """Begin to hand on the next page of this feed, or of some that wait for it; how many pages that is."""
    begun = 0
    for feed in await deliver_store.undelivered(tx, feed_id):
        try:
            async with tx.begin_nested():
                await _begin(tx, node, feed)
            begun += 1
        except GatewayError as error:
            if error.kind is Kind.UNAVAILABLE:  # it will pass
                raise
            await _hold_back(tx, node, feed, error)
    return begun


async def _begin(tx: db.Tx, node: Node, feed: Undelivered) -> None:
    [stored] = await outbox.store(tx, node, [_draft(feed, await _next(tx, feed))])
    await deliver_store.deliver(tx, feed.id, stored.message.id)
    await owed.add(tx, [Owed(feed.peer, stored.message.id)], node.clock())


async def _hold_back(tx: db.Tx, node: Node, feed: Undelivered, error: GatewayError) -> None:
    """Hand on nothing more of a feed whose next page cannot be: whatever else is in this transaction goes on."""
    asked, why = feed.asked, f"the history of {feed.asked.of} cannot be handed on: {error.detail}"[:MAX_TOLD]
    journal.error("history-held-back", of=asked.of, registry=asked.viewer.registry, why=why)
    if (entry := await deliver_store.hold_back(tx, feed.id)) is not None:
        alarm = Alarm(feed.peer, f"history of {asked.viewer.registry}", error.code or NO_REASON, why, entry)
        await alarms.sound(tx, [alarm], node.clock())


async def _next(tx: db.Tx, feed: Undelivered) -> StoredPage:
    page = await page_store.page_with(tx, feed.id, feed.delivered + 1)
    invariant(page is not None and page.after.number == feed.delivered, "what is handed on ends with a page")
    assert page is not None
    return page


def _draft(feed: Undelivered, page: StoredPage) -> Draft:
    body = {**feed.asked.written, "after": written_cursor(page.after), "until": written_cursor(page.until)}
    return Draft(feed.peer, "history.deliver", carried=page.texts, evidence=[page.jws], body=body)


async def receipted(tx: db.Tx, node: Node, inbound: Inbound) -> Sequence[ItemReceipt]:
    """``receipt`` without items: the page that it answers is taken, and the next one follows."""
    answered = inbound.message.in_reply_to
    assert answered is not None  # a receipt answers something, or it would not have been verified
    if not inbound.message.items and (feed_id := await deliver_store.delivered(tx, answered.id)) is not None:
        await owed.done(tx, answered.id)
        await go_on(tx, node, feed_id)
    return ()


async def refused(tx: db.Tx, _node: Node, inbound: Inbound) -> Sequence[ItemReceipt]:
    """``refusal``: a page is not taken now, or, if the refusal is a verdict, never."""
    answered = inbound.message.in_reply_to
    assert answered is not None  # as above
    asked = await deliver_store.delivering(tx, answered.id)
    if asked is None:
        return ()
    body = wire.members(inbound.message.body, "body", frozenset({"findings"}))
    findings = [wire.parse_finding(value) for value in wire.array(body["findings"], "findings")]
    verdict = inbound.message.seq is not None
    if verdict:
        await owed.done(tx, answered.id)
    told = next((f for f in findings if verdict or f.code == GAP), None)
    if told is not None or verdict:
        code, why = (told.code, told.detail) if told else (NO_REASON, "it gives no reason")
        sender = inbound.message.sender
        detail = f"{sender} does not take the history of {asked.of}: {why}"[:MAX_TOLD]
        about = f"history of {asked.viewer.registry}"
        await alarms.sound(tx, [Alarm(sender, about, code, detail, inbound.entry_id)], inbound.at)
    return ()
