"""Questions about the cut that is kept: nodes of a book, with runs and states, or its positions one by one."""

import base64
from typing import Any

from . import backup, cuts, fingerprints, history_pages, states, strictjson, told_nodes
from .database import Tx
from .envelope import QUERY_TIME, Draft, Message
from .registry import Registry
from .strictjson import Malformed
from .told_nodes import Telling
from .units import Holding

_LISTED = """
SELECT s.id AS series, s.registry, s.name, p.first, p.last, p.party, p.account, p.attributes AS attributes_id,
       a.attributes, p.itmo, i.stem, p.itmo_offset, p.itmo IS NOT NULL AS first_transferred, NULL AS locked_by
  FROM cut_position p JOIN series s ON s.registry = left(p.name, 5) AND s.name = substr(p.name, 7)
  JOIN unit_attributes a ON a.id = p.attributes LEFT JOIN itmo_series i ON i.id = p.itmo
 WHERE (%s::text IS NULL OR p.party = %s) AND (p.name, p.first) > (%s, %s) ORDER BY p.name, p.first LIMIT %s
"""


async def answer(tx: Tx, registry: Registry, message: Message) -> Draft:
    """Answer a question; raises ``Refusal``: 8001, 6103, 8002, 8003, or 2001 for what is no question."""
    await tx.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    await backup.serving(tx)
    body = message.body
    if body["of"] != registry.code or not registry.has_book(body["registry"]):
        raise history_pages.refusal(message, 8001, "the books of others are not here")
    taken = await cuts.kept(tx, body["cut"])
    if taken is None or taken["ranges"] != ("asked" in body):
        raise history_pages.refusal(message, 6103, "the cut is not kept, or not told in this way")
    said: dict[str, Any] = {"of": registry.code, "cut": body["cut"], "registry": body["registry"]}
    texts: list[str] = []
    if taken["ranges"]:
        told, asked = await _told(tx, message)
        said = registry.cut_lies.of_nodes(said | told, asked)
    else:
        listed, texts = await _listed(tx, registry, message)
        said, texts = registry.cut_lies.of_listing(said | listed, texts, body.get("after"))
    named = {"id": message.id, "sha256": message.body_sha256}
    return Draft("positions.answer", texts, said, in_reply_to=named, expires_in=QUERY_TIME)


async def _told(tx: Tx, message: Message) -> tuple[dict[str, Any], int]:
    """Give what is told of nodes, and how many were asked for."""
    body, book = message.body, message.body["registry"]
    try:
        asked = told_nodes.read(read(body["asked"]), body["series"])
    except Malformed as error:
        raise history_pages.refusal(message, 2001, str(error)) from error
    telling = Telling(asked, await fingerprints.directory(tx, book))
    while wanted := telling.wanted():
        telling.see(await fingerprints.contents(tx, book, wanted))
    answered, told, series, hashes = telling.pack()
    said: dict[str, Any] = {"series": series, "answered": answered}
    said |= {"told": cuts.written(told), "states": cuts.written(b"".join(hashes))}
    if "texts" in body:
        said["texts"] = await states.texts(tx, map(read, body["texts"]))
    return said, len(asked)


async def _listed(tx: Tx, registry: Registry, message: Message) -> tuple[dict[str, Any], list[str]]:
    body, limit = message.body, message.body["limit"]
    if limit > history_pages.MAX_PAGE:
        raise history_pages.refusal(message, 8002, f"no more than {history_pages.MAX_PAGE} at once")
    name, _, first = body.get("after", "/0").rpartition("/")
    if not (first.isdecimal() and len(first) < 17):
        raise history_pages.refusal(message, 8003, "nothing here goes on from there")
    party = registry.sections.get(body["registry"])
    found = [Holding(**row) for row in await tx.rows(_LISTED, party, party, name, int(first), limit + 1)]
    texts = [
        strictjson.dumps({"kind": "position", "party": h.party, "account": h.account, "block": h.block()})
        for h in found[:limit]
    ]
    last = found[limit - 1] if len(found) > limit else None
    return {"next": f"{last.registry}/{last.name}/{last.first}"} if last else {}, texts


def read(packed: str) -> bytes:
    """Read base64url without padding; raises ``Malformed``."""
    try:
        return base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4))
    except ValueError as error:
        raise Malformed("not base64url") from error
