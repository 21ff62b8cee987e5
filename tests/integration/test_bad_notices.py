"""Notices that the book cannot take: each refused alone, no unit twice in the book nor taken from where it is not."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.integration.test_sandbox_play import stamp, text, uuid7
from tests.played import Course, block, levied
from tests.refusals import Verdict, counts, effects, ineffective, refused, verdicts

pytestmark = pytest.mark.asyncio(loop_scope="module")
RECORDED = Verdict("recorded", [])


def issuance(*blocks: dict[str, Any], **members: Any) -> dict[str, Any]:
    item = {"kind": "action", "action": uuid7(), "type": "issuance", "registry": "MEC01"}
    item |= {"positions": levied(*blocks)}
    return {**item, "at": stamp(datetime.now(UTC)), **members}


def use(*blocks: dict[str, Any], **members: Any) -> dict[str, Any]:
    item = {"kind": "action", "action": uuid7(), "type": "use", "registry": "MEC01", "party": "MMR", "account": "100-1"}
    return {**item, "at": stamp(datetime.now(UTC)), "to_account": "200-1", "blocks": list(blocks), **members}


async def issued(course: Course) -> str:
    series = uuid7()
    assert verdicts(await course.issue(block(1, 100, series=series))) == [RECORDED]
    return series


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"type": "gift"}, 2001), ({"type": None}, 2001), ({"action": ""}, 2001), ({"action": "a" * 65}, 2001),
        ({"action": "a\u0000"}, 2001), ({"action": "a\n"}, 2001), ({"action": 1}, 2001), ({"at": "yesterday"}, 2001),
        ({"at": "2026-02-30T00:00:00.000Z"}, 2001), ({"at": "0000-01-01T00:00:00.000Z"}, 2001), ({"more": 1}, 2001),
        ({"registry": 1}, 2001), ({"synthetic": 1}, 2001), ({"synthetic": None}, 2001), ({"positions": {}}, 2001),
        ({"positions": [1]}, 2001), ({"positions": []}, 2005), ({"kind": "position"}, 2001),
    ],
    ids=repr,
)  # fmt: skip
async def test_what_is_no_notice_is_refused_with_its_message(
    course: Course, members: dict[str, Any], code: int
) -> None:
    good, bad = issuance(block(1, 5, series=uuid7())), issuance(block(1, 5, series=uuid7()), **members)
    await refused(course.source, *course.source.compose("action.notice", [text(good), text(bad)]), code)


@pytest.mark.parametrize("value", [True, 1.0, "1", None, [], 2**53])
async def test_a_serial_that_is_no_whole_number_is_refused_with_its_message(course: Course, value: Any) -> None:
    bad = issuance({**block(1, 5, series=uuid7()), "first": value})
    await refused(course.source, *course.source.compose("action.notice", [text(bad)]), 2001)


@pytest.mark.parametrize(
    ("item", "code"),
    [
        (issuance(block(0, 5)), 2006), (issuance(block(-5, 5)), 2006), (issuance(block(6, 5)), 2007),
        (issuance(block(1, 5), block(5, 9)), 2008), (issuance(block(1, 5, series="a b")), 2006),
        (issuance(block(1, 5), registry="KOR01"), 1010), (issuance(block(1, 5), registry="x"), 1010),
        (issuance({**block(1, 5), "origin": {"registry": "KOR01", "series": "S"}}), 1010),
        (use(block(1, 5), account="200-1"), 2015), (use(block(1, 5), to_account="100-1"), 2015),
        (use(block(1, 5), to_account="300-1"), 2015), (use(block(1, 5), party="xxx"), 2010),
        (use(block(1, 5, series="NOWHERE")), 4003),
    ],
)  # fmt: skip
async def test_wrong_data_refuse_one_notice_alone(course: Course, item: dict[str, Any], code: int) -> None:
    assert await ineffective(course.source, "action.notice", [item]) == [Verdict("refused", [code])]
    good = issuance(block(1, 5, series=uuid7()))
    assert verdicts(await course.source.say("action.notice", [item, good])) == [Verdict("refused", [code]), RECORDED]


async def test_units_enter_the_book_once(course: Course) -> None:
    series = await issued(course)
    again = [issuance(block(100, 110, series=series)), issuance(block(1, 100, series=series))]
    found = await ineffective(course.source, "action.notice", again)
    assert [set(v.codes) for v in found] == [{4007, 2008}, {4007, 2008}]
    new = uuid7()
    both = [issuance(block(1, 10, series=new)), issuance(block(10, 20, series=new))]
    assert await ineffective(course.source, "action.notice", both) == [Verdict("refused", [2008])] * 2


async def test_an_identifier_belongs_to_one_unit(course: Course) -> None:
    def named(series: str, first: int = 1) -> dict[str, Any]:
        names = {"first": f"CA0001-MMR99-MMR-{first}-2021", "last": f"CA0001-MMR99-MMR-{first + 9}-2021"}
        return issuance(block(1, 10, series=series, itmo=names))

    both = [named(uuid7(), 501), named(uuid7(), 505)]
    assert await ineffective(course.source, "action.notice", both) == [Verdict("refused", [2008])] * 2
    assert verdicts(await course.source.say("action.notice", [named(uuid7(), 601)])) == [RECORDED]
    assert await ineffective(course.source, "action.notice", [named(uuid7(), 610)]) == [Verdict("refused", [4007])]


async def test_what_is_not_held_there_is_not_used(course: Course) -> None:
    series = await issued(course)
    name = "CA0001-MMR99-MMR-7777-2021"
    bad = {
        "beyond what there is": (use(block(91, 110, series=series)), {4004}),
        "another account": (use(block(1, 5, series=series), account="110-1"), {4004}),
        "another Party": (use(block(1, 5, series=series), party="KOR"), {4004}),
        "other attributes": (use(_with(block(1, 5, series=series), activity="PoA 1")), {4010}),
        "other identifiers": (use(block(1, 1, series=series, itmo={"first": name, "last": name})), {4010}),
    }
    for why, (item, codes) in bad.items():
        [found] = await ineffective(course.source, "action.notice", [item])
        assert (found.state, set(found.codes)) == ("refused", codes), why
    assert verdicts(await course.use(block(1, 50, series=series))) == [RECORDED]
    assert await ineffective(course.source, "action.notice", [use(block(50, 60, series=series))]) == [
        Verdict("refused", [4006])
    ]


async def test_what_a_transfer_holds_is_not_used(course: Course) -> None:
    series = await issued(course)
    await course.propose(course.proposal(block(1, 50, series=series)))
    items = [use(block(50, 60, series=series)), use(block(61, 70, series=series))]
    assert verdicts(await course.source.say("action.notice", items)) == [Verdict("refused", [4005]), RECORDED]


async def test_units_are_used_once_whatever_the_message(course: Course) -> None:
    series = await issued(course)
    both = [use(block(1, 50, series=series)), use(block(50, 60, series=series))]
    assert await ineffective(course.source, "action.notice", both) == [Verdict("refused", [2008])] * 2
    item = use(block(1, 50, series=series))
    assert verdicts(await course.source.say("action.notice", [item])) == [RECORDED]
    # The same notice in another message is known; another content under its name is refused.
    assert await ineffective(course.source, "action.notice", [item]) == [RECORDED]
    other = {**item, "blocks": [block(51, 60, series=series)]}
    assert await ineffective(course.source, "action.notice", [other]) == [Verdict("refused", [2004])]
    one = use(block(71, 80, series=series))
    two = {**one, "blocks": [block(81, 90, series=series)]}
    assert verdicts(await course.source.say("action.notice", [one, two])) == [RECORDED, Verdict("refused", [2004])]


async def test_another_registry_cannot_dispose_of_units_it_does_not_hold(course: Course) -> None:
    series = await issued(course)
    item = use(block(1, 10, series=series), registry="KOR01")
    assert await ineffective(course.acquirer, "action.notice", [item]) == [Verdict("refused", [4011])]
    item = use(block(1, 10, series=series), registry="KOR01", party="KOR")
    assert await ineffective(course.acquirer, "action.notice", [item]) == [Verdict("refused", [4004])]
    item = use(block(1, 10, series=series))
    assert await ineffective(course.acquirer, "action.notice", [item]) == [Verdict("refused", [1010])]


async def test_the_limits_of_a_message_hold_for_all_its_notices_together(course: Course) -> None:
    blocks = [block(3 * n + 1, 3 * n + 2, series="MANY") for n in range(3_001)]
    for items in ([issuance(*blocks)], [issuance(*blocks[:1_500]), use(*blocks[1_500:])]):
        await refused(course.source, *course.source.compose("action.notice", [text(i) for i in items]), 2005)
    many = [text(issuance(b)) for b in blocks[:1_001]]
    await refused(course.source, *course.source.compose("action.notice", many), 2001)


async def test_of_notices_that_meet_one_is_recorded_and_none_is_a_fault(course: Course) -> None:
    series = uuid7()
    before = await counts(course.stage)
    items = [issuance(block(1, n, series=series)) for n in range(1, 11)]
    bodies = [course.source.compose("action.notice", [text(i)]) for i in items]
    found = [verdicts(h)[0] for h in await asyncio.gather(*(course.source.post(*b) for b in bodies))]
    assert sorted(v.state for v in found) == ["recorded"] + ["refused"] * 9
    assert {c for v in found for c in v.codes} == {4007}
    assert effects(before, await counts(course.stage)) == {
        "action": 1, "position": 2, "unit_series": 2, "live positions": 2,
    }  # fmt: skip


def _with(raw: dict[str, Any], **attributes: Any) -> dict[str, Any]:
    return {**raw, "attributes": {**raw["attributes"], **attributes}}
