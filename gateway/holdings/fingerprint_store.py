"""Rows of fingerprints, and the positions by which they change; each statement is for any number of nodes.

A position is in the cut of a size when the entry that opened it has a leaf below it and none below it closed it. What
differs between two sizes is found from the leaves between them by the indexes on ``opened_by`` and ``closed_by``, never
by looking through the positions; only the first cut of a book reads them all. What a leaf below the size of a committed
tree says does not change any more, so statements of one transaction agree whatever is written meanwhile.
"""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, text

from gateway import db
from gateway.domain.fingerprints import TOP, Node, SeriesEntry, Summary, hashed
from gateway.holdings.fingerprint_tree import Kept, Key

_COLUMNS = """x.series_id, x.first, x.last, x.party, x.account_type, x.attributes_id, x.itmo_series_id, x.itmo_offset"""
#: Whether no leaf below ``high`` closed the position. A subquery of its own for each, so that it is looked up by index.
_STILL_THERE = """
  coalesce((SELECT c.leaf_index FROM log_leaf c WHERE c.entry_id = x.closed_by), CAST(:high AS bigint))
    >= CAST(:high AS bigint)
"""
#: OFFSET 0 keeps the planner from looking through all positions: it is told of few leaves and may expect many.
_SEQUENCED = """
  FROM (SELECT entry_id FROM log_leaf WHERE leaf_index >= CAST(:low AS bigint) AND leaf_index < CAST(:high AS bigint)
        OFFSET 0) AS e
  CROSS JOIN LATERAL (
    SELECT x.* FROM position x WHERE x.{} = e.entry_id AND x.registry = :registry OFFSET 0) AS x
"""
#: Positions of a registry in the cut of size ``high`` and not in that of ``low``, and the other way round.
COMING = f"""
  SELECT {_COLUMNS} {_SEQUENCED.format("opened_by")} WHERE {_STILL_THERE} ORDER BY x.series_id, x.first
"""
GOING = f"""
  SELECT {_COLUMNS} {_SEQUENCED.format("closed_by")}
  WHERE (SELECT o.leaf_index FROM log_leaf o WHERE o.entry_id = x.opened_by) < CAST(:low AS bigint)
  ORDER BY x.series_id, x.first
"""
#: All positions of a registry in the cut of size ``high``.
ALL = f"""
  SELECT {_COLUMNS} FROM position x JOIN log_leaf o ON o.entry_id = x.opened_by
  LEFT JOIN log_leaf c ON c.entry_id = x.closed_by AND c.leaf_index < CAST(:high AS bigint)
  WHERE x.registry = :registry AND o.leaf_index < CAST(:high AS bigint) AND c.leaf_index IS NULL
  ORDER BY x.series_id, x.first
"""
#: Entries that the cut of ``size`` has not. Those up to ``swept`` all have a leaf.
_LATER = """
  SELECT entry_id FROM log_leaf WHERE leaf_index >= CAST(:size AS bigint)
  UNION ALL
  SELECT e.id FROM log_entry e
  WHERE e.id > (SELECT swept FROM log_head) AND (SELECT l.leaf_index FROM log_leaf l WHERE l.entry_id = e.id) IS NULL
"""
_MOVED = """
  SELECT x.*, {0} FROM later CROSS JOIN LATERAL (
    SELECT x.* FROM position x WHERE x.{1} = later.entry_id AND x.registry = :registry OFFSET 0) AS x
"""
#: Serials of a registry's units that one entry moved, by series. What it closed and opened in the same state has not
#: moved: it is what was left of a block.
MOVED = f"""
  WITH later AS ({_LATER}), touched AS (
    {_MOVED.format("x.opened_by AS entry_id, true AS opened", "opened_by")}
    UNION ALL
    {_MOVED.format("x.closed_by AS entry_id, false AS opened", "closed_by")}
  ), changed AS (
    SELECT series_id, coalesce(range_agg(int8range(first, last, '[]')) FILTER (WHERE opened), '{{}}') AS opened,
           coalesce(range_agg(int8range(first, last, '[]')) FILTER (WHERE NOT opened), '{{}}') AS closed
    FROM touched
    GROUP BY entry_id, series_id, party, account_type, attributes_id, itmo_series_id, itmo_offset
  )
  SELECT s.registry, s.series, lower(piece) AS first, upper(piece) - 1 AS last FROM (
    SELECT series_id, range_agg(part) AS serials
    FROM changed CROSS JOIN LATERAL unnest((opened - closed) + (closed - opened)) AS part GROUP BY series_id) AS m
  JOIN unit_series s ON s.id = m.series_id CROSS JOIN LATERAL unnest(m.serials) AS piece
  ORDER BY s.registry, s.series, first
"""


@dataclass(frozen=True, slots=True)
class BookRow:
    """A book as of the tree of ``size`` leaves: the root of its directory, and its number of series."""

    size: int
    root: bytes
    series: int


async def lock(tx: db.Tx, registry: str) -> None:
    """Let one transaction at a time bring the nodes of a registry up to a cut."""
    await db.rows(tx, "SELECT pg_advisory_xact_lock(14, hashtext(:registry))", {"registry": registry})


async def tree_size(tx: db.Tx) -> int:
    """Leaves of the log's committed tree."""
    row = await db.one(tx, "SELECT size FROM log_head")
    assert row is not None
    return int(row.size)


async def book(tx: db.Tx | db.ReadTx, registry: str) -> BookRow | None:
    """A book as it is kept; None before its first cut."""
    row = await db.one(
        tx, "SELECT size, root, series FROM fingerprint_book WHERE registry = :registry", {"registry": registry}
    )
    return BookRow(row.size, bytes(row.root), row.series) if row else None


async def keep_book(tx: db.Tx, registry: str, kept: BookRow) -> None:
    """Say what the nodes are as of now."""
    await db.execute(
        tx,
        """
        INSERT INTO fingerprint_book (registry, size, root, series) VALUES (:registry, :size, :root, :series)
        ON CONFLICT (registry) DO UPDATE SET size = excluded.size, root = excluded.root, series = excluded.series
        """,
        {"registry": registry, "size": kept.size, "root": kept.root, "series": kept.series},
    )


#: One hash of all that is kept of a registry. A quantity of nothing says the same as none.
SUMMED = "SELECT sha256(convert_to(concat_ws(' ', {}), 'UTF8')) AS hash".format(
    ", ".join(
        f"(SELECT sha256(string_agg(sha256(convert_to(CAST(x AS text), 'UTF8')), '' ORDER BY {order}))"
        f" FROM {table} x WHERE x.registry = :registry{but})"
        for table, order, but in (
            ("fingerprint_book", "x.registry", ""),
            ("fingerprint_series", "x.series_id", ""),
            ("fingerprint_directory", "x.prefix", ""),
            ("fingerprint_node", "x.series_id, x.level, x.nr", ""),
            ("fingerprint_total", "x.party, x.account_type, x.vintage", " AND x.quantity > 0"),
        )
    )
)


async def summed(tx: db.Tx, registry: str) -> bytes:
    """SHA-256 of everything that is kept of a registry, row by row, so that two states of it can be compared."""
    row = await db.one(tx, SUMMED, {"registry": registry})
    assert row is not None
    return bytes(row.hash)


async def forget(tx: db.Tx, registry: str) -> None:
    """Remove what is kept of a registry, so that it can be made anew as of no earlier size than it is kept."""
    for statement in (
        "DELETE FROM fingerprint_node WHERE registry = :registry",
        "DELETE FROM fingerprint_series WHERE registry = :registry",
        "DELETE FROM fingerprint_directory WHERE registry = :registry",
        "UPDATE fingerprint_total SET quantity = 0 WHERE registry = :registry",
    ):
        await db.execute(tx, statement, {"registry": registry})


async def changes(
    tx: db.Tx, registry: str, low: int, high: int, at_once: int
) -> AsyncIterator[list[tuple[Sequence[Any], bool]]]:
    """Positions that are in one of two cuts, so many at once, with whether they come; those that go are first.

    In the order of series and serials, of each kind, so that few nodes are gone through twice.
    """
    await db.execute(tx, "SET LOCAL cursor_tuple_fraction = 1")  # every cursor is read to its end
    given = {"registry": registry, "low": low, "high": high}
    part: list[tuple[Sequence[Any], bool]] = []
    for statement, comes in ((GOING, False), (COMING, True)) if low else ((ALL, True),):
        async with tx.stream(text(statement), given, execution_options={"yield_per": at_once}) as found:
            async for rows in found.partitions(at_once):
                part += [(row, comes) for row in rows]
                if len(part) >= at_once:
                    yield part
                    part = []
    if part:
        yield part


async def attributes(tx: db.Tx, ids: Collection[int]) -> dict[int, dict[str, Any]]:
    """Attribute sets as the link protocol writes them."""
    found = await db.rows(
        tx,
        "SELECT id, attributes FROM unit_attributes WHERE id = ANY(CAST(:ids AS integer[]))",
        {"ids": list(ids)},
    )
    return {r.id: r.attributes for r in found}


async def stems(tx: db.Tx, ids: Collection[int]) -> dict[int, str]:
    """The stems of ITMO identifiers."""
    found = await db.rows(
        tx, "SELECT id, stem FROM itmo_series WHERE id = ANY(CAST(:ids AS integer[]))", {"ids": list(ids)}
    )
    return {r.id: r.stem for r in found}


async def names(tx: db.Tx, ids: Collection[int]) -> dict[int, str]:
    """``REGISTRY/SERIES`` of series, by the numbers the book gives them."""
    found = await db.rows(
        tx,
        "SELECT id, registry || '/' || series AS name FROM unit_series WHERE id = ANY(CAST(:ids AS integer[]))",
        {"ids": list(ids)},
    )
    return {r.id: r.name for r in found}


async def keep_states(tx: db.Tx, texts: Mapping[bytes, str]) -> None:
    """Keep the texts of states, by their SHA-256; in that order, because others do the same."""
    ordered = sorted(texts)
    await db.execute(
        tx,
        """
        INSERT INTO fingerprint_state (hash, text)
        SELECT * FROM unnest(CAST(:hashes AS bytea[]), CAST(:texts AS text[])) ON CONFLICT DO NOTHING
        """,
        {"hashes": ordered, "texts": [texts[key] for key in ordered]},
    )


async def texts(tx: db.Tx | db.ReadTx, hashes: Sequence[bytes]) -> dict[bytes, str]:
    """The texts of the states that are known, by their SHA-256."""
    found = await db.rows(
        tx,
        "SELECT hash, text FROM fingerprint_state WHERE hash = ANY(CAST(:hashes AS bytea[]))",
        {"hashes": list(hashes)},
    )
    return {bytes(r.hash): r.text for r in found}


async def nodes(tx: db.Tx, registry: str, keys: Sequence[Key]) -> dict[Key, Kept]:
    """The rows of these nodes."""
    found = await db.rows(
        tx,
        """
        SELECT n.series_id, n.level, n.nr, n.inner_node, n.content
        FROM unnest(CAST(:series AS integer[]), CAST(:levels AS smallint[]), CAST(:nrs AS bigint[]))
             AS w(series_id, level, nr)
        CROSS JOIN LATERAL (
          SELECT n.* FROM fingerprint_node n
          WHERE (n.registry, n.series_id, n.level, n.nr) = (:registry, w.series_id, w.level, w.nr) OFFSET 0) AS n
        """,
        {"registry": registry, **_key_columns(keys)},
    )
    return {Key(r.series_id, r.level, r.nr): Kept(r.inner_node, bytes(r.content)) for r in found}


async def keep_nodes(tx: db.Tx, registry: str, rows: Mapping[Key, Kept], gone: Collection[Key]) -> None:
    """Write these nodes and remove those."""
    keys = list(rows)
    if gone:
        await db.execute(
            tx,
            """
            DELETE FROM fingerprint_node
            USING unnest(CAST(:series AS integer[]), CAST(:levels AS smallint[]), CAST(:nrs AS bigint[]))
                  AS w(series_id, level, nr)
            WHERE registry = :registry AND fingerprint_node.series_id = w.series_id
              AND fingerprint_node.level = w.level AND fingerprint_node.nr = w.nr
            """,
            {"registry": registry, **_key_columns(list(gone))},
        )
    await db.execute(
        tx,
        """
        INSERT INTO fingerprint_node (registry, series_id, level, nr, inner_node, content)
        SELECT :registry, w.* FROM unnest(CAST(:series AS integer[]), CAST(:levels AS smallint[]),
                                          CAST(:nrs AS bigint[]), CAST(:inner AS boolean[]),
                                          CAST(:contents AS bytea[])) AS w
        ON CONFLICT (registry, series_id, level, nr)
        DO UPDATE SET inner_node = excluded.inner_node, content = excluded.content
        """,
        {
            "registry": registry,
            **_key_columns(keys),
            "inner": [rows[key].inner for key in keys],
            "contents": [rows[key].content for key in keys],
        },
    )


def _key_columns(keys: Sequence[Key]) -> dict[str, list[int]]:
    return {
        "series": [key.series_id for key in keys],
        "levels": [key.level for key in keys],
        "nrs": [key.nr for key in keys],
    }


async def lowest(tx: db.Tx | db.ReadTx, registry: str, wanted: Sequence[Node]) -> list[tuple[int, Kept] | None]:
    """For each of ``wanted``, the lowest kept node that it is or lies in: level and row."""
    split = [node.series.partition("/") for node in wanted]
    found = await db.rows(
        tx,
        f"""
        SELECT w.place, n.level, n.inner_node, n.content
        FROM unnest(CAST(:registries AS text[]), CAST(:series AS text[]), CAST(:levels AS integer[]),
                    CAST(:nrs AS bigint[])) WITH ORDINALITY AS w(registry, series, level, nr, place)
        JOIN unit_series s ON s.registry = w.registry AND s.series = w.series
        CROSS JOIN LATERAL (
          SELECT n.* FROM generate_series(w.level, {TOP}) AS up(level) CROSS JOIN LATERAL (
            SELECT n.level, n.inner_node, n.content FROM fingerprint_node n
            WHERE n.registry = :registry AND n.series_id = s.id AND n.level = up.level
              AND n.nr = w.nr >> 4 * (up.level - w.level) OFFSET 0) AS n
          ORDER BY n.level LIMIT 1) AS n
        """,
        {
            "registry": registry,
            "registries": [code for code, _, _ in split],
            "series": [series for _, _, series in split],
            "levels": [node.level for node in wanted],
            "nrs": [node.nr for node in wanted],
        },
    )
    rows = {r.place: (int(r.level), Kept(r.inner_node, bytes(r.content))) for r in found}
    return [rows.get(place) for place in range(1, len(wanted) + 1)]


async def moved(tx: db.Tx | db.ReadTx, registry: str, size: int) -> Sequence[Row[Any]]:
    """Serials of a registry's units that were moved after the cut of ``size``, in order and without overlaps."""
    return await db.rows(tx, MOVED, {"registry": registry, "size": size})


async def keep_series(tx: db.Tx, registry: str, entries: Mapping[int, SeriesEntry], gone: Collection[int]) -> None:
    """Write what is said of series, by their numbers, and remove those of which nothing is left."""
    if gone:
        await db.execute(
            tx,
            "DELETE FROM fingerprint_series WHERE registry = :registry AND series_id = ANY(CAST(:ids AS integer[]))",
            {"registry": registry, "ids": list(gone)},
        )
    await db.execute(
        tx,
        """
        INSERT INTO fingerprint_series (registry, series_id, name_hash, level, nr, count, digest)
        SELECT :registry, w.* FROM unnest(
          CAST(:ids AS integer[]), CAST(:hashes AS bytea[]), CAST(:levels AS smallint[]), CAST(:nrs AS bigint[]),
          CAST(:counts AS bigint[]), CAST(:digests AS bytea[])) AS w
        ON CONFLICT (registry, series_id)
        DO UPDATE SET level = excluded.level, nr = excluded.nr, count = excluded.count, digest = excluded.digest
        """,
        {
            "registry": registry,
            "ids": list(entries),
            "hashes": [hashed(entry.name) for entry in entries.values()],
            "levels": [entry.apex.level for entry in entries.values()],
            "nrs": [entry.apex.nr for entry in entries.values()],
            "counts": [entry.summary.count for entry in entries.values()],
            "digests": [entry.summary.digest for entry in entries.values()],
        },
    )


async def series_in(tx: db.Tx | db.ReadTx, registry: str, prefixes: Sequence[str]) -> dict[str, list[SeriesEntry]]:
    """The series below each of these prefixes, by their names' SHA-256; an empty list where there is none."""
    found = await db.rows(
        tx,
        """
        SELECT w.prefix, s.registry || '/' || s.series AS name, f.level, f.nr, f.count AS runs, f.digest
        FROM unnest(CAST(:prefixes AS text[]), CAST(:lowest AS bytea[]), CAST(:highest AS bytea[]))
             AS w(prefix, lowest, highest)
        CROSS JOIN LATERAL (
          SELECT f.* FROM fingerprint_series f
          WHERE f.registry = :registry AND f.name_hash BETWEEN w.lowest AND w.highest OFFSET 0) AS f
        JOIN unit_series s ON s.id = f.series_id ORDER BY f.name_hash
        """,
        {
            "registry": registry,
            "prefixes": list(prefixes),
            "lowest": [bytes.fromhex(prefix.ljust(64, "0")) for prefix in prefixes],
            "highest": [bytes.fromhex(prefix.ljust(64, "f")) for prefix in prefixes],
        },
    )
    series: dict[str, list[SeriesEntry]] = {prefix: [] for prefix in prefixes}
    for r in found:
        summary = Summary(r.runs, bytes(r.digest))
        series[r.prefix].append(SeriesEntry(Node(r.name, r.level, r.nr), summary))
    return series
