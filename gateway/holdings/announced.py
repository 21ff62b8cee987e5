"""A sound notice on its way into the book: how it is recorded, and the units it moves or marks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from gateway.domain.actions import Disposal, FirstTransfer, FirstTransferred, Issuance, OpeningPosition
from gateway.domain.check_codes import Finding
from gateway.domain.facts import Held
from gateway.domain.identifiers import Account, Standing
from gateway.domain.units import Block, UnitRange
from gateway.holdings.actions import Record
from gateway.holdings.book import Move, Place
from gateway.messages.inbox import Inbound
from gateway.signing.envelope import Item

#: What moves units, or marks them where they are.
Moving: TypeAlias = Issuance | Disposal | FirstTransferred


@dataclass(frozen=True, slots=True)
class Announced:
    """A sound item. ``enters`` tells issuance from the others; ``value`` is None for an opening balance.

    ``first`` is the kind of first transfer that the item is for units that never were, ``source`` where units leave.
    """

    item: Item
    record: Record
    moves: tuple[Move, ...]
    enters: bool
    source: Place | None = None
    value: Moving | None = None
    first: FirstTransfer | None = None


@dataclass(frozen=True, slots=True)
class Ruling:
    """What the rules make of an item that the book can take; ``moves`` None: as announced."""

    findings: tuple[Finding, ...] = ()
    moves: tuple[Move, ...] | None = None
    first: FirstTransfer | None = None


#: Rules on an item, given the live positions that overlap each of its moves.
Judge: TypeAlias = Callable[[Announced, Sequence[Sequence[Held]]], Ruling]


def announced(item: Item, value: Moving) -> Announced:
    """A notice as it is to be applied."""
    if isinstance(value, Issuance):
        return _issued(item, value)
    return _first_transferred(item, value) if isinstance(value, FirstTransferred) else _disposed(item, value)


def opened(item: Item, nr: int, position: OpeningPosition, inbound: Inbound) -> Announced:
    """A position of an opening balance; units that bear identifiers were first transferred before."""
    entry = ((position.block, position.account.type.value),)
    name = f"opening {inbound.message.id} {nr}"
    record = Record(position.registry, name, "opening", inbound.message.sent_at, item.text, entry)
    place = _place(position.registry, position.party, position.account)
    named_at = inbound.message.sent_at if position.block.itmo is not None else None
    return Announced(item, record, (Move(position.block, place, named_at),), enters=True)


def faults_entering(block: Block, there: Sequence[Held]) -> list[Finding]:
    """What stands against units entering the book, of which ``there`` are the live positions that overlap them."""
    return [Finding(4007, (block.range,), "these units have a place in the book already")] if there else []


def faults_leaving(
    announced: Announced, block: Block, there: Sequence[Held], claimed: Sequence[UnitRange]
) -> list[Finding]:
    """What stands against using, cancelling or marking units of the book; ``claimed`` is what transfers hold."""
    findings = []
    held = [h for h in there if _is_source(announced, h)]
    if sum(shared.quantity for h in held if (shared := h.block.intersect(block))) < block.quantity:
        gone = any(h.account_type.standing is not Standing.HELD for h in there)
        findings.append(Finding(4006 if gone else 4003 if not there else 4004, (block.range,), "not held there"))
    if claimed:
        findings.append(Finding(4005, (block.range,), "a transfer holds these units"))
    if any(h.block.attributes != block.attributes or h.block.itmo != block.itmo for h in held):
        findings.append(Finding(4010, (block.range,), "attributes or identifiers are not those known"))
    return findings


def _is_source(announced: Announced, held: Held) -> bool:
    """Whether units are where the item says: in one account type, or, where they stay, in any of the registry's."""
    if announced.source is not None:
        return announced.source == Place(held.registry, held.party, held.account_type.value)
    return held.registry == announced.record.registry and held.account_type.standing is Standing.HELD


def _issued(item: Item, value: Issuance) -> Announced:
    entries = tuple((p.block, p.account.type.value) for p in value.positions)
    record = Record(value.registry, value.action, "issuance", value.at, item.text, entries)
    moves = tuple(Move(p.block, _place(p.registry, p.party, p.account)) for p in value.positions)
    return Announced(item, record, moves, enters=True, value=value)


def _disposed(item: Item, value: Disposal) -> Announced:
    entries = tuple((block, value.to_account.type.value) for block in value.blocks)
    record = Record(value.registry, value.action, value.type.value, value.at, item.text, entries)
    to = _place(value.registry, value.party, value.to_account)
    source = _place(value.registry, value.party, value.account)
    moves = tuple(Move(b, to, out_of=value.registry) for b in value.blocks)
    return Announced(item, record, moves, enters=False, source=source, value=value)


def _first_transferred(item: Item, value: FirstTransferred) -> Announced:
    record = Record(value.registry, value.action, "first_transfer", value.at, item.text, ())
    moves = tuple(Move(b, None, value.at, value.registry) for b in value.blocks)
    return Announced(item, record, moves, enters=False, value=value)


def _place(registry: str, party: str, account: Account) -> Place:
    return Place(registry, party, account.type.value)
