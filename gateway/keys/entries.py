"""What entries of the log say of a key, and nothing but these entries: plain reading, no database.

Both who asks here which key signed a message and who verifies evidence elsewhere read them in this way. Raises as
reading a record of another form does (``KeyError``, ``TypeError``, ``ValueError``): our own have this form.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from gateway.signing.trust import PeerKey, Revocation

#: The kinds of entries that are about keys; ``log_entry_of_keys`` finds them.
KINDS = (
    "link.registered", "key.registered", "key.ended", "key.reopened", "key.revoked",
    "own-key.registered", "own-key.retired", "own-key.revoked",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Event:
    """An entry of the log about keys: what it says, and when."""

    kind: str
    at: datetime
    record: Mapping[str, Any]


def key_of(events: Sequence[Event], owner: str, kid: str, *, ours: bool) -> PeerKey | None:
    """A key as the entries show it (without its JWK: the id is its thumbprint); nothing when none registers it."""
    window: dict[str, Any] = {}
    for event in events:
        record = event.record
        if ours != event.kind.startswith("own-key.") or (not ours and record.get("link") != owner):
            continue
        match event.kind:
            case "link.registered" if kid in record["keys"]:
                window = {"not_before": event.at}
            case "key.registered" if kid in record["keys"]:
                window = {"not_before": _moment(record["not_before"]), "not_after": _moment(record["not_after"])}
            case "own-key.registered" if record["key"] == kid:
                window = {"not_before": _moment(record["not_before"])}
            case "key.ended" | "key.reopened" | "own-key.retired" if record["key"] == kid:
                window["not_after"] = _moment(record["not_after"])
            case "key.revoked" | "own-key.revoked" if record["key"] == kid:
                window |= _revocation(event)
    return PeerKey(owner, kid, "", {}, **window) if "not_before" in window else None


def _revocation(event: Event) -> dict[str, Any]:
    reason, since = Revocation(event.record["reason"]), _moment(event.record["since"])
    compromised = reason is Revocation.COMPROMISED
    return {
        "revoked_reason": reason,
        "revoked_at": event.at if compromised else since,
        "compromised_since": since if compromised else None,
    }


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text).astimezone(UTC) if text else None
