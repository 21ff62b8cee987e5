"""What persons may do: end a transfer before its commit, and two of them let one in ``attention`` ask again."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from gateway.domain.callers import Caller, Scope, Sight
from tests.deciding import TWO, approved, asked
from tests.integration.test_alarms import at
from tests.integration.test_answers import receipt, sent
from tests.integration.test_sandbox_play import uuid7
from tests.played import Course
from tests.recorded import International
from tests.stage import Stage


@pytest.fixture
async def course(stage: Stage) -> AsyncIterator[Course]:
    yield await Course.begun(stage)
    assert await stage.doctor() == []


async def act(stage: Stage, transfer: str, what: str, **body: Any) -> httpx.Response:
    return await stage.api.post(f"/api/v1/transfers/{transfer}/{what}", json=body)


async def in_attention(course: Course) -> str:
    """A transfer whose source says it does not know it."""
    transfer = await at(course, "committing")
    commit = await sent(course.stage, "transfer.commit")
    await course.stage.gateway.inbox.absorb(receipt(course.source, commit, transfer, "unknown-here"), commit)
    assert await course.stage.states([transfer]) == ["attention"]
    return transfer


@pytest.mark.parametrize("state", ["proposed", "checked", "accepted"])
async def test_an_operator_ends_what_has_no_commit_and_the_source_confirms(course: Course, state: str) -> None:
    transfer = await at(course, state)
    done = await act(course.stage, transfer, "end", reason="asked for by the ministry")
    assert (done.status_code, done.json()) == (200, {"transfer": transfer, "state": "ending"})
    [(cancel,)] = await course.stage.rows("SELECT item FROM transfer_step WHERE step = 'cancel'")
    assert '"code":5901' in cancel
    assert "asked for by the ministry" in cancel
    await course.void([transfer])
    assert await course.stage.states([transfer]) == ["cancelled"]
    [(record,)] = await course.stage.rows(
        "SELECT convert_from(record, 'UTF8') FROM log_record JOIN log_entry ON id = entry_id WHERE kind LIKE '%ended'"
    )
    assert json.loads(record)["person"] == "root"


@pytest.mark.parametrize(("state", "code"), [("committing", 3002), ("released", 3002), ("completed", 3003)])
async def test_nobody_ends_what_has_a_commit(course: Course, state: str, code: int) -> None:
    transfer = await at(course, state)
    before = await course.stage.rows("SELECT * FROM transfer")
    refused = await act(course.stage, transfer, "end", reason="too late")
    assert (refused.status_code, refused.json()["code"]) == (409, code)
    assert await course.stage.rows("SELECT * FROM transfer") == before


async def test_two_persons_let_a_transfer_ask_again_with_the_same_bytes(course: Course) -> None:
    transfer = await in_attention(course)
    [before] = await course.stage.rows("SELECT commit_id, version FROM transfer")
    first = await asked(course.stage, f"transfers/{transfer}/resume")
    assert (first.status_code, first.json()["state"]) == (202, "open")
    again = await asked(course.stage, f"transfers/{transfer}/resume", by=TWO)  # asks for it, and approves nothing
    assert again.json() == first.json()
    assert await course.stage.states([transfer]) == ["attention"]
    resumed = (await approved(course.stage, first.json())).json()
    assert resumed["result"] == {"transfer": transfer, "state": "committing"}
    [after] = await course.stage.rows("SELECT commit_id, version FROM transfer")
    assert (after[0], after[1]) == (before[0], before[1] + 1)
    assert await course.stage.count("message WHERE type = 'transfer.commit'") == 1
    await course.release([transfer])
    await course.credit([transfer])
    assert await course.stage.states([transfer]) == ["completed"]


async def test_an_approval_counts_for_one_stay_in_attention_only(course: Course) -> None:
    transfer = await in_attention(course)
    early = (await asked(course.stage, f"transfers/{transfer}/resume")).json()
    [(version,)] = await course.stage.rows("SELECT version FROM transfer")
    assert (await approved(course.stage, early)).status_code == 200
    commit = await sent(course.stage, "transfer.commit")
    await course.stage.gateway.inbox.absorb(receipt(course.source, commit, transfer, "unknown-here"), commit)
    assert await course.stage.states([transfer]) == ["attention"]
    again = await approved(course.stage, early)
    assert (again.status_code, again.json()["code"]) == (409, 3003)
    late = (await asked(course.stage, f"transfers/{transfer}/resume")).json()
    assert late["id"] != early["id"]
    assert json.loads(late["canonical"])["parameters"] == {"transfer": transfer, "version": version + 2}


async def test_an_approval_of_what_has_moved_on_is_void(course: Course) -> None:
    transfer = await in_attention(course)
    waiting = (await asked(course.stage, f"transfers/{transfer}/resume")).json()
    await course.void([transfer])  # the registry's own word leads out of it meanwhile
    late = await approved(course.stage, waiting)
    assert (late.status_code, late.json()["code"]) == (409, 3002)
    assert "the transfer is cancelled" in late.json()["detail"]
    shown = (await course.stage.api.get(f"/api/v1/approvals/{waiting['id']}")).json()
    assert (shown["state"], shown["decider"], shown["result"]) == ("void", TWO.id, None)
    assert await course.stage.states([transfer]) == ["cancelled"]


@pytest.mark.parametrize(("code", "other"), [("INT01", "MMR99"), ("MMR99", "INT01")])
async def test_of_a_section_its_own_people_or_its_keepers_decide_among_themselves(
    stage: Stage, code: str, other: str
) -> None:
    course = await Course.begun(stage)
    await International.joined(stage)
    transfer = await in_attention(course)
    await stage.rows(f"UPDATE transfer SET source = 'INT01', transferring_registry = 'MMR99' WHERE id = '{transfer}'")
    one, two = (Caller(f"{code}-{n}", True, Sight(code), frozenset(Scope)) for n in (1, 2))
    foreign = Caller(other, True, Sight(other), frozenset(Scope))
    waiting = (await asked(stage, f"transfers/{transfer}/resume", by=one)).json()
    assert (await asked(stage, f"approvals/{waiting['id']}", "GET", by=one)).json() == waiting
    assert (await approved(stage, waiting, by=foreign)).status_code == 403
    assert (await approved(stage, waiting, by=two)).json()["state"] == "approved"
    assert await stage.states([transfer]) == ["committing"]


async def test_only_what_waits_for_persons_is_resumed(course: Course) -> None:
    transfer = await at(course, "committing")
    refused = await asked(course.stage, f"transfers/{transfer}/resume")
    assert (refused.status_code, refused.json()["code"]) == (409, 3002)
    assert await course.stage.count("approval WHERE kind = 'transfer.resume'") == 0


@pytest.mark.parametrize(
    ("what", "body", "status", "code"),
    [
        ("end", {"reason": "x\ny"}, 400, 2014),
        ("end", {"reason": " "}, 400, 2014),
        ("end", {}, 422, 2001),
        ("end", {"reason": "x" * 501}, 422, 2001),
        ("end", {"person": "in another's name", "reason": "x"}, 422, 2001),
    ],
)
async def test_a_name_or_a_reason_that_is_none_is_refused(
    course: Course, what: str, body: dict[str, Any], status: int, code: int
) -> None:
    refused = await act(course.stage, f"MEC01-{uuid7()}", what, **body)
    assert (refused.status_code, refused.json()["code"]) == (status, code)


async def test_a_transfer_that_is_not_there_is_not_found(course: Course) -> None:
    missing = await asked(course.stage, f"transfers/MEC01-{uuid7()}/resume")
    assert (missing.status_code, missing.json()["code"]) == (404, 3001)
    assert (await asked(course.stage, "transfers/MEC01-x/resume")).status_code == 400
