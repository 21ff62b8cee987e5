"""The gateway's own book corrected by what a registry has signed, as two persons of the gateway decide.

What a registry would have signed is made by the tests; the book is real. Each test has units of its own. That the book
is sound after all of them, the doctor says at the end.
"""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from gateway import embedded
from gateway.domain.callers import ROLES, Caller, Role, Sight
from gateway.reconciliation.findings import Found
from tests import stage as staging
from tests.deciding import ONE, approved, asked, decided
from tests.differing import events, flagged, opened, refused, settled, standing, state, units
from tests.played import ATTRIBUTES, Course, block, join
from tests.stage import Stage

pytestmark = pytest.mark.asyncio(loop_scope="module")

WHY = {"reason": "a credit was booked by hand there", "evidence": "signed cut of the registry; agreed by telephone"}
KOREAN = Caller("korean-operator", True, Sight("KOR01", "KOR"), ROLES[Role.OPERATOR])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def course(postgres: embedded.Server, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Course]:
    async with staging.opened(postgres, tmp_path_factory.mktemp("corrected")) as stage:
        begun = await Course.begun(stage)
        await join(stage, "JPN01", "party", "JPN")
        yield begun
        assert await stage.doctor() == []


@pytest.fixture
def stage(course: Course) -> Stage:
    return course.stage


async def wanted(stage: Stage, case: str, *, version: int = 1, **changes: Any) -> httpx.Response:
    return await asked(stage, f"cases/{case}/correct", **{"version": version, **WHY, **changes})


async def corrected(stage: Stage, case: str, *, version: int = 1) -> dict[str, Any]:
    done = await decided(stage, f"cases/{case}/correct", version=version, **WHY)
    return dict(done["result"])


async def places(stage: Stage, series: str) -> list[tuple[Any, ...]]:
    """Where the units of a series are: serials, registry, Party, account type."""
    return await stage.rows(
        "SELECT first, last, p.registry, party, account_type FROM position p JOIN unit_series s ON s.id = series_id"
        f" WHERE closed_by IS NULL AND series = '{series}' ORDER BY first"
    )


async def test_an_account_type_becomes_what_the_registry_signed_and_the_units_stay_flagged(course: Course) -> None:
    stage, where = course.stage, units("ACCOUNT", 11, 20)
    await course.issue(block(1, 100, "ACCOUNT"))
    there = await state(stage, where, account_type=420)
    [case] = await opened(stage, Found("MEC01", 6304, where, await state(stage, where), there), link="MEC01")
    result = await corrected(stage, case)
    assert (result["moved"], result["entered"]) == (10, 0)
    assert await places(stage, "ACCOUNT") == [
        (1, 10, "MEC01", "MMR", 100), (11, 20, "MEC01", "MMR", 420), (21, 100, "MEC01", "MMR", 100)
    ]  # fmt: skip
    assert await flagged(stage, "ACCOUNT") == [(11, 20)]
    assert await standing(stage, case) == "corrected"
    assert case in await settled(stage, "MEC01")
    assert await flagged(stage, "ACCOUNT") == []
    assert await events(stage, case) == ["opened", "corrected", "closed"]
    [(by,)] = await stage.rows(f"SELECT corrected_by FROM inconsistency_case WHERE id = '{case}'")
    assert by == f"correction of the book, log entry {result['entry']}"


async def test_the_log_has_both_persons_the_reason_and_the_evidence(course: Course) -> None:
    stage, where = course.stage, units("STORY", 1, 10)
    await course.issue(block(1, 100, "STORY"))
    there = await state(stage, where, attributes={**ATTRIBUTES, "activity": "PoA 10472"})
    [case] = await opened(stage, Found("MEC01", 6303, where, await state(stage, where), there), link="MEC01")
    entry = (await corrected(stage, case))["entry"]
    [(kind, record)] = await stage.rows(
        f"SELECT kind, convert_from(record, 'UTF8') FROM log_entry JOIN log_record ON id = entry_id WHERE id = {entry}"
    )
    told = json.loads(record)
    assert (kind, told["case"], told["by"]) == ("case.corrected", case, ["administrator-1", "administrator-2"])
    assert {name: told[name] for name in WHY} == WHY
    assert json.loads(await state(stage, where))["attributes"]["activity"] == "PoA 10472"
    assert json.loads(await state(stage, units("STORY", 11, 11)))["attributes"] == ATTRIBUTES


async def test_units_go_over_to_who_has_them_only_where_their_registry_signed_that_it_has_not(course: Course) -> None:
    stage, where = course.stage, units("OVER", 1, 10)
    await course.issue(block(1, 100, "OVER"))
    there = await state(stage, where, party="KOR")
    [double] = await opened(stage, Found("KOR01", 4007, where, None, there))
    refused(await wanted(stage, double), 409, 4007)
    half = Found("MEC01", 6302, units("OVER", 1, 9), await state(stage, where), None)
    [gone] = await opened(stage, half, link="MEC01")
    refused(await wanted(stage, double), 409, 4007)
    rest = Found("MEC01", 6302, where, await state(stage, where), None)
    assert await opened(stage, rest, link="MEC01") == [gone]
    assert (await corrected(stage, double))["moved"] == 10
    assert await places(stage, "OVER") == [(1, 10, "KOR01", "KOR", 100), (11, 100, "MEC01", "MMR", 100)]
    assert (await stage.books())["conservation"] == "holds"
    assert await settled(stage, "KOR01") == [double]
    assert await flagged(stage, "OVER") == [(1, 10)]
    assert gone in await settled(stage, "MEC01")
    assert await flagged(stage, "OVER") == []


async def test_units_that_no_book_has_enter_it_once_by_the_word_of_their_registry(course: Course) -> None:
    stage = course.stage
    await course.issue(block(1, 5, "ENTERS"))
    like, where = units("ENTERS", 1, 1), units("NOWHERE", 1, 10)
    [case] = await opened(stage, Found("MEC01", 6301, where, None, await state(stage, like)), link="MEC01")
    result = await corrected(stage, case)
    assert (result["moved"], result["entered"]) == (0, 10)
    assert await places(stage, "NOWHERE") == [(1, 10, "MEC01", "MMR", 100)]
    assert (await stage.books())["conservation"] == "holds"
    refused(await wanted(stage, case, version=2), 409, 4007)
    assert case in await settled(stage, "MEC01")


async def test_units_of_a_registry_that_is_linked_enter_by_no_other_registrys_word(course: Course) -> None:
    stage = course.stage
    await course.issue(block(1, 5, "FOREIGN"))
    there = await state(stage, units("FOREIGN", 1, 1), party="KOR")
    for where in (units("FOREIGN", 901, 910), units("NEVER-ISSUED", 1, 10)):
        [case] = await opened(stage, Found("KOR01", 6301, where, None, there))
        refused(await wanted(stage, case), 409, 4003)
        assert await settled(stage, "KOR01") == [case]
    abroad = units("ABROAD", 1, 10, "SYN01")
    [case] = await opened(stage, Found("KOR01", 6301, abroad, None, there))
    assert (await corrected(stage, case))["entered"] == 10
    assert await settled(stage, "KOR01") == [case]


@pytest.mark.parametrize("account_type", [200, 210, 300, 320])
async def test_a_use_or_a_cancellation_that_no_book_has_does_not_enter_it(course: Course, account_type: int) -> None:
    stage, name = course.stage, f"USED-{account_type}"
    await course.issue(block(1, 5, name))
    there = await state(stage, units(name, 1, 1), account_type=account_type)
    [case] = await opened(stage, Found("MEC01", 6301, units(name, 901, 910), None, there), link="MEC01")
    refused(await wanted(stage, case), 409, 6304)
    assert case in await settled(stage, "MEC01")


async def test_a_unit_that_is_missing_there_is_not_taken_out_of_the_book(course: Course) -> None:
    stage, where = course.stage, units("LOST", 1, 10)
    await course.issue(block(1, 100, "LOST"))
    [case] = await opened(stage, Found("MEC01", 6302, where, await state(stage, where), None), link="MEC01")
    refused(await wanted(stage, case), 409, 4003)
    assert await places(stage, "LOST") == [(1, 100, "MEC01", "MMR", 100)]
    assert case in await settled(stage, "MEC01")


async def test_a_use_is_told_and_not_corrected_into_the_book(course: Course) -> None:
    stage, where = course.stage, units("USED", 1, 10)
    await course.issue(block(1, 100, "USED"))
    there = await state(stage, where, account_type=200)
    [case] = await opened(stage, Found("MEC01", 6304, where, await state(stage, where), there), link="MEC01")
    refused(await wanted(stage, case), 409, 6304)
    assert (await course.use(block(1, 10, "USED"))).items[0]["state"] == "recorded"
    assert case in await settled(stage, "MEC01")


async def test_no_correction_gives_identifiers_which_a_first_transfer_gives_once(course: Course) -> None:
    stage, where = course.stage, units("NAMED", 1, 10)
    await course.issue(block(1, 100, "NAMED"))
    here = await state(stage, where)
    given = json.loads(here) | {"itmo": {"stem": "CA0001-MMR99-MMR-2021", "offset": 700}}
    [case] = await opened(stage, Found("MEC01", 6303, where, here, json.dumps(given)), link="MEC01")
    refused(await wanted(stage, case), 409, 4010)
    assert json.loads(await state(stage, where))["itmo"] is None
    assert case in await settled(stage, "MEC01")


async def test_identifiers_that_units_have_are_neither_changed_nor_taken(course: Course) -> None:
    stage = course.stage
    await course.issue(block(1, 5, "ITMOS"))
    like, where = json.loads(await state(stage, units("ITMOS", 1, 1))), units("ITMOS-ABROAD", 1, 10, "SYN01")
    there = like | {"party": "KOR", "itmo": {"stem": "CA0001-MMR99-MMR-2021", "offset": 7_000}}
    [case] = await opened(stage, Found("KOR01", 6301, where, None, json.dumps(there)))
    await corrected(stage, case)
    assert await settled(stage, "KOR01") == [case]
    for naming in (None, {**there["itmo"], "offset": 9_000}):
        told = json.dumps(there | {"itmo": naming})
        [case] = await opened(stage, Found("KOR01", 6303, where, await state(stage, where), told))
        refused(await wanted(stage, case), 409, 4010)
        assert await settled(stage, "KOR01") == [case]
    beside = Found("KOR01", 6301, units("ITMOS-BESIDE", 1, 10, "SYN01"), None, json.dumps(there))
    [case] = await opened(stage, beside)
    waiting = (await wanted(stage, case)).json()
    refused(await approved(stage, waiting), 409, 3002)
    [(voided, reason)] = await stage.rows(f"SELECT state, reason FROM approval WHERE id = '{waiting['id']}'")
    assert (voided, "4010" in reason) == ("void", True)
    assert await settled(stage, "KOR01") == [case]


async def test_units_that_a_transfer_holds_are_corrected_when_it_has_ended(course: Course) -> None:
    stage, where = course.stage, units("HELD", 1, 10)
    await course.issue(block(1, 100, "HELD"))
    item = course.proposal(block(5, 50, "HELD"))
    await course.propose(item)
    there = await state(stage, where, account_type=420)
    [case] = await opened(stage, Found("MEC01", 6304, where, await state(stage, where), there), link="MEC01")
    refused(await wanted(stage, case), 409, 4005)
    await course.turn()
    await course.void([str(item["transfer"])])
    assert (await corrected(stage, case))["moved"] == 10
    assert case in await settled(stage, "MEC01")


async def test_nobody_corrects_alone_nor_what_has_moved_on_nor_what_cannot_be_read(course: Course) -> None:
    stage, where = course.stage, units("ALONE", 1, 10)
    await course.issue(block(1, 100, "ALONE"))
    here, there = await state(stage, where), await state(stage, where, account_type=420)
    [case] = await opened(stage, Found("MEC01", 6304, where, here, there), link="MEC01")
    body = {"version": 1, **WHY}
    refused(await asked(stage, f"cases/{case}/correct", by=KOREAN, **body), 403, 8001)
    first = await wanted(stage, case)
    refused(await approved(stage, first.json(), by=ONE), 403, 8001)
    refused(await wanted(stage, case, version=2), 409, 3003)
    refused(await wanted(stage, case, findings=[10**9]), 409, 3003)
    refused(await wanted(stage, "MEC01-999"), 404, 3001)
    refused(await wanted(stage, case, reason="\n"), 400, 2014)
    assert await opened(stage, Found("MEC01", 6304, where, here, "{}"), link="MEC01") == [case]
    refused(await wanted(stage, case), 409, 6901)
    refused(await approved(stage, first.json()), 409, 3002)
    for unreadable in ("[" * 3_000, '{"party":' * 800, there.replace('"party"', '"party":"MMR","party"', 1), "\\u0000"):
        assert await opened(stage, Found("MEC01", 6304, where, here, unreadable), link="MEC01") == [case]
        refused(await wanted(stage, case), 409, 6901)
    assert await places(stage, "ALONE") == [(1, 100, "MEC01", "MMR", 100)]
    assert case in await settled(stage, "MEC01")
    refused(await wanted(stage, case, version=2), 409, 3003)
