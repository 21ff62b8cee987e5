"""Fingerprints of the book: what is kept is what the definitions say, whatever came and went before."""

import asyncio
import json
from base64 import urlsafe_b64decode
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway import db, embedded
from gateway.domain import wire
from gateway.domain.identifiers import parse_itmo_stem
from gateway.domain.units import MAX_SERIAL, Block, ItmoNaming
from gateway.errors import GatewayError
from gateway.holdings import fingerprints
from gateway.holdings.book import Move, Place
from gateway.holdings.fingerprints import Total
from tests.fingerprinting import Books, agree, attributes, code, comb, units

VECTORS = Path(__file__).parents[1] / "vectors" / "good"
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


async def test_root_and_totals_are_those_of_the_vector_that_another_program_made(books: Books) -> None:
    """What KOR01 holds in ``tests/vectors/good``: the run that an answer tells, and the block its link began with."""
    [told] = body("cut-answer")["books"]
    state = json.loads(body("positions-answer-nodes")["texts"][0])
    opening = json.loads(json.loads(vector("link-activate"))["items"][0])["block"]
    held = {"origin": {"registry": "MEC01", "series": "TEST-MMR-A64"}, "attributes": state["attributes"]}
    run = read({**held, "first": 1, "last": 50_000}).name(
        ItmoNaming(parse_itmo_stem(state["itmo"]["stem"]), state["itmo"]["offset"])
    )
    await books.open(Place("KOR01", state["party"], state["account_type"]), [run.part(1, 30_000)])
    await books.open(Place("KOR01", state["party"], state["account_type"]), [run.part(30_001, 50_000)])
    await books.open(Place("KOR01", "KOR", 110), [read(opening)])
    taken = await books.take("KOR01")
    assert taken.root == urlsafe_b64decode(told["root"] + "=")
    assert (taken.series, [asdict(total) for total in taken.totals]) == (told["series"], told["totals"])


def vector(name: str) -> str:
    return str(json.loads((VECTORS / f"{name}.json").read_text())["body"])


def body(name: str) -> dict[str, Any]:
    payload = vector(name).split(".")[1]
    return dict(json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["body"])


def read(stated: dict[str, Any]) -> Block:
    block = wire.read_block(stated, wire.Faults())
    assert block is not None
    return block
