"""What a difference is, by what is known of its units: what a transfer can have made, and what it cannot. Pure."""

import pytest

from gateway.domain.identifiers import parse_registry_code
from gateway.domain.units import Origin, UnitRange
from gateway.reconciliation.classify import Differing, Judged, Known, distinct, judge
from gateway.reconciliation.findings import Found
from gateway.reconciliation.moving_store import Elsewhere, Moving

ORIGIN = Origin(parse_registry_code("MEC01"), "S")
STATE = '{"party": "KOR", "account_type": 100}'
OTHER = '{"party": "KOR", "account_type": 300}'
STATES = ("proposed", "delayed", "checked", "accepted", "committing", "released", "ending", "completed", "refused",
          "rejected", "cancelled")  # fmt: skip


def units(first: int, last: int) -> UnitRange:
    return UnitRange(ORIGIN, first, last)


def moving(state: str, *, late: bool = False, where: UnitRange | None = None) -> Moving:
    """A transfer from MEC01 to Korea; one for persons had been released."""
    reached = {"attention": "released"}.get(state, state if state in ("committing", "released") else None)
    return Moving(where or units(1, 10), "T", "MEC01", "KOR01", state, reached, late)


def gone(registry: str) -> Differing:
    return Differing(registry, units(1, 10), STATE, None)


def come(registry: str) -> Differing:
    return Differing(registry, units(1, 10), None, STATE)


def explained(differing: Differing, *claimed: Moving) -> bool:
    [one] = judge(differing, Known(claimed))
    return one.explained_by is not None


def test_units_are_gone_from_the_source_of_what_it_may_have_released_and_of_nothing_else() -> None:
    assert [s for s in STATES if explained(gone("MEC01"), moving(s))] == ["committing", "released", "completed"]


def test_units_have_come_to_the_acquirer_of_what_was_released_and_of_nothing_that_is_only_promised() -> None:
    assert [s for s in STATES if explained(come("KOR01"), moving(s))] == ["released", "completed"]


@pytest.mark.parametrize("state", STATES)
def test_a_transfer_explains_no_difference_of_another_shape(state: str) -> None:
    changed = Differing("MEC01", units(1, 10), STATE, OTHER)
    for differing in (come("MEC01"), gone("KOR01"), changed, gone("JPN01"), come("JPN01")):
        assert not explained(differing, moving(state))


@pytest.mark.parametrize("stuck", [moving("released", late=True), moving("attention"), moving("committing", late=True)])
def test_what_is_released_and_not_credited_for_too_long_is_a_finding_that_names_the_transfer(stuck: Moving) -> None:
    [one] = judge(gone("MEC01"), Known([stuck]))
    assert (one.found.code, one.explained_by) == (6302, None)
    assert f"transfer T is {stuck.state} here, " in one.found.detail
    assert not explained(come("KOR01"), stuck)


def test_what_has_moved_since_is_explained_whatever_its_shape() -> None:
    for differing in (gone("KOR01"), come("MEC01"), Differing("MEC01", units(1, 10), STATE, OTHER)):
        parts = judge(differing, Known(moved=[units(3, 4)]))
        assert [(p.found.units, p.explained_by) for p in parts] == [
            (units(1, 2), None), (units(3, 4), ()), (units(5, 10), None)]  # fmt: skip


def test_a_difference_is_cut_where_what_is_known_changes() -> None:
    held = [Elsewhere(units(4, 6), "JPN01"), Elsewhere(units(7, 7), "KOR01")]
    parts = judge(come("KOR01"), Known([moving("released", where=units(1, 2))], held=held))
    assert [(p.found.code, p.found.units.first, p.found.units.last, p.explained_by) for p in parts] == [
        (6301, 1, 2, ("T",)), (6301, 3, 3, None), (4007, 4, 6, None), (6301, 7, 10, None)]  # fmt: skip


def test_what_more_is_known_of_than_is_looked_at_is_not_divided_by_holder_and_says_so() -> None:
    [one] = judge(come("KOR01"), Known(held=[Elsewhere(units(4, 6), "JPN01")], beyond=True))
    assert (one.found.code, one.found.units, one.explained_by) == (4007, units(1, 10), None)
    assert "not divided" in one.found.detail


def test_many_pieces_are_swept_once() -> None:
    whole = Differing("KOR01", units(1, 1_000_000), None, STATE)
    held = [Elsewhere(units(at, at), "JPN01") for at in range(1, 1_000_000, 20)]
    assert len(judge(whole, Known(held=held))) == 2 * len(held)


def test_what_overlaps_keeps_the_units_that_nothing_before_it_has() -> None:
    def of(first: int, last: int, code: int = 6401) -> Judged:
        return Judged(Found("MEC01", code, units(first, last), None, None), None)

    found = distinct([of(1, 10), of(4, 6), of(8, 15), of(8, 15, 6402)])
    assert sorted((one.found.code, one.found.units.first, one.found.units.last) for one in found) == [
        (6401, 1, 10), (6401, 11, 15), (6402, 8, 15)]  # fmt: skip


@pytest.mark.parametrize("state", ["no JSON", "[" * 3_000, "null", "[]", '{"party": {}}'])
def test_a_state_that_nobody_can_read_is_in_no_place_of_ours(state: str) -> None:
    [one] = judge(Differing("KOR01", units(1, 10), STATE, state), Known())
    assert (one.found.code, one.explained_by) == (6304, None)
