"""What a link may be used for, and how much: capabilities, rate, blocks a day, transfer window; and how links end."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import httpx
import pytest

from gateway.access import store as access
from gateway.domain.callers import Caller, Scope, Sight
from gateway.links import commands as links
from gateway.links.lifecycle import State, Window
from gateway.links.pace import LOOK_SECONDS
from gateway.links.store import Link
from tests.deciding import approved, asked, decided
from tests.integration.test_bad_links import registered
from tests.integration.test_sandbox_play import Party, text
from tests.played import NOWHERE, Course, Played, block, join
from tests.refusals import Verdict, counts, effects, refused, verdicts
from tests.stage import Stage


@pytest.fixture
async def course(stage: Stage) -> AsyncIterator[Course]:
    begun = await Course.begun(stage)
    await begun.issue(block(1, 1_000))
    yield begun
    assert await stage.doctor() == []


async def changed(stage: Stage, code: str, **fields: Any) -> None:
    await decided(stage, f"links/{code}", "PATCH", **fields)


async def findings(stage: Stage, transfer: str) -> list[dict[str, Any]]:
    return list((await stage.transfer(transfer))["transfer"]["findings"])


async def test_a_link_without_transfers_out_proposes_nothing_and_other_words_pass(course: Course) -> None:
    stage = course.stage
    earlier = course.proposal(block(1, 10))
    await course.propose(earlier)
    await changed(stage, "MEC01", capabilities=["view", "reconcile"])
    later = course.source.compose("transfer.propose", [text(course.proposal(block(11, 20)))])
    answer = await refused(course.source, *later, 1010)
    assert "seq" not in answer.payload  # no verdict: it may become allowed
    await course.turn()
    await course.accept([str(earlier["transfer"])])  # what was begun goes on
    await course.turn()
    assert await stage.states([str(earlier["transfer"])]) == ["committing"]
    ends = {f"{side}ing": {"registry": r, "party": p, "account": "100-1"}
            for side, r, p in (("transferr", "MEC01", "MMR"), ("acquir", "KOR01", "KOR"))}  # fmt: skip
    wish = {**ends, "purpose": "NDC", "quantity": 1}
    request = await stage.api.post("/api/v1/transfers", json=wish, headers={"Idempotency-Key": "x"})
    assert (request.status_code, request.json()["code"]) == (404, 4001)
    await changed(stage, "MEC01", capabilities=["view", "transfer_out", "reconcile"])
    assert (await course.source.post(*later)).type == "receipt"


async def test_a_transfer_over_a_link_without_transfers_in_is_refused(course: Course) -> None:
    stage = course.stage
    await changed(stage, "KOR01", capabilities=["view", "transfer_out", "reconcile"])
    item = course.proposal(block(1, 10))
    await course.propose(item)
    await course.turn()
    [found] = await findings(stage, str(item["transfer"]))
    assert (found["code"], found["detail"]) == (4002, "the link with KOR01 is not to be used for transfers in")


async def test_records_wait_for_a_link_that_takes_them(course: Course) -> None:
    stage = course.stage
    international = await join(stage, "INT01", "international", sections={"MMR99": "MMR"})
    await changed(stage, international.code, capabilities=["view", "transfer_in", "transfer_out", "reconcile"])
    await course.use(block(1, 5))
    await stage.gateway.relay.decisions.record()
    assert await stage.rows("SELECT state FROM action_record") == [("waiting",)]
    await changed(stage, international.code, capabilities=["view", "record"])
    await stage.gateway.relay.decisions.record()
    assert await stage.rows("SELECT state FROM action_record") == [("sent",)]


async def test_a_sender_beyond_its_rate_is_told_to_come_again_and_others_are_not(course: Course) -> None:
    stage = course.stage
    await changed(stage, "MEC01", messages_per_second=2)

    async def ask(who: Played) -> httpx.Response:
        kind, body = who.compose("time.query", [], body={})
        url = f"{stage.link_url}/messages"
        return await stage.http.post(url, content=body, headers={"content-type": kind})

    async def several() -> list[httpx.Response]:
        return await asyncio.gather(*(ask(course.source) for _ in range(20)))

    async def limited() -> bool:  # the rate is looked up again after some seconds
        return any(answer.status_code == 503 for answer in await several())

    await stage.until(limited)
    before, entries = await counts(stage), await stage.count("log_entry")
    over = [answer for answer in await several() if answer.status_code == 503]
    assert len(over) >= 10
    assert {(a.json()["code"], a.headers["retry-after"]) for a in over} == {(9003, "1")}
    assert effects(before, await counts(stage)) == {}
    assert await stage.count("log_entry") == entries + 2 * (20 - len(over))  # each that was heard, and its answer
    assert {(await ask(course.acquirer)).status_code for _ in range(10)} == {200}


async def test_proposals_together_beyond_the_rate_are_taken_when_they_come_again(course: Course) -> None:
    stage = course.stage
    await stage.rows("UPDATE link SET messages_per_second = 5 WHERE code = 'MEC01'")
    await asyncio.sleep(LOOK_SECONDS)  # the rate is looked up again with the next message
    items = [course.proposal(block(10 * n + 1, 10 * n + 10)) for n in range(40)]
    made = [course.source.compose("transfer.propose", [text(item)]) for item in items]

    async def insist(kind: str, body: bytes) -> int:
        for times in range(1, 100):
            url = f"{stage.link_url}/messages"
            answer = await stage.http.post(url, content=body, headers={"content-type": kind})
            if answer.status_code == 200:
                return times
            assert (answer.status_code, answer.json()["code"]) == (503, 9003)
            await asyncio.sleep(0.2)
        raise AssertionError("never taken")

    times = await asyncio.gather(*(insist(*message) for message in made))
    assert max(times) > 1
    assert await stage.states([str(item["transfer"]) for item in items]) == ["proposed"] * 40


async def test_what_is_applied_apart_after_it_failed_together_has_taken_one_token(
    course: Course, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, inbox = course.stage, course.stage.gateway.inbox
    taken: list[str] = []

    async def admits(_tx: object, link: str) -> bool:
        taken.append(link)
        return True

    async def fails(*_: object) -> None:
        raise RuntimeError("together, this does not work")

    monkeypatch.setattr(inbox, "_admits", admits)
    monkeypatch.setattr(inbox._grouped["transfer.propose"], "_together", partial(inbox._receive_together, fails))
    items = [course.proposal(block(10 * n + 1, 10 * n + 10)) for n in range(12)]
    await asyncio.gather(*(course.propose(item) for item in items))
    assert await stage.states([str(item["transfer"]) for item in items]) == ["proposed"] * 12
    assert taken == ["MEC01"] * 12


async def test_blocks_beyond_a_day_are_refused_each_alone_and_the_next_day_begins_anew(course: Course) -> None:
    stage = course.stage
    await changed(stage, "MEC01", blocks_per_day=3)
    items = [course.proposal(block(10 * n + 1, 10 * n + 5), block(10 * n + 6, 10 * n + 10)) for n in range(3)]
    single = course.proposal(block(91, 95))
    assert [v.codes for v in verdicts(await course.propose(items[0], items[1], single))] == [[], [4021], []]
    assert [v.codes for v in verdicts(await course.propose(items[2]))] == [[4021]]
    assert await stage.states([str(i["transfer"]) for i in items]) == ["proposed", "ending", "ending"]
    await stage.rows("UPDATE link_day SET day = day - 1")
    later = course.proposal(block(96, 97), block(98, 99))
    assert verdicts(await course.propose(later)) == [Verdict("proposed", [])]
    assert await stage.rows("SELECT blocks FROM link_day ORDER BY day") == [(3,), (2,)]


async def test_proposals_at_one_moment_do_not_pass_the_limit_of_the_day_together(course: Course) -> None:
    stage = course.stage
    await changed(stage, "MEC01", blocks_per_day=5)
    items = [course.proposal(block(10 * n + 1, 10 * n + 10)) for n in range(20)]
    await asyncio.gather(*(course.propose(item) for item in items))
    states = await stage.states([str(i["transfer"]) for i in items])
    assert (states.count("proposed"), states.count("ending")) == (5, 15)


def around(now: datetime, begins: int, ends: int) -> str:
    """A window from so many hours after now on, to the minute, until so many."""
    ends_at = [now + timedelta(hours=hours) for hours in (begins, ends)]
    return "-".join(at.strftime("%H:%M") for at in ends_at)


async def test_outside_its_window_a_proposal_waits_for_the_opening(course: Course) -> None:
    stage = course.stage
    now = stage.clock().astimezone(UTC)
    await changed(stage, "MEC01", window=around(now, 2, 3))
    item = course.proposal(block(1, 10))
    transfer = str(item["transfer"])
    assert verdicts(await course.propose(item)) == [Verdict("proposed", [])]
    await course.turn()
    await course.turn()
    shown = (await stage.transfer(transfer))["transfer"]
    assert (shown["state"], shown["kyoto_status"]) == ("delayed", 30)
    opens = datetime.fromisoformat(shown["next_at"])
    assert opens == (now + timedelta(hours=2)).replace(second=0, microsecond=0)
    assert await stage.doctor() == []
    stage.clock.ahead = timedelta(hours=2)
    await course.turn()
    assert await stage.states([transfer]) == ["checked"]


async def test_what_waits_for_a_window_goes_on_when_that_is_changed_and_ends_in_its_time(course: Course) -> None:
    stage = course.stage
    now = stage.clock().astimezone(UTC)
    await changed(stage, "MEC01", window=around(now, 4, 5))
    items = [course.proposal(block(1, 10)), course.proposal(block(11, 20))]
    ids = [str(item["transfer"]) for item in items]
    await course.propose(items[0])
    await course.turn()
    assert await stage.states(ids) == ["delayed", "absent"]
    await changed(stage, "MEC01", window=around(now, -1, 1))
    await course.turn()
    assert await stage.states(ids) == ["checked", "absent"]
    await changed(stage, "MEC01", window=around(now, 4, 5), time_limit_hours=1)
    await course.propose(items[1])
    await course.turn()
    stage.clock.ahead = timedelta(hours=2)
    await course.turn()
    assert await stage.states(ids) == ["checked", "ending"]


@pytest.mark.parametrize(
    ("window", "at", "opening"),
    [
        ("08:00-18:00", "07:59", "08:00"),
        ("08:00-18:00", "08:00", None),
        ("08:00-18:00", "17:59", None),
        ("08:00-18:00", "18:00", "08:00+"),
        ("22:00-06:00", "23:00", None),
        ("22:00-06:00", "05:59", None),
        ("22:00-06:00", "06:00", "22:00"),
    ],
)
def test_a_window_opens_at_its_minute(window: str, at: str, opening: str | None) -> None:
    day = datetime(2026, 3, 1, tzinfo=UTC)
    now = day.replace(hour=int(at[:2]), minute=int(at[3:]))
    expected = None
    if opening is not None:
        expected = day.replace(hour=int(opening[:2])) + timedelta(days=opening.endswith("+"))
    assert Window.parse(window).opening(now) == expected


async def test_a_closed_link_drains_and_stays_closed(course: Course) -> None:
    stage = course.stage
    item = course.proposal(block(1, 10))
    transfer = str(item["transfer"])
    await course.propose(item)
    await course.turn()
    await course.accept([transfer])
    await course.turn()
    for code in ("MEC01", "KOR01"):
        done = await decided(stage, f"links/{code}/close")
        assert done["result"] == {"link": code, "state": "closed"}
    assert verdicts(await course.release([transfer])) == [Verdict("released", [])]
    assert verdicts(await course.credit([transfer])) == [Verdict("completed", [])]
    new = course.source.compose("transfer.propose", [text(course.proposal(block(11, 20)))])
    await refused(course.source, *new, 1003)
    for step in ("test", "suspend", "reactivate", "close"):
        answer = await asked(stage, f"links/KOR01/{step}")
        assert (answer.status_code, answer.json()["code"]) == (409, 3002)
    change = await asked(stage, "links/KOR01", "PATCH", time_limit_hours=48)
    assert (change.status_code, change.json()["code"]) == (409, 3002)


async def test_a_suspended_link_is_reactivated_by_two_and_an_approval_of_another_state_is_void(course: Course) -> None:
    stage = course.stage
    korean, second = (Caller(f"korean-{n}", True, Sight("KOR01", "KOR"), frozenset(Scope)) for n in (1, 2))
    suspend = (await asked(stage, "links/KOR01/suspend", by=korean)).json()
    close = (await asked(stage, "links/KOR01/close")).json()
    assert (await approved(stage, suspend, by=second)).status_code == 200
    overtaken = await approved(stage, close)
    assert (overtaken.status_code, overtaken.json()["code"]) == (409, 3002)
    assert (await asked(stage, "links/KOR01", "GET", by=korean)).json()["state"] == "suspended"
    assert (await asked(stage, "links/MEC01", "GET", by=korean)).json()["code"] == 8001
    assert (await asked(stage, "links/KOR01/reactivate", by=korean)).status_code == 403, "who is shut out does not open"
    await decided(stage, "links/KOR01/reactivate")
    assert (await asked(stage, "links/KOR01", "GET")).json()["state"] == "active"


async def test_keys_that_changed_since_it_was_asked_for_make_a_test_void(stage: Stage) -> None:
    await registered(stage, "MEC01")
    await stage.rows("UPDATE link SET state = 'requested'")
    waiting = (await asked(stage, "links/MEC01/test")).json()
    await decided(stage, "links/MEC01/keys", keys=Party("MEC01").jwks()["keys"])
    late = await approved(stage, waiting)
    assert (late.status_code, late.json()["code"]) == (409, 3002)
    assert await stage.rows("SELECT state FROM link") == [("requested",)]


async def test_a_test_names_the_party_of_each_registry_whose_people_see_for_it_once_the_link_was_activated(
    stage: Stage,
) -> None:
    keys = Party("INT01").jwks()["keys"]
    made = Link("INT01", "international", NOWHERE, State.REQUESTED, 24, ("KOR99", "THA99"))
    parties = {"KOR99": "KOR", "THA99": "THA"}
    await stage.run(lambda tx: links.register(tx, stage.gateway.node, made, parties, keys))
    waiting = (await asked(stage, "links/INT01/test")).json()
    said = json.loads(waiting["canonical"])["parameters"]
    assert (said["registries"], said["time_limit_hours"]) == (parties, 24)
    thai = Caller("thai", True, Sight("THA99", "THA"), frozenset(Scope))
    await stage.authorization(thai)

    async def party() -> str | None:
        found = await stage.run(lambda tx: access.caller(tx, thai.id))
        assert found is not None
        return found.sight.party

    assert (await approved(stage, waiting)).status_code == 200
    assert await party() is None
    await stage.rows("UPDATE link SET state = 'active', activated_by = changed_by")
    assert await party() == "THA"


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        ({}, 400),
        ({"time_limit_hours": 0}, 400),
        ({"time_limit_hours": 24}, 400),
        ({"time_limit_hours": None}, 400),
        ({"time_limit_hours": True}, 422),
        ({"messages_per_second": 0}, 400),
        ({"blocks_per_day": -1}, 400),
        ({"blocks_per_day": 2**60}, 400),
        ({"window": "08:00"}, 400),
        ({"window": "24:00-08:00"}, 400),
        ({"window": "08:00-08:00"}, 400),
        ({"capabilities": ["transfer_in"]}, 400),
        ({"capabilities": ["everything"]}, 400),
        ({"url": "file:///x"}, 400),
        ({"url": None}, 400),
        ({"state": "active"}, 422),
        ({"code": "KOR01"}, 422),
    ],
    ids=str,
)
async def test_a_change_that_cannot_be_is_refused_before_anybody_approves_it(
    stage: Stage, wrong: dict[str, Any], status: int
) -> None:
    await join(stage, "MEC01", "mechanism")
    before = await stage.count("approval")
    answer = await asked(stage, "links/MEC01", "PATCH", **wrong) if wrong else await _nothing(stage)
    assert answer.status_code == status, answer.text
    assert answer.json()["code"] in (2001, 2014)
    assert await stage.count("approval") == before


async def _nothing(stage: Stage) -> httpx.Response:
    return await stage.api.patch("/api/v1/links/MEC01", json={})
