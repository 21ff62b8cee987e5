"""Rows of runs as they are shown, through the sight of who asks, in SQL.

Those of a link see its runs; those of a registry see the runs of the link that it is behind, and in them their own book
and its findings alone. Nothing here changes anything.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gateway import db
from gateway.domain.callers import Sight
from gateway.transfers.viewers import SEEN

#: A run ``r`` that is seen.
_SEEN = """
  (CAST(:sight AS text) IS NULL OR r.link = :sight
   OR r.link = (SELECT o.link FROM link_registry o WHERE o.registry = :sight))
"""
#: A row ``b`` of a book that is seen in a run that is.
_OWN = """
  (CAST(:sight AS text) IS NULL OR b.registry = :sight
   OR EXISTS (SELECT FROM link_registry o WHERE o.registry = b.registry AND o.link = :sight))
"""
#: The transfers that explain a finding ``b``, those that are seen; null where nothing explains it.
_EXPLAINING = f"""
  CASE WHEN b.explained_by IS NULL OR CAST(:sight AS text) IS NULL THEN b.explained_by ELSE ARRAY(
    SELECT t.id FROM transfer t WHERE t.id = ANY(b.explained_by) AND {SEEN} ORDER BY t.id) END
"""
_COLUMNS = """
  CAST(r.id AS text) AS id, r.link, r.state, r.status, r.asked_by, r.whole, CAST(r.cut AS text) AS cut, r.cut_at,
  r.taken_at, r.size, r.told, r.round_trips, r.bytes_sent, r.bytes_received, r.remarks, r.waiting, r.begun_at,
  r.ended_at, r.next_at, r.entry_id, CAST(r.result_id AS text) AS result"""


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run. ``size``: leaves of the log's tree in our cut; ``told``: what the registry had numbered by its own."""

    id: str
    link: str
    state: str
    status: int | None
    asked_by: str | None
    whole: bool
    cut: str | None
    cut_at: datetime | None
    taken_at: datetime | None
    size: int | None
    told: int | None
    round_trips: int
    bytes_sent: int
    bytes_received: int
    remarks: list[str]
    waiting: str | None
    begun_at: datetime | None
    ended_at: datetime | None
    next_at: datetime | None
    entry_id: int | None
    result: str | None


@dataclass(frozen=True, slots=True)
class BookRow:
    """A book as it was compared: roots as bytes, totals as registries tell them."""

    registry: str
    root: bytes
    theirs: bytes | None
    totals: list[dict[str, Any]]
    totals_there: list[dict[str, Any]]
    codes: list[int]


@dataclass(frozen=True, slots=True)
class FindingRow:
    """Units that differed; ``explained_by`` and ``case`` are never both there."""

    id: int
    registry: str
    code: int
    origin_registry: str
    series: str
    first: int
    last: int
    here: str | None
    there: str | None
    detail: str
    explained_by: list[str] | None
    case: str | None


async def runs(tx: db.ReadTx, sight: Sight, *, link: str | None, before: datetime | None, limit: int) -> list[RunRow]:
    """Runs that have not ended, then those that have, the last first."""
    found = await db.rows(
        tx,
        f"""
        SELECT {_COLUMNS} FROM reconciliation r
        WHERE {_SEEN} AND (CAST(:link AS text) IS NULL OR r.link = :link)
          AND (CAST(:before AS timestamptz) IS NULL OR r.ended_at < :before)
        ORDER BY r.ended_at DESC NULLS FIRST, r.id DESC LIMIT :limit
        """,
        {"sight": sight.code, "link": link, "before": before, "limit": limit},
    )
    return [RunRow(**r._mapping) for r in found]


async def run(tx: db.ReadTx, sight: Sight, id: str) -> RunRow | None:
    """One run, if it is seen."""
    found = await db.one(
        tx, f"SELECT {_COLUMNS} FROM reconciliation r WHERE {_SEEN} AND r.id = :id", {"sight": sight.code, "id": id}
    )
    return RunRow(**found._mapping) if found else None


async def books(tx: db.ReadTx, sight: Sight, id: str) -> list[BookRow]:
    """The books of a run that are seen."""
    found = await db.rows(
        tx,
        f"""
        SELECT b.registry, b.root, b.theirs, b.totals, b.totals_there, b.codes
        FROM reconciliation_book b WHERE b.reconciliation_id = :id AND {_OWN} ORDER BY b.registry
        """,
        {"sight": sight.code, "id": id},
    )
    return [
        BookRow(**{**r._mapping, "root": bytes(r.root), "theirs": bytes(r.theirs) if r.theirs else None}) for r in found
    ]


async def findings(tx: db.ReadTx, sight: Sight, id: str, *, after: int, limit: int) -> list[FindingRow]:
    """The findings of a run that are seen, in order, from behind ``after`` on."""
    found = await db.rows(
        tx,
        f"""
        SELECT b.id, b.registry, b.code, b.origin_registry, b.series, b.first, b.last, b.here, b.there, b.detail,
          {_EXPLAINING} AS explained_by, b.case_id AS case
        FROM reconciliation_finding b
        WHERE b.reconciliation_id = :id AND b.id > :after AND {_OWN} ORDER BY b.id LIMIT :limit
        """,
        {**sight.parameters, "id": id, "after": after, "limit": limit},
    )
    return [FindingRow(**r._mapping) for r in found]


async def counts(tx: db.ReadTx, sight: Sight, id: str) -> tuple[int, int]:
    """How many findings of a run are seen that nothing explains, and that something does."""
    found = await db.one(
        tx,
        f"""
        SELECT count(*) FILTER (WHERE b.explained_by IS NULL) AS found, count(b.explained_by) AS explained
        FROM reconciliation_finding b WHERE b.reconciliation_id = :id AND {_OWN}
        """,
        {"sight": sight.code, "id": id},
    )
    assert found is not None  # an aggregate always gives a row
    return int(found.found), int(found.explained)
