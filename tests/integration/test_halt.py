"""A halt: nothing new is taken, by whatever way it comes; what is committed comes to its end; two lift it."""

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest

from gateway.domain.callers import ROLES, Caller, Role, Scope, Sight
from tests.deciding import ONE, TWO, approved, asked, decided
from tests.integration.test_sandbox_play import text
from tests.played import Course, block
from tests.refusals import counts, effects
from tests.stage import Stage

WHY = "units were counted twice"


@pytest.fixture
async def course(stage: Stage) -> Any:
    begun = await Course.begun(stage)
    await begun.issue(block(1, 1_000))
    yield begun
    assert await stage.doctor() == []


async def halt(stage: Stage, reason: str = WHY, *, by: Caller = ONE) -> httpx.Response:
    return await asked(stage, "halt", by=by, reason=reason)


async def post(course: Course, kind: str, body: bytes) -> httpx.Response:
    return await course.stage.http.post(
        f"{course.stage.link_url}/messages", content=body, headers={"content-type": kind}
    )


def proposal(course: Course, first: int, last: int) -> tuple[str, tuple[str, bytes]]:
    item = course.proposal(block(first, last))
    return str(item["transfer"]), course.source.compose("transfer.propose", [text(item)])


async def waits(stage: Stage, transfer: str) -> str:
    return str((await stage.transfer(transfer))["transfer"]["waiting"])


async def test_no_proposal_is_kept_and_the_same_bytes_are_taken_afterwards(course: Course) -> None:
    stage = course.stage
    transfer, message = proposal(course, 1, 10)
    assert (await halt(stage)).status_code == 201
    before = await counts(stage)
    for _ in range(2):
        refused = await post(course, *message)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "60")
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.json()["code"] == 9002
        assert WHY not in refused.text  # that is for the operators
    # Together with others as alone.
    several = [proposal(course, 10 * n + 1, 10 * n + 10)[1] for n in range(2, 8)]
    assert {r.status_code for r in await asyncio.gather(*(post(course, *m) for m in several))} == {503}
    assert effects(before, await counts(stage)) == {}
    await decided(stage, "halt/lift")
    assert (await post(course, *message)).status_code == 200
    assert await stage.states([transfer]) == ["proposed"]


async def test_no_request_is_taken(course: Course) -> None:
    stage = course.stage
    ends = {f"{side}ing": {"registry": r, "party": p, "account": "100-1"}
            for side, r, p in (("transferr", "MEC01", "MMR"), ("acquir", "KOR01", "KOR"))}  # fmt: skip
    wish = {**ends, "purpose": "NDC", "quantity": 3}

    async def request(key: str) -> httpx.Response:
        return await stage.api.post("/api/v1/transfers", json=wish, headers={"Idempotency-Key": key})

    earlier = (await request("before")).json()
    await halt(stage)
    refused = await request("during")
    assert (refused.status_code, refused.json()["code"], refused.headers["retry-after"]) == (503, 9002, "60")
    assert (await request("before")).json() == earlier  # what was taken is shown again
    assert await stage.count("transfer_request") == 1
    await decided(stage, "halt/lift")
    assert (await request("during")).status_code == 202


async def test_what_has_no_commit_waits_and_what_has_one_comes_to_its_end(course: Course) -> None:
    stage = course.stage
    items = [course.proposal(block(10 * n + 1, 10 * n + 10)) for n in range(5)]
    proposed, checked, accepted, committing, released = ids = [str(item["transfer"]) for item in items]
    await course.propose(*items[1:])
    await course.turn()
    await course.accept([committing, released])
    await course.turn()
    await course.release([released])
    await course.propose(items[0])
    await halt(stage)
    await course.accept([accepted])
    await course.turn()
    assert await stage.states(ids) == ["proposed", "checked", "accepted", "committing", "released"]
    for transfer in (proposed, accepted):
        assert await waits(stage, transfer) == f"the gateway is halted: {WHY}"
    await course.release([committing])
    await course.credit([committing, released])
    assert await stage.states([committing, released]) == ["completed", "completed"]
    await course.accept([checked])
    await course.turn()
    assert await stage.states([checked]) == ["accepted"]
    await decided(stage, "halt/lift")
    await course.turn()
    assert await stage.states([proposed, checked, accepted]) == ["checked", "committing", "committing"]
    assert await stage.count("transfer WHERE waiting LIKE '%halted%'") == 0


async def test_time_goes_on_during_a_halt(course: Course) -> None:
    stage = course.stage
    item = course.proposal(block(1, 10))
    await course.propose(item)
    await halt(stage)
    await course.turn()
    stage.clock.ahead = timedelta(hours=25)
    await course.turn()
    assert await stage.states([str(item["transfer"])]) == ["ending"]


async def test_everything_says_so(course: Course) -> None:
    stage = course.stage

    async def said() -> list[Any]:
        ready = await stage.http.get(f"{stage.operator_url}/readyz")
        listed = await asked(stage, "transfers", "GET")
        shown = (await asked(stage, "halt", "GET")).json()
        return [ready.status_code, ready.json()["status"], listed.json()["halted"], shown["halted"], shown["reason"]]

    assert await said() == [200, "ready", None, False, None]
    assert (await halt(stage)).json()["by"] == ONE.id
    assert await said() == [200, "halted", WHY, True, WHY]
    done = await decided(stage, "halt/lift")
    assert done["registry"] is None
    assert await said() == [200, "ready", None, False, None]
    kinds = "SELECT kind FROM log_entry WHERE kind LIKE 'gateway.%' ORDER BY id"
    assert await stage.rows(kinds) == [("gateway.halted",), ("gateway.halt-lifted",)]


async def test_one_of_the_gateways_own_halts_it_and_two_lift_it(course: Course) -> None:
    stage, scopes = course.stage, ROLES[Role.ADMINISTRATOR]
    korean = Caller("korean", True, Sight("KOR01", "KOR"), scopes)
    operator = Caller("operator", True, ONE.sight, ROLES[Role.OPERATOR])
    for by in (korean, operator):
        refused = await halt(stage, by=by)
        assert (refused.status_code, refused.json()["code"]) == (403, 8001)
    assert (await asked(stage, "halt/lift")).json()["code"] == 3002
    machine = Caller("c-1", False, ONE.sight, frozenset({Scope.GATEWAY_HALT}))
    assert (await halt(stage, by=machine)).status_code == 201  # whoever sees it first
    again = await halt(stage, by=TWO)
    assert (again.status_code, again.json()["code"]) == (409, 3002)
    for by in (korean, machine):
        refused = await asked(stage, "halt/lift", by=by)
        assert (refused.status_code, refused.json()["code"]) == (403, 8001)
    waiting = (await asked(stage, "halt/lift")).json()
    for by in (ONE, korean):
        refused = await approved(stage, waiting, by=by)
        assert (refused.status_code, refused.json()["code"]) == (403, 8001)
    assert (await approved(stage, waiting)).status_code == 200


async def test_an_approval_lifts_the_halt_it_was_asked_for_and_no_later_one(course: Course) -> None:
    stage = course.stage
    await halt(stage)
    early = (await asked(stage, "halt/lift")).json()
    assert (await approved(stage, early)).status_code == 200
    await halt(stage, "another reason")
    replayed = await approved(stage, early)
    assert (replayed.status_code, replayed.json()["code"]) == (409, 3003)
    assert (await asked(stage, "halt", "GET")).json()["reason"] == "another reason"


@pytest.mark.parametrize("reason", ["", " ", "a\nb", "x" * 501], ids=["empty", "blank", "two lines", "long"])
async def test_a_reason_that_is_none_halts_nothing(stage: Stage, reason: str) -> None:
    assert (await halt(stage, reason)).status_code in (400, 422)
    assert (await asked(stage, "halt", "GET")).json()["halted"] is False


async def test_once_it_is_halted_nothing_more_is_accepted_however_much_arrives(course: Course) -> None:
    stage = course.stage
    made = [proposal(course, 10 * n + 1, 10 * n + 10)[1] for n in range(60)]
    arriving = [asyncio.create_task(post(course, *message)) for message in made]
    await stage.until(lambda: stage.count("transfer"))
    assert (await halt(stage)).status_code == 201
    taken = await stage.count("transfer")
    answers = await asyncio.gather(*arriving)
    assert await stage.count("transfer") == taken == sum(a.status_code == 200 for a in answers)
    assert {a.status_code for a in answers} <= {200, 503}
    await decided(stage, "halt/lift")
    again = await asyncio.gather(*(post(course, *message) for message in made))
    assert {a.status_code for a in again} == {200}
    assert await stage.count("transfer") == len(made)
