"""Completed actions of Parties with a section in the international registry: noted as they complete, said, answered.

The registries are played, so every answer comes when the test lets it. What a record says is compared with the signed
words behind it, never with how the gateway makes it.
"""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from gateway.alarms import store as alarms
from gateway.domain.callers import EVERYTHING
from gateway.errors import GatewayError
from tests import recorded
from tests.integration.test_sandbox_play import AUTHORISATION
from tests.played import Course, block, naming
from tests.recorded import International, items
from tests.stage import Stage


@pytest.fixture
async def network(stage: Stage) -> AsyncIterator[tuple[Course, International]]:
    course, international = await recorded.begun(stage)
    await course.issue(block(1, 100))
    before = await stage.books()
    yield course, international
    assert await stage.doctor() == []
    assert (await stage.books())["conservation"] == "holds"
    assert [r for r in (await stage.books())["registries"] if r["registry"] in recorded.SECTIONS] == [
        r for r in before["registries"] if r["registry"] in recorded.SECTIONS
    ]  # a record is not a unit


async def only(international: International) -> list[dict[str, Any]]:
    """The items of the one message there is."""
    [sent] = await international.told()
    return items(sent)


async def raised(stage: Stage) -> list[tuple[str, int, str]]:
    async with stage.gateway.database.reading() as tx:
        return [(a.transfer, a.code, a.detail) for a in await alarms.listing(tx, EVERYTHING, link="INT01")]


async def test_both_sides_of_a_transfer_are_recorded_as_they_were_signed(
    network: tuple[Course, International],
) -> None:
    course, international = network
    units = [block(1, 4), block(11, 20)]
    item = course.proposal(*units)
    transfer = str(item["transfer"])
    await course.propose(item)
    await course.turn()
    await course.accept([transfer])
    await course.turn()
    await course.release([transfer], {transfer: [naming(u, 1_000) for u in units]})
    assert await international.records() == {}  # nothing is completed
    await course.credit([transfer])
    assert await international.records() == {f"{transfer}/transfer": "waiting", f"{transfer}/acquisition": "waiting"}
    await course.turn()
    words = {
        step: (await course.stage.rows(f"SELECT item::jsonb FROM transfer_step WHERE step = '{step}'"))[0][0]
        for step in ("released", "credited")
    }
    named = [{**u, "itmo": naming(u, 1_000)["itmo"]} for u in units]
    said = {"transfer": transfer} | {name: item[name] for name in ("transferring", "acquiring", "purpose")}
    said |= {"authorisation": AUTHORISATION, "quantity": 14, "blocks": named}
    assert await only(international) == [
        {"kind": "record", "action": f"{transfer}/transfer", "type": "First transfer",
         "at": words["released"]["released_at"], "section": "MMR99", "party": "MMR", "registry": "MEC01", **said},
        {"kind": "record", "action": f"{transfer}/acquisition", "type": "Acquisition",
         "at": words["credited"]["credited_at"], "section": "KOR99", "party": "KOR", "registry": "KOR01", **said},
    ]  # fmt: skip


async def test_a_later_transfer_is_no_first_transfer_and_other_endings_are_nothing(
    network: tuple[Course, International],
) -> None:
    course, international = network
    [completed] = await course.complete(course.proposal(block(1, 5), purpose="OP"))
    voided = course.proposal(block(6, 9))
    await course.propose(voided)
    await course.void([str(voided["transfer"])])
    await course.turn()
    assert await course.stage.states([str(voided["transfer"])]) == ["cancelled"]
    assert [(r["action"], r["type"]) for r in await only(international)] == [
        (f"{completed}/transfer", "Transfer"), (f"{completed}/acquisition", "Acquisition")
    ]  # fmt: skip


async def test_use_and_cancellation_are_recorded_and_issuance_is_not(network: tuple[Course, International]) -> None:
    course, international = network
    used = course.action("use", party="MMR", account="100-1", to_account="200-1", blocks=[block(1, 4), block(9, 9)])
    cancelled = course.action("cancellation", party="MMR", account="100-1", to_account="300-1", blocks=[block(5, 8)])
    for _ in range(2):
        heard = await course.source.say("action.notice", [used, cancelled])
        assert [i["state"] for i in heard.items] == ["recorded", "recorded"]
    await course.issue(block(1_001, 1_010))
    await course.turn()
    names = ("at", "registry", "party", "account", "to_account", "blocks")
    expected = [
        {"kind": "record", "action": f"MEC01/{notice['action']}", "type": kind, "section": "MMR99",
         "quantity": quantity, "authorisation": AUTHORISATION, **{name: notice[name] for name in names}}
        for notice, kind, quantity in ((used, "Use", 5), (cancelled, "Cancellation", 4))
    ]  # fmt: skip
    assert await only(international) == expected


async def test_only_parties_with_a_section_are_recorded(stage: Stage) -> None:
    course = await Course.begun(stage)
    await course.issue(block(1, 100))
    await course.complete(course.proposal(block(1, 5)))
    international = await International.joined(stage, {"KOR99": "KOR", "THA99": "THA"})
    [later] = await course.complete(course.proposal(block(6, 10)))
    await course.use(block(11, 12))
    await course.turn()
    assert [r["action"] for r in await only(international)] == [f"{later}/acquisition"]
    assert await stage.doctor() == []


async def test_what_is_due_at_one_moment_goes_in_one_message(network: tuple[Course, International]) -> None:
    course, international = network
    await course.complete(*(course.proposal(block(first, first + 4)) for first in range(1, 31, 5)))
    await course.use(block(31, 32))
    await course.turn()
    assert len(await only(international)) == 13


async def test_a_message_is_owed_until_every_record_in_it_is_answered(network: tuple[Course, International]) -> None:
    course, international = network
    transfers = await course.complete(course.proposal(block(1, 5)), course.proposal(block(6, 10)))
    await course.turn()
    [sent] = await international.told()
    assert await international.owed() == [sent.message_id]
    assert set((await international.records()).values()) == {"sent"}
    await international.receipt(sent, "later")
    assert await international.owed() == [sent.message_id]
    await international.receipt(sent, "recorded", "later")
    assert sorted((await international.records()).values()) == ["recorded", "sent", "sent", "sent"]
    assert await international.owed() == [sent.message_id]
    await international.receipt(sent, "recorded")
    assert set((await international.records()).values()) == {"recorded"}
    assert await international.owed() == []
    before = await course.stage.rows("SELECT * FROM action_record")
    await international.receipt(sent, "refused", code=4010, detail="too late")
    assert await course.stage.rows("SELECT * FROM action_record") == before  # the first answer counts
    assert await raised(course.stage) == []
    assert len(transfers) == 2


async def test_a_refused_record_keeps_its_reasons_raises_an_alarm_and_is_not_repeated(
    network: tuple[Course, International],
) -> None:
    course, international = network
    [transfer] = await course.complete(course.proposal(block(1, 5)))
    await course.turn()
    [sent] = await international.told()
    await international.receipt(sent, "refused", "recorded", code=4010, detail="recorded with another offset")
    assert await international.records() == {f"{transfer}/transfer": "refused", f"{transfer}/acquisition": "recorded"}
    assert await international.owed() == []
    why = "recorded with another offset"
    assert await raised(course.stage) == [(transfer, 4010, f"INT01 refuses to record {transfer}/transfer: {why}")]
    found = await course.stage.rows("SELECT findings FROM action_record WHERE state = 'refused'")
    assert found == [([{"code": 4010, "detail": why}],)]
    course.stage.clock.ahead += timedelta(hours=1)
    await course.turn()
    assert len(await international.told()) == 1


async def test_a_refusal_of_the_whole_message_counts_only_as_a_verdict(
    network: tuple[Course, International],
) -> None:
    course, international = network
    [transfer] = await course.complete(course.proposal(block(1, 5)))
    await course.turn()
    [sent] = await international.told()
    body = {"findings": [{"code": 9002, "detail": "restoring"}]}
    await international.answer(sent, "refusal", [], body=body, seq=None)
    assert set((await international.records()).values()) == {"sent"}
    assert await international.owed() == [sent.message_id]
    await international.answer(sent, "refusal", [], body={"findings": [{"code": 2001, "detail": "not a record"}]})
    assert set((await international.records()).values()) == {"refused"}
    assert await international.owed() == []
    [(about, code, said)] = await raised(course.stage)
    assert (about, code) == (transfer, 2001)
    assert said.startswith("INT01 refuses to record ") and said.endswith("and 1 more with it: not a record")


async def test_an_answer_of_somebody_else_or_to_something_else_changes_nothing(
    network: tuple[Course, International],
) -> None:
    course, international = network
    await course.complete(course.proposal(block(1, 5)))
    await course.turn()
    [sent] = await international.told()
    stranger = International(course.acquirer)
    with pytest.raises(GatewayError):
        await stranger.receipt(sent, "recorded")
    odd = ['{"kind":"receipt","item":"no hash","state":"recorded","findings":[]}']
    await international.answer(sent, "receipt", odd)
    assert set((await international.records()).values()) == {"sent"}


async def test_while_a_message_is_unanswered_new_records_wait_for_company_but_not_for_ever(
    network: tuple[Course, International],
) -> None:
    course, international = network
    stage = course.stage
    sizes = []
    for nr in range(4):
        await course.use(block(nr + 1, nr + 1))
        await course.turn()
        sizes.append(len(await international.told()))
    assert sizes == [1, 1, 1, 1]
    stage.clock.ahead += timedelta(seconds=1.5)
    await course.turn()
    assert [len(items(sent)) for sent in await international.told()] == [1, 3]
    await course.use(block(5, 5))
    stage.clock.ahead += timedelta(seconds=1.5)
    await course.turn()
    assert len(await international.told()) == 2  # two are unanswered: two seconds
    stage.clock.ahead += timedelta(seconds=1)
    await course.turn()
    assert len(await international.told()) == 3
    for sent in await international.told():
        await international.receipt(sent, "recorded")
    await course.use(block(6, 6))
    await course.turn()
    assert len(await international.told()) == 4  # at once


async def test_a_message_of_records_keeps_to_the_limits(network: tuple[Course, International]) -> None:
    """Two uses of 2,000 blocks each go in two messages; the units stay apart as the notices have them."""
    course, international = network
    many = [[block(first + 2 * n, first + 2 * n) for n in range(2_000)] for first in (10_001, 20_001)]
    for blocks in many:
        await course.issue(*blocks)
    for blocks in many:
        await course.use(*blocks)
    await course.turn()
    course.stage.clock.ahead += timedelta(seconds=2)
    await course.turn()
    told = await international.told()
    assert [[len(item["blocks"]) for item in items(sent)] for sent in told] == [[2_000], [2_000]]


async def test_what_no_message_could_take_is_recorded_in_parts(network: tuple[Course, International]) -> None:
    """A release that names every other unit leaves more pieces than a message takes."""
    course, international = network
    await course.issue(block(10_001, 13_500))
    item = course.proposal(block(10_001, 13_500))
    transfer = str(item["transfer"])
    await course.propose(item)
    await course.turn()
    await course.accept([transfer])
    await course.turn()
    await course.release([transfer], {transfer: [naming(block(n, n)) for n in range(10_001, 13_501, 2)]})
    await course.credit([transfer])
    for _ in range(4):
        await course.turn()
        course.stage.clock.ahead += timedelta(seconds=8)
    said = [record for sent in await international.told() for record in items(sent)]
    assert [(r["action"], len(r["blocks"]), r["quantity"]) for r in said if r["party"] == "KOR"] == [
        (f"{transfer}/acquisition", 3_000, 3_000), (f"{transfer}+2/acquisition", 500, 500)
    ]  # fmt: skip
    assert sum(r["quantity"] for r in said if r["party"] == "MMR") == 3_500
    for sent in await international.told():
        await international.receipt(sent, "recorded")
    assert set((await international.records()).values()) == {"recorded"}


async def test_operators_see_records_page_by_page(network: tuple[Course, International]) -> None:
    course, international = network
    stage = course.stage
    await course.complete(course.proposal(block(1, 5)), course.proposal(block(6, 10)))
    await course.turn()
    [sent] = await international.told()
    await international.receipt(sent, "refused", "recorded", "later", code=4010, detail="other identifiers")
    url = "/api/v1/records"
    first = (await stage.api.get(f"{url}?limit=3")).json()
    assert first["counts"] == {"waiting": 0, "sent": 2, "recorded": 1, "refused": 1}
    rest = (await stage.api.get(f"{url}?limit=3&before={first['next']}")).json()
    assert rest["next"] is None
    shown = [*first["records"], *rest["records"]]
    assert [r["state"] for r in shown] == ["sent", "sent", "recorded", "refused"]
    assert [r["id"] for r in shown] == sorted((r["id"] for r in shown), reverse=True)
    assert shown[-1]["findings"] == [{"code": 4010, "detail": "other identifiers"}]
    assert {r["message"] for r in shown} == {sent.message_id}
    only_sent = (await stage.api.get(f"{url}?state=sent")).json()["records"]
    assert only_sent == shown[:2] and all(r["waiting"] for r in only_sent)
    assert (await stage.api.get(f"{url}?state=lost")).status_code == 422
