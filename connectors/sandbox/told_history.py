"""History told of from elsewhere: pages of other registries' feeds, delivered or asked for, kept beside the books.

A page is proven before anything of it is kept: signed by the registry whose feed it is, its digest recomputed from
its texts, going on from what is known here. What is known is receipted again and stored once; what leaves a gap is
refused (8005), and the gateway is then asked for what is lacking, page by page. What is told moves nothing.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from . import envelope, feeds, history_pages, shapes, strictjson, transfers
from .database import Row, Tx, columns
from .envelope import QUERY_TIME, Draft, Message, Refusal
from .feeds import START, Place
from .history_pages import refusal
from .history_tricks import read, written
from .keys import KeysMissing
from .outcomes import Outcome
from .registry import Registry
from .sender import NoAnswer, Sender
from .signature import Unattributable, prove
from .strictjson import Malformed

#: Codes of the check table about histories and cursors: what is refused with them is refused the next time, too.
ABOUT_HISTORY = range(8001, 9000)


@dataclass(frozen=True)
class Told:
    """A proven page: whose feed, for whose books here, from where, the texts and the place behind each."""

    source: str
    registry: str
    after: Place
    texts: Sequence[str]
    places: Sequence[Place]

    @property
    def until(self) -> Place:
        """The place behind the last record."""
        return self.places[-1] if self.places else self.after

    def at(self, number: int) -> Place | None:
        """Give the place with this number, where it is one of the page."""
        nth = number - self.after.number
        return self.after if nth == 0 else self.places[nth - 1] if 0 < nth <= len(self.places) else None


async def take(tx: Tx, registry: Registry, message: Message) -> list[Outcome]:
    """Keep a delivered page; raises ``Refusal``: 1006, 2001, 8001, 8004 or 8005, and ``KeysMissing``."""
    told = _proven(registry, message)
    if message.body["after"] != written(told.after) or (message.body["until"] != written(told.until)):
        raise refusal(message, 2001, "the page inside goes from and to somewhere else")
    try:
        await _keep(tx, message, told)
    except Refusal as refused:
        if refused.code == 8005:
            registry.lacking.add((told.source, told.registry, message.body["for"]["party"]))
            registry.database.duties_wake.set()
        raise
    return []


def _proven(registry: Registry, message: Message) -> Told:
    """Prove the page that a message of the gateway carries."""
    body, viewer = message.body, message.body["for"]
    if not registry.is_of(viewer["registry"], viewer["party"]):
        raise refusal(message, 8001, "the history of books that are not kept here")
    try:
        compact = body["evidence"][0]
        page = prove(compact, body["of"], registry.trust)
        shapes.check_body(page["body"], "history.page")
        texts = [message.evidence.texts[sha256] for sha256 in message.payload["items"]]
        for text in texts:
            shapes.check_item(strictjson.loads(text), "history")
    except Unattributable as error:
        raise refusal(message, 1006, f"the page inside: {error.detail}") from error
    except (Malformed, LookupError) as error:
        raise refusal(message, 2001, "no page of history inside") from error
    inside, same = page["body"], ("of", "for")
    addressed = (page.get("type"), page.get("to")) == ("history.page", registry.gateway)
    if not addressed or page.get("items") != message.payload["items"]:
        raise refusal(message, 2001, "what is inside is not this page")
    if [inside[name] for name in same] != [body[name] for name in same]:
        raise refusal(message, 8001, "the page inside is of another feed")
    after = read(inside["after"])
    places = list(feeds.beyond(after, (hashlib.sha256(text.encode()).digest() for text in texts)))
    told = Told(body["of"], viewer["registry"], after, texts, places)
    if told.until != read(inside["until"]):
        raise refusal(message, 8004, "the digest is not that of the records")
    return told


async def _keep(tx: Tx, message: Message, told: Told) -> None:
    """Store what is new of a page; raises ``Refusal``: 8004 for another past than the one told before, 8005."""
    known = await end(tx, told.source, told.registry)
    if told.after.number > known.number:
        raise refusal(message, 8005, f"known here up to {known.number}: a gap")
    shared = min(known.number, told.until.number)
    if await _at(tx, told, shared) != told.at(shared):
        raise refusal(message, 8004, "another past than the one told before")
    new = [(at, text) for at, text in zip(told.places, told.texts, strict=True) if at.number > known.number]
    await tx.execute(
        "INSERT INTO told_history (source, registry, number, digest, text)"
        " SELECT %s, %s, * FROM unnest(%s::bigint[], %b::bytea[], %b::text[])",
        told.source,
        told.registry,
        *columns([(at.number, at.digest, text) for at, text in new], 3),
    )


async def end(tx: Tx, source: str, registry: str) -> Place:
    """Give the place up to which a feed was told."""
    row = await tx.one(
        "SELECT number, digest FROM told_history WHERE source = %s AND registry = %s ORDER BY number DESC LIMIT 1",
        source,
        registry,
    )
    return Place(row["number"], bytes(row["digest"])) if row else START


async def _at(tx: Tx, told: Told, number: int) -> Place | None:
    row = await tx.one(
        "SELECT digest FROM told_history WHERE source = %s AND registry = %s AND number = %s",
        told.source,
        told.registry,
        number,
    )
    return Place(number, bytes(row["digest"])) if row else START if number == 0 else None


async def known_feeds(tx: Tx) -> list[tuple[str, str]]:
    """Give the feeds of which something was told: whose, and for whose books here."""
    found = await tx.rows("SELECT source, registry FROM told_history WHERE number = 1 ORDER BY source, registry")
    return [(row["source"], row["registry"]) for row in found]


async def listed(tx: Tx, source: str, registry: str, after: int, limit: int) -> tuple[Place, list[Row]]:
    """Give where what was told of one feed ends, and its texts as they were signed, up to there."""
    known = await end(tx, source, registry)
    return known, await tx.rows(
        "SELECT number, text FROM told_history WHERE source = %s AND registry = %s AND number > %s AND number <= %s"
        " ORDER BY number LIMIT %s",
        source,
        registry,
        after,
        known.number,
        limit,
    )


async def ask_lacking(registry: Registry, sender: Sender) -> int:
    """Ask the gateway for what was found to be lacking, all of it; gives of how many feeds. Raises ``NoAnswer``."""
    asked = 0
    for lack in sorted(registry.lacking):
        while await _ask(registry, sender, *lack):
            pass
        registry.lacking.discard(lack)
        asked += 1
    return asked


async def _ask(registry: Registry, sender: Sender, source: str, own: str, party: str) -> bool:
    """Ask for one page behind what is known, and keep it; gives whether there are more."""
    known = await registry.database.run("history.ask", lambda tx: end(tx, source, own))
    body = {"of": source, "for": {"registry": own, "party": party}, "after": written(known)}
    draft = Draft("history.query", body={**body, "limit": history_pages.MAX_PAGE}, expires_in=QUERY_TIME)
    query = envelope.compose(draft, registry.key, registry.code, registry.gateway, None)
    told = (await sender.post(query.type, query.content_type, query.body))[0]
    if told.type == "refusal" and all(found["code"] in ABOUT_HISTORY for found in told.body["findings"]):
        await registry.database.run("history.heard", lambda tx: _refused(tx, source, own, told))
        return False
    if told.type != "history.page" or any(told.body[name] != body[name] for name in ("of", "for", "after")):
        raise NoAnswer(f"a {told.type} is no answer to the question about the history of {source}")
    if "evidence" not in told.body:
        return False
    try:
        page = _proven(registry, told)
        await registry.database.run("history.heard", lambda tx: _keep(tx, told, page))
    except (Refusal, KeysMissing) as error:
        raise NoAnswer(f"a page of {source} that is not to be kept: {error}") from error
    return bool(told.body["more"]) and page.until.number > known.number


async def _refused(tx: Tx, source: str, own: str, told: Message) -> None:
    """Note why history is not to be had: a person has to look at it, and the next delivery asks again."""
    for found in told.body["findings"]:
        await transfers.alarm(tx, f"history of {source} for {own}", found["code"], found.get("detail", "refused"))


def wanted(registry: Registry, feeds_known: Sequence[tuple[str, str]]) -> None:
    """Have the gateway asked for what comes after that is known of these feeds."""
    for source, own in feeds_known:
        registry.lacking.add((source, own, registry.sections.get(own, registry.party)))
