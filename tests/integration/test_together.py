"""Messages that arrive together are applied together, and to each the same happens as if it had come alone.

Method: a played registry posts many single proposals at once; the same courses one after another are the measure.
"""

import asyncio
from typing import Any

import pytest

from tests.integration.test_sandbox_play import text, uuid7
from tests.played import Course, block
from tests.refusals import Verdict, verdicts

pytestmark = pytest.mark.asyncio(loop_scope="module")
MANY = 40


async def proposals(course: Course) -> list[dict[str, Any]]:
    """Single proposals: sound ones, one of units that are not there, one with wrong data, two of one unit."""
    series = uuid7()
    await course.issue(block(1, 10 * MANY, series=series))
    items = [course.proposal(block(10 * n + 1, 10 * n + 10, series=series)) for n in range(MANY)]
    items[3]["blocks"] = [{**block(31, 40, series=series), "first": 0}]
    items[5]["blocks"] = [block(1, 10, series=uuid7())]
    items[8]["blocks"] = [block(61, 70, series=series)]  # the units of items[6]
    return items


async def test_what_comes_at_once_gets_its_own_answer(course: Course) -> None:
    items = await proposals(course)
    before = await course.stage.count("transfer_event")
    heard = await asyncio.gather(*(course.source.say("transfer.propose", [item]) for item in items))
    for item, answer in zip(items, heard, strict=True):
        assert [told["transfer"] for told in answer.items] == [item["transfer"]]
    states = [verdicts(answer)[0] for answer in heard]
    assert states[3] == Verdict("ending", [2006])
    clash = sorted([states[6], states[8]], key=lambda v: v.state)
    assert clash == [Verdict("ending", [4005]), Verdict("proposed", [])]
    others = [state for nr, state in enumerate(states) if nr not in (3, 5, 6, 8)]
    assert set(map(str, others)) == {str(Verdict("proposed", []))}
    assert await course.stage.count("transfer_event") >= before + MANY
    entries = (
        "SELECT count(DISTINCT entry_id) FROM transfer_step WHERE step = 'propose' AND transfer_id = ANY(ARRAY[{}])"
    )
    named = ",".join(f"'{item['transfer']}'" for item in items)
    assert (await course.stage.rows(entries.format(named)))[0][0] == MANY  # each in the message that brought it


async def test_together_they_cost_few_transactions(course: Course) -> None:
    series = uuid7()
    await course.issue(block(1, MANY, series=series))
    items = [course.proposal(block(n + 1, n + 1, series=series)) for n in range(MANY)]
    await asyncio.gather(*(course.source.say("transfer.propose", [item]) for item in items))
    named = ",".join(f"'{item['transfer']}'" for item in items)
    written = (
        f"SELECT count(DISTINCT xmin::text) FROM transfer_step WHERE step = 'propose' AND transfer_id IN ({named})"
    )
    assert (await course.stage.rows(written))[0][0] <= MANY // 2


async def test_a_repetition_and_a_reused_id_among_others_are_told_apart(course: Course) -> None:
    series = uuid7()
    await course.issue(block(1, 100, series=series))
    items = [course.proposal(block(10 * n + 1, 10 * n + 10, series=series)) for n in range(6)]
    other = course.proposal(block(91, 100, series=series))
    ids = [uuid7() for _ in items]
    composed = [course.source.compose("transfer.propose", [text(i)], id=m) for i, m in zip(items, ids, strict=True)]
    reused = course.source.compose("transfer.propose", [text(other)], id=ids[0])
    await course.source.post(*composed[0])
    same = [composed[0]] * 3
    answers = await asyncio.gather(*(course.source.post(*message) for message in [*same, reused, *composed]))
    assert len({answer.jws for answer in [*answers[:3], answers[4]]}) == 1
    assert [f["code"] for f in answers[3].payload["body"]["findings"]] == [2002]
    assert await course.stage.count(f"transfer WHERE id = '{other['transfer']}'") == 0
    assert await course.stage.states([str(i["transfer"]) for i in items]) == ["proposed"] * 6


async def test_a_message_that_is_not_of_the_protocol_harms_no_other(course: Course) -> None:
    series = uuid7()
    await course.issue(block(1, 100, series=series))
    good = [course.proposal(block(10 * n + 1, 10 * n + 10, series=series)) for n in range(8)]
    bad = {**course.proposal(block(91, 100, series=series)), "note": "x"}
    heard = await asyncio.gather(*(course.source.say("transfer.propose", [item]) for item in [*good, bad]))
    assert [verdicts(answer) for answer in heard[:-1]] == [[Verdict("proposed", [])]] * len(good)
    assert [f["code"] for f in heard[-1].payload["body"]["findings"]] == [2001]


async def test_two_messages_about_one_transfer_begin_it_once(course: Course) -> None:
    series = uuid7()
    await course.issue(block(1, 100, series=series))
    item = course.proposal(block(1, 10, series=series))
    others = [course.proposal(block(10 * n + 11, 10 * n + 20, series=series)) for n in range(4)]
    heard = await asyncio.gather(*(course.source.say("transfer.propose", [i]) for i in [item, *others, item]))
    assert [verdicts(answer)[0].state for answer in heard] == ["proposed"] * 6
    assert await course.stage.count(f"transfer_event WHERE transfer_id = '{item['transfer']}'") == 1
