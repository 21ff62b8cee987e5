"""Which key signed a message, and whether it was valid then: from entries of the log alone.

An entry of a message names its key; those about keys say from when until when each counted, and which was revoked.
Nothing else is read, so the answer is the same to whoever is shown these entries with their proofs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from gateway import db
from gateway.domain.callers import EVERYTHING, Sight
from gateway.errors import GatewayError, Kind
from gateway.keys import store
from gateway.keys.entries import Event, key_of
from gateway.signing import trust
from gateway.signing.messages import is_message_id
from gateway.signing.trust import Revocation


@dataclass(frozen=True, slots=True)
class Trace:
    """A message's key as the log shows it. ``fault`` is why it was not valid then, or cannot be said to have been."""

    message: str
    sender: str
    type: str
    at: datetime
    kid: str | None
    not_before: datetime | None
    not_after: datetime | None
    revoked: Revocation | None
    revoked_since: datetime | None
    fault: str | None

    @property
    def valid(self) -> bool:
        """Whether the key counted for the message."""
        return self.fault is None


async def which(tx: db.ReadTx, code: str, message_id: str, sight: Sight = EVERYTHING) -> list[Trace]:
    """The key of every message in sight with this id, whoever sent it; ``code`` is ours.

    Raises as ``Sight.absent`` says without one, MALFORMED for what is no id.
    """
    if not is_message_id(message_id):
        raise GatewayError(Kind.MALFORMED, f"{message_id[:64]!r} is not the id of a message", code=2001)
    found = await store.entry_of(tx, message_id, sight)
    if not found:
        raise sight.absent(f"no message {message_id} is in the log", 3001)
    events = await store.events(tx, [message.record["peer"] for message in found])
    return [_trace(message, events, code, message_id) for message in found]


def _trace(message: Event, events: Sequence[Event], code: str, message_id: str) -> Trace:
    ours = message.record["direction"] == "out"
    sender = code if ours else str(message.record["peer"])
    kid = message.record.get("key")
    sent_at = datetime.fromisoformat(message.record["sent_at"]) if "sent_at" in message.record else message.at
    key = key_of(events, sender, kid, ours=ours) if kid else None
    if key is None:
        fault = "its entry names no key" if kid is None else "no entry registers this key"
        return Trace(message_id, sender, message.kind, message.at, kid, None, None, None, None, fault)
    judged = trust.judge(key, sent_at, message.at)
    since = key.compromised_since or key.revoked_at
    return Trace(
        message_id, sender, message.kind, message.at, kid, key.not_before, key.not_after, key.revoked_reason, since,
        judged.value if judged else None,
    )  # fmt: skip
