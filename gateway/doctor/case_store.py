"""Reads cases for the doctor: each with its steps, and by series what cases flag, what is flagged. Judges nothing."""

from collections.abc import AsyncIterator
from typing import Any

from gateway import db
from gateway.doctor.store import MANY, stream


def cases(tx: db.ReadTx) -> AsyncIterator[Any]:
    """Every case, how many ranges of units are in it, and its steps; each with whether the log has it as it stands."""
    return stream(
        tx,
        """
        SELECT c.id, c.source, c.state, c.version, c.due,
               (SELECT count(*) FROM case_unit u WHERE u.case_id = c.id AND u.closed_by IS NULL) AS units,
               (SELECT coalesce(array_agg(v.version ORDER BY v.version), '{}') FROM case_event v
                WHERE v.case_id = c.id) AS versions,
               (SELECT v.state FROM case_event v WHERE v.case_id = c.id ORDER BY v.version DESC LIMIT 1) AS led_to,
               (SELECT coalesce(array_agg(v.version ORDER BY v.version), '{}')
                FROM case_event v LEFT JOIN log_entry e ON e.id = v.entry_id
                LEFT JOIN log_record r ON r.entry_id = e.id
                CROSS JOIN LATERAL (SELECT CAST(CASE WHEN e.kind = 'case.' || v.event
                  THEN convert_from(r.record, 'UTF8') END AS jsonb)) AS i(said)
                WHERE v.case_id = c.id AND said ->> 'case' IS DISTINCT FROM c.id) AS unlogged
        FROM inconsistency_case c ORDER BY c.opened_at, c.id
        """,
        MANY,
    )


def flags(tx: db.ReadTx) -> AsyncIterator[Any]:
    """Each series of which units are in cases that flag them, or are flagged like those; by the kind of flag.

    ``unflagged`` are serials in such a case without the flag, ``loose`` serials with it and without such a case.
    """
    return stream(
        tx,
        f"""
        WITH due AS (
          SELECT c.flag AS kind, u.series_id, range_agg(int8range(u.first, u.last, '[]')) AS serials
          FROM case_unit u JOIN inconsistency_case c ON c.id = u.case_id
          WHERE u.closed_by IS NULL AND c.flag IS NOT NULL GROUP BY 1, 2
        ), marked AS (
          SELECT kind, series_id, range_agg(int8range(first, last, '[]')) AS serials FROM flag
          WHERE closed_by IS NULL AND kind IN ('discrepancy', 'inconsistent') GROUP BY 1, 2
        ), compared AS (
          SELECT kind, series_id, coalesce(due.serials, '{{}}') AS due, coalesce(marked.serials, '{{}}') AS marked
          FROM due FULL JOIN marked USING (kind, series_id)
        )
        SELECT w.kind, s.registry, s.series, {_written("w.due - w.marked")} AS unflagged,
               {_written("w.marked - w.due")} AS loose
        FROM compared w JOIN unit_series s ON s.id = w.series_id ORDER BY s.registry, s.series, w.kind
        """,
        MANY,
    )


def _written(serials: str) -> str:
    """The first pieces of a multirange as text; null where there are none."""
    return f"""(SELECT string_agg(lower(p) || '-' || upper(p) - 1, ', ')
                FROM (SELECT p FROM unnest({serials}) AS p LIMIT 5) AS p)"""
