"""Reads what ever happened to one unit: the blocks of actions and transfers it lay in, and what became of those.

A unit keeps its origin through every split, so its history is every block that covers its serial, whenever and
however it was cut. Each is found by the indexes of migration 0013, whatever the number of blocks. Nothing here changes
anything.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gateway import db
from gateway.domain.callers import Sight
from gateway.domain.identifiers import ItmoId
from gateway.holdings.book import serials
from gateway.transfers.viewers import SEEN

#: Most actions or transfers of one unit that are told: none has been seen with a hundredth of it.
MAX_COVERING = 10_000
#: In how many parts an action is recorded at most (``holdings.recording``): a message has no room for more.
MAX_PARTS = 8


@dataclass(frozen=True, slots=True)
class Unit:
    """One unit by its origin; ``series_id`` is the book's number for its series."""

    series_id: int
    registry: str
    series: str
    serial: int


#: The rows of ``{table}`` whose block covers a serial, in the words of its index: in each length of a block, counted in
#: hexadecimal digits, none that covers the serial begins further below it than the longest of that length.
COVERING = """
  SELECT x.* FROM generate_series(1, 14) AS length(digits) CROSS JOIN LATERAL (
    SELECT * FROM {table} b WHERE {where} AND b.series_id = :series AND length(to_hex(b.last - b.first)) = length.digits
      AND b.first > CAST(:serial AS bigint) - (CAST(1 AS bigint) << (4 * length.digits)) AND b.first <= :serial
      AND b.last >= :serial LIMIT :most
  ) AS x
"""
_CLAIMS = f"""
  {COVERING.format(table="claim", where="b.released_by IS NOT NULL")}
  UNION ALL SELECT b.* FROM claim b WHERE b.released_by IS NULL
    AND {serials("b.series_id", "b.first", "b.last")} && {serials(":series", ":serial", ":serial")}
"""


async def unit(tx: db.ReadTx, registry: str, series: str, serial: int) -> Unit | None:
    """A unit of a series the book knows; whether it was ever issued is not asked."""
    found = await db.one(
        tx,
        "SELECT id FROM unit_series WHERE registry = :registry AND series = :series",
        {"registry": registry, "series": series},
    )
    return Unit(found.id, registry, series, serial) if found is not None else None


async def named(tx: db.ReadTx, itmo: ItmoId) -> Unit | None:
    """The unit that bears an ITMO identifier, which its live position has."""
    found = await db.one(
        tx,
        f"""
        SELECT p.series_id, s.registry, s.series, :serial - p.itmo_offset AS serial
        FROM itmo_series i JOIN position p ON p.closed_by IS NULL AND p.itmo_series_id IS NOT NULL
          AND {serials("p.itmo_series_id", "p.first + p.itmo_offset", "p.last + p.itmo_offset")}
            && {serials("i.id", ":serial", ":serial")}
        JOIN unit_series s ON s.id = p.series_id WHERE i.stem = :stem
        """,
        {"stem": itmo.stem, "serial": itmo.serial},
    )
    return Unit(found.series_id, found.registry, found.series, int(found.serial)) if found is not None else None


async def place(tx: db.ReadTx, sight: Sight, of: Unit) -> Any | None:
    """Where a unit is now, as far as that is the caller's own registry, and its ITMO identifier's parts."""
    return await db.one(
        tx,
        f"""
        SELECT p.registry, p.party, p.account_type, i.stem, :serial + p.itmo_offset AS itmo_serial
        FROM position p LEFT JOIN itmo_series i ON i.id = p.itmo_series_id
        LEFT JOIN link_registry r ON r.registry = p.registry
        WHERE p.closed_by IS NULL AND {serials("p.series_id", "p.first", "p.last")}
          && {serials(":series", ":serial", ":serial")}
          AND (CAST(:sight AS text) IS NULL OR CAST(:sight AS text) IN (p.registry, r.link))
        """,
        {"series": of.series_id, "serial": of.serial, **sight.parameters},
    )


async def actions(tx: db.ReadTx, sight: Sight, of: Unit) -> Sequence[Any]:
    """Actions of registries whose blocks cover a unit: issuance, use, cancellation; those of the caller's own."""
    return await db.rows(
        tx,
        f"""
        SELECT a.id, a.registry, a.action, a.type, a.at, a.entry_id, b.first, b.last, b.account_type
        FROM ({COVERING.format(table="action_block", where="true")}) AS b JOIN action a ON a.id = b.action_id
        LEFT JOIN link_registry r ON r.registry = a.registry
        WHERE CAST(:sight AS text) IS NULL OR CAST(:sight AS text) IN (a.registry, r.link)
        ORDER BY a.entry_id, a.id LIMIT :most
        """,
        {"series": of.series_id, "serial": of.serial, "most": MAX_COVERING, **sight.parameters},
    )


async def transfers(tx: db.ReadTx, sight: Sight, of: Unit) -> Sequence[Any]:
    """Transfers that ever claimed a unit and are seen."""
    return await db.rows(
        tx,
        f"""
        SELECT t.id, t.transferring_registry, t.transferring_party, t.acquiring_registry, t.acquiring_party, t.purpose,
               t.state, b.first, b.last
        FROM ({_CLAIMS}) AS b JOIN transfer t ON t.id = b.transfer_id WHERE {SEEN}
        ORDER BY t.created_at, t.id LIMIT :most
        """,
        {"series": of.series_id, "serial": of.serial, "most": MAX_COVERING, **sight.parameters},
    )


async def causes(tx: db.ReadTx, of: Unit) -> tuple[list[str], list[int], list[str]]:
    """Ids of all transfers that ever claimed a unit, ids of all actions that cover it, and what both are recorded as.

    Not to be shown: who was told of them may see that, and not them.
    """
    found = await db.rows(
        tx,
        f"""
        SELECT b.transfer_id AS transfer, CAST(NULL AS bigint) AS action, b.transfer_id AS cause FROM ({_CLAIMS}) AS b
        UNION ALL SELECT NULL, a.id, a.registry || '/' || a.action
        FROM ({COVERING.format(table="action_block", where="true")}) AS b JOIN action a ON a.id = b.action_id
        LIMIT 2 * :most
        """,
        {"series": of.series_id, "serial": of.serial, "most": MAX_COVERING},
    )
    transfer_ids = [r.transfer for r in found if r.transfer is not None]
    return transfer_ids, [r.action for r in found if r.action is not None], [r.cause for r in found]


async def events(tx: db.ReadTx, transfer_ids: Sequence[str]) -> Sequence[Any]:
    """What became of transfers, step by step, with the release and the credit as they were signed."""
    return await db.rows(
        tx,
        """
        SELECT v.transfer_id, v.version, v.state, v.event, v.at, v.entry_id, s.item
        FROM transfer_event v LEFT JOIN transfer_step s ON s.transfer_id = v.transfer_id
          AND s.step = CASE v.state WHEN 'released' THEN 'released' WHEN 'completed' THEN 'credited' END
        WHERE v.transfer_id = ANY(CAST(:ids AS text[])) ORDER BY v.transfer_id, v.version
        """,
        {"ids": list(transfer_ids)},
    )


async def records(tx: db.ReadTx, sight: Sight, causes: Sequence[str]) -> Sequence[Any]:
    """What is recorded or notified of transfers and of actions (REGISTRY/ACTION), and is seen."""
    names = [name for cause in causes for name in _names(cause)]
    return await db.rows(
        tx,
        """
        SELECT r.kind, r.action, r.cause, r.type, r.at, r.section, r.party, r.state, r.item, r.entry_id,
               m.entry_id AS said_by, r.answered_by
        FROM action_record r LEFT JOIN message m ON m.message_id = r.message_id AND m.direction = 'out'
        WHERE r.action = ANY(CAST(:names AS text[])) AND r.kind IN ('record', 'notification')
          AND (CAST(:sight AS text) IS NULL OR CAST(:sight AS text) IN (r.section, r.link))
        ORDER BY r.id
        """,
        {"names": names, **sight.parameters},
    )


def _names(cause: str) -> list[str]:
    """The names under which an action may be recorded (``holdings.recording``): a transfer has an action a side."""
    origin, _, action = cause.partition("/")
    sides = [action] if action else ["transfer", "acquisition"]
    parts = [origin, *(f"{origin}+{nr}" for nr in range(2, MAX_PARTS + 1))]
    return [f"{part}/{side}" for part in parts for side in sides]


async def authorisations(
    tx: db.ReadTx, sight: Sight, transfer_ids: Sequence[str], action_ids: Sequence[int]
) -> Sequence[Any]:
    """Versions and revocations of the authorisations that transfers rely on or actions draw on; those of the caller."""
    return await db.rows(
        tx,
        """
        WITH known AS (
          SELECT authorisation_id AS id FROM reliance WHERE transfer_id = ANY(CAST(:transfers AS text[]))
          UNION SELECT authorisation_id FROM drawing WHERE action_id = ANY(CAST(:actions AS bigint[]))
        ), told AS (
          SELECT authorisation_id AS id, version, NULL AS reason, told_by, entry_id FROM authorisation_version
          UNION ALL SELECT authorisation_id, NULL, reason, told_by, entry_id FROM authorisation_revocation
        )
        SELECT a.party, a.name, told.version, told.reason, told.entry_id, e.at
        FROM known JOIN authorisation a USING (id) JOIN told USING (id) JOIN log_entry e ON e.id = told.entry_id
        WHERE CAST(:sight AS text) IS NULL OR told.told_by = CAST(:sight AS text)
          OR a.party = CAST(:sight_party AS text)
        ORDER BY told.entry_id
        """,
        {"transfers": list(transfer_ids), "actions": list(action_ids), **sight.parameters},
    )


async def entries(tx: db.ReadTx, ids: Sequence[int]) -> dict[int, Any]:
    """Of log entries: their place in the log, if they have one yet, and their message, if they are one's."""
    found = await db.rows(
        tx,
        """
        SELECT e.id, e.at, l.leaf_index, CAST(m.message_id AS text) AS message, m.type, m.direction, m.peer, m.seq,
               CAST(m.in_reply_to AS text) AS in_reply_to, m.sha256
        FROM log_entry e LEFT JOIN log_leaf l ON l.entry_id = e.id LEFT JOIN message m ON m.entry_id = e.id
        WHERE e.id = ANY(CAST(:ids AS bigint[]))
        """,
        {"ids": list(ids)},
    )
    return {r.id: r for r in found}
