"""The book: what exclusion constraints refuse whoever writes, and what moving units keeps."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from functools import partial

import psycopg
import pytest

from gateway import db
from gateway.audit import log
from gateway.domain import wire
from gateway.domain.identifiers import parse_itmo_stem
from gateway.domain.units import MAX_SERIAL, Block, ItmoNaming
from gateway.errors import GatewayError
from gateway.holdings import book, claims
from gateway.holdings.book import Move, Place
from gateway.holdings.claims import Claim
from tests import played
from tests.stage import Stage

MMR = Place("MEC01", "MMR", 100)
KOR = Place("KOR01", "KOR", 100)
STEM = parse_itmo_stem("CA0001-MMR99-MMR-2021")
OVERLAPS, OUT_OF_RANGE = "23P01", "23514"


def units(first: int, last: int, offset: int | None = None, series: str = played.SERIES) -> Block:
    read = wire.read_block(played.block(first, last, series), wire.Faults())
    assert read is not None
    return read if offset is None else read.name(ItmoNaming(STEM, offset))


async def written(stage: Stage, work: Callable[[db.Tx, int], Awaitable[object]]) -> int:
    """Run ``work`` in a transaction with a log entry of its own; the entry."""

    async def run(tx: db.Tx) -> int:
        [entry] = await log.append(tx, [log.draft("test", datetime.now(UTC), {})])
        await work(tx, entry)
        return entry

    return await stage.run(run)


async def opened(stage: Stage, *blocks: Block, at: Place = MMR) -> int:
    return await written(stage, lambda tx, entry: book.open_positions(tx, [Move(b, at) for b in blocks], entry))


async def moved(stage: Stage, moves: Sequence[Move]) -> int:
    """Move; the number of units the book says it moved."""
    numbers: list[int] = []

    async def work(tx: db.Tx, entry: int) -> None:
        numbers.append(await book.move(tx, moves, entry))

    await written(stage, work)
    return numbers[-1]


async def live(stage: Stage) -> list[tuple[int, int, str, int | None]]:
    """First, last, registry and ITMO offset of the live positions, in serial order."""
    return await stage.rows(  # type: ignore[return-value]
        "SELECT first, last, registry, itmo_offset FROM position WHERE closed_by IS NULL ORDER BY series_id, first"
    )


async def by_hand(stage: Stage, first: int, last: int, series: int = 1, offset: int | None = None) -> str | None:
    """Insert a live position as the owner; the SQLSTATE when that is refused."""
    named = "NULL, NULL" if offset is None else f"1, {offset}"
    return await _state(
        stage,
        "INSERT INTO position (series_id, first, last, registry, party, account_type, attributes_id, itmo_series_id,"
        f" itmo_offset, opened_by) VALUES ({series}, {first}, {last}, 'JPN01', 'JPN', 100, 1, {named}, 1)",
    )


async def _state(stage: Stage, statement: str) -> str | None:
    try:
        await stage.rows(statement)
    except psycopg.Error as error:
        return error.sqlstate
    return None


@pytest.mark.parametrize("at", [1, 2**31, MAX_SERIAL - 200])
async def test_no_unit_has_two_live_positions_whoever_writes(stage: Stage, at: int) -> None:
    await opened(stage, units(at + 10, at + 19), units(1, 1, series="OTHER"))
    for first, last in ((10, 19), (10, 10), (19, 19), (5, 10), (19, 30), (12, 15), (0, 100)):
        assert await by_hand(stage, at + first, at + last) == OVERLAPS
    for first, last in ((9, 9), (20, 20), (0, 8), (21, 100)):
        assert await by_hand(stage, at + first, at + last) is None
    assert await by_hand(stage, at + 10, at + 19, series=2) is None


async def test_closed_position_leaves_its_units_free(stage: Stage) -> None:
    entry = await opened(stage, units(1, 10))
    assert await by_hand(stage, 1, 10) == OVERLAPS
    await stage.rows(f"UPDATE position SET closed_by = {entry}")
    assert await by_hand(stage, 1, 10) is None


async def test_no_two_units_have_one_itmo_name_whoever_writes(stage: Stage) -> None:
    await opened(stage, units(1, 10, offset=100))
    assert await by_hand(stage, 201, 210, offset=-100) == OVERLAPS
    assert await by_hand(stage, 220, 220, offset=-110) == OVERLAPS
    assert await by_hand(stage, 211, 220, offset=-100) is None


async def test_serials_and_itmo_serials_stay_where_doubles_are_exact(stage: Stage) -> None:
    await opened(stage, units(1, 1), units(2, 2, offset=0))
    for first, last in ((0, 5), (-1, -1), (9, 8), (MAX_SERIAL, MAX_SERIAL + 1)):
        assert await by_hand(stage, first, last) == OUT_OF_RANGE
    assert await by_hand(stage, 10, 20, offset=-10) == OUT_OF_RANGE
    assert await by_hand(stage, 10, 20, offset=MAX_SERIAL - 19) == OUT_OF_RANGE
    assert await by_hand(stage, MAX_SERIAL - 1, MAX_SERIAL - 1) is None
    assert await by_hand(stage, MAX_SERIAL, MAX_SERIAL) is None
    assert await by_hand(stage, 10, 20, offset=MAX_SERIAL - 20) is None


async def claimants(stage: Stage, *names: str) -> None:
    """Rows of transfers that claims can refer to."""
    entry = await opened(stage, units(1, 1_000))
    await stage.rows(
        "INSERT INTO link (code, kind, url, state, capabilities, changed_by) "
        f"VALUES ('MEC01', 'mechanism', 'http://127.0.0.1:9', 'active', '{{}}', {entry})"
    )
    await stage.rows("INSERT INTO link_registry (registry, link) VALUES ('MEC01', 'MEC01')")
    for name in names:
        await stage.rows(
            "INSERT INTO transfer (id, source, transferring_registry, transferring_party, transferring_account, "
            "acquiring_registry, acquiring_party, acquiring_account, purpose, quantity, block_count, state, version, "
            f"deadline, created_at, changed_at) VALUES ('{name}', 'MEC01', 'MEC01', 'MMR', '100-1', 'KOR01', 'KOR', "
            "'100-1', 'NDC', 1, 1, 'proposed', 1, now(), now(), now())"
        )


async def test_no_unit_has_two_live_claims_whoever_writes(stage: Stage) -> None:
    await claimants(stage, "a", "b")
    claim = "INSERT INTO claim (transfer_id, series_id, first, last) VALUES ('{}', 1, {}, {})"
    assert await _state(stage, claim.format("a", 10, 19)) is None
    for first, last in ((10, 19), (1, 10), (19, 19), (12, 15)):
        assert await _state(stage, claim.format("b", first, last)) == OVERLAPS
    assert await _state(stage, claim.format("b", 20, 29)) is None
    assert await _state(stage, claim.format("b", 0, 5)) == OUT_OF_RANGE
    await stage.rows("UPDATE claim SET released_by = 1 WHERE transfer_id = 'a'")
    assert await _state(stage, claim.format("b", 10, 19)) is None


async def test_of_claims_on_one_unit_at_one_instant_exactly_one_is_taken(stage: Stage) -> None:
    names = [f"t{n}" for n in range(6)]
    await claimants(stage, *names)
    everyone = asyncio.Barrier(len(names))

    async def take(nr: int, name: str) -> set[int]:
        own, shared = units(100 + 10 * nr, 105 + 10 * nr), units(50 + nr, 60)  # all have 55 to 60

        async def taken(tx: db.Tx) -> set[int]:
            await everyone.wait()
            return await claims.take(tx, [Claim(name, own, "MEC01"), Claim(name, shared, "MEC01")], "MEC01")

        return await stage.run(taken)

    refused = await asyncio.gather(*(take(nr, name) for nr, name in enumerate(names)))
    assert sorted(map(sorted, refused)) == [[], *[[1]] * 5]
    assert await stage.count("claim") == 7
    winner = names[refused.index(set())]
    others = await stage.run(
        lambda tx: claims.held_by_others(tx, [Claim(winner, units(50, 60)), Claim("-", units(50, 60))])
    )
    assert [len(ranges) for ranges in others] == [0, 1]
    await written(stage, lambda tx, entry: claims.release(tx, [winner], entry))
    assert await stage.rows("SELECT DISTINCT transfer_id FROM claim WHERE released_by IS NOT NULL") == [(winner,)]


async def test_part_that_moves_leaves_what_is_on_both_sides(stage: Stage) -> None:
    await opened(stage, units(1, 100))
    assert await moved(stage, [Move(units(40, 60), KOR)]) == 21
    assert await live(stage) == [(1, 39, "MEC01", None), (40, 60, "KOR01", None), (61, 100, "MEC01", None)]
    assert await moved(stage, [Move(units(1, 39), KOR), Move(units(100, 100), KOR)]) == 40
    assert [row[:3] for row in await live(stage)] == [
        *((1, 39, "KOR01"), (40, 60, "KOR01")),
        *((61, 99, "MEC01"), (100, 100, "KOR01")),
    ]


async def test_one_move_takes_many_parts_of_one_position_and_parts_of_many(stage: Stage) -> None:
    await opened(stage, units(1, 100), units(101, 200), units(1, 50, series="OTHER"))
    parts = [units(1, 5), units(10, 10), units(11, 20), units(95, 110), units(200, 200), units(3, 4, series="OTHER")]
    assert await moved(stage, [Move(part, KOR) for part in parts]) == 35
    assert [row[:3] for row in await live(stage)] == [
        *((1, 5, "KOR01"), (6, 9, "MEC01"), (10, 10, "KOR01"), (11, 20, "KOR01"), (21, 94, "MEC01")),
        *((95, 100, "KOR01"), (101, 110, "KOR01"), (111, 199, "MEC01"), (200, 200, "KOR01")),
        *((1, 2, "MEC01"), (3, 4, "KOR01"), (5, 50, "MEC01")),
    ]


async def test_move_of_units_the_book_does_not_hold_counts_only_those_it_does(stage: Stage) -> None:
    await opened(stage, units(1, 10))
    assert await moved(stage, [Move(units(8, 20), KOR), Move(units(50, 60), KOR)]) == 3
    assert await moved(stage, [Move(units(1, 2, series="NEVER-SEEN"), KOR)]) == 0
    assert [row[:3] for row in await live(stage)] == [(1, 7, "MEC01"), (8, 10, "KOR01")]


async def test_attributes_and_identifiers_go_with_every_part(stage: Stage) -> None:
    await opened(stage, units(1, 100))
    first, later = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 9, 1, tzinfo=UTC)
    await moved(stage, [Move(units(21, 60, offset=1_000), KOR, first)])
    # A name given once stays, whatever a later move says, and so does the time it was given.
    await moved(stage, [Move(units(31, 40, offset=5_000), Place("JPN01", "JPN", 100), later)])
    assert await live(stage) == [
        *((1, 20, "MEC01", None), (21, 30, "KOR01", 1_000), (31, 40, "JPN01", 1_000)),
        *((41, 60, "KOR01", 1_000), (61, 100, "MEC01", None)),
    ]
    kept = await stage.rows(
        "SELECT DISTINCT attributes_id, registry = 'MEC01', first_transferred_at FROM position WHERE closed_by IS NULL"
    )
    assert sorted(kept, key=lambda row: row[1]) == [(1, False, first), (1, True, None)]
    [pieces] = await stage.run(lambda tx: book.held(tx, [units(35, 45)]))
    assert [(h.registry, h.block) for h in pieces] == [
        ("JPN01", units(31, 40, offset=1_000)),
        ("KOR01", units(41, 60, offset=1_000)),
    ]
    assert str(pieces[0].block.itmo_first) == "CA0001-MMR99-MMR-1031-2021"


async def test_units_are_moved_out_of_the_registry_they_leave_and_no_other(stage: Stage) -> None:
    await opened(stage, units(1, 10))
    assert await moved(stage, [Move(units(1, 10), Place("JPN01", "JPN", 100), out_of="KOR01")]) == 0
    assert await moved(stage, [Move(units(1, 10), KOR, out_of="MEC01")]) == 10
    assert [registry for *_, registry, _ in await live(stage)] == ["KOR01"]


async def test_name_that_another_unit_bears_is_seen_before_it_is_refused(stage: Stage) -> None:
    await opened(stage, units(1, 10, offset=100), units(201, 210), units(1, 10, series="OTHER"))
    asked = [units(201, 205, offset=-100), units(206, 210, offset=0), units(5, 5, offset=100)]
    asked.append(units(5, 5, offset=100, series="OTHER"))
    assert await stage.run(lambda tx: book.named_already(tx, asked)) == {0, 3}
    with pytest.raises(GatewayError, match=f"{OVERLAPS}.*one_identifier_per_unit"):
        await moved(stage, [Move(asked[0], KOR)])


async def test_disjoint_parts_of_one_position_move_at_one_instant(stage: Stage) -> None:
    await opened(stage, units(1, 800))
    together = asyncio.Barrier(8)

    async def move(tx: db.Tx, nr: int) -> int:
        [entry] = await log.append(tx, [log.draft("test", datetime.now(UTC), {"nr": nr})])
        await together.wait()
        return await book.move(tx, [Move(units(100 * nr + 41, 100 * nr + 60), KOR)], entry)

    assert await asyncio.gather(*(stage.run(partial(move, nr=nr)) for nr in range(8))) == [20] * 8
    found = await live(stage)
    assert [(first, last) for first, last, registry, _ in found if registry == "KOR01"] == [
        (100 * nr + 41, 100 * nr + 60) for nr in range(8)
    ]
    assert sum(last - first + 1 for first, last, _, _ in found) == 800


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_whatever_moves_every_unit_is_in_one_place(stage: Stage, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - chosen to be repeatable
    size = 120
    await opened(stage, units(1, 50), units(51, size))
    places = [MMR, KOR, Place("JPN01", "JPN", 100), Place("MEC01", "MMR", 200)]
    expected: dict[int, tuple[str, int | None]] = {serial: ("MEC01", None) for serial in range(1, size + 1)}
    for _ in range(25):
        cuts = sorted(chance.sample(range(1, size + 2), 2 * chance.randint(1, 5)))
        moves = []
        for first, end in zip(cuts[::2], cuts[1::2], strict=True):
            to, offset = chance.choice(places), chance.choice([None, 1_000])
            moves.append(Move(units(first, end - 1, offset), to))
            for serial in range(first, end):
                expected[serial] = (to.registry, offset if expected[serial][1] is None else expected[serial][1])
        assert await moved(stage, moves) == sum(m.block.quantity for m in moves)
    found = [(serial, r, offset) for a, b, r, offset in await live(stage) for serial in range(a, b + 1)]
    assert found == [(serial, *expected[serial]) for serial in range(1, size + 1)]
