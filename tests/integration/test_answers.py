"""What comes back in an HTTP response: it counts only as the asked registry's own answer to what was asked."""

import asyncio
from typing import Any

import pytest

from gateway.errors import GatewayError
from gateway.messages import store as messages
from tests.integration.test_sandbox_play import sha, text, uuid7
from tests.played import Course, Played, block
from tests.stage import Stage


async def sent(stage: Stage, kind: str) -> messages.Message:
    """The newest message of a type that the gateway has stored to be sent."""
    [(message_id,), *_] = await stage.rows(
        f"SELECT message_id::text FROM message WHERE direction = 'out' AND type = '{kind}' ORDER BY entry_id DESC"
    )
    async with stage.gateway.database.reading() as tx:
        [message] = await messages.outgoing(tx, [message_id])
    return message


def receipt(by: Played, to: messages.Message, transfer: str, state: str, /, **members: Any) -> bytes:
    """A receipt of one item, signed by ``by``."""
    item = {"kind": "receipt", "item": sha("-"), "transfer": transfer, "state": state, "findings": [], **members}
    named = {"id": to.message_id, "sha256": sha(to.body)}
    return by.compose("receipt", [text(item)], in_reply_to=named)[1]


async def committing(course: Course) -> str:
    """A transfer whose commit is stored."""
    await course.issue(block(1, 10))
    item = course.proposal(block(1, 10))
    transfer = str(item["transfer"])
    await course.propose(item)
    await course.turn()
    await course.accept([transfer])
    await course.turn()
    assert await course.stage.states([transfer]) == ["committing"]
    return transfer


async def test_an_answer_counts_only_when_the_registry_that_was_asked_signed_it(stage: Stage) -> None:
    course = await Course.begun(stage)
    transfer = await committing(course)
    commit = await sent(stage, "transfer.commit")
    before = await stage.count("log_entry")
    with pytest.raises(GatewayError, match="no answer of MEC01") as refused:
        await stage.gateway.inbox.absorb(receipt(course.acquirer, commit, transfer, "unknown-here"), commit)
    assert refused.value.code == 3004
    assert await stage.states([transfer]) == ["committing"]
    assert await stage.count("log_entry") == before + 1  # what somebody signed is logged, though it has no effect
    await stage.gateway.inbox.absorb(receipt(course.source, commit, transfer, "unknown-here"), commit)
    assert await stage.states([transfer]) == ["attention"]


async def test_an_answer_of_the_wrong_shape_is_logged_and_changes_nothing(stage: Stage) -> None:
    course = await Course.begun(stage)
    transfer = await committing(course)
    commit = await sent(stage, "transfer.commit")
    before = await stage.count("message WHERE direction = 'in'")
    for wrong in ({"transfer": ["x"]}, {"transfer": {}}, {"state": 1}, {"findings": None}):
        with pytest.raises(GatewayError):
            await stage.gateway.inbox.absorb(receipt(course.source, commit, transfer, "locked", **wrong), commit)
    assert await stage.count("message WHERE direction = 'in'") == before + 4
    assert await stage.states([transfer]) == ["committing"]


async def test_a_final_state_stays_due_until_it_is_taken_note_of(stage: Stage) -> None:
    course = await Course.begun(stage)
    await course.issue(block(1, 10))
    [transfer] = await course.complete(course.proposal(block(1, 10)))
    [(closed_id,)] = await stage.rows("SELECT closed_acquirer_id::text FROM transfer")
    async with stage.gateway.database.reading() as tx:
        [closed] = await messages.outgoing(tx, [closed_id])
    for state in ("later", "not known here"):
        await stage.gateway.inbox.absorb(receipt(course.acquirer, closed, transfer, state), closed)
        assert await stage.count("transfer WHERE told_acquirer_at IS NOT NULL") == 0
    await stage.gateway.inbox.absorb(receipt(course.acquirer, closed, transfer, "done"), closed)
    assert await stage.count("transfer WHERE told_acquirer_at IS NOT NULL AND next_at IS NOT NULL") == 1
    assert await stage.count("transfer WHERE told_source_at IS NULL") == 1


async def test_a_source_may_take_note_of_an_end_by_repeating_that_it_voided(stage: Stage) -> None:
    course = await Course.begun(stage)
    transfer = await committing(course)
    await course.void([transfer])
    [(message_id,)] = await stage.rows("SELECT closed_source_id::text FROM transfer")
    async with stage.gateway.database.reading() as tx:
        [closed] = await messages.outgoing(tx, [message_id])
    voided = text({"kind": "voided", "transfer": transfer, "findings": []})
    named = {"id": closed.message_id, "sha256": sha(closed.body)}
    other = {"id": uuid7(), "sha256": sha("another message")}
    _, elsewhere = course.source.compose("transfer.voided", [voided], in_reply_to=other)
    with pytest.raises(GatewayError, match="no answer of MEC01"):
        await stage.gateway.inbox.absorb(elsewhere, closed)
    assert await stage.count("transfer WHERE told_source_at IS NOT NULL") == 0
    await stage.gateway.inbox.absorb(course.source.compose("transfer.voided", [voided], in_reply_to=named)[1], closed)
    assert await stage.count("transfer WHERE told_source_at IS NOT NULL") == 1


async def test_a_row_that_cannot_be_decided_on_holds_up_no_other(stage: Stage) -> None:
    course = await Course.begun(stage)
    await course.issue(block(1, 10), block(11, 20))
    faulty, sound = (course.proposal(block(*serials)) for serials in ((1, 10), (11, 20)))
    await course.propose(faulty, sound)
    # As if a row had lost what it began with: nothing in the program can do that, so the test takes it away.
    await stage.rows("ALTER TABLE transfer_step DISABLE TRIGGER transfer_step_rows_stay")
    await stage.rows(f"DELETE FROM transfer_step WHERE transfer_id = '{faulty['transfer']}'")
    await course.turn()
    assert await stage.states([faulty["transfer"], sound["transfer"]]) == ["proposed", "checked"]
    shown = (await stage.transfer(faulty["transfer"]))["transfer"]
    assert "cannot check this one" in shown["waiting"] and shown["attempts"] == 1


async def test_credits_and_notices_of_one_series_do_not_deadlock(stage: Stage) -> None:
    course = await Course.begun(stage)
    await course.issue(block(1, 1_000))
    items = [course.proposal(block(n * 10 + 1, n * 10 + 5)) for n in range(10)]
    transfers = [str(item["transfer"]) for item in items]
    await course.propose(*items)
    await course.turn()
    await course.accept(transfers)
    await course.turn()
    await course.release(transfers)
    [(before,)] = await stage.rows("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    uses = [course.use(block(n * 10 + 6, n * 10 + 10)) for n in range(10)]
    heard = await asyncio.gather(*uses, *(course.credit([t]) for t in transfers))
    assert [h.items[0]["state"] for h in heard] == ["recorded"] * 10 + ["completed"] * 10
    [(after,)] = await stage.rows("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    assert after == before


async def test_an_acquirer_that_was_told_of_another_end_stops_a_settle(stage: Stage) -> None:
    course = await Course.begun(stage)
    transfer = await committing(course)
    await course.release([transfer])
    offers = await course.said([transfer], "offer")
    said = {"kind": "answer", "answer": "closed-here", "findings": [], "transfer": transfer}
    heard = await course.acquirer.say("transfer.answer", [{**said, "offer": sha(offers[transfer])}])
    assert heard.items[0]["state"] == "attention"
    await course.credit([transfer])  # a binding signed word moves it on without a person
    assert await stage.states([transfer]) == ["completed"]


async def test_two_proposals_for_one_request_at_one_instant_make_one_transfer(stage: Stage) -> None:
    course = await Course.begun(stage)
    await course.issue(block(1, 10), block(11, 20))
    here, there = ({"registry": c, "party": p, "account": "100-1"} for c, p in (("MEC01", "MMR"), ("KOR01", "KOR")))
    wish = {"transferring": here, "acquiring": there, "purpose": "NDC", "quantity": 10}
    made = await stage.api.post("/api/v1/transfers", json=wish, headers={"idempotency-key": uuid7()})
    items = [course.proposal(block(n, n + 9), request=made.json()["request"]) for n in (1, 11)]
    heard = await asyncio.gather(*(course.propose(item) for item in items))
    assert sorted(h.items[0]["state"] for h in heard) == ["ending", "proposed"]
    assert {f["code"] for h in heard for f in h.items[0]["findings"]} == {3006}
