"""Fingerprints of the books kept here: brought up to date at a cut, and read for questions about it.

``bring_up_to_date`` computes the nodes of the units that were touched since the cut before, and no others; the first
time it streams all holdings. Its transaction has one view of the database (REPEATABLE READ), so that the books, what
was told and what is moving are of one moment and nobody waits for it. What it leaves is the cut's until the next one.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from .books import plain
from .database import Row, Tx, columns
from .directory import Directory, Entry
from .nodes import (
    FANOUT,
    MOST_RUNS,
    NO_STATE,
    Kept,
    Key,
    Leaf,
    Run,
    Summary,
    Tree,
    clipped,
    digest_of_children,
    inner_of,
    joined,
    leaf_of,
    merged,
)
from .registry import Registry
from .states import States
from .told_nodes import Content, Node

#: Holdings read at a time while all are streamed.
STREAMED_ROWS = 5_000
#: Touched ranges whose nodes are changed together, and changed nodes that are written together.
RANGES_AT_ONCE = NODES_AT_ONCE = 20_000
#: The setting that says that nodes are kept.
KEPT = "book_nodes"

#: A series of one book.
Place = tuple[str, int]
Apex = tuple[Key, Summary]

_PIECES = """
SELECT w.series, greatest(h.first, w.first) AS first, least(h.last, w.last) AS last, h.party, h.account, h.attributes,
       h.itmo, h.itmo_offset
  FROM unnest(%s::int[], %s::bigint[], %s::bigint[]) AS w (series, first, last)
  JOIN holding h ON box(point(h.series, h.first), point(h.series + 0.5::float8, h.last))
                 && box(point(w.series, w.first), point(w.series + 0.5::float8, w.last))
 ORDER BY 1, 2
"""
_TOUCHED_NODES = """
SELECT b.book, b.series, b.level, b.nr, b.runs, b.children FROM book_node b
 WHERE (b.book, b.series, b.level, b.nr) IN (
  SELECT n.book, n.series, n.level, n.nr
    FROM unnest(%s::text[], %s::int[], %s::bigint[], %s::bigint[]) AS w (book, series, first, last)
   CROSS JOIN generate_series(0, 14) AS l (level)
    JOIN book_node n ON n.book = w.book AND n.series = w.series AND n.level = l.level
                    AND n.nr BETWEEN w.first >> 4 * l.level AND w.last >> 4 * l.level)
"""
_NAMED_NODES = """
SELECT b.book, b.series, b.level, b.nr, b.runs, b.children
  FROM unnest(%s::text[], %s::int[], %s::int[], %s::bigint[]) AS w (book, series, level, nr)
  JOIN book_node b ON b.book = w.book AND b.series = w.series AND b.level = w.level AND b.nr = w.nr
"""
#: The lowest kept node in which each node that is asked for lies.
_AROUND = """
SELECT w.n, k.level, k.nr, k.runs, k.children
  FROM unnest(%s::int[], %s::int[], %s::bigint[]) WITH ORDINALITY AS w (series, level, nr, n)
 CROSS JOIN LATERAL (
  SELECT b.level, b.nr, b.runs, b.children FROM generate_series(w.level, 14) AS l (level)
    JOIN book_node b ON b.book = %s AND b.series = w.series AND b.level = l.level
                    AND b.nr = w.nr >> 4 * (l.level - w.level)
   ORDER BY b.level LIMIT 1) AS k
"""


async def bring_up_to_date(tx: Tx, registry: Registry) -> None:
    """Compute what has changed since the last cut."""
    writing = _Writing(tx)
    if await tx.one("SELECT FROM setting WHERE name = %s", KEPT) is None:
        await tx.execute("INSERT INTO setting (name, value) VALUES (%s, %s::jsonb)", KEPT, plain(True))
        await _build(tx, registry, writing)
        await tx.execute("DELETE FROM book_touched")
        await tx.execute(_TOTALS.format("holding", "1"))
    else:
        await _grow(tx, registry, writing)
        await tx.execute(_TOTALS.format("book_touched", "sign"))
        await tx.execute("DELETE FROM book_total WHERE quantity = 0")
        await tx.execute("DELETE FROM book_touched")
    await writing.flush()


_TOTALS = """
INSERT INTO book_total (party, account_type, vintage, quantity)
SELECT u.party, left(u.account, 3)::int, (a.attributes ->> 'vintage')::int, sum({1} * (u.last - u.first + 1))::bigint
  FROM {0} u JOIN unit_attributes a ON a.id = u.attributes GROUP BY 1, 2, 3
ON CONFLICT (party, account_type, vintage) DO UPDATE SET quantity = book_total.quantity + EXCLUDED.quantity
"""


class _Writing:
    """Nodes and apexes that are to be written, a number of them together."""

    def __init__(self, tx: Tx) -> None:
        self._tx = tx
        self._nodes: dict[tuple[str, int, int, int], Kept | None] = {}
        self._apexes: dict[Place, Apex | None] = {}

    async def put(self, place: Place, tree: Tree, apex: Apex | None) -> None:
        self._apexes[place] = apex
        self._nodes |= {(*place, *key): node for key, node in tree.changed.items()}
        if len(self._nodes) >= NODES_AT_ONCE:
            await self.flush()

    async def flush(self) -> None:
        gone = [key for key, node in self._nodes.items() if node is None]
        there = [(*key, *_packed(node)) for key, node in self._nodes.items() if node is not None]
        await self._tx.execute(
            "DELETE FROM book_node b USING unnest(%s::text[], %s::int[], %s::int[], %s::bigint[])"
            " AS w (book, series, level, nr)"
            " WHERE (b.book, b.series, b.level, b.nr) = (w.book, w.series, w.level, w.nr)",
            *columns(gone, 4),
        )
        await self._tx.execute(
            "INSERT INTO book_node (book, series, level, nr, runs, children)"
            " SELECT * FROM unnest(%s::text[], %s::int[], %s::int[], %s::bigint[], %b::bytea[], %b::bytea[])"
            " ON CONFLICT (book, series, level, nr) DO UPDATE SET runs = EXCLUDED.runs, children = EXCLUDED.children",
            *columns(there, 6),
        )
        empty = [place for place, apex in self._apexes.items() if apex is None]
        await self._tx.execute(
            "DELETE FROM book_series WHERE (book, series) IN (SELECT * FROM unnest(%s::text[], %s::int[]))",
            *columns(empty, 2),
        )
        await self._tx.execute(
            "INSERT INTO book_series (book, series, level, nr, count, digest, head, tail) SELECT * FROM unnest("
            "%s::text[], %s::int[], %s::int[], %s::bigint[], %s::bigint[], %b::bytea[], %b::bytea[], %b::bytea[])"
            " ON CONFLICT (book, series) DO UPDATE SET level = EXCLUDED.level, nr = EXCLUDED.nr,"
            " count = EXCLUDED.count, digest = EXCLUDED.digest, head = EXCLUDED.head, tail = EXCLUDED.tail",
            *columns([(*place, *_said(*apex)) for place, apex in self._apexes.items() if apex], 8),
        )
        self._nodes.clear()
        self._apexes.clear()


def _packed(node: Kept) -> tuple[bytes | None, bytes | None]:
    return (node.packed(), None) if isinstance(node, Leaf) else (None, node.packed())


def _said(apex: Key, summary: Summary) -> tuple[Any, ...]:
    return (*apex, summary.count, summary.digest, summary.head, summary.tail)


def _kept(row: Row) -> Kept:
    return leaf_of(bytes(row["runs"])) if row["runs"] is not None else inner_of(bytes(row["children"]))


async def _build(tx: Tx, registry: Registry, writing: _Writing) -> None:
    """Make all nodes from all holdings, one series at a time."""
    states, at, runs = States(tx), None, list[Run]()
    async with tx.connection.cursor("holdings") as cursor:
        await cursor.execute(
            "SELECT series, first, last, party, account, attributes, itmo, itmo_offset FROM holding"
            " ORDER BY CASE WHEN %s THEN party END, series, first",
            [bool(registry.sections)],
        )
        while rows := await cursor.fetchmany(STREAMED_ROWS):
            for place, pieces in await _by_place(registry, states, rows):
                if place != at:
                    await _finish(writing, at, runs)
                    at, runs = place, []
                runs += pieces
            await states.keep()
    await _finish(writing, at, runs)


async def _finish(writing: _Writing, place: Place | None, pieces: Sequence[Run]) -> None:
    if place is not None:
        tree = Tree({})
        await writing.put(place, tree, tree.built(joined(pieces)))


async def _by_place(registry: Registry, states: States, rows: Sequence[Row]) -> list[tuple[Place, list[Run]]]:
    """Give pieces by the series of a book they are in, in their order."""
    hashes = await states.of(rows)
    pieces = [
        ((registry.books_of(row["party"]), row["series"]), Run(row["first"], row["last"], state))
        for row, state in zip(rows, hashes, strict=True)
    ]
    return [(place, [run for _, run in group]) for place, group in groupby(pieces, key=lambda piece: piece[0])]


async def _grow(tx: Tx, registry: Registry, writing: _Writing) -> None:
    """Change the nodes of what was touched."""
    states, touched = States(tx), dict[Place, list[tuple[int, int]]]()
    for row in await tx.rows("SELECT DISTINCT party, series, first, last FROM book_touched"):
        place = (registry.books_of(row["party"]), row["series"])
        touched.setdefault(place, []).append((row["first"], row["last"]))
    for part in _together({place: merged(ranges) for place, ranges in sorted(touched.items())}):
        await _grow_part(tx, registry, states, writing, part)
        await states.keep()


def _together(touched: Mapping[Place, list[tuple[int, int]]]) -> Iterator[dict[Place, list[tuple[int, int]]]]:
    """Give series together up to so many ranges."""
    part: dict[Place, list[tuple[int, int]]] = {}
    count = 0
    for place, ranges in touched.items():
        part[place] = ranges
        count += len(ranges)
        if count >= RANGES_AT_ONCE:
            yield part
            part, count = {}, 0
    if part:
        yield part


async def _grow_part(
    tx: Tx,
    registry: Registry,
    states: States,
    writing: _Writing,
    touched: Mapping[Place, list[tuple[int, int]]],
) -> None:
    ranges = [(*place, first, last) for place, parts in touched.items() for first, last in parts]
    apexes = await _apexes(tx, touched)
    kept: dict[Place, dict[Key, Kept]] = {place: {} for place in touched}
    _take_in(kept, await tx.rows(_TOUCHED_NODES, *columns(ranges, 4)))
    now = await _pieces(tx, registry, states, touched)
    waiting = set(touched)
    while waiting:
        missing: list[tuple[str, int, int, int]] = []
        for place in sorted(waiting):
            tree = Tree(kept[place])
            apex = tree.grown(apexes.get(place), touched[place], now.get(place, []))
            if tree.missing:
                missing += [(*place, *key) for key in tree.missing]
            else:
                await writing.put(place, tree, apex)
                waiting.remove(place)
        if missing:
            _take_in(kept, await tx.rows(_NAMED_NODES, *columns(missing, 4)))


async def _pieces(
    tx: Tx, registry: Registry, states: States, touched: Mapping[Place, list[tuple[int, int]]]
) -> dict[Place, list[Run]]:
    """Give what is now in touched ranges: longest runs, cut at the ends of the ranges."""
    # A series that was touched in the books of two Parties is read once.
    by_series: dict[int, list[tuple[int, int]]] = {}
    for (_, series), ranges in touched.items():
        by_series.setdefault(series, []).extend(ranges)
    wanted = [(series, *one) for series, ranges in by_series.items() for one in merged(ranges)]
    found: dict[Place, list[Run]] = {}
    for place, pieces in await _by_place(registry, states, await tx.rows(_PIECES, *columns(wanted, 3))):
        found.setdefault(place, []).extend(pieces)
    return {place: _inside(joined(runs), touched[place]) for place, runs in found.items() if place in touched}


def _inside(runs: Sequence[Run], ranges: Iterable[tuple[int, int]]) -> list[Run]:
    return [piece for first, last in ranges for piece in clipped(runs, first, last)]


def _take_in(kept: dict[Place, dict[Key, Kept]], rows: Iterable[Row]) -> None:
    for row in rows:
        kept[row["book"], row["series"]][Key(row["level"], row["nr"])] = _kept(row)


async def _apexes(tx: Tx, places: Iterable[Place]) -> dict[Place, Apex]:
    found = await tx.rows(
        "SELECT s.* FROM book_series s JOIN unnest(%s::text[], %s::int[]) AS w (book, series) USING (book, series)",
        *columns(list(places), 2),
    )
    return {
        (row["book"], row["series"]): (
            Key(row["level"], row["nr"]),
            Summary(row["count"], bytes(row["digest"]), bytes(row["head"]), bytes(row["tail"])),
        )
        for row in found
    }


async def directory(tx: Tx, book: str) -> Directory:
    """Give all series of a book."""
    found = await tx.rows(
        "SELECT s.registry || '/' || s.name AS name, b.level, b.nr, b.count, b.digest FROM book_series b"
        " JOIN series s ON s.id = b.series WHERE b.book = %s",
        book,
    )
    return Directory([Entry(r["name"], Key(r["level"], r["nr"]), r["count"], bytes(r["digest"])) for r in found])


async def totals(tx: Tx, registry: Registry) -> dict[str, list[dict[str, Any]]]:
    """Give the quantities by Party, account type and vintage of each book that has any."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in await tx.rows("SELECT * FROM book_total ORDER BY party, account_type, vintage"):
        found.setdefault(registry.books_of(row["party"]), []).append(dict(row))
    return found


async def contents(tx: Tx, book: str, nodes: Sequence[Node]) -> dict[Node, Content]:
    """Give what is in nodes of a book."""
    ids = await _series_ids(tx, {node.series for node in nodes})
    apexes = await _apexes(tx, [(book, series) for series in ids.values()])
    of = {node: apexes.get((book, ids[node.series])) if node.series in ids else None for node in nodes}
    looked = {
        node: Node(node.series, apex[0]) if node.key.holds(apex[0]) else node for node, apex in of.items() if apex
    }
    wanted = list(dict.fromkeys(looked.values()))
    rows = await tx.rows(_AROUND, *columns([(ids[node.series], *node.key) for node in wanted], 3), book)
    around = {wanted[row["n"] - 1]: (Key(row["level"], row["nr"]), _kept(row)) for row in rows}
    inside = {node: _content(node.key, *around[place]) for node, place in looked.items() if place in around}
    return {
        node: _raised(node.key, apex[0], inside[node]) if apex and node in inside else Content(0)
        for node, apex in of.items()
    }


async def _series_ids(tx: Tx, names: Iterable[str]) -> dict[str, int]:
    found = await tx.rows(
        "SELECT w.whole, s.id FROM unnest(%s::text[], %s::text[], %s::text[]) AS w (whole, registry, name)"
        " JOIN series s ON s.registry = w.registry AND s.name = w.name",
        *columns([(name, *name.split("/", 1)) for name in sorted(names)], 3),
    )
    return {row["whole"]: row["id"] for row in found}


def _content(key: Key, where: Key, node: Kept) -> Content:
    """Give what is in a node by the lowest kept one in which it lies; the apex stands for every node above it."""
    if isinstance(node, Leaf):
        runs = clipped(node.runs, key.first, key.last)
        return Content(len(runs), runs)
    if where.level > key.level:
        return Content(0)
    said = node.children
    return Content(node.count, children=[(child.count, child.digest) if child else (0, NO_STATE) for child in said])


def _raised(key: Key, apex: Key, inside: Content) -> Content:
    """Give what is in a node, where ``inside`` is what is in the apex if that lies below."""
    if not key.holds(apex) or inside.count <= MOST_RUNS:
        return inside
    while apex != key:
        said = (inside.count, digest_of_children(inside.children))
        which, apex = apex.nr % FANOUT, apex.parent()
        inside = Content(inside.count, children=[said if nr == which else (0, NO_STATE) for nr in range(FANOUT)])
    return inside
