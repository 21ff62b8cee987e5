"""The ITMO identifiers a source gives at first transfer: which of them can be taken, and what is wrong with the others.

An identifier is given once, by the registry that releases the units, and never invented here (invariant 1). The units
have left when it arrives, so a wrong one cannot stop them: it is told to the source with its code, raises an alarm,
and is not taken; the units go on without it.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, TypeAlias

from gateway import db
from gateway.authorisations import store as authorisations
from gateway.domain import integrity, wire
from gateway.domain.check_codes import Finding, merged
from gateway.domain.notices import parse_naming
from gateway.domain.registry import RegistryKind
from gateway.domain.transfers import Proposal
from gateway.domain.units import Block, ItmoNaming, UnitRange, overlapping_names
from gateway.holdings import book
from gateway.links import store as links

#: Units and the identifiers given to them.
Name: TypeAlias = tuple[UnitRange, ItmoNaming]


@dataclass(frozen=True, slots=True)
class Release:
    """What a ``released`` says of the units themselves; ``faults``: the entries that are wrong in themselves."""

    released_at: datetime
    first_transfer: bool
    names: tuple[Name, ...]
    faults: tuple[Finding, ...] = ()


def read_release(value: Mapping[str, Any]) -> Release:
    """Read the time of release, whether it is a first transfer, and the identifiers given; raises MALFORMED, 2001."""
    if type(value.get("first_transfer")) is not bool:
        raise wire.malformed("first_transfer is true or false")
    names: list[Name] = []
    faults: list[Finding] = []
    for entry in wire.array(value.get("itmo"), "itmo"):
        read = parse_naming(entry)
        if isinstance(read, list):
            faults += read
        else:
            names.append(read)
    return Release(wire.parse_time(value.get("released_at")), value["first_transfer"], tuple(names), merged(faults))


def named(proposal: Proposal, release: Release) -> Iterable[Block]:
    """The proposed units in pieces: with the identifiers given to them where these fit, and those without."""
    names = _apart(release.names)
    for block in proposal.blocks:
        for piece, naming in _pieces(block, names):
            if naming is None or piece.itmo is not None or _misfits(piece, naming):
                yield piece
            else:
                yield piece.name(naming)


async def judge(tx: db.Tx, released: Mapping[str, tuple[Proposal, Release]]) -> dict[str, tuple[Finding, ...]]:
    """What is wrong with the identifiers of each release, by transfer; those with none wrong are left out."""
    found = {transfer: _findings(*pair) for transfer, pair in released.items()}
    for transfer in await _no_first_transfers(tx, released):
        found[transfer].append(Finding(5134, detail="by its authorisation it is no first transfer: no identifiers"))
    for transfer in await _left_unnamed(tx, released):
        found[transfer].append(Finding(5133, detail="units of the additional registry services leave it as ITMOs only"))
    pieces = [
        (transfer, piece)
        for transfer, pair in released.items()
        for piece in named(*pair)
        if piece.itmo is not None and pair[1].names
    ]
    for nr in await clashing(tx, [piece for _, piece in pieces]):
        transfer, piece = pieces[nr]
        found[transfer].append(Finding(4007, (piece.range,), "the ITMO identifiers belong to other units"))
    return {transfer: merged(findings) for transfer, findings in found.items() if findings}


async def clashing(tx: db.Tx, blocks: Sequence[Block]) -> set[int]:
    """Which of ``blocks`` bear identifiers that another unit bears, in the book or among them."""
    if not blocks:
        return set()
    twice = {id(block) for pair in overlapping_names(blocks) for block in pair}
    return await book.named_already(tx, blocks) | {nr for nr, block in enumerate(blocks) if id(block) in twice}


async def _no_first_transfers(tx: db.Tx, released: Mapping[str, tuple[Proposal, Release]]) -> list[str]:
    """The releases that give identifiers though their checks judged the transfer to be no first one."""
    naming = [t for t, (p, release) in released.items() if release.names and any(b.itmo is None for b in p.blocks)]
    relied = await authorisations.relied_on(tx, naming) if naming else {}
    return [t for t, by in relied.items() if all(reliance.first is None for reliance in by.values())]


async def _left_unnamed(tx: db.Tx, released: Mapping[str, tuple[Proposal, Release]]) -> list[str]:
    """The releases by which units leave the additional registry services without being first transferred."""
    plain = {
        transfer: proposal.transferring.registry
        for transfer, (proposal, release) in released.items()
        if not release.first_transfer and any(block.itmo is None for block in proposal.blocks)
    }
    behind = await links.behind(tx, sorted(set(plain.values()))) if plain else {}
    return [t for t, r in plain.items() if r in behind and behind[r].kind == RegistryKind.SERVICES]


def _findings(proposal: Proposal, release: Release) -> list[Finding]:
    names = _apart(release.names)
    found = list(release.faults)
    if names and not release.first_transfer:
        found.append(Finding(2015, detail="identifiers are given at first transfer, and this is said to be none"))
    if release.first_transfer and all(block.itmo is not None for block in proposal.blocks):
        found.append(Finding(5132, detail="the units have been first transferred before"))
    kept = set(map(id, names))
    doubled = tuple(name[0] for name in release.names if id(name) not in kept)
    if doubled:
        found.append(Finding(2008, doubled, "units are given identifiers twice"))
    covered = 0
    for block in proposal.blocks:
        for piece, naming in _pieces(block, names):
            covered += piece.quantity if naming is not None else 0
            if naming is not None:
                found += _misfits(piece, naming)
            elif release.first_transfer and piece.itmo is None:
                found.append(Finding(2015, (piece.range,), "first transferred without ITMO identifiers"))
    if covered < sum(units.quantity for units, _ in names):
        found.append(
            Finding(3006, tuple(units for units, _ in names), "identifiers for units that are not transferred")
        )
    return found


def _misfits(piece: Block, naming: ItmoNaming) -> list[Finding]:
    """Why these units cannot have these identifiers: they have others, or their attributes do not agree with them."""
    if piece.itmo is not None:
        same = piece.itmo == naming
        return [] if same else [Finding(4010, (piece.range,), "the units have other ITMO identifiers")]
    return integrity.block_findings([piece.name(naming)])


def _apart(names: Sequence[Name]) -> list[Name]:
    """The names in the order of their units, without those that overlap one before them."""
    apart: list[Name] = []
    for name in sorted(names, key=lambda n: n[0]):
        if not apart or (apart[-1][0].origin, apart[-1][0].last) < (name[0].origin, name[0].first):
            apart.append(name)
    return apart


def _pieces(block: Block, names: Sequence[Name]) -> Iterable[tuple[Block, ItmoNaming | None]]:
    """The parts of ``block`` with what is given to them, and those without; ``names`` as ``_apart`` gives them."""
    at = block.first
    begin = bisect_left(names, (block.origin, block.first), key=lambda n: (n[0].origin, n[0].last))
    for units, naming in islice(names, begin, None):
        shared = block.range.intersect(units)
        if shared is None:
            break
        if at < shared.first:
            yield block.part(at, shared.first - 1), None
        yield block.part(shared.first, shared.last), naming
        at = shared.last + 1
    if at <= block.last:
        yield block.part(at, block.last), None
