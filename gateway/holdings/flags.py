"""What is marked: units with an open difference, inconsistency or reversal; registries; Parties.

A flag is opened by a log entry and closed by another. Checks read flags (4008, 4009, 4019, 4020, 5124); who opens and
closes them is not their business.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway import db
from gateway.domain.facts import Flag
from gateway.domain.identifiers import LinkCode, RegistryCode
from gateway.domain.units import Block, Origin, UnitRange
from gateway.holdings.book import BLOCKS, OVERLAP, block_columns, know_series


@dataclass(frozen=True, slots=True)
class Marked:
    """What is marked of what was asked about."""

    units: dict[Flag, list[UnitRange]] = field(default_factory=dict)
    reconciling: frozenset[str] = frozenset()
    lapsed: frozenset[str] = frozenset()


async def live(
    tx: db.Tx | db.ReadTx, blocks: Sequence[Block], registries: Collection[str], parties: Collection[str]
) -> Marked:
    """The open flags on these units, registries and Parties, in one statement."""
    found = await db.rows(
        tx,
        f"""
        WITH b AS ({BLOCKS})
        SELECT x.kind, b.nr, x.first, x.last, CAST(NULL AS text) AS about FROM b CROSS JOIN LATERAL (
          SELECT x.* FROM flag x WHERE x.closed_by IS NULL AND x.series_id IS NOT NULL AND {OVERLAP} OFFSET 0) AS x
        UNION ALL
        SELECT kind, NULL, NULL, NULL, coalesce(registry, party) FROM flag
        WHERE closed_by IS NULL AND series_id IS NULL
          AND (registry = ANY(CAST(:registries AS text[])) OR party = ANY(CAST(:parties AS text[])))
        """,
        {**block_columns(blocks), "registries": list(registries), "parties": list(parties)},
    )
    units: dict[Flag, list[UnitRange]] = {}
    for r in found:
        if r.nr is not None:
            units.setdefault(Flag(r.kind), []).append(UnitRange(blocks[r.nr - 1].origin, r.first, r.last))
    about = {kind: frozenset(r.about for r in found if r.kind == kind) for kind in ("reconciling", "lapsed")}
    return Marked(units, about["reconciling"], about["lapsed"])


async def on_claims(tx: db.Tx, transfers: Sequence[str]) -> list[tuple[str, Flag, UnitRange]]:
    """The open flags on the units that these transfers claim, with the transfer."""
    found = await db.rows(
        tx,
        f"""
        WITH b AS (
          SELECT transfer_id, series_id, first, last FROM claim
          WHERE transfer_id = ANY(CAST(:transfers AS text[])) AND released_by IS NULL
        )
        SELECT b.transfer_id, x.kind, s.registry, s.series, greatest(b.first, x.first) AS first,
               least(b.last, x.last) AS last
        FROM b CROSS JOIN LATERAL (
          SELECT x.* FROM flag x WHERE x.closed_by IS NULL AND x.series_id IS NOT NULL AND {OVERLAP} OFFSET 0) AS x
        JOIN unit_series s ON s.id = b.series_id
        """,
        {"transfers": list(transfers)},
    )
    return [(r.transfer_id, Flag(r.kind), UnitRange(_origin(r.registry, r.series), r.first, r.last)) for r in found]


def _origin(registry: str, series: str) -> Origin:
    return Origin(RegistryCode(LinkCode(registry)), series)


async def raise_on_units(tx: db.Tx, flag: Flag, units: Sequence[UnitRange], entry_id: int) -> None:
    """Mark units."""
    await know_series(tx, [u.origin for u in units])
    await db.execute(
        tx,
        f"""
        INSERT INTO flag (kind, series_id, first, last, opened_by)
        SELECT :kind, b.series_id, b.first, b.last, :entry FROM ({BLOCKS}) AS b
        """,
        {**_columns(units), "kind": flag.value, "entry": entry_id},
    )


async def lift_from_units(tx: db.Tx, flag: Flag, units: Sequence[UnitRange], entry_id: int) -> None:
    """Take a flag off these units; what it marked beside them stays marked."""
    await db.execute(
        tx,
        f"""
        WITH b AS MATERIALIZED ({BLOCKS}), hit AS MATERIALIZED (
          SELECT x.id, b.first, b.last FROM b CROSS JOIN LATERAL (
            SELECT x.* FROM flag x WHERE x.closed_by IS NULL AND x.series_id IS NOT NULL AND x.kind = :kind
              AND {OVERLAP} OFFSET 0) AS x
        ), closed AS (
          UPDATE flag x SET closed_by = :entry
          WHERE x.id = ANY(ARRAY(SELECT DISTINCT id FROM hit)) AND x.closed_by IS NULL
          RETURNING x.id, x.series_id, x.first, x.last
        ), lifted AS (
          SELECT id, range_agg(int8range(first, last, '[]')) AS serials FROM hit GROUP BY id
        )
        INSERT INTO flag (kind, series_id, first, last, opened_by)
        SELECT :kind, c.series_id, lower(piece), upper(piece) - 1, :entry
        FROM closed c JOIN lifted USING (id)
        CROSS JOIN LATERAL unnest(int8multirange(int8range(c.first, c.last, '[]')) - lifted.serials) AS piece
        """,
        {**_columns(units), "kind": flag.value, "entry": entry_id},
    )


async def mark(tx: db.Tx, kind: str, entry_id: int, *, registry: str | None = None, party: str | None = None) -> None:
    """Mark a registry as being reconciled, or a Party's requirements as lapsed."""
    await db.execute(
        tx,
        "INSERT INTO flag (kind, registry, party, opened_by) VALUES (:kind, :registry, :party, :entry)",
        {"kind": kind, "registry": registry, "party": party, "entry": entry_id},
    )


async def unmark(tx: db.Tx, kind: str, entry_id: int, about: str) -> None:
    """Take the mark off a registry or a Party."""
    await db.execute(
        tx,
        """
        UPDATE flag SET closed_by = :entry
        WHERE closed_by IS NULL AND kind = :kind AND :about IN (registry, party)
        """,
        {"kind": kind, "about": about, "entry": entry_id},
    )


async def mark_reconciling(tx: db.Tx, registries: Sequence[str], entry_id: int) -> None:
    """Mark registries as being reconciled."""
    await db.execute(
        tx,
        """
        INSERT INTO flag (kind, registry, opened_by)
        SELECT 'reconciling', r, :entry FROM unnest(CAST(:registries AS text[])) AS r
        """,
        {"registries": list(registries), "entry": entry_id},
    )


async def unmark_reconciling(tx: db.Tx, registries: Sequence[str], entry_id: int) -> None:
    """Take that mark off registries."""
    await db.execute(
        tx,
        """
        UPDATE flag SET closed_by = :entry
        WHERE closed_by IS NULL AND kind = 'reconciling' AND registry = ANY(CAST(:registries AS text[]))
        """,
        {"registries": list(registries), "entry": entry_id},
    )


def _columns(units: Sequence[UnitRange]) -> dict[str, list[Any]]:
    return {
        "registry": [u.origin.registry for u in units],
        "series": [u.origin.series for u in units],
        "first": [u.first for u in units],
        "last": [u.last for u in units],
    }
