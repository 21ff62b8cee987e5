"""Records of history: what one transaction did with one block, in the words of the registry it happened in.

A record is written once, as RFC 8785 JSON, so its SHA-256 is its name: the same text from two registries is one fact
with two witnesses, another text about the same units of the same transaction contradicts it unless it ``corrects`` it.
A *feed* is the records that one Party may see in one registry, numbered without gap; its digest at each number binds
all that came before (``Cursor.beyond``). As with notices, a wrong structure raises MALFORMED with 2001, and wrong data
become findings.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from gateway.domain import wire
from gateway.domain.check_codes import Finding, merged
from gateway.domain.identifiers import Address, PartyCode, RegistryCode, parse_registry_code
from gateway.domain.units import Attributes, Block

#: Most records of one page.
MAX_PAGE = 1_000
#: How far a record may lie in the future of whoever reads it: as far as the clock of whoever signs may be ahead.
AHEAD = timedelta(seconds=300)
#: Longest id of a transaction.
MAX_TRANSACTION = 64
HASH_BYTES = 32

_REQUIRED = frozenset({"kind", "registry", "transaction", "type", "at", "block", "first_transfer"})
_OPTIONAL = frozenset({"from", "to", "purpose", "year", "corrects"})
_CANONICAL = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True)
_HASH = re.compile(r"[A-Za-z0-9_-]{43}")


class HistoryType(StrEnum):
    """What a transaction was."""

    ISSUANCE = "issuance"
    TRANSFER = "transfer"
    USE = "use"
    CANCELLATION = "cancellation"
    ADAPTATION = "adaptation"
    FIRST_TRANSFER = "first_transfer"
    AUTHORISATION = "authorisation"


_TYPES = frozenset(HistoryType)
_PURPOSES = frozenset({"NDC", "IMP", "OP", "OMGE", "other"})
#: Calendar years of a use.
_YEARS = range(2021, 2200)


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in a feed: how many records lie before it, and the digest (32 bytes) that binds them."""

    number: int
    digest: bytes

    def beyond(self, hashes: Iterable[bytes]) -> "Cursor":
        """The place behind further records, given by their SHA-256."""
        number, digest = self.number, self.digest
        for one in hashes:
            number, digest = number + 1, hashlib.sha256(digest + one).digest()
        return Cursor(number, digest)


#: Before the first record.
START = Cursor(0, bytes(HASH_BYTES))


@dataclass(frozen=True, slots=True)
class Viewer:
    """The books a history is for, and the Party whose they are."""

    registry: RegistryCode
    party: PartyCode


@dataclass(frozen=True, slots=True)
class Record:
    """One record. ``sha256`` (base64url) names its ``text``; ``corrects`` names the one it takes the place of."""

    text: str
    sha256: str
    registry: RegistryCode
    transaction: str
    type: HistoryType
    at: datetime
    block: Block
    source: Address | None
    target: Address | None
    first_transfer: bool
    purpose: str | None
    year: int | None
    corrects: str | None

    def concerns(self, party: PartyCode) -> bool:
        """Whether a Party sees it for what it says itself: it hosts the units, or they were or came into its books."""
        ends = (self.source, self.target)
        return self.block.attributes.first_transferring_party == party or any(a and a.party == party for a in ends)


class Known:
    """What was read in the records of one page: most of them say the same of their units and name the same accounts."""

    def __init__(self) -> None:
        self.attributes: dict[str, Attributes] = {}
        self._addresses: dict[str, Address] = {}

    def address(self, value: object, faults: wire.Faults) -> Address | None:
        """Read an address, or find it among those that were sound."""
        spelling = repr(value)
        if (known := self._addresses.get(spelling)) is not None:
            return known
        read = wire.read_address(value, faults)
        return None if read is None else self._addresses.setdefault(spelling, read)


def parse_record(text: str, sha256: str, value: object, known: Known | None = None) -> Record | tuple[Finding, ...]:
    """Read the record ``text``, parsed as ``value``, or say what is wrong with its data.

    ``known`` spares reading what was read before in the same words. Raises MALFORMED with code 2001 for the structure,
    and for a text that is not written as RFC 8785 says.
    """
    raw = wire.members(value, "record", _REQUIRED, _OPTIONAL)
    if raw["kind"] != "history" or raw["type"] not in _TYPES:
        raise wire.malformed("not an item of kind history, or of no type there is")
    if canonical(raw) != text:
        raise wire.malformed("a record is written with its members sorted by name and no white space")
    if type(raw["first_transfer"]) is not bool:
        raise wire.malformed("first_transfer is true or false")
    known = known or Known()
    faults = wire.Faults()
    faults.attributes = known.attributes
    block = wire.read_block(raw["block"], faults)
    registry = faults.attempt(parse_registry_code, wire.text(raw["registry"], "registry"))
    ends = {name: known.address(raw[name], faults) if name in raw else None for name in ("from", "to")}
    if raw.get("purpose", "NDC") not in _PURPOSES:
        raise wire.malformed("a purpose is NDC, IMP, OP, OMGE or other")
    if "corrects" in raw and not (type(raw["corrects"]) is str and _HASH.fullmatch(raw["corrects"])):
        raise wire.malformed("corrects is a SHA-256")
    if block is not None and block.attributes.authorisation is None:
        faults.add(8001, "the history of units without an authorisation is for nobody", block.range)
    if not faults.findings and any(ends.values()) and registry not in {end.registry for end in ends.values() if end}:
        faults.add(2011, "the registry of a record is that of an end of it")
    if block is None or registry is None or faults.findings:
        return merged(faults.findings)
    return Record(
        text,
        sha256,
        registry,
        wire.text(raw["transaction"], "transaction", MAX_TRANSACTION),
        HistoryType(raw["type"]),
        wire.parse_time(raw["at"]),
        block,
        ends["from"],
        ends["to"],
        raw["first_transfer"],
        raw.get("purpose"),
        _year(raw["year"]) if "year" in raw else None,
        raw.get("corrects"),
    )


def _year(value: object) -> int:
    year = wire.whole(value, "year")
    if year not in _YEARS:
        raise wire.malformed(f"a year is one from {_YEARS[0]} to {_YEARS[-1]}")
    return year


def canonical(value: dict[str, Any]) -> str:
    """The RFC 8785 text of an object of strings, whole numbers and booleans whose names are ASCII."""
    return _CANONICAL.encode(value)
