"""Which version of an authorisation units are under: of what was never first transferred, the one in force.

Method: units for other purposes, first transferred by use, are relayed before the authorisation is changed or revoked,
and used after it. Scope: rulings, and the version that the book keeps. All data are synthetic.
"""

from typing import Any

import pytest

from tests.integration.test_post_issuance import terms
from tests.integration.test_sandbox_play import uuid7
from tests.played import Course, block
from tests.refusals import Verdict, verdicts

pytestmark = pytest.mark.asyncio(loop_scope="module")
RECORDED = Verdict("recorded", [])
OTHERS = {"purposes": "OIMP", "first_transfer_definition": "Use or Cancellation"}


def under(name: str, units: dict[str, Any]) -> dict[str, Any]:
    return {**units, "attributes": {**units["attributes"], "authorisation": {"id": name, "version": 1}}}


async def tell(course: Course, name: str, version: int, **members: Any) -> None:
    told = terms(name, **OTHERS | {"version": version, **members})
    assert verdicts(await course.notice("authorisation", authorisation=told)) == [RECORDED]


async def relayed(course: Course) -> tuple[str, dict[str, Any]]:
    """An authorisation, and units that KOR01 received under its first version and that are no ITMOs yet."""
    name, series = f"A-{uuid7()}", uuid7()
    await tell(course, name, 1)
    held, taken = (under(name, block(*serials, series=series)) for serials in ((1, 98), (99, 100)))
    places = [("100-1", held), ("320-1", taken)]
    positions = [{"party": "MMR", "account": account, "block": units} for account, units in places]
    assert verdicts(await course.notice("issuance", positions=positions, synthetic=True)) == [RECORDED]
    item = course.proposal(held, purpose="IMP", authorisation={"id": name, "version": 1})
    await course.complete(item)
    assert await kept(course, series) == [(1, 98, 1, False)]
    return name, held


async def kept(course: Course, series: str) -> list[tuple[Any, ...]]:
    """KOR01's positions: serials, the version that the book keeps, whether they were first transferred."""
    return await course.stage.rows(
        "SELECT p.first, p.last, p.relied_on, p.first_transferred_at IS NOT NULL FROM position p"
        f" JOIN unit_series s ON s.id = p.series_id WHERE s.series = '{series}' AND p.closed_by IS NULL"
        " AND p.registry = 'KOR01' ORDER BY p.first"
    )


async def use(course: Course, units: dict[str, Any], first: int, last: int) -> Verdict:
    item = course.action("use", party="KOR", account="100-1", to_account="210-1", registry="KOR01")
    [found] = verdicts(
        await course.acquirer.say("action.notice", [item | {"blocks": [{**units, "first": first, "last": last}]}])
    )
    return found


async def test_units_are_kept_under_the_version_under_which_they_were_first_transferred(course: Course) -> None:
    name, units = await relayed(course)
    series = units["origin"]["series"]
    assert await use(course, units, 1, 10) == RECORDED
    await tell(course, name, 2, parties=["CHE"])
    assert await use(course, units, 11, 20) == Verdict("refused", [5140])  # Korea is no authorised Party any more
    await tell(course, name, 3, parties=["KOR"])
    assert await use(course, units, 11, 20) == RECORDED
    assert await kept(course, series) == [(1, 10, 1, True), (11, 20, 3, True), (21, 98, 1, False)]


async def test_units_that_moved_before_a_revocation_are_not_first_transferred_after_it(course: Course) -> None:
    name, units = await relayed(course)
    reference = {"id": name, "version": 1}
    told = await course.notice("revocation", party="MMR", authorisation=reference, reason="by agreement")
    assert verdicts(told) == [RECORDED]
    assert await use(course, units, 1, 10) == Verdict("refused", [5103])
