"""Authorisations over the operator API: who sees them, and what operators of the authorising Party tell with two.

One stage for all, its registries played; each test has authorisations of its own. All of them are synthetic.
"""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from gateway import embedded
from gateway.domain.callers import ROLES, Caller, Role, Sight
from tests import stage as staging
from tests.authorised import issued, terms, told, under
from tests.deciding import ONE, asked
from tests.played import Course, block, join
from tests.stage import Stage

pytestmark = pytest.mark.asyncio(loop_scope="module")

OPERATOR = ROLES[Role.OPERATOR]
BURMESE = Caller("burmese-operator", True, Sight("MMR01", "MMR"), OPERATOR)
KOREAN = Caller("korean-operator", True, Sight("KOR01", "KOR"), OPERATOR)
JAPANESE = Caller("japanese-operator", True, Sight("JPN01", "JPN"), OPERATOR)
MECHANISMS = Caller("mechanism-operator", True, Sight("MEC01"), OPERATOR)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def course(postgres: embedded.Server, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Course]:
    """MEC01 and KOR01, with MMR01, whose Party authorises, and JPN01, which has nothing to do with it."""
    async with staging.opened(postgres, tmp_path_factory.mktemp("authorising")) as stage:
        begun = await Course.begun(stage)
        await join(stage, "MMR01", "party", "MMR")
        await join(stage, "JPN01", "party", "JPN")
        await told(begun.source, terms())
        yield begun
        assert await stage.doctor() == []


@pytest.fixture
def stage(course: Course) -> Stage:
    return course.stage


def refused(answer: httpx.Response, status: int, code: int) -> str:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    return str(answer.json()["detail"])


async def shown(stage: Stage, name: str, *, by: Caller = ONE) -> dict[str, Any]:
    answer = await asked(stage, f"authorisations/MMR/{name}", "GET", by=by)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def names(stage: Stage, by: Caller, query: str = "limit=100") -> list[str]:
    answer = await asked(stage, f"authorisations?{query}", "GET", by=by)
    assert answer.status_code == 200, answer.text
    return [f"{one['party']}/{one['id']}" for one in answer.json()["authorisations"]]


async def test_an_authorisation_shows_every_version_as_told_and_what_has_moved_under_it(course: Course) -> None:
    first, second = terms(id="MMR/VERSIONS", quantity=100), terms(id="MMR/VERSIONS", quantity=50, version=2)
    await told(course.source, first, second)
    reference = {"id": "MMR/VERSIONS", "version": 2}
    units = under(block(1, 7, "VERSIONS"), reference)
    await issued(course, units)
    item = course.proposal(units, authorisation=reference)
    await course.propose(item)
    await course.turn()
    assert await course.stage.states([str(item["transfer"])]) == ["checked"]
    found = await shown(course.stage, "MMR/VERSIONS")
    assert [one["terms"] for one in found["versions"]] == [first, second]
    assert [one["told_by"] for one in found["versions"]] == ["MEC01", "MEC01"]
    assert {one["entry_id"] for one in found["versions"]} <= {row[0] for row in await course.stage.rows(
        "SELECT id FROM log_entry WHERE kind = 'action.notice'")}  # fmt: skip
    assert (found["quantity"], found["drawn"], found["left"], found["revoked"]) == (50, 7, 43, None)
    await course.void([str(item["transfer"])])
    found = await shown(course.stage, "MMR/VERSIONS")
    assert (found["drawn"], found["left"]) == (0, 50)


async def test_it_is_seen_by_its_partys_people_by_who_told_it_and_by_who_relies_on_it(course: Course) -> None:
    stage, name = course.stage, "MMR-SEEN"
    await told(course.source, terms(id=name))
    for by in (ONE, BURMESE, MECHANISMS):
        assert f"MMR/{name}" in await names(stage, by)
        assert (await shown(stage, name, by=by))["id"] == name
    for by in (KOREAN, JAPANESE):
        assert f"MMR/{name}" not in await names(stage, by)
        refused(await asked(stage, f"authorisations/MMR/{name}", "GET", by=by), 403, 8001)
    units = under(block(1, 5, "SEEN"), {"id": name, "version": 1})
    await issued(course, units)
    item = course.proposal(units, authorisation={"id": name, "version": 1})
    await course.propose(item)
    await course.turn()
    assert (await shown(stage, name, by=KOREAN))["drawn"] == 5
    refused(await asked(stage, f"authorisations/MMR/{name}", "GET", by=JAPANESE), 403, 8001)
    await course.void([str(item["transfer"])])


async def test_what_is_not_seen_and_what_is_not_there_are_refused_alike(course: Course) -> None:
    await told(course.source, terms(id="MMR-UNSEEN"))
    for_others, nowhere = [
        await asked(course.stage, f"authorisations/MMR/{name}", "GET", by=JAPANESE) for name in ("MMR-UNSEEN", "NEVER")
    ]
    refused(for_others, 403, 8001)
    assert for_others.content == nowhere.content
    refused(await asked(course.stage, "authorisations/MMR/NEVER", "GET"), 404, 3001)
    refused(await asked(course.stage, "authorisations/XXX/NEVER", "GET"), 400, 2010)


async def test_a_page_goes_on_after_its_last_and_may_be_of_one_party(course: Course) -> None:
    await told(course.source, *(terms(id=f"MMR-PAGE-{n}") for n in range(3)))
    await told(course.acquirer, terms(id="KOR-PAGE", party="KOR"))
    everything = await names(course.stage, ONE)
    assert everything == sorted(everything) and "KOR/KOR-PAGE" in everything
    turned, after = list[str](), ""
    while after is not None:
        answer = (await asked(course.stage, f"authorisations?limit=2{after}", "GET")).json()
        turned += [f"{one['party']}/{one['id']}" for one in answer["authorisations"]]
        after = f"&after={answer['next']}" if answer["next"] else None
    assert turned == everything
    assert await names(course.stage, ONE, "party=KOR") == ["KOR/KOR-PAGE"]
    refused(await asked(course.stage, "authorisations?after=XXX", "GET"), 400, 2010)
    refused(await asked(course.stage, "authorisations?after=MMR/%00", "GET"), 400, 2001)
