"""Corrects the gateway's own book by what a registry has signed of its own, as two persons of the gateway decide.

Never an edit: positions are closed and others opened, by an entry of the log that names the case, both persons, why,
and on what evidence. The book can be told that units are where a registry says it has them, not that they are nowhere:
a unit that is missing there (6302) is that registry's to restore, or it tells the transfer it had not told. Units that
the book has elsewhere go over only if their registry has signed that it does not have them. Uses, cancellations and
first transfers are told by the registry, never corrected into the book, and units whose registry is linked enter it by
that registry's word alone. The units stay flagged until a run finds them equal.

Raises ``GatewayError``: FORBIDDEN 8001 for who is not of the gateway, NOT_FOUND 3001; CONFLICT 3003 for a case that
has moved on, is closed or is no reconciliation's, 4003 and 4007 for what would lose or double a unit, 4005 for units
that a transfer holds, 4010 for identifiers that are others' or not those here, 6304 for a use or a cancellation,
6901 for a state that cannot be read; MALFORMED 2014 for reasons that are none; LIMIT 2001 for too many findings.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway import db
from gateway.approvals.commands import Act
from gateway.audit import log
from gateway.domain import wire
from gateway.domain.callers import Caller
from gateway.domain.facts import Held
from gateway.domain.identifiers import AccountType, Standing, parse_itmo_stem, parse_party
from gateway.domain.unit_ranges import Spread, common, minus
from gateway.domain.units import Block, ItmoNaming, UnitRange
from gateway.errors import GatewayError, Kind, invariant
from gateway.holdings import actions, book, claims
from gateway.holdings.book import Move, Place
from gateway.links import store as links
from gateway.messages.outbox import Node
from gateway.reconciliation import case_store as store
from gateway.reconciliation import correction_store
from gateway.reconciliation.case_store import Live, Source, State, Step
from gateway.reconciliation.correction_store import Correction
from gateway.reconciliation.inconsistencies import printable, standing_of
from gateway.signing import strict_json

#: The act, as persons approve it.
CORRECT = "case.correct"
#: Findings that one correction takes: what two persons can look at, and a text of an approval holds.
MOST_FINDINGS = 300
#: The longest text about the evidence.
MAX_EVIDENCE = 2_000
#: Of differences by code: the units are in both books, or only in the registry's.
_BOTH, _ONLY_THERE = frozenset({6303, 6304}), frozenset({4007, 6301})

Parameters = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Signed:
    """Units as their registry has signed that it has them."""

    finding: Live
    block: Block
    place: Place


async def correction_wanted(
    tx: db.Tx, caller: Caller, case: str, version: int, findings: Sequence[int], reason: str, evidence: str
) -> Act:
    """What is to be approved so that findings of a case (none named: all) are corrected; it could be done now."""
    caller.require_all()
    await store.alone(tx)
    found = await _of_case(tx, case, version, findings)
    await _planned(tx, found)
    parameters = {
        "case": case,
        "version": version,
        "findings": [one.id for one in found],
        "quantity": sum(one.units.quantity for one in found),
        "reason": printable("reason", reason),
        "evidence": printable("text about evidence", evidence, MAX_EVIDENCE),
    }
    return Act(CORRECT, None, parameters)


async def correct(tx: db.Tx, node: Node, parameters: Parameters, by: tuple[str, str]) -> dict[str, Any]:
    """Put the units of these findings where their registry has signed that they are, if that still can be done."""
    case, version = parameters["case"], parameters["version"]
    await store.alone(tx)
    found = await _of_case(tx, case, version, parameters["findings"])
    moves, entering = await _planned(tx, found)
    now, why = node.clock(), {name: parameters[name] for name in ("reason", "evidence")}
    units = [wire.range_to_wire(one.units) for one in found]
    record = {"case": case, "version": version + 1, "by": list(by), **why, "findings": parameters["findings"]}
    [entry_id] = await log.append(tx, [log.draft("case.corrected", now, {**record, "units": units})])
    written = await db.unless_excluded(tx, lambda: _write(tx, moves, entering, entry_id))
    if written is None:
        raise _refused(4010, "identifiers that the registry gives these units are those of others here")
    if entering:
        await actions.record(tx, [_entered(f"{case}/{version + 1}", entering, record, now)], entry_id)
    corrected = [Correction(case, m.block.range, m.out_of, m.to) for m in (*moves, *entering) if m.to is not None]
    await correction_store.insert(tx, corrected, entry_id)
    said = {"corrected_by": f"correction of the book, log entry {entry_id}"}
    step = Step(case, version, "corrected", State.CORRECTED, " and ".join(by), parameters["reason"], entry_id, said)
    await store.take_steps(tx, [step], now)
    return {"case": case, "entry": entry_id, "moved": _quantity(moves), "entered": _quantity(entering)}


async def _of_case(tx: db.Tx, case: str, version: int, findings: Sequence[int]) -> list[Live]:
    """The findings that are meant, all of them open."""
    standing = await standing_of(tx, case, version)
    if standing.source is not Source.RECONCILIATION:
        raise GatewayError(Kind.CONFLICT, "only what a reconciliation found is corrected in the book", code=3003)
    there = await store.units_of(tx, case)
    wanted = set(findings) or {one.id for one in there}
    found = [one for one in there if one.id in wanted]
    if len(found) != len(wanted):
        raise GatewayError(Kind.CONFLICT, f"not all of these findings are open in case {case}", code=3003)
    if len(found) > MOST_FINDINGS:
        detail = f"case {case} has {len(found):,} findings; at most {MOST_FINDINGS} are corrected at a time: name them"
        raise GatewayError(Kind.LIMIT, detail, code=2001)
    return found


async def _planned(tx: db.Tx, found: Sequence[Live]) -> tuple[list[Move], list[Move]]:
    """What is to be moved in the book and what is to enter it; nothing else may move these units until ``tx`` ends."""
    code = int(found[0].check_id)
    if code not in _BOTH | _ONLY_THERE:
        detail = "the book is not told that a unit is nowhere: its registry restores it, or tells what it had not told"
        raise _refused(4003, detail)
    signed = [_signed(one) for one in found]
    units = [one.units for one in found]
    await book.lock_series(tx, [one.origin for one in units], book.LEAVING)
    await book.lock_series(tx, [one.origin for one in units], book.MOVING)
    held_by = await claims.held_by_others(tx, [claims.Claim("", one) for one in units])
    if any(held_by):
        raise _refused(4005, "a transfer holds some of these units; it has to end first")
    pieces = await book.held(tx, units)
    if code in _BOTH:
        return [move for one, held in zip(signed, pieces, strict=True) for move in _changed(one, held)], []
    gone = await store.missing_there(tx, units)
    moves = [move for one, held in zip(signed, pieces, strict=True) for move in _brought(one, held, gone)]
    entering = [
        Move(one.block.part(part.first, part.last), one.place)
        for one, held in zip(signed, pieces, strict=True)
        for part in minus([one.finding.units], [piece.block.range for piece in held])
    ]
    await _require_told(tx, entering)
    return moves, entering


async def _require_told(tx: db.Tx, entering: Sequence[Move]) -> None:
    """Raise unless these units may enter the book: 6304 for used or cancelled ones, 4003 for another's that is linked.

    A series whose registry is linked is known here from that registry, so who else has units of it that the book does
    not know has them from nowhere.
    """
    linked = await links.behind(tx, sorted({m.block.origin.registry for m in entering}))
    for move in entering:
        assert move.to is not None  # what enters goes somewhere
        if AccountType(move.to.account_type).standing is not Standing.HELD:
            raise _refused(6304, "a use or a cancellation is told by its registry, and does not enter by a correction")
        registry = move.block.origin.registry
        if registry != move.to.registry and registry in linked:
            detail = f"units of {registry}, which is linked, enter the book by its word, not by {move.to.registry}'s"
            raise _refused(4003, detail)


def _changed(signed: _Signed, held: Sequence[Held]) -> list[Move]:
    """Units that are in the registry's books here too, as it says that they are."""
    registry, units = signed.place.registry, signed.finding.units
    here = [piece for piece in held if piece.registry == registry]
    if minus([units], [piece.block.range for piece in here]):
        raise GatewayError(Kind.CONFLICT, "the book does not have all these units there any more", code=3003)
    return [_moved(signed, piece) for piece in here]


def _brought(signed: _Signed, held: Sequence[Held], gone: Sequence[tuple[str, UnitRange]]) -> list[Move]:
    """Units that the book has in another registry, which has signed that it does not have them."""
    for piece in held:
        missing = Spread([units for registry, units in gone if registry == piece.registry], lambda one: one)
        units = common([piece.block.range], [signed.finding.units])[0]
        if piece.registry == signed.place.registry or minus([units], missing.on(units)):
            detail = f"units are in {piece.registry}, and no open case says that it does not have them (6302)"
            raise _refused(4007, detail)
    return [_moved(signed, piece) for piece in held]


def _moved(signed: _Signed, piece: Held) -> Move:
    """The part of a position that a finding is about, at the place and with the attributes that were signed."""
    [units] = common([piece.block.range], [signed.finding.units])
    if piece.account_type.standing is not AccountType(signed.place.account_type).standing:
        detail = "a use or a cancellation is told by its registry, and so is what it takes back"
        raise _refused(6304, detail)
    if piece.block.itmo != signed.block.itmo:
        raise _refused(4010, "ITMO identifiers are given once, at first transfer, and that is told by a notice")
    block, given = signed.block.part(units.first, units.last), signed.block.attributes
    changed = given if given != piece.block.attributes else None
    return Move(block, signed.place, out_of=piece.registry, attributes=changed)


async def _write(tx: db.Tx, moves: Sequence[Move], entering: Sequence[Move], entry_id: int) -> bool:
    if moves:
        moved = await book.move(tx, moves, entry_id)
        invariant(moved == _quantity(moves), "a correction moved other units than it was to")
    if entering:
        await book.open_positions(tx, entering, entry_id)
    return True


def _entered(name: str, entering: Sequence[Move], record: Parameters, now: Any) -> actions.Record:
    """What entered the book by a correction, counted like what a registry brings when its link is activated."""
    [registry] = {m.to.registry for m in entering if m.to is not None}
    blocks = tuple((m.block, m.to.account_type) for m in entering if m.to is not None)
    text = json.dumps({"kind": "correction", **record}, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    return actions.Record(registry, name, actions.CORRECTION, now, text, blocks)


def _signed(finding: Live) -> _Signed:
    """What the registry has signed of these units; raises CONFLICT 6901 for what cannot be read as a state."""
    assert finding.registry is not None and finding.there is not None  # of a reconciliation, and there
    units, faults = finding.units, wire.Faults()
    try:
        said = strict_json.loads(finding.there)
        party, kind = parse_party(said["party"]), AccountType(said["account_type"])
        attributes = wire.read_attributes(said["attributes"], faults, units)
        itmo = said["itmo"]
        naming = (
            None if itmo is None else ItmoNaming(parse_itmo_stem(itmo["stem"]), wire.whole(itmo["offset"], "offset"))
        )
        if attributes is None or faults.findings:
            raise ValueError
        block = Block(units.origin, units.first, units.last, attributes, naming)
    except (GatewayError, ValueError, KeyError, TypeError):
        raise _refused(6901, "what the registry says of these units cannot be read as a state") from None
    return _Signed(finding, block, Place(finding.registry, party, kind.value))


def _quantity(moves: Sequence[Move]) -> int:
    return sum(m.block.quantity for m in moves)


def _refused(code: int, detail: str) -> GatewayError:
    return GatewayError(Kind.CONFLICT, detail, code=code)
