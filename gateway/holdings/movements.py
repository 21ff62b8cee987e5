"""Movements of units that Parties account for: what each completed transfer, use and cancellation was, once.

In the transaction that completes it, each cause (a transfer, or a registry's action) becomes one row for each group of
its units that agree in everything the accounting asks for: first transferring Party, vintage, metric, cooperative
approach, authorisation, and whether they are ITMOs. The actions of both Parties' views are read from that one row (the
view ``party_action``), so they cannot differ. Rows stay. One statement inserts those of all that is completed together;
one more reads the book where units bear no identifier, which alone says whether they had been first transferred.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from gateway import db
from gateway.domain import wire
from gateway.domain.actions import ActionType, Disposal, FirstTransfer
from gateway.domain.units import AuthorisationRef, Block
from gateway.holdings import book
from gateway.holdings.recording import Relayed, Type


@dataclass(frozen=True, slots=True)
class Disposed:
    """A use or cancellation that is applied; ``first_transfer`` of units that were no ITMOs, where it is one."""

    disposal: Disposal
    first_transfer: bool = False


class _Alike(NamedTuple):
    """What the units of one row have in common: ``first`` is what this cause made of them, ``itmos`` what they are."""

    party: str
    vintage: int
    metric: str
    cooperative_approach: str
    authorisation: AuthorisationRef | None
    first: bool
    itmos: bool


@dataclass(frozen=True, slots=True)
class FirstHere:
    """Units first transferred where they are, by an action of their registry: by being issued, say."""

    registry: str
    action: str
    kind: FirstTransfer
    at: datetime
    party: str
    blocks: Sequence[Block]


#: Units and whether they are ITMOs already, with an identifier or without.
_Piece = tuple[Block, bool]

#: What an action inside a registry is in the words of the reporting tables.
_TYPES = {
    ActionType.USE: Type.USE,
    ActionType.CANCELLATION: Type.CANCELLATION,
    ActionType.ADAPTATION: Type.TRANSFER,
}
_COLUMNS = {
    "cause": "text", "part": "integer", "type": "text", "subtype": "text", "at": "timestamptz", "party": "text",
    "registry": "text", "acquiring_party": "text", "acquiring_registry": "text", "acquired_at": "timestamptz",
    "purpose": "text", "entity": "text", "year": "integer", "first_transferring_party": "text", "vintage": "integer",
    "metric": "text", "cooperative_approach": "text", "authorisation": "text", "authorisation_version": "integer",
    "first_transfer": "boolean", "first_transferred": "boolean", "quantity": "bigint",
}  # fmt: skip
_INSERT = f"""
INSERT INTO unit_movement ({", ".join(_COLUMNS)}, entry_id)
SELECT *, :entry FROM unnest({", ".join(f"CAST(:{name} AS {kind}[])" for name, kind in _COLUMNS.items())})
"""


async def before_relay(tx: db.Tx, completed: Sequence[Relayed]) -> list[list[_Piece]]:
    """What the book has of units proposed without identifiers before their transfers complete, for ``relayed``."""
    return await _as_held(tx, [b for one in completed for b, new in zip(one.blocks, _fresh(one), strict=True) if new])


async def relayed(tx: db.Tx, completed: Sequence[Relayed], was: list[list[_Piece]], entry_id: int) -> None:
    """Note what transfers moved that log entry ``entry_id`` completes, of units that the book had as ``was`` says."""
    in_book = iter(was)
    rows = [row for one in completed for row in _of_transfer(one, _fresh(one), in_book)]
    await _insert(tx, rows, entry_id)


async def before(tx: db.Tx, applied: Sequence[Disposed]) -> list[list[_Piece]]:
    """What the book has of the units of uses and cancellations before they are applied, for ``disposed``."""
    return await _as_held(tx, [block for one in applied for block in one.disposal.blocks])


async def disposed(tx: db.Tx, applied: Sequence[Disposed], was: list[list[_Piece]], entry_id: int) -> None:
    """Note uses and cancellations that log entry ``entry_id`` applies, of units that the book had as ``was`` says."""
    in_book = iter(was)
    await _insert(tx, [row for one in applied for row in _of_disposal(one, in_book)], entry_id)


async def first_transferred(tx: db.Tx, applied: Sequence[FirstHere], entry_id: int) -> None:
    """Note first transfers outside a relay that log entry ``entry_id`` applies."""
    await _insert(tx, [row for one in applied for row in _of_first_transfer(one)], entry_id)


def _of_first_transfer(one: FirstHere) -> Iterator[tuple[Any, ...]]:
    totals: dict[_Alike, int] = {}
    for block in one.blocks:
        _add(totals, block, None, True, True)
    for nr, (alike, quantity) in enumerate(totals.items(), 1):
        yield (
            *(f"{one.registry}/{one.action}", nr, Type.FIRST_TRANSFER.value, one.kind.value),
            *(wire.time_to_wire(one.at), one.party, one.registry, None, None, None, None, None, None),
            *_stored(alike, quantity),
        )


def _fresh(one: Relayed) -> list[bool]:
    """Of each block, whether the proposal had it without an identifier."""
    proposed = iter(one.proposal.blocks)
    around = next(proposed)
    fresh = []
    for piece in one.blocks:
        while not around.contains(piece):
            around = next(proposed)
        fresh.append(around.itmo is None)
    return fresh


async def _as_held(tx: db.Tx, blocks: Sequence[Block]) -> list[list[_Piece]]:
    """Each block in the pieces in which the book has it, and whether these have been first transferred."""
    if not blocks:
        return []
    found = await book.held(tx, blocks)
    return [
        [(piece, h.first_transferred) for h in there if (piece := h.block.intersect(block)) is not None]
        for block, there in zip(blocks, found, strict=True)
    ]


def _of_transfer(one: Relayed, fresh: Sequence[bool], in_book: Iterator[list[_Piece]]) -> Iterator[tuple[Any, ...]]:
    """The rows of a transfer; ``in_book`` gives what the book had of each block without identifiers, in order."""
    proposal, first = one.proposal, one.first is not None
    totals: dict[_Alike, int] = {}
    for block, new in zip(one.blocks, fresh, strict=True):
        if new:
            for piece, itmos in next(in_book):
                _add(totals, piece, proposal.authorisation, first and not itmos, first or itmos)
        else:
            _add(totals, block, proposal.authorisation, False, True)
    out, into = proposal.transferring, proposal.acquiring
    for nr, (alike, quantity) in enumerate(totals.items(), 1):
        kind, subtype = (Type.FIRST_TRANSFER, one.first) if alike.first else (Type.TRANSFER, None)
        yield (
            *(one.transfer, nr, kind.value, subtype and str(subtype), one.released_at, out.party, out.registry),
            *(into.party, into.registry, one.credited_at, proposal.purpose.value, None, None),
            *_stored(alike, quantity),
        )


def _of_disposal(one: Disposed, in_book: Iterator[list[_Piece]]) -> Iterator[tuple[Any, ...]]:
    """The rows of a use or cancellation; ``in_book`` gives what the book has of each of its blocks, in order."""
    said = one.disposal
    totals: dict[_Alike, int] = {}
    for _ in said.blocks:
        for piece, itmos in next(in_book):
            _add(totals, piece, None, one.first_transfer and not itmos, one.first_transfer or itmos)
    kind = _TYPES[said.type]
    subtype = said.subtype.value if said.subtype is not None else None
    for nr, (alike, quantity) in enumerate(totals.items(), 1):
        yield (
            *(f"{said.registry}/{said.action}", nr, kind.value, subtype, wire.time_to_wire(said.at), said.party),
            *(said.registry, None, None, None, said.purpose.value, said.entity, said.year),
            *_stored(alike, quantity),
        )


def _add(
    totals: dict[_Alike, int], block: Block, authorisation: AuthorisationRef | None, first: bool, itmos: bool
) -> None:
    """Count a block to those like it; units without an authorisation of their own have that of the transfer."""
    a = block.attributes
    alike = _Alike(
        a.first_transferring_party, a.vintage, a.metric, a.cooperative_approach, a.authorisation or authorisation,
        first, itmos,
    )  # fmt: skip
    totals[alike] = totals.get(alike, 0) + block.quantity


def _stored(alike: _Alike, quantity: int) -> tuple[Any, ...]:
    given = alike.authorisation
    reference = (given.id, given.version) if given is not None else (None, None)
    own = alike.party, alike.vintage, str(alike.metric), alike.cooperative_approach
    return *own, *reference, alike.first, alike.itmos, quantity


async def _insert(tx: db.Tx, rows: Iterable[tuple[Any, ...]], entry_id: int) -> None:
    if columns := list(zip(*rows, strict=True)):
        given = {name: list(values) for name, values in zip(_COLUMNS, columns, strict=True)}
        await db.execute(tx, _INSERT, given | {"entry": entry_id})
