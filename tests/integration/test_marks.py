"""What is marked, and what that does to transfers: units, a registry under reconciliation, a lapsed Party."""

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from gateway import db
from gateway.audit import log
from gateway.domain.facts import Flag
from gateway.domain.identifiers import parse_registry_code
from gateway.domain.units import Origin, UnitRange
from gateway.holdings import flags
from tests.played import SERIES, Course, block
from tests.stage import Stage

UNITS = [UnitRange(Origin(parse_registry_code("MEC01"), SERIES), 1, 10)]


@pytest.fixture
async def course(stage: Stage) -> Course:
    begun = await Course.begun(stage)
    await begun.issue(block(1, 100))
    return begun


async def entry(tx: db.Tx) -> int:
    [made] = await log.append(tx, [log.draft("marked", datetime.now(UTC), {"by": "a test"})])
    return made


async def put(course: Course, act: Any, *arguments: Any, **named: Any) -> None:
    """Mark, or take a mark away, under an entry of its own."""

    async def work(tx: db.Tx) -> None:
        await act(tx, *arguments, await entry(tx), **named)

    await course.stage.run(work)


async def judged(course: Course, first: int, last: int) -> tuple[str, list[int]]:
    """Propose units and take a turn; the state and the codes found."""
    item = course.proposal(block(first, last))
    await course.propose(item)
    await course.turn()
    found = (await course.stage.transfer(str(item["transfer"])))["transfer"]
    return found["state"], [finding["code"] for finding in found["findings"]]


@pytest.mark.parametrize(
    ("flag", "code"), [(Flag.DISCREPANCY, 4008), (Flag.INCONSISTENT, 4009), (Flag.REVERSAL, 5124)], ids=str
)
async def test_marked_units_stay_and_the_units_beside_them_go(course: Course, flag: Flag, code: int) -> None:
    await put(course, flags.raise_on_units, flag, UNITS)
    assert await judged(course, 10, 20) == ("ending", [code])
    assert await judged(course, 21, 30) == ("checked", [])
    await put(course, flags.lift_from_units, flag, UNITS)
    assert await judged(course, 1, 9) == ("checked", [])


async def test_a_party_whose_rights_lapsed_is_flagged_and_not_refused(course: Course) -> None:
    await put(course, flags.mark, "lapsed", party="KOR")
    assert await judged(course, 1, 9) == ("checked", [4020])


async def test_while_a_registry_is_reconciled_its_units_wait_and_go_on_afterwards(course: Course) -> None:
    stage = course.stage
    await put(course, flags.mark, "reconciling", registry="MEC01")
    item = course.proposal(block(1, 9))
    await course.propose(item)
    await course.turn()
    assert await stage.states([str(item["transfer"])]) == ["delayed"]
    assert await stage.count("reliance") == 0
    stage.clock.ahead += timedelta(hours=1)
    await course.turn()
    assert await stage.states([str(item["transfer"])]) == ["delayed"]
    await stage.run(partial(flags.unmark, kind="reconciling", entry_id=1, about="MEC01"))
    stage.clock.ahead += timedelta(hours=1)
    await course.turn()
    assert await stage.states([str(item["transfer"])]) == ["checked"]
    assert await stage.rows("SELECT drawn FROM authorisation") == [(9,)]
