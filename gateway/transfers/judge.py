"""Gathers what the checks need to know of proposals, once for all of them, and lets the domain judge each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from gateway import db
from gateway.authorisations import store as authorisations
from gateway.authorisations.store import Reliance
from gateway.domain import authorisation_rules, checks, first_transfer_rules
from gateway.domain.check_codes import Finding, merged
from gateway.domain.facts import FLAG_CODES, Books, Facts, LinkState
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
from gateway.holdings import book, claims, flags
from gateway.holdings.claims import Claim
from gateway.links import store as links

_LINK_STATES = {"active": LinkState.ACTIVE, "suspended": LinkState.SUSPENDED}


@dataclass(frozen=True, slots=True)
class Judged:
    """What is found about a proposal, whose units, first transferred by then, it is about, and what it relies on."""

    findings: tuple[Finding, ...]
    first_transferred_by: frozenset[PartyCode]
    reliances: tuple[Reliance, ...] = ()


async def judge(
    tx: db.Tx, proposals: Sequence[tuple[str, Proposal]], now: datetime, *, draw: bool = False, passed: bool = False
) -> list[Judged]:
    """The verdict on each proposal of (its sender, what it proposes), in order; seven statements at most for all.

    With ``draw`` those that pass draw on their authorisations, each on what those before it have left; with ``passed``
    all do, because they passed before they were lost.
    """
    wanted = [Claim(str(p.transfer), block) for _, p in proposals for block in p.blocks]
    # Claims first: units whose claim is gone when it is looked for have moved when the book is read.
    others = iter(await claims.held_by_others(tx, wanted))
    blocks = [block for _, p in proposals for block in p.blocks]
    pieces = iter(await book.held(tx, blocks))
    registries = {r for _, p in proposals for r in (p.transferring.registry, p.acquiring.registry)}
    parties = {party for _, p in proposals for party in (p.transferring.party, p.acquiring.party)}
    marked = await flags.live(tx, blocks, registries, parties)
    linked = _books(await links.behind(tx, sorted(registries)), marked.reconciling)
    known = await authorisations.known(tx, {n for _, p in proposals for n in _names(p)}, alone=draw)
    entities = await authorisations.named_entities(tx, {p.entity for _, p in proposals if p.entity is not None})
    judged = []
    for sender, proposal in proposals:
        facts = Facts(
            sender=LinkCode(sender),
            registries=linked,
            pieces=[next(pieces) for _ in proposal.blocks],
            claims=[next(others) for _ in proposal.blocks],
            today=now.astimezone(UTC).date(),
            authorisations={party: known[party, name] for party, name in _names(proposal) if (party, name) in known},
            entities=entities,
            flagged=marked.units,
            lapsed=frozenset(parse_party(party) for party in marked.lapsed),
        )
        findings = checks.check(proposal, facts)
        reliances = _reliances(proposal, facts) if draw and (passed or _begins(findings)) else ()
        for one in reliances:
            before = known[one.name]
            known[one.name] = replace(before, drawn=before.drawn + one.drawn)
        judged.append(Judged(findings, _first_transferred_by(facts), reliances))
    return judged


async def stopped_since(tx: db.Tx, transfers: Sequence[str]) -> dict[str, tuple[Finding, ...]]:
    """Why checked transfers may not be committed: their authorisation is revoked, or a flag is on their units."""
    revoked = await authorisations.revoked_under(tx, transfers)
    flagged = await flags.on_claims(tx, transfers)
    found: dict[str, list[Finding]] = {}
    for transfer in revoked:
        found.setdefault(transfer, []).append(Finding(5103, (), "the authorisation was revoked meanwhile"))
    for transfer, flag, units in flagged:
        found.setdefault(transfer, []).append(Finding(FLAG_CODES[flag], (units,), "marked meanwhile"))
    return {transfer: merged(findings) for transfer, findings in found.items()}


def _begins(findings: Sequence[Finding]) -> bool:
    return checks.passed(findings) and not checks.waits(findings)


def _names(proposal: Proposal) -> set[tuple[PartyCode, str]]:
    """The authorisations a proposal may rely on: of the name it gives, by the Parties whose units it is about."""
    if proposal.authorisation is None:
        return set()
    return {(b.attributes.first_transferring_party, proposal.authorisation.id) for b in proposal.blocks}


def _reliances(proposal: Proposal, facts: Facts) -> tuple[Reliance, ...]:
    fresh = authorisation_rules.drawn(proposal, facts)
    return tuple(
        Reliance(
            str(proposal.transfer), (party, known.current.id), known.current.version, fresh.get(party, 0),
            first_transfer_rules.classified(proposal, facts, party),
        )
        for party, known in facts.authorisations.items()
    )  # fmt: skip


def _first_transferred_by(facts: Facts) -> frozenset[PartyCode]:
    return frozenset(held.block.attributes.first_transferring_party for held in facts.held() if held.first_transferred)


def _books(found: Mapping[str, links.Behind], reconciling: frozenset[str]) -> dict[RegistryCode, Books]:
    return {
        parse_registry_code(registry): Books(
            parse_link_code(behind.code),
            RegistryKind(behind.kind),
            _LINK_STATES.get(behind.state, LinkState.UNKNOWN),
            parse_party(behind.party) if behind.party else None,
            barred=Capability.TRANSFER_IN in USUAL[RegistryKind(behind.kind)] - behind.capabilities,
            reconciling=registry in reconciling,
        )
        for registry, behind in found.items()
    }
