"""What moves while cuts are taken: claims and transfers that are not the same before and after, and what has arrived.

The *fence* is a size of the log's tree from before either cut was taken: what is sequenced below it had happened by
then. Each function takes any number of ranges or transfers in one statement, found by indexes. Changes nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from gateway import db
from gateway.domain.identifiers import LinkCode, RegistryCode
from gateway.domain.units import Origin, UnitRange
from gateway.holdings.book import BLOCKS, OVERLAP, block_columns

#: How far a registry's clock may be before ours (the protocol's own limit): by so much earlier than the announced
#: moment its cut may have been taken.
CLOCKS_APART = timedelta(seconds=300)
#: Numbers of a registry's stream that are looked at: what is missing further back is no news, and not of this cut.
LAST_NUMBERS = 10_000


@dataclass(frozen=True, slots=True)
class Moving:
    """Units, and the transfer that claims or claimed them."""

    units: UnitRange
    transfer: str


@dataclass(frozen=True, slots=True)
class Standing:
    """A transfer between this link and another, the registry of this link in it, and the units it claimed."""

    transfer: str
    state: str
    registry: str
    units: tuple[UnitRange, ...]


async def fence(tx: db.Tx | db.ReadTx, announced: int, cut_at: datetime, taken_at: datetime) -> int:
    """The fence of a cut that was first asked for when the tree had ``announced`` leaves."""
    found = await db.one(
        tx,
        "SELECT coalesce(max(size), 0) AS size FROM log_checkpoint WHERE at <= :then",
        {"then": min(cut_at, taken_at) - CLOCKS_APART},
    )
    assert found is not None  # an aggregate always gives a row
    return max(announced, int(found.size))


async def arrived(tx: db.Tx | db.ReadTx, link: str, told: int) -> bool:
    """Whether what a registry had numbered up to ``told`` is here."""
    wanted = min(told, LAST_NUMBERS)
    found = await db.one(
        tx,
        """
        SELECT count(DISTINCT seq) AS here FROM message
        WHERE direction = 'in' AND peer = :link AND seq > CAST(:told AS bigint) - :wanted AND seq <= :told
        """,
        {"link": link, "told": told, "wanted": wanted},
    )
    assert found is not None  # as above
    return bool(found.here == wanted)


async def claims(tx: db.Tx | db.ReadTx, units: Sequence[UnitRange], fence: int) -> list[list[Moving]]:
    """For each range, what was claimed of it and not released before the fence."""
    found = await db.rows(
        tx,
        f"""
        WITH b AS ({BLOCKS}), known AS (
          SELECT b.nr, b.first AS low, b.last AS high, x.transfer_id, x.first, x.last, x.released_by
          FROM b CROSS JOIN LATERAL (
            SELECT x.* FROM claim x WHERE x.released_by IS NULL AND {OVERLAP} OFFSET 0) AS x
          UNION ALL
          SELECT b.nr, b.first, b.last, x.transfer_id, x.first, x.last, x.released_by
          FROM b CROSS JOIN generate_series(1, 14) AS digits(long) CROSS JOIN LATERAL (
            SELECT x.* FROM claim x WHERE x.released_by IS NOT NULL AND x.series_id = b.series_id
              AND length(to_hex(x.last - x.first)) = digits.long
              AND x.first > b.first - (CAST(1 AS bigint) << (4 * digits.long)) AND x.first <= b.last
              AND x.last >= b.first OFFSET 0) AS x
        )
        SELECT k.nr, k.transfer_id, greatest(k.first, k.low) AS first, least(k.last, k.high) AS last
        FROM known k LEFT JOIN log_leaf l ON l.entry_id = k.released_by
        WHERE k.released_by IS NULL OR l.leaf_index IS NULL OR l.leaf_index >= :fence
        ORDER BY k.nr, first
        """,
        {**block_columns(units), "fence": fence},
    )
    moving: list[list[Moving]] = [[] for _ in units]
    for r in found:
        moving[r.nr - 1].append(Moving(UnitRange(units[r.nr - 1].origin, r.first, r.last), r.transfer_id))
    return moving


#: A transfer ``t`` of ``:link``, whose registry it is there, and the units it claimed.
_STANDING = """
  SELECT t.id, t.state, CASE WHEN t.source = :link THEN t.transferring_registry ELSE t.acquiring_registry END AS book,
    coalesce(json_agg(json_build_array(s.registry, s.series, c.first, c.last) ORDER BY s.registry, s.series, c.first)
             FILTER (WHERE c.first IS NOT NULL), '[]') AS units
  FROM {which} LEFT JOIN claim c ON c.transfer_id = t.id LEFT JOIN unit_series s ON s.id = c.series_id
  GROUP BY t.id, t.state, t.source, t.transferring_registry, t.acquiring_registry ORDER BY t.id
"""


async def unknown_there(tx: db.Tx | db.ReadTx, link: str, moving: Sequence[str], fence: int) -> list[Standing]:
    """Transfers that were committed or released before the fence, still are, and that the link does not tell of."""
    which = """
      (SELECT t.* FROM transfer t
       JOIN transfer_event e ON e.transfer_id = t.id AND e.version = t.version
       JOIN log_leaf l ON l.entry_id = e.entry_id AND l.leaf_index < :fence
       WHERE t.state IN ('committing', 'released') AND :link IN (t.source, t.acquirer)
         AND t.id <> ALL(CAST(:moving AS text[]))) AS t"""
    found = await db.rows(tx, _STANDING.format(which=which), {"link": link, "moving": list(moving), "fence": fence})
    return [_standing(r) for r in found]


async def over_here(tx: db.Tx | db.ReadTx, link: str, moving: Sequence[str], begun_at: datetime) -> list[Standing]:
    """Of the transfers that the link tells of, those that were over here, and it told so, before the run began."""
    which = """
      (SELECT t.* FROM transfer t WHERE t.id = ANY(CAST(:moving AS text[]))
         AND t.state IN ('completed', 'refused', 'rejected', 'cancelled')
         AND CASE WHEN t.source = :link THEN t.told_source_at ELSE t.told_acquirer_at END < :begun) AS t"""
    found = await db.rows(tx, _STANDING.format(which=which), {"link": link, "moving": list(moving), "begun": begun_at})
    return [_standing(r) for r in found]


async def unknown_here(tx: db.Tx | db.ReadTx, moving: Sequence[str]) -> list[str]:
    """Of these transfers, those that have never been heard of."""
    found = await db.rows(
        tx,
        """
        SELECT m.id FROM unnest(CAST(:moving AS text[])) AS m(id)
        WHERE NOT EXISTS (SELECT FROM transfer t WHERE t.id = m.id)
          AND NOT EXISTS (SELECT FROM early_withdrawal w WHERE w.transfer_id = m.id) ORDER BY m.id
        """,
        {"moving": list(moving)},
    )
    return [r.id for r in found]


def _standing(r: Any) -> Standing:
    units = tuple(UnitRange(Origin(RegistryCode(LinkCode(a)), b), c, d) for a, b, c, d in r.units)
    return Standing(r.id, r.state, r.book, units)


def by_letter(moving: Mapping[str, str], letters: str) -> list[str]:
    """The transfers that are one of these there."""
    return sorted(transfer for transfer, letter in moving.items() if letter in letters)
