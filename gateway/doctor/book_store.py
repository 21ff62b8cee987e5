"""Reads the book for the doctor: every position and claim as it was opened and closed, and what overlaps."""

from collections.abc import AsyncIterator
from typing import Any

from sqlalchemy import Row

from gateway import db
from gateway.doctor.store import MANY, stream
from gateway.holdings.actions import ENTERING


def movements(tx: db.ReadTx) -> AsyncIterator[Row[Any]]:
    """Every block that an entry opened or closed in the book, or should have, by entry.

    ``what`` is *opened* or *closed* for positions, *entered* or *left* for blocks of notices, *marked* for units that
    got an authorisation or were first transferred where they are, *credited* for the units of a transfer that the entry
    completed (without serials when nothing is known of its claims), *corrected* for units that a correction of the book
    has put elsewhere. Units that an entry has marked and then moved were in between at a place that nobody else has
    seen: it is left out.
    """
    return stream(
        tx,
        """
        SELECT w.entry_id, w.what, u.registry AS origin, u.series, w.first, w.last, w.registry, w.party,
               w.account_type, w.transfer
        FROM (
          SELECT opened_by AS entry_id, 'opened' AS what, series_id, first, last, registry, party, account_type,
                 CAST(NULL AS text) AS transfer FROM position
          WHERE closed_by IS DISTINCT FROM opened_by
          UNION ALL
          SELECT closed_by, 'closed', series_id, first, last, registry, party, account_type, NULL FROM position
          WHERE closed_by <> opened_by
          UNION ALL
          SELECT a.entry_id, CASE WHEN a.type = ANY(CAST(:entering AS text[])) THEN 'entered' ELSE 'left' END,
                 b.series_id, b.first, b.last, a.registry, NULL, b.account_type, NULL
          FROM action a JOIN action_block b ON b.action_id = a.id
          UNION ALL
          SELECT a.entry_id, 'marked', n.id, CAST(b.units ->> 'first' AS bigint), CAST(b.units ->> 'last' AS bigint),
                 a.registry, NULL, NULL, NULL
          FROM action a CROSS JOIN LATERAL (SELECT CAST(a.item AS jsonb)) AS i(said)
          CROSS JOIN LATERAL jsonb_array_elements(coalesce(said -> 'units', said -> 'blocks')) AS b(units)
          JOIN unit_series n
            ON (n.registry, n.series) = (b.units -> 'origin' ->> 'registry', b.units -> 'origin' ->> 'series')
          WHERE a.type IN ('authorisation', 'first_transfer')
          UNION ALL
          SELECT e.entry_id, 'credited', c.series_id, c.first, c.last, t.acquiring_registry, t.acquiring_party, NULL,
                 t.id
          FROM transfer_event e JOIN transfer t ON t.id = e.transfer_id
          LEFT JOIN claim c ON c.transfer_id = t.id AND c.released_by = e.entry_id
          WHERE e.event = 'credited'
          UNION ALL
          SELECT entry_id, 'corrected', series_id, first, last, registry, party, account_type, NULL
          FROM case_correction WHERE from_registry IS NOT NULL
        ) AS w LEFT JOIN unit_series u ON u.id = w.series_id
        ORDER BY w.entry_id
        """,
        MANY,
        {"entering": list(ENTERING)},
    )


def accounted(tx: db.ReadTx) -> AsyncIterator[Row[Any]]:
    """Every completed transfer, every use and cancellation, and whatever else units are accounted for under.

    ``quantity`` is what the cause moved (none: there is no such cause), ``said`` what its rows add up to, ``others``
    how many of these rows name another kind of action, Party, registry or log entry than the cause.
    """
    return stream(
        tx,
        """
        WITH done AS (
          SELECT t.id AS cause, true AS due, ARRAY['First transfer', 'Transfer'] AS types,
                 t.transferring_party AS party, t.transferring_registry AS registry,
                 t.acquiring_party, t.acquiring_registry, t.quantity, e.entry_id
          FROM transfer t JOIN transfer_event e ON e.transfer_id = t.id AND e.state = 'completed'
          WHERE t.state = 'completed'
          UNION ALL
          SELECT registry || '/' || action, type IN ('use', 'cancellation'),
                 CASE WHEN type IN ('use', 'cancellation') THEN ARRAY[initcap(type)] END,
                 CAST(item AS json) ->> 'party', registry, NULL, NULL, quantity, entry_id
          FROM action WHERE type <> 'opening'
        )
        SELECT coalesce(d.cause, m.cause) AS cause, d.quantity, d.entry_id, coalesce(sum(m.quantity), 0) AS said,
               count(*) FILTER (WHERE m.id IS NOT NULL AND (m.type <> ALL(d.types) OR
                 (m.party, m.registry, m.acquiring_party, m.acquiring_registry, m.entry_id) IS DISTINCT FROM
                 (d.party, d.registry, d.acquiring_party, d.acquiring_registry, d.entry_id))) AS others
        FROM done d FULL JOIN (
          SELECT * FROM unit_movement WHERE type <> 'First transfer' OR acquiring_party IS NOT NULL) AS m
          ON m.cause = d.cause WHERE d.due OR m.id IS NOT NULL
        GROUP BY d.cause, m.cause, d.quantity, d.entry_id ORDER BY 1
        """,
        MANY,
    )


def first_here(tx: db.ReadTx) -> AsyncIterator[Row[Any]]:
    """First transfers outside a relay, each with whether an issuance or a notice of it was applied by its entry."""
    return stream(
        tx,
        """
        SELECT m.cause, m.entry_id, m.quantity, EXISTS (
          SELECT FROM action a WHERE a.registry || '/' || a.action = m.cause AND a.entry_id = m.entry_id
            AND a.registry = m.registry AND a.type IN ('issuance', 'first_transfer')) AS told
        FROM unit_movement m WHERE m.type = 'First transfer' AND m.acquiring_party IS NULL ORDER BY m.id
        """,
        MANY,
    )


def series(tx: db.ReadTx) -> AsyncIterator[Row[Any]]:
    """Each series: units announced, units in live positions, and the first block that overlaps one before it."""
    return stream(
        tx,
        f"""
        WITH entered AS (
          SELECT b.series_id, sum(b.last - b.first + 1) AS units FROM action a JOIN action_block b ON b.action_id = a.id
          WHERE a.type = ANY(CAST(:entering AS text[])) GROUP BY b.series_id
        ), positions AS ({_overlaps("position", "closed_by")}), claims AS ({_overlaps("claim", "released_by")})
        SELECT u.registry, u.series, coalesce(e.units, 0) AS entered, coalesce(p.units, 0) AS live,
               p.overlap AS position_overlap, c.overlap AS claim_overlap
        FROM unit_series u LEFT JOIN entered e ON e.series_id = u.id LEFT JOIN positions p ON p.series_id = u.id
        LEFT JOIN claims c ON c.series_id = u.id ORDER BY u.registry, u.series
        """,
        MANY,
        {"entering": list(ENTERING)},
    )


def _overlaps(table: str, ended_by: str) -> str:
    """Units of the live rows of ``table`` by series, and the first serial that two of them have."""
    return f"""
      SELECT series_id, sum(last - first + 1) AS units, min(first) FILTER (WHERE first <= reach) AS overlap
      FROM (SELECT series_id, first, last, max(last) OVER (PARTITION BY series_id ORDER BY first, last
                                               ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS reach
            FROM {table} WHERE {ended_by} IS NULL) AS x
      GROUP BY series_id
    """
