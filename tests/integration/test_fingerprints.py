"""Fingerprints of the book: what is kept is what the definitions say, whatever came and went, as of any cut."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway import db, embedded
from gateway.domain.fingerprints import Node
from gateway.domain.units import MAX_SERIAL, Block, UnitRange
from gateway.errors import GatewayError, Kind
from gateway.holdings import book, fingerprint_store, fingerprints
from gateway.holdings.book import Move, Place
from gateway.holdings.fingerprints import Total
from tests.fingerprinting import Books, agree, attributes, code, scratch, units

KOR, JPN = Place("KOR01", "KOR", 100), Place("JPN01", "JPN", 100)


@pytest.fixture
async def books(postgres: embedded.Server) -> AsyncIterator[Books]:
    opened = Books.opened(postgres)
    yield opened
    await opened.database.close()


# --- any book, any moves


@st.composite
def courses(draw: st.DrawFn) -> list[tuple[Any, ...]]:
    """Blocks that come or move: so many, so long, so far apart, beginning somewhere; and cuts between."""
    bases = st.sampled_from([1, 2, 255, 4096, 65_530, 2**32 - 7, 10**9, MAX_SERIAL - 2_000])
    shape = st.tuples(
        st.sampled_from(["open", "open", "move", "move", "cut"]),
        st.integers(0, 2),  # series
        bases,
        st.sampled_from([1, 2, 7, 70, 200]),  # how many
        st.sampled_from([1, 1, 2, 9]),  # how long
        st.sampled_from([0, 1, 1, 8]),  # how far apart
        st.integers(0, 3),  # place
        st.sampled_from([None, 2021, 2022]),  # vintage
        st.booleans(),  # named
    )
    return draw(st.lists(shape, min_size=1, max_size=14))


class Course:
    """Plays what hypothesis thinks of in series and registries of its own."""

    def __init__(self, books: Books) -> None:
        self.books, self.own = books, code()
        other = code()
        self.places = [
            Place(self.own, "KOR", 100),
            Place(self.own, "KOR", 110),
            Place(other, "JPN", 100),
            Place(self.own, "JPN", 100),
        ]
        self.registries = [self.own, other]
        self.known: dict[str, list[tuple[int, int]]] = {}

    async def play(self, steps: list[tuple[Any, ...]]) -> None:
        for what, nr, first, number, length, gap, place, vintage, named in steps:
            if what == "cut":
                await self.cut()
                continue
            series = f"{self.own}-{nr}"
            ranges = [(first + at * (length + gap), first + at * (length + gap) + length - 1) for at in range(number)]
            ranges = [(begin, end) for begin, end in ranges if end <= MAX_SERIAL]
            if what == "open":
                await self._open(series, ranges, self.places[place], vintage or 2021, named)
            else:
                to = self.places[place] if vintage is None or named else None
                changed = attributes(vintage) if vintage else None
                moves = [Move(units(*each, series), to, attributes=changed) for each in ranges]
                await self.books.move(moves)
        await self.cut()

    async def cut(self) -> None:
        for registry in self.registries:
            await agree(self.books, await self.books.take(registry))

    async def _open(self, series: str, ranges: list[tuple[int, int]], at: Place, vintage: int, named: bool) -> None:
        known = self.known.setdefault(series, [])
        free = [(f, last) for f, last in ranges if not any(f <= end and begin <= last for begin, end in known)]
        known += free
        shift = (int(series[-1]) + 1) * 10**7 + len(known) * 10**9 if named and ranges[0][0] < 10**6 else None
        blocks = [units(first, last, series, vintage=vintage, offset=shift) for first, last in free]
        if blocks and shift is not None:
            blocks = [_named(block, nr) for nr, block in enumerate(blocks)]
        if blocks:
            try:
                await self.books.open(at, blocks)
            except GatewayError:
                del known[-len(free) :]  # an identifier of other units: nothing was written


def _named(block: Block, nr: int) -> Block:
    """Every third block of those named has no identifier, so that they are not all one run."""
    return units(block.first, block.last, block.origin.series) if nr % 3 == 2 else block


class Loop:
    """Runs coroutines one after the other in one loop, as hypothesis' examples need it."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner()

    def __call__(self, work: Any) -> Any:
        return self.runner.run(work)


@pytest.fixture(scope="module")
def many(postgres: embedded.Server) -> Iterator[tuple[Loop, Books]]:
    run, opened = Loop(), Books.opened(postgres)
    yield run, opened
    run(opened.database.close())
    run.runner.close()


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(steps=courses())
def test_what_is_kept_is_what_the_definitions_say(many: tuple[Loop, Books], steps: list[tuple[Any, ...]]) -> None:
    run, books = many
    run(Course(books).play(steps))


# --- books of a certain shape


def comb(series: str, first: int, number: int, step: int = 2, vintage: int = 2021) -> list[Block]:
    """Blocks of one unit each that do not touch."""
    return [units(first + step * nr, first + step * nr, series, vintage=vintage) for nr in range(number)]


async def test_node_gets_children_beyond_64_runs_and_loses_them_at_64(books: Books) -> None:
    await books.open(KOR, comb("S", 1, 64))
    await agree(books, await books.take("KOR01"))
    assert await inner(books) == 0
    await books.open(KOR, [units(1_001, 1_001, "S")])
    await agree(books, await books.take("KOR01"))
    assert await inner(books) > 0
    await books.move([Move(units(1, 1, "S"), JPN)])
    await agree(books, await books.take("KOR01"))
    assert await inner(books) == 0


async def inner(books: Books) -> int:
    async with books.database.reading() as tx:
        row = await db.one(tx, "SELECT count(*) AS n FROM fingerprint_node WHERE inner_node AND registry = 'KOR01'")
    assert row is not None
    return int(row.n)


async def test_block_of_a_thousand_million_units_is_one_run_beside_many(books: Books) -> None:
    await books.open(KOR, [units(1, 10**9, "S"), *comb("S", 10**9 + 2, 300)])
    await agree(books, await books.take("KOR01"))
    await books.move([Move(units(f, f, "S"), KOR, attributes=attributes(2022)) for f in range(5, 2_000, 9)])
    await agree(books, await books.take("KOR01"))
    await books.move([Move(units(1, 10**9, "S"), KOR, attributes=attributes(2023))])
    taken = await books.take("KOR01")
    await agree(books, taken)
    assert taken.totals == (Total("KOR", 100, 2021, 300), Total("KOR", 100, 2023, 10**9))


async def test_first_and_last_serial_of_all_are_units_like_others(books: Books) -> None:
    await books.open(KOR, [units(1, 1, "S"), units(MAX_SERIAL, MAX_SERIAL, "S"), units(MAX_SERIAL, MAX_SERIAL, "T")])
    await agree(books, await books.take("KOR01"))
    await books.open(KOR, comb("S", MAX_SERIAL - 500, 200))
    await agree(books, await books.take("KOR01"))
    await books.move([Move(units(1, 1, "S"), JPN)])
    await agree(books, await books.take("KOR01"))


async def test_series_without_units_leaves_the_directory_and_an_empty_book_has_the_root_of_nothing(
    books: Books,
) -> None:
    assert (await books.take("KOR01")).root == bytes(32)
    await books.open(KOR, [units(1, 5, "S"), *comb("T", 1, 100)])
    assert (await books.take("KOR01")).series == 2
    await books.move([Move(units(1, 500, name), JPN) for name in ("S", "T")])
    taken = await books.take("KOR01")
    await agree(books, taken)
    assert (taken.series, taken.root, taken.totals) == (0, bytes(32), ())
    async with books.database.reading() as tx:
        for table in ("node", "series", "directory"):
            assert await db.rows(tx, f"SELECT FROM fingerprint_{table} WHERE registry = 'KOR01'") == []


async def test_directory_has_children_beyond_64_series_at_every_depth(books: Books) -> None:
    await books.open(KOR, [units(1, nr + 1, f"S{nr}") for nr in range(2_500)])
    await agree(books, await books.take("KOR01"))
    await books.move([Move(units(1, 1, f"S{nr}"), JPN) for nr in range(0, 2_500, 50)])
    await agree(books, await books.take("KOR01"))
    await books.move([Move(units(1, 10_000, f"S{nr}"), JPN) for nr in range(2_436)])
    await agree(books, await books.take("KOR01"))
    await agree(books, await books.take("JPN01"))


async def test_parts_of_a_large_change_come_to_the_same(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    await books.open(KOR, comb("S", 1, 700))
    await books.take("KOR01")
    await books.move([Move(units(1, 900, "S"), KOR, attributes=attributes(2022))])
    await books.open(KOR, [units(2 * nr, 2 * nr, "S", vintage=2022) for nr in range(1, 500)])
    monkeypatch.setattr(fingerprints, "AT_ONCE", 7)
    await agree(books, await books.take("KOR01"))
    await agree(books, await books.take("JPN01"))


# --- cuts


async def test_cut_is_as_of_its_size_whatever_came_after(books: Books) -> None:
    await books.open(KOR, comb("S", 1, 200))
    size = await books.sequence()
    await books.move([Move(units(1, 101, "S"), JPN)])
    await books.open(KOR, [units(10_000, 10_100, "S")])
    later = await books.sequence()
    await books.move([Move(units(103, 103, "S"), JPN)])  # without a leaf
    for at in (size, later):
        await agree(books, await books.take("KOR01", at))


async def test_what_is_read_is_of_the_cut_until_the_next(books: Books) -> None:
    await books.open(KOR, comb("S", 1, 70))
    taken = await books.take("KOR01")
    await books.move([Move(units(1, 50, "S"), JPN)])
    await books.sequence()
    await agree(books, taken)


async def test_cut_before_the_kept_one_and_one_beyond_the_tree_are_refused(books: Books) -> None:
    await books.open(KOR, [units(1, 5, "S")])
    first = await books.take("KOR01")
    await books.open(KOR, [units(6, 9, "S")])
    second = await books.take("KOR01")
    for size in (first.size, second.size + 1):
        with pytest.raises(GatewayError) as refused:
            await books.take("KOR01", size)
        assert refused.value.kind is Kind.CONFLICT
    assert await books.take("KOR01", second.size) == second


async def test_cut_between_two_moves_in_the_other_order_is_refused_and_the_next_one_holds(
    books: Books, postgres: embedded.Server
) -> None:
    """An entry may get its number before and its place in the log before one that moved the units earlier."""
    await books.open(KOR, [units(1, 10, "S")])
    before = await books.take("KOR01")
    early, late = [await books.write(lambda tx, entry: asyncio.sleep(0)) for _ in range(2)]
    moves = [Move(units(1, 10, "S"), Place("KOR01", "KOR", 110)), Move(units(1, 10, "S"), KOR)]
    for entry, move in ((late, moves[0]), (early, moves[1])):
        await books.database.run(lambda tx, entry=entry, move=move: book.move(tx, [move], entry), "request")  # type: ignore[misc]
    size = await books.sequence()
    assert size == before.size + 2
    with pytest.raises(GatewayError) as refused:
        await books.take("KOR01", before.size + 1)
    assert refused.value.kind is Kind.CONFLICT
    await agree(books, await books.take("KOR01", size))


async def test_eight_writers_and_every_digest_is_that_of_its_cut(books: Books) -> None:
    names = [f"S{nr}" for nr in range(4)]
    for name in names:
        await books.open(KOR, [units(1, 3_000, name), *comb(name, 4_000, 150)])
    chance = random.Random(11)  # noqa: S311
    taken: list[fingerprints.Book] = []

    async def write(nr: int) -> None:
        while len(taken) < 16:
            place = chance.choice([KOR, JPN, Place("KOR01", "KOR", 110), Place("KOR01", "JPN", 100)])
            first, length = chance.randrange(1, 4_300), chance.choice([1, 1, 3, 40, 700])
            await books.move([Move(units(first, first + length, names[(nr + length) % 4]), place)])

    async def cut() -> None:
        while len(taken) < 16:
            for registry in ("KOR01", "JPN01"):
                taken.append(await books.take(registry))

    await asyncio.gather(cut(), *(write(nr) for nr in range(8)))
    for registry in ("KOR01", "JPN01"):
        await agree(books, await books.take(registry))
    assert len({one.size for one in taken}) >= 8
    for one in taken:
        told = await scratch(books.database, one.registry, one.size)
        assert (one.root, one.series, one.totals) == (told.root, len(told.runs), told.totals)


async def test_two_takes_of_one_registry_are_one_after_the_other(books: Books) -> None:
    await books.open(KOR, comb("S", 1, 300))
    size = await books.sequence()
    both = await asyncio.gather(*(books.take("KOR01", size) for _ in range(2)))
    assert both[0] == both[1]
    await agree(books, both[0])


# --- what moved


async def test_what_moved_after_a_cut_is_told_and_what_was_left_of_a_block_is_not(books: Books) -> None:
    await books.open(KOR, [units(1, 100, "S"), units(1, 100, "T")])
    size = await books.sequence()
    await books.move([Move(units(11, 20, "S"), JPN)])
    await books.sequence()
    await books.move([Move(units(31, 40, "S"), KOR, attributes=attributes(2022))])  # without a leaf
    await books.move([Move(units(15, 16, "S"), KOR)])  # back again
    origin, other = units(1, 1, "S").origin, units(1, 1, "T").origin
    asked = [UnitRange(origin, 1, 100), UnitRange(origin, 18, 33), UnitRange(origin, 41, 50), UnitRange(other, 1, 100)]
    async with books.database.reading() as tx:
        told = await fingerprints.moved_since(tx, "KOR01", size, asked)
        at_jpn = await fingerprints.moved_since(tx, "JPN01", size, asked[:1])
    assert told == [
        [UnitRange(origin, 11, 20), UnitRange(origin, 31, 40)],
        [UnitRange(origin, 18, 20), UnitRange(origin, 31, 33)],
        [],
        [],
    ]
    assert at_jpn == [[UnitRange(origin, 11, 20)]]


# --- plans


async def test_later_cuts_never_look_through_positions_or_the_log(books: Books, postgres: embedded.Server) -> None:
    plant(postgres, books, 60_000)
    given = {"registry": "KOR01", "low": 59_000, "high": 59_100, "size": 59_900}
    async with books.database.reading() as tx:
        for statement in (fingerprint_store.COMING, fingerprint_store.GOING, fingerprint_store.MOVED):
            plan = [row[0] for row in await db.rows(tx, f"EXPLAIN {statement}", given)]
            assert any("position_opened_by" in line or "position_closed_by" in line for line in plan), plan
            read = [line for line in plan if "Seq Scan on" in line]
            assert not [line for line in read if any(t in line for t in ("position", "log_entry", "log_leaf"))], plan


def plant(server: embedded.Server, books: Books, number: int) -> None:
    """As many positions, each under a leaf of its own."""
    name = psycopg.conninfo.conninfo_to_dict(books.database.url)["dbname"]
    with psycopg.connect(server.dsn(str(name), "gateway_owner"), autocommit=True) as connection:
        connection.execute(
            f"""
            INSERT INTO log_entry (at, kind, leaf, leaf_hash)
            SELECT now(), 'planted', 'x', sha256('x') FROM generate_series(1, {number});
            INSERT INTO log_leaf SELECT id - 1, id FROM log_entry;
            UPDATE log_head SET size = {number}, root = sha256('planted'), swept = {number};
            INSERT INTO unit_series (registry, series) VALUES ('MEC01', 'PLANTED');
            INSERT INTO unit_attributes (digest, attributes) VALUES (sha256('x'), '{{"vintage": 2021}}');
            INSERT INTO position (series_id, first, last, registry, party, account_type, attributes_id, opened_by)
            SELECT 1, 10 * id, 10 * id + 8, 'KOR01', 'KOR', 100, 1, id FROM log_entry ORDER BY id;
            ANALYZE
            """
        )


async def test_planted_book_is_read_at_once_and_brought_up_to_date(books: Books, postgres: embedded.Server) -> None:
    plant(postgres, books, 30_000)
    await agree_quickly(books, await books.take("KOR01", 20_000))
    await agree_quickly(books, await books.take("KOR01", 30_000))


async def agree_quickly(books: Books, taken: fingerprints.Book) -> None:
    told = await scratch(books.database, taken.registry, taken.size)
    assert (taken.root, taken.totals) == (told.root, told.totals)
    async with books.database.reading() as tx:
        wanted = [Node("MEC01/PLANTED", level, 1_000 >> 4 * level) for level in range(15)]
        found = await fingerprints.nodes(tx, taken.registry, wanted)
        assert found == [told.content(node) for node in wanted]
