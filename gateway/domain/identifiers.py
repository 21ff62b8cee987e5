"""Names: of links and registries, Parties, accounts, transfers and ITMOs.

Plain codes are ``NewType`` strings that only a ``parse_*`` function makes; names with parts are frozen values
whose ``str()`` is the text on the wire. A value of these types has been checked. A text that does not parse
raises ``GatewayError(MALFORMED)`` with the code of the check that judges it (2003, 2006, 2010, 2011, 2014).
Digits are ASCII digits: Unicode has others, and two spellings of one name would be two names.
"""

import re
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import NewType

from gateway.domain.parties import PARTIES
from gateway.errors import GatewayError, Kind

LinkCode = NewType("LinkCode", str)
#: Every registry's code is a link code; the gateway's own (``GWY01``) is a link code only.
RegistryCode = NewType("RegistryCode", LinkCode)
PartyCode = NewType("PartyCode", str)
#: The four non-serial parts of an ITMO identifier, ``CANNNN-PPPRR-PPP-YYYY``; always 21 characters.
ItmoStem = NewType("ItmoStem", str)

#: Largest serial: the database's exclusion constraint compares doubles, which are exact up to here.
MAX_SERIAL = 2**53 - 1

_LINK_CODE = re.compile(r"[A-Z]{3}[0-9]{2}")
_ACCOUNT = re.compile(r"([0-9]{3})-([1-9][0-9]{0,14})")
_UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_ITMO = re.compile(r"(CA[0-9]{4}-([A-Z]{3}[0-9]{2})-([A-Z]{3}))-([1-9][0-9]*|[1-9][0-9]{0,2}(?:,[0-9]{3})*)-([0-9]{4})")
_ITMO_STEM = re.compile(r"CA[0-9]{4}-[A-Z]{3}[0-9]{2}-[A-Z]{3}-[0-9]{4}")


class Standing(StrEnum):
    """What an account type says about the units in it."""

    HELD = "held"
    USED = "used"
    CANCELLED = "cancelled"


class AccountType(IntEnum):
    """Account type codes, 100 to 420.

    100, 200, 210, 300, 310, 320 and 330 are codes of the UNFCCC common nomenclature of 17 February 2026, of
    which only 200 (use towards NDC) has a published description; the others' meanings here are inferred. 110,
    410 and 420 are synthetic: the mechanism registry's codes are not public.
    """

    HOLDING = 100
    PENDING = 110
    USE_NDC = 200
    USE_IMP = 210
    CANCELLATION = 300
    CANCELLATION_OP = 310
    CANCELLATION_OMGE = 320
    CANCELLATION_OTHER = 330
    SHARE_OF_PROCEEDS = 410
    REVERSAL_BUFFER = 420

    @property
    def standing(self) -> Standing:
        """Whether units in an account of this type are held, used or cancelled."""
        return _STANDING_BY_HUNDRED[self // 100]


_STANDING_BY_HUNDRED = {1: Standing.HELD, 2: Standing.USED, 3: Standing.CANCELLED, 4: Standing.HELD}
_ACCOUNT_TYPES = {f"{member.value:03d}": member for member in AccountType}


@dataclass(frozen=True, slots=True, order=True)
class Account:
    """One account of a registry: its type and a number that is the registry's own business."""

    type: AccountType
    number: int

    def __str__(self) -> str:
        return f"{self.type.value:03d}-{self.number}"


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """Where units are: the international registry keeps one set of books per Party, so all three count."""

    registry: RegistryCode
    party: PartyCode
    account: Account

    def __str__(self) -> str:
        return f"{self.registry}/{self.party}/{self.account}"


@dataclass(frozen=True, slots=True, order=True)
class TransferId:
    """A transfer's name for ever: the source's link code and a UUIDv7 the source made."""

    source: RegistryCode
    uuid: str

    def __str__(self) -> str:
        return f"{self.source}-{self.uuid}"


@dataclass(frozen=True, slots=True, order=True)
class ItmoId:
    """One ITMO's identifier (6/CMA.4 annex I para 5), ordered by stem, then serial.

    Made by ``parse_itmo_id`` or from a parsed stem. A serial outside 1 to 2^53-1 raises MALFORMED, code 2006.
    """

    stem: ItmoStem
    serial: int

    def __post_init__(self) -> None:
        if not 1 <= self.serial <= MAX_SERIAL:
            raise GatewayError(Kind.MALFORMED, "an ITMO serial lies outside 1 to 2^53-1", code=2006)

    def __str__(self) -> str:
        return f"{self.stem[:16]}-{self.serial}{self.stem[16:]}"

    @property
    def cooperative_approach(self) -> str:
        """Field 1, ``CANNNN``."""
        return stem_cooperative_approach(self.stem)

    @property
    def registry(self) -> RegistryCode:
        """Field 2: the registry id under which the ITMO was first named, never the current holder's."""
        return RegistryCode(LinkCode(self.stem[7:12]))

    @property
    def party(self) -> PartyCode:
        """Field 3: the first transferring Party."""
        return stem_party(self.stem)

    @property
    def vintage(self) -> int:
        """Field 5: the calendar year in which the mitigation outcome occurred."""
        return stem_vintage(self.stem)


def stem_cooperative_approach(stem: ItmoStem) -> str:
    """Field 1 of an ITMO identifier."""
    return stem[:6]


def stem_party(stem: ItmoStem) -> PartyCode:
    """Field 3 of an ITMO identifier."""
    return PartyCode(stem[13:16])


def stem_vintage(stem: ItmoStem) -> int:
    """Field 5 of an ITMO identifier."""
    return int(stem[17:])


def parse_link_code(text: str) -> LinkCode:
    """Read three capitals and two digits; raises MALFORMED with code 2011."""
    if not is_link_code(text):
        raise GatewayError(Kind.MALFORMED, "a link code is three capitals and two digits", code=2011)
    return LinkCode(text)


def is_link_code(text: str) -> bool:
    """Whether the text is three capitals and two digits."""
    return _LINK_CODE.fullmatch(text) is not None


def parse_registry_code(text: str) -> RegistryCode:
    """Read a registry's link code; raises MALFORMED with code 2011.

    The three capitals need not be a Party: ``MEC01`` and ``INT01`` belong to none.
    """
    return RegistryCode(parse_link_code(text))


def parse_party(text: str) -> PartyCode:
    """Read an ISO 3166-1 alpha-3 or reserved Party code; raises MALFORMED with code 2010."""
    if text not in PARTIES:
        raise GatewayError(Kind.MALFORMED, f"not a Party code: {text[:16]!r}", code=2010)
    return PartyCode(text)


def parse_account(text: str) -> Account:
    """Read ``100-1``: a known type code, a number without leading zeros; raises MALFORMED with code 2014."""
    match = _ACCOUNT.fullmatch(text)
    if match is None:
        raise GatewayError(Kind.MALFORMED, "an account is a 3-digit type code, '-', a number", code=2014)
    account_type = _ACCOUNT_TYPES.get(match[1])
    if account_type is None:
        raise GatewayError(Kind.MALFORMED, f"no account type {match[1]}", code=2014)
    return Account(account_type, int(match[2]))


def parse_uuid7(text: str) -> str:
    """Read a lower-case UUIDv7 (RFC 9562); raises MALFORMED with code 2001."""
    if not _UUID7.fullmatch(text):
        raise GatewayError(Kind.MALFORMED, "not a lower-case UUIDv7", code=2001)
    return text


def parse_transfer_id(text: str) -> TransferId:
    """Read ``MEC01-<UUIDv7>``; raises MALFORMED with code 2003."""
    source, _, uuid = text.partition("-")
    if not (_LINK_CODE.fullmatch(source) and _UUID7.fullmatch(uuid)):
        raise GatewayError(Kind.MALFORMED, "a transfer id is a link code, '-', a lower-case UUIDv7", code=2003)
    return TransferId(RegistryCode(LinkCode(source)), uuid)


def parse_itmo_id(text: str) -> ItmoId:
    """Read ``CANNNN-PPPRR-PPP-SERIAL-YYYY``, thousands commas tolerated.

    Raises MALFORMED: 2006 for the syntax or a serial beyond 2^53-1, 2011 when the registry id does not begin
    with a Party code, 2010 when the first transferring Party is none.
    """
    match = _ITMO.fullmatch(text) if len(text) <= 64 else None
    if match is None:
        raise GatewayError(Kind.MALFORMED, "not an ITMO identifier CANNNN-PPPRR-PPP-SERIAL-YYYY", code=2006)
    stem = parse_itmo_stem(f"{match[1]}-{match[5]}")
    return ItmoId(stem, int(match[4].replace(",", "")))


def parse_itmo_stem(text: str) -> ItmoStem:
    """Read ``CANNNN-PPPRR-PPP-YYYY``; raises MALFORMED with codes as ``parse_itmo_id``."""
    if not _ITMO_STEM.fullmatch(text):
        raise GatewayError(Kind.MALFORMED, "not an ITMO stem CANNNN-PPPRR-PPP-YYYY", code=2006)
    if text[7:10] not in PARTIES:
        raise GatewayError(Kind.MALFORMED, f"registry id {text[7:12]} begins with no Party code", code=2011)
    parse_party(text[13:16])
    return ItmoStem(text)
