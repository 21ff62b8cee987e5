"""What persons may do: end a transfer before its commit, and two of them let one in ``attention`` ask again."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.integration.test_alarms import at
from tests.integration.test_answers import receipt, sent
from tests.integration.test_sandbox_play import uuid7
from tests.played import Course
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
    assert (done.status_code, done.json()) == (200, {"transfer": transfer, "state": "ending", "awaited": 0})
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
    assert (await act(course.stage, transfer, "resume", person="one")).json()["awaited"] == 1
    assert (await act(course.stage, transfer, "resume", person="one")).json()["awaited"] == 1
    assert await course.stage.states([transfer]) == ["attention"]
    resumed = (await act(course.stage, transfer, "resume", person="two")).json()
    assert resumed == {"transfer": transfer, "state": "committing", "awaited": 0}
    [after] = await course.stage.rows("SELECT commit_id, version FROM transfer")
    assert (after[0], after[1]) == (before[0], before[1] + 1)
    assert await course.stage.count("message WHERE type = 'transfer.commit'") == 1
    await course.release([transfer])
    await course.credit([transfer])
    assert await course.stage.states([transfer]) == ["completed"]


async def test_an_agreement_counts_for_one_stay_in_attention_only(course: Course) -> None:
    transfer = await in_attention(course)
    await act(course.stage, transfer, "resume", person="one")
    await act(course.stage, transfer, "resume", person="two")
    commit = await sent(course.stage, "transfer.commit")
    again = receipt(course.source, commit, transfer, "unknown-here")
    await course.stage.gateway.inbox.absorb(again, commit)
    assert await course.stage.states([transfer]) == ["attention"]
    assert (await act(course.stage, transfer, "resume", person="two")).json()["awaited"] == 1


async def test_only_what_waits_for_persons_is_resumed(course: Course) -> None:
    transfer = await at(course, "committing")
    refused = await act(course.stage, transfer, "resume", person="one")
    assert (refused.status_code, refused.json()["code"]) == (409, 3002)
    assert await course.stage.count("resumption") == 0


@pytest.mark.parametrize(
    ("what", "body", "status", "code"),
    [
        ("end", {"reason": "x\ny"}, 400, 2014),
        ("end", {"reason": " "}, 400, 2014),
        ("end", {}, 422, 2001),
        ("end", {"reason": "x" * 501}, 422, 2001),
        ("end", {"person": "in another's name", "reason": "x"}, 422, 2001),
        ("resume", {"person": ""}, 400, 2014),
        ("resume", {"person": 1}, 422, 2001),
        ("resume", {"person": "x", "more": 1}, 422, 2001),
        ("resume", {"person": "\u202e"}, 400, 2014),
    ],
)
async def test_a_name_or_a_reason_that_is_none_is_refused(
    course: Course, what: str, body: dict[str, Any], status: int, code: int
) -> None:
    refused = await act(course.stage, f"MEC01-{uuid7()}", what, **body)
    assert (refused.status_code, refused.json()["code"]) == (status, code)


async def test_a_transfer_that_is_not_there_is_not_found(course: Course) -> None:
    missing = await act(course.stage, f"MEC01-{uuid7()}", "resume", person="one")
    assert (missing.status_code, missing.json()["code"]) == (404, 3001)
    assert (await act(course.stage, "MEC01-x", "resume", person="one")).status_code == 400
