"""Positions for a view: what a Party holds here, and what of the units it hosts others hold here.

In the order of series and serials, page by page; ``next`` says where the next page begins. A position that moves
between two pages may be seen twice or not at all: each page says when the books looked so.
"""

from collections.abc import Mapping
from typing import Any

from . import backup, books, clock, history_pages, selecting, strictjson
from .database import Tx
from .envelope import QUERY_TIME, Draft, Message

#: Positions looked at for one page of what is selected.
MAX_LOOKED = 5_000


async def answer(tx: Tx, code: str, message: Message) -> Draft:
    """Answer a question; raises ``Refusal``: 8001, 8002, or 8003 for a ``next`` that was not given here."""
    await backup.serving(tx)
    body = message.body
    if body["limit"] > history_pages.MAX_PAGE:
        raise history_pages.refusal(message, 8002, f"no more than {history_pages.MAX_PAGE} at once")
    await history_pages.may_view(tx, code, message)
    series, _, first = body.get("after", "0.0").partition(".")
    if not (series.isdecimal() and first.isdecimal() and len(series) + len(first) < 20):
        raise history_pages.refusal(message, 8003, "nothing here goes on from there")
    shown, behind = await _positions(tx, body, (int(series), int(first)))
    members = {"of": body["of"], "for": body["for"], "at": clock.now(), **({"next": behind} if behind else {})}
    named = {"id": message.id, "sha256": message.body_sha256}
    texts = [strictjson.dumps({"kind": "position", **position}) for position in shown]
    return Draft("positions.answer", texts, members, in_reply_to=named, expires_in=QUERY_TIME)


async def _positions(
    tx: Tx, asked: Mapping[str, Any], after: tuple[int, int]
) -> tuple[list[dict[str, Any]], str | None]:
    """Give positions, and what the next page begins behind if there is one."""
    select, limit = asked.get("select"), asked["limit"]
    most = MAX_LOOKED if select else limit
    found = await books.seen_by(tx, asked["for"]["party"], after, most + 1)
    shown: list[dict[str, Any]] = []
    last = after
    for holding in found[:most]:
        position = {"party": holding.party, "account": holding.account, "block": holding.block()}
        if select is None or selecting.is_held(select, position):
            if len(shown) == limit:
                break
            shown.append(position)
        last = (holding.series, holding.first)
    is_end = len(found) <= most and (not found or last == (found[-1].series, found[-1].first))
    return shown, None if is_end else f"{last[0]}.{last[1]}"
