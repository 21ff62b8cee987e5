"""Rows of the log's tree: leaves, tiles, head, checkpoints, cosignatures, and the keys they are signed with.

Everybody may read them: they say nothing but hashes, and who witnesses. What is *integrated* is under ``log_head``;
what is *published* has a row in ``log_checkpoint``. Fails only with the database.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from gateway import db
from gateway.audit.merkle import TILE_WIDTH, Growth

#: Holds whoever integrates or publishes: one leader at a time, and with its transaction it goes.
_LEADING = "SELECT pg_try_advisory_xact_lock(12, 0) AS mine"


@dataclass(frozen=True, slots=True)
class Head:
    """The integrated tree; every entry with an id up to ``swept`` is in it, or will never exist."""

    size: int
    root: bytes
    swept: int


@dataclass(frozen=True, slots=True)
class Published:
    """A checkpoint as it is served: ``note`` with the cosignatures that have come, ``witnesses`` of them."""

    size: int
    note: str
    at: datetime
    witnesses: int = 0


@dataclass(frozen=True, slots=True)
class LogKeys:
    """Keys that signed, or sign, checkpoints: until when, if they have an end."""

    id: str
    vkeys: tuple[str, ...]
    not_before: datetime
    retired_at: datetime | None


async def lead(tx: db.Tx) -> bool:
    """Whether this transaction is the leader's."""
    row = await db.one(tx, _LEADING)
    return row is not None and bool(row.mine)


async def head(tx: db.Tx | db.ReadTx) -> Head:
    """The head of the tree."""
    row = await db.one(tx, "SELECT size, root, swept FROM log_head")
    assert row is not None  # made by the migration, and never deleted
    return Head(row.size, bytes(row.root), row.swept)


async def waiting(tx: db.Tx | db.ReadTx, after: int, limit: int) -> list[tuple[int, bytes]]:
    """Entries without a leaf, oldest ids first: id and leaf hash. All of them have ids above ``after``."""
    found = await db.rows(
        tx,
        """
        SELECT e.id, e.leaf_hash FROM log_entry e
        WHERE e.id > :after AND NOT EXISTS (SELECT FROM log_leaf l WHERE l.entry_id = e.id) ORDER BY e.id LIMIT :limit
        """,
        {"after": after, "limit": limit},
    )
    return [(row.id, bytes(row.leaf_hash)) for row in found]


async def last_id(tx: db.Tx) -> int:
    """The last id that was given to an entry, whether it is committed or not."""
    row = await db.one(tx, "SELECT CASE WHEN is_called THEN last_value ELSE 0 END AS id FROM log_entry_id_seq")
    assert row is not None
    return int(row.id)


async def epoch(tx: db.Tx) -> str:
    """What changes when the database is another than before: restarted, failed over, restored, or copied back."""
    row = await db.one(
        tx,
        "SELECT pg_postmaster_start_time()::text || ' ' || d.oid::text || ' ' || c.timeline_id::text AS epoch"
        " FROM pg_database d, pg_control_checkpoint() c WHERE d.datname = current_database()",
    )
    assert row is not None
    return str(row.epoch)


async def writing(tx: db.Tx) -> frozenset[str]:
    """The transactions that write entries now: each holds this lock from before it takes an id until it ends."""
    found = await db.rows(
        tx,
        "SELECT virtualtransaction AS name FROM pg_locks WHERE locktype = 'relation' AND mode = 'RowExclusiveLock'"
        " AND relation = 'log_entry'::regclass"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    )
    return frozenset(str(row.name) for row in found)


async def edge(tx: db.Tx, size: int) -> dict[int, bytes]:
    """The last tile of each level of a tree of this size, where it is not whole."""
    wanted = []
    for level in range(8):
        if size % TILE_WIDTH:
            wanted.append((level, size // TILE_WIDTH))
        size //= TILE_WIDTH
    found = await db.rows(
        tx,
        "SELECT t.level, t.hashes FROM log_tile t"
        " JOIN unnest(CAST(:levels AS smallint[]), CAST(:nrs AS bigint[])) AS w(level, nr) USING (level, nr)",
        {"levels": [level for level, _ in wanted], "nrs": [nr for _, nr in wanted]},
    )
    return {row.level: bytes(row.hashes) for row in found}


async def left_out(tx: db.ReadTx, swept: int, limit: int) -> list[int]:
    """Entries that the sweep has passed and that have no leaf all the same; there are none."""
    found = await db.rows(
        tx,
        "SELECT e.id FROM log_entry e WHERE e.id <= :swept"
        " AND NOT EXISTS (SELECT FROM log_leaf l WHERE l.entry_id = e.id) ORDER BY e.id LIMIT :limit",
        {"swept": swept, "limit": limit},
    )
    return [int(row.id) for row in found]


async def stop(tx: db.Tx, witness: str, note: str, at: datetime, entry_id: int) -> None:
    """Publish nothing any more; the first reason is kept."""
    await db.execute(
        tx,
        "INSERT INTO log_stop (witness, note, at, entry_id) VALUES (:witness, :note, :at, :entry)"
        " ON CONFLICT DO NOTHING",
        {"witness": witness, "note": note, "at": at, "entry": entry_id},
    )


async def stopped(tx: db.Tx | db.ReadTx) -> str | None:
    """The checkpoint for which nothing is published any more, if there is one."""
    row = await db.one(tx, "SELECT note FROM log_stop")
    return str(row.note) if row else None


async def integrate(tx: db.Tx, before: Head, grown: Growth, entries: Sequence[int], swept: int) -> bool:
    """Store the leaves of ``entries`` and the tree they grew to; False, and nothing stored, if the head has moved."""
    moved = await db.execute(
        tx,
        "UPDATE log_head SET size = :size, root = :root, swept = :swept WHERE size = :before",
        {"size": grown.size, "root": grown.root, "swept": swept, "before": before.size},
    )
    if not moved.rowcount:
        return False
    if not entries:
        return True
    await db.execute(
        tx,
        "INSERT INTO log_leaf (leaf_index, entry_id)"
        " SELECT :first + nr - 1, id FROM unnest(CAST(:ids AS bigint[])) WITH ORDINALITY AS e(id, nr)",
        {"first": before.size, "ids": list(entries)},
    )
    tiles = sorted(grown.tiles.items())
    await db.execute(
        tx,
        """
        INSERT INTO log_tile (level, nr, width, hashes)
        SELECT level, nr, octet_length(hashes) / 32, hashes
        FROM unnest(CAST(:levels AS smallint[]), CAST(:nrs AS bigint[]), CAST(:hashes AS bytea[]))
             AS t(level, nr, hashes)
        ON CONFLICT (level, nr) DO UPDATE SET width = excluded.width, hashes = excluded.hashes
        """,
        {
            "levels": [level for (level, _), _ in tiles],
            "nrs": [nr for (_, nr), _ in tiles],
            "hashes": [hashes for _, hashes in tiles],
        },
    )
    return True


async def publish(tx: db.Tx, size: int, note: str, now: datetime) -> None:
    """Store a checkpoint, which is served from the commit on."""
    await db.execute(
        tx,
        "INSERT INTO log_checkpoint (size, note, at) VALUES (:size, :note, :at)",
        {"size": size, "note": note, "at": now},
    )


async def latest(tx: db.Tx | db.ReadTx) -> Published | None:
    """The newest published checkpoint."""
    found = await published(tx, above=None, limit=1)
    return found[0] if found else None


async def published(tx: db.Tx | db.ReadTx, above: int | None, limit: int) -> list[Published]:
    """Published checkpoints with more than ``above`` leaves, the smallest first; without it the newest."""
    chosen = "ORDER BY size DESC" if above is None else "WHERE size > :above ORDER BY size"
    found = await db.rows(
        tx,
        f"""
        SELECT c.size, c.at, c.note || coalesce(s.lines, '') AS note, coalesce(s.number, 0) AS witnesses
        FROM (SELECT * FROM log_checkpoint {chosen} LIMIT :limit) c LEFT JOIN LATERAL (
          SELECT string_agg(line || chr(10), '' ORDER BY at, witness) AS lines, count(*) AS number
          FROM log_cosignature WHERE size = c.size
        ) s ON true ORDER BY c.size
        """,
        {"above": above, "limit": limit},
    )
    return [Published(row.size, row.note, row.at, row.witnesses) for row in found]


async def witnessed(tx: db.Tx | db.ReadTx, quorum: int, above: int = 0) -> Published | None:
    """The newest published checkpoint that ``quorum`` witnesses have signed, with more than ``above`` leaves."""
    row = await db.one(
        tx,
        "SELECT size FROM log_cosignature WHERE size > :above GROUP BY size HAVING count(*) >= :quorum"
        " ORDER BY size DESC LIMIT 1",
        {"above": above, "quorum": quorum},
    )
    return (await published(tx, row.size - 1, 1))[0] if row else None


async def indexes(tx: db.Tx | db.ReadTx, entry_ids: Sequence[int]) -> dict[int, int]:
    """Entry → the index of its leaf, for those that have one."""
    found = await db.rows(
        tx,
        "SELECT entry_id, leaf_index FROM log_leaf WHERE entry_id = ANY (CAST(:ids AS bigint[]))",
        {"ids": list(entry_ids)},
    )
    return {row.entry_id: row.leaf_index for row in found}


async def tile(tx: db.Tx | db.ReadTx, level: int, nr: int, width: int = TILE_WIDTH) -> bytes | None:
    """The first ``width`` hashes of a tile, or nothing if there are not as many."""
    row = await db.one(
        tx,
        "SELECT substr(hashes, 1, 32 * :width) AS hashes FROM log_tile WHERE level = :level AND nr = :nr"
        " AND width >= :width",
        {"level": level, "nr": nr, "width": width},
    )
    return bytes(row.hashes) if row else None


async def tiles(tx: db.Tx | db.ReadTx, wanted: Sequence[tuple[int, int]]) -> dict[tuple[int, int], bytes]:
    """The hashes of some tiles ``(level, nr)``, as many as each has."""
    found = await db.rows(
        tx,
        "SELECT t.level, t.nr, t.hashes FROM log_tile t"
        " JOIN unnest(CAST(:levels AS smallint[]), CAST(:nrs AS bigint[])) AS w(level, nr) USING (level, nr)",
        {"levels": [level for level, _ in wanted], "nrs": [nr for _, nr in wanted]},
    )
    return {(row.level, row.nr): bytes(row.hashes) for row in found}


async def entries(tx: db.Tx | db.ReadTx, first: int, number: int) -> list[bytes]:
    """The public leaves from index ``first`` on, ``number`` of them or as many as there are."""
    found = await db.rows(
        tx,
        "SELECT e.leaf FROM log_leaf l JOIN log_entry e ON e.id = l.entry_id"
        " WHERE l.leaf_index >= :first AND l.leaf_index < :end ORDER BY l.leaf_index",
        {"first": first, "end": first + number},
    )
    return [bytes(row.leaf) for row in found]


async def leaf_hashes(tx: db.Tx | db.ReadTx, first: int, number: int) -> list[bytes]:
    """The hashes of the leaves from index ``first`` on, ``number`` of them or as many as follow without a gap."""
    found = await db.rows(
        tx,
        "SELECT l.leaf_index, e.leaf_hash FROM log_leaf l JOIN log_entry e ON e.id = l.entry_id"
        " WHERE l.leaf_index >= :first AND l.leaf_index < :end ORDER BY l.leaf_index",
        {"first": first, "end": first + number},
    )
    return [bytes(row.leaf_hash) for nr, row in enumerate(found) if row.leaf_index == first + nr]


async def keys(tx: db.Tx | db.ReadTx) -> list[LogKeys]:
    """Every key of the log, the first first."""
    found = await db.rows(tx, "SELECT id, vkeys, not_before, retired_at FROM log_key ORDER BY registered_by")
    return [LogKeys(row.id, tuple(row.vkeys), row.not_before, row.retired_at) for row in found]


async def add_key(tx: db.Tx, key: LogKeys, entry_id: int) -> None:
    """Register keys of the log."""
    await db.execute(
        tx,
        "INSERT INTO log_key (id, vkeys, not_before, registered_by) VALUES (:id, :vkeys, :not_before, :entry)",
        {"id": key.id, "vkeys": list(key.vkeys), "not_before": key.not_before, "entry": entry_id},
    )


async def retire_key(tx: db.Tx, id: str, at: datetime, entry_id: int) -> None:
    """End keys of the log."""
    await db.execute(
        tx,
        "UPDATE log_key SET retired_at = :at, retired_by = :entry WHERE id = :id",
        {"id": id, "at": at, "entry": entry_id},
    )


async def change_alone(tx: db.Tx) -> None:
    """Let nobody else change the log's keys or witnesses until this transaction ends."""
    await db.rows(tx, "SELECT pg_advisory_xact_lock(13, 0)")
