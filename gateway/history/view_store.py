"""Rows of pulled history as they are shown: feeds, their records, and who may view what at which source.

Everything is seen through the sight of who asks, in SQL: those of a registry see the feeds that are pulled for it and
for the other books of its Party, those of a source the feeds that are pulled from it. A record is seen by who sees a
feed that has it, and of a record only what those feeds say. Nothing here changes anything.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from gateway import db
from gateway.domain.callers import Sight
from gateway.domain.identifiers import ItmoStem, RegistryCode
from gateway.domain.units import Origin, UnitRange
from gateway.history.page_store import corrected

#: Whether a feed ``f`` is seen (``Sight.parameters``).
SEEN = """
  (CAST(:sight AS text) IS NULL OR CAST(:sight AS text) IN (f.registry, f.link) OR f.party = CAST(:sight_party AS text))
"""
#: A feed ``f`` that is seen and is the one asked for, where one is.
_WANTED = f"""
  {SEEN} AND (CAST(:source AS text) IS NULL OR f.link = :source)
  AND (CAST(:registry AS text) IS NULL OR f.registry = :registry)
"""
#: How many blocks of different origin a range of ITMO identifiers may lead to: a person looks at one holding.
MAX_ORIGINS = 1_000
#: Rows of ``{table}`` b whose serials from ``{first}`` on overlap ``{low}`` to ``{high}``, as an index over the length
#: of blocks finds them (see ``evidence.unit_store``).
_OVERLAPPING = """
  length(to_hex(b.last - b.first)) = digits.long
  AND {first} > {low} - (CAST(1 AS bigint) << (4 * digits.long)) AND {first} <= {high}
  AND {first} + (b.last - b.first) >= {low}
"""
_DIGITS = "generate_series(1, 14) AS digits(long)"


class Along(StrEnum):
    """Which way leads to the records that are looked at."""

    #: From the newest on, whoever sees them: for who sees very many.
    TIME = "time"
    #: All of the feeds that are seen: for who sees few.
    FEEDS = "feeds"
    #: Those of some units.
    UNITS = "units"


@dataclass(frozen=True, slots=True)
class Named:
    """How many feeds of those asked for are seen, and how many records are in them."""

    feeds: int
    records: int


@dataclass(frozen=True, slots=True)
class Question:
    """What is looked for, in what is seen; ``None`` is no restriction, and so is ``units`` of none."""

    sight: Sight
    along: Along
    source: str | None = None
    registry: str | None = None
    account: str | None = None
    party: str | None = None
    activity: str | None = None
    authorisation: str | None = None
    vintage: int | None = None
    type: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    units: tuple[UnitRange, ...] | None = None


#: Where a page ends: the time of its last record, and its id.
Edge = tuple[datetime, int]


@dataclass(frozen=True, slots=True)
class Window:
    """The records found among some candidates, and where those end: None when they are the last."""

    rows: Sequence[Any]
    end: Edge | None


@dataclass(frozen=True, slots=True)
class Standing:
    """A source and the registry that would view it, with the states of both links and whether each may be viewed."""

    party: str
    viewer: str
    viewer_state: str
    viewer_may: bool
    source_state: str
    source_may: bool


async def named(tx: db.ReadTx, sight: Sight, source: str | None, registry: str | None) -> Named:
    """What is seen of the feeds of a source, for a registry, or of all."""
    found = await db.one(
        tx,
        f"SELECT count(*) AS feeds, coalesce(sum(f.number), 0) AS records FROM history_feed f WHERE {_WANTED}",
        {"source": source, "registry": registry, **sight.parameters},
    )
    assert found is not None  # an aggregate has a row
    return Named(int(found.feeds), int(found.records))


async def feeds(tx: db.ReadTx, sight: Sight, source: str | None = None, registry: str | None = None) -> Sequence[Any]:
    """The feeds seen, by source and registry."""
    return await db.rows(
        tx,
        f"""
        SELECT f.id, f.link AS source, f.registry, f.party, f.number, f.digest, f.walk_number, f.delivered, f.stopped,
               f.attempts, f.waiting, f.next_at, f.pulled_at, f.leased_until,
               coalesce(c.called, 0) <> f.answered AS called,
               (SELECT count(*) FROM history_finding h WHERE h.feed_id = f.id) AS findings
        FROM history_feed f LEFT JOIN history_call c ON c.feed_id = f.id
        WHERE {_WANTED} ORDER BY f.link, f.registry
        """,
        {"source": source, "registry": registry, **sight.parameters},
    )


async def findings(tx: db.ReadTx, sight: Sight, source: str, registry: str, *, most: int) -> Sequence[Any]:
    """The newest findings of a feed that is seen, those about its pages and those about its records."""
    return await db.rows(
        tx,
        f"""
        SELECT h.record, h.code, h.detail, h.at, h.entry_id
        FROM history_feed f JOIN history_finding h ON h.feed_id = f.id
        WHERE {_WANTED} ORDER BY h.id DESC LIMIT :most
        """,
        {"source": source, "registry": registry, "most": most, **sight.parameters},
    )


async def standing(tx: db.ReadTx, sight: Sight, source: str, registry: str) -> Standing | None:
    """Who would view what: nothing unless that is a source, the registry is one Party's, and its people ask."""
    found = await db.one(
        tx,
        """
        SELECT r.party, v.code AS viewer, v.state AS viewer_state, 'view' = ANY(v.capabilities) AS viewer_may,
               s.state AS source_state, 'view' = ANY(s.capabilities) AS source_may
        FROM link_registry r JOIN link v ON v.code = r.link JOIN link s ON s.code = :source
        WHERE r.registry = :registry AND r.party IS NOT NULL
          AND (s.kind = 'international' OR (s.kind = 'mechanism' AND s.code <> v.code))
          AND (CAST(:sight AS text) IS NULL OR r.registry = :sight OR r.party = CAST(:sight_party AS text))
        """,
        {"source": source, "registry": registry, **sight.parameters},
    )
    return Standing(**found._mapping) if found is not None else None


async def origins(tx: db.ReadTx, sight: Sight, stem: ItmoStem, first: int, last: int) -> list[UnitRange]:
    """The units that bear some ITMO identifiers in records that are seen; at most ``MAX_ORIGINS`` + 1 blocks."""
    overlapping = _OVERLAPPING.format(first="b.itmo_first", low="CAST(:first AS bigint)", high=":last")
    found = await db.rows(
        tx,
        f"""
        SELECT DISTINCT origin_registry, series, greatest(itmo_first, :first) - shift AS first,
               least(itmo_last, :last) - shift AS last
        FROM {_DIGITS} CROSS JOIN LATERAL (
          SELECT b.origin_registry, b.series, b.itmo_first, b.itmo_first + b.last - b.first AS itmo_last,
                 b.itmo_first - b.first AS shift
          FROM history_record b WHERE b.itmo_stem = :stem AND {overlapping}
            AND EXISTS (SELECT FROM history_entry e JOIN history_feed f ON f.id = e.feed_id
                        WHERE e.record_id = b.id AND {SEEN})
        ) AS x ORDER BY 1, 2, 3, 4 LIMIT :most
        """,
        {"stem": stem, "first": first, "last": last, "most": MAX_ORIGINS + 1, **sight.parameters},
    )
    return [UnitRange(Origin(RegistryCode(r.origin_registry), r.series), int(r.first), int(r.last)) for r in found]


async def window(tx: db.ReadTx, asked: Question, edge: Edge | None, *, candidates: int, limit: int) -> Window:
    """The records among the next ``candidates`` before ``edge`` (None: from the newest on), at most ``limit``."""
    at, record_id = edge if edge is not None else ("infinity", 2**63 - 1)
    found = await db.rows(
        tx,
        statement(asked.along, candidates),
        {**parameters(asked), "edge_at": at, "edge_id": record_id, "limit": limit},
    )
    rows = [row for row in found if row.id is not None]
    if len(rows) == limit:
        return Window(rows, (rows[-1].at, rows[-1].id))
    extent = found[0]
    return Window(rows, (extent.end_at, extent.end_id) if extent.number == candidates else None)


def statement(along: Along, candidates: int) -> str:
    """The candidates in order, and of those the ones that are seen and asked for, with what is known of each.

    How many are looked at is said in so many words: of a parameter the planner would not know it.
    """
    return f"""
      WITH feed AS MATERIALIZED (SELECT f.id, f.link, f.registry FROM history_feed f WHERE {SEEN}),
      wanted AS MATERIALIZED (SELECT f.id FROM feed f JOIN history_feed USING (id) WHERE {_NARROWED}),
      span AS MATERIALIZED (
        SELECT c.id, c.at FROM ({_CANDIDATES[along].format(candidates=candidates)}) AS c
        WHERE (c.at, c.id) < (CAST(:edge_at AS timestamptz), CAST(:edge_id AS bigint))
        ORDER BY c.at DESC, c.id DESC LIMIT {candidates}
      ),
      extent AS (
        SELECT count(*) AS number, (array_agg(at ORDER BY at, id))[1] AS end_at,
               (array_agg(id ORDER BY at, id))[1] AS end_id FROM span
      )
      SELECT x.number, x.end_at, x.end_id, shown.* FROM extent x LEFT JOIN LATERAL (
        SELECT r.id, r.sha256, r.at, r.item, {_WITNESSES} AS witnesses, {_FINDINGS} AS findings,
               ARRAY(SELECT c.sha256 FROM history_record c WHERE {corrected("r", "feed")} ORDER BY c.id) AS corrected_by
        FROM span JOIN history_record r ON r.id = span.id WHERE {_MATCHING}
          AND EXISTS (SELECT FROM history_entry e JOIN wanted w ON w.id = e.feed_id WHERE e.record_id = r.id)
        ORDER BY r.at DESC, r.id DESC LIMIT :limit
      ) AS shown ON true ORDER BY shown.at DESC, shown.id DESC
    """


_NARROWED = """
  (CAST(:source AS text) IS NULL OR f.link = :source) AND (CAST(:registry AS text) IS NULL OR f.registry = :registry)
"""
_TIMELY = """
  (CAST(:since AS timestamptz) IS NULL OR r.at >= :since) AND (CAST(:until AS timestamptz) IS NULL OR r.at < :until)
"""
#: The units that are asked for, as rows.
_UNITS = """unnest(CAST(:origins AS text[]), CAST(:series AS text[]), CAST(:firsts AS bigint[]),
  CAST(:lasts AS bigint[])) AS u(registry, series, first, last)"""
_CANDIDATES = {
    # The keyset stands here once more, so that the index is read from there on.
    Along.TIME: f"""
      SELECT r.id, r.at FROM history_record r
      WHERE (r.at, r.id) < (CAST(:edge_at AS timestamptz), CAST(:edge_id AS bigint)) AND {_TIMELY}
      ORDER BY r.at DESC, r.id DESC LIMIT {{candidates}}
    """,
    Along.FEEDS: f"""
      SELECT r.id, r.at FROM history_record r
      WHERE r.id IN (SELECT e.record_id FROM history_entry e JOIN wanted w ON w.id = e.feed_id) AND {_TIMELY}
    """,
    Along.UNITS: f"""
      SELECT DISTINCT x.id, x.at FROM {_UNITS} CROSS JOIN {_DIGITS} CROSS JOIN LATERAL (
        SELECT b.id, b.at FROM history_record b WHERE b.origin_registry = u.registry AND b.series = u.series
          AND {_OVERLAPPING.format(first="b.first", low="u.first", high="u.last")}
      ) AS x
    """,
}
#: Whether a record ``r`` is what is asked for, wherever it is seen.
_MATCHING = f"""
  {_TIMELY} AND (CAST(:type AS text) IS NULL OR r.type = :type)
  AND (CAST(:activity AS text) IS NULL OR r.activity = :activity)
  AND (CAST(:authorisation AS text) IS NULL OR r.authorisation = :authorisation)
  AND (CAST(:vintage AS integer) IS NULL OR r.vintage = :vintage)
  AND ((CAST(:party AS text) IS NULL AND CAST(:account AS text) IS NULL)
    OR ((CAST(:party AS text) IS NULL OR r.from_party = :party)
      AND (CAST(:account AS text) IS NULL OR r.from_account = :account))
    OR ((CAST(:party AS text) IS NULL OR r.to_party = :party)
      AND (CAST(:account AS text) IS NULL OR r.to_account = :account)))
  AND (CAST(:origins AS text[]) IS NULL OR EXISTS (SELECT FROM {_UNITS} WHERE u.registry = r.origin_registry
    AND u.series = r.series AND u.first <= r.last AND u.last >= r.first))
"""
#: Each feed that is seen and has a record ``r``: under which number, and when its page came.
_WITNESSES = """(
  SELECT json_agg(json_build_object('source', f.link, 'registry', f.registry, 'number', e.number,
                                    'retrieved_at', l.at) ORDER BY f.link, f.registry)
  FROM history_entry e JOIN feed f ON f.id = e.feed_id
  CROSS JOIN LATERAL (SELECT p.entry_id FROM history_page p WHERE p.feed_id = e.feed_id AND p.last >= e.number
                      ORDER BY p.last LIMIT 1) AS p
  JOIN log_entry l ON l.id = p.entry_id
  WHERE e.record_id = r.id)
"""
_FINDINGS = """(
  SELECT json_agg(json_build_object('code', h.code, 'detail', h.detail, 'at', h.at) ORDER BY h.id)
  FROM history_finding h JOIN feed f ON f.id = h.feed_id WHERE h.record = r.sha256)
"""


def parameters(asked: Question) -> Mapping[str, Any]:
    """The question for ``statement``, but for where it begins and how many are shown."""
    units = asked.units
    return {
        **asked.sight.parameters,
        "source": asked.source,
        "registry": asked.registry,
        "account": asked.account,
        "party": asked.party,
        "activity": asked.activity,
        "authorisation": asked.authorisation,
        "vintage": asked.vintage,
        "type": asked.type,
        "since": asked.since,
        "until": asked.until,
        "origins": None if units is None else [u.origin.registry for u in units],
        "series": None if units is None else [u.origin.series for u in units],
        "firsts": None if units is None else [u.first for u in units],
        "lasts": None if units is None else [u.last for u in units],
    }


async def held(tx: db.ReadTx, source: str, registry: str) -> Any | None:
    """How far a feed is pulled; nothing where none is kept."""
    return await db.one(
        tx,
        "SELECT id, number, digest FROM history_feed WHERE link = :source AND registry = :registry",
        {"source": source, "registry": registry},
    )


async def behind(tx: db.ReadTx, feed_id: int, number: int) -> tuple[int, bytes, list[bytes]]:
    """The last page that ends at ``number`` or before it, and the SHA-256 of each record from there to ``number``."""
    page = await db.one(
        tx,
        "SELECT last, digest FROM history_page WHERE feed_id = :feed AND last <= :number ORDER BY last DESC LIMIT 1",
        {"feed": feed_id, "number": number},
    )
    last = page.last if page is not None else 0
    kept = await pulled(tx, feed_id, last, number)
    return last, bytes(page.digest) if page is not None else bytes(32), [bytes(r.sha256) for r in kept]


async def pulled(tx: db.ReadTx, feed_id: int, after: int, until: int) -> Sequence[Any]:
    """The records of a feed behind number ``after``, up to ``until``, in order."""
    return await db.rows(
        tx,
        """
        SELECT e.number, r.sha256, r.item FROM history_entry e JOIN history_record r ON r.id = e.record_id
        WHERE e.feed_id = :feed AND e.number > :after AND e.number <= :until ORDER BY e.number
        """,
        {"feed": feed_id, "after": after, "until": until},
    )
