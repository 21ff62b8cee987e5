"""The log as auditors search it: every restriction, pages that stay as they are, cursors, and what is refused.

Method: played registries (MEC01 → KOR01, with INT01 and JPN01) and one course of transfers for all tests of the file;
what a restriction should find is read from the tables by statements of the test's own.
"""

import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import httpx
import pytest
import pytest_asyncio

from gateway import embedded
from gateway.audit import log
from gateway.domain.callers import Caller, Scope, Sight
from tests import recorded
from tests import stage as staging
from tests.integration.test_sandbox_play import uuid7
from tests.played import Course, block, join, naming
from tests.stage import Stage

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass
class Scene:
    """A course with one transfer completed and first transferred, and one refused for its code."""

    stage: Stage
    course: Course
    series: str
    completed: str
    refused: str
    person: Caller


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(postgres: embedded.Server, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    async with staging.opened(postgres, tmp_path_factory.mktemp("audit")) as stage:
        course, _ = await recorded.begun(stage)
        await join(stage, "JPN01", "party", "JPN")
        series = uuid7()
        await course.issue(block(1, 100, series=series))
        units = block(11, 20, series=series)
        completed = str(course.proposal(units)["transfer"])
        await course.propose(course.proposal(units, transfer=completed))
        await course.turn()
        await course.accept([completed])
        await course.turn()
        await course.release([completed], {completed: [naming(units)]})
        await course.credit([completed])
        unknown = course.proposal(block(1, 5, series=uuid7()))
        refused = str(unknown["transfer"])
        await course.propose(unknown)
        await course.turn()
        await course.void([refused])
        person = Caller("auditing", person=True, sight=Sight(None), scopes=frozenset(Scope))
        asking = await stage.calling(person)
        assert (await asking.post("/api/v1/links/JPN01/suspend")).status_code == 202
        assert await stage.states([completed, refused]) == ["completed", "refused"]
        yield Scene(stage, course, series, completed, refused, person)
        assert await stage.doctor() == []


async def found(http: httpx.AsyncClient, **wanted: Any) -> list[dict[str, Any]]:
    """Everything a search finds, page by page."""
    entries: list[dict[str, Any]] = []
    cursor = None
    while True:
        more = {"cursor": cursor} if cursor else {}
        answer = await http.get("/api/v1/audit/entries", params=wanted | more)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        entries += page["entries"]
        cursor = page["next"]
        if cursor is None:
            return entries


async def ids(http: httpx.AsyncClient, **wanted: Any) -> list[int]:
    return [entry["entry"] for entry in await found(http, **wanted)]


async def expected(stage: Stage, condition: str) -> list[int]:
    """The entries ``e`` with message ``m`` of which a condition holds, newest first."""
    rows = await stage.rows(
        f"SELECT e.id FROM log_entry e LEFT JOIN message m ON m.entry_id = e.id WHERE {condition} ORDER BY e.id DESC"
    )
    return [entry for (entry,) in rows]


async def test_who_sees_everything_finds_every_entry_with_the_record_its_leaf_commits_to(scene: Scene) -> None:
    entries = await found(scene.stage.api, limit=7)
    assert [entry["entry"] for entry in entries] == await expected(scene.stage, "true")
    for entry in entries:
        padded = [value + "=" * (-len(value) % 4) for value in (entry["salt"], json.loads(entry["leaf"])["record"])]
        salt, commitment = (base64.urlsafe_b64decode(value) for value in padded)
        assert sha256(salt + entry["record"].encode()).digest() == commitment
        hashed = sha256(b"\0" + entry["leaf"].encode()).digest()
        assert entry["leaf_hash"] == base64.urlsafe_b64encode(hashed).rstrip(b"=").decode()


@pytest.mark.parametrize(
    ("wanted", "condition"),
    [
        ({"type": "transfer.propose"}, "e.kind = 'transfer.propose'"),
        ({"link": "KOR01"}, "m.peer = 'KOR01'"),
        ({"link": "MEC01", "type": "receipt"}, "m.peer = 'MEC01' AND e.kind = 'receipt'"),
        ({"type": "nothing.known"}, "false"),
        ({"link": "DEU01"}, "false"),
    ],
)
async def test_entries_are_found_by_type_and_link(scene: Scene, wanted: dict[str, str], condition: str) -> None:
    assert await ids(scene.stage.api, limit=3, **wanted) == await expected(scene.stage, condition)


async def test_entries_of_a_transfer_are_its_messages_their_answers_its_decisions_and_its_records(scene: Scene) -> None:
    for transfer in (scene.completed, scene.refused):
        said = f"SELECT entry_id FROM transfer_step WHERE transfer_id = '{transfer}'"
        answers = (
            "SELECT r.entry_id FROM message r JOIN message q ON q.message_id = r.in_reply_to"
            f" WHERE r.direction = 'out' AND q.direction = 'in' AND q.entry_id IN ({said})"
        )
        events = f"SELECT entry_id FROM transfer_event WHERE transfer_id = '{transfer}'"
        told = (
            "SELECT s.entry_id FROM action_record r JOIN message s ON s.message_id = r.message_id"
            f" WHERE r.cause = '{transfer}'"
        )
        everything = await expected(scene.stage, f"e.id IN ({said} UNION {answers} UNION {events} UNION {told})")
        assert await ids(scene.stage.api, transfer=transfer, limit=4) == everything
        proposals = await ids(scene.stage.api, transfer=transfer, type="transfer.propose")
        assert len(proposals) == 1 and set(proposals) < set(everything)


async def test_any_serial_inside_any_block_finds_what_covered_it(scene: Scene) -> None:
    completed = set(await ids(scene.stage.api, transfer=scene.completed))
    issued = set(await expected(scene.stage, "e.kind = 'action.notice'"))
    recorded = set(await expected(scene.stage, "e.kind = 'action.record'"))
    for serial in (11, 15, 20):
        got = set(await ids(scene.stage.api, unit=f"MEC01/{scene.series}/{serial}"))
        assert completed <= got and got & issued and not got - completed - issued - recorded
        itmo = f"CA0001-MMR99-MMR-{serial}-2021"
        assert set(await ids(scene.stage.api, unit=itmo)) == got
    for serial in (10, 21, 100):
        got = set(await ids(scene.stage.api, unit=f"MEC01/{scene.series}/{serial}"))
        assert got and got <= issued
    assert await ids(scene.stage.api, unit=f"MEC01/{scene.series}/101") == []
    assert await ids(scene.stage.api, unit="MEC01/unknown/1") == []
    both = await ids(scene.stage.api, unit=f"MEC01/{scene.series}/15", transfer=scene.completed)
    assert set(both) == completed
    assert await ids(scene.stage.api, unit=f"MEC01/{scene.series}/15", transfer=scene.refused) == []


async def test_entries_are_found_by_party(scene: Scene) -> None:
    korea = await ids(scene.stage.api, party="KOR", limit=5)
    assert set(await expected(scene.stage, "m.peer = 'KOR01'")) <= set(korea)
    assert set(await ids(scene.stage.api, transfer=scene.completed, type="transfer.propose")) <= set(korea)
    myanmar = set(await ids(scene.stage.api, party="MMR"))
    assert set(await expected(scene.stage, "e.kind = 'action.notice'")) <= myanmar
    assert set(await expected(scene.stage, "m.peer = 'JPN01'")) == set(await ids(scene.stage.api, party="JPN"))
    assert await ids(scene.stage.api, party="DEU") == []


async def test_entries_are_found_by_the_code_that_was_given(scene: Scene) -> None:
    [(findings,)] = await scene.stage.rows(f"SELECT findings FROM transfer WHERE id = '{scene.refused}'")
    code = findings[0]["code"]
    got = set(await ids(scene.stage.api, code=code, limit=2))
    decided = f"SELECT entry_id FROM transfer_event WHERE transfer_id = '{scene.refused}' AND state = 'ending'"
    assert set(await expected(scene.stage, f"e.id IN ({decided})")) <= got
    assert got <= set(await ids(scene.stage.api, transfer=scene.refused)) | set(
        await expected(scene.stage, "e.kind = 'receipt'")
    )
    assert await ids(scene.stage.api, code=9001) == []
    # Said in a receipt alone: a notice that the book does not take.
    again = scene.course.action("use", party="MMR", account="100-1", to_account="200-1")
    answer = await scene.course.source.say("action.notice", [again | {"blocks": [block(1, 2, series=uuid7())]}])
    [item] = answer.items
    [said] = {finding["code"] for finding in item["findings"]}
    newest = await expected(scene.stage, "e.kind = 'receipt'")
    assert newest[0] in await ids(scene.stage.api, code=said)


async def test_a_message_that_was_refused_is_found_by_its_code_and_its_link(scene: Scene) -> None:
    answer = await scene.course.source.say("transfer.propose", [{"kind": "propose"}])
    assert answer.type == "refusal"
    code = answer.payload["body"]["findings"][0]["code"]
    refusals = await expected(scene.stage, "e.kind = 'refusal'")
    assert refusals[0] in await ids(scene.stage.api, code=code)
    assert refusals[0] in await ids(scene.stage.api, code=code, link="MEC01")
    assert refusals[0] not in await ids(scene.stage.api, code=code, link="KOR01")


async def test_entries_are_found_by_time(scene: Scene) -> None:
    [(first, last)] = await scene.stage.rows("SELECT min(at), max(at) FROM log_entry")
    middle = first + (last - first) / 2
    later = await ids(scene.stage.api, since=middle.isoformat())
    earlier = await ids(scene.stage.api, until=middle.isoformat())
    assert later == await expected(scene.stage, f"e.at >= '{middle.isoformat()}'")
    assert later + earlier == await expected(scene.stage, "true") and later and earlier
    assert await ids(scene.stage.api, until=first.isoformat()) == []


async def test_decisions_are_found_by_who_made_them(scene: Scene) -> None:
    got = await found(scene.stage.api, actor=scene.person.id)
    assert [entry["kind"] for entry in got] == ["approval.requested"]
    assert json.loads(got[0]["record"])["person"] == scene.person.id
    assert await found(scene.stage.api, actor="nobody") == []


async def test_restrictions_narrow_each_other(scene: Scene) -> None:
    wanted = {"transfer": scene.completed, "party": "KOR", "link": "KOR01", "type": "transfer.answer"}
    wanted |= {"unit": f"MEC01/{scene.series}/11", "since": "2020-01-01T00:00:00Z"}
    [entry] = await found(scene.stage.api, **wanted)
    assert (entry["kind"], entry["message"]["peer"]) == ("transfer.answer", "KOR01")
    assert await found(scene.stage.api, **(wanted | {"link": "MEC01"})) == []


async def test_pages_stay_as_they_are_while_new_entries_come(scene: Scene) -> None:
    before = await expected(scene.stage, "true")
    turned: list[int] = []
    cursor = None
    while True:
        params = {"limit": 9} | ({"cursor": cursor} if cursor else {})
        page = (await scene.stage.api.get("/api/v1/audit/entries", params=params)).json()
        turned += [entry["entry"] for entry in page["entries"]]
        cursor = page["next"]
        if cursor is None:
            break
        await scene.course.issue(block(1, 1, series=uuid7()))
    assert turned == before
    assert len(await expected(scene.stage, "true")) > len(before)


async def test_a_cursor_is_good_for_its_search_and_its_caller_only(scene: Scene) -> None:
    api, wanted = scene.stage.api, {"type": "receipt", "limit": 1}
    first = (await api.get("/api/v1/audit/entries", params=wanted)).json()
    cursor = first["next"]
    korean = await scene.stage.calling(somebody("KOR01"))
    spoiled = [cursor[:-1], cursor + "A", cursor[::-1], "", ".", "x" * 400, f"{cursor}=", "w6Q"]
    tries = [(api, wanted | {"cursor": bad}) for bad in spoiled]
    tries += [(api, {"type": "refusal", "cursor": cursor}), (korean, wanted | {"cursor": cursor})]
    for http, params in tries:
        answer = await http.get("/api/v1/audit/entries", params=params)
        assert (answer.status_code, answer.json()["code"]) == (400, 2001), (params, answer.text)
    good = await api.get("/api/v1/audit/entries", params=wanted | {"cursor": cursor})
    assert good.json()["entries"][0]["entry"] < first["entries"][0]["entry"]


@pytest.mark.parametrize(
    ("params", "status", "code"),
    [
        ("transfer=x", 400, 2003), ("transfer=MEC01-01900000-0000-7000-8000-000000000000", 404, 3001),
        ("unit=MEC01/A", 400, 2006), ("unit=MEC01//1", 400, 2006), ("unit=MEC01/A/0", 400, 2006),
        ("unit=MEC01/A/9007199254740992", 400, 2006), ("unit=MEC01/A/-1", 400, 2006),
        ("unit=MEC01/A/%C2%B2", 400, 2006), ("unit=MEC01/%00/1", 400, 2006), ("unit=MEC01/%C3%A4/1", 400, 2006),
        ("unit=mec/A/1", 400, 2011), ("unit=CA0001-MMR99-MMR-0-2021", 400, 2006), ("unit=MEC01/A/B/1", 400, 2006),
        ("party=XXX", 400, 2010), ("link=x", 400, 2011), ("type=%27", 422, 2001), ("code=1", 422, 2001),
        ("code=x", 422, 2001), ("since=2026-01-01", 422, 2001), ("since=2026-01-01T00:00:00", 422, 2001),
        ("since=2026-01-02T00:00:00Z&until=2026-01-02T00:00:00Z", 400, 2014), ("actor=%00", 422, 2001),
        ("limit=0", 422, 2001), ("limit=501", 422, 2001), (f"cursor={'x' * 401}", 422, 2001),
        ("unit=%00/A/1", 400, 2011), ("cursor=%00", 400, 2001), ("party=%00", 400, 2010), ("link=%00", 400, 2011),
    ],
)  # fmt: skip
async def test_what_cannot_be_searched_for_is_refused_by_its_code(
    scene: Scene, params: str, status: int, code: int
) -> None:
    for path in ("entries", "export") if "limit" not in params and "cursor" not in params else ("entries",):
        answer = await scene.stage.api.get(f"/api/v1/audit/{path}?{params}")
        assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
        assert answer.headers["content-type"] == "application/problem+json"


async def test_results_say_at_which_checkpoint_and_leaf_they_were_taken(scene: Scene) -> None:
    """Newly appended: at no leaf yet, and at the checkpoint before; integrated: at its leaf, and at the new one."""
    await scene.stage.transparency.turn()
    [before] = await scene.stage.rows("SELECT size, note FROM log_checkpoint ORDER BY size DESC LIMIT 1")
    draft = log.draft("test", scene.stage.clock(), {"nr": 1})
    [entry] = await scene.stage.run(lambda tx: log.append(tx, [draft]))
    seen = (await scene.stage.api.get("/api/v1/audit/entries?limit=1")).json()
    assert (seen["checkpoint"]["size"], seen["checkpoint"]["note"]) == before
    assert (seen["entries"][0]["leaf_index"], await expected(scene.stage, f"e.id = {entry}")) == (None, [entry])
    await scene.stage.transparency.turn()
    again = (await scene.stage.api.get("/api/v1/audit/entries?limit=1")).json()
    [(size, note)] = await scene.stage.rows("SELECT size, note FROM log_checkpoint ORDER BY size DESC LIMIT 1")
    assert again["checkpoint"] == {"size": size, "root": note.split("\n")[2], "note": note}
    [(leaf,)] = await scene.stage.rows(f"SELECT leaf_index FROM log_leaf WHERE entry_id = {entry}")
    assert again["entries"][0]["leaf_index"] == leaf == size - 1


def somebody(code: str) -> Caller:
    sight = Sight(code, code[:3] if code not in ("MEC01", "INT01") else None)
    return Caller(f"audit-{code}", person=True, sight=sight, scopes=frozenset(Scope))


async def test_the_time_of_an_entry_is_when_it_was_made(scene: Scene) -> None:
    [entry] = (await scene.stage.api.get("/api/v1/audit/entries?limit=1")).json()["entries"]
    assert abs(datetime.fromisoformat(entry["at"]) - datetime.now(UTC)) < timedelta(hours=1)
