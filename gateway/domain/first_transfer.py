"""First transfer: which movement of a unit starts the corresponding adjustment, and what kind of one it is.

Once per unit. Towards an NDC it is the first international transfer; for other purposes alone what the first
transferring Party chose: authorisation, issuance, or use or cancellation (2/CMA.3 annex para 2(a) and (b), as quoted
publicly). Units of the additional registry services are first transferred by leaving them. A split inherits it.
"""

from dataclasses import dataclass
from datetime import date

from gateway.domain.actions import FirstTransfer
from gateway.domain.authorisations import Authorisation, Definition, Years
from gateway.domain.identifiers import PartyCode
from gateway.domain.transfers import Purpose

_BY_DEFINITION = {
    Definition.AUTHORISATION: FirstTransfer.AUTHORISATION,
    Definition.ISSUANCE: FirstTransfer.ISSUANCE,
    Definition.USE_OR_CANCELLATION: FirstTransfer.USE_OR_CANCELLATION,
}


@dataclass(frozen=True, slots=True)
class Way:
    """A movement of units between registries."""

    purpose: Purpose
    transferring: PartyCode
    acquiring: PartyCode
    leaves_services: bool = False


def of_transfer(way: Way, terms: Authorisation) -> FirstTransfer | None:
    """What a transfer of units that were never first transferred makes of them; None: it is no first transfer.

    AUTHORISATION and ISSUANCE say that they should have been first transferred before (5131). Raises KeyError where
    it cannot be said (5130): the purpose is another than the NDC, and the authorisation defines nothing for it.
    """
    if way.purpose is Purpose.NDC:
        # Units of one Party in another's books may go to that other's own registry: they leave their host for good.
        abroad = way.transferring != way.acquiring or way.acquiring != terms.party
        return FirstTransfer.TO_ANOTHER_PARTY if abroad else FirstTransfer.UNDEFINED if way.leaves_services else None
    subtype = _BY_DEFINITION[_defined(terms)]
    if subtype is FirstTransfer.USE_OR_CANCELLATION:
        return FirstTransfer.UNDEFINED if way.leaves_services else None
    return subtype


def by_being_issued(terms: Authorisation) -> FirstTransfer | None:
    """How units are first transferred when they are issued: those for other purposes alone, as defined."""
    if terms.for_ndc or terms.definition not in (Definition.AUTHORISATION, Definition.ISSUANCE):
        return None
    return _BY_DEFINITION[terms.definition]


def by_disposal(purpose: Purpose | None, terms: Authorisation) -> FirstTransfer | None:
    """Whether use or cancellation for ``purpose`` first transfers units that never were; None: it does not."""
    if purpose in (None, Purpose.NDC) or terms.definition is None:
        return None
    return _BY_DEFINITION[terms.definition]


def defined(terms: Authorisation) -> FirstTransfer | None:
    """The kind that the authorisation defines for other purposes than the NDC."""
    return None if terms.definition is None else _BY_DEFINITION[terms.definition]


def to_be_recorded_by(ndc_period: Years) -> date:
    """The last day for recording first transfers for other purposes than the NDC.

    31 December of the year before the one in which the report is due that has the end of the NDC's period: it is due
    by the end of the second year after (decision on Article 6.2 of CMA 6, as summarised publicly).
    """
    return date(ndc_period.last + 1, 12, 31)


def _defined(terms: Authorisation) -> Definition:
    if terms.definition is None:
        raise KeyError(terms.id)
    return terms.definition
