"""Repetition and time: one effect of one message, one answer to the same bytes, and refusals that do not last."""

import asyncio
import base64
from datetime import UTC, datetime, timedelta

import pytest

from tests.integration.test_sandbox_play import stamp, text, uuid7
from tests.played import Course, block
from tests.refusals import Verdict, counts, effects, is_refusal, payload_of, refused, verdicts

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def proposal(course: Course, **members: str) -> tuple[str, bytes]:
    """A proposal of newly issued units, composed and not sent."""
    series = uuid7()
    await course.issue(block(1, 10, series=series))
    item = course.proposal(block(1, 10, series=series))
    return course.source.compose("transfer.propose", [text(item)], **members)


def after(seconds: float) -> str:
    return stamp(datetime.now(UTC) + timedelta(seconds=seconds))


async def test_the_same_bytes_get_the_same_answer_and_have_one_effect(course: Course) -> None:
    kind, body = await proposal(course)
    first = await course.source.post(kind, body)
    assert verdicts(first) == [Verdict("proposed", [])]
    await course.turn()  # the transfer has moved on; what was answered then stays the answer
    before = await counts(course.stage)
    for _ in range(3):
        assert (await course.source.post(kind, body)).raw == first.raw
    assert await counts(course.stage) == before


async def test_the_same_bytes_at_the_same_time_get_one_answer_and_have_one_effect(course: Course) -> None:
    kind, body = await proposal(course)
    before = await counts(course.stage)
    answers = await asyncio.gather(*(course.source.post(kind, body) for _ in range(20)))
    assert {a.raw for a in answers} == {answers[0].raw}
    changed = {name: number - before[name] for name, number in (await counts(course.stage)).items()}
    assert (changed["transfer"], changed["claim"], changed["replay_key"], changed["message"]) == (1, 1, 1, 2)


async def test_a_stored_refusal_is_repeated_too(course: Course) -> None:
    kind, body = course.source.compose("transfer.propose", [text({"kind": "offer"})])
    first = await refused(course.source, kind, body, 2001)
    before = await counts(course.stage)
    assert (await course.source.post(kind, body)).raw == first.raw
    assert await counts(course.stage) == before


async def test_an_id_comes_with_one_content(course: Course) -> None:
    kind, body = await proposal(course)
    first = await course.source.post(kind, body)
    used = payload_of(body)["id"]
    _, other = await proposal(course, id=used)
    before = await counts(course.stage)
    for _ in range(2):
        heard = await course.source.post(kind, other)
        await is_refusal(course.stage, heard, other, 2002)
        assert "seq" not in heard.payload
    assert effects(before, await counts(course.stage)) == {}
    # Both contents are kept, and the first one's answer stands.
    kept = await course.stage.count(f"message WHERE message_id = '{used}' AND direction = 'in'")
    assert kept == 3
    assert (await course.source.post(kind, body)).raw == first.raw


async def test_another_spelling_of_the_same_content_is_other_bytes(course: Course) -> None:
    kind, body = await proposal(course)
    await course.source.post(kind, body)
    await refused(course.source, kind, body + b"\n", 2002)


async def test_an_id_of_another_sender_is_another_id(course: Course) -> None:
    kind, body = await proposal(course)
    await course.source.post(kind, body)
    said = course.acquirer.compose("action.notice", [], id=payload_of(body)["id"])
    assert (await course.acquirer.post(*said)).type == "receipt"


async def test_a_message_from_the_future_is_taken_when_its_time_has_come(course: Course) -> None:
    kind, body = await proposal(course, sent_at=after(400), expires_at=after(900))
    for _ in range(2):
        heard = await refused(course.source, kind, body, 1009)
        assert "seq" not in heard.payload
    course.stage.clock.ahead = timedelta(seconds=200)
    try:
        assert verdicts(await course.source.post(kind, body)) == [Verdict("proposed", [])]
    finally:
        course.stage.clock.ahead = timedelta()


async def test_a_sender_may_be_less_than_300_seconds_ahead(course: Course) -> None:
    assert verdicts(await course.source.post(*await proposal(course, sent_at=after(290)))) == [Verdict("proposed", [])]


async def test_what_has_expired_begins_nothing(course: Course) -> None:
    heard = await refused(course.source, *await proposal(course, expires_at=after(-1)), 1009)
    assert "seq" not in heard.payload
    transfer = f"MEC01-{uuid7()}"
    for message_type, body in (("time.query", {}), ("status.query", {"transfer": transfer, "my_state": "locked"})):
        query = course.source.compose(message_type, [], body=body, expires_at=after(-1))
        await refused(course.source, *query, 1009)


async def test_a_repetition_after_its_expiry_gets_what_was_answered_in_time(course: Course) -> None:
    kind, body = await proposal(course)
    first = await course.source.post(kind, body)
    _, other = await proposal(course, id=payload_of(body)["id"])
    course.stage.clock.ahead = timedelta(seconds=301)
    try:
        before = await counts(course.stage)
        assert (await course.source.post(kind, body)).raw == first.raw
        assert await counts(course.stage) == before
        await refused(course.source, kind, other, 1009)
    finally:
        course.stage.clock.ahead = timedelta()


async def test_what_does_not_expire_is_taken_however_late(course: Course) -> None:
    kind, body = course.source.compose("action.notice", [])
    course.stage.clock.ahead = timedelta(days=400)
    try:
        assert (await course.source.post(kind, body)).type == "receipt"
    finally:
        course.stage.clock.ahead = timedelta()


async def test_every_refusal_names_its_own_entry_of_the_log(course: Course) -> None:
    before = await course.stage.count("log_entry WHERE kind = 'refused'")
    leaves = set()
    for _ in range(3):
        heard = await refused(course.source, *await proposal(course, to="GWY02"), 1008)
        leaves.add(base64.urlsafe_b64decode(heard.payload["leaf"] + "=").hex())
    assert len(leaves) == 3
    assert await course.stage.count("log_entry WHERE kind = 'refused'") == before + 3
