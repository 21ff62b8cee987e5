"""Totals of a registry are ours and what differs, or they are not those of what it tells of its positions."""

import json

import pytest

from gateway.domain.fingerprints import state_text
from gateway.domain.identifiers import LinkCode, RegistryCode
from gateway.domain.units import Origin, UnitRange
from gateway.reconciliation.classify import Differing
from gateway.reconciliation.reading import Totals, follows

UNITS = UnitRange(Origin(RegistryCode(LinkCode("MEC01")), "S1"), 1, 10)
KOREAN = state_text("KOR", 100, {"vintage": 2021}, None)
RETIRED = state_text("KOR", 230, {"vintage": 2021}, None)
HELD: Totals = {("KOR", 100, 2021): 100}


@pytest.mark.parametrize(
    ("here", "there", "totals"),
    [
        (KOREAN, None, {("KOR", 100, 2021): 90}),
        (None, KOREAN, {("KOR", 100, 2021): 110}),
        (KOREAN, RETIRED, {("KOR", 100, 2021): 90, ("KOR", 230, 2021): 10}),
    ],
)
def test_a_difference_moves_the_totals_by_its_units(here: str | None, there: str | None, totals: Totals) -> None:
    differing = [Differing("KOR01", UNITS, here, there)]
    assert follows(HELD, totals, differing)
    assert not follows(HELD, HELD, differing)


def test_a_total_that_comes_to_nothing_is_not_told() -> None:
    assert follows({("KOR", 100, 2021): 10}, {}, [Differing("KOR01", UNITS, KOREAN, None)])
    assert follows(HELD, HELD, []) and not follows(HELD, {("KOR", 100, 2021): 99}, [])


@pytest.mark.parametrize(
    "state",
    ["", "null", "[]", "{}", "[" * 100_000, json.dumps({"party": "KOR", "account_type": 100, "attributes": []}),
     json.dumps({"party": ["KOR"], "account_type": 100, "attributes": {"vintage": 2021}}),
     json.dumps({"party": "KOR", "account_type": True, "attributes": {"vintage": 2021}})],
)  # fmt: skip
def test_a_state_that_nobody_can_read_is_counted_nowhere(state: str) -> None:
    assert not follows(HELD, HELD, [Differing("KOR01", UNITS, None, state)])
