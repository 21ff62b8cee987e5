"""What registries announce of their own units: opening balances, issuance, use, cancellation.

Each notice is recorded once per (registry, action id) with its exact text and its blocks, and moves the book
in the same transaction. A notice that the book cannot take (units issued twice, units used that are not
held) is recorded nowhere and answered with its codes. Histories here are append-only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from gateway import db
from gateway.domain.callers import Sight
from gateway.domain.identifiers import AccountType, LinkCode, RegistryCode, Standing
from gateway.domain.units import Block, Origin, UnitRange
from gateway.holdings.book import BLOCKS, block_columns

#: What enters the book because two persons corrected it by a registry's signed word: no registry's notice.
CORRECTION = "correction"
#: Types of action that bring units into the book.
ENTERING = ("issuance", "opening", CORRECTION)


@dataclass(frozen=True, slots=True)
class Record:
    """A notice as it is kept: its blocks with the account type each is in afterwards."""

    registry: str
    action: str
    type: str
    at: datetime
    item: str
    blocks: tuple[tuple[Block, int], ...]

    @property
    def quantity(self) -> int:
        """Units concerned, in tonnes."""
        return sum(block.quantity for block, _ in self.blocks)


@dataclass(frozen=True, slots=True)
class Totals:
    """What the book says of one registry, in tonnes. ``held`` leaves out what is in transit from it.

    ``moved_in`` and ``moved_out`` have what transfers moved, and what corrections of the book did.
    """

    registry: str
    issued: int
    held: int
    in_transit: int
    used: int
    cancelled: int
    moved_in: int
    moved_out: int


async def recorded(tx: db.Tx, names: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """The exact texts of those actions, by (registry, action), that were announced before."""
    found = await db.rows(
        tx,
        """
        SELECT a.registry, a.action, a.item FROM action a
        JOIN unnest(CAST(:registries AS text[]), CAST(:actions AS text[])) AS n(registry, action)
          USING (registry, action)
        """,
        {"registries": [r for r, _ in names], "actions": [a for _, a in names]},
    )
    return {(r.registry, r.action): r.item for r in found}


async def record(tx: db.Tx, records: Sequence[Record], entry_id: int) -> None:
    """Keep notices with their blocks, in one statement; the series MUST be known to the book."""
    blocks = [(nr, block, account_type) for nr, r in enumerate(records, 1) for block, account_type in r.blocks]
    await db.execute(
        tx,
        f"""
        WITH n AS (
          SELECT * FROM unnest(CAST(:registries AS text[]), CAST(:action AS text[]), CAST(:type AS text[]),
                               CAST(:at AS timestamptz[]), CAST(:quantity AS bigint[]), CAST(:item AS text[]))
            WITH ORDINALITY AS n(registry, action, type, at, quantity, item, nr)
        ), kept AS (
          INSERT INTO action (registry, action, type, at, quantity, item, entry_id)
          SELECT registry, action, type, at, quantity, item, :entry FROM n ORDER BY nr
          RETURNING id, registry, action
        )
        INSERT INTO action_block (action_id, series_id, first, last, account_type)
        SELECT kept.id, b.series_id, b.first, b.last, t.account_type
        FROM ({BLOCKS}) AS b
        JOIN unnest(CAST(:of AS bigint[]), CAST(:account_type AS smallint[])) WITH ORDINALITY AS t(of, account_type, nr)
          USING (nr)
        JOIN n ON n.nr = t.of JOIN kept ON (kept.registry, kept.action) = (n.registry, n.action)
        """,
        {
            "registries": [r.registry for r in records],
            "action": [r.action for r in records],
            "type": [r.type for r in records],
            "at": [r.at for r in records],
            "quantity": [r.quantity for r in records],
            "item": [r.item for r in records],
            **block_columns([block for _, block, _ in blocks]),
            "of": [nr for nr, _, _ in blocks],
            "account_type": [account_type for _, _, account_type in blocks],
            "entry": entry_id,
        },
    )


async def deducted_outside(tx: db.Tx, units: Sequence[UnitRange]) -> list[UnitRange]:
    """What was taken for the share of proceeds and OMGE when these units were issued, and is not among them."""
    found = await db.rows(
        tx,
        f"""
        WITH b AS ({BLOCKS}), issued AS (
          SELECT DISTINCT x.action_id FROM action a JOIN action_block x ON x.action_id = a.id
          JOIN b ON x.series_id = b.series_id AND x.first <= b.last AND b.first <= x.last WHERE a.type = 'issuance'
        )
        SELECT s.registry, s.series, x.first, x.last FROM action_block x JOIN issued USING (action_id)
        JOIN unit_series s ON s.id = x.series_id
        WHERE x.account_type = ANY(CAST(:taken AS smallint[]))
          AND NOT EXISTS (SELECT FROM b WHERE b.series_id = x.series_id AND b.first <= x.first AND x.last <= b.last)
        """,
        {
            **block_columns(units),
            "taken": [AccountType.SHARE_OF_PROCEEDS.value, AccountType.CANCELLATION_OMGE.value],
        },
    )
    return [UnitRange(Origin(RegistryCode(LinkCode(r.registry)), r.series), r.first, r.last) for r in found]


async def totals(tx: db.ReadTx, sight: Sight) -> list[Totals]:
    """Totals of each registry seen: one's own, or all behind one's own link.

    Units are in transit from the source's signed release until the acquirer's signed credit: the book still
    shows them at the source, so they are taken off what it holds.
    """
    found = await db.rows(
        tx,
        """
        WITH stock AS (
          SELECT registry,
                 sum(last - first + 1) FILTER (WHERE account_type <> ALL(CAST(:spent AS smallint[]))) AS held,
                 sum(last - first + 1) FILTER (WHERE account_type = ANY(CAST(:used AS smallint[]))) AS used,
                 sum(last - first + 1) FILTER (WHERE account_type = ANY(CAST(:cancelled AS smallint[]))) AS cancelled
          FROM position WHERE closed_by IS NULL GROUP BY registry
        ), entered AS (
          SELECT registry, sum(quantity) AS issued FROM action
          WHERE type = ANY(CAST(:entering AS text[])) GROUP BY registry
        ), gone AS (
          SELECT transferring_registry AS registry, sum(quantity) AS moved_out,
                 sum(quantity) FILTER (WHERE settle_id IS NOT NULL AND state <> 'completed') AS in_transit
          FROM transfer WHERE settle_id IS NOT NULL GROUP BY 1
        ), come AS (
          SELECT acquiring_registry AS registry, sum(quantity) AS moved_in
          FROM transfer WHERE state = 'completed' GROUP BY 1
        ), corrected AS (
          SELECT c.registry, sum(c.quantity) FILTER (WHERE c.quantity > 0) AS brought,
                 -sum(c.quantity) FILTER (WHERE c.quantity < 0) AS taken
          FROM case_correction x CROSS JOIN LATERAL (VALUES
            (x.registry, x.last - x.first + 1), (x.from_registry, x.first - x.last - 1)) AS c(registry, quantity)
          WHERE x.from_registry <> x.registry GROUP BY 1
        )
        SELECT r.registry, coalesce(issued, 0) AS issued, coalesce(held, 0) - coalesce(in_transit, 0) AS held,
               coalesce(in_transit, 0) AS in_transit, coalesce(used, 0) AS used, coalesce(cancelled, 0) AS cancelled,
               coalesce(moved_in, 0) + coalesce(brought, 0) AS moved_in,
               coalesce(moved_out, 0) + coalesce(taken, 0) AS moved_out
        FROM link_registry r LEFT JOIN stock USING (registry) LEFT JOIN entered USING (registry)
        LEFT JOIN gone USING (registry) LEFT JOIN come USING (registry) LEFT JOIN corrected USING (registry)
        WHERE CAST(:sight AS text) IS NULL OR :sight IN (r.registry, r.link)
        ORDER BY r.registry
        """,
        {
            "used": _types(Standing.USED),
            "cancelled": _types(Standing.CANCELLED),
            "spent": _types(Standing.USED, Standing.CANCELLED),
            "entering": list(ENTERING),
            "sight": sight.code,
        },
    )
    return [
        Totals(
            r.registry, int(r.issued), int(r.held), int(r.in_transit), int(r.used), int(r.cancelled), int(r.moved_in),
            int(r.moved_out),
        )
        for r in found
    ]  # fmt: skip


def conserved(found: Sequence[Totals]) -> bool:
    """Whether everything issued is held, in transit, used or cancelled, once, over all registries."""
    return sum(t.issued for t in found) == sum(t.held + t.in_transit + t.used + t.cancelled for t in found)


def _types(*standings: Standing) -> list[int]:
    return [account_type.value for account_type in AccountType if account_type.standing in standings]
