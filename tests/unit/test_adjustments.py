"""Corresponding adjustments: what adds, what subtracts, in which year, and how a method applies it. Synthetic data."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.reports.adjustments import (
    Account,
    Effect,
    Entry,
    Method,
    Movement,
    Quotient,
    accounts,
    counted,
    entries,
)


def moved(kind: str = "First transfer", **changes: object) -> Movement:
    """Ten units of Myanmar of 2021, first transferred; or what becomes of them."""
    first = kind == "First transfer"
    values: dict[str, object] = {
        "type": kind, "party": "MMR", "first_transferring_party": "MMR", "vintage": 2021, "metric": "GHG",
        "purpose": "NDC", "year": None, "first_transfer": first, "first_transferred": True, "quantity": 10,
        "cause": "c",
    }  # fmt: skip
    return Movement(**(values | changes))  # type: ignore[arg-type]


def used(year: int = 2026, **changes: object) -> Movement:
    return moved("Use", **({"party": "KOR", "year": year} | changes))


def of(party: str, movements: list[Movement], method: Method = Method.TRAJECTORY, last: int = 2026) -> Account:
    [account] = accounts(counted(movements, party), method, 2021, last)
    return account


def test_a_first_transfer_adds_in_the_year_the_mitigation_occurred() -> None:
    assert list(entries(moved(vintage=2023))) == [Entry("MMR", "GHG", 2023, Effect.FIRST_TRANSFERRED, 10, "c")]
    assert [y.annual for y in of("MMR", [moved(vintage=2023)]).years] == [0, 0, 10, 0, 0, 0]


def test_a_use_towards_the_ndc_subtracts_in_the_year_it_is_used_for() -> None:
    assert list(entries(used(2024))) == [Entry("KOR", "GHG", 2024, Effect.USED, 10, "c")]
    assert [y.annual for y in of("KOR", [used(2024)]).years] == [0, 0, 0, -10, 0, 0]


@pytest.mark.parametrize(
    "movement",
    [
        moved("Transfer"),
        moved("Cancellation", purpose="OMGE"),
        used(purpose="IMP", year=None),
        used(party="MMR", first_transferred=False),  # its own reductions: in its inventory already
    ],
)
def test_what_neither_first_transfers_nor_uses_itmos_towards_an_ndc_does_nothing(movement: Movement) -> None:
    assert list(entries(movement)) == []


def test_a_use_that_is_the_first_transfer_adds_for_the_host_whatever_it_is_for() -> None:
    movement = moved("Use", party="CHE", purpose="IMP", first_transfer=True)
    assert list(entries(movement)) == [Entry("MMR", "GHG", 2021, Effect.FIRST_TRANSFERRED, 10, "c")]


def test_other_metrics_have_accounts_of_their_own_with_the_signs_the_other_way_round() -> None:
    movements = [moved(), moved(metric="non-GHG", quantity=7), used(metric="non-GHG", party="MMR", quantity=2)]
    found = accounts(counted(movements, "MMR"), Method.TRAJECTORY, 2021, 2026)
    assert [(a.metric, [y.annual for y in a.years]) for a in found] == [
        ("GHG", [10, 0, 0, 0, 0, 0]), ("non-GHG", [-7, 0, 0, 0, 0, 2])
    ]  # fmt: skip


def test_an_average_is_what_has_accumulated_over_the_years_that_have_elapsed() -> None:
    account = of("MMR", [moved(), moved(vintage=2022, quantity=90)], Method.AVERAGING, 2023)
    assert [str(y.applied) for y in account.years] == ["10", "50", "33.333"]
    assert (account.years[2].applied.whole, account.years[2].applied.remainder) == (33, 1)


def test_a_multi_year_target_takes_each_years_own_figure_and_the_sum() -> None:
    account = of("MMR", [moved(), moved(vintage=2022, quantity=90)], Method.MULTI_YEAR, 2023)
    assert [(str(y.applied), y.cumulative) for y in account.years] == [("10", 10), ("90", 100), ("0", 100)]


def test_what_counts_in_other_years_is_said_and_not_counted() -> None:
    account = of("MMR", [moved(), moved(vintage=2024, quantity=5)], last=2022)
    assert ([y.annual for y in account.years], account.outside) == ([10, 0], 5)


@pytest.mark.parametrize(
    ("total", "by", "text", "whole", "remainder"),
    [(1000, 3, "333.333", 333, 1), (-1000, 3, "-333.333", -333, -1), (-1, 3, "-0.333", 0, -1), (9, 3, "3", 3, 0)],
)
def test_a_quotient_is_exact_and_its_text_is_cut_off(
    total: int, by: int, text: str, whole: int, remainder: int
) -> None:
    quotient = Quotient(total, by)
    assert (str(quotient), quotient.whole, quotient.remainder) == (text, whole, remainder)
    assert whole * by + remainder == total


PARTIES = ("MMR", "GHA", "KOR", "CHE")


@st.composite
def courses(draw: st.DrawFn) -> list[Movement]:
    """Movements as they can be: units are first transferred once, abroad, perhaps moved on, and used at most once."""
    movements: list[Movement] = []
    for nr in range(draw(st.integers(0, 8))):
        host, quantity = draw(st.sampled_from(PARTIES)), draw(st.integers(1, 10**9))
        like = {
            "first_transferring_party": host, "vintage": draw(st.integers(2021, 2030)), "cause": f"c{nr}",
            "metric": draw(st.sampled_from(("GHG", "non-GHG"))),
        }  # fmt: skip
        movements.append(moved(party=host, quantity=quantity, **like))
        user = draw(st.sampled_from(PARTIES))
        if draw(st.booleans()):
            movements.append(moved("Transfer", party=user, quantity=quantity, **like))
        if draw(st.booleans()):
            some = draw(st.integers(1, quantity))
            movements.append(used(draw(st.integers(2021, 2030)), party=user, quantity=some, **like))
    return movements


def summed(found: list[Account], name: str) -> int:
    return sum(getattr(year, name) for account in found for year in account.years)


@given(courses())
def test_hosts_add_what_is_first_transferred_users_subtract_what_is_used_and_never_more(
    movements: list[Movement],
) -> None:
    found = accounts(counted(movements), Method.MULTI_YEAR, 2021, 2030)
    assert summed(found, "first_transferred") == sum(m.quantity for m in movements if m.first_transfer)
    assert summed(found, "used") == sum(m.quantity for m in movements if m.type == "Use")
    assert summed(found, "used") <= summed(found, "first_transferred")
    assert not any(account.outside for account in found)
    for host in PARTIES:
        own = [m for m in movements if m.first_transferring_party == host]
        added = accounts(counted(own, host), Method.MULTI_YEAR, 2021, 2030)
        assert summed(added, "first_transferred") == sum(m.quantity for m in own if m.first_transfer)
        assert sum(e.quantity for e in counted(own) if e.effect is Effect.USED) <= summed(added, "first_transferred")


@given(courses())
def test_one_partys_accounts_are_those_among_all_and_the_last_year_has_everything(movements: list[Movement]) -> None:
    everybody = accounts(counted(movements), Method.AVERAGING, 2021, 2030)
    for party in PARTIES:
        alone = accounts(counted(movements, party), Method.AVERAGING, 2021, 2030)
        assert alone == [account for account in everybody if account.party == party]
    for account in everybody:
        assert account.years[-1].cumulative == sum(year.annual for year in account.years)
        assert account.years[-1].applied == Quotient(account.years[-1].cumulative, 10)


@given(courses(), st.integers(2, 5))
def test_movements_summed_up_give_the_same_figures(movements: list[Movement], times: int) -> None:
    many = [m for m in movements for _ in range(times)]
    together = [
        Movement(**{f: getattr(m, f) for f in m.__slots__} | {"quantity": m.quantity * times}) for m in movements
    ]
    assert accounts(counted(many), Method.TRAJECTORY, 2021, 2030) == accounts(
        counted(together), Method.TRAJECTORY, 2021, 2030
    )
