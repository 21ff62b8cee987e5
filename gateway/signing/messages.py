"""What the payload of a message may say: the closed set of types, the members, their syntax.

``parse`` turns a payload into a ``Statement`` or raises ``EnvelopeError``; it knows no clock, no receiver and
no signature (``envelope`` judges those). A member that is not of the protocol is refused, so that nothing
signed is ever ignored. The content of ``body`` and of items belongs to the slices that act on it.
"""

import os
import re
import threading
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from gateway.signing.faults import EnvelopeError, Fault

VERSION = 1
QUERY_TYPES = frozenset({"status.query", "time.query", "history.query", "positions.query", "cut.query"})
QUERY_ANSWER_TYPES = frozenset({"status.answer", "time.answer", "history.page", "positions.answer", "cut.answer"})
# R22: only what begins something expires.
EXPIRING_TYPES = frozenset({"transfer.propose", "transfer.offer"}) | QUERY_TYPES | QUERY_ANSWER_TYPES
ANSWER_TYPES = frozenset({"receipt", "refusal"}) | QUERY_ANSWER_TYPES  # always answer something
UNNUMBERED_TYPES = QUERY_TYPES | QUERY_ANSWER_TYPES  # change nothing: carry no seq
OPTIONALLY_NUMBERED_TYPES = frozenset({"receipt", "refusal"})  # not stored, so not numbered, when no verdict
TYPES = EXPIRING_TYPES | ANSWER_TYPES | {
    "link.activate", "link.keys", "action.notice", "action.record", "history.deliver",
    "reconciliation.result",
    "transfer.request", "transfer.answer", "transfer.commit", "transfer.released", "transfer.voided",
    "transfer.cancel", "transfer.settle", "transfer.credited", "transfer.closed",
}  # fmt: skip

_REQUIRED = ("v", "id", "type", "from", "to", "sent_at", "body")
_OPTIONAL = ("seq", "expires_at", "in_reply_to", "leaf", "trace", "items")
_MEMBERS = frozenset(_REQUIRED + _OPTIONAL)
_UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")
_HASH = re.compile(r"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")  # 32 bytes: the last character carries four bits
_TRACE = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")  # W3C traceparent, version 00
_LINK_CODE = re.compile(r"[A-Z]{3}[0-9]{2}")


@dataclass(frozen=True, slots=True)
class Reference:
    """Another message, named by id and SHA-256 (base64url); of which bytes, the member naming it says."""

    id: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Statement:
    """A payload whose syntax is right. Says nothing about who signed it."""

    id: str
    seq: int | None
    type: str
    sender: str
    receiver: str
    sent_at: datetime
    expires_at: datetime | None
    in_reply_to: Reference | None
    leaf: str | None
    trace: str | None
    listed: tuple[str, ...]
    body: dict[str, Any]
    evidence: tuple[str, ...]


def is_message_id(value: object) -> bool:
    """Tell whether ``value`` is a lower-case UUIDv7 (RFC 9562)."""
    return isinstance(value, str) and _UUID7.fullmatch(value) is not None


def is_link_code(value: object) -> bool:
    """Tell whether ``value`` has the form of a link code, such as ``MEC01``."""
    return isinstance(value, str) and _LINK_CODE.fullmatch(value) is not None


def is_hash(value: object) -> bool:
    """Tell whether ``value`` is base64url of 32 bytes, canonical and without padding."""
    return isinstance(value, str) and _HASH.fullmatch(value) is not None


def parse_time(value: object) -> datetime:
    """Return the aware UTC time of ``YYYY-MM-DDTHH:MM:SS.mmmZ``; raises BAD_TIME for any other spelling."""
    if isinstance(value, str) and _TIME.fullmatch(value):
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            pass
    raise EnvelopeError(Fault.BAD_TIME, "a time is not a valid YYYY-MM-DDTHH:MM:SS.mmmZ")


def format_time(moment: datetime) -> str:
    """Return an aware time as ``YYYY-MM-DDTHH:MM:SS.mmmZ``, cut to milliseconds."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


_last_id = 0
_id_lock = threading.Lock()


def new_message_id() -> str:
    """Return a new UUIDv7, greater than every one this process gave before.

    RFC 9562 section 6.2, method 3: 48 bits of milliseconds and 12 of their fraction, raised by one where the
    clock has not moved on; 62 random bits.
    """
    global _last_id
    with _id_lock:
        ticks = time.time_ns() * 4096 // 1_000_000
        _last_id = max(ticks, _last_id + 1)
        milliseconds, fraction = divmod(_last_id, 4096)
    random = int.from_bytes(os.urandom(8), "big") >> 2
    return str(uuid.UUID(int=milliseconds << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | random))


def parse(payload: dict[str, Any]) -> Statement:
    """Return what ``payload`` states; raises ``EnvelopeError``. Refuses everything that is not of version 1.

    The version is judged first, because what another version's members mean is unknown.
    """
    if "v" in payload and (type(payload["v"]) is not int or payload["v"] != VERSION):
        raise EnvelopeError(Fault.WRONG_VERSION, f"v is not {VERSION}")
    _require_members(payload)
    kind = payload["type"]
    if not isinstance(kind, str):
        raise EnvelopeError(Fault.WRONG_TYPE, "type is not a string")
    if kind not in TYPES:
        raise EnvelopeError(Fault.UNKNOWN_TYPE, f"type {kind[:64]!r} is not of the protocol")
    if not is_message_id(payload["id"]):
        raise EnvelopeError(Fault.BAD_ID, "id is not a lower-case UUIDv7")
    if not is_link_code(payload["from"]):
        raise EnvelopeError(Fault.NO_SENDER, "from is not a link code")
    if not isinstance(payload["to"], str):
        raise EnvelopeError(Fault.WRONG_TYPE, "to is not a string")
    if not isinstance(payload["body"], dict):
        raise EnvelopeError(Fault.WRONG_TYPE, "body is not an object")
    return Statement(
        id=payload["id"],
        seq=_seq(kind, payload),
        type=kind,
        sender=payload["from"],
        receiver=payload["to"],
        sent_at=parse_time(payload["sent_at"]),
        expires_at=_expires_at(kind, payload),
        in_reply_to=_in_reply_to(kind, payload),
        leaf=_leaf(payload),
        trace=_trace(payload),
        listed=_listed(payload),
        body=payload["body"],
        evidence=_evidence(payload["body"]),
    )


def _require_members(payload: dict[str, Any]) -> None:
    for name in payload:
        if name not in _MEMBERS:
            raise EnvelopeError(Fault.UNKNOWN_MEMBER, f"member {name[:64]!r} is not of the protocol")
    for name in _REQUIRED:
        if name not in payload:
            raise EnvelopeError(Fault.MISSING_MEMBER, f"member {name!r} is missing")


def _seq(kind: str, payload: dict[str, Any]) -> int | None:
    if "seq" not in payload:
        if kind in UNNUMBERED_TYPES or kind in OPTIONALLY_NUMBERED_TYPES:
            return None
        raise EnvelopeError(Fault.MISSING_MEMBER, f"a {kind} carries a seq")
    if kind in UNNUMBERED_TYPES:
        raise EnvelopeError(Fault.SEQ_FORBIDDEN, f"a {kind} carries no seq")
    seq = payload["seq"]
    if type(seq) is not int or seq < 1:
        raise EnvelopeError(Fault.WRONG_TYPE, "seq is not an integer from 1")
    return seq


def _expires_at(kind: str, payload: dict[str, Any]) -> datetime | None:
    if "expires_at" not in payload:
        if kind in EXPIRING_TYPES:
            raise EnvelopeError(Fault.EXPIRY_MISSING, f"a {kind} carries expires_at")
        return None
    if kind not in EXPIRING_TYPES:
        raise EnvelopeError(Fault.EXPIRY_FORBIDDEN, f"a {kind} never expires")
    return parse_time(payload["expires_at"])


def _in_reply_to(kind: str, payload: dict[str, Any]) -> Reference | None:
    if "in_reply_to" not in payload:
        if kind in ANSWER_TYPES:
            raise EnvelopeError(Fault.MISSING_MEMBER, f"a {kind} names what it answers")
        return None
    named = payload["in_reply_to"]
    if not isinstance(named, dict):
        raise EnvelopeError(Fault.WRONG_TYPE, "in_reply_to is not an object")
    if named.keys() != {"id", "sha256"} or not is_message_id(named["id"]) or not is_hash(named["sha256"]):
        raise EnvelopeError(Fault.BAD_REFERENCE, "in_reply_to is not exactly a message id and a SHA-256")
    return Reference(named["id"], named["sha256"])


def _leaf(payload: dict[str, Any]) -> str | None:
    if "leaf" not in payload:
        return None
    if not is_hash(payload["leaf"]):
        raise EnvelopeError(Fault.BAD_HASH, "leaf is not base64url of 32 bytes")
    return str(payload["leaf"])


def _trace(payload: dict[str, Any]) -> str | None:
    if "trace" not in payload:
        return None
    if not isinstance(payload["trace"], str) or not _TRACE.fullmatch(payload["trace"]):
        raise EnvelopeError(Fault.BAD_TRACE, "trace is not a W3C traceparent")
    return payload["trace"]


def _listed(payload: dict[str, Any]) -> tuple[str, ...]:
    if "items" not in payload:
        return ()
    listed = payload["items"]
    if not isinstance(listed, list) or not listed:
        raise EnvelopeError(Fault.WRONG_TYPE, "items is neither absent nor a list of one or more")
    if not all(map(is_hash, listed)):
        raise EnvelopeError(Fault.BAD_HASH, "items holds something other than base64url of 32 bytes")
    if len(set(listed)) != len(listed):
        raise EnvelopeError(Fault.DUPLICATE_ITEM, "an item is listed twice")
    return tuple(listed)


def _evidence(body: dict[str, Any]) -> tuple[str, ...]:
    carried = body.get("evidence", [])
    if not isinstance(carried, list) or not all(isinstance(jws, str) for jws in carried):
        raise EnvelopeError(Fault.WRONG_TYPE, "body.evidence is not a list of strings")
    return tuple(carried)
