"""From ``position`` and ``action`` items, and the naming in ``released`` items, to values.

As with proposals, a wrong structure raises MALFORMED with 2001 and wrong data become findings, so that one
item is refused alone. What one item shows by itself is checked here: that the action's registry is its
sender's and keeps books of that Party, that a registry issues units of its own series only, that accounts are of the
right standing, that blocks are sound and do not overlap. What needs the book is the book's business. A value of an
open list that the nomenclature in force does not have (2014) is kept as the registry spells it, and flagged.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeAlias

from gateway.domain import integrity, telling, wire
from gateway.domain.actions import TOWARDS, ActionType, Disposal, Issuance, OpeningPosition, Towards
from gateway.domain.check_codes import Finding, merged
from gateway.domain.identifiers import (
    AccountType,
    LinkCode,
    PartyCode,
    RegistryCode,
    Standing,
    parse_account,
    parse_party,
)
from gateway.domain.moments import LAST
from gateway.domain.nomenclature import FIRST_VINTAGE
from gateway.domain.proposals import MAX_BLOCKS
from gateway.domain.telling import Told
from gateway.domain.units import ItmoNaming, UnitRange
from gateway.errors import GatewayError, Kind

_POSITION = frozenset({"party", "account", "block"})
_ACTION = frozenset({"kind", "action", "type", "at", "registry"})
_DISPOSAL = _ACTION | {"party", "account", "to_account", "blocks"}
_OPTIONAL = {
    ActionType.USE: frozenset({"year", "ndc_period", "entity"}),
    ActionType.CANCELLATION: frozenset({"purpose", "entity"}),
    ActionType.ADAPTATION: frozenset({"voluntary"}),
}
_YEARS = frozenset({"first", "last"})
#: What a cancellation may say of its purpose.
_CANCELLED_FOR = {Towards.OP.value, Towards.OMGE.value, Towards.OTHER.value}
_STANDING = {
    ActionType.USE: Standing.USED,
    ActionType.CANCELLATION: Standing.CANCELLED,
    ActionType.ADAPTATION: Standing.HELD,
}
_TYPES = {kind.value: kind for kind in ActionType}
#: Longest name of an action, and of an entity's identification number.
MAX_ACTION, MAX_ENTITY = 64, 256

#: The registries a system speaks for, each with the Party whose books it keeps (None: every Party's).
Own: TypeAlias = Mapping[RegistryCode, PartyCode | None]


def parse_position(item: object, own: Own) -> OpeningPosition | tuple[Finding, ...]:
    """Read a ``position`` item of an opening balance, or say what is wrong with it.

    It is in that one of the sender's ``own`` registries which keeps books of its Party. Raises MALFORMED with code
    2001 for the structure.
    """
    raw = wire.members(item, "position", _POSITION | {"kind"})
    _expect(raw["kind"], "position")
    faults = wire.Faults()
    keeping = next((r for r, kept in own.items() if kept is None or kept == raw["party"]), None)
    if keeping is None:
        faults.add(4011, "the sender keeps no books of that Party")
    position = _read_position({name: raw[name] for name in _POSITION}, keeping, faults)
    if position is not None:
        faults.findings += integrity.block_findings([position.block])
    if position is None or faults.findings:
        return merged(faults.findings)
    return replace(position, flags=merged(faults.unlisted))


def parse_action(item: object, own: Own) -> Issuance | Disposal | Told | tuple[Finding, ...]:
    """Read an ``action`` item of a system that speaks for ``own``, or say what is wrong with it.

    Raises MALFORMED: 2001 for the structure, an unknown type of action included, 2005 for no blocks or more
    than 3000.
    """
    if type(item) is not dict or type(item.get("type")) is not str:
        raise wire.malformed("an action is an object with a type")
    kind = _TYPES.get(item["type"])
    if kind is ActionType.ISSUANCE:
        return _parse_issuance(item, own)
    if kind in _STANDING:
        return _parse_disposal(item, kind, own)
    if kind is not None and kind in telling.READERS:
        registry, faults = _sent_by(wire.with_members(item, "action", _ACTION), own)
        name, at = _heading(item)
        return telling.read(telling.Read(item, (name, at, registry), own.get(registry), faults), kind, MAX_BLOCKS)
    raise wire.malformed("no such type of action")


def parse_naming(value: object) -> tuple[UnitRange, ItmoNaming] | list[Finding]:
    """Read an entry of a ``released`` item's ``itmo`` list: which units, and the identifiers they got.

    Raises MALFORMED with code 2001 for the structure.
    """
    raw = wire.members(value, "itmo entry", frozenset({"origin", "first", "last", "itmo"}))
    faults = wire.Faults()
    units = wire.read_range({name: raw[name] for name in ("origin", "first", "last")}, faults)
    if units is None:
        return list(merged(faults.findings))
    naming = wire.read_naming(raw["itmo"], units, faults)
    return list(merged(faults.findings)) if naming is None else (units, naming)


def _parse_issuance(item: dict[str, Any], own: Own) -> Issuance | tuple[Finding, ...]:
    raw = wire.members(item, "issuance", _ACTION | {"positions"}, frozenset({"synthetic"}))
    name, at = _heading(raw)
    synthetic = raw.get("synthetic", False)
    if type(synthetic) is not bool:
        raise wire.malformed("synthetic is true or false")
    listed = _bounded(wire.array(raw["positions"], "positions"))
    registry, faults = _sent_by(raw, own)
    read = [_read_position(value, registry, faults) for value in listed]
    positions = tuple(position for position in read if position is not None)
    _of_its_books([p.party for p in positions], registry, own, faults)
    foreign = [p.block.range for p in positions if p.block.origin.registry != registry]
    if foreign and registry in own:
        faults.findings.append(Finding(1010, tuple(foreign), "a registry issues units of its own series only"))
    faults.findings += integrity.block_findings([position.block for position in positions])
    return merged(faults.findings) or Issuance(name, at, registry, positions, synthetic, merged(faults.unlisted))


def _parse_disposal(item: dict[str, Any], kind: ActionType, own: Own) -> Disposal | tuple[Finding, ...]:
    raw = wire.members(item, kind, _DISPOSAL, _OPTIONAL[kind])
    name, at = _heading(raw)
    registry, faults = _sent_by(raw, own)
    party = faults.attempt(parse_party, wire.text(raw["party"], "party"))
    _of_its_books([party] if party else [], registry, own, faults)
    account = faults.attempt(parse_account, wire.text(raw["account"], "account"))
    to_account = faults.attempt(parse_account, wire.text(raw["to_account"], "to_account"))
    if account is not None and account.type.standing is not Standing.HELD:
        faults.add(2015, "units are used or cancelled from an account that holds them")
    if to_account is not None and to_account.type.standing is not _STANDING[kind]:
        faults.add(2015, f"to_account is of no type for {kind}")
    if kind is ActionType.ADAPTATION and to_account and to_account.type is not AccountType.SHARE_OF_PROCEEDS:
        faults.add(5142, "a transfer to the Adaptation Fund goes to its account")
    read = [wire.read_block(value, faults) for value in _bounded(wire.array(raw["blocks"], "blocks"))]
    blocks = tuple(block for block in read if block is not None)
    faults.findings += integrity.block_findings(blocks)
    towards = TOWARDS.get(to_account.type) if to_account is not None else None
    year = _year_of_use(raw, at.year, towards, faults)
    _same_purpose(raw, towards, faults)
    entity = wire.text(raw["entity"], "entity", MAX_ENTITY) if "entity" in raw else None
    voluntary = raw.get("voluntary", True)
    if type(voluntary) is not bool:
        raise wire.malformed("voluntary is true or false")
    if party is None or account is None or to_account is None or towards is None or faults.findings:
        return merged(faults.findings)
    return Disposal(
        name,
        at,
        registry,
        kind,
        party,
        account,
        to_account,
        blocks,
        towards,
        year,
        entity,
        merged(faults.unlisted),
        voluntary,
    )


def _year_of_use(raw: dict[str, Any], year_of_action: int, towards: Towards | None, faults: wire.Faults) -> int | None:
    """The calendar year of a use towards the NDC. 5140 names one outside the NDC period, or of no period there is.

    Where none is given it is the year of the action. A year given for another purpose has no meaning in the tables and
    is not taken; it must be one all the same.
    """
    year = wire.whole(raw.get("year", year_of_action), "year")
    if "year" in raw and not FIRST_VINTAGE <= year < LAST.year:
        faults.add(5140, f"ITMOs are used for a year from {FIRST_VINTAGE} on, before {LAST.year}")
    if "ndc_period" in raw:
        period = wire.members(raw["ndc_period"], "ndc_period", _YEARS)
        if not wire.whole(period["first"], "first") <= year <= wire.whole(period["last"], "last"):
            faults.add(5140, "the year of use lies outside the NDC period")
    return year if towards is Towards.NDC else None


def _same_purpose(raw: dict[str, Any], towards: Towards | None, faults: wire.Faults) -> None:
    """5141 names a purpose that the account does not have; raises MALFORMED with code 2001 for one that is none."""
    purpose = wire.text(raw["purpose"], "purpose") if "purpose" in raw else None
    if purpose is not None and purpose not in _CANCELLED_FOR:
        raise wire.malformed("a cancellation is for OP, OMGE or other purposes")
    if purpose is not None and purpose != towards:
        faults.add(5141, "the account is not of that purpose")


def _read_position(value: object, registry: RegistryCode | None, faults: wire.Faults) -> OpeningPosition | None:
    raw = wire.members(value, "position", _POSITION)
    party = faults.attempt(parse_party, wire.text(raw["party"], "party"))
    account = faults.attempt(parse_account, wire.text(raw["account"], "account"))
    block = wire.read_block(raw["block"], faults)
    if party is None or account is None or block is None or registry is None:
        return None
    return OpeningPosition(registry, party, account, block)


def _heading(raw: dict[str, Any]) -> tuple[str, datetime]:
    _expect(raw["kind"], "action")
    return wire.text(raw["action"], "action", MAX_ACTION), wire.parse_time(raw["at"])


def _sent_by(raw: dict[str, Any], own: Own) -> tuple[RegistryCode, wire.Faults]:
    """The registry of an action. A system speaks for its own only; 1010 names a claim to speak for another."""
    faults = wire.Faults()
    registry = RegistryCode(LinkCode(wire.text(raw["registry"], "registry")))
    if registry not in own:
        faults.add(1010, "the action is another registry's")
    return registry, faults


def _of_its_books(parties: list[PartyCode], registry: RegistryCode, own: Own, faults: wire.Faults) -> None:
    """4011 names an action in books that the registry does not keep."""
    kept = own.get(registry)
    if kept is not None and any(party != kept for party in parties):
        faults.add(4011, f"{registry} keeps the books of {kept} alone")


def _bounded(listed: list[Any]) -> list[Any]:
    if not 1 <= len(listed) <= MAX_BLOCKS:
        raise GatewayError(Kind.MALFORMED, f"an action has 1 to {MAX_BLOCKS} blocks", code=2005)
    return listed


def _expect(kind: object, expected: str) -> None:
    if kind != expected:
        raise wire.malformed(f"not an item of kind {expected}")
