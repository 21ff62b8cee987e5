"""Every reason for which a message is refused by its envelope, and what may be said about it to whom.

One member per refusal, so that a counter, a test vector and an operator can tell each from each. ``RULES`` is
total over ``Fault``: check code, kind, and whether the refusal is *attributable*, which means it can only be
found once the signature is proven good under a registered key of the claimed sender. Only an error with an
``origin`` may be answered by a signed refusal; everything else gets an unsigned problem document, is counted
and never reaches the log.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Self

from gateway.errors import GatewayError, Kind


class Fault(StrEnum):
    """One refusal each; the value is the slug that vectors, metrics and problem documents use."""

    OVERSIZE = "oversize"
    NOT_UTF8 = "not-utf8"
    NOT_JSON = "not-json"
    DUPLICATE_MEMBER = "duplicate-member"
    NAN = "nan"
    INTEGER_TOO_LARGE = "integer-too-large"
    TOO_DEEP = "too-deep"
    NUL_CHARACTER = "nul-character"
    WRONG_ENVELOPE = "wrong-envelope"
    SEVERAL_SIGNATURES = "several-signatures"
    NOT_A_JWS = "not-a-jws"
    ALGORITHM_NONE = "algorithm-none"
    EXTRA_HEADER = "extra-header"
    MISSING_HEADER = "missing-header"
    WRONG_TYP = "wrong-typ"
    NO_SENDER = "no-sender"
    UNKNOWN_SENDER = "unknown-sender"
    UNKNOWN_KID = "unknown-kid"
    WRONG_ALGORITHM = "wrong-algorithm"
    BAD_SIGNATURE = "bad-signature"
    KEY_NOT_VALID = "key-not-valid"
    KEY_REVOKED = "key-revoked"
    BAD_ID = "bad-id"

    WRONG_VERSION = "wrong-version"
    UNKNOWN_MEMBER = "unknown-member"
    MISSING_MEMBER = "missing-member"
    WRONG_TYPE = "wrong-type"
    UNKNOWN_TYPE = "unknown-type"
    BAD_TIME = "bad-time"
    BAD_REFERENCE = "bad-reference"
    BAD_HASH = "bad-hash"
    BAD_TRACE = "bad-trace"
    SEQ_FORBIDDEN = "seq-forbidden"
    EXPIRY_MISSING = "expiry-missing"
    EXPIRY_FORBIDDEN = "expiry-forbidden"
    WRONG_RECEIVER = "wrong-receiver"
    FROM_FUTURE = "from-future"
    EXPIRED = "expired"
    DUPLICATE_ITEM = "duplicate-item"
    ITEM_NOT_LISTED = "item-not-listed"
    ITEM_MISSING = "item-missing"
    ITEM_ORDER = "item-order"
    ITEM_MALFORMED = "item-malformed"

    @property
    def code(self) -> int:
        """Code of the check table."""
        return RULES[self].code

    @property
    def kind(self) -> Kind:
        """Kind of the error raised for it."""
        return RULES[self].kind

    @property
    def attributable(self) -> bool:
        """True for what can only be found behind a proven signature."""
        return RULES[self].attributable


class Rule(NamedTuple):
    """What follows from a fault."""

    code: int
    kind: Kind
    attributable: bool


_UNPROVEN = Rule(2001, Kind.MALFORMED, False)
_PROVEN = Rule(2001, Kind.MALFORMED, True)

RULES: dict[Fault, Rule] = {
    Fault.OVERSIZE: Rule(2001, Kind.LIMIT, False),
    Fault.NOT_UTF8: _UNPROVEN,
    Fault.NOT_JSON: _UNPROVEN,
    Fault.DUPLICATE_MEMBER: _UNPROVEN,
    Fault.NAN: _UNPROVEN,
    Fault.INTEGER_TOO_LARGE: _UNPROVEN,
    Fault.TOO_DEEP: _UNPROVEN,
    Fault.NUL_CHARACTER: _UNPROVEN,
    Fault.WRONG_ENVELOPE: _UNPROVEN,
    Fault.SEVERAL_SIGNATURES: _UNPROVEN,
    Fault.NOT_A_JWS: _UNPROVEN,
    Fault.ALGORITHM_NONE: Rule(1005, Kind.UNAUTHENTICATED, False),
    Fault.EXTRA_HEADER: _UNPROVEN,
    Fault.MISSING_HEADER: _UNPROVEN,
    Fault.WRONG_TYP: _UNPROVEN,
    Fault.NO_SENDER: _UNPROVEN,
    Fault.UNKNOWN_SENDER: Rule(1002, Kind.UNAUTHENTICATED, False),
    Fault.UNKNOWN_KID: Rule(1007, Kind.UNAUTHENTICATED, False),
    Fault.WRONG_ALGORITHM: Rule(1005, Kind.UNAUTHENTICATED, False),
    Fault.BAD_SIGNATURE: Rule(1006, Kind.UNAUTHENTICATED, False),
    Fault.KEY_NOT_VALID: Rule(1007, Kind.UNTRUSTED, False),
    Fault.KEY_REVOKED: Rule(1007, Kind.UNTRUSTED, False),
    Fault.BAD_ID: _UNPROVEN,  # an answer names the id of what it answers: here is none
    Fault.WRONG_VERSION: Rule(1001, Kind.REJECTED, True),
    Fault.UNKNOWN_MEMBER: _PROVEN,
    Fault.MISSING_MEMBER: _PROVEN,
    Fault.WRONG_TYPE: _PROVEN,
    Fault.UNKNOWN_TYPE: _PROVEN,
    Fault.BAD_TIME: _PROVEN,
    Fault.BAD_REFERENCE: _PROVEN,
    Fault.BAD_HASH: _PROVEN,
    Fault.BAD_TRACE: _PROVEN,
    Fault.SEQ_FORBIDDEN: _PROVEN,
    Fault.EXPIRY_MISSING: _PROVEN,
    Fault.EXPIRY_FORBIDDEN: _PROVEN,
    Fault.WRONG_RECEIVER: Rule(1008, Kind.REJECTED, True),
    Fault.FROM_FUTURE: Rule(1009, Kind.REJECTED, True),
    Fault.EXPIRED: Rule(1009, Kind.REJECTED, True),
    Fault.DUPLICATE_ITEM: _PROVEN,
    Fault.ITEM_NOT_LISTED: _PROVEN,
    Fault.ITEM_MISSING: _PROVEN,
    Fault.ITEM_ORDER: _PROVEN,
    Fault.ITEM_MALFORMED: _PROVEN,
}


@dataclass(frozen=True, slots=True)
class Origin:
    """The message a signed refusal would answer: its id, its proven sender, SHA-256 of the received bytes."""

    message_id: str
    sender: str
    sha256: str


class EnvelopeError(GatewayError):
    """A message refused by its envelope. ``origin`` is given exactly when the signature was proven good."""

    def __init__(self, fault: Fault, detail: str, origin: Origin | None = None) -> None:
        super().__init__(fault.kind, detail, code=fault.code, context={"fault": fault.value})
        self.fault = fault
        self.origin = origin

    def attributed_to(self, origin: Origin) -> Self:
        """Return the same refusal with what is needed to answer it."""
        return type(self)(self.fault, self.detail, origin)
