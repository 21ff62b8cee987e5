"""Pages: how the gateway's questions for history are answered.

A page holds up to as many records as are asked for, fewer where the message would grow too long. Before it is signed,
what waits has its number, and where this registry keeps a log of its own every record of the page has its entry in it,
under a signed checkpoint.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from . import backup, feeds, own_log, selecting, strictjson
from .database import Tx
from .envelope import QUERY_TIME, Draft, Message, Refusal
from .feeds import Entry, Place
from .history_tricks import ON_PAGES, Page, Tricks, read
from .notes import Signer
from .signature import MAX_BODY_BYTES

#: Most records of one page.
MAX_PAGE = 1_000
#: Longest body of a page; what receives it takes twice that.
MAX_PAGE_BYTES = MAX_BODY_BYTES // 2
#: What a record takes in a page beside its text: its hash, its place in the log and its salt, all in base64 of base64.
BESIDE_BYTES = 200
#: Numbers looked at for one page of what is selected.
MAX_LOOKED = 5_000
#: The setting that names the Parties that may not view.
SHUT = "no_view"


async def may_view(tx: Tx, code: str, message: Message) -> None:
    """Refuse (8001) a question for another registry's books, or for a Party that may not view."""
    row = await tx.one("SELECT value FROM setting WHERE name = %s", SHUT)
    if message.body["of"] != code or message.body["for"]["party"] in (row["value"] if row else ()):
        raise refusal(message, 8001, "nothing of this is to be viewed here")


def refusal(message: Message, code: int, detail: str) -> Refusal:
    """Make the refusal of a whole message."""
    return Refusal(code, detail, message.id, message.body_sha256)


async def prepare(tx: Tx, code: str, message: Message) -> tuple[Place, bool]:
    """Give places to what waits for one in the feed that is asked for; raises ``Refusal`` 8001 or 8002."""
    await backup.serving(tx)
    if message.body["limit"] > MAX_PAGE:
        raise refusal(message, 8002, f"no more than {MAX_PAGE} at once")
    await may_view(tx, code, message)
    return await feeds.place(tx, message.body["for"]["party"])


async def answer(tx: Tx, tricks: Tricks, signer: Signer | None, message: Message, end: Place) -> Draft:
    """Answer a question from what is placed up to ``end``; raises ``Refusal`` (8003, or 9002 without its log)."""
    body, party = message.body, message.body["for"]["party"]
    after = read(body["after"])
    if after.number and tricks.take("expire"):
        raise refusal(message, 8003, "a trick: no cursor but the first is known")
    if after.number > end.number or await feeds.at(tx, party, after.number) != after:
        raise refusal(message, 8003, "not a cursor of this feed")
    page = await _page(tx, party, after, end, body)
    if signer is not None:
        page = await _logged(tx, message, page)
    if page.entries and (trick := tricks.take(*ON_PAGES)):
        page = ON_PAGES[trick](page, tricks.last.get(party))
    tricks.last[party] = page
    named = {"id": message.id, "sha256": message.body_sha256}
    texts = [entry.text for entry in page.entries]
    return Draft("history.page", texts, page.body(body), in_reply_to=named, expires_in=QUERY_TIME)


async def _page(tx: Tx, party: str, after: Place, end: Place, asked: Mapping[str, Any]) -> Page:
    select, limit = asked.get("select"), asked["limit"]
    entries: list[Entry] = []
    until, size = after, 0
    for entry in await feeds.read(tx, party, after.number, end.number, MAX_LOOKED if select else limit):
        if select is None or selecting.holds(select, strictjson.loads(entry.text)):
            size += len(strictjson.dumps(entry.text).encode()) + BESIDE_BYTES
            if len(entries) == limit or (entries and size > MAX_PAGE_BYTES):
                break
            entries.append(entry)
        until = entry.place
    return Page(after, until, until.number < end.number, entries)


async def _logged(tx: Tx, message: Message, page: Page) -> Page:
    signed = await own_log.checkpoint(tx)
    places = await own_log.shown(tx, [entry.record for entry in page.entries])
    if signed is None or places is None:
        raise refusal(message, 9002, "the log is behind its registry")
    return replace(page, log=(signed[1], places))
