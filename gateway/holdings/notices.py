"""Applies what a registry announces of its own units: ``action.notice``, and the opening balance of a link.

Each item is judged alone: recorded and moved in the book, or refused with its codes while the others pass. What is
recorded may be flagged: findings that do not refuse.
A notice repeated under its action id with the same text is answered as recorded and changes nothing; with
another text it is refused (2004). Units that already have a place in the book cannot enter it again (4007),
units that are not held, or that a transfer claims, cannot be used or cancelled (4003 to 4006).

Raises ``GatewayError`` with 2001 or 2005, before anything is written, for items that are not of the protocol.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import TypeAlias

from gateway import db
from gateway.domain import units
from gateway.domain.actions import ActionType, Disposal, FirstTransferred, Issuance, OpeningPosition
from gateway.domain.check_codes import Finding
from gateway.domain.checks import passed
from gateway.domain.facts import Held
from gateway.domain.notices import parse_position
from gateway.errors import GatewayError, Kind
from gateway.holdings import actions, book, claims, movements, recording, registries
from gateway.holdings.announced import Announced, Judge, Ruling, faults_entering, faults_leaving, opened
from gateway.holdings.claims import Claim
from gateway.holdings.movements import Disposed, FirstHere
from gateway.messages.inbox import Inbound
from gateway.messages.receipts import ItemReceipt
from gateway.signing.envelope import Item

#: Items of one message: the protocol's limit.
MAX_ITEMS = 1_000


async def opening(tx: db.Tx, inbound: Inbound, activated: AbstractSet[str]) -> Sequence[ItemReceipt]:
    """The positions of a ``link.activate``, recorded as an opening balance of the registry, or a part of one.

    Units that a registry of ``activated`` issued are in the book since its own balance or notice: elsewhere
    (4007), or never issued (4003), so none enters by another's balance. Units of a registry that is not linked
    may enter, because nobody here can contradict.
    """
    items = items_of(inbound, "position")
    own = await registries.of_link(tx, inbound.message.sender)
    read = [(item, parse_position(item.value, own)) for item in items]
    sound = [
        opened(item, nr, value, inbound) for nr, (item, value) in enumerate(read) if isinstance(value, OpeningPosition)
    ]
    refused = {item.sha256: value for item, value in read if not isinstance(value, OpeningPosition)}
    # Kept among the sound: units that have a place in the book are told so (4007) instead.
    for item, value in read:
        if isinstance(value, OpeningPosition) and value.block.origin.registry in activated:
            refused[item.sha256] = (
                Finding(4003, (value.block.range,), "their registry has not announced these units"),
            )
    flags = {item.sha256: value.flags for item, value in read if isinstance(value, OpeningPosition)}
    receipts = await apply(tx, inbound, sound, refused, flags)
    return [receipts[item.sha256] for item in items]


def as_announced(_announced: Announced, _there: Sequence[Sequence[Held]]) -> Ruling:
    """The rules on an opening balance: none but those of the book."""
    return Ruling()


async def apply(
    tx: db.Tx,
    inbound: Inbound,
    sound: Sequence[Announced],
    refused: Mapping[str, tuple[Finding, ...]],
    flags: Mapping[str, tuple[Finding, ...]],
    judge: Judge = as_announced,
) -> dict[str, ItemReceipt]:
    """Apply sound items that are not ``refused`` already; the receipt of each sound or refused one, by item.

    ``judge`` is asked last, item by item in order, about what the book can take.
    """
    refusals = dict(refused)
    known = await actions.recorded(tx, [(a.record.registry, a.record.action) for a in sound])
    fresh = []
    for announced in sound:
        name = announced.record.registry, announced.record.action
        if name not in known:
            known[name] = announced.item.text
            fresh.append(announced)
        elif known[name] != announced.item.text:
            refusals[announced.item.sha256] = (Finding(2004, detail="the action id was used for another notice"),)
    leaving = [m.block.origin for a in fresh if not a.enters for m in a.moves]
    if leaving:
        await book.lock_series(tx, leaving, book.LEAVING)
    clashes, there = await _clashes(tx, fresh)
    refusals |= clashes
    ruled = [(a, judge(a, there[a.item.sha256])) for a in fresh if a.item.sha256 not in refusals]
    refusals |= {a.item.sha256: ruling.findings for a, ruling in ruled if not passed(ruling.findings)}
    flagged = dict(flags) | {a.item.sha256: (*flags.get(a.item.sha256, ()), *r.findings) for a, r in ruled}
    applied = [_as_ruled(a, ruling) for a, ruling in ruled if a.item.sha256 not in refusals]
    await _move(tx, applied, inbound.entry_id)
    items = {a.item.sha256: a.item for a in sound} | {item.sha256: item for item in inbound.message.items}
    return {
        sha256: _receipt(items[sha256], refusals.get(sha256, ()), flagged.get(sha256, ()))
        for sha256 in {a.item.sha256 for a in sound} | refusals.keys()
    }


def _as_ruled(announced: Announced, ruling: Ruling) -> Announced:
    moves = announced.moves if ruling.moves is None else ruling.moves
    return replace(announced, moves=moves, first=ruling.first)


#: The live positions that overlap each block of an item, by item.
_There: TypeAlias = dict[str, list[Sequence[Held]]]


async def _clashes(tx: db.Tx, fresh: Sequence[Announced]) -> tuple[dict[str, tuple[Finding, ...]], _There]:
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
    by_item: _There = {a.item.sha256: [] for a in fresh}
    for nr, ((announced, block), there, claimed) in enumerate(zip(blocks, pieces, held_by, strict=True)):
        by_item[announced.item.sha256].append(there)
        findings = (
            faults_entering(block, there) if announced.enters else faults_leaving(announced, block, there, claimed)
        )
        if id(block) in doubled:
            findings.append(Finding(2008, (block.range,), "two items of the message have these units"))
        if id(block) in named_twice:
            findings.append(Finding(2008, (block.range,), "two items of the message have these ITMO identifiers"))
        if nr in named and announced.enters:
            findings.append(Finding(4007, (block.range,), "the ITMO identifiers belong to other units"))
        if findings:
            found.setdefault(announced.item.sha256, []).extend(findings)
    return {item: tuple(findings) for item, findings in found.items()}, by_item


async def _move(tx: db.Tx, applied: Sequence[Announced], entry_id: int) -> None:
    entering = [m for a in applied if a.enters for m in a.moves]
    leaving = [m for a in applied if not a.enters for m in a.moves]
    spent = [(a, a.value) for a in applied if isinstance(a.value, Disposal)]
    gone = [(a, disposal) for a, disposal in spent if disposal.type is not ActionType.ADAPTATION]
    disposed = [Disposed(disposal, a.first is not None) for a, disposal in spent]
    was = await movements.before(tx, disposed)
    if entering:
        await book.open_positions(tx, entering, entry_id)
    if leaving:
        await book.move(tx, leaving, entry_id)
    if applied:
        await actions.record(tx, [a.record for a in applied], entry_id)
        await recording.disposed(tx, (a.item.value for a, _ in gone), entry_id)
        await movements.disposed(tx, disposed, was, entry_id)
        await movements.first_transferred(tx, [one for a in applied if (one := _first_here(a))], entry_id)


def _first_here(announced: Announced) -> FirstHere | None:
    """What of a notice first transfers units where they are: an issuance, or a notice of that."""
    value = announced.value
    if announced.first is None or not isinstance(value, Issuance | FirstTransferred):
        return None
    moved = [move for move in announced.moves if move.first_transferred_at is not None]
    party = moved[0].block.attributes.first_transferring_party
    at = next(move.first_transferred_at for move in moved if move.first_transferred_at is not None)
    return FirstHere(value.registry, value.action, announced.first, at, party, [move.block for move in moved])


def _receipt(item: Item, refused: tuple[Finding, ...], flags: tuple[Finding, ...]) -> ItemReceipt:
    return ItemReceipt(item, "refused", refused) if refused else ItemReceipt(item, "recorded", flags)


def items_of(inbound: Inbound, kind: str) -> list[Item]:
    """The items of a message, which are all of one kind; raises MALFORMED or LIMIT with code 2001."""
    items = list(inbound.message.items)
    if any(item.kind != kind for item in items):
        raise GatewayError(Kind.MALFORMED, f"the items of a {inbound.message.type} are of kind {kind}", code=2001)
    if len(items) > MAX_ITEMS:
        raise GatewayError(Kind.LIMIT, f"a message has at most {MAX_ITEMS} items", code=2001)
    return items
