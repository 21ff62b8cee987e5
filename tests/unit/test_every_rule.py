"""Every code of the stages that judge a transfer (4xxx, 5xxx): facts that raise exactly it, a near miss that do not.

Method: one sound proposal, one thing changed; where a fault implies another code, the check of the code alone is asked.
All data are synthetic.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from gateway.domain import checks, levies, notices
from gateway.domain import identifiers as ids
from gateway.domain.actions import FirstTransfer, Towards
from gateway.domain.authorisations import Days, Definition, Years
from gateway.domain.check_codes import CHECKS, Finding, Severity, severity
from gateway.domain.facts import Facts, Flag, LinkState
from gateway.domain.identifiers import AccountType
from gateway.domain.levies import Rounding
from gateway.domain.registry import RegistryKind
from gateway.domain.transfers import Proposal
from gateway.domain.units import AuthorisationRef
from gateway.holdings.announced import Moving
from gateway.transfers import statements
from tests.announcing import disposed, drawn, first_transferred, held, issued, ruled
from tests.every import Elsewhere, Pair, Table, wrong
from tests.proposing import JPN01, MEC01, MMR99, REGISTRIES, authorised, block, facts, propose, sound, units
from tests.unit.test_notices import ALL_PARTIES, action
from tests.unit.test_notices import block as unauthorised_block

#: Codes that registries answer: what they mean is theirs to say, what they lead to is the table's.
ANSWERED = (4013, 4014, 5902, 5903, 5904, 5906)
MMR, JPN, CHE = (ids.parse_party(p) for p in ("MMR", "JPN", "CHE"))


def found(**changes: Any) -> list[int]:
    """What the verdict says when these facts are otherwise."""
    proposal = sound()
    return [f.code for f in checks.check(proposal, facts(proposal, **changes))]


def linked(registry: ids.RegistryCode, **changes: Any) -> list[int]:
    return found(registries={**REGISTRIES, registry: replace(REGISTRIES[registry], **changes)})


def alone(check: Callable[[Proposal, Facts], list[Finding]], **changes: Any) -> list[int]:
    """What one check says when the position of the first block is otherwise."""
    proposal = sound()
    [[first], second] = facts(proposal).pieces
    moved = facts(proposal, pieces=[[replace(first, **changes)], second])
    return [f.code for f in check(proposal, moved)]


def addressed(side: str, **members: Any) -> list[int]:
    item = propose()
    item[side] |= members
    proposal = sound(item)
    return [f.code for f in checks.check(proposal, facts(proposal))]


def from_services(*, authorised: bool) -> list[int]:
    """Units of the additional registry services, with their authorisation or without."""
    reference = AuthorisationRef("MMR-A6-1", 1) if authorised else None
    proposal = sound()
    blocks = tuple(replace(b, attributes=replace(b.attributes, authorisation=reference)) for b in proposal.blocks)
    proposal = replace(proposal, blocks=blocks)
    known = {**REGISTRIES, MEC01: replace(REGISTRIES[MEC01], kind=RegistryKind.SERVICES)}
    return [f.code for f in checks.check(proposal, facts(proposal, registries=known))]


def first_block(last: int) -> dict[str, Any]:
    """The position of the first block, cut off after this serial."""
    return {"block": sound().blocks[0].part(1, last)}


def other_attributes(**changes: Any) -> dict[str, Any]:
    known = sound().blocks[0]
    return {"block": replace(known, attributes=replace(known.attributes, **changes))}


def judged(item: dict[str, Any] | None = None, known: dict[str, Any] | None = None, **terms: Any) -> list[int]:
    """What the verdict on ``item`` says under an authorisation with these terms, and these other facts."""
    proposal = sound(item)
    under = {"authorisations": {MMR: authorised(**terms)}} | (known or {})
    return [f.code for f in checks.check(proposal, facts(proposal, **under))]


def marked(flag: Flag, first: int) -> list[int]:
    """What the verdict says when units from this serial to 200 are flagged; 101 to 200 are not proposed."""
    return found(flagged={flag: [units(first, 200)]})


def unnamed(**attributes: Any) -> dict[str, Any]:
    """A proposal of units that were never first transferred."""
    one = block(201, 300, named=False)
    one["attributes"] |= attributes
    return propose(one)


def for_others(**members: Any) -> dict[str, Any]:
    return unnamed() | {"purpose": "IMP"} | members


def acquired_by(entity: str, known: Iterable[str], **terms: Any) -> list[int]:
    return judged(propose() | {"entity": entity}, {"entities": frozenset(known)}, **terms)


def revoked(item: dict[str, Any]) -> list[int]:
    return judged(item, {"authorisations": {MMR: replace(authorised(), revoked=True)}})


def home_or_away(registry: str, party: str) -> list[int]:
    """Myanmar's units in Thailand's books, on their way to a Party."""
    item = unnamed()
    item["transferring"] |= {"party": "THA"}
    item["acquiring"] |= {"registry": registry, "party": party}
    return judged(item)


def deducted(proceeds: int, omge: int) -> list[int]:
    """What is found wrong with an issuance of 1,000 A6.4ERs hosted outside the exempt Parties."""
    [one] = sound(unnamed(first_transferring_party="GHA")).blocks
    ends = (1000 - proceeds - omge, 1000 - omge, 1000)
    kinds = (AccountType.HOLDING, AccountType.SHARE_OF_PROCEEDS, AccountType.CANCELLATION_OMGE)
    parts, first = [], 1
    for last, kind in zip(ends, kinds, strict=True):
        if first <= last:
            parts.append((replace(one, first=first, last=last), kind))
        first = last + 1
    return [f.code for f in levies.issuance_findings(issued(*parts).positions, Rounding.UP)]


def announced(value: Moving, *, transferred: bool = False, **terms: Any) -> list[int]:
    """What the rules find in an announcement of units that were first transferred, or not."""
    [one] = sound(unnamed()).blocks
    there = held(one, first_transferred=transferred, relied_on=1 if transferred else None)
    return [f.code for f in ruled(value, [there], drawn(authorised(**terms))).findings]


def by_definition(subtype: FirstTransfer, **members: Any) -> list[int]:
    [one] = sound(unnamed()).blocks
    return announced(first_transferred(one, subtype), **members)


def spent(purpose: Towards, party: ids.PartyCode = MMR, **terms: Any) -> list[int]:
    [one] = sound(unnamed()).blocks
    return announced(disposed(one, purpose, party), transferred=True, **terms)


def unauthorised(purpose: Towards, party: ids.PartyCode = MMR) -> list[int]:
    """What is found in the use or cancellation of units whose authorisation was never told."""
    [one] = sound(unnamed()).blocks
    return [f.code for f in ruled(disposed(one, purpose, party), [held(one)], drawn()).findings]


def told(kind: str, to_account: str, **members: Any) -> list[int]:
    """What the reading of an announced move finds."""
    blocks = [unauthorised_block(1, 9)]
    item = action(kind, party="MMR", account="100-1", to_account=to_account, blocks=blocks, **members)
    read = notices.parse_action(item, ALL_PARTIES)
    return [f.code for f in read] if isinstance(read, tuple) else []


def used_for(year: int) -> list[int]:
    return told("use", "200-1", year=year, ndc_period={"first": 2021, "last": 2030})


def answered(*codes: int) -> list[int]:
    """The findings of a registry's answer as they are taken over."""
    findings = [{"code": code, "blocks": [], "detail": "as the registry says"} for code in codes]
    says = "rejected" if codes else "accepted"
    answer = {"kind": "answer", "transfer": propose()["transfer"], "offer": "x" * 43, "answer": says}
    return [f.code for f in statements.read_answer(answer | {"findings": findings}).findings]


CASES: Table = {
    4001: Pair(
        lambda: linked(MEC01, state=LinkState.SUSPENDED), lambda: linked(MEC01, state=LinkState.ACTIVE)
    ),
    4002: Pair(
        lambda: {*linked(JPN01, state=LinkState.SUSPENDED), *linked(JPN01, barred=True)},
        lambda: linked(JPN01, barred=False),
    ),
    4003: Pair(
        lambda: alone(checks.known_4003, **first_block(99)), lambda: alone(checks.known_4003, **first_block(100))
    ),
    4004: Pair(
        lambda: alone(checks.held_there_4004, account_type=ids.AccountType.PENDING),
        lambda: alone(checks.held_there_4004, account_type=ids.AccountType.HOLDING),
    ),
    4005: Pair(lambda: found(claims=[[units(100, 200)], []]), lambda: found(claims=[[units(101, 200)], []])),
    4006: Pair(
        lambda: alone(checks.live_4006, account_type=ids.AccountType.USE_NDC),
        lambda: alone(checks.live_4006, account_type=ids.AccountType.REVERSAL_BUFFER),
    ),
    4007: Pair(
        lambda: alone(checks.one_place_4007, registry=JPN01), lambda: alone(checks.one_place_4007, registry=MEC01)
    ),
    4008: Pair(lambda: marked(Flag.DISCREPANCY, 100), lambda: marked(Flag.DISCREPANCY, 101)),
    4009: Pair(lambda: marked(Flag.INCONSISTENT, 100), lambda: marked(Flag.INCONSISTENT, 101)),
    4010: Pair(
        lambda: alone(checks.unchanged_4010, **other_attributes(sector="Transportation")),
        lambda: alone(checks.unchanged_4010, **other_attributes(sector="Energy generation")),
    ),
    4011: Pair(
        lambda: linked(MEC01, party=ids.parse_party("GHA")), lambda: linked(MEC01, party=ids.parse_party("MMR"))
    ),
    4012: Pair(lambda: addressed("acquiring", party="CHE"), lambda: addressed("acquiring", party="JPN")),
    4013: Pair(lambda: answered(4013), answered),
    4014: Pair(lambda: answered(4014), answered),
    4015: Pair(
        lambda: addressed("acquiring", account="200-1"), lambda: addressed("acquiring", account="110-1")
    ),
    4016: Pair(lambda: acquired_by("E-1", ["E-2"]), lambda: acquired_by("E-1", ["E-1", "E-2"])),
    4017: Pair(
        lambda: addressed("acquiring", registry="MEC01"), lambda: addressed("acquiring", registry="MMR99", party="MMR")
    ),
    4018: Pair(
        lambda: alone(checks.balance_4018, **first_block(99)), lambda: alone(checks.balance_4018, **first_block(100))
    ),
    4019: Pair(lambda: linked(JPN01, reconciling=True), lambda: linked(MMR99, reconciling=True)),
    4020: Pair(lambda: found(lapsed=frozenset({JPN})), lambda: found(lapsed=frozenset({CHE}))),
    4021: Elsewhere(
        "integration/test_link_limits.py"
        "::test_blocks_beyond_a_day_are_refused_each_alone_and_the_next_day_begins_anew"
    ),
    5101: Pair(
        lambda: {*judged(unnamed(authorisation=None)), *judged(propose() | {"authorisation": None})},
        lambda: judged(unnamed()),
    ),
    5102: Pair(
        lambda: {
            *judged(given_on=date(2026, 7, 2), initial_report=date(2026, 7, 1)),
            *judged(period=Days(last=date(2026, 6, 30))),
            *judged(known={"authorisations": {}}),
            *judged(unnamed() | {"authorisation": {"id": "MMR-A6-1", "version": 2}}),
            *judged(unnamed() | {"authorisation": {"id": "MMR-A6-2", "version": 1}}),
        },
        lambda: judged(given_on=date(2026, 7, 1), period=Days(last=date(2026, 7, 1))),
    ),
    5103: Pair(lambda: revoked(unnamed()), lambda: revoked(propose(block(1, 100)))),  # the latter moved before
    5104: Pair(lambda: judged(cooperative_approach="CA0002"), lambda: judged(cooperative_approach="CA0001")),
    5105: Pair(lambda: judged(vintages=Years(2022, 2030)), lambda: judged(vintages=Years(2021, 2021))),
    5106: Pair(
        lambda: {
            *judged(sectors=frozenset({"Transportation"})),
            *judged(activity_types=frozenset({"Solar"})),
        },
        lambda: judged(sectors=frozenset({"Transportation", "Energy generation"})),
    ),
    5107: Pair(lambda: judged(quantity=99), lambda: judged(quantity=100)),  # 100 of the 200 moved before
    5108: Pair(lambda: judged(parties=frozenset({CHE})), lambda: judged(parties=frozenset({CHE, JPN}))),
    5109: Pair(
        lambda: acquired_by("E-1", ["E-1"], entities=frozenset({"E-2"})),
        lambda: acquired_by("E-1", ["E-1"], entities=frozenset({"E-1"})),
    ),
    5110: Pair(lambda: judged(purposes="OIMP"), lambda: judged(purposes="NDC and OP")),
    5111: Pair(
        lambda: judged(use_period=Days(last=date(2026, 6, 30))), lambda: judged(use_period=Days(last=date(2026, 7, 1)))
    ),
    5112: Pair(
        lambda: {*judged(initial_report=None), *judged(initial_report=date(2026, 1, 2))},
        lambda: judged(initial_report=date(2026, 1, 1)),
    ),
    5120: Pair(lambda: {*deducted(49, 20), *deducted(51, 20), *deducted(50, 19)}, lambda: deducted(50, 21)),
    5121: Pair(lambda: deducted(0, 20), lambda: deducted(50, 20)),
    5122: Pair(
        lambda: addressed("transferring", account="410-1"), lambda: addressed("transferring", account="100-2")
    ),
    5123: Elsewhere(
        "integration/test_post_issuance.py::test_what_moved_or_is_authorised_already_gets_no_authorisation_afterwards",
        "integration/test_post_issuance.py::test_untouched_units_get_an_authorisation_after_issuance",
    ),
    5124: Pair(lambda: marked(Flag.REVERSAL, 100), lambda: marked(Flag.REVERSAL, 101)),
    5130: Pair(lambda: judged(for_others(), definition=None), lambda: judged(unnamed(), definition=None)),
    5131: Pair(
        lambda: {
            *judged(for_others(), definition=Definition.AUTHORISATION),
            *judged(for_others(), definition=Definition.ISSUANCE),
        },
        lambda: [
            *judged(unnamed(), definition=Definition.AUTHORISATION),
            *judged(for_others(), definition=Definition.USE_OR_CANCELLATION),
        ],
    ),
    5132: Pair(
        lambda: by_definition(FirstTransfer.USE_OR_CANCELLATION, transferred=True),
        lambda: by_definition(FirstTransfer.USE_OR_CANCELLATION, transferred=False),
    ),
    5133: Pair(lambda: from_services(authorised=False), lambda: from_services(authorised=True)),
    5134: Pair(
        lambda: {*by_definition(FirstTransfer.ISSUANCE), *by_definition(FirstTransfer.AUTHORISATION)},
        lambda: by_definition(FirstTransfer.ISSUANCE, definition=Definition.ISSUANCE),
    ),
    5135: Pair(lambda: home_or_away("MMR99", "MMR"), lambda: home_or_away("JPN01", "JPN")),
    5136: Pair(
        lambda: judged(for_others(), ndc_period=Years(2021, 2024)),  # to be recorded by 31 December 2025
        lambda: [
            *judged(for_others(), ndc_period=Years(2021, 2026)),
            *judged(unnamed(), ndc_period=Years(2021, 2024)),
        ],
    ),
    5140: Pair(
        lambda: {
            *used_for(2020), *used_for(2031), *spent(Towards.NDC, JPN, parties=frozenset({CHE})),
            *unauthorised(Towards.NDC, JPN),
        },
        lambda: [
            *used_for(2021), *used_for(2030), *spent(Towards.NDC, JPN, parties=frozenset({JPN})),
            *unauthorised(Towards.NDC, MMR),
        ],
    ),
    5141: Pair(
        lambda: {*told("cancellation", "310-1", purpose="OMGE"), *unauthorised(Towards.OP)},
        lambda: [*told("cancellation", "320-1", purpose="OMGE"), *unauthorised(Towards.OMGE)],
    ),
    5142: Pair(
        lambda: told("adaptation", "110-1", voluntary=True), lambda: told("adaptation", "410-1", voluntary=True)
    ),
    5150: Pair(
        lambda: linked(JPN01, kind=RegistryKind.MECHANISM), lambda: linked(JPN01, kind=RegistryKind.INTERNATIONAL)
    ),
    5901: Elsewhere(
        "integration/test_interventions.py::test_an_operator_ends_what_has_no_commit_and_the_source_confirms"
    ),
    **{code: Pair(lambda code=code: answered(code), answered) for code in (5902, 5903, 5904, 5906)},
}  # fmt: skip


@pytest.mark.parametrize("code", CASES)
def test_a_code_is_raised_by_its_fault_alone_and_not_by_its_near_miss(code: int) -> None:
    assert wrong(code, CASES[code]) == []


@pytest.mark.parametrize("code", ANSWERED)
def test_what_a_registry_answers_weighs_what_the_table_says(code: int) -> None:
    assert severity(code) is CHECKS[code].severity
    assert (severity(code) is Severity.WARNING) == (code == 5906)  # credited elsewhere all the same


def test_a_code_of_a_registrys_own_is_kept_and_refuses() -> None:
    assert (answered(7777), severity(7777)) == ([7777], Severity.ERROR)


def test_no_code_of_the_later_stages_is_without_a_test() -> None:
    assert [code for code in CHECKS if 4000 < code < 6000 and code not in CASES] == []
