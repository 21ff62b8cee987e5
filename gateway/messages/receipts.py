"""What a receipt says of each item, and how the answer to a whole message is drafted.

A receipt names the message it answers by id and by the SHA-256 of the bytes received, so that neither side
can deny the exchange, and promises the leaf of its log entry. It says per item in which state the transfer
is now; a refusal says why nothing of the message was taken.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from gateway.domain.check_codes import Finding
from gateway.domain.wire import finding_to_wire
from gateway.messages.outbox import Draft
from gateway.signing.envelope import Item, Reference, VerifiedMessage

#: How many blocks one finding names: a proposal may touch any number of fragments.
MAX_NAMED = 100
_COMPACT = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class ItemReceipt:
    """What became of one item: the state of its transfer (or of the notice) after the message."""

    item: Item
    state: str
    findings: tuple[Finding, ...] = ()
    transfer: str | None = None

    def text(self) -> str:
        """The exact text of the receipt's item."""
        value: dict[str, Any] = {"kind": "receipt", "item": self.item.sha256}
        if self.transfer is not None:
            value["transfer"] = self.transfer
        value["state"] = self.state
        value["findings"] = [finding_to_wire(replace(f, blocks=f.blocks[:MAX_NAMED])) for f in self.findings]
        return dumps(value)


def dumps(value: dict[str, Any]) -> str:
    """The text of an item: compact JSON. What it gives is signed, stored and never made again."""
    return _COMPACT.encode(value)


def receipt(message: VerifiedMessage, items: Sequence[ItemReceipt], leaf: str) -> Draft:
    """Draft the receipt of ``message``."""
    return Draft(message.sender, "receipt", items=[i.text() for i in items], in_reply_to=reply_to(message), leaf=leaf)


def refusal(
    sender: str, in_reply_to: Reference, findings: Sequence[Finding], leaf: str, *, numbered: bool = True
) -> Draft:
    """Draft the refusal of a whole message; not ``numbered`` when it is no verdict on the message."""
    body = {"findings": [finding_to_wire(f) for f in findings]}
    return Draft(sender, "refusal", body=body, in_reply_to=in_reply_to, leaf=leaf, numbered=numbered)


def reply_to(message: VerifiedMessage) -> Reference:
    """The member that binds an answer to the bytes it answers."""
    return Reference(message.id, message.sha256)
