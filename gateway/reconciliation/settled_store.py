"""Which completed transfers moved units to where the book has them, and how the other side of each compared last.

A difference in the book of one side of a completed transfer is half a story: the other half is whether the registry on
the other side agrees with the gateway about the same units. Everything is found by indexes, for any number of ranges in
one statement each. Changes nothing.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from gateway import db
from gateway.domain.unit_ranges import Spread
from gateway.domain.units import UnitRange
from gateway.holdings.book import BLOCKS, OVERLAP, block_columns
from gateway.reconciliation.moving_store import MOST_PIECES


@dataclass(frozen=True, slots=True)
class Settled:
    """Units, the completed transfer that moved them, and the book on its other side (``other``).

    ``at``: the entry of the log by which it was completed. ``compared``: whether that other book was compared at a cut
    with the transfer in it. ``case``: the open case of the other book that has units of these.
    """

    units: UnitRange
    transfer: str
    source: str
    acquirer: str
    other: str
    at: int
    compared: bool = False
    case: str | None = None

    @property
    def told(self) -> str:
        """What a finding says of it."""
        if self.case is not None:
            other = f"the book of {self.other} differs there, too (case {self.case})"
        elif self.compared:
            other = f"the book of {self.other} agreed when it was last compared"
        else:
            other = f"the book of {self.other} has not been compared since"
        return f"completed transfer {self.transfer} moved them from {self.source} to {self.acquirer}; {other}"


#: Claims of completed transfers from or to ``:book``.
COMPLETED = f"""
  WITH b AS ({BLOCKS})
  SELECT b.nr, x.transfer_id, greatest(x.first, b.first) AS first, least(x.last, b.last) AS last, x.released_by,
    t.transferring_registry, t.acquiring_registry, l.leaf_index
  FROM b CROSS JOIN generate_series(1, 14) AS digits(long) CROSS JOIN LATERAL (
    SELECT x.* FROM claim x WHERE x.released_by IS NOT NULL AND x.series_id = b.series_id
      AND length(to_hex(x.last - x.first)) = digits.long
      AND x.first > b.first - (CAST(1 AS bigint) << (4 * digits.long)) AND x.first <= b.last
      AND x.last >= b.first LIMIT {MOST_PIECES + 1}) AS x
  JOIN LATERAL (SELECT t.* FROM transfer t WHERE t.id = x.transfer_id OFFSET 0) AS t
    ON t.state = 'completed' AND :book IN (t.transferring_registry, t.acquiring_registry)
  LEFT JOIN LATERAL (SELECT l.leaf_index FROM log_leaf l WHERE l.entry_id = x.released_by OFFSET 0) AS l ON true
  ORDER BY b.nr, x.first
"""
#: A case, the book that it is about, and units in it.
_InCase = tuple[str, str, UnitRange]


async def settled(tx: db.Tx | db.ReadTx, registry: str, units: Sequence[UnitRange]) -> list[list[Settled]]:
    """For each range of the book of ``registry``, the completed transfers that ever moved units of it into or out of
    that book.
    """
    found = await _completed(tx, registry, units)
    if not found:
        return [[] for _ in units]
    compared = await _compared(tx, {_other(r, registry) for r in found})
    cases = [_by_book(of) for of in await _cases(tx, registry, units)]
    settled: list[list[Settled]] = [[] for _ in units]
    for r in found:
        other, part = _other(r, registry), UnitRange(units[r.nr - 1].origin, r.first, r.last)
        seen = r.leaf_index is not None and r.leaf_index < compared.get(other, 0)
        within = cases[r.nr - 1][other].on(part) if other in cases[r.nr - 1] else ()
        case = within[0][0] if within else None
        one = Settled(
            part, r.transfer_id, r.transferring_registry, r.acquiring_registry, other, r.released_by, seen, case
        )
        settled[r.nr - 1].append(one)
    return settled


def _other(r: Any, registry: str) -> str:
    return str(r.acquiring_registry if r.transferring_registry == registry else r.transferring_registry)


async def _completed(tx: db.Tx | db.ReadTx, registry: str, units: Sequence[UnitRange]) -> Sequence[Any]:
    """Claims of completed transfers from or to a book; a claim is found by how long it is (``claim_covering``)."""
    return await db.rows(tx, COMPLETED, {**block_columns(units), "book": registry})


async def _compared(tx: db.Tx | db.ReadTx, registries: Collection[str]) -> dict[str, int]:
    """The size of our cut at which each book was last compared to the end.

    Roots that differ with no finding are of a comparison that came to nothing.
    """
    found = await db.rows(
        tx,
        """
        SELECT o.registry, r.size FROM link_registry o CROSS JOIN LATERAL (
          SELECT r.size, r.status IN (5, 6) OR k.theirs = k.root OR EXISTS (
              SELECT FROM reconciliation_finding f WHERE f.reconciliation_id = r.id AND f.registry = o.registry
            ) AS ended
          FROM reconciliation r
          JOIN reconciliation_book k ON k.reconciliation_id = r.id AND k.registry = o.registry
          WHERE r.link = o.link AND r.ended_at IS NOT NULL ORDER BY r.ended_at DESC LIMIT 1) AS r
        WHERE o.registry = ANY(CAST(:registries AS text[])) AND r.ended
        """,
        {"registries": sorted(registries)},
    )
    return {r.registry: r.size for r in found}


async def _cases(tx: db.Tx | db.ReadTx, registry: str, units: Sequence[UnitRange]) -> list[list[_InCase]]:
    """For each range, the open cases of reconciliations of other books that have units of it, in serial order."""
    found = await db.rows(
        tx,
        f"""
        WITH b AS ({BLOCKS})
        SELECT b.nr, x.case_id, x.registry, x.first, x.last
        FROM b CROSS JOIN LATERAL (
          SELECT x.case_id, c.registry, x.first, x.last
          FROM case_unit x JOIN inconsistency_case c ON c.id = x.case_id
          WHERE x.closed_by IS NULL AND {OVERLAP} AND c.source = 'reconciliation' AND c.state <> 'closed'
            AND c.registry <> :book LIMIT {MOST_PIECES}) AS x
        ORDER BY b.nr, x.first
        """,
        {**block_columns(units), "book": registry},
    )
    cases: list[list[_InCase]] = [[] for _ in units]
    for r in found:
        cases[r.nr - 1].append((r.case_id, r.registry, UnitRange(units[r.nr - 1].origin, r.first, r.last)))
    return cases


def _by_book(cases: Sequence[_InCase]) -> dict[str, Spread[_InCase]]:
    """The cases of each book by the units they lie on; where two lie on the same units, the first."""
    apart: dict[str, list[_InCase]] = {}
    for case, book, units in cases:
        mine = apart.setdefault(book, [])
        first = max(units.first, mine[-1][2].last + 1) if mine else units.first
        if first <= units.last:
            mine.append((case, book, UnitRange(units.origin, first, units.last)))
    return {book: Spread(of, lambda one: one[2]) for book, of in apart.items()}
