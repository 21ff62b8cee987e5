"""Authorisations over the operator API: who sees them, and what operators of the authorising Party tell with two.

One stage for all, its registries played; each test has authorisations of its own. All of them are synthetic.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
import pytest_asyncio

from gateway import db, embedded
from gateway.authorisations import commands, store
from gateway.domain.callers import ROLES, Caller, Role, Sight
from gateway.domain.proposals import parse_proposal
from gateway.domain.transfers import Proposal
from gateway.transfers.judge import judge
from tests import stage as staging
from tests.authorised import action, issued, terms, told, under
from tests.deciding import ONE, approved, asked, decided
from tests.played import Course, block, join
from tests.stage import Stage

pytestmark = pytest.mark.asyncio(loop_scope="module")
#: Transactions that wait for another that has locked a row; on the server of these tests there are no others.
LOCKED = "pg_locks WHERE NOT granted AND locktype = 'transactionid'"

OPERATOR = ROLES[Role.OPERATOR]
BURMESE = Caller("burmese-operator", True, Sight("MMR01", "MMR"), OPERATOR)
SECOND_BURMESE = Caller("burmese-approver", True, Sight("MMR01", "MMR"), ROLES[Role.APPROVER])
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


async def asked_for(stage: Stage, *, by: Caller = BURMESE, **changes: Any) -> httpx.Response:
    """Somebody asks that a version is told."""
    return await asked(stage, "authorisations", by=by, terms=terms(**changes))


async def told_by_two(stage: Stage, **changes: Any) -> None:
    """One of Myanmar's people asks that a version is told, and another approves it."""
    first = await asked_for(stage, **changes)
    assert first.status_code == 202, first.text
    done = await approved(stage, first.json(), by=SECOND_BURMESE)
    assert done.status_code == 200, done.text


async def revoking(stage: Stage, name: str, *, by: Caller = BURMESE, version: int = 1) -> httpx.Response:
    return await asked(stage, f"authorisations/MMR/{name}/revoke", by=by, version=version, reason="withdrawn")


async def kept(stage: Stage) -> list[tuple[Any, ...]]:
    """How much there is of authorisations, of what is asked for, and of the log."""
    return await stage.rows(
        "SELECT (SELECT count(*) FROM authorisation), (SELECT count(*) FROM authorisation_version),"
        " (SELECT count(*) FROM authorisation_revocation), (SELECT count(*) FROM approval),"
        " (SELECT count(*) FROM log_entry WHERE kind NOT LIKE 'access.%')"
    )


async def logged(stage: Stage, entry: int) -> tuple[str, dict[str, Any]]:
    [(kind, record)] = await stage.rows(
        f"SELECT kind, convert_from(record, 'UTF8') FROM log_entry JOIN log_record ON id = entry_id WHERE id = {entry}"
    )
    return kind, json.loads(record)


async def test_one_asks_another_approves_and_the_version_is_told_by_the_operators_of_the_registry(stage: Stage) -> None:
    wanted = terms(id="MMR-TOLD", quantity=1000)
    first = await asked_for(stage, id="MMR-TOLD", quantity=1000)
    assert first.status_code == 202, first.text
    canonical = json.loads(first.json()["canonical"])
    assert (canonical["act"], canonical["registry"]) == ("authorisation.tell", "MMR01")
    assert canonical["parameters"] == {"registry": "MMR01", "terms": wanted}
    refused(await asked(stage, "authorisations/MMR/MMR-TOLD", "GET"), 404, 3001)
    done = await approved(stage, first.json(), by=SECOND_BURMESE)
    assert done.json()["result"] == {"party": "MMR", "id": "MMR-TOLD", "version": 1}
    found = await shown(stage, "MMR-TOLD", by=BURMESE)
    [version] = found["versions"]
    assert (version["terms"], version["told_by"]) == (wanted, "operator of MMR01")
    assert (found["quantity"], found["drawn"], found["left"], found["revoked"]) == (1000, 0, 1000, None)
    by = [BURMESE.id, SECOND_BURMESE.id]
    assert await logged(stage, version["entry_id"]) == (
        "authorisation.told", {"registry": "MMR01", "terms": wanted, "by": by}
    )  # fmt: skip


async def test_what_operators_told_is_relied_on_and_revoked_like_what_a_registry_told(course: Course) -> None:
    stage, reference = course.stage, {"id": "MMR-USED", "version": 1}
    await told_by_two(stage, id="MMR-USED", quantity=10)
    units = under(block(1, 20, "USED"), reference)
    await issued(course, units)

    def proposed(first: int, last: int) -> dict[str, Any]:
        return course.proposal(under(block(first, last, "USED"), reference), authorisation=reference)

    good, beyond = proposed(1, 8), proposed(9, 11)
    await course.propose(good, beyond)
    await course.turn()
    assert await stage.states([str(good["transfer"]), str(beyond["transfer"])]) == ["checked", "ending"]
    assert (await shown(stage, "MMR-USED"))["left"] == 2
    first = await revoking(stage, "MMR-USED")
    assert first.status_code == 202, first.text
    assert (await approved(stage, first.json(), by=SECOND_BURMESE)).json()["state"] == "approved"
    end = (await shown(stage, "MMR-USED"))["revoked"]
    assert (end["reason"], end["told_by"]) == ("withdrawn", "operator of MMR01")
    kind, record = await logged(stage, end["entry_id"])
    assert (kind, record["by"]) == ("authorisation.revoked", [BURMESE.id, SECOND_BURMESE.id])
    late = proposed(12, 13)
    await course.propose(late)
    await course.turn()
    [(codes,)] = await stage.rows(f"SELECT findings FROM transfer WHERE id = '{late['transfer']}'")
    assert [finding["code"] for finding in codes] == [5103]
    assert refused(await revoking(stage, "MMR-USED"), 422, 5103) == "authorisation: it is revoked already"
    refused(await asked_for(stage, id="MMR-USED", version=2), 422, 5103)
    await course.void([str(one["transfer"]) for one in (good, beyond, late)])


async def test_one_person_alone_tells_and_revokes_nothing(stage: Stage) -> None:
    await told_by_two(stage, id="MMR-ALONE")
    for first in (await asked_for(stage, id="MMR-ALONE", version=2), await revoking(stage, "MMR-ALONE")):
        assert first.status_code == 202, first.text
        both = replace(BURMESE, id="burmese-both", scopes=OPERATOR | ROLES[Role.APPROVER])
        refused(await approved(stage, first.json(), by=BURMESE), 403, 8001)
        own = await asked_for(stage, by=both, id="MMR-ALONE-TOO")
        refused(await approved(stage, own.json(), by=both), 403, 8001)
    found = await shown(stage, "MMR-ALONE")
    assert (len(found["versions"]), found["revoked"]) == (1, None)
    refused(await asked(stage, "authorisations/MMR/MMR-ALONE-TOO", "GET"), 404, 3001)


async def test_who_does_not_keep_the_partys_books_neither_tells_nor_learns_anything(stage: Stage) -> None:
    await told_by_two(stage, id="MMR-OTHERS")
    for by in (KOREAN, JAPANESE, MECHANISMS):
        before = await kept(stage)
        answers = [
            await asked_for(stage, by=by, id="MMR-OTHERS", version=2),
            await asked_for(stage, by=by, id="MMR-NEVER"),
            await revoking(stage, "MMR-OTHERS", by=by),
            await revoking(stage, "MMR-NEVER", by=by),
        ]
        for answer in answers:
            refused(answer, 403, 8001)
        assert len({answer.content for answer in answers}) == 1
        assert await kept(stage) == before
    refused(await revoking(stage, "MMR-NEVER"), 403, 8001)
    refused(await revoking(stage, "MMR-NEVER", by=ONE), 404, 3001)


async def test_a_person_of_another_party_approves_nothing_of_it(stage: Stage) -> None:
    first = (await asked_for(stage, id="MMR-FOREIGN")).json()
    foreign = Caller("korean-approver", True, Sight("KOR01", "KOR"), ROLES[Role.APPROVER])
    refused(await approved(stage, first, by=foreign), 403, 8001)


async def test_the_gateways_administrators_tell_for_every_party_and_it_says_so(stage: Stage) -> None:
    await decided(stage, "authorisations", terms=terms(id="MMR-GATEWAY"))
    await decided(stage, "authorisations", terms=terms(id="KOR-GATEWAY", party="KOR"))
    assert [one["told_by"] for one in (await shown(stage, "MMR-GATEWAY"))["versions"]] == ["operator of GWY01"]


BAD: dict[str, tuple[dict[str, Any], int, str]] = {
    "a purpose": ({"purposes": "CORSIA"}, 2014, "purposes"),
    "a Party": ({"parties": ["KOR", "XXX"]}, 2010, "parties"),
    "a Party that authorises": ({"party": "XXX"}, 2010, "party"),
    "a date": ({"date": "2026-02-30"}, 2014, "date"),
    "a definition": ({"first_transfer_definition": "Export"}, 2014, "first_transfer_definition"),
    "a definition that is missing": ({"first_transfer_definition": None}, 2015, "first_transfer_definition"),
    "a cooperative approach": ({"cooperative_approach": "CA1"}, 2012, "cooperative_approach"),
    "vintages": ({"vintages": {"first": 2019, "last": 2022}}, 2013, "vintages"),
    "a quantity of nothing": ({"quantity": 0}, 2009, "quantity"),
    "a skipped version": ({"version": 3}, 3006, "version"),
    "a version told already": ({"version": 1}, 2004, "version"),
    "a version told otherwise": ({"version": 1, "quantity": 7}, 2004, "version"),
    "a quantity below what moved": ({"version": 2, "quantity": 8}, 5107, "quantity"),
    "another approach of a change": ({"version": 2, "cooperative_approach": "CA0002"}, 2015, "cooperative_approach"),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def moved(course: Course) -> str:
    """An authorisation under which 9 units are about to move."""
    reference = {"id": "MMR-MOVED", "version": 1}
    await told(course.source, terms(id="MMR-MOVED"))
    units = under(block(1, 9, "MOVED"), reference)
    await issued(course, units)
    await course.propose(course.proposal(units, authorisation=reference))
    await course.turn()
    return "MMR-MOVED"


@pytest.mark.parametrize("wrong", BAD)
async def test_what_stands_against_a_version_is_said_before_anybody_is_asked(
    stage: Stage, moved: str, wrong: str
) -> None:
    changes, code, field = BAD[wrong]
    before = await kept(stage)
    answer = await asked_for(stage, by=ONE, id=moved, **changes)
    detail = refused(answer, 422, code)
    assert detail.startswith(f"authorisation.{field}: ")
    assert answer.json()["findings"] == [{"code": code, "detail": detail}]
    assert await kept(stage) == before


async def test_everything_that_is_wrong_is_listed(stage: Stage) -> None:
    answer = await asked_for(stage, purposes="CORSIA", date="soon", quantity=-1)
    found = [(one["code"], one["detail"].partition(":")[0]) for one in answer.json()["findings"]]
    assert sorted(found) == [
        (2009, "authorisation.quantity"), (2014, "authorisation.date"), (2014, "authorisation.purposes")
    ]  # fmt: skip


@pytest.mark.parametrize(
    "changes", [{"period": None}, {"colour": "green"}, {"version": "1"}, {"kinds": "ITMOs"}], ids=str
)
async def test_what_has_not_the_form_of_terms_is_refused_as_that(stage: Stage, changes: dict[str, Any]) -> None:
    before = await kept(stage)
    refused(await asked_for(stage, **changes), 400, 2001)
    assert await kept(stage) == before


async def test_a_version_is_judged_again_when_it_is_approved_and_nothing_is_half_stored(course: Course) -> None:
    stage = course.stage
    await told_by_two(stage, id="MMR-LATE")
    second = await asked_for(stage, id="MMR-LATE", version=2, quantity=5)
    end = await revoking(stage, "MMR-LATE")
    await told(course.source, terms(id="MMR-LATE", version=2, quantity=6))
    before = (await kept(stage))[0][:3]
    assert "2004" in refused(await approved(stage, second.json(), by=SECOND_BURMESE), 409, 3002)
    assert (await kept(stage))[0][:3] == before
    item = action("MEC01", "revocation", party="MMR", authorisation={"id": "MMR-LATE", "version": 2}, reason="over")
    assert [one["state"] for one in (await course.source.say("action.notice", [item])).items] == ["recorded"]
    assert "5103" in refused(await approved(stage, end.json(), by=SECOND_BURMESE), 409, 3002)
    found = await shown(stage, "MMR-LATE")
    assert ([one["told_by"] for one in found["versions"]], found["revoked"]["told_by"]) == (
        ["operator of MMR01", "MEC01"], "MEC01"
    )  # fmt: skip


async def test_who_waited_for_an_authorisation_judges_by_what_was_told_meanwhile(stage: Stage) -> None:
    await told_by_two(stage, id="MMR-RACE")
    name, begun, let_on = ("MMR", "MMR-RACE"), asyncio.Event(), asyncio.Event()
    wanted = {"registry": "MMR01", "terms": terms(id="MMR-RACE", version=2, quantity=5)}

    async def telling(tx: db.Tx) -> None:
        await commands.tell(tx, stage.gateway.node, wanted, ("one", "two"))
        begun.set()
        await let_on.wait()

    first = asyncio.create_task(stage.run(telling))
    await begun.wait()
    waiting = asyncio.create_task(stage.run(lambda tx: store.known(tx, [name], alone=True)))
    await stage.until(lambda: stage.count(LOCKED))
    assert not waiting.done()
    let_on.set()
    await first
    assert (await waiting)[name].left == 5


async def test_of_two_proposals_decided_on_at_once_the_second_has_what_the_first_left(course: Course) -> None:
    stage, reference = course.stage, {"id": "MMR-SCARCE", "version": 1}
    await told(course.source, terms(id="MMR-SCARCE", quantity=10))
    await issued(course, under(block(1, 20, "SCARCE"), reference))
    items = [
        course.proposal(under(block(*serials, "SCARCE"), reference), authorisation=reference)
        for serials in ((1, 8), (9, 11))
    ]
    await course.propose(*items)
    proposals = [read for item in items if isinstance(read := parse_proposal(item), Proposal)]
    begun, let_on = asyncio.Event(), asyncio.Event()

    async def judging(tx: db.Tx, nr: int, *, waits: bool) -> list[int]:
        [found] = await judge(tx, [("MEC01", proposals[nr])], stage.clock(), draw=True)
        await store.rely(tx, found.reliances)
        if waits:
            begun.set()
            await let_on.wait()
        return [finding.code for finding in found.findings]

    first = asyncio.create_task(stage.run(lambda tx: judging(tx, 0, waits=True)))
    await begun.wait()
    second = asyncio.create_task(stage.run(lambda tx: judging(tx, 1, waits=False)))
    await stage.until(lambda: stage.count(LOCKED))
    assert not second.done()
    let_on.set()
    assert (await first, await second) == ([], [5107])
    assert (await shown(stage, "MMR-SCARCE"))["left"] == 2
    await course.void([str(item["transfer"]) for item in items])
    assert (await shown(stage, "MMR-SCARCE"))["left"] == 10
