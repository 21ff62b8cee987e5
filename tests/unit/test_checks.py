"""Every fault of a transfer is found, named with its code and its units, and refuses that transfer alone.

Method: one sound proposal as JSON, changed in one place per test. Scope: reading a proposal (``wire``,
``proposals``) and the checks of stages 2 and 4; all data are synthetic.
"""

import copy
import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from gateway.domain import checks, integrity, proposals, wire
from gateway.domain import identifiers as ids
from gateway.domain.check_codes import CHECKS, Finding, severity
from gateway.domain.facts import Books, Facts, Held, LinkState
from gateway.domain.proposals import FaultyProposal
from gateway.domain.registry import RegistryKind
from gateway.domain.transfers import Proposal
from gateway.domain.units import AuthorisationRef, ItmoNaming, UnitRange
from gateway.errors import GatewayError

Change = Callable[[dict[str, Any]], Any]
MEC01 = ids.parse_registry_code("MEC01")
JPN01 = ids.parse_registry_code("JPN01")
INT01 = ids.parse_link_code("INT01")
MMR99, THA99 = ids.parse_registry_code("MMR99"), ids.parse_registry_code("THA99")
REGISTRIES = {
    MEC01: Books(MEC01, RegistryKind.MECHANISM, LinkState.ACTIVE, None),
    JPN01: Books(JPN01, RegistryKind.PARTY, LinkState.ACTIVE, ids.parse_party("JPN")),
    MMR99: Books(INT01, RegistryKind.INTERNATIONAL, LinkState.ACTIVE, ids.parse_party("MMR")),
    THA99: Books(INT01, RegistryKind.INTERNATIONAL, LinkState.ACTIVE, ids.parse_party("THA")),
}
ATTRIBUTES = {
    "unit_type": "A6.4ER",
    "first_transferring_party": "MMR",
    "vintage": 2021,
    "cooperative_approach": "CA0001",
    "metric": "GHG",
    "mitigation_type": "Emission reductions",
    "sector": "Energy generation",
    "activity_type": "Energy Efficiency households",
    "activity": "PoA 10471",
    "authorisation": {"id": "MMR-A6-1", "version": 1},
    "underlying": {"registry": "GS", "first": "GS1-1-MM-1", "last": "GS1-1-MM-1000"},
}


def block(first: int, last: int, *, named: bool = True) -> dict[str, Any]:
    raw: dict[str, Any] = {
        "origin": {"registry": "MEC01", "series": "MMR-A64"},
        "first": first,
        "last": last,
        "attributes": copy.deepcopy(ATTRIBUTES),
    }
    if named:
        raw["itmo"] = {"first": f"CA0001-MMR99-MMR-{first}-2021", "last": f"CA0001-MMR99-MMR-{last}-2021"}
    return raw


def propose(*blocks: dict[str, Any]) -> dict[str, Any]:
    listed = list(blocks) or [block(1, 100), block(201, 300, named=False)]
    return {
        "kind": "propose",
        "transfer": "MEC01-01920000-0000-7000-8000-00000000000a",
        "request": "01920000-0000-7000-8000-00000000000b",
        "transferring": {"registry": "MEC01", "party": "MMR", "account": "100-1"},
        "acquiring": {"registry": "JPN01", "party": "JPN", "account": "100-7"},
        "purpose": "NDC",
        "authorisation": {"id": "MMR-A6-1", "version": 1},
        "quantity": sum(b["last"] - b["first"] + 1 for b in listed),
        "blocks": listed,
    }


def sound(item: dict[str, Any] | None = None) -> Proposal:
    proposal = proposals.parse_proposal(item or propose())
    assert isinstance(proposal, Proposal)
    return proposal


def facts(proposal: Proposal, **changes: Any) -> Facts:
    """A book that holds exactly what is proposed where it is proposed from."""
    source = proposal.transferring
    pieces = [[Held(MEC01, source.party, source.account.type, b)] for b in proposal.blocks]
    return replace(Facts(MEC01, REGISTRIES, pieces, [[] for _ in pieces], 2026), **changes)


def codes(found: Proposal | FaultyProposal) -> list[int]:
    """What is found wrong with an item, by whichever half finds it."""
    if isinstance(found, FaultyProposal):
        return [finding.code for finding in found.findings]
    return [finding.code for finding in checks.check(found, facts(found))]


def units(first: int, last: int) -> UnitRange:
    return UnitRange(sound().blocks[0].origin, first, last)


def test_a_sound_proposal_passes() -> None:
    proposal = sound()
    assert checks.check(proposal, facts(proposal)) == ()
    assert proposal.authorisation == AuthorisationRef("MMR-A6-1", 1)
    assert [str(proposal.transferring), proposal.quantity] == ["MEC01/MMR/100-1", 200]


def test_blocks_and_addresses_are_written_as_they_were_read() -> None:
    item = propose()
    proposal = sound(item)
    assert [wire.block_to_wire(b) for b in proposal.blocks] == item["blocks"]
    assert wire.address_to_wire(proposal.acquiring) == item["acquiring"]
    json.dumps([wire.block_to_wire(b) for b in proposal.blocks])


STRUCTURE: list[Change] = [
    lambda item: item.pop("purpose"),
    lambda item: item.update(note="x"),
    lambda item: item.update(kind="offer"),
    lambda item: item.update(quantity=True),
    lambda item: item.update(quantity=200.0),
    lambda item: item.update(quantity="200"),
    lambda item: item.update(blocks={}),
    lambda item: item.update(request="01920000"),
    lambda item: item.update(authorisation=[]),
    lambda item: item["authorisation"].update(version=0),
    lambda item: item["transferring"].update(account=100),
    lambda item: item["blocks"].append(None),
    lambda item: item["blocks"][1].update(first=True),
    lambda item: item["blocks"][1].update(itmo=None),
    lambda item: item["blocks"][1]["origin"].pop("series"),
    lambda item: item["blocks"][1]["attributes"].update(vintage=2021.0),
    lambda item: item["blocks"][1]["attributes"]["authorisation"].update(version=True),
    lambda item: item["blocks"][1]["attributes"].update(activity=""),
    lambda item: item["blocks"][1]["attributes"].update(activity="PoA\u0000"),
    lambda item: item["blocks"][1]["attributes"].update(activity="\ud800"),
    lambda item: item["blocks"][1]["attributes"].update(activity="x" * 257),
    lambda item: item["blocks"][1]["attributes"].update(colour="green"),
]


@pytest.mark.parametrize("change", STRUCTURE)
def test_wrong_structure_refuses_the_message_with_2001(change: Change) -> None:
    item = propose()
    change(item)
    with pytest.raises(GatewayError) as caught:
        proposals.parse_proposal(item)
    assert caught.value.code == 2001


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda item: item.update(transfer="MEC01-1"), 2003),
        (lambda item: item.update(blocks=[]), 2005),
        (lambda item: item.update(blocks=item["blocks"] * 1501), 2005),
    ],
)
def test_a_transfer_id_or_a_number_of_blocks_can_refuse_the_message(change: Change, code: int) -> None:
    item = propose()
    change(item)
    with pytest.raises(GatewayError) as caught:
        proposals.parse_proposal(item)
    assert caught.value.code == code


def first_block(**changes: Any) -> Change:
    return lambda item: item["blocks"][0].update(changes)


def attribute(**changes: Any) -> Change:
    return lambda item: item["blocks"][0]["attributes"].update(changes)


def itmo(first: str, last: str) -> Change:
    return first_block(itmo={"first": first, "last": last})


def underlying(first: str, last: str) -> Change:
    return attribute(underlying={"registry": "GS", "first": first, "last": last})


DATA: list[tuple[Change, int, bool]] = [  # change, code, whether the first block is named
    (first_block(itmo={"first": "CA1-MMR99-MMR-1-2021", "last": "x"}), 2006, True),
    (lambda item: item["blocks"][0]["origin"].update(series="MMR/A64"), 2006, False),  # has no form to be named in
    (itmo("CA0001-MMR99-MMR-1-2021", "CA0001-MMR98-MMR-100-2021"), 2007, True),
    (itmo("CA0001-MMR99-MMR-100-2021", "CA0001-MMR99-MMR-1-2021"), 2007, True),
    (itmo("CA0001-MMR99-MMR-1-2021", "CA0001-MMR99-MMR-99-2021"), 2009, True),
    (lambda item: item.update(quantity=199), 2009, False),
    (lambda item: item.update(quantity=-200), 2009, False),
    (lambda item: item["acquiring"].update(party="XXX"), 2010, False),
    (attribute(first_transferring_party="XXX"), 2010, True),
    (itmo("CA0001-MMR99-GHA-1-2021", "CA0001-MMR99-GHA-100-2021"), 2010, True),
    (itmo("CA0001-MEC99-MMR-1-2021", "CA0001-MEC99-MMR-100-2021"), 2011, True),
    (lambda item: item["transferring"].update(registry="mec01"), 2011, False),
    (attribute(cooperative_approach="CA1"), 2012, True),
    (attribute(cooperative_approach="CA0002"), 2012, True),
    (attribute(vintage=2022), 2013, True),
    (lambda item: item["blocks"][1]["attributes"].update(vintage=2020), 2013, False),
    (lambda item: item["blocks"][1]["attributes"].update(vintage=2027), 2013, False),
    (attribute(sector="Cooking"), 2014, True),
    (attribute(activity_type="CO2 usage"), 2014, True),
    (attribute(metric="ghg"), 2014, True),
    (lambda item: item.update(purpose="OIMP"), 2014, False),
    (lambda item: item["acquiring"].update(account="150-1"), 2014, False),
    (attribute(metric="non-GHG"), 2016, True),
    (underlying("GS1-1-MM-1", "GS1-2-MM-100"), 2017, True),
    (underlying("GS1-1-MM-1", "GS1-1-MM-99"), 2017, True),
    (underlying("GS1-1-MM-1", "GS1-1-KH-1000"), 2017, True),
    (underlying("²1", "³1"), 2017, True),
]


@pytest.mark.parametrize(("change", "code", "named"), DATA)
def test_wrong_data_refuse_one_transfer_with_their_code_and_blocks(change: Change, code: int, named: bool) -> None:
    item = propose()
    change(item)
    found = proposals.parse_proposal(item)
    findings = found.findings if isinstance(found, FaultyProposal) else checks.check(found, facts(found))
    assert {finding.code for finding in findings} == {code}
    assert str(found.transfer) == item["transfer"]
    if named:
        stated = [wire.range_to_wire(one)["last"] for finding in findings for one in finding.blocks]
        assert item["blocks"][0]["last"] in stated


@pytest.mark.parametrize(("first", "last", "code"), [(0, 5, 2006), (9, 5, 2007), (5, 2**53, 2006), (-9, -5, 2006)])
def test_impossible_serials_refuse_one_transfer(first: int, last: int, code: int) -> None:
    found = proposals.parse_proposal(propose(block(201, 300, named=False), block(first, last, named=False)))
    assert codes(found) == [code]


def test_serials_a_json_number_cannot_carry_are_not_repeated() -> None:
    found = proposals.parse_proposal(propose(block(5, 10**30, named=False)))
    assert isinstance(found, FaultyProposal)
    assert "blocks" not in wire.finding_to_wire(found.findings[0])


def test_overlaps_in_serials_or_in_identifiers_are_found() -> None:
    same_units = propose(block(1, 100), block(100, 150, named=False))
    same_names = propose(block(1, 100), {**block(201, 300), "itmo": block(1, 100)["itmo"]})
    for item in (same_units, same_names):
        proposal = sound(item)
        [finding] = checks.check(proposal, facts(proposal))
        assert finding.code == 2008
        assert finding.blocks == tuple(b.range for b in proposal.blocks)


def test_all_faults_of_a_stage_are_told_at_once() -> None:
    item = propose(block(1, 100), block(50, 120), block(0, 5, named=False))
    item["acquiring"]["party"] = "XXX"
    item["blocks"][1]["attributes"]["cooperative_approach"] = "CA0002"
    assert set(codes(proposals.parse_proposal(item))) == {2006, 2008, 2010, 2012}


def test_one_fault_in_all_blocks_is_one_finding_that_names_them() -> None:
    item = propose(*(block(10 * i + 1, 10 * i + 5) for i in range(50)))
    for raw in item["blocks"]:
        raw["attributes"]["sector"] = "Cooking"
    found = proposals.parse_proposal(item)
    assert isinstance(found, FaultyProposal)
    assert [len(finding.blocks) for finding in found.findings] == [50]


def test_a_transfer_id_of_another_registry_is_not_the_senders() -> None:
    proposal = sound()
    found = checks.check(proposal, facts(proposal, sender=JPN01))
    assert [finding.code for finding in found] == [2003]
    assert [finding.code for finding in checks.sender_2003(proposal.transfer, JPN01)] == [2003]


@pytest.mark.parametrize("state", [LinkState.SUSPENDED, LinkState.UNKNOWN])
def test_both_links_must_be_active(state: LinkState) -> None:
    proposal = sound()
    for registry, code in ((MEC01, 4001), (JPN01, 4002)):
        known = {**REGISTRIES, registry: replace(REGISTRIES[registry], state=state)}
        assert [f.code for f in checks.check(proposal, facts(proposal, registries=known))] == [code]
        del known[registry]
        assert [f.code for f in checks.check(proposal, facts(proposal, registries=known))] == [code]


def test_a_registry_proposes_for_itself_only() -> None:
    item = propose()
    item["transferring"]["registry"] = "CHE01"
    assert 4001 in codes(sound(item))


def test_units_in_no_position_are_named() -> None:
    proposal = sound()
    there = facts(proposal).pieces
    half = replace(there[0][0], block=proposal.blocks[0].part(11, 90))
    found = checks.check(proposal, facts(proposal, pieces=[[half], there[1]]))
    assert found[0].code == 4003
    assert found[0].blocks == (units(1, 10), units(91, 100))
    assert [f.code for f in found] == [4003, 4018]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"party": ids.parse_party("GHA")}, 4004),
        ({"account_type": ids.AccountType.PENDING}, 4004),
        ({"account_type": ids.AccountType.USE_NDC}, 4006),
        ({"account_type": ids.AccountType.CANCELLATION_OMGE}, 4006),
        ({"registry": JPN01}, 4007),
    ],
)
def test_units_in_another_place_are_named(changes: dict[str, Any], code: int) -> None:
    proposal = sound()
    there = facts(proposal).pieces
    left, right = proposal.blocks[0].split_at(41)
    pieces = [[replace(there[0][0], block=left), replace(there[0][0], block=right, **changes)], there[1]]
    found = checks.check(proposal, facts(proposal, pieces=pieces))
    assert [f.code for f in found] == [code, 4018]
    assert found[0].blocks == (units(41, 100),)


def test_units_of_another_transfer_are_named_and_the_transfer_is_not() -> None:
    proposal = sound()
    found = checks.check(proposal, facts(proposal, claims=[[units(90, 500)], []]))
    assert [(f.code, f.blocks) for f in found] == [(4005, (units(90, 100),))]


def test_what_is_known_of_units_does_not_change() -> None:
    proposal = sound()
    there = facts(proposal).pieces
    known = proposal.blocks[0]
    others = [
        replace(known, attributes=replace(known.attributes, vintage=2022)),
        replace(known, itmo=None),
        replace(known, itmo=ItmoNaming(ids.parse_itmo_stem("CA0001-MMR99-MMR-2021"), 7)),
    ]
    for other in others:
        pieces = [[replace(there[0][0], block=other)], there[1]]
        found = checks.check(proposal, facts(proposal, pieces=pieces))
        assert [(f.code, f.blocks) for f in found] == [(4010, (known.range,))]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda item: item["acquiring"].update(account="200-1"), 4015),
        (lambda item: item["acquiring"].update(account="330-1"), 4015),
        (lambda item: item["acquiring"].update(registry="MEC01"), 4017),
    ],
)
def test_a_transfer_leads_to_an_account_that_holds_units_in_another_registry(change: Change, code: int) -> None:
    item = propose()
    change(item)
    assert codes(sound(item)) == [code]


def of_section(item: dict[str, Any], registry: str, party: str) -> tuple[Proposal, Facts]:
    """A proposal out of a section of the international registry, which holds the units."""
    item["transferring"].update(registry=registry, party=party)
    proposal = sound(item)
    place = proposal.transferring
    pieces = [[Held(place.registry, place.party, place.account.type, b)] for b in proposal.blocks]
    return proposal, facts(proposal, pieces=pieces)


def test_the_international_registry_speaks_for_its_sections_and_for_nobody_else() -> None:
    item = propose() | {"transfer": "INT01-01920000-0000-7000-8000-00000000000a"}
    proposal, known = of_section(item, "MMR99", "MMR")
    assert checks.check(proposal, replace(known, sender=INT01)) == ()
    proposal, known = of_section(item, "MEC01", "MMR")
    assert [f.code for f in checks.check(proposal, replace(known, sender=INT01))] == [4001]


def test_from_section_to_section_is_the_international_registrys_own_business() -> None:
    item = propose() | {"transfer": "INT01-01920000-0000-7000-8000-00000000000a"}
    item["acquiring"].update(registry="THA99", party="THA")
    proposal, known = of_section(item, "MMR99", "MMR")
    assert [f.code for f in checks.check(proposal, replace(known, sender=INT01))] == [4017]


@pytest.mark.parametrize(
    ("side", "registry", "party", "code"),
    [
        ("acquiring", "THA99", "MMR", 4012),
        ("acquiring", "JPN01", "CHE", 4012),
        ("transferring", "THA99", "MMR", 4011),
    ],
)
def test_a_registry_without_books_of_the_party_is_named(side: str, registry: str, party: str, code: int) -> None:
    item = propose()
    item[side].update(registry=registry, party=party)
    assert code in codes(sound(item))


@pytest.mark.parametrize("kind", [RegistryKind.MECHANISM, RegistryKind.SERVICES])
def test_nothing_returns_to_a_registry_that_issues_units(kind: RegistryKind) -> None:
    proposal = sound()
    known = {**REGISTRIES, JPN01: replace(REGISTRIES[JPN01], kind=kind, party=None)}
    assert [f.code for f in checks.check(proposal, facts(proposal, registries=known))] == [5150]


def test_units_of_the_services_leave_them_only_when_they_are_authorised() -> None:
    item = propose(block(1, 100, named=False), block(201, 300, named=False))
    item["blocks"][1]["attributes"]["authorisation"] = None
    proposal = sound(item)
    known = {**REGISTRIES, MEC01: replace(REGISTRIES[MEC01], kind=RegistryKind.SERVICES)}
    found = checks.check(proposal, facts(proposal, registries=known))
    assert [(f.code, f.blocks) for f in found] == [(5133, (units(201, 300),))]


def test_the_book_is_not_asked_about_data_that_are_wrong_in_themselves() -> None:
    item = propose()
    item["quantity"] = 1
    proposal = sound(item)
    assert [f.code for f in checks.check(proposal, facts(proposal, pieces=[[], []]))] == [2009]


def test_warnings_let_a_transfer_pass_and_a_peers_own_code_does_not() -> None:
    assert checks.passed([Finding(5906)])
    assert not checks.passed([Finding(5906), Finding(4003)])
    assert severity(7123) is checks.Severity.ERROR


def test_every_code_lies_in_the_stage_of_its_first_digit() -> None:
    assert all(row.stage == code // 1000 and row.text for code, row in CHECKS.items())


def test_a_finding_is_read_as_it_was_written() -> None:
    for finding in (Finding(5902), Finding(7001, (units(9, 5),), "compte inconnu")):
        assert wire.parse_finding(wire.finding_to_wire(finding)) == finding
    for wrong in ({}, {"code": 99}, {"code": 2001, "blocks": [{}]}, {"code": 2001, "detail": "a\nb"}):
        with pytest.raises(GatewayError):
            wire.parse_finding(wrong)


def test_three_thousand_blocks_are_read_and_checked_quickly() -> None:
    item = propose(*(block(10 * i + 1, 10 * i + 5) for i in range(3000)))
    began = time.process_time()
    proposal = sound(item)
    assert checks.check(proposal, facts(proposal)) == ()
    assert time.process_time() - began < 1.0  # about 0.08 s; an algorithm in n² takes far more


def test_quantities_of_one_item_are_in_one_metric() -> None:
    one, other = (replace(b, attributes=replace(b.attributes, unit_type="MO")) for b in sound().blocks)
    mixed = replace(other, attributes=replace(other.attributes, metric="non-GHG"))
    assert [f.code for f in integrity.metrics_2016([one, mixed])] == [2016]
    assert integrity.metrics_2016([one, other]) == []
