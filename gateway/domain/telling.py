"""From ``action`` items that move no unit to values: authorisations, statements, first transfers, reversals.

As in ``notices``: a wrong structure raises MALFORMED with 2001, wrong data become findings of the item. Who may tell is
checked here as far as one item shows it: a registry speaks for itself (1010), of Parties whose books it keeps (4011).
"""

import itertools
import json
from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, TypeAlias

from gateway.domain import integrity, wire
from gateway.domain.actions import (
    ActionType,
    AuthorisationTold,
    FirstTransfer,
    FirstTransferred,
    HostStatement,
    Reversal,
    Revocation,
)
from gateway.domain.authorisation_terms import read_terms
from gateway.domain.check_codes import Finding, merged
from gateway.domain.identifiers import PartyCode, RegistryCode, parse_party
from gateway.domain.units import UnitRange

#: What becomes of an item: a value, or what is wrong with it.
Told: TypeAlias = AuthorisationTold | Revocation | HostStatement | FirstTransferred | Reversal
Heading: TypeAlias = tuple[str, datetime, RegistryCode]
SAYS = frozenset({"all", "part", "none", "later"})
_ACTION = frozenset({"kind", "action", "type", "at", "registry"})
#: Kinds of first transfer that happen where the units are.
OUTSIDE_A_RELAY = frozenset({FirstTransfer.AUTHORISATION, FirstTransfer.ISSUANCE, FirstTransfer.USE_OR_CANCELLATION})


class Read:
    """One item while it is read."""

    def __init__(self, raw: Mapping[str, Any], heading: Heading, kept: PartyCode | None, faults: wire.Faults) -> None:
        self.raw, self.heading, self.kept, self.faults = raw, heading, kept, faults

    def party(self, text: object) -> PartyCode | None:
        """A Party whose books the teller keeps."""
        party = self.faults.attempt(parse_party, wire.text(text, "party"))
        if party is not None and self.kept not in (None, party):
            self.faults.add(4011, f"{self.heading[2]} keeps the books of {self.kept} alone")
        return party

    def ranges(self, name: str, most: int) -> tuple[UnitRange, ...]:
        """Ranges of units that the registry itself issued, none twice."""
        listed = wire.array(self.raw[name], name)
        if not 1 <= len(listed) <= most:
            raise wire.malformed(f"{name} are 1 to {most}")
        read = [units for value in listed if (units := wire.read_range(value, self.faults)) is not None]
        foreign = tuple(units for units in read if units.origin.registry != self.heading[2])
        if foreign:
            self.faults.findings.append(Finding(1010, foreign, "units that another registry issued"))
        ordered = sorted(read)
        twice = tuple(b for a, b in itertools.pairwise(ordered) if a.intersect(b) is not None)
        if twice:
            self.faults.findings.append(Finding(2008, twice, f"{name} overlap"))
        return tuple(read)


def _authorisation(item: Read, most: int) -> Told | None:
    raw = wire.members(item.raw, "authorisation", _ACTION | {"authorisation"}, frozenset({"units", "synthetic"}))
    terms = read_terms(raw["authorisation"], item.faults)
    units = item.ranges("units", most) if "units" in raw else ()
    if terms is None:
        return None
    item.party(terms.party)
    return AuthorisationTold(*item.heading, terms, units)


def _revocation(item: Read, _most: int) -> Told | None:
    raw = wire.members(item.raw, "revocation", _ACTION | {"party", "authorisation", "reason"})
    party, reference = item.party(raw["party"]), wire.read_authorisation(raw["authorisation"])
    if reference is None:
        raise wire.malformed("a revocation names an authorisation")
    reason = wire.text(raw["reason"], "reason")
    return None if party is None else Revocation(*item.heading, party, reference, reason)


def _statement(item: Read, _most: int) -> Told | None:
    raw = wire.members(item.raw, "statement", _ACTION | {"party", "activity", "says"}, frozenset({"transitioned_from"}))
    party, activity, says = item.party(raw["party"]), wire.text(raw["activity"], "activity"), raw["says"]
    if wire.text(says, "says") not in SAYS:
        item.faults.add(2014, f"says: not a statement: {says[:16]!r}")
    came = wire.text(raw["transitioned_from"], "transitioned_from") if "transitioned_from" in raw else None
    return None if party is None else HostStatement(*item.heading, party, activity, says, came)


def _first_transfer(item: Read, most: int) -> Told | None:
    raw = wire.members(item.raw, "first transfer", _ACTION | {"party", "subtype", "blocks"})
    party, subtype = item.party(raw["party"]), wire.text(raw["subtype"], "subtype")
    if subtype not in OUTSIDE_A_RELAY:
        item.faults.add(2014, f"subtype: none for a first transfer outside a relay: {subtype[:32]!r}")
    listed = wire.array(raw["blocks"], "blocks")
    if not 1 <= len(listed) <= most:
        raise wire.malformed(f"blocks are 1 to {most}")
    read = (wire.read_block(value, item.faults) for value in listed)
    blocks = tuple(block for block in read if block is not None)
    item.faults.findings += integrity.block_findings(blocks)
    return None if party is None else FirstTransferred(*item.heading, party, subtype, blocks)


def _reversal(item: Read, most: int) -> Told | None:
    raw = wire.members(item.raw, "reversal", _ACTION | {"blocks", "resolved"})
    if type(raw["resolved"]) is not bool:
        raise wire.malformed("resolved is true or false")
    return Reversal(*item.heading, item.ranges("blocks", most), raw["resolved"])


#: How each type of action that moves no unit is read.
READERS: Mapping[ActionType, Callable[[Read, int], Told | None]] = MappingProxyType(
    {
        ActionType.AUTHORISATION: _authorisation,
        ActionType.REVOCATION: _revocation,
        ActionType.STATEMENT: _statement,
        ActionType.FIRST_TRANSFER: _first_transfer,
        ActionType.REVERSAL: _reversal,
    }
)


def read(item: Read, kind: ActionType, most: int) -> Told | tuple[Finding, ...]:
    """Read an item of a type in ``READERS``, with lists of at most ``most`` blocks."""
    told = READERS[kind](item, most)
    return merged(item.faults.findings) if told is None or item.faults.findings else told


def terms_text(item: Mapping[str, Any]) -> str:
    """The terms of an ``authorisation`` item, as they are kept."""
    return json.dumps(item["authorisation"], ensure_ascii=False, sort_keys=True)
