"""One sound proposal as JSON, and the facts under which it passes, for tests that change one thing. Synthetic data."""

import copy
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import Any

from gateway.domain import checks, proposals
from gateway.domain import identifiers as ids
from gateway.domain.authorisations import Authorisation, Authorised, Days, Definition, Kind, Years
from gateway.domain.facts import Books, Facts, Held, LinkState
from gateway.domain.proposals import FaultyProposal
from gateway.domain.registry import RegistryKind
from gateway.domain.transfers import Proposal
from gateway.domain.units import UnitRange

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
    pieces = [
        [Held(MEC01, source.party, source.account.type, b, b.itmo is not None, 1 if b.itmo else None)]
        for b in proposal.blocks
    ]
    known = {ids.parse_party("MMR"): authorised()}
    usual = Facts(MEC01, REGISTRIES, pieces, [[] for _ in pieces], date(2026, 7, 1), known)
    return replace(usual, **changes)


def codes(found: Proposal | FaultyProposal) -> list[int]:
    """What is found wrong with an item, by whichever half finds it."""
    if isinstance(found, FaultyProposal):
        return [finding.code for finding in found.findings]
    return [finding.code for finding in checks.check(found, facts(found))]


def authorised(**changes: Any) -> Authorised:
    """Myanmar's authorisation of the units, wide open, and what is changed of it."""
    terms = Authorisation(
        id="MMR-A6-1", version=1, party=ids.parse_party("MMR"), kinds=frozenset(Kind), given_on=date(2026, 1, 1),
        cooperative_approach="CA0001", purposes="NDC and OIMP", period=Days(),
        definition=Definition.USE_OR_CANCELLATION, initial_report=date(2026, 1, 1), ndc_period=Years(2021, 2030),
    )  # fmt: skip
    return Authorised((replace(terms, **changes),))


def units(first: int, last: int) -> UnitRange:
    return UnitRange(sound().blocks[0].origin, first, last)
