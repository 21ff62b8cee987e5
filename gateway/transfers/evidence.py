"""Evidence: the earlier messages that a message carries, proven one by one, and kept when they are news.

A registry shows them when the gateway seems to have lost data (R26): what the gateway itself had said and signed, and
what that names by hash: the source's proposal and release, the acquirer's answer. What our own proven statement names
was believed when we said it, so its key is judged as of then; everything else as of now, because what a registry said
before a restore must not arrive after it (R16). What cannot be proven is left out, as if it had not been carried. A
message that is kept has a log entry of its own, which names the message that brought it, and is never sent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from gateway import db
from gateway.audit import log
from gateway.domain import wire
from gateway.links import key_store
from gateway.messages import store as messages
from gateway.messages.aside import aside
from gateway.messages.inbox import LARGE_BODY, Inbound
from gateway.messages.outbox import Node
from gateway.messages.receipts import dumps
from gateway.signing import compact, envelope
from gateway.signing.envelope import CarriedMessage, EnvelopeError, Item
from gateway.signing.trust import PeerKey
from gateway.transfers.store import Step

#: The most messages one message carries: those of a full batch, each signed alone (openapi/link.yaml, ``Evidence``).
MAX_CARRIED = 5_000
#: What a statement of ours names by hash: the member, and the step of the transfer that it is.
NAMES = {"proposal": "propose", "answer": "answer", "release": "released"}
#: Our own signatures are judged by whether our key made them, not by when.
_ALWAYS = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Shown:
    """A proven message and one item of it."""

    message: CarriedMessage
    item: Item

    def names(self) -> dict[str, str]:
        """What this statement of ours names, by step: the hash of the item."""
        return {step: str(self.item.value[member]) for member, step in NAMES.items() if member in self.item.value}


class Evidence:
    """The proven messages that one message carries."""

    def __init__(self, inbound: Inbound, proven: Sequence[CarriedMessage]) -> None:
        self._inbound = inbound
        self._proven = proven
        self._entries: dict[str, int] = {}

    def find(self, kind: str, transfer: str, sender: str, sha256: str | None = None) -> Shown | None:
        """The item of this kind about a transfer that ``sender`` signed, if it is shown (with this hash, if given)."""
        for message in self._proven:
            if message.sender != sender:
                continue
            for item in message.items:
                about = item.kind == kind and item.value.get("transfer") == transfer
                if about and sha256 in (None, item.sha256):
                    return Shown(message, item)
        return None

    async def keep(self, tx: db.Tx, shown: Shown, step: str) -> Step:
        """Keep a shown message, unless it is kept already, and return the step that its item is."""
        message = shown.message
        if message.jws_sha256 not in self._entries:
            self._entries[message.jws_sha256] = await _keep(tx, self._inbound, shown)
        digest = compact.decode(shown.item.sha256)
        return Step(str(shown.item.value["transfer"]), step, shown.item.text, digest, self._entries[message.jws_sha256])


async def of(tx: db.Tx, node: Node, inbound: Inbound) -> Evidence:
    """What ``inbound`` carries and can be proven; raises MALFORMED 2001 when it carries more than a message may."""
    carried = list(dict.fromkeys(inbound.message.evidence))
    if len(inbound.message.evidence) > MAX_CARRIED:
        raise wire.malformed(f"a message carries at most {MAX_CARRIED} others")
    if not carried:
        return Evidence(inbound, ())
    items = {item.sha256: item for item in inbound.message.items}
    heavy = len(inbound.message.received) >= LARGE_BODY  # then outside the event loop: somebody else waits for it
    senders = await aside(partial(_senders, carried)) if heavy else _senders(carried)
    keys = [*await key_store.keys(tx, sorted(senders)), _own_key(node)]
    prove = _Proving(items, keys, node.code, inbound.at)
    return Evidence(inbound, await aside(partial(prove.all, carried)) if heavy else prove.all(carried))


def _senders(carried: Sequence[str]) -> set[str]:
    """Who these messages claim to be from."""
    found = set()
    for jws in carried:
        try:
            found.add(str(compact.read(jws).payload.get("from")))
        except EnvelopeError:
            continue
    return found


@dataclass(frozen=True, slots=True)
class _Proving:
    items: Mapping[str, Item]
    keys: Sequence[PeerKey]
    us: str
    now: datetime

    def all(self, carried: Sequence[str]) -> list[CarriedMessage]:
        """Our own messages first: what they name is judged as of when they were signed."""
        ours = [m for jws in carried if (m := self._one(jws, self.now, [k for k in self.keys if k.owner == self.us]))]
        named = {sha256: m.sent_at for m in ours for item in m.items for sha256 in Shown(m, item).names().values()}
        theirs = [k for k in self.keys if k.owner != self.us]
        return ours + [m for jws in carried if (m := self._named(jws, named, theirs))]

    def _named(self, jws: str, named: Mapping[str, datetime], keys: Sequence[PeerKey]) -> CarriedMessage | None:
        now = self._one(jws, self.now, keys)
        if now is not None or not named:
            return now
        then = self._one(jws, max(named.values()), keys)
        times = [named[sha256] for sha256 in then.listed if sha256 in named] if then is not None else []
        return self._one(jws, max(times), keys) if times else None

    def _one(self, jws: str, at: datetime, keys: Sequence[PeerKey]) -> CarriedMessage | None:
        try:
            return envelope.verify_carried(jws, self.items, keys, at=at)
        except EnvelopeError:
            return None


def _own_key(node: Node) -> PeerKey:
    return PeerKey.from_jwk(node.code, node.signer.public_jwk(), not_before=_ALWAYS)


async def _keep(tx: db.Tx, inbound: Inbound, shown: Shown) -> int:
    """The entry of a carried message: that under which it is known, or a new one for a copy of what is shown of it."""
    message = shown.message
    known = await messages.known(tx, message.id, message.jws, shown.item.text)
    if known is not None:
        return known
    peer = message.receiver if message.sender == inbound.message.receiver else message.sender
    record = {
        "carried by": inbound.message.id,
        "peer": peer,
        "message": message.id,
        "jws": message.jws_sha256,
        "items": [item.sha256 for item in message.items],
    }
    [entry_id] = await log.append(tx, [log.draft("evidence", inbound.at, record)])
    body = dumps({"jws": message.jws, "items": [item.text for item in message.items]}).encode()
    row = messages.Message(
        entry_id, "shown", peer, message.id, message.type, None,
        message.in_reply_to.id if message.in_reply_to else None, compact.decode(compact.digest(body)),
        envelope.LINK_JSON, body, inbound.at,
    )  # fmt: skip
    await messages.insert(tx, [row])
    return entry_id
