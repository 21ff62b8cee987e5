"""What a registry says of its own units is kept as it spells it, flagged where our lists lack it, and never mapped.

The sandbox issues over the wire; the other notices are played. All units and values are synthetic.
"""

from typing import Any

from tests.integration.test_bad_links import position, registered
from tests.integration.test_sandbox_play import ATTRIBUTES, uuid7
from tests.played import Course, block
from tests.refusals import Verdict, verdicts
from tests.stage import Stage

AHEAD = {
    "sector": "Space mirrors",
    "activity_type": "Albedo",
    "underlying": {"registry": "Luna", "first": "L-1", "last": "L-9"},
}
FLAGGED = Verdict("recorded", [2014, 2014, 2014])


async def kept(stage: Stage) -> list[dict[str, Any]]:
    """The attributes in the book, as they were announced."""
    return [dict(row[0]) for row in await stage.rows("SELECT attributes FROM unit_attributes")]


def ahead(first: int, last: int, series: str) -> dict[str, Any]:
    """Units whose three open values are in no list of ours; of a type without deductions at issuance."""
    return block(first, last, series, attributes=ATTRIBUTES | AHEAD | {"unit_type": "MO"})


async def test_an_unknown_sector_of_a_registry_is_recorded_verbatim_and_cannot_be_transferred(linked: Stage) -> None:
    await linked.registries["KOR01"].post("accounts", party="KOR", account="100-1")
    await linked.issue(100, series="AHEAD", sop_percent=0, attributes={"sector": "Space mirrors"})
    assert {a["sector"] for a in await kept(linked)} == {"Space mirrors"}
    [[answered]] = await linked.rows(
        "SELECT convert_from(body, 'UTF8') FROM message WHERE direction = 'out' AND type = 'receipt' AND peer = 'MEC01'"
        " ORDER BY entry_id DESC LIMIT 1"
    )
    assert '\\"state\\":\\"recorded\\"' in answered and "2014" in answered and "Space mirrors" in answered
    [transfer] = await linked.propose(10)
    assert await linked.relay([transfer]) == ["refused"]
    findings = (await linked.transfer(transfer))["transfer"]["findings"]
    assert [f["code"] for f in findings] == [2014]
    assert "Space mirrors" in findings[0]["detail"]
    assert (await linked.books())["conservation"] == "holds"
    assert await linked.doctor() == []


async def test_use_of_units_with_unknown_values_is_recorded_and_flagged(stage: Stage) -> None:
    course, series = await Course.begun(stage), uuid7()
    assert verdicts(await course.issue(ahead(1, 9, series))) == [FLAGGED]
    notice = course.action("use", party="MMR", account="100-1", to_account="200-1", blocks=[ahead(1, 9, series)])
    for _ in ("told", "told again"):
        assert verdicts(await course.source.say("action.notice", [notice])) == [FLAGGED]
    assert AHEAD.items() <= (await kept(stage))[0].items()


async def test_values_of_closed_lists_are_refused_in_notices_too(stage: Stage) -> None:
    course = await Course.begun(stage)
    for name in ("unit_type", "metric", "mitigation_type"):
        unknown = block(1, 9, uuid7(), attributes=ATTRIBUTES | {name: "Space mirrors"})
        assert verdicts(await course.issue(unknown)) == [Verdict("refused", [2014])]
    assert await kept(stage) == []


async def test_an_opening_balance_with_unknown_values_activates_the_link(stage: Stage) -> None:
    source = await registered(stage, "MEC01")
    series = uuid7()
    flagged, wrong = position(1, 9, block=ahead(1, 9, series)), position(10, 10, party="XXX")
    assert verdicts(await source.say("link.activate", [flagged, wrong])) == [
        Verdict("refused", [2014, 2014, 2014, 3006]),
        Verdict("refused", [2010]),
    ]
    assert verdicts(await source.say("link.activate", [flagged])) == [FLAGGED]
    assert await stage.count("link WHERE state = 'active'") == 1
