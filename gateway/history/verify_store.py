"""Rows of pulled history as its proof reads them, a part at a time. Nothing here changes anything."""

from collections.abc import Sequence
from typing import Any

from gateway import db


async def feeds(tx: db.ReadTx, source: str | None = None, registry: str | None = None) -> Sequence[Any]:
    """The feeds that are kept, by source and registry, and the numbers beyond their ends that are kept all the same."""
    return await db.rows(
        tx,
        """
        SELECT f.id, f.link AS source, f.registry, f.party, f.number, f.digest, f.delivered,
               (SELECT count(*) FROM history_entry e WHERE e.feed_id = f.id AND e.number > f.number) AS beyond,
               (SELECT count(*) FROM history_page p WHERE p.feed_id = f.id AND p.last > f.number) AS pages_beyond
        FROM history_feed f
        WHERE (CAST(:source AS text) IS NULL OR f.link = :source)
          AND (CAST(:registry AS text) IS NULL OR f.registry = :registry)
        ORDER BY f.link, f.registry
        """,
        {"source": source, "registry": registry},
    )


async def pages(tx: db.ReadTx, feed_id: int, after: int, until: int, *, most: int) -> Sequence[Any]:
    """The next pages of a feed that end behind number ``after``, and when each was stored."""
    return await db.rows(
        tx,
        """
        SELECT p.first, p.last, p.digest, p.jws, p.entry_id, l.at
        FROM history_page p LEFT JOIN log_entry l ON l.id = p.entry_id
        WHERE p.feed_id = :feed AND p.last > :after AND p.last <= :until ORDER BY p.last LIMIT :most
        """,
        {"feed": feed_id, "after": after, "until": until, "most": most},
    )


async def records(tx: db.ReadTx, feed_id: int, after: int, until: int) -> Sequence[Any]:
    """The records of a feed behind number ``after``, up to ``until``, in order, with every column."""
    return await db.rows(
        tx,
        """
        SELECT e.number, r.sha256, r.registry, r.transaction, r.type, r.at, r.origin_registry, r.series, r.first,
               r.last, r.from_registry, r.from_party, r.from_account, r.to_registry, r.to_party, r.to_account, r.host,
               r.vintage, r.activity, r.authorisation, r.itmo_stem, r.itmo_first, r.corrects, r.item
        FROM history_entry e JOIN history_record r ON r.id = e.record_id
        WHERE e.feed_id = :feed AND e.number > :after AND e.number <= :until ORDER BY e.number
        """,
        {"feed": feed_id, "after": after, "until": until},
    )


async def nowhere(tx: db.ReadTx, *, most: int) -> list[bytes]:
    """The SHA-256 of records that are in no feed."""
    found = await db.rows(
        tx,
        "SELECT r.sha256 FROM history_record r WHERE NOT EXISTS"
        " (SELECT FROM history_entry e WHERE e.record_id = r.id) ORDER BY r.id LIMIT :most",
        {"most": most},
    )
    return [bytes(r.sha256) for r in found]
