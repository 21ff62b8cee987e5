"""The check table: every code this gateway applies or understands, with severity, stage and text.

The same codes in both directions; modelled on the Kyoto data exchange standards. Severity E refuses, W
accepts and flags. ``Finding`` is the value a check leaves: a code, the serials concerned, and a detail for
people. A code that is not in the table came from a peer: it is kept as it is and treated as E.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from types import MappingProxyType

from gateway.domain.units import UnitRange


class Severity(StrEnum):
    """What a finding leads to."""

    #: The message, or the transfer, is refused.
    ERROR = "E"
    #: It goes on and is flagged.
    WARNING = "W"


class Stage(IntEnum):
    """When a check is applied; a later stage begins only when the earlier ones found no error."""

    AUTHORITY = 1
    DATA_INTEGRITY = 2
    SEQUENCE = 3
    GENERAL = 4
    SPECIFIC = 5
    RECONCILIATION = 6
    PEER = 7
    HISTORY = 8
    SYSTEM = 9


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found wrong, and with which units (none named: with the item as a whole)."""

    code: int
    blocks: tuple[UnitRange, ...] = ()
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """A row of the check table."""

    severity: Severity
    stage: Stage
    text: str


_ERRORS = {
    1001: "the protocol version is supported",
    1002: "the sender is known and a link with it is established",
    1003: "the link is not suspended",
    1004: "the TLS client certificate belongs to the sender",
    1005: "there is a signature, and its algorithm is allowed",
    1006: "the signature is valid over the received bytes",
    1007: "the signing key belongs to the sender, was valid at sent_at and is not revoked",
    1008: "the message is addressed to its receiver",
    1009: "the message is not from the future and not expired",
    1010: "the sender is authorised for this message and speaks for these units",
    2001: "the message parses and matches its schema",
    2002: "a message id comes with one content only",
    2003: "the transfer id is well-formed and begins with its sender's code",
    2004: "a transfer id comes with one content only",
    2005: "there are 1 to 3000 blocks",
    2006: "serials and identifiers are well-formed, serials lie in 1 to 2^53-1",
    2007: "first and last agree but for the serial, and first is not larger than last",
    2008: "no two blocks overlap, in serials or in ITMO identifiers",
    2009: "the quantity is positive and is the size of the blocks",
    2010: "Party codes are valid and agree with the ITMO identifiers",
    2011: "registry ids are well-formed; those in ITMO identifiers begin with a Party code",
    2012: "the cooperative approach ID is well-formed and begins the ITMO identifiers",
    2013: "the vintage is 2021 or later, not in the future, and that of the ITMO identifiers",
    2014: "controlled values are in the nomenclature",
    2015: "conditional fields are present or absent as they must be",
    2016: "metric fields agree",
    2017: "underlying units are paired, of one stem, and as many as the units above them",
    3001: "a reply belongs to a known transfer",
    3002: "the transfer's state allows the step",
    3004: "the message is from the system whose turn it is",
    3005: "the transfer is within its time limit",
    3006: "what the message refers to has been received",
    4001: "the transferring registry is the sender's, is known, and its link is active",
    4002: "the acquiring registry is known and its link is active",
    4003: "the units are in the book",
    4004: "the units are held under the transferring Party in the transferring account type",
    4005: "the units are not claimed by another transfer",
    4006: "the units are not used or cancelled",
    4007: "the units are not in another registry",
    4010: "attributes and ITMO identifiers are those already known",
    4011: "the transferring registry keeps books of that Party, and the account exists (answered by the registry)",
    4012: "the acquiring registry keeps books of that Party, and the account exists (answered by the registry)",
    4013: "the acquiring account is open (answered by the registry)",
    4014: "the account is not suspended or restricted (answered by the registry)",
    4015: "the acquiring account is of a type that holds units",
    4017: "a transfer leads from one system to another",
    4018: "the quantity does not exceed what is held there",
    4021: "the link has not used up what it may propose in a day",
    5101: "the unit is authorised",
    5132: "the units have not been first transferred before",
    5133: "units that must be ITMOs are authorised and first transferred",
    5140: "the year of use lies inside the NDC period",
    5141: "the purpose of a cancellation is that of its account",
    5150: "nothing returns to a registry that issues units",
    5901: "not refused by an operator",
    5902: "the account is known (answered by the registry)",
    5903: "the account is eligible for the units (answered by the registry)",
    5904: "consistent with the Party's policy (answered by the registry)",
    8001: "the units may be viewed",
    9001: "answered in time",
    9002: "the system is available",
    9003: "the system is not overloaded",
    9999: "no internal fault",
}
_WARNINGS = {
    3003: "the transfer is not final yet",
    3007: "no message of the sender's sequence is missing",
    5906: "the account was open when the units arrived (else credited to the pending account)",
}

#: Code → row. Texts say what holds when the check is passed.
CHECKS: Mapping[int, Check] = MappingProxyType(
    {code: Check(Severity.ERROR, Stage(code // 1000), text) for code, text in _ERRORS.items()}
    | {code: Check(Severity.WARNING, Stage(code // 1000), text) for code, text in _WARNINGS.items()}
)


def severity(code: int) -> Severity:
    """Severity of a code; a code we do not interpret (7xxx, a peer's own) is an error."""
    check = CHECKS.get(code)
    return Severity.ERROR if check is None else check.severity


def text(code: int) -> str:
    """What the check demands, for people; says so when the code is a peer's own."""
    check = CHECKS.get(code)
    return "a code of the peer's, relayed as it came" if check is None else check.text


def merged(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The same findings, those of one code and detail as one that names all their units, each once."""
    together: dict[tuple[int, str], dict[UnitRange, None]] = {}
    for finding in findings:
        together.setdefault((finding.code, finding.detail), {}).update(dict.fromkeys(finding.blocks))
    return tuple(Finding(code, tuple(units), detail) for (code, detail), units in together.items())
