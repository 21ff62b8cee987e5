"""Every code of the stages that judge a transfer (4xxx, 5xxx): facts that raise exactly it, a near miss that do not.

Method: one sound proposal, one thing changed; where a fault implies another code, the check of the code alone is asked.
All data are synthetic.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from gateway.domain import checks
from gateway.domain import identifiers as ids
from gateway.domain.check_codes import Finding
from gateway.domain.facts import Facts, LinkState
from gateway.domain.registry import RegistryKind
from gateway.domain.transfers import Proposal
from gateway.domain.units import AuthorisationRef
from tests.every import Elsewhere, Pair, Table, wrong
from tests.proposing import JPN01, MEC01, REGISTRIES, facts, propose, sound, units


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
    4010: Pair(
        lambda: alone(checks.unchanged_4010, **other_attributes(sector="Transportation")),
        lambda: alone(checks.unchanged_4010, **other_attributes(sector="Energy generation")),
    ),
    4011: Pair(
        lambda: linked(MEC01, party=ids.parse_party("GHA")), lambda: linked(MEC01, party=ids.parse_party("MMR"))
    ),
    4012: Pair(lambda: addressed("acquiring", party="CHE"), lambda: addressed("acquiring", party="JPN")),
    4015: Pair(
        lambda: addressed("acquiring", account="200-1"), lambda: addressed("acquiring", account="110-1")
    ),
    4017: Pair(
        lambda: addressed("acquiring", registry="MEC01"), lambda: addressed("acquiring", registry="MMR99", party="MMR")
    ),
    4018: Pair(
        lambda: alone(checks.balance_4018, **first_block(99)), lambda: alone(checks.balance_4018, **first_block(100))
    ),
    4021: Elsewhere(
        "integration/test_link_limits.py"
        "::test_blocks_beyond_a_day_are_refused_each_alone_and_the_next_day_begins_anew"
    ),
    5133: Pair(lambda: from_services(authorised=False), lambda: from_services(authorised=True)),
    5150: Pair(
        lambda: linked(JPN01, kind=RegistryKind.MECHANISM), lambda: linked(JPN01, kind=RegistryKind.INTERNATIONAL)
    ),
    5901: Elsewhere(
        "integration/test_interventions.py::test_an_operator_ends_what_has_no_commit_and_the_source_confirms"
    ),
}  # fmt: skip


@pytest.mark.parametrize("code", CASES)
def test_a_code_is_raised_by_its_fault_alone_and_not_by_its_near_miss(code: int) -> None:
    assert wrong(code, CASES[code]) == []
