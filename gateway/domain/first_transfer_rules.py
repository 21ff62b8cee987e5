"""The checks of stage 5 on first transfer (5130 to 5136): what a transfer would make of units that never were.

``classified`` is the one place where that is decided, for the verdict and for what is written when it completes.
"""

from collections.abc import Callable, Iterator
from datetime import date, timedelta

from gateway.domain import first_transfer
from gateway.domain.actions import FirstTransfer
from gateway.domain.authorisations import Authorisation
from gateway.domain.check_codes import Finding
from gateway.domain.facts import Facts, Held
from gateway.domain.first_transfer import Way
from gateway.domain.identifiers import PartyCode
from gateway.domain.registry import RegistryKind
from gateway.domain.transfers import Proposal, Purpose
from gateway.domain.units import UnitRange

#: How long before the deadline for recording first transfers it is spoken of.
WARNED_BEFORE = timedelta(days=180)


def way_of(proposal: Proposal, facts: Facts) -> Way:
    """The movement that the proposal is."""
    source = facts.registries.get(proposal.transferring.registry)
    services = source is not None and source.kind is RegistryKind.SERVICES
    return Way(proposal.purpose, proposal.transferring.party, proposal.acquiring.party, services)


def classified(proposal: Proposal, facts: Facts, party: PartyCode | None = None) -> FirstTransfer | None:
    """What kind of first transfer this is for the units that never were (of ``party`` alone, where one is given).

    None: for none of them.
    """
    way = way_of(proposal, facts)
    for _, _, terms in _unmoved(proposal, facts):
        if party not in (None, terms.party):
            continue
        try:
            subtype = first_transfer.of_transfer(way, terms)
        except KeyError:
            continue
        if subtype is not None:
            return subtype
    return None


def _unmoved(proposal: Proposal, facts: Facts) -> Iterator[tuple[UnitRange, Held, Authorisation]]:
    """The proposed units that were never first transferred, and the version in force, which is theirs."""
    for block, pieces in zip(proposal.blocks, facts.pieces, strict=True):
        for held in pieces:
            known = facts.authorisations.get(held.block.attributes.first_transferring_party)
            units = block.range.intersect(held.block.range)
            if known is not None and units is not None and not held.first_transferred:
                yield units, held, known.current


def _finding(code: int, units: list[UnitRange], detail: str) -> list[Finding]:
    return [Finding(code, tuple(units), detail)] if units else []


def classifiable_5130(proposal: Proposal, facts: Facts) -> list[Finding]:
    """What the transfer makes of the units can be said."""
    way, undecided = way_of(proposal, facts), []
    for units, _, terms in _unmoved(proposal, facts):
        try:
            first_transfer.of_transfer(way, terms)
        except KeyError:
            undecided.append(units)
    return _finding(5130, undecided, "the authorisation does not say when first transfer occurs for this purpose")


def recorded_before_5131(proposal: Proposal, facts: Facts) -> list[Finding]:
    """A first transfer by authorisation or issuance had been recorded; else it is recorded with this transfer."""
    if proposal.purpose is Purpose.NDC:
        return []
    late = [
        units
        for units, _, terms in _unmoved(proposal, facts)
        if first_transfer.defined(terms) in (FirstTransfer.AUTHORISATION, FirstTransfer.ISSUANCE)
    ]
    return _finding(5131, late, "first transferred as the authorisation defines it, and not recorded before")


def another_party_5135(proposal: Proposal, facts: Facts) -> list[Finding]:
    """An international first transfer leads to another Party than the first transferring one."""
    if classified(proposal, facts) is not FirstTransfer.TO_ANOTHER_PARTY:
        return []
    home = [
        units
        for units, held, _ in _unmoved(proposal, facts)
        if held.block.attributes.first_transferring_party == proposal.acquiring.party
    ]
    return _finding(5135, home, f"{proposal.acquiring.party} is the first transferring Party itself")


def deadline_5136(proposal: Proposal, facts: Facts) -> list[Finding]:
    """First transfers for other purposes than the NDC are recorded in time; said while there is still some left."""
    if proposal.purpose is Purpose.NDC:
        return []
    ending: dict[date, list[UnitRange]] = {}
    for units, _, terms in _unmoved(proposal, facts):
        last = first_transfer.to_be_recorded_by(terms.ndc_period) if terms.ndc_period is not None else None
        if last is not None and facts.today > last - WARNED_BEFORE:
            ending.setdefault(last, []).append(units)
    return [found for last, units in ending.items() for found in _finding(5136, units, _ends(last, facts.today))]


def _ends(last: date, today: date) -> str:
    if today > last:
        return "the deadline for recording the first transfer is over"
    return f"the first transfer is to be recorded by {last}, in {(last - today).days} days"


FIRST_TRANSFER_RULES: tuple[Callable[[Proposal, Facts], list[Finding]], ...] = (
    classifiable_5130,
    recorded_before_5131,
    another_party_5135,
    deadline_5136,
)
