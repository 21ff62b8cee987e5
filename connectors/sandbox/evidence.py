"""Evidence: earlier messages carried inside a message, proven one by one when an item of them is needed.

``Evidence.find`` verifies the signature of the carried message before it gives an item of it, so whoever
has an ``Item`` from here knows who signed it. ``KeysMissing`` passes through: the keys of another registry
may come later, and that is no verdict on what it signed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import shapes, strictjson
from .keys import Trust
from .signature import Unattributable, is_compact, prove, segment
from .strictjson import Malformed


@dataclass(frozen=True)
class Item:
    """One item: its exact text, the hash of the text, and what it says."""

    text: str
    sha256: str
    value: Mapping[str, Any]


@dataclass
class Carried:
    """One carried JWS; ``sender`` is believed only after ``Evidence`` has proven it."""

    jws: str
    payload: Mapping[str, Any]
    proven: bool | None = None


@dataclass
class Evidence:
    """Earlier messages carried along, each provable when an item of it is needed."""

    trust: Trust
    texts: dict[str, str] = field(default_factory=dict)
    holders: dict[str, list[Carried]] = field(default_factory=dict)

    def find(self, sha256: str, kind: str, message_type: str, sender: str) -> Item | None:
        """Give the item with this hash if ``sender`` signed it in a message of this type.

        Raises ``KeysMissing`` while the sender's keys are not at hand: that is no verdict.
        """
        text = self.texts.get(sha256)
        for carried in self.holders.get(sha256, ()) if text is not None else ():
            named = (carried.payload.get("type"), carried.payload.get("from"))
            if named == (message_type, sender) and self._prove(carried, sender):
                try:
                    value = strictjson.loads(text or "")
                    shapes.check_item(value, kind)
                except Malformed:
                    return None
                return Item(text or "", sha256, value)
        return None

    def of_transfer(self, transfer: str, kind: str, message_type: str, sender: str) -> tuple[Item, str] | None:
        """Give the one item of this kind about ``transfer`` and the JWS that holds it."""
        for sha256, holders in self.holders.items():
            item = self.find(sha256, kind, message_type, sender)
            if item is not None and item.value.get("transfer") == transfer:
                return item, next(h.jws for h in holders if h.proven)
        return None

    def _prove(self, carried: Carried, sender: str) -> bool:
        if carried.proven is None:
            try:
                prove(carried.jws, sender, self.trust)
                carried.proven = True
            except Unattributable:
                carried.proven = False
        return carried.proven


def carry(payload: Mapping[str, Any], texts: Sequence[str], own_count: int, trust: Trust) -> Evidence:
    """Collect what a message carries after its own items; raises ``Malformed`` for what belongs nowhere."""
    evidence = Evidence(trust)
    hashes = payload.get("items", [])[own_count:]
    evidence.texts = dict(zip(hashes, texts[own_count:], strict=True))
    _hold(evidence, payload["body"].get("evidence", ()))
    # A message carried inside may itself carry others (a commit its proposal): they count as carried too.
    for holder in {id(c): c for cs in evidence.holders.values() for c in cs}.values():
        inner = holder.payload.get("body")
        if isinstance(inner, dict) and payload["type"] == "status.answer":
            _hold(evidence, inner.get("evidence", ()))
    if not evidence.holders.keys() >= evidence.texts.keys():
        raise Malformed("a carried item belongs to no carried message")
    return evidence


def _hold(evidence: Evidence, compacts: Sequence[Any]) -> None:
    for compact in compacts:
        try:
            if not is_compact(compact):
                raise Malformed("carried evidence is not a compact JWS")
            carried = Carried(compact, segment(compact.split(".")[1]))
        except ValueError as error:
            raise Malformed("carried evidence is not a compact JWS") from error
        hashes = carried.payload.get("items", [])
        for sha256 in hashes if isinstance(hashes, list) else ():
            if shapes.is_hash(sha256):
                evidence.holders.setdefault(sha256, []).append(carried)
