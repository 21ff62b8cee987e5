"""A registry's book as fingerprints (``domain.fingerprints``), kept as of a cut: the log tree of one size.

``take`` brings what is kept up to a later cut; its cost follows what changed between the two, and the first one reads
the book as it is. ``rebuild`` does as the first, whatever is kept. ``book``, ``directory``, ``nodes`` and ``texts``
read what is kept and never the positions, so they answer as of that cut while the relay goes on. Whoever moves units
writes nothing here: what an entry sequenced between two cuts has opened and closed is the list of what is to be
computed again.

What is kept is what the definitions say of the book's runs, whatever splits, merges and cuts there were before. Fails
with CONFLICT when a cut is older than what is kept, or lies between two moves of the same units that the log has in the
other order (a later cut does not).
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway import db
from gateway.domain.fingerprints import (
    MOST_RUNS,
    NOTHING,
    TOP,
    DirectoryContent,
    Node,
    NodeContent,
    Run,
    SeriesEntry,
    Summary,
    apex,
    clipped,
    hashed,
    of_children,
    of_prefixes,
    of_runs,
    of_series,
    state_text,
)
from gateway.domain.units import UnitRange
from gateway.errors import GatewayError, Kind
from gateway.holdings import fingerprint_directory, fingerprint_store
from gateway.holdings.fingerprint_store import BookRow
from gateway.holdings.fingerprint_tree import Batch, Changes, Kept, Key, Part, counted, read_parts, read_runs, said

#: Positions whose changes are worked in at once: their nodes are a hundred megabytes at most, and a second's work, so
#: that PostgreSQL never takes the transaction for one that stands idle.
AT_ONCE = 20_000
#: States that are remembered while a cut is taken; units whose identifiers share an offset are in few.
STATES_REMEMBERED = 100_000

_State = tuple[str, int, int, int | None, int | None]


@dataclass(frozen=True, slots=True, order=True)
class Total:
    """Whole units of a Party in accounts of one type, of one vintage."""

    party: str
    account_type: int
    vintage: int
    quantity: int


@dataclass(frozen=True, slots=True)
class Book:
    """A registry's book at the cut of ``size``: SHA-256 root, number of series, totals in order."""

    registry: str
    size: int
    root: bytes
    series: int
    totals: tuple[Total, ...]


async def take(tx: db.Tx, registry: str, size: int) -> Book:
    """Bring the kept nodes of a registry up to the cut of ``size`` (leaves of a committed tree); the book there.

    One transaction at a time does this for a registry, others wait. Raises CONFLICT when ``size`` is below that of
    what is kept, above that of the tree, or not between two moves of units (see above).
    """
    await fingerprint_store.lock(tx, registry)
    kept = await fingerprint_store.book(tx, registry)
    before = kept.size if kept else 0
    if size < before:
        raise GatewayError(Kind.CONFLICT, f"the book of {registry} is kept as of {before} leaves: {size} is past")
    if size > await fingerprint_store.tree_size(tx):
        raise GatewayError(Kind.CONFLICT, f"the log's tree has no {size} leaves yet")
    if kept is None or size > before:
        await _bring_up(tx, registry, before, size)
    found = await book(tx, registry)
    assert found is not None
    return found


async def rebuild(tx: db.Tx, registry: str, size: int) -> tuple[Book, bool]:
    """Forget what is kept of a registry, and make it anew from the positions in the cut of ``size``.

    The book there, and whether what was kept as of the same cut was the same, row by row. Reads all positions of the
    registry; otherwise like ``take``, and raises what that does.
    """
    await fingerprint_store.lock(tx, registry)
    kept = await fingerprint_store.book(tx, registry)
    if kept is not None and size < kept.size:
        raise GatewayError(Kind.CONFLICT, f"the book of {registry} is kept as of {kept.size} leaves: {size} is past")
    if size > await fingerprint_store.tree_size(tx):
        raise GatewayError(Kind.CONFLICT, f"the log's tree has no {size} leaves yet")
    before = await fingerprint_store.summed(tx, registry)
    await fingerprint_store.forget(tx, registry)
    await _bring_up(tx, registry, 0, size)
    found = await book(tx, registry)
    assert found is not None
    return found, before == await fingerprint_store.summed(tx, registry)


async def _bring_up(tx: db.Tx, registry: str, before: int, size: int) -> None:
    taking = _Taking(tx, registry)
    async for part in fingerprint_store.changes(tx, registry, before, size, AT_ONCE):
        await taking.work_in(part)
    root = await fingerprint_directory.follow(tx, registry, taking.touched)
    await fingerprint_store.keep_book(tx, registry, BookRow(size, root.digest, root.count))
    await _keep_totals(tx, registry, await taking.totals())


async def book(tx: db.Tx | db.ReadTx, registry: str) -> Book | None:
    """A registry's book at its last cut; None before the first."""
    kept = await fingerprint_store.book(tx, registry)
    if kept is None:
        return None
    found = await db.rows(
        tx,
        """
        SELECT party, account_type, vintage, quantity FROM fingerprint_total
        WHERE registry = :registry AND quantity > 0 ORDER BY party COLLATE "C", account_type, vintage
        """,
        {"registry": registry},
    )
    totals = tuple(Total(r.party, r.account_type, r.vintage, int(r.quantity)) for r in found)
    return Book(registry, kept.size, kept.root, kept.series, totals)


async def directory(tx: db.Tx | db.ReadTx, registry: str, prefixes: Sequence[str]) -> list[DirectoryContent]:
    """The directory nodes with these prefixes (0 to 16 characters of lower-case hex), in that order."""
    inner = await fingerprint_directory.kept(tx, registry, prefixes)
    lists = await fingerprint_store.series_in(tx, registry, sorted(set(prefixes) - inner.keys()))
    found: list[DirectoryContent] = []
    for prefix in prefixes:
        if prefix in inner:
            children = tuple(inner[prefix])
            found.append(DirectoryContent(prefix, of_prefixes(children), children=children))
        else:
            series = tuple(lists[prefix])
            found.append(DirectoryContent(prefix, of_series(series), series=series))
    return found


async def nodes(tx: db.Tx | db.ReadTx, registry: str, wanted: Sequence[Node]) -> list[NodeContent]:
    """These nodes of serials, in that order; one where nothing is has count 0."""
    rows = await fingerprint_store.lowest(tx, registry, wanted)
    return [_content(node, row) for node, row in zip(wanted, rows, strict=True)]


def _content(node: Node, found: tuple[int, Kept] | None) -> NodeContent:
    """A node by the lowest kept node that it is or lies in (its level and row)."""
    if found is None:
        return NodeContent(node, NOTHING)
    level, row = found
    if not row.inner:
        runs = clipped((Run(*run) for run in read_runs(row.content)), node.first, node.last)
        return NodeContent(node, of_runs(runs), runs=tuple(runs))
    if level > node.level:
        return NodeContent(node, NOTHING)
    parts = read_parts(row.content)
    children = said(parts)
    return NodeContent(node, of_children(counted(parts), children), children=children)


async def texts(tx: db.Tx | db.ReadTx, hashes: Sequence[bytes]) -> dict[bytes, str]:
    """The texts of states by their SHA-256; one that was in no book at any cut is left out."""
    return await fingerprint_store.texts(tx, hashes)


async def moved_since(
    tx: db.Tx | db.ReadTx, registry: str, size: int, ranges: Sequence[UnitRange]
) -> list[list[UnitRange]]:
    """For each of ``ranges``, the units on which a position was opened or closed after the cut of ``size``.

    By entries that are not in that cut, sequenced or not, in this registry's book. Pieces are in order, without
    overlaps. Units that such an entry left where they were, in the state they were in, are not among them.
    """
    by_series: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for r in await fingerprint_store.moved(tx, registry, size):
        by_series.setdefault((r.registry, r.series), []).append((r.last, r.first))
    found = []
    for units in ranges:
        pieces = by_series.get((units.origin.registry, units.origin.series), [])
        own = []
        for last, first in pieces[bisect_left(pieces, (units.first, 0)) :]:
            if first > units.last:
                break
            own.append(UnitRange(units.origin, max(first, units.first), min(last, units.last)))
        found.append(own)
    return found


class _Taking:
    """One use of ``take``: works parts of the changes in, remembers the states, series and quantities concerned."""

    def __init__(self, tx: db.Tx, registry: str) -> None:
        self._tx, self._registry = tx, registry
        self.touched: set[bytes] = set()
        self._quantities: Counter[tuple[str, int, int]] = Counter()
        self._states: dict[_State, bytes] = {}
        self._attributes: dict[int, dict[str, Any]] = {}
        self._stems: dict[int, str] = {}

    async def work_in(self, part: Sequence[tuple[Sequence[Any], bool]]) -> None:
        """Let nodes and series follow these changes."""
        await self._know([row for row, comes in part if comes])
        changes: dict[int, Changes] = {}
        for row, comes in part:
            series_id, first, last, party, account_type, attributes_id, stem_id, offset = row
            going, coming = changes.setdefault(series_id, ([], []))
            if comes:
                state = self._states[party, account_type, attributes_id, stem_id, offset]
                coming.append((first, last, state))
            else:
                going.append((first, last))
            units = last - first + 1
            self._quantities[party, account_type, attributes_id] += units if comes else -units
        roots = await self._carry(changes)
        await self._keep_series(roots)

    async def totals(self) -> dict[tuple[str, int, int], int]:
        """By how much the quantities of Party, account type and vintage have changed."""
        missing = {attributes_id for _, _, attributes_id in self._quantities} - self._attributes.keys()
        self._attributes |= await fingerprint_store.attributes(self._tx, missing)
        changed: Counter[tuple[str, int, int]] = Counter()
        for (party, account_type, attributes_id), units in self._quantities.items():
            changed[party, account_type, int(self._attributes[attributes_id]["vintage"])] += units
        return changed

    async def _know(self, rows: Sequence[Sequence[Any]]) -> None:
        """Have the hash of each state that comes, and its text kept."""
        if len(self._states) > STATES_REMEMBERED:
            self._states.clear()
        new = {(r[3], r[4], r[5], r[6], r[7]) for r in rows} - self._states.keys()
        if not new:
            return
        attributes = {key[2] for key in new} - self._attributes.keys()
        self._attributes |= await fingerprint_store.attributes(self._tx, attributes)
        stems = {key[3] for key in new if key[3] is not None} - self._stems.keys()
        self._stems |= await fingerprint_store.stems(self._tx, stems)
        kept: dict[bytes, str] = {}
        for key in new:
            party, account_type, attributes_id, stem_id, offset = key
            named = None if stem_id is None else (self._stems[stem_id], offset)
            text = state_text(party, account_type, self._attributes[attributes_id], named)
            self._states[key] = hashed(text)
            kept[self._states[key]] = text
        await fingerprint_store.keep_states(self._tx, kept)

    async def _carry(self, changes: Mapping[int, Changes]) -> dict[int, Part | None]:
        """Down the trees and up again; the root of each series that was touched."""
        batch = Batch()
        keys = batch.touched(changes)
        while keys:
            keys = batch.descend(await fingerprint_store.nodes(self._tx, self._registry, keys))
        for level in range(TOP + 1):
            missing = batch.ascend(level)
            batch.join(level, await fingerprint_store.nodes(self._tx, self._registry, missing) if missing else {})
        await fingerprint_store.keep_nodes(self._tx, self._registry, batch.rows, batch.gone)
        return batch.roots()

    async def _keep_series(self, roots: Mapping[int, Part | None]) -> None:
        """Say of each series what its root has become, at the smallest node with all of it."""
        names = await fingerprint_store.names(self._tx, roots.keys())
        self.touched |= {hashed(name) for name in names.values()}
        entries: dict[int, SeriesEntry] = {}
        many: dict[int, Node] = {}
        for series_id, root in roots.items():
            if root is None:
                continue
            top = apex(names[series_id], root.first, root.last)
            entries[series_id] = SeriesEntry(top, Summary(root.runs, root.digest))
            if root.runs > MOST_RUNS:
                many[series_id] = top
        keys = [Key(series_id, top.level, top.nr) for series_id, top in many.items()]
        for key, row in (await fingerprint_store.nodes(self._tx, self._registry, keys)).items():
            summary = _content(many[key.series_id], (key.level, row)).summary
            entries[key.series_id] = SeriesEntry(many[key.series_id], summary)
        gone = [series_id for series_id, root in roots.items() if root is None]
        await fingerprint_store.keep_series(self._tx, self._registry, entries, gone)


async def _keep_totals(tx: db.Tx, registry: str, changed: Mapping[tuple[str, int, int], int]) -> None:
    await db.execute(
        tx,
        """
        INSERT INTO fingerprint_total (registry, party, account_type, vintage, quantity)
        SELECT :registry, w.party, w.account_type, w.vintage, w.quantity + coalesce(had.quantity, 0)
        FROM unnest(CAST(:parties AS text[]), CAST(:types AS smallint[]), CAST(:vintages AS integer[]),
                    CAST(:quantities AS numeric[])) AS w(party, account_type, vintage, quantity)
        LEFT JOIN fingerprint_total had ON (had.registry, had.party, had.account_type, had.vintage)
                                         = (:registry, w.party, w.account_type, w.vintage)
        ON CONFLICT (registry, party, account_type, vintage) DO UPDATE SET quantity = excluded.quantity
        """,
        {
            "registry": registry,
            "parties": [party for party, _, _ in changed],
            "types": [account_type for _, account_type, _ in changed],
            "vintages": [vintage for _, _, vintage in changed],
            "quantities": list(changed.values()),
        },
    )
