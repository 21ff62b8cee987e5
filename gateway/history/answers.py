"""Answers registries that ask for what was pulled for them: ``history.query``. Changes nothing.

One page as it was pulled, or a part of it, with its registry's own JWS as evidence. A feed that is not the asker's is
answered like one that does not exist (8001). Raises ``GatewayError``: MALFORMED 2001, 2010 or 2011, LIMIT 8002,
REJECTED 8001, or 8003 for a cursor that is none of the feed.
"""

from typing import Any

from gateway import db
from gateway.domain import wire
from gateway.domain.history import START, Cursor
from gateway.errors import GatewayError, Kind
from gateway.history import page_store, store
from gateway.history.asked import HEAD, Asked, read_cursor, read_limit, written_cursor
from gateway.history.asking import ANSWER_LIFE
from gateway.history.page_store import StoredPage
from gateway.messages.inbox import Inbound
from gateway.messages.outbox import Draft, Node
from gateway.messages.receipts import reply_to
from gateway.signing import compact


async def history(tx: db.Tx, _node: Node, inbound: Inbound) -> Draft:
    """``history.query``: the records of a feed behind a cursor, at most ``limit``."""
    if inbound.message.items:
        raise wire.malformed("a query has no items")
    raw = wire.members(inbound.message.body, "body", HEAD | {"after", "limit"}, frozenset({"select"}))
    if "select" in raw:
        raise wire.malformed("records are selected for a view, never from what was pulled")
    asked, after, limit = Asked.read(raw), read_cursor(raw["after"]), read_limit(raw["limit"])
    feed = await store.readable(tx, inbound.message.sender, asked)
    if feed is None:
        raise GatewayError(Kind.REJECTED, "there is no such feed, or it may not be viewed", code=8001)
    if after.number > feed.number:
        raise _no_cursor()
    page = await page_store.page_with(tx, feed.id, after.number + 1)
    if page is None:
        last = await page_store.page_with(tx, feed.id, after.number)
        if after != (last.until if last else START):
            raise _no_cursor()
        return _answer(inbound, asked, after, after, more=False)
    return _part(inbound, asked, page, after, limit, feed.number)


def _part(inbound: Inbound, asked: Asked, page: StoredPage, after: Cursor, limit: int, number: int) -> Draft:
    """The records of a page from behind ``after`` on; the feed's last one has this ``number``."""
    begin = after.number - page.after.number
    hashes = [compact.decode(compact.digest(text)) for text in page.texts[: begin + limit]]
    if page.after.beyond(hashes[:begin]) != after:
        raise _no_cursor()
    until = after.beyond(hashes[begin:])
    carried = page.texts[begin : begin + limit]
    return _answer(inbound, asked, after, until, more=until.number < number, carried=carried, evidence=[page.jws])


def _answer(inbound: Inbound, asked: Asked, after: Cursor, until: Cursor, *, more: bool, **shown: Any) -> Draft:
    body = {**asked.written, "after": written_cursor(after), "until": written_cursor(until), "more": more}
    expires, reply = inbound.at + ANSWER_LIFE, reply_to(inbound.message)
    sender = inbound.message.sender
    return Draft(sender, "history.page", body=body, expires_at=expires, in_reply_to=reply, numbered=False, **shown)


def _no_cursor() -> GatewayError:
    return GatewayError(Kind.REJECTED, "the cursor is none of this feed", code=8003)
