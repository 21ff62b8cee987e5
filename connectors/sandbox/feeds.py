"""Feeds: for each Party the records it may see, numbered without gap, each number with the digest of all up to it.

Records get their numbers when somebody asks (``place``), in the order of their ids, from a list of those that wait:
what a transaction writes is on it once that has committed, so none is missed however transactions end, and no commit
waits for a number. Right after a record by which a Party comes to hold units of others follow the earlier records of
these units. Placing costs what is new; reading costs the page, wherever in the feed it is.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .database import Tx
from .history import MEETING, by_index

#: Records that get their numbers in one transaction, with those that follow them.
BATCH = 10_000

#: What waits for a place in one feed: each record once, behind itself or behind the first that brings it along.
_NEW = f"""
WITH taken AS (DELETE FROM history_waiting WHERE party = %s AND record IN (SELECT record FROM history_waiting
                WHERE party = %s ORDER BY record LIMIT %s) RETURNING record, party),
     w AS MATERIALIZED (SELECT h.*, t.party FROM taken t JOIN history h ON h.id = t.record),
     due AS (SELECT id, id AS behind, false AS earlier, at, sha256, party FROM w
              UNION ALL
             SELECT h.id, w.id, true, h.at, h.sha256, w.party FROM w CROSS JOIN generate_series(1, 14) AS digits
               JOIN history h ON {MEETING}
              WHERE w.comes_to = w.party AND w.host <> w.party AND h.authorised AND h.id < w.id),
     once AS (SELECT DISTINCT ON (id) * FROM due ORDER BY id, behind, earlier)
SELECT id, sha256 FROM once
 WHERE NOT EXISTS (SELECT FROM feed_entry e WHERE e.party = once.party AND e.record = once.id)
 ORDER BY behind, earlier, at, id
"""


@dataclass(frozen=True)
class Place:
    """A place in a feed: how many records lie before it, and the digest (32 bytes) that binds them."""

    number: int
    digest: bytes


START = Place(0, bytes(32))


@dataclass(frozen=True)
class Entry:
    """A record in a feed: the place behind it, its id and its text."""

    place: Place
    record: int
    text: str


def beyond(place: Place, hashes: Iterable[bytes]) -> Iterator[Place]:
    """Give the place behind each of further records, known by their SHA-256."""
    for one in hashes:
        place = Place(place.number + 1, hashlib.sha256(place.digest + one).digest())
        yield place


async def place(tx: Tx, party: str) -> tuple[Place, bool]:
    """Give places to what waits, a batch at most; gives the end of the feed, and whether more may be waiting."""
    end = await _locked(tx, party)
    waiting = await tx.one("SELECT count(*) AS n FROM (SELECT FROM history_waiting WHERE party = %s LIMIT %s) AS w",
                           party, BATCH)  # fmt: skip
    if waiting is None or not waiting["n"]:
        return end, False
    await by_index(tx)
    new = await tx.rows(_NEW, party, party, BATCH)
    places = list(beyond(end, (bytes(row["sha256"]) for row in new)))
    await put(tx, party, [(row["id"], at) for row, at in zip(new, places, strict=True)])
    return places[-1] if places else end, waiting["n"] == BATCH


async def put(tx: Tx, party: str, entries: list[tuple[int, Place]]) -> None:
    """Write places at the end of a feed that is locked."""
    if entries:
        await tx.execute(
            "INSERT INTO feed_entry (party, number, record, digest)"
            " SELECT %s, * FROM unnest(%s::bigint[], %s::bigint[], %b::bytea[])",
            party,
            [at.number for _, at in entries],
            [record for record, _ in entries],
            [at.digest for _, at in entries],
        )
        await set_end(tx, party, entries[-1][1])


async def set_end(tx: Tx, party: str, end: Place) -> None:
    """Say where a feed ends."""
    await tx.execute("UPDATE feed SET number = %s, digest = %s WHERE party = %s", end.number, end.digest, party)


async def _locked(tx: Tx, party: str) -> Place:
    await tx.execute("INSERT INTO feed (party) VALUES (%s) ON CONFLICT DO NOTHING", party)
    row = await tx.one("SELECT number, digest FROM feed WHERE party = %s FOR UPDATE", party)
    return Place(row["number"], bytes(row["digest"])) if row else START


async def at(tx: Tx, party: str, number: int) -> Place | None:
    """Give the place with this number, if the feed goes that far."""
    if number == 0:
        return START
    row = await tx.one("SELECT digest FROM feed_entry WHERE party = %s AND number = %s", party, number)
    return Place(number, bytes(row["digest"])) if row else None


async def read(tx: Tx, party: str, after: int, upto: int, limit: int) -> list[Entry]:
    """Give the records with the numbers behind ``after``, up to ``upto``, at most ``limit``."""
    rows = await tx.rows(
        "SELECT e.number, e.digest, e.record, h.text FROM feed_entry e JOIN history h ON h.id = e.record"
        " WHERE e.party = %s AND e.number > %s AND e.number <= %s ORDER BY e.number LIMIT %s",
        party,
        after,
        upto,
        limit,
    )
    return [Entry(Place(row["number"], bytes(row["digest"])), row["record"], row["text"]) for row in rows]
