"""What moves while cuts are taken: claims and transfers that are not the same before and after, and what has arrived.

The *fence* is a size of the log's tree from before either cut was taken: what is sequenced below it had happened by
then. Each function takes any number of ranges or transfers in one statement, found by indexes. Changes nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from gateway import db
from gateway.domain.identifiers import LinkCode, RegistryCode
from gateway.domain.units import Origin, UnitRange
from gateway.holdings.book import BLOCKS, OVERLAP, block_columns

#: How far a registry's clock may be before ours (the protocol's own limit): by so much earlier than the announced
#: moment its cut may have been taken.
CLOCKS_APART = timedelta(seconds=300)
#: How long a transfer explains a difference, from when it was committed or released on: the default time limit of a
#: transfer. Whoever has not answered for so long does not answer by himself, and persons must know of the units.
EXPLAINS = timedelta(hours=24)
#: Pieces of one kind that are looked at under one difference: more than there are transfers in flight at a registry
#: (5,000, ``reading.MOST_MOVING``), and few enough to be swept in a moment.
MOST_PIECES = 10_000
#: Positions that are read under one difference: a tenth of a second. Beyond, its units are not looked for.
MOST_READ = 100_000
#: Refused proposals of a registry that are looked through, among its last messages: a lock is released when the refusal
#: is heard, and a registry that has said so much since has heard it.
LAST_REFUSED, LAST_MESSAGES = 100, 10_000


@dataclass(frozen=True, slots=True)
class Moving:
    """Units, and the transfer that claims or claimed them, from the book of ``source`` to that of ``acquirer``.

    ``reached``: committing or released, the furthest of these that it was in, None if in neither. ``late``: it has been
    there, and in flight, for longer than anything is explained by that.
    """

    units: UnitRange
    transfer: str
    source: str
    acquirer: str
    state: str
    reached: str | None = None
    late: bool = False


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Units that are in the book of a registry now."""

    units: UnitRange
    registry: str


@dataclass(frozen=True, slots=True)
class Standing:
    """A transfer between this link and another, the registry of this link in it, and the units it claimed.

    ``old``: it was in this state before both cuts.
    """

    transfer: str
    state: str
    registry: str
    units: tuple[UnitRange, ...]
    old: bool


async def fence(tx: db.Tx | db.ReadTx, announced: int, cut_at: datetime, taken_at: datetime) -> int:
    """The fence of a cut that was first asked for when the tree had ``announced`` leaves."""
    found = await db.one(
        tx,
        "SELECT coalesce(max(size), 0) AS size FROM log_checkpoint WHERE at <= :then",
        {"then": told_before(cut_at, taken_at)},
    )
    assert found is not None  # an aggregate always gives a row
    return max(announced, int(found.size))


#: Claims ``m`` (range, transfer, serials) with what their transfers are, of those from or to the book of ``:book``.
_TOLD = """
  SELECT m.nr, t.id, t.transferring_registry AS source, t.acquiring_registry AS acquirer, t.state, e.state AS reached,
    t.state IN ('committing', 'released') AND e.since < :late AS late, lower(piece) AS first, upper(piece) - 1 AS last
  FROM m JOIN LATERAL (SELECT t.* FROM transfer t WHERE t.id = m.transfer_id OFFSET 0) AS t
    ON :book IN (t.transferring_registry, t.acquiring_registry)
  LEFT JOIN LATERAL (
    SELECT e.state, min(e.at) AS since FROM transfer_event e
    WHERE e.transfer_id = t.id AND e.state IN ('committing', 'released') GROUP BY e.state ORDER BY e.state DESC LIMIT 1
  ) AS e ON true CROSS JOIN LATERAL unnest(m.serials) AS piece
  ORDER BY m.nr, first
"""
_SERIALS = "range_agg(int8range(greatest(x.first, b.first), least(x.last, b.last), '[]')) AS serials"
LIVE = f"""
  WITH b AS ({BLOCKS}), m AS (
    SELECT b.nr, x.transfer_id, {_SERIALS}
    FROM b CROSS JOIN LATERAL (
      SELECT x.* FROM claim x WHERE x.released_by IS NULL AND {OVERLAP} LIMIT {MOST_PIECES + 1}) AS x
    GROUP BY b.nr, x.transfer_id
  ) {_TOLD}
"""
COMPLETED = f"""
  WITH b AS ({BLOCKS}), m AS (
    SELECT b.nr, x.transfer_id, {_SERIALS}
    FROM b CROSS JOIN generate_series(1, 14) AS digits(long) CROSS JOIN LATERAL (
      SELECT x.* FROM claim x WHERE x.released_by IS NOT NULL AND x.series_id = b.series_id
        AND length(to_hex(x.last - x.first)) = digits.long
        AND x.first > b.first - (CAST(1 AS bigint) << (4 * digits.long)) AND x.first <= b.last
        AND x.last >= b.first LIMIT {MOST_PIECES + 1}) AS x
    LEFT JOIN LATERAL (SELECT l.leaf_index FROM log_leaf l WHERE l.entry_id = x.released_by OFFSET 0) AS l ON true
    WHERE l.leaf_index IS NULL OR l.leaf_index >= :fence
    GROUP BY b.nr, x.transfer_id
  ) {_TOLD}
"""
#: Where the units of a range are now, by registry: neighbours in one book are one piece.
HELD = f"""
  WITH b AS ({BLOCKS}), m AS (
    SELECT b.nr, x.registry, {_SERIALS}, sum(count(*)) OVER (PARTITION BY b.nr) AS number
    FROM b CROSS JOIN LATERAL (
      SELECT x.* FROM position x WHERE x.closed_by IS NULL AND {OVERLAP} LIMIT {MOST_READ + 1}) AS x
    GROUP BY b.nr, x.registry
  )
  SELECT m.nr, m.registry, lower(piece) AS first, upper(piece) - 1 AS last, m.number
  FROM m CROSS JOIN LATERAL unnest(m.serials) AS piece ORDER BY m.nr, first
"""


async def claims(tx: db.Tx | db.ReadTx, registry: str, units: Sequence[UnitRange], now: datetime) -> list[list[Moving]]:
    """For each range, what transfers from or to a book claim of it; one piece too many where there is more."""
    given = {**block_columns(units), "book": registry, "late": now - EXPLAINS}
    return _moving(await db.rows(tx, LIVE, given), units)


async def completed(
    tx: db.Tx | db.ReadTx, registry: str, units: Sequence[UnitRange], fence: int, now: datetime
) -> list[list[Moving]]:
    """The same of what transfers claimed that were over after the fence; ranges SHOULD be what has moved since."""
    given = {**block_columns(units), "book": registry, "late": now - EXPLAINS, "fence": fence}
    return _moving(await db.rows(tx, COMPLETED, given), units)


async def held(tx: db.Tx | db.ReadTx, units: Sequence[UnitRange]) -> list[tuple[list[Elsewhere], bool]]:
    """For each range the books that have units of it now, and whether there are more positions than were read."""
    places: list[list[Elsewhere]] = [[] for _ in units]
    more = [False] * len(units)
    for r in await db.rows(tx, HELD, block_columns(units)):
        places[r.nr - 1].append(Elsewhere(UnitRange(units[r.nr - 1].origin, r.first, r.last), r.registry))
        more[r.nr - 1] = r.number > MOST_READ
    return list(zip(places, more, strict=True))


def _moving(found: Sequence[Any], units: Sequence[UnitRange]) -> list[list[Moving]]:
    moving: list[list[Moving]] = [[] for _ in units]
    for r in found:
        part = UnitRange(units[r.nr - 1].origin, r.first, r.last)
        moving[r.nr - 1].append(Moving(part, r.id, r.source, r.acquirer, r.state, r.reached, bool(r.late)))
    return moving


#: A transfer ``t`` of ``:link``, whose registry it is there, and the units it claimed.
_STANDING = """
  SELECT t.id, t.state, {old} AS old,
    CASE WHEN t.source = :link THEN t.transferring_registry ELSE t.acquiring_registry END AS book,
    (SELECT coalesce(json_agg(json_build_array(s.registry, s.series, c.first, c.last)
                              ORDER BY s.registry, s.series, c.first), '[]')
     FROM claim c JOIN unit_series s ON s.id = c.series_id WHERE c.transfer_id = t.id) AS units
  FROM transfer t {which} ORDER BY t.id
"""
UNKNOWN_THERE = _STANDING.format(
    old="coalesce(l.leaf_index < :fence, false)",
    which="""
  JOIN LATERAL (SELECT e.entry_id FROM transfer_event e WHERE e.transfer_id = t.id AND e.version = t.version OFFSET 0)
    AS e ON true
  LEFT JOIN LATERAL (SELECT l.leaf_index FROM log_leaf l WHERE l.entry_id = e.entry_id OFFSET 0) AS l ON true
  WHERE t.state IN ('committing', 'released', 'attention') AND :link IN (t.source, t.acquirer)
    AND t.id <> ALL(CAST(:moving AS text[]))""",
)
OVER_HERE = _STANDING.format(
    old="true",
    which="""
  WHERE t.id = ANY(CAST(:moving AS text[])) AND t.state IN ('completed', 'refused', 'rejected', 'cancelled')
    AND CASE WHEN t.source = :link THEN t.told_source_at ELSE t.told_acquirer_at END < :before""",
)
UNKNOWN_HERE = """
  SELECT m.id FROM unnest(CAST(:moving AS text[])) AS m(id)
  WHERE NOT EXISTS (SELECT FROM transfer t WHERE t.id = m.id OFFSET 0)
    AND NOT EXISTS (SELECT FROM early_withdrawal w WHERE w.transfer_id = m.id OFFSET 0) ORDER BY m.id
"""
#: Of transfers, those that a refused proposal of ``:link`` names; the last messages are looked through, and no others.
REFUSED_HERE = f"""
  WITH last AS MATERIALIZED (
    SELECT p.entry_id, p.message_id, p.direction, p.type FROM message p WHERE p.peer = :link
    ORDER BY p.entry_id DESC LIMIT {LAST_MESSAGES}
  ), named AS MATERIALIZED (
    SELECT p.entry_id FROM last p WHERE p.direction = 'in' AND p.type = 'transfer.propose' AND EXISTS (
      SELECT FROM message a WHERE a.in_reply_to = p.message_id AND a.direction = 'out' AND a.type = 'refusal' OFFSET 0)
    ORDER BY p.entry_id DESC LIMIT {LAST_REFUSED}
  ), refused AS MATERIALIZED (
    SELECT p.body FROM named n CROSS JOIN LATERAL (
      SELECT p.body FROM message p WHERE p.entry_id = n.entry_id OFFSET 0) AS p
  )
  SELECT m.id FROM unnest(CAST(:moving AS text[])) AS m(id)
  WHERE EXISTS (SELECT FROM refused WHERE position(convert_to(m.id, 'UTF8') IN body) > 0)
"""


async def unknown_there(tx: db.Tx | db.ReadTx, link: str, moving: Sequence[str], fence: int) -> list[Standing]:
    """Transfers that are committed or released, or left to persons, and that the link does not tell of.

    Those that have been so only since the fence, which are not ``old``, prove nothing, nor the contrary.
    """
    given = {"link": link, "moving": list(moving), "fence": fence}
    return [_standing(r) for r in await db.rows(tx, UNKNOWN_THERE, given)]


async def over_here(tx: db.Tx | db.ReadTx, link: str, moving: Sequence[str], before: datetime) -> list[Standing]:
    """Of the transfers that the link tells of, those that were over here, and it told so, ``before`` its cut."""
    given = {"link": link, "moving": list(moving), "before": before}
    return [_standing(r) for r in await db.rows(tx, OVER_HERE, given)]


async def unknown_here(tx: db.Tx | db.ReadTx, moving: Sequence[str], before: datetime, now: datetime) -> list[str]:
    """Of these transfers, those that no row here is of, though they were begun ``before`` the cut of who tells them."""
    found = [r.id for r in await db.rows(tx, UNKNOWN_HERE, {"moving": list(moving)})]
    return [transfer for transfer in found if not _is_young(transfer, before, now + CLOCKS_APART)]


async def refused_here(tx: db.Tx | db.ReadTx, link: str, transfers: Sequence[str]) -> set[str]:
    """Those whose proposal was refused as a message: the registry has that refusal, or will have it.

    Each is looked for in each refused proposal: ask for few.
    """
    if not transfers:
        return set()
    return {r.id for r in await db.rows(tx, REFUSED_HERE, {"link": link, "moving": list(transfers)})}


def _is_young(transfer: str, since: datetime, until: datetime) -> bool:
    """Whether a transfer was named in that time, by its own id: a UUIDv7 behind the link code of its source."""
    milliseconds = UUID(transfer.partition("-")[2]).int >> 80
    return since.timestamp() <= milliseconds / 1000 <= until.timestamp()


def _standing(r: Any) -> Standing:
    units = tuple(UnitRange(Origin(RegistryCode(LinkCode(a)), b), c, d) for a, b, c, d in r.units)
    return Standing(r.id, r.state, r.book, units, r.old)


def told_before(cut_at: datetime, taken_at: datetime) -> datetime:
    """The moment before which all that was told to a registry was told before it took its cut, whatever its clock."""
    return min(cut_at, taken_at) - CLOCKS_APART


def by_letter(moving: Mapping[str, str], letters: str) -> list[str]:
    """The transfers that are one of these there."""
    return sorted(transfer for transfer, letter in moving.items() if letter in letters)
