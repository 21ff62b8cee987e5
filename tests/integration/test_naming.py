"""Wrong ITMO identifiers are told to the source with their code, raise an alarm, are not taken, and stop nothing.

Method: played registries; a release whose ``itmo`` has one thing wrong. All data are synthetic.
"""

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.integration.test_sandbox_play import stamp, uuid7
from tests.played import Course, block
from tests.refusals import Verdict, verdicts

pytestmark = pytest.mark.asyncio(loop_scope="module")


def named(series: str, first: int, last: int, serial: int, stem: str = "CA0001-MMR99-MMR-{}-2021") -> dict[str, Any]:
    """An entry of ``itmo``: these units, and identifiers from ``serial`` on."""
    names = [stem.format(n) for n in (serial, serial + last - first)]
    origin = {"registry": "MEC01", "series": series}
    return {"origin": origin, "first": first, "last": last, "itmo": {"first": names[0], "last": names[1]}}


async def moved(course: Course, series: str, *names: dict[str, Any]) -> list[Verdict]:
    """Relay units 1 to 10 of a new series to the end, the release naming them so; what the source was told."""
    await course.issue(block(1, 10, series=series))
    item = course.proposal(block(1, 10, series=series))
    transfers = [str(item["transfer"])]
    await course.propose(item)
    await course.turn()
    await course.accept(transfers)
    await course.turn()
    told = verdicts(await course.release(transfers, {transfers[0]: list(names)}))
    assert verdicts(await course.credit(transfers)) == [Verdict("completed", [])]
    return told


async def names_of(course: Course, series: str) -> list[tuple[Any, ...]]:
    """The identifiers the book has for the units of a series: (first, last, offset)."""
    return await course.stage.rows(
        "SELECT x.first, x.last, x.itmo_offset FROM position x JOIN unit_series s ON s.id = x.series_id "
        f"WHERE x.closed_by IS NULL AND s.series = '{series}' ORDER BY x.first"
    )


@pytest.mark.parametrize(
    ("names", "code"),
    [
        ([(1, 10, 700, "CA0001-MMR99-MMR-{}-2022")], 2013),
        ([(1, 10, 700, "CA0002-MMR99-MMR-{}-2021")], 2012),
        ([(1, 10, 700, "CA0001-MMR99-GHA-{}-2021")], 2010),
        ([(1, 10, 700, "CA0001-XXX99-MMR-{}-2021")], 2011),
        ([(1, 10, 700, "CA0001-MMR99-MMR-0{}-2021")], 2006),
        ([(1, 10, 2**53 - 5, "CA0001-MMR99-MMR-{}-2021")], 2006),
        ([(11, 20, 700, "CA0001-MMR99-MMR-{}-2021")], 3006),
        ([(1, 10, 700, "CA0001-MMR99-MMR-{}-2021"), (5, 10, 900, "CA0001-MMR99-MMR-{}-2021")], 2008),
    ],
)
async def test_a_wrong_identifier_is_named_and_not_taken(
    course: Course, names: list[tuple[int, int, int, str]], code: int
) -> None:
    series = uuid7()
    alarms = await course.stage.count(f"alarm WHERE link = 'MEC01' AND code = {code}")
    [told] = await moved(course, series, *(named(series, *name) for name in names))
    assert told.state == "released"
    assert code in told.codes
    assert await course.stage.count(f"alarm WHERE link = 'MEC01' AND code = {code}") > alarms
    kept = await names_of(course, series)
    assert kept == [(1, 10, 699)] if code == 2008 else [(1, 10, None)]


async def test_an_identifier_belongs_to_one_unit_for_ever(course: Course) -> None:
    first, second = uuid7(), uuid7()
    assert await moved(course, first, named(first, 1, 10, 40_001)) == [Verdict("released", [])]
    assert await moved(course, second, named(second, 1, 10, 40_010)) == [Verdict("released", [4007])]
    assert await names_of(course, first) == [(1, 10, 40_000)]
    assert await names_of(course, second) == [(1, 10, None)]


async def test_of_one_identifier_in_two_releases_under_way_one_counts_and_the_other_is_an_alarm(course: Course) -> None:
    pair = [uuid7(), uuid7()]
    for series in pair:
        await course.issue(block(1, 10, series=series))
    items = [course.proposal(block(1, 10, series=series)) for series in pair]
    transfers = [str(item["transfer"]) for item in items]
    await course.propose(*items)
    await course.turn()
    await course.accept(transfers)
    await course.turn()
    for transfer, series in zip(transfers, pair, strict=True):
        told = await course.release([transfer], {transfer: [named(series, 1, 10, 70_001)]})
        assert verdicts(told) == [Verdict("released", [])]
    for transfer in transfers:
        assert verdicts(await course.credit([transfer])) == [Verdict("completed", [])]
    kept = [await names_of(course, series) for series in pair]
    assert kept == [[(1, 10, 70_000)], [(1, 10, None)]]
    assert await course.stage.count(f"alarm WHERE code = 4007 AND transfer_id = '{transfers[1]}'") == 1


async def test_what_is_said_of_the_first_transfer_agrees_with_the_identifiers(course: Course) -> None:
    series = uuid7()
    own = {"first": "CA0001-MMR99-MMR-80001-2021", "last": "CA0001-MMR99-MMR-80010-2021"}
    had = {**block(1, 10, series=series), "itmo": own}
    await course.issue(had, block(11, 20, series=series))
    items = [course.proposal(had), course.proposal(block(11, 20, series=series))]
    transfers = [str(item["transfer"]) for item in items]
    await course.propose(*items)
    await course.turn()
    await course.accept(transfers)
    await course.turn()
    commits = await course.named(transfers, "commit")
    said = [
        {"kind": "released", "transfer": t, "commit": commits[t], "released_at": stamp(datetime.now(UTC))}
        for t in transfers
    ]
    again = {**said[0], "first_transfer": True, "itmo": []}
    none = {**said[1], "first_transfer": False, "itmo": [named(series, 11, 20, 81_001)]}
    told = await course.source.say("transfer.released", [again, none])
    assert verdicts(told) == [Verdict("released", [5132]), Verdict("released", [2015])]


async def test_units_that_have_identifiers_get_no_others(course: Course) -> None:
    series = uuid7()
    own = {"first": "CA0001-MMR99-MMR-50001-2021", "last": "CA0001-MMR99-MMR-50010-2021"}
    await course.issue({**block(1, 10, series=series), "itmo": own})
    item = course.proposal({**block(1, 10, series=series), "itmo": own})
    transfers = [str(item["transfer"])]
    await course.propose(item)
    await course.turn()
    await course.accept(transfers)
    await course.turn()
    told = await course.release(transfers, {transfers[0]: [named(series, 1, 10, 60_001)]})
    assert verdicts(told) == [Verdict("released", [4010])]
    assert verdicts(await course.credit(transfers)) == [Verdict("completed", [])]
    assert await names_of(course, series) == [(1, 10, 50_000)]
