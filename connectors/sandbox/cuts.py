"""Cuts: what the books were at a moment the gateway has announced, taken once and said again to who asks again.

A cut is announced before its moment and taken when it is first asked for after it. It is taken in one transaction with
one view of the database, so its books, the number of the last message told and what is moving are of one moment, and
no movement waits for it. Only the cut taken last is kept. An announced one whose moment is over and that nobody asked
for is forgotten when another comes.
"""

import base64
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from . import backup, clock, fingerprints
from .books import plain
from .database import Tx
from .envelope import QUERY_TIME, Draft, Message, Refusal
from .registry import Registry

#: How far ahead a cut may be announced, and how long ago the moment of one that is not known here may be.
MAX_AHEAD, MAX_AGO = timedelta(hours=24), timedelta(seconds=300)
#: Transfers in flight that an answer lists.
MAX_MOVING = 5_000
#: What is said of a transfer in flight, by its state here.
_LETTERS = {"locked": b"L", "released": b"R", "accepted": b"A", "credited": b"C"}


async def answer(tx: Tx, registry: Registry, message: Message) -> Draft:
    """Announce or take a cut, or say again what was taken; raises ``Refusal``: 8001, 6101, 6102."""
    await _alone(tx)
    await backup.serving(tx)
    body = message.body
    if body["of"] != registry.code:
        raise _refusal(message, 8001, "the books of others are not here")
    row = await tx.one("SELECT cut, at, answer FROM cut WHERE cut = %s", body["cut"])
    at = datetime.fromisoformat(body["at"])
    if row is None:
        await _announce(tx, message, at)
    taken = row["answer"] if row else None
    if taken is None and clock.present() >= (row["at"] if row else at):
        taken = await _take(tx, registry, body["cut"])
    said = {"of": registry.code, "cut": body["cut"], "at": clock.stamp(row["at"]) if row else body["at"]}
    said |= {"state": "taken", **registry.cut_lies.of_cut(taken)} if taken else {"state": "announced"}
    named = {"id": message.id, "sha256": message.body_sha256}
    return Draft("cut.answer", body=said, in_reply_to=named, expires_in=QUERY_TIME)


async def kept(tx: Tx, cut: str) -> Mapping[str, Any] | None:
    """Give what was said of a cut, if it is the one that is kept."""
    row = await tx.one("SELECT answer FROM cut WHERE cut = %s AND answer IS NOT NULL", cut)
    return row["answer"] if row else None


async def _alone(tx: Tx) -> None:
    """Let one transaction at a time deal with cuts, and see the database as it is once it may: a lock takes no view."""
    await tx.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    await tx.execute("LOCK TABLE cut IN SHARE ROW EXCLUSIVE MODE")


async def _announce(tx: Tx, message: Message, at: datetime) -> None:
    now = clock.present()
    if not now - MAX_AGO <= at <= now + MAX_AHEAD:
        raise _refusal(message, 6101, "the moment of the cut is over, or more than a day ahead")
    if await tx.one("SELECT FROM cut WHERE answer IS NULL AND at > %s", now) is not None:
        raise _refusal(message, 6102, "another cut is announced")
    await tx.execute("DELETE FROM cut WHERE answer IS NULL")
    await tx.execute("INSERT INTO cut (cut, at) VALUES (%s, %s)", message.body["cut"], at)


async def _take(tx: Tx, registry: Registry, cut: str) -> dict[str, Any]:
    """Take a cut; the one kept until now goes."""
    taken: dict[str, Any] = {"taken_at": clock.now(), "told": await _last_told(tx, registry)}
    taken |= {"ranges": registry.ranges, "books": await _books(tx, registry), **await _moving(tx)}
    await tx.execute("DELETE FROM cut WHERE answer IS NOT NULL")
    await tx.execute("UPDATE cut SET answer = %s::jsonb WHERE cut = %s", plain(taken), cut)
    return taken


async def _last_told(tx: Tx, registry: Registry) -> int:
    row = await tx.one("SELECT last_seq FROM stream WHERE peer = %s", registry.gateway)
    return int(row["last_seq"]) if row else 0


async def _books(tx: Tx, registry: Registry) -> list[dict[str, Any]]:
    await fingerprints.bring_up_to_date(tx, registry)
    totals = await fingerprints.totals(tx, registry)
    if not registry.ranges:
        await _keep_positions(tx)
    books = []
    for code in sorted(registry.sections) or [registry.code]:
        directory = await fingerprints.directory(tx, code)
        root = {"root": written(directory.root)} if registry.ranges else {}
        books.append({"registry": code, "series": len(directory.under("")), **root, "totals": totals.get(code, [])})
    return books


async def _keep_positions(tx: Tx) -> None:
    """Keep all positions of the cut, for who will ask for them one by one."""
    await tx.execute("DELETE FROM cut_position")
    await tx.execute(
        "INSERT INTO cut_position (party, name, first, last, account, attributes, itmo, itmo_offset)"
        " SELECT h.party, s.registry || '/' || s.name, h.first, h.last, h.account, h.attributes, h.itmo, h.itmo_offset"
        " FROM holding h JOIN series s ON s.id = h.series"
    )


async def _moving(tx: Tx) -> dict[str, Any]:
    found = await tx.rows(
        "SELECT transfer, state FROM transfer WHERE state IN ('locked', 'released', 'accepted', 'credited')"
        ' ORDER BY transfer COLLATE "C" LIMIT %s',
        MAX_MOVING + 1,
    )
    said = (
        row["transfer"][:5].encode() + bytes.fromhex(row["transfer"][6:].replace("-", "")) + _LETTERS[row["state"]]
        for row in found[:MAX_MOVING]
    )
    return {"moving": written(b"".join(said)), "moving_more": len(found) > MAX_MOVING}


def written(packed: bytes) -> str:
    """Write bytes as the contract does: base64url without padding."""
    return base64.urlsafe_b64encode(packed).rstrip(b"=").decode()


def _refusal(message: Message, code: int, detail: str) -> Refusal:
    return Refusal(code, detail, message.id, message.body_sha256)
