"""Units that were issued without an authorisation get one afterwards, all of their issuance, or none does (5123).

Scope: ``authorisations.granting`` behind the notices of a registry that the tests play. All data are synthetic.
"""

from typing import Any

import pytest

from tests.integration.test_sandbox_play import uuid7
from tests.played import Course, block
from tests.refusals import Verdict, effects, verdicts
from tests.refusals import counts as counted

pytestmark = pytest.mark.asyncio(loop_scope="module")
RECORDED = Verdict("recorded", [])
#: Untouched since issuance, and nothing of the issuance left out.
UNTOUCHED = 5123
REFUSED = Verdict("refused", [UNTOUCHED])


def contribution(series: str, first: int, last: int) -> dict[str, Any]:
    """Mitigation contribution units: issued without an authorisation."""
    units = block(first, last, series=series)
    return {**units, "attributes": {**units["attributes"], "authorisation": None}}


async def issued(course: Course) -> str:
    """A series of 98 units in the holding account and 2 cancelled for OMGE; Myanmar is exempt from more."""
    series = uuid7()
    places = [("100-1", contribution(series, 1, 98)), ("320-1", contribution(series, 99, 100))]
    positions = [{"party": "MMR", "account": account, "block": units} for account, units in places]
    assert verdicts(await course.notice("issuance", positions=positions, synthetic=True)) == [RECORDED]
    return series


def terms(name: str, **members: Any) -> dict[str, Any]:
    return {
        "id": name, "version": 1, "party": "MMR", "kinds": ["ITMOs"], "date": "2026-01-01",
        "cooperative_approach": "CA0001", "purposes": "NDC", "period": {"first": None, "last": None}, **members,
    }  # fmt: skip


def ranges(series: str, *serials: tuple[int, int]) -> list[dict[str, Any]]:
    origin = {"registry": "MEC01", "series": series}
    return [{"origin": origin, "first": first, "last": last} for first, last in serials]


async def granted(course: Course, units: list[dict[str, Any]], **members: Any) -> list[Verdict]:
    """What becomes of an authorisation, told now, that these units are to get."""
    told = terms(f"A-{uuid7()}", **members)
    return verdicts(await course.notice("authorisation", authorisation=told, units=units, synthetic=True))


async def refused(course: Course, units: list[dict[str, Any]], **members: Any) -> bool:
    """Whether nothing is changed, for this reason alone."""
    before = await counted(course.stage)
    found = await granted(course, units, **members)
    return found == [REFUSED] and effects(before, await counted(course.stage)) == {}


async def names(course: Course, series: str) -> list[tuple[Any, ...]]:
    """The live positions of a series: serials, type of account, the authorisation's name."""
    return await course.stage.rows(
        "SELECT p.first, p.last, p.account_type, a.attributes -> 'authorisation' ->> 'id' FROM position p"
        " JOIN unit_attributes a ON a.id = p.attributes_id JOIN unit_series s ON s.id = p.series_id"
        f" WHERE s.series = '{series}' AND p.closed_by IS NULL ORDER BY p.first"
    )


async def test_untouched_units_get_an_authorisation_after_issuance(course: Course) -> None:
    series = await issued(course)
    assert await granted(course, ranges(series, (1, 98), (99, 100))) == [RECORDED]  # not UNTOUCHED's refusal
    [kept, taken] = await names(course, series)
    assert (kept[:3], taken[:3]) == ((1, 98, 100), (99, 100, 320))
    assert kept[3] == taken[3] is not None


async def test_what_moved_or_is_authorised_already_gets_no_authorisation_afterwards(course: Course) -> None:
    used, done = await issued(course), await issued(course)
    spent = contribution(used, 1, 10)
    assert verdicts(await course.use(spent)) == [RECORDED]
    assert await granted(course, ranges(done, (1, 100))) == [RECORDED]
    assert await refused(course, ranges(used, (1, 100))), f"used in part: {UNTOUCHED}"
    assert await refused(course, ranges(done, (1, 100))), f"under an authorisation: {UNTOUCHED}"


async def test_what_was_deducted_at_issuance_is_authorised_with_the_rest_or_nothing_is(course: Course) -> None:
    series = await issued(course)
    assert await refused(course, ranges(series, (1, 98)))
    assert await granted(course, ranges(series, (1, 100))) == [RECORDED]


async def test_only_units_of_its_own_in_the_book_get_a_partys_authorisation(course: Course) -> None:
    series = await issued(course)
    assert await refused(course, ranges(series, (1, 101)))
    assert await refused(course, ranges(series, (1, 100)), party="GHA")
