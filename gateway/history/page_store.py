"""Rows of pages, of the records they brought, and of what was found in them; all written once.

A record is kept once by its SHA-256, however many feeds have it; ``history_entry`` gives it its number in each. Every
function takes any number of records in a fixed number of statements.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gateway import db
from gateway.domain.check_codes import Finding
from gateway.domain.history import Cursor, Record
from gateway.domain.units import UnitRange
from gateway.history.store import Feed
from gateway.holdings.book import BLOCKS, THERE, block_columns
from gateway.signing import compact

#: Most contradictions that are noted of one page: persons look at the first, and the records are all kept.
MAX_FINDINGS = 100
#: Lengths of a block in hexadecimal digits: in each, none that overlaps units begins further below them than the
#: longest of that length.
_LENGTHS = "generate_series(1, 14)"


def corrected(old: str, feeds: str = "history_feed") -> str:
    """The condition that a record ``c`` corrects the record ``old``; ``feeds`` are those whose word counts.

    It says so of the same transaction and of units that both are about, and a source that told the one told the other
    as well: nobody takes back what another registry alone has said.
    """
    return f"""
      c.corrects = {old}.sha256 AND (c.registry, c.transaction) = ({old}.registry, {old}.transaction)
      AND (c.origin_registry, c.series) = ({old}.origin_registry, {old}.series)
      AND c.first <= {old}.last AND c.last >= {old}.first
      AND EXISTS (
        SELECT FROM history_entry new_entry JOIN {feeds} new_feed ON new_feed.id = new_entry.feed_id
        JOIN {feeds} old_feed ON old_feed.link = new_feed.link
        JOIN history_entry old_entry ON old_entry.feed_id = old_feed.id AND old_entry.record_id = {old}.id
        WHERE new_entry.record_id = c.id)
    """


@dataclass(frozen=True, slots=True)
class Found:
    """What was found, about the record with this SHA-256 where it is about one."""

    finding: Finding
    record: bytes | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """Units (inclusive serials of a series) and what records say of them: attributes, and their identifiers if named.

    ``attributes`` is JSON without the authorisation, which may change; ``offset`` belongs to ``stem``. ``by`` are the
    records, which together are about all of the units.
    """

    units: UnitRange
    attributes: str
    stem: str | None
    offset: int | None
    by: tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class StoredPage:
    """A page as it was pulled: the cursors before and behind it, its JWS and the texts of its records, in order."""

    after: Cursor
    until: Cursor
    jws: str
    texts: tuple[str, ...]


async def keep(
    tx: db.Tx, feed: Feed, until: Cursor, message: str, jws: str, records: Sequence[Record], hashes: Sequence[bytes]
) -> None:
    """Keep a page that came in ``message``, its records (and their hashes), and their numbers behind the feed's."""
    await _keep_records(tx, records, hashes)
    # A statement of its own: what another transaction kept meanwhile is seen by it.
    await db.execute(
        tx,
        """
        INSERT INTO history_entry (feed_id, number, record_id)
        SELECT :feed, :number + w.nr, r.id
        FROM unnest(CAST(:hashes AS bytea[])) WITH ORDINALITY AS w(sha256, nr)
        JOIN history_record r ON r.sha256 = w.sha256 ORDER BY w.nr
        """,
        {"feed": feed.id, "number": feed.cursor.number, "hashes": list(hashes)},
    )
    await db.execute(
        tx,
        """
        INSERT INTO history_page (feed_id, first, last, digest, jws, entry_id)
        SELECT :feed, :first, :last, :digest, :jws, m.entry_id FROM message m
        WHERE m.direction = 'in' AND m.peer = :peer AND m.message_id = :message ORDER BY m.entry_id LIMIT 1
        """,
        {
            **{"feed": feed.id, "first": feed.cursor.number + 1, "last": until.number, "digest": until.digest},
            **{"jws": jws, "peer": feed.asked.of, "message": message},
        },
    )


async def _keep_records(tx: db.Tx, records: Sequence[Record], hashes: Sequence[bytes]) -> None:
    """In the order of their hashes, so that two who keep the same records do not wait for each other."""
    both = sorted(zip(hashes, records, strict=True), key=lambda pair: pair[0])
    await db.execute(
        tx,
        """
        INSERT INTO history_record (sha256, registry, transaction, type, at, origin_registry, series, first, last,
          from_registry, from_party, from_account, to_registry, to_party, to_account, host, vintage, activity,
          authorisation, corrects, item, itmo_stem, itmo_first)
        SELECT * FROM unnest(
          CAST(:sha256 AS bytea[]), CAST(:registry AS text[]), CAST(:transaction AS text[]), CAST(:type AS text[]),
          CAST(:at AS timestamptz[]), CAST(:origin AS text[]), CAST(:series AS text[]), CAST(:first AS bigint[]),
          CAST(:last AS bigint[]), CAST(:from_registry AS text[]), CAST(:from_party AS text[]),
          CAST(:from_account AS text[]), CAST(:to_registry AS text[]), CAST(:to_party AS text[]),
          CAST(:to_account AS text[]), CAST(:host AS text[]), CAST(:vintage AS integer[]), CAST(:activity AS text[]),
          CAST(:authorisation AS text[]), CAST(:corrects AS bytea[]), CAST(:item AS text[]),
          CAST(:itmo_stem AS text[]), CAST(:itmo_first AS bigint[]))
        ON CONFLICT (sha256) DO NOTHING
        """,
        {"sha256": [sha256 for sha256, _ in both], **_columns([record for _, record in both])},
    )


def _columns(records: Sequence[Record]) -> dict[str, list[Any]]:
    blocks = [r.block for r in records]
    attributes = [b.attributes for b in blocks]
    return {
        "registry": [r.registry for r in records],
        "transaction": [r.transaction for r in records],
        "type": [r.type.value for r in records],
        "at": [r.at for r in records],
        "origin": [b.origin.registry for b in blocks],
        "series": [b.origin.series for b in blocks],
        "first": [b.first for b in blocks],
        "last": [b.last for b in blocks],
        "from_registry": [r.source and r.source.registry for r in records],
        "from_party": [r.source and r.source.party for r in records],
        "from_account": [r.source and str(r.source.account) for r in records],
        "to_registry": [r.target and r.target.registry for r in records],
        "to_party": [r.target and r.target.party for r in records],
        "to_account": [r.target and str(r.target.account) for r in records],
        "host": [a.first_transferring_party for a in attributes],
        "vintage": [a.vintage for a in attributes],
        "activity": [a.activity for a in attributes],
        "authorisation": [a.authorisation and a.authorisation.id for a in attributes],
        "corrects": [compact.decode(r.corrects) if r.corrects else None for r in records],
        "item": [r.text for r in records],
        "itmo_stem": [str(b.itmo.stem) if b.itmo else None for b in blocks],
        "itmo_first": [b.first + b.itmo.offset if b.itmo else None for b in blocks],
    }


async def unseen(tx: db.Tx, feed: Feed, records: Sequence[Record]) -> list[Record]:
    """Those of ``records`` whose units none of this feed's records brought into its viewer's books."""
    if not records:
        return []
    units = [r.block.range for r in records]
    found = await db.rows(
        tx,
        f"""
        SELECT q.nr FROM unnest(CAST(:registry AS text[]), CAST(:series AS text[]), CAST(:first AS bigint[]),
          CAST(:last AS bigint[])) WITH ORDINALITY AS q(registry, series, first, last, nr)
        WHERE NOT EXISTS (
          SELECT FROM {_LENGTHS} AS length(digits) CROSS JOIN LATERAL (
            SELECT 1 FROM history_record r
            WHERE r.origin_registry = q.registry AND r.series = q.series
              AND length(to_hex(r.last - r.first)) = length.digits
              AND r.first > q.first - (CAST(1 AS bigint) << (4 * length.digits)) AND r.first <= q.last
              AND r.last >= q.first AND r.to_party = :party
              AND EXISTS (SELECT FROM history_entry e WHERE e.record_id = r.id AND e.feed_id = :feed)
            LIMIT 1) AS brought)
        ORDER BY q.nr
        """,
        {
            **{"registry": [u.origin.registry for u in units], "series": [u.origin.series for u in units]},
            **{"first": [u.first for u in units], "last": [u.last for u in units]},
            **{"party": feed.asked.viewer.party, "feed": feed.id},
        },
    )
    return [records[r.nr - 1] for r in found]


async def again(tx: db.Tx, feed: Feed, hashes: Sequence[bytes]) -> list[bytes]:
    """Those of these records (by SHA-256) that the feed has already."""
    found = await db.rows(
        tx,
        """
        SELECT r.sha256 FROM history_record r JOIN history_entry e ON e.record_id = r.id AND e.feed_id = :feed
        WHERE r.sha256 = ANY(CAST(:hashes AS bytea[])) LIMIT 10
        """,
        {"feed": feed.id, "hashes": list(hashes)},
    )
    return [bytes(r.sha256) for r in found]


async def standing_apart(tx: db.Tx, feed: Feed, until: Cursor) -> list[tuple[bytes, bytes]]:
    """Records of a page just kept, each with one that says something else of the same units in the same transaction.

    Both stand: one that another corrects says nothing any more. What is read grows with the page and with what else is
    known of its units, never with the size of a transaction.
    """
    found = await db.rows(tx, apart(), {"feed": feed.id, "first": feed.cursor.number, "last": until.number})
    pairs: dict[frozenset[bytes], tuple[bytes, bytes]] = {}
    for row in found:  # two of one page are found from either
        pair = bytes(row.mine), bytes(row.other)
        pairs.setdefault(frozenset(pair), pair)
    return list(pairs.values())


def apart() -> str:
    """The statement of ``standing_apart``: one other for each record of the page that has any."""
    return f"""
      SELECT mine.sha256 AS mine, x.sha256 AS other
      FROM history_entry e JOIN history_record mine ON mine.id = e.record_id CROSS JOIN LATERAL (
        SELECT near.sha256 FROM {_LENGTHS} AS length(digits) CROSS JOIN LATERAL (
          SELECT r.sha256 FROM history_record r
          WHERE r.origin_registry = mine.origin_registry AND r.series = mine.series
            AND length(to_hex(r.last - r.first)) = length.digits
            AND r.first > mine.first - (CAST(1 AS bigint) << (4 * length.digits)) AND r.first <= mine.last
            AND r.last >= mine.first AND r.id <> mine.id
            AND (r.registry, r.transaction, r.type) = (mine.registry, mine.transaction, mine.type)
            AND NOT EXISTS (SELECT FROM history_record c WHERE {corrected("r")})
          LIMIT 1
        ) AS near LIMIT 1
      ) AS x
      WHERE e.feed_id = :feed AND e.number > :first AND e.number <= :last
        AND NOT EXISTS (SELECT FROM history_record c WHERE {corrected("mine")})
      ORDER BY e.number LIMIT {MAX_FINDINGS}
    """


async def against_the_book(tx: db.Tx, told: Sequence[Told]) -> list[tuple[Told, UnitRange]]:
    """What is told otherwise than the book has it (attributes, or identifiers), and of which units."""
    found = await db.rows(
        tx,
        f"""
        WITH b AS ({BLOCKS})
        SELECT b.nr, min(greatest(x.first, b.first)) AS first, max(least(x.last, b.last)) AS last
        FROM b JOIN unnest(CAST(:attributes AS text[]), CAST(:stem AS text[]), CAST(:offset AS bigint[]))
          WITH ORDINALITY AS q(attributes, stem, itmo_offset, nr) USING (nr)
        CROSS JOIN LATERAL ({THERE}) AS x
        JOIN unit_attributes a ON a.id = x.attributes_id LEFT JOIN itmo_series i ON i.id = x.itmo_series_id
        WHERE (a.attributes - 'authorisation') <> CAST(q.attributes AS jsonb)
          OR (i.stem, x.itmo_offset) <> (q.stem, q.itmo_offset)
        GROUP BY b.nr ORDER BY b.nr LIMIT {MAX_FINDINGS}
        """,
        {
            **block_columns([t.units for t in told]),
            "attributes": [t.attributes for t in told],
            "stem": [t.stem for t in told],
            "offset": [t.offset for t in told],
        },
    )
    return [(told[r.nr - 1], UnitRange(told[r.nr - 1].units.origin, r.first, r.last)) for r in found]


async def note(tx: db.Tx, feed: Feed, found: Sequence[Found], now: datetime, entry_id: int) -> None:
    """Note what was found; what was noted before in the same words stays as it is."""
    await db.execute(
        tx,
        """
        INSERT INTO history_finding (feed_id, record, code, detail, at, entry_id)
        SELECT :feed, n.record, n.code, n.detail, :now, :entry
        FROM unnest(CAST(:records AS bytea[]), CAST(:codes AS integer[]), CAST(:details AS text[]))
          AS n(record, code, detail)
        WHERE NOT EXISTS (SELECT FROM history_finding f WHERE f.feed_id = :feed AND f.code = n.code
                          AND f.record IS NOT DISTINCT FROM n.record AND f.detail = n.detail)
        """,
        {
            **{"feed": feed.id, "now": now, "entry": entry_id, "records": [one.record for one in found]},
            **{"codes": [one.finding.code for one in found], "details": [one.finding.detail for one in found]},
        },
    )


async def entry_of(tx: db.Tx, peer: str, message_id: str) -> int:
    """The log entry of a message that came in this transaction."""
    found = await db.one(
        tx,
        "SELECT max(entry_id) AS entry_id FROM message WHERE direction = 'in' AND peer = :peer AND message_id = :id",
        {"peer": peer, "id": message_id},
    )
    assert found is not None  # a maximum is always there
    return int(found.entry_id)


async def hashes(tx: db.Tx, feed: Feed, after: int, until: int) -> list[bytes]:
    """The SHA-256 of the feed's records from behind number ``after`` up to ``until``."""
    found = await db.rows(
        tx,
        """
        SELECT r.sha256 FROM history_entry e JOIN history_record r ON r.id = e.record_id
        WHERE e.feed_id = :feed AND e.number > :after AND e.number <= :until ORDER BY e.number
        """,
        {"feed": feed.id, "after": after, "until": until},
    )
    return [bytes(r.sha256) for r in found]


async def page_with(tx: db.Tx, feed_id: int, number: int) -> StoredPage | None:
    """The page that has the record of this number; nothing where there is none yet."""
    found = await db.one(
        tx,
        """
        SELECT p.first, p.last, p.digest, p.jws,
          coalesce((SELECT b.digest FROM history_page b WHERE b.feed_id = p.feed_id AND b.last = p.first - 1),
                   decode(repeat('00', 32), 'hex')) AS before,
          (SELECT array_agg(r.item ORDER BY e.number) FROM history_entry e JOIN history_record r ON r.id = e.record_id
           WHERE e.feed_id = p.feed_id AND e.number >= p.first AND e.number <= p.last) AS texts
        FROM history_page p WHERE p.feed_id = :feed AND p.last >= :number ORDER BY p.last LIMIT 1
        """,
        {"feed": feed_id, "number": number},
    )
    if found is None:
        return None
    after = Cursor(found.first - 1, bytes(found.before))
    return StoredPage(after, Cursor(found.last, bytes(found.digest)), found.jws, tuple(found.texts))
