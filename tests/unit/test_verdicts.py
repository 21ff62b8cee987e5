"""What the book, the links and the rules say against a proposal is found, named with its code and its units.

Method: one sound proposal, its facts changed in one place per test. Scope: stages 4 and 5. All data are synthetic.
"""

import time
from dataclasses import replace
from typing import Any

import pytest

from gateway.domain import checks, integrity, wire
from gateway.domain import identifiers as ids
from gateway.domain.check_codes import CHECKS, Finding, severity
from gateway.domain.facts import Facts, Held, LinkState
from gateway.domain.nomenclature import Metric
from gateway.domain.registry import RegistryKind
from gateway.domain.transfers import Proposal
from gateway.domain.units import ItmoNaming
from gateway.errors import GatewayError
from tests.proposing import INT01, JPN01, MEC01, REGISTRIES, Change, block, codes, facts, propose, sound, units


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
    assert all(row.stage == code // 1000 and row.text and row.source for code, row in CHECKS.items())


def test_the_table_is_total() -> None:
    spans = [
        *((1001, 1010), (2001, 2017), (3001, 3007), (4001, 4021), (5101, 5112), (5120, 5124), (5130, 5136)),
        *((5140, 5142), (5150, 5150), (5901, 5904), (5906, 5906), (6101, 6103), (6201, 6202), (6301, 6304)),
        *((6401, 6403), (6901, 6901), (8001, 8005), (9001, 9003), (9999, 9999)),
    ]
    assert [code for first, last in spans for code in range(first, last + 1)] == sorted(CHECKS)
    flagging = {3003, 3007, 4019, 4020, 5112, 5131, 5136, 5906}
    assert {code for code in CHECKS if severity(code) is checks.Severity.WARNING} == flagging


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
    mixed = replace(other, attributes=replace(other.attributes, metric=Metric.NON_GHG))
    assert [(f.code, f.blocks) for f in integrity.metrics_2016([one, mixed])] == [(2016, (mixed.range,))]
    assert integrity.metrics_2016([one, other]) == []
