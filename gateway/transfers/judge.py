"""Gathers what the checks need to know of proposals, once for all of them, and lets the domain judge each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from gateway import db
from gateway.domain import checks
from gateway.domain.check_codes import Finding
from gateway.domain.facts import Books, Facts, LinkState
from gateway.domain.identifiers import (
    LinkCode,
    PartyCode,
    RegistryCode,
    parse_link_code,
    parse_party,
    parse_registry_code,
)
from gateway.domain.registry import USUAL, Capability, RegistryKind
from gateway.domain.transfers import Proposal
from gateway.holdings import book, claims
from gateway.holdings.claims import Claim
from gateway.links import store as links

_LINK_STATES = {"active": LinkState.ACTIVE, "suspended": LinkState.SUSPENDED}


@dataclass(frozen=True, slots=True)
class Judged:
    """What is found about a proposal, and whose units, first transferred by then, it is about."""

    findings: tuple[Finding, ...]
    first_transferred_by: frozenset[PartyCode]


async def judge(tx: db.Tx, proposals: Sequence[tuple[str, Proposal]], now: datetime) -> list[Judged]:
    """The verdict on each proposal of (its sender, what it proposes), in order; three statements for all."""
    wanted = [Claim(str(p.transfer), block) for _, p in proposals for block in p.blocks]
    # Claims first: units whose claim is gone when it is looked for have moved when the book is read.
    others = iter(await claims.held_by_others(tx, wanted))
    pieces = iter(await book.held(tx, [claim.block for claim in wanted]))
    registries = {r for _, p in proposals for r in (p.transferring.registry, p.acquiring.registry)}
    linked = _books(await links.behind(tx, sorted(registries)))
    judged = []
    for sender, proposal in proposals:
        facts = Facts(
            sender=LinkCode(sender),
            registries=linked,
            pieces=[next(pieces) for _ in proposal.blocks],
            claims=[next(others) for _ in proposal.blocks],
            year=now.astimezone(UTC).year,
        )
        judged.append(Judged(checks.check(proposal, facts), _first_transferred_by(facts)))
    return judged


def _first_transferred_by(facts: Facts) -> frozenset[PartyCode]:
    pieces = (held for pieces in facts.pieces for held in pieces)
    return frozenset(held.block.attributes.first_transferring_party for held in pieces if held.first_transferred)


def _books(found: Mapping[str, links.Behind]) -> dict[RegistryCode, Books]:
    return {
        parse_registry_code(registry): Books(
            parse_link_code(behind.code),
            RegistryKind(behind.kind),
            _LINK_STATES.get(behind.state, LinkState.UNKNOWN),
            parse_party(behind.party) if behind.party else None,
            barred=Capability.TRANSFER_IN in USUAL[RegistryKind(behind.kind)] - behind.capabilities,
        )
        for registry, behind in found.items()
    }
