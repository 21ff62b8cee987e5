"""Books on a database of their own, and their fingerprints computed from nothing but positions and leaves.

Units come and move by the code of the book under log entries that the sequencer gives leaves. Synthetic data.
"""

import secrets
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from itertools import groupby
from operator import attrgetter, itemgetter
from typing import Any

from gateway import db, embedded, wiring
from gateway.audit import log
from gateway.audit.sequencing import Sequencer
from gateway.domain import fingerprints as defined
from gateway.domain import wire
from gateway.domain.fingerprints import FANOUT, MOST_RUNS, TOP, Node, NodeContent, Run, SeriesEntry
from gateway.domain.identifiers import parse_itmo_stem
from gateway.domain.units import Attributes, Block, ItmoNaming
from gateway.holdings import book, fingerprints
from gateway.holdings.book import Move, Place
from gateway.holdings.fingerprints import Total
from gateway.signing.log_keys import LogKey
from tests import played
from tests.stage import fresh_database

STEM = parse_itmo_stem("CA0001-MMR99-MMR-2021")


def units(first: int, last: int, series: str, *, vintage: int = 2021, offset: int | None = None) -> Block:
    """A block as a registry announces it."""
    stated = played.block(first, last, series)
    stated["attributes"] = {**stated["attributes"], "vintage": vintage}
    read = wire.read_block(stated, wire.Faults())
    assert read is not None
    return read if offset is None else read.name(ItmoNaming(STEM, offset))


def comb(series: str, first: int, number: int, step: int = 2, vintage: int = 2021) -> list[Block]:
    """Blocks of one unit each that do not touch."""
    return [units(first + step * nr, first + step * nr, series, vintage=vintage) for nr in range(number)]


def attributes(vintage: int) -> Attributes:
    return units(1, 1, "-", vintage=vintage).attributes


@dataclass
class Books:
    """A migrated database with the book, its log and the sequencer."""

    database: db.Database
    sequencer: Sequencer

    @classmethod
    def opened(cls, server: embedded.Server) -> "Books":
        database = db.Database(server.dsn(fresh_database(server), "gateway_app"))
        return cls(database, Sequencer(database, "books.example/log", LogKey.generate(), wiring.utc_now))

    async def write(self, work: Callable[[db.Tx, int], Awaitable[Any]]) -> int:
        """Run ``work`` in a transaction with a log entry of its own; the entry."""

        async def run(tx: db.Tx) -> int:
            [entry] = await log.append(tx, [log.draft("test", datetime.now(UTC), {})])
            await work(tx, entry)
            return entry

        return await self.database.run(run, "request")

    async def open(self, at: Place, blocks: Sequence[Block]) -> None:
        moves = [Move(b, at) for b in blocks]
        await self.write(lambda tx, entry: book.open_positions(tx, moves, entry))

    async def move(self, moves: Sequence[Move]) -> None:
        await self.write(lambda tx, entry: book.move(tx, moves, entry))

    async def sequence(self) -> int:
        """Give every entry there is its leaf; the size of the tree."""
        await self.database.run(self.sequencer._integrate, "integrate")
        async with self.database.reading() as tx:
            row = await db.one(tx, "SELECT size FROM log_head")
        assert row is not None
        return int(row.size)

    async def take(self, registry: str, size: int | None = None) -> fingerprints.Book:
        at = await self.sequence() if size is None else size
        return await self.database.run(lambda tx: fingerprints.take(tx, registry, at), "request")


@dataclass
class Scratch:
    """A registry's book at a cut: the maximal runs of each series, the text of each state, and the totals."""

    runs: dict[str, list[Run]] = field(default_factory=dict)
    texts: dict[bytes, str] = field(default_factory=dict)
    totals: tuple[Total, ...] = ()
    _contents: dict[Node, NodeContent] = field(default_factory=dict)

    @cached_property
    def entries(self) -> list[SeriesEntry]:
        tops = [defined.apex(name, runs[0].first, runs[-1].last) for name, runs in self.runs.items()]
        return [SeriesEntry(top, self.content(top).summary) for top in tops]

    @property
    def root(self) -> bytes:
        return defined.directory("", self.entries).summary.digest

    def content(self, node: Node) -> NodeContent:
        """``defined.content``, which looks through all runs for each child, without looking twice."""
        if node not in self._contents:
            own = self._clipped(node)
            if len(own) <= MOST_RUNS:
                self._contents[node] = defined.content(node, own)
            else:
                children = tuple(self.content(node.child(which)).summary for which in range(FANOUT))
                self._contents[node] = NodeContent(node, defined.of_children(len(own), children), children=children)
        return self._contents[node]

    def _clipped(self, node: Node) -> list[Run]:
        runs = self.runs.get(node.series, [])
        begin = bisect_left(runs, node.first, key=attrgetter("last"))
        end = bisect_right(runs, node.last, key=attrgetter("first"))
        return defined.clipped(runs[begin:end], node.first, node.last)

    def leaves_and_inner(self) -> dict[Node, bool]:
        """The nodes that are to be kept, and whether they have children."""
        found: dict[Node, bool] = {}
        for name in self.runs:
            self._expect(Node(name, TOP, 0), found)
        return found

    def _expect(self, node: Node, found: dict[Node, bool]) -> None:
        if count := self.content(node).summary.count:
            found[node] = count > MOST_RUNS
            for which in range(FANOUT) if found[node] else ():
                self._expect(node.child(which), found)


async def scratch(database: db.Database, registry: str, size: int) -> Scratch:
    """The book of a registry at a cut, from all positions and all leaves."""
    async with database.reading() as tx:
        leaves = {r.entry_id: r.leaf_index for r in await db.rows(tx, "SELECT entry_id, leaf_index FROM log_leaf")}
        rows = await db.rows(
            tx,
            "SELECT s.registry || '/' || s.series AS name, x.first, x.last, x.party, x.account_type, a.attributes,"
            " i.stem, x.itmo_offset, x.opened_by, x.closed_by FROM position x JOIN unit_series s ON s.id = x.series_id"
            " JOIN unit_attributes a ON a.id = x.attributes_id LEFT JOIN itmo_series i ON i.id = x.itmo_series_id"
            " WHERE x.registry = :registry",
            {"registry": registry},
        )
    there = [r for r in rows if leaves.get(r.opened_by, size) < size <= leaves.get(r.closed_by, size)]
    found, totals, pieces = Scratch(), Counter[tuple[str, int, int]](), []
    for r in there:
        named = (r.stem, r.itmo_offset) if r.stem else None
        text = defined.state_text(r.party, r.account_type, r.attributes, named)
        found.texts[defined.hashed(text)] = text
        pieces.append((r.name, Run(r.first, r.last, defined.hashed(text))))
        totals[r.party, r.account_type, r.attributes["vintage"]] += r.last - r.first + 1
    pieces.sort(key=lambda piece: (piece[0], piece[1].first))
    for name, own in groupby(pieces, itemgetter(0)):
        found.runs[name] = defined.joined(run for _, run in own)
    found.totals = tuple(sorted(Total(*key, quantity) for key, quantity in totals.items()))
    return found


async def agree(books: Books, taken: fingerprints.Book) -> None:
    """Compare everything that is kept, and some of what can be asked beside it, with what it is from scratch."""
    registry, told = taken.registry, await scratch(books.database, taken.registry, taken.size)
    assert (taken.root, taken.series, taken.totals) == (told.root, len(told.runs), told.totals)
    async with books.database.reading() as tx:
        assert await fingerprints.book(tx, registry) == taken
        kept = await db.rows(
            tx,
            "SELECT s.registry || '/' || s.series AS name, n.level, n.nr, n.inner_node FROM fingerprint_node n"
            " JOIN unit_series s ON s.id = n.series_id WHERE n.registry = :registry",
            {"registry": registry},
        )
        assert {Node(r.name, r.level, r.nr): r.inner_node for r in kept} == told.leaves_and_inner()
        wanted = [Node(r.name, r.level, r.nr) for r in kept]
        wanted += _others(told)
        found = await fingerprints.nodes(tx, registry, wanted)
        assert found == [told.content(node) for node in wanted]
        prefixes = _prefixes(told)
        directories = await fingerprints.directory(tx, registry, prefixes)
        assert directories == [defined.directory(prefix, told.entries) for prefix in prefixes]
        rows = await db.rows(tx, f"SELECT prefix FROM fingerprint_directory WHERE registry = '{registry}'")
        assert {r.prefix for r in rows} == {d.prefix for d in directories if d.children}
        assert await fingerprints.texts(tx, [*told.texts, bytes(32)]) == told.texts


def _others(told: Scratch) -> list[Node]:
    """Nodes of each level around some series' ends, below, at and above what is kept; and of a series that is not."""
    found = [Node("MEC01/NONE", 3, 1), Node("none", 0, 0)]
    for name, runs in list(told.runs.items())[:10]:
        for serial in (runs[0].first, runs[-1].last, runs[len(runs) // 2].last + 1):
            found += [Node(name, level, serial >> 4 * level) for level in range(TOP + 1)]
    return found


def _prefixes(told: Scratch) -> list[str]:
    """The root, every prefix of one character, those of two that may have children, and some of more."""
    names = [defined.hashed(name).hex() for name in told.runs]
    short = [f"{nr:x}" for nr in range(16)] + [f"{nr:02x}" for nr in range(256 if len(names) > MOST_RUNS else 0)]
    long = [name[:length] for name in names[:3] for length in (3, 7, 16)]
    return ["", *short, *dict.fromkeys(long)]


def code() -> str:
    """A registry's code that no other test of a database uses."""
    letters = "".join(secrets.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ") for _ in range(3))
    return f"{letters}{secrets.randbelow(90) + 10}"
