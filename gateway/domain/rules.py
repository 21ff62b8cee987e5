"""The checks of stage 5: whether the rules of Article 6 let these units take this way. One pure function per code."""

from collections.abc import Callable

from gateway.domain.check_codes import Finding
from gateway.domain.facts import Facts
from gateway.domain.registry import RegistryKind
from gateway.domain.transfers import Proposal

#: Registries that units leave and never come back to: those that issue them before they are ITMOs. That nothing
#: returns to the mechanism registry is our reading of CMA 6 (no text foresees it); see the domain's open questions.
ISSUING = frozenset({RegistryKind.MECHANISM, RegistryKind.SERVICES})


def itmos_only_5133(proposal: Proposal, facts: Facts) -> list[Finding]:
    """Units of the additional registry services leave it only as ITMOs: authorised, and first transferred by leaving.

    Source: decision on Article 6.2 of CMA 6, paras 50-51, as quoted; the text itself was not available to us.
    """
    source = facts.registries.get(proposal.transferring.registry)
    if source is None or source.kind is not RegistryKind.SERVICES:
        return []
    before = tuple(b.range for b in proposal.blocks if b.attributes.authorisation is None)
    return [Finding(5133, before, "not authorised: they are no ITMOs yet")] if before else []


def no_return_5150(proposal: Proposal, facts: Facts) -> list[Finding]:
    """Nothing is transferred into a registry that only issues units."""
    acquirer = facts.registries.get(proposal.acquiring.registry)
    if acquirer is None or acquirer.kind not in ISSUING:
        return []
    return [Finding(5150, (), f"units leave {proposal.acquiring.registry} and do not return")]


#: The checks of stage 5, in the order in which they are reported.
RULES: tuple[Callable[[Proposal, Facts], list[Finding]], ...] = (itmos_only_5133, no_return_5150)
