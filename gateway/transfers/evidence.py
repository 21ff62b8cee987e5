"""Evidence: the earlier messages that a message carries, proven one by one, and kept when they are news.

A registry shows them when the gateway seems to have lost data (R26): its own words, the other side's, and what the
gateway itself had said and signed. Each is verified under a key registered for whoever signed it, as of now, because
what a registry said before a restore must not arrive after it (R16); what cannot be proven is left out, as if it had
not been carried. A message that is kept has a log entry of its own, which names the message that brought it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from gateway import db
from gateway.audit import log
from gateway.links import store as links
from gateway.messages import store as messages
from gateway.messages.inbox import Inbound
from gateway.messages.outbox import Node
from gateway.messages.receipts import dumps
from gateway.signing import compact, envelope
from gateway.signing.envelope import CarriedMessage, EnvelopeError, Item
from gateway.signing.trust import PeerKey
from gateway.transfers.store import Step

#: Our own signatures are judged by whether our key made them, not by when.
_ALWAYS = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Shown:
    """A proven message and one item of it."""

    message: CarriedMessage
    item: Item


class Evidence:
    """The proven messages that one message carries."""

    def __init__(self, inbound: Inbound, proven: Sequence[CarriedMessage]) -> None:
        self._inbound = inbound
        self._proven = proven
        self._entries: dict[str, int] = {}

    def find(self, kind: str, transfer: str, sender: str) -> Shown | None:
        """The item of this kind about a transfer that ``sender`` signed, if it is shown."""
        for message in self._proven:
            if message.sender != sender:
                continue
            for item in message.items:
                if item.kind == kind and item.value.get("transfer") == transfer:
                    return Shown(message, item)
        return None

    async def keep(self, tx: db.Tx, shown: Shown, step: str) -> Step:
        """Keep a shown message, with the items shown, and return the step that its item is."""
        message = shown.message
        if message.jws_sha256 not in self._entries:
            self._entries[message.jws_sha256] = await _keep(tx, self._inbound, message)
        digest = compact.decode(shown.item.sha256)
        return Step(str(shown.item.value["transfer"]), step, shown.item.text, digest, self._entries[message.jws_sha256])


async def of(tx: db.Tx, node: Node, inbound: Inbound) -> Evidence:
    """What ``inbound`` carries and can be proven."""
    carried = inbound.message.evidence
    if not carried:
        return Evidence(inbound, ())
    items = {item.sha256: item for item in inbound.message.items}
    keys = [*await links.keys(tx, sorted(set(map(_claimed_sender, carried)))), _own_key(node)]
    return Evidence(inbound, [m for jws in carried if (m := _proven(jws, items, keys, inbound.at)) is not None])


def _claimed_sender(jws: str) -> str:
    try:
        return str(compact.read(jws).payload.get("from"))
    except EnvelopeError:
        return ""


def _proven(jws: str, items: dict[str, Item], keys: Sequence[PeerKey], now: datetime) -> CarriedMessage | None:
    try:
        return envelope.verify_carried(jws, items, keys, at=now)
    except EnvelopeError:
        return None


def _own_key(node: Node) -> PeerKey:
    return PeerKey.from_jwk(node.code, node.signer.public_jwk(), not_before=_ALWAYS)


async def _keep(tx: db.Tx, inbound: Inbound, message: CarriedMessage) -> int:
    """Store a carried message, unnumbered: if it arrives by itself one day, it takes its place in the stream then."""
    ours = message.sender == inbound.message.receiver
    peer = message.receiver if ours else message.sender
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
        entry_id, "out" if ours else "in", peer, message.id, message.type, None,
        message.in_reply_to.id if message.in_reply_to else None, compact.decode(compact.digest(body)),
        envelope.LINK_JSON, body, inbound.at,
    )  # fmt: skip
    await messages.insert(tx, [row])
    return entry_id
