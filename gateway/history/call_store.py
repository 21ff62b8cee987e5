"""Calls for feeds to be pulled at once: rows of their own, which a pull only reads, so that nobody waits for one."""

from collections.abc import Sequence

from gateway import db


async def call(tx: db.Tx, feeds: str, named: dict[str, object]) -> None:
    """Have the feeds that the query ``feeds`` gives pulled at once, but for those that another is calling for now.

    Whoever holds such a row makes the call too, and what we want to be read is there already: nobody waits.
    """
    await db.execute(
        tx,
        f"""
        UPDATE history_call c SET called = c.called + 1
        FROM (SELECT feed_id FROM history_call WHERE feed_id IN ({feeds}) ORDER BY feed_id FOR UPDATE SKIP LOCKED) AS f
        WHERE c.feed_id = f.feed_id
        """,
        named,
    )


async def call_for_transfers(tx: db.Tx, transfers: Sequence[str]) -> None:
    """Call for what completed transfers bring, from the source and the international registry.

    It is for the Parties between which units moved, and for those that host them.
    """
    await call(
        tx,
        """
        SELECT f.id FROM (
          SELECT DISTINCT t.source, p.party
          FROM transfer t JOIN unit_movement m ON m.cause = t.id
          CROSS JOIN LATERAL (VALUES (m.party), (m.acquiring_party), (m.first_transferring_party)) AS p(party)
          WHERE t.id = ANY(CAST(:transfers AS text[]))
        ) AS w
        JOIN history_feed f ON f.party = w.party
        JOIN link s ON s.code = f.link AND (s.code = w.source OR s.kind = 'international')
        """,
        {"transfers": list(transfers)},
    )


async def call_for_parties(tx: db.Tx, link: str, parties: Sequence[str]) -> None:
    """Call for the feeds of a link that are for these Parties: it has told of something done with their units."""
    feeds = "SELECT f.id FROM history_feed f WHERE f.link = :link AND f.party = ANY(CAST(:parties AS text[]))"
    await call(tx, feeds, {"link": link, "parties": list(parties)})


async def call_for(tx: db.Tx, feed_id: int) -> None:
    """Call for one feed."""
    await call(tx, "SELECT CAST(:feed AS integer)", {"feed": feed_id})
