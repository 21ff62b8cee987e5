"""What must not be believed, and must not stall, when a gateway that lost data takes transfers up again.

Both registries are played; see ``test_lost_data`` for how the gateway's database falls back.
"""

import json
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.domain.check_codes import Finding
from gateway.links import commands as links
from gateway.messages import store as messages
from gateway.signing import compact
from gateway.transfers import beginning
from tests.deciding import asked
from tests.integration.test_alarms import at, released
from tests.integration.test_answers import receipt, sent
from tests.integration.test_lost_data import CARRIED, Memory, alarms, ends_completed, until
from tests.integration.test_sandbox_play import Party, sha, text
from tests.played import Course, block
from tests.stage import Stage


@pytest.fixture
async def course(stage: Stage) -> AsyncIterator[Course]:
    yield await Course.begun(stage)
    assert await stage.doctor() == []


async def rivalled(course: Course, word: str, *, rejects: bool = False) -> tuple[str, Memory, str]:
    """A transfer the gateway has lost, whose units a rival has claimed meanwhile."""
    transfer, memory = await until(course, word, rejects=rejects)
    await course.stage.fall_back()
    await course.propose(rival := course.proposal(block(5, 6)))
    return transfer, memory, str(rival["transfer"])


@pytest.mark.parametrize("word", ["released", "credited"])
async def test_a_registry_that_repeats_its_word_leads_on_once_the_units_are_free(course: Course, word: str) -> None:
    transfer, memory, rival = await rivalled(course, word)
    who = course.source if word == "released" else course.acquirer
    for _ in range(2):
        assert (await memory.say(who, word)).items[0]["state"] == "attention"
    refused = await asked(course.stage, f"transfers/{transfer}/resume")
    assert (refused.status_code, refused.json()["code"]) == (409, 3002)
    await course.void([rival])
    assert (await memory.say(who, word)).items[0]["state"] == {"released": "released", "credited": "completed"}[word]
    if word == "released":
        await course.credit([transfer])
    await ends_completed(course, transfer)


@pytest.mark.parametrize("first", ["propose", "answer"])
async def test_an_end_without_units_yields_to_a_release_once_they_are_free(course: Course, first: str) -> None:
    transfer, memory, rival = await rivalled(course, "released")
    who = course.source if first == "propose" else course.acquirer
    if first == "propose":
        await course.propose(json.loads(memory.items["propose"]))
    else:
        await memory.say(who, "answer")
    assert await course.stage.states([transfer]) == ["ending"]
    assert (await memory.say(course.source, "released")).items[0]["state"] == "ending"
    await course.void([rival])
    assert (await memory.say(course.source, "released")).items[0]["state"] == "released"
    await course.credit([transfer])
    await ends_completed(course, transfer)


@pytest.mark.parametrize("rejects", [False, True])
async def test_what_was_only_answered_ends_when_its_units_are_gone(course: Course, rejects: bool) -> None:
    transfer, memory, rival = await rivalled(course, "accepted", rejects=rejects)
    assert (await memory.say(course.acquirer, "answer")).items[0]["state"] == "ending"
    await course.turn()
    assert await course.stage.count("message WHERE type = 'transfer.commit' AND direction = 'out'") == 0
    await course.void([transfer])
    assert await course.stage.states([transfer, rival]) == ["rejected" if rejects else "refused", "checked"]
    # The acquirer, whose acceptance binds it, is told.
    assert await course.stage.count(f"transfer WHERE id = '{transfer}' AND closed_acquirer_id IS NOT NULL") == 1


async def test_a_source_cannot_swap_its_proposal_behind_the_commit(course: Course) -> None:
    _, memory = await until(course, "released")
    await course.stage.fall_back()
    await course.issue(block(11, 100))
    swapped = {**json.loads(memory.items["propose"]), "blocks": [block(1, 100)], "quantity": 100}
    memory.items["propose"] = text(swapped)
    memory.signed["propose"] = course.source.party.compose("GWY01", "transfer.propose", [text(swapped)])[0]
    assert (await memory.say(course.source, "released")).items[0]["state"] == "not known here"
    assert await course.stage.count("transfer") == 0


async def test_a_commit_that_names_another_proposal_than_the_row_has_is_not_followed(course: Course) -> None:
    stage, memory = course.stage, Memory()
    await course.issue(block(1, 20))
    item = course.proposal(block(1, 10))
    transfer = str(item["transfer"])
    await stage.back_up()
    await course.propose(item)
    for act_ in (course.turn, lambda: course.accept([transfer]), course.turn, lambda: course.release([transfer])):
        await act_()
    await memory.remember(stage, transfer)
    await stage.fall_back()
    # After the loss the source proposes other units under the same id, and then shows its old release.
    await course.propose({**item, "blocks": [block(11, 20)]})
    assert (await memory.say(course.source, "released")).items[0]["state"] == "proposed"
    assert await alarms(stage) == ["MEC01 shows that this gateway has lost data: what it shows is not enough to go on"]


async def test_what_our_own_commit_names_is_good_though_its_signer_was_restored_since(course: Course) -> None:
    transfer, memory = await until(course, "released")
    await course.stage.fall_back()
    renewed = Party("KOR01")
    now = datetime.now(UTC)
    await course.stage.run(lambda tx: links.restored(tx, "KOR01", renewed.jwks()["keys"], now=now))
    assert (await memory.say(course.source, "released")).items[0]["state"] == "released"
    course.acquirer.party = renewed
    await course.credit([transfer])
    await ends_completed(course, transfer)


async def test_a_word_that_meets_another_about_its_units_is_no_verdict(
    course: Course, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R23 at the gateway: the claim is lost to somebody else at this instant; the same bytes succeed afterwards."""
    transfer, memory = await until(course, "released")
    await course.stage.fall_back()
    steps = CARRIED["released"]
    evidence = list(dict.fromkeys(memory.signed[s] for s in steps))
    items = [memory.items["released"], *(memory.items[s] for s in steps)]
    kind, body = course.source.compose("transfer.released", items, body={"evidence": evidence})

    async def lost(*_: object) -> dict[str, tuple[Finding, ...]]:
        return {transfer: (Finding(4005),)}

    with monkeypatch.context() as race:
        race.setattr(beginning, "claim", lost)
        url = f"{course.stage.link_url}/messages"
        refused = await course.stage.http.post(url, content=body, headers={"content-type": kind})
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
    assert (await course.source.post(kind, body)).items[0]["state"] == "released"


async def test_an_answer_that_came_on_another_exchange_still_counts_on_its_own(course: Course) -> None:
    stage = course.stage
    transfer = await at(course, "committing")
    commit = await sent(stage, "transfer.commit")
    [(other,), *_] = await stage.rows(
        "SELECT message_id::text FROM message WHERE direction = 'out' AND peer = 'MEC01' AND type = 'receipt'"
    )
    async with stage.gateway.database.reading() as tx:
        [wrong] = await messages.outgoing(tx, [other])
    item = released(transfer, (await course.named([transfer], "commit"))[transfer])
    named = {"id": commit.message_id, "sha256": compact.encode(commit.sha256)}
    kind, body = course.source.compose("transfer.released", [text(item)], in_reply_to=named)
    with pytest.raises(Exception, match="no answer of MEC01"):
        await stage.gateway.inbox.absorb(body, wrong)
    # Nor does it count, or is spoilt, as a message of its own.
    assert (await course.source.post(kind, body)).payload["body"]["findings"][0]["code"] == 1010
    assert await stage.states([transfer]) == ["committing"]
    await stage.gateway.inbox.absorb(body, commit)
    assert await stage.states([transfer]) == ["released"]


async def test_two_transfers_of_one_commit_are_taken_up_one_by_one(course: Course) -> None:
    stage, memories = course.stage, [Memory(), Memory()]
    await course.issue(block(1, 20))
    await stage.back_up()
    items = [course.proposal(block(1, 10)), course.proposal(block(11, 20))]
    transfers = [str(i["transfer"]) for i in items]
    await course.propose(*items)
    for act_ in (course.turn, lambda: course.accept(transfers), course.turn, lambda: course.release(transfers)):
        await act_()
    for memory, transfer in zip(memories, transfers, strict=True):
        await memory.remember(stage, transfer)
    await stage.fall_back()
    for memory in memories:
        assert (await memory.say(course.source, "released")).items[0]["state"] == "released"
    # What was shown of the commit each time is kept, beside what was sent, and is never sent.
    assert await stage.count("message WHERE direction = 'shown' AND type = 'transfer.commit'") == 2
    assert await stage.count("message WHERE direction = 'out' AND type = 'transfer.commit'") == 0
    await course.credit(transfers)
    assert await stage.states(transfers) == ["completed"] * 2


async def test_no_finding_of_a_registry_is_too_long_to_be_kept(course: Course) -> None:
    transfer = await at(course, "released")
    offer = (await course.said([transfer], "offer"))[transfer]
    letters = random.Random(1)  # noqa: S311 - text that does not compress
    detail = "".join(chr(letters.randint(0x4E00, 0x9FFF)) for _ in range(2000))
    said = {"kind": "answer", "transfer": transfer, "offer": sha(offer), "answer": "closed-here"}
    heard = await course.acquirer.say("transfer.answer", [{**said, "findings": [{"code": 3003, "detail": detail}]}])
    assert heard.items[0]["state"] == "attention"
    assert await alarms(course.stage) == ["KOR01 has closed what it is to credit"]


async def test_more_evidence_than_a_message_may_carry_is_refused(course: Course) -> None:
    jws = course.source.party.compose("GWY01", "time.query", [])[0]
    word = text({"kind": "voided", "transfer": "MEC01-0195515b-9c00-7000-8000-000000000001", "findings": []})
    kind, body = course.source.compose("transfer.released", [word], body={"evidence": [jws] * 5_001})
    heard = await course.source.post(kind, body)
    assert (heard.type, heard.payload["body"]["findings"][0]["code"]) == ("refusal", 2001)


@pytest.mark.parametrize(("state", "says"), [("completed", "void"), ("cancelled", "done")])
async def test_who_holds_the_opposite_of_an_end_is_not_told_and_persons_are(
    course: Course, state: str, says: str
) -> None:
    stage = course.stage
    transfer = await at(course, "completed" if state == "completed" else "checked")
    if state == "cancelled":
        await course.void([transfer])
    for column, who in (("closed_source_id", course.source), ("closed_acquirer_id", course.acquirer)):
        [(message_id,)] = await stage.rows(f"SELECT {column}::text FROM transfer")
        async with stage.gateway.database.reading() as tx:
            [closed] = await messages.outgoing(tx, [message_id])
        await stage.gateway.inbox.absorb(receipt(who, closed, transfer, says), closed)
    assert await stage.rows("SELECT told_source_at, told_acquirer_at FROM transfer") == [(None, None)]
    told = [f"{code} says {says} to an end that is {state}" for code in ("MEC01", "KOR01")]
    assert sorted(await alarms(stage)) == sorted(told)


async def test_a_credit_to_no_account_of_units_is_shown_to_persons(course: Course) -> None:
    transfer = await at(course, "released")
    settle = (await course.named([transfer], "settle"))[transfer]
    members: dict[str, Any] = {"credited_at": "2026-03-01T12:00:00.000Z", "account": "300-1", "findings": []}
    await course.acquirer.say(
        "transfer.credited", [{"kind": "credited", "transfer": transfer, "settle": settle, **members}]
    )
    assert await alarms(course.stage) == ["KOR01 says a credited that cannot be taken"]
    await course.credit([transfer])
    assert await course.stage.states([transfer]) == ["completed"]


async def test_a_release_after_an_early_withdrawal_is_followed_and_shown_to_persons(course: Course) -> None:
    transfer, memory = await until(course, "released")
    await course.stage.fall_back()
    assert (await course.void([transfer])).items[0]["state"] == "cancelled"
    assert (await memory.say(course.source, "released")).items[0]["state"] == "released"
    assert await alarms(course.stage) == ["MEC01 says released after the opposite"]


async def test_closed_here_is_believed_with_our_own_closing(course: Course) -> None:
    """The gateway has fallen back to before it ended the transfer at the acquirer's side."""
    stage = course.stage
    transfer = await at(course, "accepted")
    await stage.back_up()
    await course.void([transfer])
    closing = await sent(stage, "transfer.closed")
    stored = json.loads(closing.body)
    [own] = [i for i in stored["items"] if json.loads(i)["kind"] == "closed"]
    await stage.fall_back()
    await course.turn()
    await course.release([transfer])
    said = {"kind": "answer", "transfer": transfer, "offer": sha("forgotten"), "answer": "closed-here", "findings": []}
    kind, body = course.acquirer.compose("transfer.answer", [text(said), own], body={"evidence": [stored["jws"]]})
    assert (await course.acquirer.post(kind, body)).items[0]["state"] == "attention"
