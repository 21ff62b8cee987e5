"""Auditors of one registry find what concerns it, and of the rest not even whether it exists.

Method: played registries, MEC01 → KOR01, with sections of Myanmar and Korea behind INT01 and with JPN01 concerned in
nothing. What each should find is read from the tables by a statement of the test's own; searched, exported and followed
it is the same.
"""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import pytest_asyncio

from gateway import embedded
from gateway.domain.callers import Caller, Scope, Sight
from tests import recorded
from tests import stage as staging
from tests.integration.test_audit_search import found
from tests.integration.test_sandbox_play import uuid7
from tests.integration.test_sight import same
from tests.played import block, join, naming
from tests.stage import Stage

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: Whose auditors look.
AUDITORS = {
    "MEC01": Sight("MEC01"), "KOR01": Sight("KOR01", "KOR"), "JPN01": Sight("JPN01", "JPN"), "INT01": Sight("INT01"),
    "KOR99": Sight("KOR99", "KOR"), "MMR99": Sight("MMR99", "MMR"), "DEU01": Sight("DEU01", "DEU"),
    "all": Sight(None),
}  # fmt: skip
NEVER = "MEC01-01900000-0000-7000-8000-000000000000"


@dataclass
class Scene:
    """A stage with a transfer completed and one ended by a person, and an auditor of each registry."""

    stage: Stage
    series: str
    completed: str
    ended: str
    auditors: dict[str, httpx.AsyncClient]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(postgres: embedded.Server, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    async with staging.opened(postgres, tmp_path_factory.mktemp("sight")) as stage:
        course, international = await recorded.begun(stage)
        await join(stage, "JPN01", "party", "JPN")
        series = uuid7()
        await course.issue(block(1, 100, series=series))
        item = course.proposal(block(1, 10, series=series))
        completed = str(item["transfer"])
        await course.propose(item)
        await course.turn()
        await course.accept([completed])
        await course.turn()
        await course.release([completed], {completed: [naming(item["blocks"][0])]})
        await course.credit([completed])
        item = course.proposal(block(11, 20, series=series))
        ended = str(item["transfer"])
        await course.propose(item)
        people = {
            name: Caller(f"a-{name}", person=True, sight=sight, scopes=frozenset(Scope))
            for name, sight in AUDITORS.items()
        }
        auditors = {name: await stage.calling(caller) for name, caller in people.items()}
        body = {"reason": "the ministry's"}
        assert (await auditors["MEC01"].post(f"/api/v1/transfers/{ended}/end", json=body)).status_code == 200
        await course.void([ended])
        await course.source.say("transfer.propose", [{"kind": "propose"}])
        await course.turn()
        for sent in await international.told():
            await international.receipt(sent, "recorded")
        yield Scene(stage, series, completed, ended, auditors)


async def concerned(stage: Stage, code: str | None) -> list[int]:
    """The entries that concern the people bound to a code, newest first."""
    party = AUDITORS[code or "all"].party
    condition = (
        f"m.peer = '{code}' OR (e.kind = 'refused' AND convert_from(r.record, 'UTF8')::json ->> 'peer' = '{code}')"
        " OR e.id IN (SELECT s.entry_id FROM transfer_step s JOIN transfer_viewer v USING (transfer_id)"
        f"   WHERE v.viewer IN ('{code}', '{party}'))"
        " OR e.id IN (SELECT s.entry_id FROM transfer_event s JOIN transfer_viewer v USING (transfer_id)"
        f"   WHERE v.viewer IN ('{code}', '{party}'))"
        f" OR e.id IN (SELECT entry_id FROM action WHERE registry = '{code}')"
        f" OR m.message_id IN (SELECT message_id FROM action_record WHERE section = '{code}')"
        f" OR m.in_reply_to IN (SELECT message_id FROM action_record WHERE section = '{code}')"
    )
    rows = await stage.rows(
        "SELECT e.id FROM log_entry e JOIN log_record r ON r.entry_id = e.id LEFT JOIN message m ON m.entry_id = e.id"
        f" WHERE {condition if code is not None else 'true'} ORDER BY e.id DESC"
    )
    return [entry for (entry,) in rows]


@pytest.mark.parametrize("name", AUDITORS)
async def test_auditors_find_and_export_what_concerns_their_registry_and_nothing_else(scene: Scene, name: str) -> None:
    http, mine = scene.auditors[name], await concerned(scene.stage, AUDITORS[name].code)
    assert [entry["entry"] for entry in await found(http, limit=6)] == mine
    answer = await http.get("/api/v1/audit/export")
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [line["entry"] for line in lines[1:-1]] == mine[::-1]
    assert lines[-1]["end"]["count"] == len(mine)
    kinds = {"transfer.offer", "transfer.propose", "transfer.credited"}
    sides = {"MEC01", "KOR01", "MMR99", "all"}
    assert (kinds <= {line["kind"] for line in lines[1:-1]}) == (name in sides)


async def test_scene_is_what_the_tests_think(scene: Scene) -> None:
    assert await concerned(scene.stage, "DEU01") == []
    assert await concerned(scene.stage, "KOR99") != await concerned(scene.stage, "INT01")
    everything = await concerned(scene.stage, None)
    for name in AUDITORS:
        if name != "all":
            assert set(await concerned(scene.stage, name)) < set(everything)


@pytest.mark.parametrize("name", AUDITORS)
async def test_every_restriction_finds_within_what_is_seen(scene: Scene, name: str) -> None:
    http, mine = scene.auditors[name], set(await concerned(scene.stage, AUDITORS[name].code))
    for wanted in (
        {"unit": f"MEC01/{scene.series}/5"}, {"party": "KOR"}, {"link": "MEC01"}, {"link": "INT01"},
        {"type": "transfer.commit"}, {"code": 2001}, {"since": "2020-01-01T00:00:00Z"}, {"actor": "a-MEC01"},
    ):  # fmt: skip
        all_of_it = {entry["entry"] for entry in await found(scene.auditors["all"], **wanted)}
        got = {entry["entry"] for entry in await found(http, **wanted)}
        hidden = {entry["entry"] for entry in await found(http) if entry["record"] is None}
        expected = all_of_it & mine - (hidden if "actor" in wanted else set())
        if "unit" in wanted:  # what a transfer is seen with: answers between others are not about it
            assert got <= all_of_it & mine, (name, wanted)
        else:
            assert got == expected, (name, wanted)


async def test_who_decided_and_why_is_shown_to_the_people_of_the_source(scene: Scene) -> None:
    shown = {}
    for name in ("MEC01", "KOR01", "all"):
        [entry] = await found(scene.auditors[name], transfer=scene.ended, type="transfer.operator-ended")
        shown[name] = (entry["record"] is not None, entry["salt"] is not None)
    assert shown == {"MEC01": (True, True), "KOR01": (False, False), "all": (True, True)}
    assert await found(scene.auditors["KOR01"], actor="a-MEC01") == []
    one = await scene.auditors["KOR01"].get("/api/v1/audit/entries", params={"actor": "a-MEC01", "limit": 1})
    assert (one.json()["entries"], one.json()["next"]) == ([], None)
    assert len(await found(scene.auditors["MEC01"], actor="a-MEC01")) == 1


async def test_what_is_not_seen_is_refused_as_what_is_not_there(scene: Scene) -> None:
    for name in ("JPN01", "DEU01", "KOR99", "INT01"):
        http = scene.auditors[name]
        for path in ("entries", "export"):
            unseen = await http.get(f"/api/v1/audit/{path}?transfer={scene.completed}")
            assert (unseen.status_code, unseen.json()["code"]) == (403, 8001), (name, path)
            assert same(unseen, await http.get(f"/api/v1/audit/{path}?transfer={NEVER}"))
    missing = await scene.auditors["all"].get(f"/api/v1/audit/entries?transfer={NEVER}")
    assert (missing.status_code, missing.json()["code"]) == (404, 3001)
    for name in ("JPN01", "DEU01"):
        http = scene.auditors[name]
        unseen = await http.get(f"/api/v1/audit/provenance?unit=MEC01/{scene.series}/5")
        assert (unseen.status_code, unseen.json()["code"]) == (403, 8001)
        assert same(unseen, await http.get("/api/v1/audit/provenance?unit=MEC01/unknown/5"))
        assert same(unseen, await http.get("/api/v1/audit/provenance?unit=CA0001-MMR99-MMR-999-2021"))


async def test_each_is_told_the_steps_of_a_unit_that_concern_them(scene: Scene) -> None:
    told: dict[str, set[str]] = {}
    for name in ("MEC01", "KOR01", "KOR99", "MMR99", "all"):
        answer = await scene.auditors[name].get(f"/api/v1/audit/provenance?unit=MEC01/{scene.series}/5")
        assert answer.status_code == 200, (name, answer.text)
        mine = set(await concerned(scene.stage, AUDITORS[name].code))
        found_steps: list[dict[str, Any]] = answer.json()["steps"]
        told[name] = {step["what"] for step in found_steps}
        entries = {s["entry"] for s in found_steps if s["what"] not in ("authorisation", "record")}
        assert entries <= mine, name
    assert told == {
        "MEC01": {"authorisation", "issuance", "transfer", "first transfer"},
        "KOR01": {"transfer", "first transfer"},
        "KOR99": {"record"},
        "MMR99": {"authorisation", "transfer", "first transfer", "record"},
        "all": {"authorisation", "issuance", "transfer", "first transfer", "record"},
    }
