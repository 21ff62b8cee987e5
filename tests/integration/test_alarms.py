"""Registries that lie: what cannot be true is kept as evidence, flags the link, changes nothing and delays nobody."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.integration.test_answers import receipt, sent
from tests.integration.test_sandbox_play import sha, stamp, text, uuid7
from tests.played import Course, block
from tests.stage import Stage

NAMED = {"id": uuid7(), "sha256": sha("nothing")}


@pytest.fixture
async def course(stage: Stage) -> AsyncIterator[Course]:
    yield await Course.begun(stage)
    assert await stage.doctor() == []


async def at(course: Course, state: str, serial: int = 1) -> str:
    """A transfer of ten units in this state."""
    await course.issue(block(serial, serial + 9))
    item = course.proposal(block(serial, serial + 9))
    transfer = str(item["transfer"])
    await course.propose(item)
    for reached, act in (
        ("proposed", None),
        ("checked", course.turn),
        ("accepted", lambda: course.accept([transfer])),
        ("committing", course.turn),
        ("released", lambda: course.release([transfer])),
        ("completed", lambda: course.credit([transfer])),
    ):
        if act is not None:
            await act()
        if reached == state:
            break
    assert await course.stage.states([transfer]) == [state]
    return transfer


async def raised(stage: Stage) -> list[tuple[str, str, str]]:
    """Who said what about which transfer, as the operator API shows it; newest first."""
    page = (await stage.api.get("/api/v1/alarms")).json()
    kept = await stage.rows("SELECT count(*) FROM alarm a JOIN message m USING (entry_id) WHERE a.link = m.peer")
    assert kept == [(len(page["alarms"]),)]  # each names the message that is its evidence
    return [(a["link"], a["transfer"], a["detail"]) for a in page["alarms"]]


def released(transfer: str, commit: dict[str, str]) -> dict[str, Any]:
    return {
        "kind": "released", "transfer": transfer, "commit": commit, "released_at": "2026-03-01T12:00:00.000Z",
        "first_transfer": False, "itmo": [],
    }  # fmt: skip


@pytest.mark.parametrize("state", ["checked", "accepted", "committing"])
async def test_a_release_that_names_no_commit_of_ours_moves_nothing(course: Course, state: str) -> None:
    transfer = await at(course, state)
    heard = await course.source.say("transfer.released", [released(transfer, NAMED)])
    assert (heard.items[0]["state"], heard.items[0]["findings"][0]["code"]) == (state, 3002)
    alarm = ("MEC01", transfer, "MEC01 names a commit that was not made here")
    assert await raised(course.stage) == [alarm]
    # The same again, under another id, is the same alarm; another transfer goes its way meanwhile.
    await course.source.say("transfer.released", [released(transfer, NAMED)])
    assert await raised(course.stage) == [alarm]
    await course.issue(block(101, 110))
    await course.complete(course.proposal(block(101, 110)))
    [flagged] = [x for x in (await course.stage.api.get("/api/v1/links")).json() if x["alarms"]]
    assert (flagged["code"], flagged["alarms"]) == ("MEC01", 1)


async def test_a_second_credit_that_says_otherwise_is_an_alarm(course: Course) -> None:
    transfer = await at(course, "completed")
    settle = (await course.named([transfer], "settle"))[transfer]
    members = {"credited_at": stamp(course.stage.clock()), "account": "100-2", "findings": []}
    again = {"kind": "credited", "transfer": transfer, "settle": settle, **members}
    heard = await course.acquirer.say("transfer.credited", [again])
    assert (heard.items[0]["state"], heard.items[0]["findings"][0]["code"]) == ("completed", 3003)
    assert await raised(course.stage) == [("KOR01", transfer, "KOR01 says another credited than before")]
    assert (await course.stage.books())["conservation"] == "holds"


async def test_an_answer_that_changes_is_an_alarm_and_the_first_counts(course: Course) -> None:
    transfer = await at(course, "accepted")
    offer = (await course.said([transfer], "offer"))[transfer]
    no = {"kind": "answer", "transfer": transfer, "offer": sha(offer), "answer": "rejected"}
    heard = await course.acquirer.say("transfer.answer", [{**no, "findings": [{"code": 5904, "detail": "changed"}]}])
    assert heard.items[0]["state"] == "accepted"
    assert await raised(course.stage) == [("KOR01", transfer, "KOR01 says another answer than before")]
    await course.turn()
    await course.release([transfer])
    await course.credit([transfer])
    assert await course.stage.states([transfer]) == ["completed"]


@pytest.mark.parametrize("state", ["released", "completed"])
async def test_a_voided_after_the_release_is_an_alarm_and_the_transfer_goes_on(course: Course, state: str) -> None:
    transfer = await at(course, state)
    [receipt] = (await course.void([transfer])).items
    assert receipt["state"] == state
    assert await raised(course.stage) == [("MEC01", transfer, "MEC01 says voided after the opposite")]


async def test_a_release_after_the_end_is_an_alarm(course: Course) -> None:
    transfer = await at(course, "committing")
    commit = (await course.named([transfer], "commit"))[transfer]
    await course.void([transfer])
    heard = await course.source.say("transfer.released", [released(transfer, commit)])
    assert heard.items[0]["state"] == "cancelled"
    assert await raised(course.stage) == [("MEC01", transfer, "MEC01 says released after the opposite")]


async def test_a_word_about_anothers_transfer_flags_the_speaker(course: Course) -> None:
    transfer = await at(course, "accepted")
    heard = await course.acquirer.say("transfer.voided", [{"kind": "voided", "transfer": transfer, "findings": []}])
    assert heard.items[0]["state"] == "not known here"
    assert await raised(course.stage) == [("KOR01", transfer, "KOR01 spoke for a transfer that is not its own")]
    assert await course.stage.states([transfer]) == ["accepted"]


@pytest.mark.parametrize(
    ("said", "codes", "event"),
    [
        ("offered", [3001], "settle-refused"),
        ("not known here", [3006], "settle-refused"),
        ("void", [3003], "closed-here"),
    ],
)
async def test_a_settle_that_is_refused_waits_for_persons(
    course: Course, said: str, codes: list[int], event: str
) -> None:
    transfer = await at(course, "released")
    settle = await sent(course.stage, "transfer.settle")
    findings = [{"code": code, "detail": "refused"} for code in codes]
    answer = receipt(course.acquirer, settle, transfer, said, findings=findings)
    await course.stage.gateway.inbox.absorb(answer, settle)
    shown = await course.stage.transfer(transfer)
    assert (shown["transfer"]["state"], shown["events"][-1]["event"]) == ("attention", event)
    assert shown["transfer"]["findings"][0]["detail"].startswith("KOR01 ")
    [(link, about, _)] = await raised(course.stage)
    assert (link, about) == ("KOR01", transfer)
    # No person moves units; the acquirer's own word does, without one.
    await course.credit([transfer])
    assert await course.stage.states([transfer]) == ["completed"]


async def test_a_settle_the_acquirer_cannot_judge_now_stays_due(course: Course) -> None:
    transfer = await at(course, "released")
    settle = await sent(course.stage, "transfer.settle")
    later = receipt(course.acquirer, settle, transfer, "later", findings=[{"code": 1007, "detail": "no keys"}])
    await course.stage.gateway.inbox.absorb(later, settle)
    assert await course.stage.states([transfer]) == ["released"]
    assert await raised(course.stage) == []


async def test_alarms_are_paged_and_asked_for_by_link(course: Course) -> None:
    transfer = await at(course, "accepted")
    for who in (course.source, course.acquirer):
        about = f"{who.code}-{transfer[6:]}" if who is course.source else transfer
        await who.say("transfer.voided" if who is course.acquirer else "transfer.credited", [word(who.code, about)])
    url = "/api/v1/alarms"
    first = (await course.stage.api.get(url, params={"limit": 1})).json()
    second = (await course.stage.api.get(url, params={"limit": 1, "before": first["next"]})).json()
    assert {first["alarms"][0]["link"], second["alarms"][0]["link"]} == {"MEC01", "KOR01"}
    [only] = (await course.stage.api.get(url, params={"link": "KOR01"})).json()["alarms"]
    assert only["link"] == "KOR01"
    assert (await course.stage.api.get(url, params={"limit": 0})).status_code == 422


def word(code: str, transfer: str) -> dict[str, Any]:
    if code == "KOR01":
        return {"kind": "voided", "transfer": transfer, "findings": []}
    at, account = "2026-03-01T12:00:00.000Z", "100-1"
    named = {"settle": NAMED, "credited_at": at, "account": account, "findings": []}
    return {"kind": "credited", "transfer": transfer, **named}


async def test_a_word_about_a_transfer_nobody_has_is_no_alarm(course: Course) -> None:
    unknown = f"KOR01-{uuid7()}"
    heard = await course.source.post(
        *course.source.compose("transfer.voided", [text({"kind": "voided", "transfer": unknown, "findings": []})])
    )
    assert heard.items[0]["state"] == "not known here"
    assert await raised(course.stage) == []
