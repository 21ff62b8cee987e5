"""Rows of feeds as their pages are handed on: which wait for it, and by which message one is under way."""

from dataclasses import dataclass

from gateway import db
from gateway.history import store
from gateway.history.asked import Asked

#: Pages that one transaction begins to hand on: each is read and signed whole.
DELIVERIES_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Undelivered:
    """A feed of which a page waits to be handed on to ``peer``; ``delivered`` is the last number that was."""

    id: int
    asked: Asked
    peer: str
    delivered: int


async def undelivered(tx: db.Tx, feed_id: int | None) -> list[Undelivered]:
    """Lock feeds of which a page waits to be handed on, passing over what another holds; one feed, or some of all."""
    found = await db.rows(
        tx,
        f"""
        SELECT f.id, f.link, f.registry, f.party, d.code AS peer, f.delivered FROM {store.UNDELIVERED}
          AND f.id = coalesce(CAST(:feed AS integer), f.id)
        ORDER BY f.id LIMIT {DELIVERIES_AT_ONCE} FOR UPDATE OF f SKIP LOCKED
        """,
        {"feed": feed_id},
    )
    return [Undelivered(r.id, store.asked_of(r), r.peer, r.delivered) for r in found]


async def deliver(tx: db.Tx, feed_id: int, message_id: str) -> None:
    """Note by which message the next page of a feed is handed on."""
    statement = "UPDATE history_feed SET delivering = :message WHERE id = :feed"
    await db.execute(tx, statement, {"feed": feed_id, "message": message_id})


async def hold_back(tx: db.Tx, feed_id: int) -> int | None:
    """Hand on nothing of a feed until ``reopen``; the log entry of the page that cannot be, where there is one.

    It is as if a message that is owed no more handed it on: one that there never was.
    """
    found = await db.one(
        tx,
        """
        UPDATE history_feed f SET delivering = gen_random_uuid() WHERE f.id = :feed RETURNING
          (SELECT p.entry_id FROM history_page p WHERE p.feed_id = f.id AND p.first = f.delivered + 1) AS entry_id
        """,
        {"feed": feed_id},
    )
    return found.entry_id if found else None


async def delivered(tx: db.Tx, message_id: str) -> int | None:
    """Move a feed behind the page that ``message_id`` hands on, which is receipted; its id, or nothing."""
    found = await db.rows(
        tx,
        """
        UPDATE history_feed f SET delivering = NULL, delivered = p.last FROM history_page p
        WHERE f.delivering = :message AND p.feed_id = f.id AND p.first = f.delivered + 1 RETURNING f.id
        """,
        {"message": message_id},
    )
    return found[0].id if found else None


async def delivering(tx: db.Tx, message_id: str) -> Asked | None:
    """Whose feed a message hands on a page of, or nothing."""
    found = await db.one(
        tx,
        "SELECT link, registry, party FROM history_feed WHERE delivering = :message",
        {"message": message_id},
    )
    return store.asked_of(found) if found else None
