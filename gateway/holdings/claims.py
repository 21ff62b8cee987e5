"""Claims: the hold that an open transfer has on its units. For every unit at most one claim is live (R11).

A claim is taken when a proposal arrives and released when its transfer ends, whichever way. The exclusion
constraint decides between two proposals that arrive at the same instant; the loser learns which of its blocks
were taken (``take``). A claim belongs to a transfer, not to a block, so a late message for one transfer never
frees the units of another.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from gateway import db
from gateway.domain.units import Block, UnitRange
from gateway.holdings.book import BLOCKS, CLAIMING, OVERLAP, THERE, block_columns, know_series, lock_series


@dataclass(frozen=True, slots=True)
class Claim:
    """A block of units that a transfer holds or wants to hold, out of which registry."""

    transfer: str
    block: Block | UnitRange
    out_of: str = ""


async def take(tx: db.Tx, claims: Sequence[Claim], link: str) -> set[int]:
    """Take ``claims`` for transfers out of registries of ``link``; the numbers of those refused.

    Refused is what another transfer holds some units of, and what is not the registry's to hold: a claim lasts
    until the source confirms the end of its transfer, so one on other registries' units would block these. A
    registry's own units that the book does not know yet are claimed all the same: their announcement may have
    been overtaken, and two transfers that both waited for it would both find the units free.
    """
    origins = [c.block.origin for c in claims]
    await know_series(tx, origins)
    await lock_series(tx, origins, CLAIMING)
    found = await db.rows(
        tx,
        f"""
        WITH b AS ({BLOCKS}), wanted AS (
          SELECT b.*, t.transfer_id, r.registry AS here FROM b
          JOIN unnest(CAST(:transfer AS text[]), CAST(:out_of AS text[]))
            WITH ORDINALITY AS t(transfer_id, out_of, nr) USING (nr)
          LEFT JOIN link_registry r ON r.registry = t.out_of AND r.link = :link
        ), placed AS (
          SELECT b.nr, coalesce(bool_and(x.registry = b.here), b.here IS NOT NULL) AS here,
                 coalesce(sum(least(x.last, b.last) - greatest(x.first, b.first) + 1)
                          FILTER (WHERE x.id IS NOT NULL), 0) AS known
          FROM wanted b LEFT JOIN LATERAL ({THERE}) AS x ON true GROUP BY b.nr, b.here
        ), taken AS (
          INSERT INTO claim (transfer_id, series_id, first, last)
          SELECT w.transfer_id, w.series_id, w.first, w.last
          FROM wanted w JOIN placed p USING (nr) JOIN unit_series s ON s.id = w.series_id
          WHERE p.here AND (s.registry = w.here OR p.known = w.last - w.first + 1)
          ORDER BY w.series_id, w.first
          ON CONFLICT DO NOTHING
          RETURNING transfer_id, series_id, first
        )
        SELECT nr FROM wanted LEFT JOIN taken USING (transfer_id, series_id, first) WHERE taken.first IS NULL
        """,
        {
            **block_columns([c.block for c in claims]),
            "transfer": [c.transfer for c in claims],
            "out_of": [c.out_of for c in claims],
            "link": link,
        },
    )
    return {r.nr - 1 for r in found}


async def release(tx: db.Tx, transfers: Sequence[str], entry_id: int) -> None:
    """Release every live claim of ``transfers``."""
    await db.execute(
        tx,
        """
        UPDATE claim SET released_by = :entry
        WHERE transfer_id = ANY(CAST(:transfers AS text[])) AND released_by IS NULL
        """,
        {"entry": entry_id, "transfers": list(transfers)},
    )


async def count(tx: db.Tx | db.ReadTx, transfer: str) -> int:
    """How many blocks a transfer holds now."""
    found = await db.one(
        tx, "SELECT count(*) AS live FROM claim WHERE transfer_id = :id AND released_by IS NULL", {"id": transfer}
    )
    return int(found.live) if found else 0


async def held_by_others(tx: db.Tx | db.ReadTx, claims: Sequence[Claim]) -> list[list[UnitRange]]:
    """For each of ``claims``, the ranges that other transfers hold of its units."""
    found = await db.rows(
        tx,
        f"""
        WITH b AS ({BLOCKS})
        SELECT b.nr, x.first, x.last
        FROM b JOIN unnest(CAST(:transfer AS text[])) WITH ORDINALITY AS t(transfer_id, nr) USING (nr)
        CROSS JOIN LATERAL (SELECT x.* FROM claim x WHERE {OVERLAP} AND x.released_by IS NULL OFFSET 0) AS x
        WHERE x.transfer_id <> t.transfer_id
        ORDER BY b.nr, x.first
        """,
        {**block_columns([c.block for c in claims]), "transfer": [c.transfer for c in claims]},
    )
    ranges: list[list[UnitRange]] = [[] for _ in claims]
    for r in found:
        ranges[r.nr - 1].append(UnitRange(claims[r.nr - 1].block.origin, r.first, r.last))
    return ranges
