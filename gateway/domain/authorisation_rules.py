"""The checks of stage 5 on the authorisation that a transfer relies on (5102 to 5112). One pure function per code.

Units never first transferred are judged by the version in force, which the proposal names; units that were by the
version of then (``Authorised.governing``). Units without an authorisation are the business of 5101.
"""

from collections.abc import Callable, Iterator
from datetime import date

from gateway.domain.authorisations import Authorisation, Authorised, Kind
from gateway.domain.check_codes import Finding
from gateway.domain.facts import Facts, Held
from gateway.domain.identifiers import PartyCode
from gateway.domain.transfers import Proposal
from gateway.domain.units import Attributes, Block, UnitRange


def _governed(proposal: Proposal, facts: Facts) -> Iterator[tuple[UnitRange, Held, Authorised, Authorisation]]:
    """The proposed units under the authorisation named, with what is known of it and the version that counts."""
    for block, held in _units(proposal, facts):
        known = facts.authorisations.get(held.block.attributes.first_transferring_party)
        units = block.range.intersect(held.block.range)
        if known is not None and units is not None:
            yield units, held, known, known.governing(held.transferred_under)


def _units(proposal: Proposal, facts: Facts) -> Iterator[tuple[Block, Held]]:
    for block, pieces in zip(proposal.blocks, facts.pieces, strict=True):
        for held in pieces:
            yield block, held


def _where(proposal: Proposal, facts: Facts, fails: Callable[[Held, Authorisation], bool]) -> tuple[UnitRange, ...]:
    """The units that ``fails`` holds of; like units are asked about once."""
    asked: dict[tuple[int, int], bool] = {}
    found = []
    for units, held, _, terms in _governed(proposal, facts):
        key = id(held.block.attributes), id(terms)
        if key not in asked:
            asked[key] = fails(held, terms)
        if asked[key]:
            found.append(units)
    return tuple(found)


def _finding(code: int, units: tuple[UnitRange, ...], detail: str) -> list[Finding]:
    return [Finding(code, units, detail)] if units else []


def known_5102(proposal: Proposal, facts: Facts) -> list[Finding]:
    """The authorisation named is that of the units, was told, and is active; its version is the one that counts."""
    named = proposal.authorisation
    if named is None:
        return []
    other, unknown, inactive, outdated = list[UnitRange](), list[UnitRange](), list[UnitRange](), list[UnitRange]()
    for block, held in _units(proposal, facts):
        given, units = held.block.attributes.authorisation, block.range.intersect(held.block.range)
        if given is None or units is None:
            continue
        known = facts.authorisations.get(held.block.attributes.first_transferring_party)
        if given.id != named.id:
            other.append(units)
        elif known is None or known.version(named.version) is None:
            unknown.append(units)
        elif held.transferred_under is None and named.version != known.current.version:
            outdated.append(units)
        elif not _active(known.governing(held.transferred_under), facts):
            inactive.append(units)
    return [
        *_finding(5102, tuple(other), "the units are under another authorisation"),
        *_finding(5102, tuple(unknown), f"{named.id} version {named.version} was not told"),
        *_finding(5102, tuple(outdated), f"version {named.version} of {named.id} is not the one in force"),
        *_finding(5102, tuple(inactive), f"{named.id} does not authorise ITMOs, or is not in force today"),
    ]


def _active(terms: Authorisation, facts: Facts) -> bool:
    return _authorises(terms, facts.today)


def _authorises(terms: Authorisation, day: date) -> bool:
    """Whether it authorises ITMOs, on that day."""
    return Kind.ITMOS in terms.kinds and terms.given_on <= day and terms.period.cover(day)


def outside(terms: Authorisation, block: Block, day: date) -> list[Finding]:
    """Why units cannot be first transferred under these terms where they are: 5102, 5104 to 5106."""
    given, units = block.attributes, (block.range,)
    wrong = [
        (5102, not _authorises(terms, day), "the authorisation does not authorise ITMOs, or is not in force"),
        (5104, given.cooperative_approach != terms.cooperative_approach, "it is of another cooperative approach"),
        (5105, _other_vintage(terms, given), "the vintage is not authorised"),
        (5106, _other_activity(terms, given), "the sector or activity type is not authorised"),
    ]
    return [Finding(code, units, why) for code, is_so, why in wrong if is_so]


def _other_vintage(terms: Authorisation, given: Attributes) -> bool:
    return terms.vintages is not None and not terms.vintages.cover(given.vintage)


def _other_activity(terms: Authorisation, given: Attributes) -> bool:
    sector = bool(terms.sectors) and given.sector not in terms.sectors
    return sector or (bool(terms.activity_types) and given.activity_type not in terms.activity_types)


def not_revoked_5103(proposal: Proposal, facts: Facts) -> list[Finding]:
    """The authorisation is not revoked, as far as its revocation reaches these units."""
    ended = tuple(units for units, held, known, _ in _governed(proposal, facts) if known.ended(held.transferred_under))
    return _finding(5103, ended, "the authorisation is revoked")


def approach_5104(proposal: Proposal, facts: Facts) -> list[Finding]:
    """The cooperative approach of the units is that of the authorisation."""
    wrong = _where(
        proposal, facts, lambda h, terms: h.block.attributes.cooperative_approach != terms.cooperative_approach
    )
    return _finding(5104, wrong, "the authorisation is of another cooperative approach")


def vintage_5105(proposal: Proposal, facts: Facts) -> list[Finding]:
    """The vintage is authorised."""
    wrong = _where(proposal, facts, lambda h, terms: _other_vintage(terms, h.block.attributes))
    return _finding(5105, wrong, "the vintage is not authorised")


def activity_5106(proposal: Proposal, facts: Facts) -> list[Finding]:
    """Sector and activity type are authorised."""
    wrong = _where(proposal, facts, lambda h, terms: _other_activity(terms, h.block.attributes))
    return _finding(5106, wrong, "the sector or activity type is not authorised")


def quantity_5107(proposal: Proposal, facts: Facts) -> list[Finding]:
    """With these units, no more have moved under the authorisation than its quantity."""
    found = []
    for party, units in _fresh(proposal, facts).items():
        left, wanted = facts.authorisations[party].left, sum(one.quantity for one in units)
        if left is not None and wanted > left:
            why = f"{left} tonnes are left of the authorised quantity, {wanted} are proposed"
            found.append(Finding(5107, tuple(units), why))
    return found


def drawn(proposal: Proposal, facts: Facts) -> dict[PartyCode, int]:
    """The tonnes of a proposal that move under its authorisation for the first time, by the Party that gave it."""
    return {party: sum(one.quantity for one in units) for party, units in _fresh(proposal, facts).items()}


def _fresh(proposal: Proposal, facts: Facts) -> dict[PartyCode, list[UnitRange]]:
    fresh: dict[PartyCode, list[UnitRange]] = {}
    for units, held, known, _ in _governed(proposal, facts):
        never = held.relied_on is None and not held.first_transferred
        if never and held.block.attributes.authorisation is not None:
            fresh.setdefault(known.current.party, []).append(units)
    return fresh


def acquiring_party_5108(proposal: Proposal, facts: Facts) -> list[Finding]:
    """The acquiring Party is authorised: listed, or the one that authorises, or there is no list."""
    party = proposal.acquiring.party
    wrong = _where(proposal, facts, lambda _, terms: bool(terms.parties) and party not in terms.parties | {terms.party})
    return _finding(5108, wrong, f"{party} is not among the authorised Parties")


def entity_5109(proposal: Proposal, facts: Facts) -> list[Finding]:
    """The entity that acquires, where one does, is authorised: listed, or there is no list."""
    entity = proposal.entity
    if entity is None:
        return []
    wrong = _where(proposal, facts, lambda _, terms: bool(terms.entities) and entity not in terms.entities)
    return _finding(5109, wrong, "the entity is not among those authorised")


def purpose_5110(proposal: Proposal, facts: Facts) -> list[Finding]:
    """The purpose is authorised; the secretariat's check STC02."""
    wrong = _where(proposal, facts, lambda _, terms: not terms.covers(proposal.purpose))
    return _finding(5110, wrong, f"not authorised for {proposal.purpose}")


def time_frame_5111(proposal: Proposal, facts: Facts) -> list[Finding]:
    """What moves can still be used: the authorised time of use is not over."""

    def over(_: Held, terms: Authorisation) -> bool:
        return terms.use_period.last is not None and terms.use_period.last < facts.today

    return _finding(5111, _where(proposal, facts, over), "the authorised time of use is over")


def initial_report_5112(proposal: Proposal, facts: Facts) -> list[Finding]:
    """The authorising Party submitted its initial report no later than it authorised (2/CMA.3 annex para 18)."""

    def missing(_: Held, terms: Authorisation) -> bool:
        return terms.initial_report is None or terms.initial_report > terms.given_on

    return _finding(5112, _where(proposal, facts, missing), "no initial report on file before the authorisation")


AUTHORISATION_RULES: tuple[Callable[[Proposal, Facts], list[Finding]], ...] = (
    known_5102,
    not_revoked_5103,
    approach_5104,
    vintage_5105,
    activity_5106,
    quantity_5107,
    acquiring_party_5108,
    entity_5109,
    purpose_5110,
    time_frame_5111,
    initial_report_5112,
)
