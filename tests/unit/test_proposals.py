"""What would make a difference right is said of the very units, and no more of a peer's words than a Party's code."""

import json
from typing import Any

import pytest

from gateway.domain.identifiers import parse_registry_code
from gateway.domain.units import Origin, UnitRange
from gateway.reconciliation.proposals import MOST, proposed

UNITS = UnitRange(Origin(parse_registry_code("MEC01"), "S"), 1, 100)


def state(party: Any = "KOR", account_type: Any = 100, **attributes: Any) -> str:
    return json.dumps({"party": party, "account_type": account_type, "attributes": attributes, "itmo": None})


@pytest.mark.parametrize(
    ("check", "here", "there", "said"),
    [
        ("6302", state(), None, "KOR01 restores MEC01/S/1-100 to KOR 100 (as the gateway's book), or tells the action "
                                "that took them out"),
        ("6301", None, state(), "KOR01 tells by which action MEC01/S/1-100 came to KOR 100; or takes them out of its "
                                "books"),
        ("4007", None, state(), "KOR01 takes MEC01/S/1-100 out of KOR 100; or who has them takes them out and two "
                                "persons correct the gateway's book to KOR 100"),
        ("6303", state(activity="A", vintage=2021), state(activity="B", vintage=2021),
         "KOR01 changes activity of MEC01/S/1-100 back, as the gateway's book has it; or two persons correct the book "
         "by its signed state"),
        ("6304", state(), state(account_type=300), "KOR01 moves MEC01/S/1-100 from KOR 300 back to KOR 100 (as the "
                                                   "gateway's book), or tells the action that moved them"),
        ("6401", None, None, "KOR01 ends or tells the transfer that still locks MEC01/S/1-100 there"),
        ("6402", None, None, "KOR01 asks for what it has not heard of the transfer of MEC01/S/1-100, and is told "
                             "again"),
        ("II03", None, None, None),
    ],
)  # fmt: skip
def test_each_difference_names_who_would_do_what_to_which_units(
    check: str, here: str | None, there: str | None, said: str | None
) -> None:
    assert proposed(check, "KOR01", UNITS, here, there) == said


@pytest.mark.parametrize(
    "there",
    [
        "[" * 8_000,
        "{}",
        "[]",
        "7",
        '"x"',
        state("X" * 8_000),
        state("{a}"),
        state(account_type=10**300),
        state(True, "9"),
    ],
)
def test_a_state_that_is_none_is_not_repeated_and_the_text_is_bounded(there: str) -> None:
    for check in ("4007", "6301", "6302", "6303", "6304", "6401", "6402"):
        said = proposed(check, "KOR01", UNITS, state(**{f"a{n}": "x" * 900 for n in range(400)}), there)
        assert said is not None and len(said) <= MOST and not set("[]{}") & set(said) and "XXXX" not in said
