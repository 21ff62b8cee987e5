"""Every fault of a transfer is found, named with its code and its units, and refuses that transfer alone.

Method: one sound proposal as JSON, changed in one place per test. Scope: reading a proposal (``wire``,
``proposals``) and the checks of stages 2 and 4; all data are synthetic.
"""

import json
from typing import Any

import pytest

from gateway.domain import checks, proposals, wire
from gateway.domain.proposals import FaultyProposal
from gateway.domain.units import AuthorisationRef
from gateway.errors import GatewayError
from tests.proposing import Change, block, codes, facts, propose, sound


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


def test_an_unlisted_value_is_told_beside_what_else_is_wrong_with_its_block() -> None:
    item = propose()
    item["blocks"][0]["attributes"].update(sector="Space mirrors", cooperative_approach="CA1")
    assert codes(proposals.parse_proposal(item)) == [2012, 2014]
