"""What a registry tells about its own units is read whole, or refused with the code of what is wrong.

Scope: ``gateway.domain.notices``: opening positions, actions, identifiers given at release. Synthetic data.
"""

from typing import Any

import pytest

from gateway.domain import identifiers as ids
from gateway.domain import notices, wire
from gateway.domain.actions import Disposal, Issuance, OpeningPosition
from gateway.domain.check_codes import Finding
from gateway.domain.units import ItmoNaming, Origin, UnitRange
from gateway.errors import GatewayError
from tests import proposing

MEC01 = ids.parse_registry_code("MEC01")
JPN01 = ids.parse_registry_code("JPN01")
ALL_PARTIES = {MEC01: None}
ATTRIBUTES = {name: value for name, value in proposing.ATTRIBUTES.items() if name != "underlying"}
STEM = ids.parse_itmo_stem("CA0001-MMR99-MMR-2021")


def block(first: int, last: int, *, named: bool = True) -> dict[str, Any]:
    raw: dict[str, Any] = {
        "origin": {"registry": "MEC01", "series": "MMR-A64"},
        "first": first,
        "last": last,
        "attributes": {**ATTRIBUTES, "authorisation": None},
    }
    if named:
        raw["itmo"] = {"first": f"CA0001-MMR99-MMR-{first}-2021", "last": f"CA0001-MMR99-MMR-{last}-2021"}
    return raw


def units(first: int, last: int) -> UnitRange:
    return UnitRange(Origin(MEC01, "MMR-A64"), first, last)


def action(kind: str, **members: Any) -> dict[str, Any]:
    heading = {"kind": "action", "action": "A-1", "type": kind, "at": "2026-02-26T00:00:00.000Z"}
    return {**heading, "registry": "MEC01", **members}


def issuance(**changes: Any) -> dict[str, Any]:
    place = {"party": "MMR", "account": "100-1", "block": {**block(1, 100, named=False), **changes}}
    return action("issuance", positions=[place], synthetic=True)


def test_an_issuance_is_of_the_registrys_own_series() -> None:
    read = notices.parse_action(issuance(), ALL_PARTIES)
    assert isinstance(read, Issuance)
    assert wire.time_to_wire(read.at) == "2026-02-26T00:00:00.000Z"
    foreign = notices.parse_action(issuance(origin={"registry": "JPN01", "series": "J"}), ALL_PARTIES)
    assert [f.code for f in foreign if isinstance(foreign, tuple)] == [1010]
    assert isinstance(notices.parse_action(issuance(), {JPN01: None}), tuple)


@pytest.mark.parametrize(
    ("kind", "account", "to_account", "wrong"),
    [
        ("use", "100-1", "200-1", False),
        ("cancellation", "420-1", "320-1", False),
        ("use", "100-1", "310-1", True),
        ("cancellation", "100-1", "200-1", True),
        ("use", "210-1", "200-1", True),
    ],
)
def test_a_disposal_leads_from_held_to_used_or_cancelled(kind: str, account: str, to_account: str, wrong: bool) -> None:
    item = action(kind, party="MMR", account=account, to_account=to_account, blocks=[block(1, 100)])
    read = notices.parse_action(item, ALL_PARTIES)
    if wrong:
        assert [f.code for f in read if isinstance(read, tuple)] == [2015]
    else:
        assert isinstance(read, Disposal)


def disposal(kind: str, to_account: str, **members: Any) -> Disposal | list[int]:
    """A use or cancellation as it is read, or the codes of what is wrong with it."""
    place = {"party": "MMR", "account": "100-1", "to_account": to_account, "blocks": [block(1, 100)]}
    read = notices.parse_action(action(kind, **place, **members), ALL_PARTIES)
    assert not isinstance(read, Issuance)
    return read if isinstance(read, Disposal) else [f.code for f in read]


def test_an_account_says_what_units_are_used_or_cancelled_for() -> None:
    found = {}
    for kind, code in (*(("use", c) for c in (200, 210)), *(("cancellation", c) for c in (300, 310, 320, 330))):
        read = disposal(kind, f"{code}-1")
        assert isinstance(read, Disposal)
        found[code] = (read.purpose.value, read.subtype and read.subtype.value, read.year)
    assert found == {
        200: ("NDC", None, 2026),
        210: ("IMP", None, None),
        300: ("other", "Other cancellations", None),
        310: ("OP", "Other cancellations", None),
        320: ("OMGE", "Voluntary cancellation to deliver OMGE", None),
        330: ("other", "Other cancellations", None),
    }


def test_a_use_is_for_the_year_it_names_and_by_the_entity_it_names() -> None:
    read = disposal("use", "200-1", year=2024, ndc_period={"first": 2021, "last": 2030}, entity="CHE-1.2.3")
    assert isinstance(read, Disposal)
    assert (read.year, read.entity) == (2024, "CHE-1.2.3")


@pytest.mark.parametrize(
    "members",
    [
        {"year": 2031, "ndc_period": {"first": 2021, "last": 2030}},
        {"ndc_period": {"first": 2027, "last": 2030}},  # the year of the action, which is none of these
        {"year": 2024, "ndc_period": {"first": 2030, "last": 2021}},
        {"year": 2020},
        {"year": 10**30, "ndc_period": {"first": 0, "last": 10**40}},
    ],
)
def test_a_year_of_use_outside_the_ndc_period_is_refused_with_5140(members: dict[str, Any]) -> None:
    assert disposal("use", "200-1", **members) == [5140]


def test_a_purpose_that_is_not_that_of_the_account_is_refused_with_5141() -> None:
    assert isinstance(disposal("cancellation", "320-1", purpose="OMGE"), Disposal)
    assert disposal("cancellation", "320-1", purpose="OP") == [5141]
    assert disposal("cancellation", "300-1", purpose="OMGE") == [5141]


@pytest.mark.parametrize(
    ("kind", "to_account", "members"),
    [
        ("use", "200-1", {"purpose": "NDC"}),
        ("use", "200-1", {"year": "2026"}),
        ("use", "200-1", {"year": True}),
        ("use", "200-1", {"ndc_period": {"first": 2021}}),
        ("use", "200-1", {"entity": ""}),
        ("cancellation", "300-1", {"year": 2026}),
        ("cancellation", "300-1", {"purpose": "NDC"}),
        ("cancellation", "300-1", {"purpose": 1}),
        ("cancellation", "300-1", {"entity": "x" * 257}),
    ],
)
def test_a_disposal_of_another_shape_is_refused_with_2001(kind: str, to_account: str, members: dict[str, Any]) -> None:
    with pytest.raises(GatewayError) as caught:
        disposal(kind, to_account, **members)
    assert caught.value.code == 2001


def test_an_opening_position_has_sound_units() -> None:
    item = {"kind": "position", "party": "MMR", "account": "100-1", "block": block(1, 100)}
    assert isinstance(notices.parse_position(item, ALL_PARTIES), OpeningPosition)
    item["block"]["attributes"]["vintage"] = 2022
    assert notices.parse_position(item, ALL_PARTIES) == (
        Finding(2013, (units(1, 100),), "the ITMO identifiers end with another vintage"),
    )


def test_an_opening_position_is_in_the_section_of_its_party() -> None:
    sections = {ids.parse_registry_code(f"{p}99"): ids.parse_party(p) for p in ("THA", "MMR")}
    item = {"kind": "position", "party": "MMR", "account": "100-1", "block": block(1, 100)}
    read = notices.parse_position(item, sections)
    assert isinstance(read, OpeningPosition) and read.registry == "MMR99"
    found = notices.parse_position(item | {"party": "GHA"}, sections)
    assert [f.code for f in found if isinstance(found, tuple)] == [4011]


def test_an_action_in_a_section_is_of_that_sections_party() -> None:
    own = {
        ids.parse_registry_code("MMR99"): ids.parse_party("MMR"),
        ids.parse_registry_code("THA99"): ids.parse_party("THA"),
    }
    item = issuance(origin={"registry": "MMR99", "series": "S"}) | {"registry": "MMR99"}
    assert isinstance(notices.parse_action(item, own), Issuance)
    found = notices.parse_action(issuance(origin={"registry": "THA99", "series": "S"}) | {"registry": "THA99"}, own)
    assert [f.code for f in found if isinstance(found, tuple)] == [4011]
    used = action("use", party="THA", account="100-1", to_account="200-1", blocks=[block(1, 100)])
    found = notices.parse_action(used | {"registry": "MMR99"}, own)
    assert [f.code for f in found if isinstance(found, tuple)] == [4011]


def test_identifiers_given_at_release_are_as_many_as_the_units() -> None:
    entry = {name: value for name, value in block(1, 100).items() if name != "attributes"}
    named = notices.parse_naming(entry)
    assert named == (units(1, 100), ItmoNaming(STEM, 0))
    short = notices.parse_naming({**entry, "last": 101})
    assert [f.code for f in short if isinstance(f, Finding)] == [2009]


@pytest.mark.parametrize("moment", ["2026-02-30T00:00:00.000Z", "2026-02-26T00:00:00Z", "2026-02-26", 1, None])
def test_a_time_has_one_spelling(moment: object) -> None:
    with pytest.raises(GatewayError) as caught:
        wire.parse_time(moment)
    assert caught.value.code == 2001


@pytest.mark.parametrize(
    "change",
    [
        {"type": "transfer"},
        {"type": None},
        {"synthetic": 1},
        {"positions": {}},
        {"kind": "position"},
        {"action": "x" * 65},
        {"party": "MMR"},
    ],
)
def test_an_action_of_another_shape_is_refused_with_2001(change: dict[str, Any]) -> None:
    with pytest.raises(GatewayError) as caught:
        notices.parse_action({**issuance(), **change}, ALL_PARTIES)
    assert caught.value.code == 2001


def test_an_action_moves_at_least_one_block() -> None:
    with pytest.raises(GatewayError) as caught:
        notices.parse_action({**issuance(), "positions": []}, ALL_PARTIES)
    assert caught.value.code == 2005


def test_units_are_not_issued_twice_in_one_action() -> None:
    item = issuance()
    item["positions"] *= 2
    found = notices.parse_action(item, ALL_PARTIES)
    assert [f.code for f in found if isinstance(found, tuple)] == [2008]


def test_a_vintage_that_is_no_calendar_year_is_refused_with_2013() -> None:
    units = block(1, 100, named=False)
    wrong = units | {"attributes": units["attributes"] | {"vintage": 3_000_000_000}}
    position = {"kind": "position", "party": "MMR", "account": "100-1", "block": wrong}
    found = notices.parse_position(position, ALL_PARTIES)
    assert isinstance(found, tuple) and [f.code for f in found] == [2013]


def test_a_value_that_our_open_lists_lack_is_kept_as_it_is_spelt_and_flagged() -> None:
    ahead = {**ATTRIBUTES, "authorisation": None, "sector": "Space mirrors", "activity_type": "Solar "}
    read = notices.parse_action(issuance(attributes=ahead), ALL_PARTIES)
    assert isinstance(read, Issuance)
    assert [(f.code, f.blocks) for f in read.flags] == [(2014, (units(1, 100),))] * 2
    kept = read.positions[0].block.attributes
    assert (kept.sector, kept.activity_type) == ("Space mirrors", "Solar ")
    assert wire.attributes_to_wire(kept) == ahead
    place = {"kind": "position", "party": "MMR", "account": "100-1"}
    opening = notices.parse_position({**place, "block": {**block(1, 100), "attributes": ahead}}, ALL_PARTIES)
    assert isinstance(opening, OpeningPosition) and opening.flags == read.flags


@pytest.mark.parametrize("name", ["unit_type", "metric", "mitigation_type"])
def test_a_value_that_a_closed_list_lacks_is_refused(name: str) -> None:
    unknown = {**ATTRIBUTES, "authorisation": None, name: "Space mirrors"}
    read = notices.parse_action(issuance(attributes=unknown), ALL_PARTIES)
    assert isinstance(read, tuple) and [f.code for f in read] == [2014]
