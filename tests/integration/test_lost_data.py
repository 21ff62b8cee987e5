"""A gateway that lost data takes its transfers up again from what registries show: their words, and its own signature.

Both registries are played. The gateway's database falls back to a copy that was made earlier; what the registries
then say carries the messages that were signed meanwhile (R26). What is not proven, or not enough, begins nothing.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.integration.test_sandbox_play import Heard, sha, text, uuid7
from tests.played import Course, Played, block
from tests.stage import Stage

#: What a registry carries with each word, when it says it again.
CARRIED = {
    "answer": ("offer", "propose"),
    "released": ("commit", "propose", "answer"),
    "credited": ("settle", "propose", "answer", "released"),
}


@dataclass
class Memory:
    """What the registries remember of a transfer: each step's item, and the message it was signed in."""

    items: dict[str, str] = field(default_factory=dict)
    signed: dict[str, str] = field(default_factory=dict)

    async def remember(self, stage: Stage, transfer: str) -> None:
        for step, item, jws in await stage.rows(
            "SELECT s.step, s.item, coalesce(m.body_json ->> 'jws', convert_from(m.body, 'UTF8')) FROM transfer_step s "
            "JOIN (SELECT *, CASE WHEN get_byte(body, 0) = 123 THEN convert_from(body, 'UTF8')::jsonb END AS body_json "
            f"FROM message) m USING (entry_id) WHERE s.transfer_id = '{transfer}'"
        ):
            self.items[step], self.signed[step] = item, jws

    async def say(self, who: Played, word: str, carried: Sequence[str] | None = None) -> Heard:
        """Say a word again, with what it names and what lies between."""
        steps = CARRIED[word] if carried is None else carried
        evidence = list(dict.fromkeys(self.signed[step] for step in steps))
        body = {"evidence": evidence} if evidence else {}
        items = [self.items[word], *(self.items[step] for step in steps)]
        return await who.post(*who.compose(f"transfer.{word}", items, body=body))


@pytest.fixture
async def course(stage: Stage) -> AsyncIterator[Course]:
    yield await Course.begun(stage)
    assert await stage.doctor() == []


async def until(course: Course, step: str, *, rejects: bool = False) -> tuple[str, Memory]:
    """Issue, copy the database, take a transfer as far as ``step``, and fall back: the gateway knows the units only."""
    stage, memory = course.stage, Memory()
    await course.issue(block(1, 10))
    await stage.back_up()
    item = course.proposal(block(1, 10))
    transfer = str(item["transfer"])
    await course.propose(item)
    await course.turn()
    await memory.remember(stage, transfer)
    if rejects:
        offer = await course.said([transfer], "offer")
        no = {"kind": "answer", "transfer": transfer, "offer": sha(offer[transfer]), "answer": "rejected"}
        await course.acquirer.say("transfer.answer", [{**no, "findings": [{"code": 5904, "detail": "by policy"}]}])
    else:
        await course.accept([transfer])
    if step in ("released", "credited"):
        await course.turn()
        await course.release([transfer])
    if step == "credited":
        await course.credit([transfer])
    await memory.remember(stage, transfer)
    return transfer, memory


async def alarms(stage: Stage) -> list[str]:
    return [detail for (detail,) in await stage.rows("SELECT detail FROM alarm ORDER BY id")]


async def ends_completed(course: Course, transfer: str) -> None:
    assert await course.stage.states([transfer]) == ["completed"]
    assert (await course.stage.books())["conservation"] == "holds"
    assert await course.stage.count("claim WHERE released_by IS NULL") == 0
    moved = "SELECT registry, sum(last - first + 1) FROM position WHERE closed_by IS NULL"
    moved += " AND account_type <> 320 GROUP BY registry"
    assert await course.stage.rows(moved) == [("KOR01", 10)]
    assert await course.stage.rows("SELECT drawn FROM authorisation") == [(10,)]  # once, though it was lost


async def test_a_release_takes_up_a_lost_transfer_and_it_completes(course: Course) -> None:
    transfer, memory = await until(course, "released")
    await course.stage.fall_back()
    heard = await memory.say(course.source, "released")
    assert (heard.items[0]["state"], heard.items[0]["findings"]) == ("released", [])
    assert await course.stage.count("claim WHERE released_by IS NULL") == 1
    await course.credit([transfer])
    await ends_completed(course, transfer)
    assert await alarms(course.stage) == ["MEC01 shows that this gateway has lost data: the whole transfer"]


async def test_an_acceptance_takes_up_a_lost_transfer_and_it_is_committed(course: Course) -> None:
    transfer, memory = await until(course, "accepted")
    await course.stage.fall_back()
    assert (await memory.say(course.acquirer, "answer")).items[0]["state"] == "accepted"
    await course.turn()
    assert await course.stage.states([transfer]) == ["committing"]
    await course.release([transfer])
    await course.credit([transfer])
    await ends_completed(course, transfer)


async def test_a_rejection_takes_up_a_lost_transfer_and_the_source_is_asked_to_void_it(course: Course) -> None:
    transfer, memory = await until(course, "rejected", rejects=True)
    await course.stage.fall_back()
    assert (await memory.say(course.acquirer, "answer")).items[0]["state"] == "ending"
    assert await course.stage.count("message WHERE type = 'transfer.cancel'") == 1
    await course.void([transfer])
    assert await course.stage.states([transfer]) == ["rejected"]


async def test_a_credit_takes_up_a_lost_transfer_and_the_units_are_where_they_were_credited(course: Course) -> None:
    transfer, memory = await until(course, "credited")
    await course.stage.fall_back()
    assert (await memory.say(course.acquirer, "credited")).items[0]["state"] == "completed"
    await ends_completed(course, transfer)
    # Both sides are told, the acquirer too, though no offer is known any more.
    closings = "SELECT count(*) FROM message WHERE type = 'transfer.closed' AND direction = 'out'"
    assert await course.stage.rows(closings) == [(2,)]


@pytest.mark.parametrize("fallen_to", ["proposed", "checked", "accepted"])
async def test_a_release_whose_commit_is_lost_is_followed(course: Course, fallen_to: str) -> None:
    """The row is there, but not the commit that the source has acted on (R7 for data lost at the gateway)."""
    stage, memory = course.stage, Memory()
    await course.issue(block(1, 10))
    item = course.proposal(block(1, 10))
    transfer = str(item["transfer"])
    for state, act in (
        ("proposed", lambda: course.propose(item)),
        ("checked", course.turn),
        ("accepted", lambda: course.accept([transfer])),
        ("committing", course.turn),
        ("released", lambda: course.release([transfer])),
    ):
        await act()
        assert await stage.states([transfer]) == [state]
        if state == fallen_to:
            await stage.back_up()
    await memory.remember(stage, transfer)
    await stage.fall_back()
    assert await stage.states([transfer]) == [fallen_to]
    assert (await memory.say(course.source, "released")).items[0]["state"] == "released"
    assert await alarms(stage) == [f"MEC01 shows that this gateway has lost data: released in state {fallen_to}"]
    await course.credit([transfer])
    await ends_completed(course, transfer)


@pytest.mark.parametrize(
    ("word", "carried"),
    [
        ("released", ()),
        ("released", ("propose", "answer")),
        ("released", ("commit", "propose")),
        ("released", ("commit", "answer")),
        ("credited", ("settle", "propose", "answer")),
        ("credited", ("propose", "answer", "released")),
    ],
)
async def test_a_word_that_shows_too_little_begins_nothing(course: Course, word: str, carried: tuple[str, ...]) -> None:
    _, memory = await until(course, word)
    await course.stage.fall_back()
    who = course.source if word == "released" else course.acquirer
    [receipt] = (await memory.say(who, word, carried)).items
    assert (receipt["state"], [f["code"] for f in receipt["findings"]]) == ("not known here", [3001])
    assert await course.stage.count("transfer") == await course.stage.count("claim") == 0


async def test_a_commit_that_somebody_else_signed_proves_nothing(course: Course) -> None:
    _, memory = await until(course, "released")
    await course.stage.fall_back()
    commit = memory.items["commit"]
    memory.signed["commit"] = course.source.party.compose("GWY01", "transfer.commit", [commit], **{"from": "GWY01"})[0]
    [receipt] = (await memory.say(course.source, "released")).items
    assert receipt["state"] == "not known here"
    assert await course.stage.count("transfer") == 0


async def test_lost_units_that_another_transfer_has_claimed_meanwhile_wait_for_persons(course: Course) -> None:
    transfer, memory = await until(course, "released")
    await course.stage.fall_back()
    await course.propose(rival := course.proposal(block(5, 6)))
    [receipt] = (await memory.say(course.source, "released")).items
    assert receipt["state"] == "attention"
    shown = (await course.stage.transfer(transfer))["transfer"]
    assert [f["code"] for f in shown["findings"]] == [4005]
    assert await course.stage.states([str(rival["transfer"])]) == ["proposed"]


async def test_a_withdrawal_that_overtakes_its_proposal_ends_it_as_it_arrives(course: Course) -> None:
    stage = course.stage
    await course.issue(block(1, 10))
    item = course.proposal(block(1, 10))
    transfer = str(item["transfer"])
    [early] = (await course.void([transfer])).items
    assert (early["state"], early["findings"]) == ("cancelled", [])
    [late] = (await course.propose(item)).items
    assert late["state"] == "cancelled"
    await course.turn()
    assert await stage.states([transfer]) == ["cancelled"]
    assert await stage.count("claim WHERE released_by IS NULL") == 0
    assert await stage.count("message WHERE type = 'transfer.offer'") == 0
    # The same units go again under another id.
    await course.complete(course.proposal(block(1, 10)))


async def test_nobody_withdraws_what_another_may_propose(course: Course) -> None:
    unknown: dict[str, Any] = {"kind": "voided", "transfer": f"MEC01-{uuid7()}", "findings": []}
    heard = await course.acquirer.post(*course.acquirer.compose("transfer.voided", [text(unknown)]))
    assert heard.items[0]["state"] == "not known here"
    assert await course.stage.count("early_withdrawal") == 0
