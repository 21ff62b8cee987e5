"""Rows of what corrections have done in the book, which units they put where; and transfers that correct."""

from collections.abc import Sequence
from dataclasses import dataclass

from gateway import db
from gateway.domain.units import UnitRange
from gateway.holdings.book import BLOCKS, OVERLAP, Place, block_columns


@dataclass(frozen=True, slots=True)
class Correction:
    """Units and where they are by a correction; ``came_from`` is the registry they were in (None: no book had them)."""

    case: str
    units: UnitRange
    came_from: str | None
    to: Place


async def insert(tx: db.Tx, corrections: Sequence[Correction], entry_id: int) -> None:
    """Write what an entry of the log has corrected; the series MUST be known to the book."""
    await db.execute(
        tx,
        f"""
        INSERT INTO case_correction (case_id, series_id, first, last, from_registry, registry, party, account_type,
                                     entry_id)
        SELECT c.case_id, b.series_id, b.first, b.last, c.from_registry, c.registry, c.party, c.account_type, :entry
        FROM ({BLOCKS}) AS b
        JOIN unnest(CAST(:case AS text[]), CAST(:came_from AS text[]), CAST(:at AS text[]), CAST(:party AS text[]),
                    CAST(:account_type AS smallint[]))
          WITH ORDINALITY AS c(case_id, from_registry, registry, party, account_type, nr) USING (nr)
        """,
        {
            **block_columns([c.units for c in corrections]),
            "case": [c.case for c in corrections],
            "came_from": [c.came_from for c in corrections],
            "at": [c.to.registry for c in corrections],
            "party": [c.to.party for c in corrections],
            "account_type": [c.to.account_type for c in corrections],
            "entry": entry_id,
        },
    )


async def moved_by(tx: db.Tx, case: str, transfer: str) -> bool:
    """Whether this transfer was credited after the case was opened, and has moved every unit that is in it."""
    found = await db.one(
        tx,
        f"""
        SELECT c.id FROM inconsistency_case c
        JOIN transfer t ON t.id = :transfer AND t.state = 'completed'
        JOIN transfer_step s ON s.transfer_id = t.id AND s.step = 'credited' AND s.entry_id > c.opened_by
        WHERE c.id = :case AND EXISTS (SELECT FROM case_unit u WHERE u.case_id = c.id AND u.closed_by IS NULL)
          AND NOT EXISTS (
          SELECT FROM case_unit b
          LEFT JOIN claim x ON x.transfer_id = t.id AND x.series_id = b.series_id AND {OVERLAP}
          WHERE b.case_id = c.id AND b.closed_by IS NULL
          GROUP BY b.id
          HAVING coalesce(sum(least(x.last, b.last) - greatest(x.first, b.first) + 1)
                          FILTER (WHERE x.series_id IS NOT NULL), 0) < b.last - b.first + 1)
        """,
        {"case": case, "transfer": transfer},
    )
    return found is not None
