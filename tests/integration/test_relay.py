"""Transfers through a real gateway between real registries, whole courses: what arrives, and what is told of it.

A registry answers in the HTTP response or by a message of its own, or speaks another wire; whichever each side does,
it is one course.
"""

from itertools import product
from typing import Any

import pytest

from tests.stage import Stage

STYLES = [*product(("reply", "message"), repeat=2), ("des", "des"), ("des", "reply"), ("message", "des")]
pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.parametrize("either", STYLES, indirect=True, ids="-".join),
]
TOTALS = ("issued", "held", "used", "cancelled", "moved_in", "moved_out")
#: Every statement of a course that is completed: who says it, and in which message.
COURSE = {
    "propose": ("in", "MEC01", "transfer.propose"),
    "offer": ("out", "KOR01", "transfer.offer"),
    "answer": ("in", "KOR01", "transfer.answer"),
    "commit": ("out", "MEC01", "transfer.commit"),
    "released": ("in", "MEC01", "transfer.released"),
    "settle": ("out", "KOR01", "transfer.settle"),
    "credited": ("in", "KOR01", "transfer.credited"),
    "closed-source": ("out", "MEC01", "transfer.closed"),
    "closed-acquirer": ("out", "KOR01", "transfer.closed"),
}


#: What is cancelled at an issuance of which 10,000 t are left: 2 % of 10,205.
OMGE = 205


async def test_units_proposed_arrive_and_both_sides_are_told(either: Stage) -> None:
    before = await totals(either)
    held = await either.issue(net=10_000, series="ARRIVE")
    transfers = await either.propose(held - 100, 100)
    assert await either.relay(transfers) == ["completed", "completed"]
    after = await totals(either)
    assert gained(before, after, "KOR01") == {"held": held, "moved_in": held}
    gross = held + OMGE
    assert gained(before, after, "MEC01") == {"issued": gross, "cancelled": OMGE, "moved_out": held}
    assert (await either.books())["conservation"] == "holds"
    for code, registry in either.registries.items():
        own = await registry.get("books")
        assert {name: own[name] for name in TOTALS} == {name: after[code][name] for name in TOTALS}
        assert (own["locked"], own["alarms"]) == (0, [])
        told = (await registry.get("transfers"))["transfers"]
        assert {t["state"] for t in told if t["transfer"] in transfers} == {"done"}


async def test_a_course_shows_each_step_once_and_every_statement_with_its_message(either: Stage) -> None:
    await either.issue(net=10, series="COURSE")
    [transfer] = await either.propose(10)
    assert await either.relay([transfer]) == ["completed"]
    course = await either.transfer(transfer)
    states = ["proposed", "checked", "accepted", "committing", "released", "completed"]
    assert [(e["version"], e["state"]) for e in course["events"]] == list(enumerate(states, 1))
    assert len(course["messages"]) == len(COURSE)
    assert {m["step"]: (m["direction"], m["peer"], m["type"]) for m in course["messages"]} == COURSE
    assert sum(b["quantity"] for b in course["blocks"]) == 10
    assert not any(b["claimed"] for b in course["blocks"])
    shown = course["transfer"]
    assert (shown["next_at"], shown["waiting"], shown["findings"], shown["kyoto_status"]) == (None, None, [], 4)
    assert shown["next_action"] == "none: the units are at KOR01"


async def totals(stage: Stage) -> dict[str, dict[str, Any]]:
    return {row["registry"]: row for row in (await stage.books())["registries"]}


def gained(before: dict[str, dict[str, Any]], after: dict[str, dict[str, Any]], code: str) -> dict[str, int]:
    """By how much the totals of a registry have changed, those that have."""
    changes = {name: after[code][name] - before[code][name] for name in (*TOTALS, "in_transit")}
    return {name: change for name, change in changes.items() if change}
