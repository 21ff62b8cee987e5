"""Applies what a registry announces of its own units: ``action.notice``, and the opening balance of a link.

Each item is judged alone: recorded and moved in the book, or refused with its codes while the others pass.
A notice repeated under its action id with the same text is answered as recorded and changes nothing; with
another text it is refused (2004). Units that already have a place in the book cannot enter it again (4007),
units that are not held, or that a transfer claims, cannot be used or cancelled (4003 to 4006).

Raises ``GatewayError`` with 2001 or 2005, before anything is written, for items that are not of the protocol.
"""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from gateway import db
from gateway.domain import units, wire
from gateway.domain.actions import Disposal, Issuance, OpeningPosition
from gateway.domain.check_codes import Finding
from gateway.domain.facts import Held
from gateway.domain.identifiers import Account, Standing
from gateway.domain.notices import parse_action, parse_position
from gateway.domain.proposals import MAX_BLOCKS
from gateway.domain.units import Block, UnitRange
from gateway.errors import GatewayError, Kind
from gateway.holdings import actions, book, claims, movements, recording, registries
from gateway.holdings.actions import Record
from gateway.holdings.book import Move, Place
from gateway.holdings.claims import Claim
from gateway.holdings.movements import Disposed
from gateway.messages.inbox import Inbound
from gateway.messages.outbox import Node
from gateway.messages.receipts import ItemReceipt
from gateway.signing.envelope import Item

#: Items of one message: the protocol's limit.
MAX_ITEMS = 1_000


@dataclass(frozen=True, slots=True)
class _Announced:
    """A sound item: how it is recorded, and the units it moves. ``enters`` tells issuance from ``disposal``."""

    item: Item
    record: Record
    moves: tuple[Move, ...]
    enters: bool
    source: Place | None = None
    disposal: Disposal | None = None


async def notice(tx: db.Tx, node: Node, inbound: Inbound) -> Sequence[ItemReceipt]:
    """``action.notice``: issuance, use, cancellation."""
    wire.nothing(inbound.message.body)
    items = _items(inbound, "action")
    own = await registries.of_link(tx, inbound.message.sender)
    read = [(item, parse_action(item.value, own)) for item in items]
    listed = ("positions" if "positions" in item.value else "blocks" for item in items)
    if sum(len(item.value[name]) for item, name in zip(items, listed, strict=True)) > MAX_BLOCKS:
        raise GatewayError(Kind.LIMIT, f"a message has at most {MAX_BLOCKS} blocks", code=2005)
    sound = [_announced(item, value) for item, value in read if not isinstance(value, tuple)]
    refused = {item.sha256: value for item, value in read if isinstance(value, tuple)}
    return await _apply(tx, inbound, items, sound, refused)


async def opening(tx: db.Tx, inbound: Inbound, activated: AbstractSet[str]) -> Sequence[ItemReceipt]:
    """The positions of a ``link.activate``, recorded as an opening balance of the registry, or a part of one.

    Units that a registry of ``activated`` issued are in the book since its own balance or notice: elsewhere
    (4007), or never issued (4003), so none enters by another's balance. Units of a registry that is not linked
    may enter, because nobody here can contradict.
    """
    items = _items(inbound, "position")
    own = await registries.of_link(tx, inbound.message.sender)
    read = [(item, parse_position(item.value, own)) for item in items]
    sound = [
        _opened(item, nr, value, inbound) for nr, (item, value) in enumerate(read) if isinstance(value, OpeningPosition)
    ]
    refused = {item.sha256: value for item, value in read if not isinstance(value, OpeningPosition)}
    # Kept among the sound: units that have a place in the book are told so (4007) instead.
    for item, value in read:
        if isinstance(value, OpeningPosition) and value.block.origin.registry in activated:
            refused[item.sha256] = (
                Finding(4003, (value.block.range,), "their registry has not announced these units"),
            )
    return await _apply(tx, inbound, items, sound, refused)


async def _apply(
    tx: db.Tx,
    inbound: Inbound,
    items: Sequence[Item],
    sound: Sequence[_Announced],
    refused: dict[str, tuple[Finding, ...]],
) -> list[ItemReceipt]:
    known = await actions.recorded(tx, [(a.record.registry, a.record.action) for a in sound])
    fresh = []
    for announced in sound:
        name = announced.record.registry, announced.record.action
        if name not in known:
            known[name] = announced.item.text
            fresh.append(announced)
        elif known[name] != announced.item.text:
            refused[announced.item.sha256] = (Finding(2004, detail="the action id was used for another notice"),)
    leaving = [m.block.origin for a in fresh if not a.enters for m in a.moves]
    if leaving:
        await book.lock_series(tx, leaving, book.LEAVING)
    refused |= await _clashes(tx, fresh)
    applied = [a for a in fresh if a.item.sha256 not in refused]
    await _move(tx, applied, inbound.entry_id)
    return [_receipt(item, refused.get(item.sha256, ())) for item in items]


async def _clashes(tx: db.Tx, fresh: Sequence[_Announced]) -> dict[str, tuple[Finding, ...]]:
    """What the book cannot take, by item: judged for all items together, also against each other."""
    blocks = [(a, m.block) for a in fresh for m in a.moves]
    # Claims first: units whose claim is gone when it is looked for have moved when the book is read.
    held_by = await claims.held_by_others(tx, [Claim("", block) for _, block in blocks])
    pieces = await book.held(tx, [block for _, block in blocks])
    named = await book.named_already(tx, [block for _, block in blocks])
    doubled = {id(block) for pair in units.overlapping([block for _, block in blocks]) for block in pair}
    entering = [block for announced, block in blocks if announced.enters]
    named_twice = {id(block) for pair in units.overlapping_names(entering) for block in pair}
    found: dict[str, list[Finding]] = {}
    for nr, ((announced, block), there, claimed) in enumerate(zip(blocks, pieces, held_by, strict=True)):
        findings = _entering(block, there) if announced.enters else _leaving(announced, block, there, claimed)
        if id(block) in doubled:
            findings.append(Finding(2008, (block.range,), "two items of the message have these units"))
        if id(block) in named_twice:
            findings.append(Finding(2008, (block.range,), "two items of the message have these ITMO identifiers"))
        if nr in named and announced.enters:
            findings.append(Finding(4007, (block.range,), "the ITMO identifiers belong to other units"))
        if findings:
            found.setdefault(announced.item.sha256, []).extend(findings)
    return {item: tuple(findings) for item, findings in found.items()}


def _entering(block: Block, there: Sequence[Held]) -> list[Finding]:
    return [Finding(4007, (block.range,), "these units have a place in the book already")] if there else []


def _leaving(announced: _Announced, block: Block, there: Sequence[Held], claimed: Sequence[UnitRange]) -> list[Finding]:
    findings = []
    held = [h for h in there if announced.source == Place(h.registry, h.party, h.account_type.value)]
    if sum(shared.quantity for h in held if (shared := h.block.intersect(block))) < block.quantity:
        gone = any(h.account_type.standing is not Standing.HELD for h in there)
        findings.append(Finding(4006 if gone else 4003 if not there else 4004, (block.range,), "not held there"))
    if claimed:
        findings.append(Finding(4005, (block.range,), "a transfer holds these units"))
    if any(h.block.attributes != block.attributes or h.block.itmo != block.itmo for h in held):
        findings.append(Finding(4010, (block.range,), "attributes or identifiers are not those known"))
    return findings


async def _move(tx: db.Tx, applied: Sequence[_Announced], entry_id: int) -> None:
    entering = [m for a in applied if a.enters for m in a.moves]
    leaving = [m for a in applied if not a.enters for m in a.moves]
    if entering:
        await book.open_positions(tx, entering, entry_id)
    if leaving:
        await book.move(tx, leaving, entry_id)
    if applied:
        await actions.record(tx, [a.record for a in applied], entry_id)
        await recording.disposed(tx, (a.item.value for a in applied if not a.enters), entry_id)
        await movements.disposed(tx, [Disposed(a.disposal) for a in applied if a.disposal is not None], entry_id)


def _announced(item: Item, value: Issuance | Disposal) -> _Announced:
    if isinstance(value, Issuance):
        entries = tuple((p.block, p.account.type.value) for p in value.positions)
        record = Record(value.registry, value.action, "issuance", value.at, item.text, entries)
        moves = tuple(Move(p.block, _place(p.registry, p.party, p.account)) for p in value.positions)
        return _Announced(item, record, moves, enters=True)
    entries = tuple((block, value.to_account.type.value) for block in value.blocks)
    record = Record(value.registry, value.action, value.type.value, value.at, item.text, entries)
    to = _place(value.registry, value.party, value.to_account)
    source = _place(value.registry, value.party, value.account)
    moves = tuple(Move(b, to, out_of=value.registry) for b in value.blocks)
    return _Announced(item, record, moves, enters=False, source=source, disposal=value)


def _opened(item: Item, nr: int, position: OpeningPosition, inbound: Inbound) -> _Announced:
    entry = ((position.block, position.account.type.value),)
    name = f"opening {inbound.message.id} {nr}"
    record = Record(position.registry, name, "opening", inbound.message.sent_at, item.text, entry)
    place = _place(position.registry, position.party, position.account)
    named_at = inbound.message.sent_at if position.block.itmo is not None else None
    return _Announced(item, record, (Move(position.block, place, named_at),), enters=True)


def _place(registry: str, party: str, account: Account) -> Place:
    return Place(registry, party, account.type.value)


def _receipt(item: Item, findings: tuple[Finding, ...]) -> ItemReceipt:
    return ItemReceipt(item, "refused" if findings else "recorded", findings)


def _items(inbound: Inbound, kind: str) -> list[Item]:
    items = list(inbound.message.items)
    if any(item.kind != kind for item in items):
        raise GatewayError(Kind.MALFORMED, f"the items of a {inbound.message.type} are of kind {kind}", code=2001)
    if len(items) > MAX_ITEMS:
        raise GatewayError(Kind.LIMIT, f"a message has at most {MAX_ITEMS} items", code=2001)
    return items
