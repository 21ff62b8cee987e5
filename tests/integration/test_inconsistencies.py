"""Inconsistencies of Article 6.2: identified, notified, responded to, corrected, closed by two; and who may do what.

One stage for all, its registries played; each test has units of its own. All of it is synthetic.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import pytest_asyncio

from gateway import embedded
from gateway.doctor.examination import examine, walks_of
from gateway.doctor.scene import Own
from gateway.domain.callers import ROLES, Caller, Role, Scope, Sight
from tests import stage as staging
from tests.deciding import ONE, approved, asked, decided
from tests.differing import events, flagged, inside, refused
from tests.played import Course, block, join
from tests.stage import Stage

pytestmark = pytest.mark.asyncio(loop_scope="module")

OPERATOR = ROLES[Role.OPERATOR]
KOREAN = Caller("korean-operator", True, Sight("KOR01", "KOR"), OPERATOR)
JAPANESE = Caller("japanese-operator", True, Sight("JPN01", "JPN"), OPERATOR)
MECHANISMS = Caller("mechanism-operator", True, Sight("MEC01"), OPERATOR)
MACHINE = Caller("korean-job", False, Sight("KOR01", "KOR"), frozenset({Scope.RECONCILIATION_RUN}))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def course(postgres: embedded.Server, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Course]:
    async with staging.opened(postgres, tmp_path_factory.mktemp("inconsistencies")) as stage:
        begun = await Course.begun(stage)
        await join(stage, "JPN01", "party", "JPN")
        yield begun
        assert await stage.doctor() == []


@pytest.fixture
def stage(course: Course) -> Stage:
    return course.stage


async def identified(stage: Stage, *, by: Caller = ONE, **changes: Any) -> httpx.Response:
    wanted = {"source": "secretariat", "check_id": "II03", "party": "KOR", "units": [], "effect": False,
              "detail": "sectors differ between two authorisations"}  # fmt: skip
    return await asked(stage, "cases", by=by, **{**wanted, **changes})


async def made(stage: Stage, **changes: Any) -> str:
    answer = await identified(stage, **changes)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["case"]["id"])


async def said(stage: Stage, case: str, what: str, version: int, *, by: Caller = ONE, **body: Any) -> httpx.Response:
    return await asked(stage, f"cases/{case}/{what}", by=by, version=version, **body)


def ranges(series: str, *serials: tuple[int, int]) -> list[dict[str, Any]]:
    return [{"origin": {"registry": "MEC01", "series": series}, "first": a, "last": b} for a, b in serials]


async def judged(course: Course, units: dict[str, Any]) -> tuple[str, list[int]]:
    """Propose units, take a turn, and end it again; the state it came to and the codes found."""
    item = course.proposal(units)
    await course.propose(item)
    await course.turn()
    found = (await course.stage.transfer(str(item["transfer"])))["transfer"]
    await course.void([str(item["transfer"])])
    return found["state"], [finding["code"] for finding in found["findings"]]


async def test_a_case_runs_from_identification_to_closure_and_holds_its_units_until_then(course: Course) -> None:
    stage = course.stage
    await course.issue(block(1, 100, "COURSE"))
    case = await made(stage, units=ranges("COURSE", (1, 10), (11, 20)), effect=True)
    assert case.startswith("KOR-")
    assert await judged(course, block(20, 21, "COURSE")) == ("ending", [4009])
    assert await judged(course, block(21, 30, "COURSE")) == ("checked", [])
    due = (datetime.now(UTC) + timedelta(days=30)).replace(microsecond=0)
    told = await said(stage, case, "notify", 1, note="letter of the secretariat", due=due.isoformat())
    assert (told.status_code, told.json()["case"]["state"]) == (200, "notified"), told.text
    assert datetime.fromisoformat(told.json()["case"]["due"]) == due
    assert (await said(stage, case, "respond", 2, by=KOREAN, response="a new version follows")).status_code == 200
    mended = await said(stage, case, "corrected", 3, by=KOREAN, submission="2026 version 2")
    assert mended.json()["case"]["corrected_by"] == "submission 2026 version 2"
    assert await flagged(stage, "COURSE", "inconsistent") == [(1, 20)]
    done = await decided(stage, f"cases/{case}/close", version=4, reason="checked again, consistent")
    assert done["result"] == {"case": case, "closed": True}
    assert await flagged(stage, "COURSE", "inconsistent") == await inside(stage, case) == []
    assert await judged(course, block(1, 20, "COURSE")) == ("checked", [])
    shown = (await asked(stage, f"cases/{case}", "GET", by=KOREAN)).json()
    assert [(e["event"], e["by"]) for e in shown["events"]] == [
        ("opened", ONE.id),
        ("notified", ONE.id),
        ("responded", KOREAN.id),
        ("corrected", KOREAN.id),
        ("closed", "administrator-1 and administrator-2"),
    ]
    entries = ", ".join(str(e["entry_id"]) for e in shown["events"])
    assert await stage.rows(f"SELECT kind FROM log_entry WHERE id IN ({entries}) ORDER BY id") == [
        (f"case.{e['event']}",) for e in shown["events"]
    ]


async def test_without_effect_on_the_balance_units_go_on_moving(course: Course) -> None:
    await course.issue(block(1, 100, "NO-EFFECT"))
    case = await made(course.stage, units=ranges("NO-EFFECT", (1, 10)))
    assert await judged(course, block(1, 10, "NO-EFFECT")) == ("checked", [])
    assert await inside(course.stage, case) == [(1, 10)]


async def test_units_in_two_cases_are_free_when_both_are_closed(course: Course) -> None:
    stage = course.stage
    await course.issue(block(1, 100, "BOTH"))
    first = await made(stage, units=ranges("BOTH", (1, 20)), effect=True)
    second = await made(stage, units=ranges("BOTH", (11, 30)), effect=True, source="review", check_id="ISC01")
    await decided(stage, f"cases/{first}/close", version=1, reason="withdrawn")
    assert await flagged(stage, "BOTH", "inconsistent") == [(11, 20), (21, 30)]
    await decided(stage, f"cases/{second}/close", version=1, reason="withdrawn")
    assert await flagged(stage, "BOTH", "inconsistent") == []


async def test_a_case_is_seen_by_its_partys_people_and_the_gateways_and_by_nobody_else(stage: Stage) -> None:
    case = await made(stage)
    for by in (ONE, KOREAN):
        assert case in [one["id"] for one in (await asked(stage, "cases?limit=500", "GET", by=by)).json()["cases"]]
        assert (await asked(stage, f"cases/{case}/findings", "GET", by=by)).json() == {"findings": [], "next": None}
    for by in (JAPANESE, MECHANISMS):
        assert (await asked(stage, "cases?limit=500", "GET", by=by)).json()["cases"] == []
        hidden, nowhere = [await asked(stage, f"cases/{name}", "GET", by=by) for name in (case, "KOR-999")]
        refused(hidden, 403, 8001)
        assert hidden.content == nowhere.content
        refused(await asked(stage, f"cases/{case}/findings", "GET", by=by), 403, 8001)
        refused(await said(stage, case, "respond", 1, by=by, response="x"), 403, 8001)
    refused(await asked(stage, "cases/KOR-999", "GET"), 404, 3001)


async def test_a_page_goes_on_after_its_last_and_may_be_of_one_state_and_source(stage: Stage) -> None:
    mine = [await made(stage, source="pre-check", by=KOREAN) for _ in range(3)]
    turned, before = list[str](), ""
    while before is not None:
        answer = (await asked(stage, f"cases?limit=2&source=pre-check{before}", "GET")).json()
        turned += [one["id"] for one in answer["cases"]]
        before = f"&before={answer['next']}" if answer["next"] else None
    assert turned == mine[::-1]
    await decided(stage, f"cases/{mine[0]}/close", version=1, reason="filed")
    left = (await asked(stage, "cases?source=pre-check&state=open", "GET")).json()["cases"]
    assert [one["id"] for one in left] == mine[:0:-1]
    refused(await asked(stage, "cases?before=KOR-999", "GET"), 404, 3001)


async def test_a_party_flags_what_its_own_books_hold_and_nothing_elsewhere(course: Course) -> None:
    stage = course.stage
    await course.issue(block(1, 100, "OWN"))
    refused(await identified(stage, by=KOREAN, units=ranges("OWN", (1, 10)), effect=True), 403, 8001)
    await course.complete(course.proposal(block(1, 10, "OWN")))
    case = await made(stage, by=KOREAN, units=ranges("OWN", (1, 10)), effect=True)
    refused(await identified(stage, by=KOREAN, units=ranges("OWN", (1, 11)), effect=True), 403, 8001)
    refused(await identified(stage, by=JAPANESE, units=ranges("OWN", (1, 10)), effect=True), 403, 8001)
    refused(await identified(stage, by=MECHANISMS, units=ranges("OWN", (20, 21)), effect=True), 403, 8001)
    assert await flagged(stage, "OWN", "inconsistent") == [(1, 10)]
    refused(await said(stage, case, "close", 1, by=KOREAN, reason="mine"), 403, 8001)


async def test_one_person_alone_frees_nothing(course: Course) -> None:
    stage = course.stage
    await course.issue(block(1, 100, "ALONE"))
    case = await made(stage, units=ranges("ALONE", (1, 10)), effect=True)
    first = await said(stage, case, "close", 1, reason="done")
    refused(await approved(stage, first.json(), by=ONE), 403, 8001)
    assert await flagged(stage, "ALONE", "inconsistent") == [(1, 10)]
    assert (await said(stage, case, "notify", 1, note="x")).status_code == 200
    refused(await approved(stage, first.json()), 409, 3002)
    assert await flagged(stage, "ALONE", "inconsistent") == [(1, 10)]


async def test_what_cannot_be_is_refused_and_opens_nothing(course: Course) -> None:
    stage = course.stage
    await course.issue(block(1, 100, "BAD"))
    before = await stage.count("inconsistency_case")
    for changes, status, code in (
        ({"check_id": "II08"}, 400, 2014),
        ({"check_id": "6302"}, 400, 2014),
        ({"source": "reconciliation"}, 400, 2014),
        ({"source": "hearsay"}, 422, 2001),
        ({"party": "XXX"}, 400, 2010),
        ({"detail": "\n"}, 400, 2014),
        ({"units": ranges("BAD", (1, 2**53))}, 400, 2006),
        ({"units": ranges("BAD", (2, 1))}, 400, 2007),
        ({"units": [{"first": 1}]}, 400, 2001),
        ({"units": ranges("BAD", (100, 101)), "effect": True}, 422, 4003),
        ({"units": ranges("NEVER", (1, 1))}, 422, 4003),
        ({"due": "2020-01-01T00:00:00Z"}, 400, 2014),
        ({"due": "2199-01-01T00:00:00Z"}, 400, 2014),
        ({"by": MACHINE}, 403, 8001),
    ):
        refused(await identified(stage, **changes), status, code)
    assert await stage.count("inconsistency_case") == before
    assert await flagged(stage, "BAD", "inconsistent") == []


async def test_steps_out_of_turn_of_another_version_or_after_the_end_are_refused(stage: Stage) -> None:
    case = await made(stage)
    refused(await said(stage, case, "respond", 1, response="nobody asked"), 409, 3003)
    refused(await said(stage, case, "notify", 2, note="x"), 409, 3003)
    refused(await said(stage, case, "notify", 1, by=MACHINE, note="x"), 403, 8001)
    assert (await said(stage, case, "notify", 1, note="x")).status_code == 200
    refused(await said(stage, case, "notify", 2, note="again"), 409, 3003)
    refused(await said(stage, case, "respond", 2, response=" "), 400, 2014)
    refused(await said(stage, case, "corrected", 2), 400, 2001)
    refused(await said(stage, case, "corrected", 2, submission="x", transfer="y"), 400, 2001)
    refused(await said(stage, case, "corrected", 2, transfer="y"), 400, 2003)
    refused(await said(stage, case, "correct", 2, reason="x", evidence="x"), 409, 3003)
    await decided(stage, f"cases/{case}/close", version=2, reason="withdrawn")
    for what, body in (("respond", {"response": "x"}), ("corrected", {"submission": "x"}), ("close", {"reason": "x"})):
        refused(await said(stage, case, what, 3, **body), 409, 3003)
    assert await events(stage, case) == ["opened", "notified", "closed"]


async def test_of_two_steps_at_one_moment_one_is_taken(stage: Stage) -> None:
    case = await made(stage)
    answers = await asyncio.gather(*(said(stage, case, "notify", 1, note=f"note {n}") for n in range(4)))
    assert sorted(one.status_code for one in answers) == [200, 409, 409, 409]
    assert await events(stage, case) == ["opened", "notified"]


async def test_of_cases_opened_at_one_moment_each_has_a_number(stage: Stage) -> None:
    found = await asyncio.gather(*(made(stage, party="JPN") for _ in range(4)))
    assert sorted(found) == [f"JPN-{n}" for n in range(1, 5)]


async def test_the_doctor_notes_a_case_that_nobody_has_responded_to_in_time(stage: Stage) -> None:
    case, answered = await made(stage), await made(stage)
    await said(stage, answered, "notify", 1, note="x")
    await said(stage, answered, "respond", 2, response="x")

    async def overdue(days: int) -> set[str]:
        later, [walk] = stage.clock() + timedelta(days=days), walks_of(["cases"])
        report = await examine(stage.gateway.database, Own.of(stage.gateway.node), later, walks=[walk])
        return {str(remark.about["case"]) for _, remark in report.notes}

    assert await overdue(13) & {case, answered} == set()
    assert await overdue(15) & {case, answered} == {case}


async def test_what_persons_say_of_a_case_is_in_the_log_in_full(stage: Stage) -> None:
    case = await made(stage)
    await said(stage, case, "notify", 1, note="letter of 2 March")
    records = [json.loads(record) for (record,) in await stage.rows(
        "SELECT convert_from(record, 'UTF8') FROM log_record JOIN case_event USING (entry_id)"
        f" WHERE case_id = '{case}' ORDER BY version")]  # fmt: skip
    assert [(r["person"], r.get("detail")) for r in records] == [
        (ONE.id, "sectors differ between two authorisations"), (ONE.id, "letter of 2 March")
    ]  # fmt: skip
