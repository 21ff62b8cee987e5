"""What the log says of messages that came: which, from whom, under which key; items by hash, transfers not at all.

``sha256`` is that of the bytes received, ``jws`` that of the signed text alone: whoever is shown a message with a part
of its items can hold the second against it, and not the first.

A page of history is kept *bare*, ours like any other: its JWS, which signs the hashes of its records. Their texts are
kept as records, once for all pages, so that who asks often does not fill the disk; an answer without a number is never
sent again. Of such a message the bytes that count are those of its JWS.
"""

from datetime import datetime

from gateway.audit import log
from gateway.signing.envelope import Origin, SignedMessage, VerifiedMessage
from gateway.signing.messages import format_time

#: Types of messages that are kept bare.
BARE = frozenset({"history.page"})


def refused(fault: str, code: int, origin: Origin, now: datetime) -> log.Draft:
    """The entry of a message that a registered key has signed and that is refused without keeping its bytes."""
    record = {"direction": "in", "peer": origin.sender, "message": origin.message_id, "sha256": origin.sha256}
    return log.draft("refused", now, {**record, "fault": fault, "code": code})


def received(message: VerifiedMessage, now: datetime) -> log.Draft:
    """The entry of a message whose bytes are kept."""
    record = {
        "direction": "in",
        "peer": message.sender,
        "message": message.id,
        "sha256": kept_sha256(message),
        "jws": message.jws_sha256,
        "key": message.kid,
        "sent_at": format_time(message.sent_at),
        "items": [item.sha256 for item in message.items],
    }
    return log.draft(message.type, now, record)


def is_kept_bare(message: VerifiedMessage | SignedMessage) -> bool:
    """Whether only the JWS of a message is kept with it."""
    return message.type in BARE


def kept_bytes(message: VerifiedMessage) -> bytes:
    """The bytes that are kept of a message."""
    return message.jws.encode("ascii") if is_kept_bare(message) else message.received


def kept_sha256(message: VerifiedMessage | SignedMessage) -> str:
    """The hash of the bytes that are kept: what a repetition must have, and what the log says."""
    return message.jws_sha256 if is_kept_bare(message) else message.sha256
