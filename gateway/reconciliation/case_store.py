"""Rows of cases, of the units in them, and of every step. A unit is taken into a case and let out of it, never edited.

Everything takes any number of rows in a fixed number of statements. Whoever writes has called ``alone`` before: what
opens, changes or closes cases does so one after the other, so that units are flagged exactly as long as they are in a
case that flags them.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from gateway import db
from gateway.domain.facts import Flag
from gateway.domain.identifiers import LinkCode, RegistryCode
from gateway.domain.units import Origin, UnitRange
from gateway.errors import GatewayError, Kind
from gateway.holdings.book import BLOCKS, OVERLAP, block_columns


class State(StrEnum):
    """How far a case is."""

    #: Identified; nobody was told.
    OPEN = "open"
    #: Those concerned were told; a response is due.
    NOTIFIED = "notified"
    #: They have responded.
    RESPONDED = "responded"
    #: It was corrected, as somebody says; a reconciliation proves it, or two persons close the case.
    CORRECTED = "corrected"
    #: It has ended, and its units are free.
    CLOSED = "closed"


class Source(StrEnum):
    """Who found it."""

    #: The gateway, comparing its book with a registry's.
    RECONCILIATION = "reconciliation"
    #: The secretariat's consistency check (2/CMA.3 annex para 33).
    SECRETARIAT = "secretariat"
    #: The Article 6 technical expert review.
    REVIEW = "review"
    #: The Party itself, before it files.
    PRE_CHECK = "pre-check"


@dataclass(frozen=True, slots=True)
class Case:
    """A case as it is opened. ``of`` is what it is numbered under: a registry, or a Party."""

    id: str
    of: str
    source: Source
    check_id: str
    link: str | None
    registry: str | None
    parties: tuple[str, ...]
    effect: bool
    flag: Flag | None
    reconciliation: str | None
    detail: str
    state: State
    due: datetime
    opened_by: int

    @property
    def number(self) -> int:
        """Its number among those of ``of``."""
        return int(self.id.removeprefix(f"{self.of}-"))


@dataclass(frozen=True, slots=True)
class Entered:
    """Units that are taken into a case, with their states in both books where these were compared."""

    case: str
    units: UnitRange
    here: str | None = None
    there: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Live(Entered):
    """Units that are in an open case, of which registry's book and by which check."""

    id: int = 0
    registry: str | None = None
    check_id: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """What happens to a case that has ``version``: it leads to ``state``; ``said`` are columns that get a value."""

    case: str
    version: int
    event: str
    state: State
    by: str
    detail: str
    entry_id: int
    said: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a case is, and how many ranges of units are left in it."""

    id: str
    source: Source
    version: int
    state: State
    corrected_by: str | None
    units: int


#: What a step may say, and of which type it is.
_SAID = {"notified_at": "timestamptz", "due": "timestamptz", "responded_at": "timestamptz", "response": "text",
         "corrected_by": "text", "closed_at": "timestamptz"}  # fmt: skip


async def alone(tx: db.Tx) -> None:
    """Let nobody else open, change or close a case until ``tx`` ends."""
    await db.rows(tx, "SELECT pg_advisory_xact_lock(17, 0)")


async def next_number(tx: db.Tx, of: str) -> int:
    """The number of the next case of a registry or a Party."""
    found = await db.one(
        tx, "SELECT coalesce(max(number), 0) + 1 AS next FROM inconsistency_case WHERE of = :of", {"of": of}
    )
    assert found is not None  # an aggregate always has a row
    return int(found.next)


async def live(tx: db.Tx, registry: str) -> list[Live]:
    """All units that are in open cases of reconciliations of this book."""
    found = await db.rows(
        tx,
        """
        SELECT u.id, u.case_id, c.registry, c.check_id, s.registry AS origin, s.series, u.first, u.last, u.here,
               u.there, u.detail
        FROM inconsistency_case c JOIN case_unit u ON u.case_id = c.id JOIN unit_series s ON s.id = u.series_id
        WHERE c.registry = :registry AND c.source = 'reconciliation' AND c.state <> 'closed' AND u.closed_by IS NULL
        ORDER BY u.id
        """,
        {"registry": registry},
    )
    return [_live(r) for r in found]


async def overdue(tx: db.Tx, registries: Sequence[str], now: datetime) -> Sequence[Any]:
    """The cases of reconciliations of these books that are open and should not be any more: id, link, due."""
    return await db.rows(
        tx,
        "SELECT id, link, due FROM inconsistency_case WHERE registry = ANY(CAST(:registries AS text[]))"
        " AND source = 'reconciliation' AND state <> 'closed' AND due < :now ORDER BY id",
        {"registries": list(registries), "now": now},
    )


async def units_of(tx: db.Tx, case: str) -> list[Live]:
    """All units that are in a case now."""
    found = await db.rows(
        tx,
        """
        SELECT u.id, u.case_id, c.registry, c.check_id, s.registry AS origin, s.series, u.first, u.last, u.here,
               u.there, u.detail
        FROM inconsistency_case c JOIN case_unit u ON u.case_id = c.id JOIN unit_series s ON s.id = u.series_id
        WHERE c.id = :case AND u.closed_by IS NULL ORDER BY u.id
        """,
        {"case": case},
    )
    return [_live(r) for r in found]


async def missing_there(tx: db.Tx, units: Sequence[UnitRange]) -> list[tuple[str, UnitRange]]:
    """Which of these units open cases say are missing in another registry's book (6302), and in which."""
    found = await db.rows(
        tx,
        f"""
        WITH b AS ({BLOCKS})
        SELECT b.nr, c.registry, greatest(b.first, x.first) AS first, least(b.last, x.last) AS last
        FROM b CROSS JOIN LATERAL (SELECT x.* FROM case_unit x WHERE x.closed_by IS NULL AND {OVERLAP} OFFSET 0) AS x
        JOIN inconsistency_case c ON c.id = x.case_id
        WHERE c.source = 'reconciliation' AND c.check_id = '6302' AND c.state <> 'closed'
        """,
        block_columns(units),
    )
    return [(r.registry, UnitRange(units[r.nr - 1].origin, r.first, r.last)) for r in found]


async def beyond_proof(tx: db.Tx, case: str) -> bool:
    """Whether no run ends this case of a reconciliation, or another registry's has contradicted it.

    No run does while its link is closed or suspended. It is contradicted when the book has all its units in other
    registries, and the last run of each that has ended agreed (5, 6) and was marked after each of the units entered the
    case and came to where it is.
    """
    found = await db.one(
        tx,
        f"""
        SELECT c.id FROM inconsistency_case c JOIN link l ON l.code = c.link
        WHERE c.id = :case AND (l.state IN ('suspended', 'closed') OR NOT EXISTS (
          SELECT FROM case_unit b
          LEFT JOIN LATERAL (SELECT x.* FROM position x WHERE x.closed_by IS NULL AND {OVERLAP} OFFSET 0) AS x ON true
          LEFT JOIN link_registry h ON h.registry = x.registry
          LEFT JOIN LATERAL (
            SELECT r.status, r.mark_id, EXISTS (SELECT FROM reconciliation_book k
              WHERE k.reconciliation_id = r.id AND k.registry = x.registry) AS compared
            FROM reconciliation r WHERE r.link = h.link AND r.ended_at IS NOT NULL ORDER BY r.ended_at DESC LIMIT 1
          ) AS r ON true
          WHERE b.case_id = c.id AND b.closed_by IS NULL
          GROUP BY b.id, c.registry
          HAVING coalesce(sum(least(x.last, b.last) - greatest(x.first, b.first) + 1)
                          FILTER (WHERE x.series_id IS NOT NULL), 0) < b.last - b.first + 1
            OR bool_or(x.registry = c.registry)
            OR NOT bool_and(coalesce(r.status IN (5, 6) AND r.compared
                                     AND r.mark_id > greatest(b.opened_by, x.opened_by), false))
        ))
        """,
        {"case": case},
    )
    return found is not None


async def standing(tx: db.Tx, cases: Collection[str]) -> dict[str, Standing]:
    """How far each of these cases is."""
    found = await db.rows(
        tx,
        """
        SELECT c.id, c.source, c.version, c.state, c.corrected_by,
               (SELECT count(*) FROM case_unit u WHERE u.case_id = c.id AND u.closed_by IS NULL) AS units
        FROM inconsistency_case c WHERE c.id = ANY(CAST(:cases AS text[])) ORDER BY c.id
        """,
        {"cases": sorted(cases)},
    )
    return {r.id: Standing(r.id, Source(r.source), r.version, State(r.state), r.corrected_by, r.units) for r in found}


async def open_cases(tx: db.Tx, cases: Sequence[Case], by: str, at: datetime, entries: Sequence[int]) -> None:
    """Open cases, each with its first event; ``entries`` are those of the log that say so."""
    await db.execute(
        tx,
        """
        WITH made AS (
          INSERT INTO inconsistency_case (id, of, number, source, check_id, link, registry, parties, effect, flag,
            reconciliation, detail, state, opened_at, opened_by, notified_at, due)
          SELECT c.id, c.of, c.number, c.source, c.check_id, c.link, c.registry, string_to_array(c.parties, ' '),
                 c.effect, c.flag, c.reconciliation, c.detail, c.state, :at, c.entry,
                 CASE WHEN c.state = 'notified' THEN CAST(:at AS timestamptz) END, c.due
          FROM unnest(CAST(:id AS text[]), CAST(:of AS text[]), CAST(:number AS integer[]), CAST(:source AS text[]),
                      CAST(:check_id AS text[]), CAST(:link AS text[]), CAST(:registry AS text[]),
                      CAST(:parties AS text[]), CAST(:effect AS boolean[]), CAST(:flag AS text[]),
                      CAST(:reconciliation AS text[]), CAST(:detail AS text[]), CAST(:state AS text[]),
                      CAST(:entry AS bigint[]), CAST(:due AS timestamptz[]))
               AS c(id, of, number, source, check_id, link, registry, parties, effect, flag, reconciliation, detail,
                    state, entry, due)
          RETURNING id, state, detail, opened_by
        )
        INSERT INTO case_event (case_id, version, event, state, at, by, detail, entry_id)
        SELECT id, 1, 'opened', state, :at, :by, detail, opened_by FROM made
        """,
        {**_case_columns(cases), "entry": list(entries), "at": at, "by": by},
    )


def _case_columns(cases: Sequence[Case]) -> dict[str, list[Any]]:
    return {
        "id": [c.id for c in cases],
        "of": [c.of for c in cases],
        "number": [c.number for c in cases],
        "source": [c.source.value for c in cases],
        "check_id": [c.check_id for c in cases],
        "link": [c.link for c in cases],
        "registry": [c.registry for c in cases],
        "parties": [" ".join(c.parties) for c in cases],
        "effect": [c.effect for c in cases],
        "flag": [c.flag.value if c.flag else None for c in cases],
        "reconciliation": [c.reconciliation for c in cases],
        "detail": [c.detail for c in cases],
        "state": [c.state.value for c in cases],
        "due": [c.due for c in cases],
    }


async def enter(tx: db.Tx, entered: Sequence[Entered], entry_id: int) -> None:
    """Take units into cases; their series MUST be known to the book."""
    await db.execute(
        tx,
        f"""
        INSERT INTO case_unit (case_id, series_id, first, last, here, there, detail, opened_by)
        SELECT e.case_id, b.series_id, b.first, b.last, e.here, e.there, e.detail, :entry
        FROM ({BLOCKS}) AS b
        JOIN unnest(CAST(:case AS text[]), CAST(:here AS text[]), CAST(:there AS text[]), CAST(:detail AS text[]))
          WITH ORDINALITY AS e(case_id, here, there, detail, nr) USING (nr)
        ORDER BY b.nr
        """,
        {
            **block_columns([e.units for e in entered]),
            "case": [e.case for e in entered],
            "here": [e.here for e in entered],
            "there": [e.there for e in entered],
            "detail": [e.detail for e in entered],
            "entry": entry_id,
        },
    )


async def leave(tx: db.Tx, units: Collection[int], entry_id: int) -> None:
    """Let rows of units out of their cases."""
    await db.execute(
        tx,
        "UPDATE case_unit SET closed_by = :entry WHERE id = ANY(CAST(:ids AS bigint[])) AND closed_by IS NULL",
        {"ids": sorted(units), "entry": entry_id},
    )


async def take_steps(tx: db.Tx, steps: Sequence[Step], at: datetime) -> None:
    """Take cases further and write the events; raises CONFLICT (3003) if one has another version or is closed."""
    said = ", ".join(f"{name} = coalesce(s.{name}, c.{name})" for name in _SAID)
    types = ", ".join(f"CAST(:{name} AS {kind}[])" for name, kind in _SAID.items())
    done = await db.execute(
        tx,
        f"""
        WITH s AS (
          SELECT * FROM unnest(CAST(:case AS text[]), CAST(:version AS integer[]), CAST(:event AS text[]),
                               CAST(:state AS text[]), CAST(:by AS text[]), CAST(:detail AS text[]),
                               CAST(:entry AS bigint[]), {types})
            AS s(id, version, event, state, by, detail, entry_id, {", ".join(_SAID)})
        ), taken AS (
          UPDATE inconsistency_case c SET state = s.state, version = c.version + 1, {said} FROM s
          WHERE c.id = s.id AND c.version = s.version AND c.state <> 'closed'
          RETURNING c.id, c.version, s.event, s.state, s.by, s.detail, s.entry_id
        )
        INSERT INTO case_event (case_id, version, event, state, at, by, detail, entry_id)
        SELECT id, version, event, state, :at, by, detail, entry_id FROM taken
        """,
        {
            "case": [s.case for s in steps],
            "version": [s.version for s in steps],
            "event": [s.event for s in steps],
            "state": [s.state.value for s in steps],
            "by": [s.by for s in steps],
            "detail": [s.detail for s in steps],
            "entry": [s.entry_id for s in steps],
            **{name: [s.said.get(name) for s in steps] for name in _SAID},
            "at": at,
        },
    )
    if done.rowcount != len(steps):
        raise GatewayError(Kind.CONFLICT, "the case has moved on, or is closed", code=3003)


async def misflagged(tx: db.Tx, flag: Flag, units: Sequence[UnitRange]) -> tuple[list[UnitRange], list[UnitRange]]:
    """Of these units, those in a case that flags them without being flagged, and those flagged without such a case."""
    serials = "range_agg(int8range(greatest(b.first, x.first), least(b.last, x.last), '[]'))"
    found = await db.rows(
        tx,
        f"""
        WITH b AS MATERIALIZED ({BLOCKS}), due AS (
          SELECT b.series_id, {serials} AS serials
          FROM b CROSS JOIN LATERAL (SELECT x.* FROM case_unit x WHERE x.closed_by IS NULL AND {OVERLAP} OFFSET 0) AS x
          JOIN inconsistency_case c ON c.id = x.case_id WHERE c.flag = :flag GROUP BY 1
        ), marked AS (
          SELECT b.series_id, {serials} AS serials
          FROM b CROSS JOIN LATERAL (SELECT x.* FROM flag x WHERE x.closed_by IS NULL AND x.series_id IS NOT NULL
                                     AND x.kind = :flag AND {OVERLAP} OFFSET 0) AS x GROUP BY 1
        ), compared AS (
          SELECT series_id, coalesce(due.serials, '{{}}') AS due, coalesce(marked.serials, '{{}}') AS marked
          FROM due FULL JOIN marked USING (series_id)
        )
        SELECT true AS due, s.registry, s.series, lower(piece) AS first, upper(piece) - 1 AS last
        FROM compared w JOIN unit_series s ON s.id = w.series_id CROSS JOIN LATERAL unnest(w.due - w.marked) AS piece
        UNION ALL
        SELECT false, s.registry, s.series, lower(piece), upper(piece) - 1
        FROM compared w JOIN unit_series s ON s.id = w.series_id CROSS JOIN LATERAL unnest(w.marked - w.due) AS piece
        """,
        {**block_columns(units), "flag": flag.value},
    )
    pieces = [(r.due, UnitRange(_origin(r.registry, r.series), r.first, r.last)) for r in found]
    return [units for due, units in pieces if due], [units for due, units in pieces if not due]


def _live(r: Any) -> Live:
    units = UnitRange(_origin(r.origin, r.series), r.first, r.last)
    return Live(r.case_id, units, r.here, r.there, r.detail, r.id, r.registry, r.check_id)


def _origin(registry: str, series: str) -> Origin:
    return Origin(RegistryCode(LinkCode(registry)), series)
