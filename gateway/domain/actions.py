"""What a registry tells about its own units: values of notices and of the opening balance.

The gateway's book is filled only by these and by completed transfers. They are statements of the registry
that signed them; whether the book can take them (nothing issued twice, nothing used that is not held) is for
the book to say. Made by ``notices``, which has checked what one item alone can show.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

from gateway.domain.authorisations import Authorisation
from gateway.domain.check_codes import Finding
from gateway.domain.identifiers import Account, AccountType, PartyCode, RegistryCode
from gateway.domain.units import AuthorisationRef, Block, UnitRange


class ActionType(StrEnum):
    """What happened to the units."""

    ISSUANCE = "issuance"
    USE = "use"
    CANCELLATION = "cancellation"
    #: A transfer to the Adaptation Fund, inside the registry.
    ADAPTATION = "adaptation"
    #: By authorisation, issuance, or use or cancellation: the units stay where they are.
    FIRST_TRANSFER = "first_transfer"
    REVERSAL = "reversal"
    AUTHORISATION = "authorisation"
    REVOCATION = "revocation"
    STATEMENT = "statement"


class FirstTransfer(StrEnum):
    """How units became ITMOs: subtypes of the action type *First transfer* in the agreed electronic format."""

    TO_ANOTHER_PARTY = "First transfer to another Party"
    AUTHORISATION = "Authorization"
    ISSUANCE = "Issuance"
    USE_OR_CANCELLATION = "Use or cancellation"
    #: By leaving the additional registry services for the Party's own section: the format has no word for it.
    UNDEFINED = "Not yet defined"


class CancellationSubtype(StrEnum):
    """Subtypes of the action type *Cancellation* in the agreed electronic format."""

    MANDATORY_OMGE = "Mandatory cancellation to deliver OMGE"
    VOLUNTARY_OMGE = "Voluntary cancellation to deliver OMGE"
    OTHER = "Other cancellations"


class Towards(StrEnum):
    """What units are used towards or cancelled for. ``IMP`` and ``OP`` are the words of the authorised purposes."""

    NDC = "NDC"
    IMP = "IMP"
    OP = "OP"
    OMGE = "OMGE"
    #: The Adaptation Fund.
    ADAPTATION = "adaptation"
    OTHER = "other"


#: What an account of a used or cancelled type says about the purpose; the meanings of the codes are inferred.
TOWARDS: Mapping[AccountType, Towards] = MappingProxyType(
    {
        AccountType.USE_NDC: Towards.NDC,
        AccountType.USE_IMP: Towards.IMP,
        AccountType.CANCELLATION: Towards.OTHER,
        AccountType.CANCELLATION_OP: Towards.OP,
        AccountType.CANCELLATION_OMGE: Towards.OMGE,
        AccountType.CANCELLATION_OTHER: Towards.OTHER,
        AccountType.SHARE_OF_PROCEEDS: Towards.ADAPTATION,
    }
)


class AdaptationSubtype(StrEnum):
    """Subtypes of the action type *Transfer* that lead to the Adaptation Fund."""

    MANDATORY = "Mandatory transfer to the Adaptation Fund (A6.4 ERs)"
    VOLUNTARY = "Voluntary transfer to the Adaptation Fund (A6.4 ERs)"


@dataclass(frozen=True, slots=True)
class OpeningPosition:
    """Units that enter the book at a place: at issuance, or as the balance a link brings when activated.

    ``flags``, here and below, is what was found and does not refuse.
    """

    registry: RegistryCode
    party: PartyCode
    account: Account
    block: Block
    flags: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Issuance:
    """New units, gross; what was deducted (share of proceeds, OMGE) shows in the account types.

    ``action`` is unique per registry, ``at`` an aware UTC time.
    """

    action: str
    at: datetime
    registry: RegistryCode
    positions: tuple[OpeningPosition, ...]
    synthetic: bool
    flags: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Disposal:
    """Use or cancellation: ``blocks`` left ``account`` of a held type for ``to_account``, for good.

    ``type`` is USE or CANCELLATION and ``to_account`` is of a type of that standing, which says the ``purpose``.
    ``year`` is the calendar year for which units are used towards the NDC, None for any other purpose; ``entity`` the
    authorised entity that uses or cancels, by its identification number.
    """

    action: str
    at: datetime
    registry: RegistryCode
    type: ActionType
    party: PartyCode
    account: Account
    to_account: Account
    blocks: tuple[Block, ...]
    purpose: Towards
    year: int | None = None
    entity: str | None = None
    flags: tuple[Finding, ...] = ()
    voluntary: bool = True

    @property
    def subtype(self) -> CancellationSubtype | AdaptationSubtype | None:
        """The subtype, None for use. What is cancelled at issuance alone is mandatory."""
        if self.type is ActionType.ADAPTATION:
            return AdaptationSubtype.VOLUNTARY if self.voluntary else AdaptationSubtype.MANDATORY
        if self.type is not ActionType.CANCELLATION:
            return None
        omge = self.purpose is Towards.OMGE
        return CancellationSubtype.VOLUNTARY_OMGE if omge else CancellationSubtype.OTHER


@dataclass(frozen=True, slots=True)
class FirstTransferred:
    """Units first transferred outside a relay, where they are."""

    action: str
    at: datetime
    registry: RegistryCode
    party: PartyCode
    subtype: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Reversal:
    """A reversal of removals that is being looked into, or is settled."""

    action: str
    at: datetime
    registry: RegistryCode
    units: tuple[UnitRange, ...]
    resolved: bool


@dataclass(frozen=True, slots=True)
class AuthorisationTold:
    """A version of an authorisation; ``units`` get it after they were issued without one."""

    action: str
    at: datetime
    registry: RegistryCode
    terms: Authorisation
    units: tuple[UnitRange, ...] = ()


@dataclass(frozen=True, slots=True)
class Revocation:
    """The end of a Party's authorisation."""

    action: str
    at: datetime
    registry: RegistryCode
    party: PartyCode
    reference: AuthorisationRef
    reason: str


@dataclass(frozen=True, slots=True)
class HostStatement:
    """What a host Party has stated of an Article 6.4 activity: ``all``, ``part``, ``none`` or ``later``.

    ``transitioned_from`` names the mechanism that the activity came over from, if it did.
    """

    action: str
    at: datetime
    registry: RegistryCode
    party: PartyCode
    activity: str
    says: str
    transitioned_from: str | None = None
