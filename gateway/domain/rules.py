"""The checks of stage 5: whether the rules of Article 6 let these units take this way. One pure function per code."""

from collections.abc import Callable

from gateway.domain.authorisation_rules import AUTHORISATION_RULES
from gateway.domain.check_codes import Finding
from gateway.domain.facts import Facts, Flag
from gateway.domain.first_transfer_rules import FIRST_TRANSFER_RULES
from gateway.domain.identifiers import AccountType
from gateway.domain.registry import RegistryKind
from gateway.domain.transfers import Proposal

#: Registries that units leave and never come back to: those that issue them before they are ITMOs. That nothing
#: returns to the mechanism registry is our reading of CMA 6 (no text foresees it); see the domain's open questions.
ISSUING = frozenset({RegistryKind.MECHANISM, RegistryKind.SERVICES})


def authorised_5101(proposal: Proposal, facts: Facts) -> list[Finding]:
    """The units are authorised. Mitigation contribution A6.4ERs, issued without, are never transferred out of the
    mechanism registry (7/CMA.4 annex I, as summarised publicly); those of the services are the business of 5133.
    """
    if _from_services(proposal, facts):
        return []
    plain = tuple(b.range for b in proposal.blocks if b.attributes.authorisation is None)
    found = [Finding(5101, plain, "not authorised: mitigation contribution units are not transferred")] if plain else []
    if proposal.authorisation is None and not plain:
        found.append(Finding(5101, (), "the proposal names no authorisation"))
    return found


def movable_account_5122(proposal: Proposal, _facts: Facts) -> list[Finding]:
    """The units are not set aside: share of proceeds, buffer, OMGE and pending accounts are not moved by a relay."""
    account = proposal.transferring.account.type
    if account is AccountType.HOLDING:
        return []
    blocks = tuple(block.range for block in proposal.blocks)
    return [Finding(5122, blocks, f"units in accounts of type {account.value} are not transferred by relay")]


def no_reversal_5124(proposal: Proposal, facts: Facts) -> list[Finding]:
    """No reversal of removals is unresolved (its source: the requirements for removals under Article 6.4)."""
    held = tuple(
        shared
        for block in proposal.blocks
        for units in facts.flagged.get(Flag.REVERSAL, ())
        if (shared := block.range.intersect(units))
    )
    return [Finding(5124, held, "a reversal of these removals is being looked into")] if held else []


def itmos_only_5133(proposal: Proposal, facts: Facts) -> list[Finding]:
    """Units of the additional registry services leave it only as ITMOs: authorised, and first transferred by leaving.

    Source: decision on Article 6.2 of CMA 6, paras 50-51, as quoted; the text itself was not available to us.
    """
    if not _from_services(proposal, facts):
        return []
    before = tuple(b.range for b in proposal.blocks if b.attributes.authorisation is None)
    return [Finding(5133, before, "not authorised: they are no ITMOs yet")] if before else []


def no_return_5150(proposal: Proposal, facts: Facts) -> list[Finding]:
    """Nothing is transferred into a registry that only issues units."""
    acquirer = facts.registries.get(proposal.acquiring.registry)
    if acquirer is None or acquirer.kind not in ISSUING:
        return []
    return [Finding(5150, (), f"units leave {proposal.acquiring.registry} and do not return")]


def _from_services(proposal: Proposal, facts: Facts) -> bool:
    source = facts.registries.get(proposal.transferring.registry)
    return source is not None and source.kind is RegistryKind.SERVICES


#: The checks of stage 5, in the order in which they are reported.
RULES: tuple[Callable[[Proposal, Facts], list[Finding]], ...] = (
    authorised_5101,
    *AUTHORISATION_RULES,
    movable_account_5122,
    no_reversal_5124,
    *FIRST_TRANSFER_RULES,
    itmos_only_5133,
    no_return_5150,
)
