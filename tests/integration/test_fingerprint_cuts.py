"""Cuts of the book: as of their size whatever is written meanwhile, what moved after them, and what they look up."""

import asyncio
import random
from collections.abc import AsyncIterator

import psycopg
import pytest

from gateway import db, embedded
from gateway.domain.fingerprints import Node
from gateway.domain.units import UnitRange
from gateway.errors import GatewayError, Kind
from gateway.holdings import book, fingerprint_store, fingerprints
from gateway.holdings.book import Move, Place
from tests.fingerprinting import Books, agree, attributes, comb, scratch, units

KOR, JPN = Place("KOR01", "KOR", 100), Place("JPN01", "JPN", 100)


@pytest.fixture
async def books(postgres: embedded.Server) -> AsyncIterator[Books]:
    opened = Books.opened(postgres)
    yield opened
    await opened.database.close()


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


SPOILED = [
    "UPDATE fingerprint_book SET root = sha256(root)",
    "UPDATE fingerprint_series SET digest = sha256(digest)",
    "UPDATE fingerprint_directory SET content = overlay(content PLACING sha256(content) FROM 9)",
    "UPDATE fingerprint_node SET content = overlay(content PLACING sha256(content) FROM 17) WHERE NOT inner_node",
    "UPDATE fingerprint_node SET content = overlay(content PLACING sha256(content) FROM 10) WHERE inner_node",
    "DELETE FROM fingerprint_node WHERE inner_node",
    "UPDATE fingerprint_total SET quantity = quantity + 1",
]


async def test_what_is_kept_is_made_anew_whatever_it_has_become(books: Books) -> None:
    for nr in range(70):
        await books.open(KOR, [units(1, 9, f"S{nr}")])
    await books.open(KOR, comb("S", 1, 300))
    await books.take("KOR01")
    await books.move([Move(units(1, 101, "S"), JPN), Move(units(3, 4, "S7"), JPN), Move(units(1, 9, "S8"), JPN)])
    taken = await books.take("KOR01")
    rebuilt = await books.database.run(lambda tx: fingerprints.rebuild(tx, "KOR01", taken.size), "request")
    assert rebuilt == (taken, True)
    for spoil in SPOILED:
        await books.database.run(lambda tx, spoil=spoil: db.execute(tx, spoil), "request")  # type: ignore[misc]
        rebuilt = await books.database.run(lambda tx: fingerprints.rebuild(tx, "KOR01", taken.size), "request")
        assert rebuilt == (taken, False), spoil
        await agree(books, taken)


async def test_cut_between_two_moves_in_the_other_order_is_refused_and_the_next_one_holds(books: Books) -> None:
    """An entry may get its number before and its place in the log before one that moved the units earlier."""
    await books.open(KOR, [units(1, 10, "S")])
    before = await books.take("KOR01")

    async def nothing(_tx: db.Tx, _entry: int) -> None:
        """Only the entry."""

    early, late = [await books.write(nothing) for _ in range(2)]
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
