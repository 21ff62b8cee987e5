"""Cases of reconciliations: opened for what differs, kept while it does, and closed by a run that finds it equal.

What runs would have found is made by the tests; the book and the flags are real. Each test has units of its own.
"""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest
import pytest_asyncio

from gateway import db, embedded
from gateway.messages.outbox import Node
from gateway.reconciliation import cases
from gateway.reconciliation.findings import Found
from tests import stage as staging
from tests.differing import events, flagged, inside, opened, run_entry, settled, standing, state, units
from tests.integration.test_set_based import counted
from tests.played import Course, block
from tests.stage import Stage

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def course(postgres: embedded.Server, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Course]:
    async with staging.opened(postgres, tmp_path_factory.mktemp("cases")) as stage:
        yield await Course.begun(stage)
        assert await stage.doctor() == []


@pytest.fixture
def stage(course: Course) -> Stage:
    return course.stage


async def missing(course: Course, series: str, first: int, last: int, code: int = 6302) -> Found:
    """Units that the gateway's book says are in MEC01, and MEC01 does not."""
    where = units(series, first, last)
    return Found("MEC01", code, where, await state(course.stage, where), None)


async def test_a_difference_flags_its_units_and_no_others(course: Course) -> None:
    await course.issue(block(1, 100, "FLAGS"))
    [case] = await opened(course.stage, await missing(course, "FLAGS", 11, 20), link="MEC01")
    assert await flagged(course.stage, "FLAGS") == [(11, 20)]
    assert (await standing(course.stage, case), await events(course.stage, case)) == ("notified", ["opened"])
    marked, beside = course.proposal(block(20, 21, "FLAGS")), course.proposal(block(22, 30, "FLAGS"))
    await course.propose(marked, beside)
    await course.turn()
    assert await course.stage.states([str(marked["transfer"]), str(beside["transfer"])]) == ["ending", "checked"]
    [(found,)] = await course.stage.rows(f"SELECT findings FROM transfer WHERE id = '{marked['transfer']}'")
    assert [one["code"] for one in found] == [4008]
    await course.void([str(marked["transfer"]), str(beside["transfer"])])


async def test_a_run_opens_one_case_for_each_code_and_sounds_one_alarm_for_each(course: Course) -> None:
    await course.issue(block(1, 100, "CODES"))
    here = await state(course.stage, units("CODES", 1, 1))
    there = await state(course.stage, units("CODES", 1, 1), account_type=420)
    gone = [Found("MEC01", 6302, units("CODES", first, first + 1), here, None) for first in (1, 5, 9)]
    other = Found("MEC01", 6304, units("CODES", 50, 60), here, there)
    one, two, three, four = await opened(course.stage, *gone[:2], other, gone[2], link="MEC01")
    assert one == two == four != three
    assert await inside(course.stage, one) == [(1, 2), (5, 6), (9, 10)]
    assert await inside(course.stage, three) == [(50, 60)]
    for case, code in ((one, 6302), (three, 6304)):
        assert await course.stage.rows(f"SELECT link, code FROM alarm WHERE transfer_id = '{case}'") == [
            ("MEC01", code)
        ]


async def test_a_difference_that_is_in_an_open_case_stays_in_it_and_what_is_new_of_it_joins(course: Course) -> None:
    await course.issue(block(1, 100, "STAYS"))
    [case] = await opened(course.stage, await missing(course, "STAYS", 1, 10), link="MEC01")
    again = await opened(course.stage, await missing(course, "STAYS", 1, 10), link="MEC01", run="run-2")
    wider = await opened(course.stage, await missing(course, "STAYS", 5, 15), link="MEC01", run="run-3")
    assert again == wider == [case]
    assert await inside(course.stage, case) == [(1, 10), (11, 15)]
    assert await flagged(course.stage, "STAYS") == [(1, 10), (11, 15)]
    assert await course.stage.count(f"alarm WHERE transfer_id = '{case}'") == 1


async def test_another_state_there_is_kept_as_such_in_the_same_case(course: Course) -> None:
    await course.issue(block(1, 100, "STATES"))
    where = units("STATES", 1, 10)
    here = await state(course.stage, where)
    first, second = [await state(course.stage, where, account_type=kind) for kind in (110, 420)]
    [case] = await opened(course.stage, Found("MEC01", 6304, where, here, first), link="MEC01")
    later = Found("MEC01", 6304, units("STATES", 4, 6), here, second)
    assert await opened(course.stage, later, link="MEC01", run="run-2") == [case]
    assert await course.stage.rows(
        f"SELECT first, last, there = '{second}' FROM case_unit WHERE case_id = '{case}' AND closed_by IS NULL"
        " ORDER BY first"
    ) == [(1, 3, False), (4, 6, True), (7, 10, False)]
    assert await flagged(course.stage, "STATES") == [(1, 10)]


async def test_what_is_found_under_another_code_goes_over_into_another_case(course: Course) -> None:
    await course.issue(block(1, 100, "CHANGES"))
    where = units("CHANGES", 1, 10)
    [before] = await opened(course.stage, await missing(course, "CHANGES", 1, 10), link="MEC01")
    here, there = await state(course.stage, where), await state(course.stage, where, account_type=420)
    [part] = await opened(course.stage, Found("MEC01", 6304, units("CHANGES", 1, 4), here, there), link="MEC01")
    assert (await inside(course.stage, before), await inside(course.stage, part)) == ([(5, 10)], [(1, 4)])
    assert await events(course.stage, before) == ["opened", "settled"]
    rest = await opened(course.stage, Found("MEC01", 6304, where, here, there), link="MEC01")
    assert rest == [part]
    assert (await standing(course.stage, before), await standing(course.stage, part)) == ("closed", "notified")
    assert await flagged(course.stage, "CHANGES") == [(1, 10)]


async def test_a_run_that_finds_units_equal_frees_them_and_closes_the_case_with_the_last(course: Course) -> None:
    await course.issue(block(1, 100, "ENDS"))
    [case] = await opened(course.stage, await missing(course, "ENDS", 1, 10), link="MEC01")
    others = [units(name, 1, 100) for name in ("FLAGS", "CODES", "STAYS", "STATES", "CHANGES")]
    assert await settled(course.stage, "MEC01", units("ENDS", 8, 30), *others) == []
    assert await flagged(course.stage, "ENDS") == await inside(course.stage, case) == [(8, 10)]
    assert await settled(course.stage, "MEC01", *others, run="run-3") == [case]
    assert await flagged(course.stage, "ENDS") == await inside(course.stage, case) == []
    assert await events(course.stage, case) == ["opened", "settled", "closed"]
    assert await course.stage.rows(f"SELECT state, corrected_by FROM inconsistency_case WHERE id = '{case}'") == [
        ("closed", "found equal by reconciliation run-3")
    ]
    free = course.proposal(block(1, 10, "ENDS"))
    await course.propose(free)
    await course.turn()
    assert await course.stage.states([str(free["transfer"])]) == ["checked"]
    await course.void([str(free["transfer"])])


async def test_units_in_cases_of_two_books_are_free_when_both_books_are_equal(course: Course) -> None:
    await course.issue(block(1, 100, "TWICE"))
    where = units("TWICE", 1, 10)
    there = await state(course.stage, where, party="KOR")
    await opened(course.stage, await missing(course, "TWICE", 1, 10), link="MEC01")
    [double] = await opened(course.stage, Found("KOR01", 4007, where, None, there))
    assert await settled(course.stage, "KOR01") == [double]
    assert await flagged(course.stage, "TWICE") == [(1, 10)]
    others = [units(name, 1, 100) for name in ("FLAGS", "CODES", "STAYS", "STATES", "CHANGES")]
    [closed] = await settled(course.stage, "MEC01", *others)
    assert await flagged(course.stage, "TWICE") == []
    assert await standing(course.stage, closed) == "closed"


async def test_a_difference_that_is_open_too_long_is_an_alarm_once(course: Course) -> None:
    stage = course.stage
    await course.issue(block(1, 100, "LATE"))
    node = replace(stage.gateway.node, response_due=timedelta(days=3))
    found = await missing(course, "LATE", 1, 10)

    async def open_it(tx: db.Tx) -> list[str]:
        return await cases.open_for(tx, node, "MEC01", "run-1", [found], await run_entry(tx))

    [case] = await stage.run(open_it)
    for days, sounded in ((2, 0), (4, 1), (5, 1)):
        later = replace(node, clock=lambda days=days: stage.clock() + timedelta(days=days))

        async def look(tx: db.Tx, later: Node = later) -> None:
            await cases.remind(tx, later, ["KOR01", "MEC01"], await run_entry(tx))

        await stage.run(look)
        late = f"alarm WHERE transfer_id = '{case}' AND code = 6901 AND link = 'MEC01'"
        assert await stage.count(late) == sounded
    assert case in await settled(stage, "MEC01")


async def test_each_step_is_an_entry_of_the_log(course: Course) -> None:
    await course.issue(block(1, 100, "LOGGED"))
    [case] = await opened(course.stage, await missing(course, "LOGGED", 1, 10), link="MEC01")
    others = [units(name, 1, 100) for name in ("FLAGS", "CODES", "STAYS", "STATES", "CHANGES")]
    assert await settled(course.stage, "MEC01", *others) == [case]
    assert await course.stage.rows(
        "SELECT e.kind, v.version FROM case_event v JOIN log_entry e ON e.id = v.entry_id JOIN log_record r USING"
        f" (entry_id) WHERE case_id = '{case}' AND convert_from(record, 'UTF8')::json ->> 'case' = case_id ORDER BY 2"
    ) == [("case.opened", 1), ("case.closed", 2)]


async def test_a_thousand_differences_cost_as_many_statements_as_one(course: Course) -> None:
    stage = course.stage
    await course.issue(block(1, 10_000, "MANY"))
    here, there = [await state(stage, units("MANY", 1, 1), account_type=kind) for kind in (100, 420)]

    def differ(first: int, number: int, code: int = 6302) -> list[Found]:
        serials = range(first, first + 3 * number, 3)
        state = None if code == 6302 else there
        return [Found("MEC01", code, units("MANY", n, n + 1), here, state) for n in serials]

    seen: list[list[int]] = []
    others = [units(name, 1, 100) for name in ("FLAGS", "CODES", "STAYS", "STATES", "CHANGES")]
    for first, number in ((1, 1), (1_001, 1_000)):
        costs = []
        for work in (
            opened(stage, *differ(first, number), link="MEC01"),
            opened(stage, *differ(first, number, 6304), link="MEC01"),
            settled(stage, "MEC01", *others, *(units("MANY", n, n) for n in range(first, first + 3 * number, 3))),
            settled(stage, "MEC01", *others),
        ):
            with counted(stage) as statements:
                await work
            costs.append(len(statements))
        seen.append(costs)
        assert await flagged(stage, "MANY") == []
    assert seen[0] == seen[1]
