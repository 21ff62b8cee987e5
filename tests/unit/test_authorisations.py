"""What an authorisation says is read whole or refused with the code and the member; versions follow each other.

Scope: ``authorisation_terms``, ``authorisations``. The decision's text was not available: members and rules are
those of the link contract. All data are synthetic.
"""

from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from gateway.domain import wire
from gateway.domain.authorisation_terms import MAX_LISTED, MAX_TERMS, read_terms
from gateway.domain.authorisations import PURPOSES, Authorised, Days, Definition, Kind, Years, succession
from gateway.domain.identifiers import parse_registry_code
from gateway.domain.nomenclature import Metric
from gateway.domain.notices import parse_action
from gateway.domain.transfers import Purpose
from gateway.errors import GatewayError
from tests.proposing import authorised

OPEN = {"first": None, "last": None}
LEAST: dict[str, Any] = {
    "id": "MMR-A6-1",
    "version": 1,
    "party": "MMR",
    "kinds": ["ITMOs"],
    "date": "2026-01-01",
    "cooperative_approach": "CA0001",
    "purposes": "NDC",
    "period": OPEN,
}
FULL = LEAST | {
    "kinds": ["cooperative approach", "ITMOs", "entities"],
    "purposes": "NDC and OIMP",
    "oimp": "CORSIA",
    "first_transfer_definition": "Use or Cancellation",
    "period": {"first": "2026-01-01", "last": "2030-12-31"},
    "use_period": {"first": None, "last": "2031-12-31"},
    "vintages": {"first": 2021, "last": 2030},
    "quantity": 1_000,
    "metric": "non-GHG",
    "gwp": "AR5",
    "non_ghg_metric": "kWh",
    "sectors": ["Energy generation"],
    "activity_types": ["Solar", "Wind"],
    "parties": ["CHE", "JPN"],
    "entities": ["CHE-1"],
    "affects_first_transferred": True,
    "terms": "may be changed by agreement",
    "documentation": "https://example.org/authorisation",
    "initial_report": "2025-12-31",
    "ndc_period": {"first": 2021, "last": 2030},
}


def found(**members: Any) -> list[tuple[int, str]]:
    """The codes, and the members they name, where these members of the full terms are otherwise."""
    faults = wire.Faults()
    terms = read_terms(FULL | members, faults)
    assert (terms is None) == bool(faults.findings)
    return [(f.code, f.detail.partition(":")[0].removeprefix("authorisation.")) for f in faults.findings]


def without(*names: str, **members: Any) -> dict[str, Any]:
    return {name: value for name, value in (FULL | members).items() if name not in names}


def test_what_is_required_is_enough() -> None:
    terms = read_terms(LEAST, wire.Faults())
    assert terms is not None
    assert (terms.id, terms.version, terms.party, terms.kinds) == ("MMR-A6-1", 1, "MMR", {Kind.ITMOS})
    assert (terms.definition, terms.quantity, terms.metric) == (None, None, Metric.GHG)
    assert terms.period == terms.use_period == Days()
    assert terms.parties == terms.entities == terms.sectors == terms.activity_types == frozenset()
    assert not terms.affects_first_transferred


def test_every_member_is_read() -> None:
    terms = read_terms(FULL, wire.Faults())
    assert terms is not None
    assert (terms.given_on, terms.initial_report) == (date(2026, 1, 1), date(2025, 12, 31))
    assert (terms.kinds, terms.purposes, terms.oimp) == (frozenset(Kind), "NDC and OIMP", "CORSIA")
    assert terms.definition is Definition.USE_OR_CANCELLATION
    assert terms.period == Days(date(2026, 1, 1), date(2030, 12, 31))
    assert terms.use_period == Days(None, date(2031, 12, 31))
    assert (terms.vintages, terms.ndc_period) == (Years(2021, 2030), Years(2021, 2030))
    assert (terms.quantity, terms.metric, terms.gwp, terms.non_ghg_metric) == (1_000, Metric.NON_GHG, "AR5", "kWh")
    assert (terms.sectors, terms.activity_types) == ({"Energy generation"}, {"Solar", "Wind"})
    assert (terms.parties, terms.entities) == ({"CHE", "JPN"}, {"CHE-1"})
    assert terms.affects_first_transferred
    assert (terms.terms, terms.documentation) == (FULL["terms"], FULL["documentation"])


@pytest.mark.parametrize(
    ("member", "value", "code"),
    [
        ("party", "XXX", 2010), ("parties", ["CHE", "XXX"], 2010), ("parties", ["che"], 2010),
        ("cooperative_approach", "CA1", 2012), ("cooperative_approach", "ca0001", 2012),
        ("vintages", {"first": 2020, "last": 2030}, 2013),
        ("date", "01/01/2026", 2014), ("date", "2026-02-30", 2014), ("date", "20260101", 2014),
        ("date", "2026-W01-4", 2014), ("initial_report", "2025", 2014),
        ("period", {"first": "2026-13-01", "last": None}, 2014), ("use_period", {"first": None, "last": "soon"}, 2014),
        ("kinds", ["ITMOs", "entity"], 2014), ("purposes", "NDC and CORSIA", 2014), ("purposes", "ndc", 2014),
        ("first_transfer_definition", "Authorization", 2014),
        ("first_transfer_definition", "First international transfer", 2014),
        ("sectors", ["Energy"], 2014), ("activity_types", ["Solar", "Sun"], 2014), ("metric", "ghg", 2014),
        ("period", {"first": "2027-01-01", "last": "2026-12-31"}, 2015),
        ("use_period", {"first": "2027-01-01", "last": "2026-12-31"}, 2015),
        ("vintages", {"first": 2025, "last": 2024}, 2015), ("ndc_period", {"first": 2031, "last": 2030}, 2015),
        ("ndc_period", {"first": 2021, "last": 9999}, 2014), ("ndc_period", {"first": 1989, "last": 2030}, 2014),
        ("kinds", [], 2015),
        ("quantity", 0, 2009), ("quantity", -1, 2009), ("quantity", 2**53, 2009),
    ],
)  # fmt: skip
def test_a_wrong_value_is_refused_with_its_code_and_member(member: str, value: Any, code: int) -> None:
    assert found(**{member: value}) == [(code, member)]


@pytest.mark.parametrize(
    ("terms", "code", "member"),
    [
        (without("first_transfer_definition"), 2015, "first_transfer_definition"),
        (without("oimp", purposes="NDC"), 2015, "first_transfer_definition"),
        (without("first_transfer_definition", purposes="NDC"), 2015, "oimp"),
        (without("non_ghg_metric"), 2016, "non_ghg_metric"),
        (without("metric"), 2016, "non_ghg_metric"),  # without a metric it is GHG
    ],
)
def test_a_member_that_must_or_must_not_be_there_is_named(terms: dict[str, Any], code: int, member: str) -> None:
    faults = wire.Faults()
    assert read_terms(terms, faults) is None
    assert [(f.code, member in f.detail) for f in faults.findings] == [(code, True)]


def test_all_that_is_wrong_is_told_at_once() -> None:
    assert found(party="XXX", date="never", sectors=["Energy"], quantity=0) == [
        (2010, "party"), (2014, "date"), (2009, "quantity"), (2014, "sectors"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "members",
    [
        {"id": ""}, {"id": 1}, {"version": 0}, {"version": True}, {"version": 2**53}, {"party": None},
        {"kinds": "ITMOs"}, {"kinds": [1]}, {"date": 20260101}, {"period": None}, {"period": {"first": None}},
        {"period": OPEN | {"x": 1}},
        {"period": {"first": 1, "last": None}}, {"vintages": {"first": "2021", "last": 2030}}, {"quantity": 1.0},
        {"quantity": True}, {"quantity": None}, {"parties": ["CHE"] * (MAX_LISTED + 1)}, {"entities": [""]},
        {"affects_first_transferred": 1}, {"affects_first_transferred": None}, {"terms": "x" * (MAX_TERMS + 1)},
        {"terms": "\u0000"}, {"documentation": "x" * 257}, {"note": "x"},
    ],
    ids=lambda members: str(members)[:40],
)  # fmt: skip
def test_another_structure_is_refused_with_2001(members: dict[str, Any]) -> None:
    with pytest.raises(GatewayError) as caught:
        read_terms(FULL | members, wire.Faults())
    assert caught.value.code == 2001


@pytest.mark.parametrize("member", LEAST)
def test_no_required_member_may_be_missing(member: str) -> None:
    with pytest.raises(GatewayError) as caught:
        read_terms(without(member), wire.Faults())
    assert caught.value.code == 2001


def test_each_purpose_of_authorisation_covers_what_it_names() -> None:
    covered = {name: {p.value for p in Purpose if authorised(purposes=name).current.covers(p)} for name in PURPOSES}
    assert covered == {
        "NDC": {"NDC"}, "OIMP": {"IMP", "OP"}, "IMP": {"IMP"}, "OP": {"OP"}, "NDC and OIMP": {"NDC", "IMP", "OP"},
        "NDC and IMP": {"NDC", "IMP"}, "NDC and OP": {"NDC", "OP"},
    }  # fmt: skip


def test_days_and_years_include_both_ends() -> None:
    days = Days(date(2026, 1, 1), date(2026, 12, 31))
    assert [days.cover(date(2026, 1, 1)), days.cover(date(2026, 12, 31))] == [True, True]
    assert [days.cover(date(2025, 12, 31)), days.cover(date(2027, 1, 1))] == [False, False]
    assert Days().cover(date.min) and Days().cover(date.max)
    assert [Years(2021, 2022).cover(y) for y in (2020, 2021, 2022, 2023)] == [False, True, True, False]


def versions(*changes: dict[str, Any], **members: Any) -> Authorised:
    """An authorisation that was told with these changes, one after the other."""
    told = [authorised(**{"version": nr, **terms}).current for nr, terms in enumerate(changes, 1)]
    return replace(Authorised(tuple(told)), **members)


TWO = versions({}, {})


@pytest.mark.parametrize(
    ("known", "new", "codes"),
    [
        (None, {"version": 1}, []),
        (None, {"version": 2}, [3006]),
        (TWO, {"version": 3}, []),
        (TWO, {"version": 4}, [3006]),
        (TWO, {"version": 2}, [2004]),
        (TWO, {"version": 1}, [2004]),
        (replace(TWO, revoked=True), {"version": 3}, [5103]),
        (replace(TWO, drawn=100), {"version": 3, "quantity": 99}, [5107]),
        (replace(TWO, drawn=100), {"version": 3, "quantity": 100}, []),
        (TWO, {"version": 3, "cooperative_approach": "CA0002"}, [2015]),
        (replace(TWO, revoked=True, drawn=1), {"version": 3, "cooperative_approach": "CA0002"}, [5103, 2015]),
    ],
)
def test_a_version_follows_the_one_before_it(known: Authorised | None, new: dict[str, Any], codes: list[int]) -> None:
    assert [f.code for f in succession(known, authorised(**new).current)] == codes


def test_versions_are_found_by_their_number_alone() -> None:
    assert [TWO.version(n) and n for n in (0, 1, 2, 3, -1)] == [None, 1, 2, None, None]
    assert TWO.current == TWO.version(2)


def test_units_first_transferred_stay_under_the_version_of_then() -> None:
    assert [TWO.governing(v).version for v in (1, 2)] == [1, 2]
    assert TWO.governing(None).version == 2


def test_a_change_reaches_units_first_transferred_where_the_terms_of_then_say_so() -> None:
    known = versions({"affects_first_transferred": True}, {"affects_first_transferred": False}, {})
    assert [known.governing(v).version for v in (None, 1, 2)] == [3, 3, 2]


def test_a_version_that_was_not_told_does_not_shield_from_changes() -> None:
    assert TWO.governing(7).version == 2


def test_revocation_ends_what_was_never_first_transferred() -> None:
    known = versions({"affects_first_transferred": True}, {}, revoked=True)
    assert [known.ended(v) for v in (None, 1, 2)] == [True, True, False]
    assert not any(replace(known, revoked=False).ended(v) for v in (None, 1, 2))


def told(*serials: tuple[int, int], **members: Any) -> list[int]:
    """What stands against MEC01 telling an authorisation that units of its own are to get."""
    origin = {"registry": "MEC01", "series": "MMR-A64"}
    units = [{"origin": origin, "first": first, "last": last} for first, last in serials]
    mechanism = parse_registry_code("MEC01")
    item = {
        "kind": "action", "type": "authorisation", "action": "01920000-0000-7000-8000-00000000000a",
        "at": "2026-07-01T12:00:00.000Z", "registry": "MEC01", "authorisation": LEAST | members, "units": units,
    }  # fmt: skip
    found = parse_action(item, {mechanism: None})
    return [f.code for f in found] if isinstance(found, tuple) else []


def test_units_are_not_given_an_authorisation_twice_in_one_item() -> None:
    assert told((1, 10), (11, 20)) == []
    assert told((11, 20), (1, 11)) == [2008]


def test_a_version_beyond_what_is_kept_is_refused_with_2001() -> None:
    assert wire.read_authorisation({"id": "MMR-A6-1", "version": 2**31 - 1}) is not None
    with pytest.raises(GatewayError) as caught:
        wire.read_authorisation({"id": "MMR-A6-1", "version": 3_000_000_000})
    assert caught.value.code == 2001


def test_what_is_left_is_what_the_version_in_force_allows_without_what_moved() -> None:
    known = versions({"quantity": 500}, {"quantity": 300}, drawn=100)
    assert known.left == 200
    assert replace(known, drawn=301).left == 0
    assert versions({"quantity": 500}, {"quantity": None}, drawn=100).left is None


def test_what_is_left_counts_for_all_versions_together() -> None:
    assert versions({"quantity": 500}, {"quantity": 700}, drawn=500).left == 200
