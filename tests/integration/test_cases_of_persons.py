"""What persons see of a difference that a reconciliation found, what they may say of it, and what two of them may end.

One stage for all, its registries played; each test has units of its own. All of it is synthetic.
"""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio

from gateway import embedded
from gateway.reconciliation.findings import Found
from tests import stage as staging
from tests.deciding import ONE, approved, asked
from tests.differing import flagged, inside, opened, settled, standing, state, units
from tests.integration.test_inconsistencies import JAPANESE, KOREAN, MECHANISMS, judged, refused, said
from tests.integration.test_sandbox_play import stamp
from tests.played import Course, block, join
from tests.pulled import address, pull, record

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def course(postgres: embedded.Server, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Course]:
    async with staging.opened(postgres, tmp_path_factory.mktemp("differences")) as stage:
        begun = await Course.begun(stage)
        await join(stage, "JPN01", "party", "JPN")
        yield begun
        assert await stage.doctor() == []


async def test_what_a_reconciliation_found_is_responded_to_and_closed_by_no_person(course: Course) -> None:
    stage, where = course.stage, units("FOUND", 1, 10)
    await course.issue(block(1, 100, "FOUND"))
    there = await state(stage, where, party="KOR")
    [case] = await opened(stage, Found("KOR01", 4007, where, None, there))
    for what, body in (("close", {"reason": "x"}), ("corrected", {"submission": "x"})):
        refused(await said(stage, case, what, 1, **body), 409, 3003)
    assert (await said(stage, case, "respond", 1, by=KOREAN, response="we look into it")).status_code == 200
    found = (await asked(stage, f"cases/{case}/findings", "GET", by=KOREAN)).json()["findings"]
    assert [(f["series"], f["first"], f["last"], f["here"], f["there"]) for f in found] == [
        ("FOUND", 1, 10, None, there)
    ]
    assert found[0]["proposed"].startswith("KOR01 takes MEC01/FOUND/1-10 out of KOR 100; or ")
    assert await flagged(stage, "FOUND") == [(1, 10)]
    assert await settled(stage, "KOR01") == [case]


@pytest.mark.parametrize("link", ["suspended", "closed"])
async def test_where_no_run_comes_any_more_two_close_a_difference_and_its_units_are_free(
    course: Course, link: str
) -> None:
    stage, name = course.stage, f"LEFT-{link.upper()}"
    await course.issue(block(1, 100, name))
    where = units(name, 1, 10)
    [case] = await opened(
        stage, Found("JPN01", 4007, where, None, await state(stage, where, party="JPN")), link="JPN01"
    )
    refused(await said(stage, case, "close", 1, reason="x"), 409, 3003)
    await stage.rows(f"UPDATE link SET state = '{link}' WHERE code = 'JPN01'")
    first = await said(stage, case, "close", 1, reason="its link is over")
    refused(await approved(stage, first.json(), by=ONE), 403, 8001)
    assert await flagged(stage, name) == [(1, 10)]
    await approved(stage, first.json())
    await stage.rows("UPDATE link SET state = 'active' WHERE code = 'JPN01'")
    assert (await standing(stage, case), await flagged(stage, name), await inside(stage, case)) == ("closed", [], [])
    assert await judged(course, block(1, 10, name)) == ("checked", [])


async def test_who_has_units_that_another_claims_is_told_and_sees_the_case_but_not_what_is_others(
    course: Course,
) -> None:
    stage, name = course.stage, "CLAIMED"
    await course.issue(block(1, 100, name))
    await course.complete(course.proposal(block(51, 60, name)))
    there = await state(stage, units(name, 1, 1), party="JPN")
    found = [Found("JPN01", 4007, units(name, *serials), None, there) for serials in ((1, 10), (51, 60))]
    [case, _] = await opened(stage, *found, link="JPN01")
    assert await stage.rows(f"SELECT link, code FROM alarm WHERE transfer_id = '{case}' ORDER BY 1") == [
        ("JPN01", 4007), ("KOR01", 4007), ("MEC01", 4007)
    ]  # fmt: skip
    for by, seen in ((ONE, [1, 51]), (JAPANESE, [1, 51]), (MECHANISMS, [1]), (KOREAN, [51])):
        assert case in [one["id"] for one in (await asked(stage, "cases?limit=500", "GET", by=by)).json()["cases"]]
        assert (await asked(stage, f"cases/{case}", "GET", by=by)).status_code == 200
        listed = (await asked(stage, f"cases/{case}/findings", "GET", by=by)).json()["findings"]
        assert [one["first"] for one in listed] == seen
    moved = (await asked(stage, f"cases/{case}/trail", "GET", by=KOREAN)).json()["moved"]
    assert {one["registry"] for one in moved} == {"KOR01"}
    refused(await said(stage, case, "close", 1, by=KOREAN, reason="mine"), 403, 8001)
    assert await settled(stage, "JPN01") == [case]
    other = Found("JPN01", 6301, units(name, 901, 910), None, there)
    [hidden] = await opened(stage, other, link="JPN01")
    refused(await asked(stage, f"cases/{hidden}", "GET", by=KOREAN), 403, 8001)
    assert await settled(stage, "JPN01") == [hidden]


async def test_a_transfer_that_has_moved_all_its_units_since_is_named_as_what_corrects_it(course: Course) -> None:
    stage, where = course.stage, units("MOVED", 1, 10)
    await course.issue(block(1, 100, "MOVED"))
    [before] = await course.complete(course.proposal(block(91, 100, "MOVED")))
    items = [course.proposal(block(*serials, "MOVED")) for serials in ((1, 50), (51, 60))]
    [done, part] = moving = [str(one["transfer"]) for one in items]
    await course.propose(*items)
    await course.turn()
    await course.accept(moving)
    await course.turn()
    await course.release(moving)
    here = await state(stage, where)
    found = [Found("MEC01", 6302, units("MOVED", *serials), here, None) for serials in ((1, 10), (41, 55), (91, 100))]
    [case, *_] = await opened(stage, found[0], link="MEC01")
    refused(await said(stage, case, "corrected", 1, transfer=done), 409, 3003)
    await course.credit(moving)
    for other in (part, before, f"MEC01-{'0' * 8}-0000-7000-8000-{'0' * 12}"):
        refused(await said(stage, case, "corrected", 1, by=MECHANISMS, transfer=other), 409, 3003)
    answer = await said(stage, case, "corrected", 1, by=MECHANISMS, transfer=done)
    assert answer.json()["case"]["corrected_by"] == f"transfer {done}"
    assert (await standing(stage, case), await flagged(stage, "MOVED")) == ("corrected", [(1, 10)])
    assert case in await settled(stage, "MEC01")
    for one, transfers in ((found[1], moving), (found[2], [before])):
        [again] = await opened(stage, one, link="MEC01")
        for other in transfers:
            refused(await said(stage, again, "corrected", 1, transfer=other), 409, 3003)
        assert again in await settled(stage, "MEC01")


async def test_the_trail_of_a_case_names_the_messages_that_moved_its_units_in_its_book(course: Course) -> None:
    stage, where = course.stage, units("TRAIL", 1, 10)
    await course.issue(block(1, 100, "TRAIL"))
    await course.complete(course.proposal(block(1, 50, "TRAIL")))
    [case] = await opened(stage, Found("KOR01", 6302, where, await state(stage, where), None))
    whole = (await asked(stage, f"cases/{case}/trail", "GET")).json()
    everything = whole["moved"]
    assert (whole["since"], whole["told"]) == (None, [])
    assert [(m["what"], m["registry"], m["kind"], m["peer"], m["first"], m["last"]) for m in everything] == [
        ("closed", "MEC01", "transfer.credited", "KOR01", 1, 100),
        ("opened", "KOR01", "transfer.credited", "KOR01", 1, 50),
        ("opened", "MEC01", "action.notice", "MEC01", 1, 100),
    ]
    mine = (await asked(stage, f"cases/{case}/trail", "GET", by=KOREAN)).json()["moved"]
    assert mine == [one for one in everything if one["registry"] == "KOR01"]
    late = (datetime.now(UTC) + timedelta(hours=1)).isoformat().replace("+00:00", "Z")
    assert (await asked(stage, f"cases/{case}/trail?since={late}", "GET")).json()["moved"] == []
    assert await settled(stage, "KOR01") == [case]


async def test_beside_the_book_the_trail_has_what_its_registry_told_and_where_times_differ(course: Course) -> None:
    stage, where = course.stage, units("TOLD", 1, 10)
    await course.issue(block(1, 100, "TOLD"))
    await course.complete(course.proposal(block(1, 50, "TOLD")))
    [(issued, at)] = await stage.rows(
        "SELECT action, a.at FROM action a JOIN action_block b ON b.action_id = a.id JOIN unit_series s"
        " ON s.id = series_id WHERE series = 'TOLD'"
    )
    [(transfer,)] = await stage.rows(
        "SELECT transfer_id FROM claim JOIN unit_series s ON s.id = series_id WHERE series = 'TOLD'"
    )
    moved = {"type": "transfer", "purpose": "NDC", "first_transfer": True, "transaction": transfer,
             "from": address("MEC01", "MMR"), "to": address("KOR01", "KOR")}  # fmt: skip
    early = (at - timedelta(days=1)).astimezone(UTC)
    texts = [
        record(block(1, 50, "TOLD"), at=stamp(at.astimezone(UTC)), transaction=issued),
        record(block(1, 50, "TOLD"), at=stamp(early), **moved),
        record(block(1, 50, "TOLD"), at=stamp(early), transaction="unknown here"),
        record(block(51, 60, "TOLD"), at=stamp(early), transaction="of other units"),
    ]
    await pull(course.source, "KOR01", "KOR", texts)
    [case] = await opened(stage, Found("MEC01", 6302, where, await state(stage, where), None), link="MEC01")
    told = (await asked(stage, f"cases/{case}/trail", "GET")).json()["told"]
    assert {one["transaction"]: (one["first"], one["last"], one["code"]) for one in told} == {
        issued: (1, 50, 6403), transfer: (1, 50, 6403), "unknown here": (1, 50, None)
    }  # fmt: skip
    of = {one["transaction"]: one for one in told}
    assert "another time" not in of[issued]["detail"] and transfer in of[issued]["detail"]
    assert of[transfer]["detail"] == f"its time is another one here; it is in another order here than {issued}"
    assert datetime.fromisoformat(of[issued]["here_at"]) == at and of["unknown here"]["here_entry"] is None
    mine = (await asked(stage, f"cases/{case}/trail", "GET", by=MECHANISMS)).json()["told"]
    assert mine == told
    refused(await asked(stage, f"cases/{case}/trail", "GET", by=JAPANESE), 403, 8001)
    assert case in await settled(stage, "MEC01")
