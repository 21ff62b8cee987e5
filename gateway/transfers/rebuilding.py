"""Takes up transfers that this gateway has lost, from what the registries show of them (R26).

What a registry shows is our own signature under a later step, the source's under the proposal, and the other side's
under what lies between. With all of it the row is inserted where that step leads, its units are claimed again and the
next statement is said, as if nothing had been lost. Units that the book does not have where they should be, or that
another transfer claims, take the row to ``attention``: persons look, and the registries' signed words still lead out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from gateway import db
from gateway.domain.check_codes import Finding
from gateway.domain.identifiers import Standing, parse_transfer_id
from gateway.domain.proposals import parse_proposal
from gateway.domain.transfers import Event, Progress, Proposal, State, begin
from gateway.errors import GatewayError, Kind
from gateway.holdings import book, claims
from gateway.holdings.claims import Claim
from gateway.links import store as links
from gateway.messages.inbox import Inbound
from gateway.transfers import beginning, statements, store
from gateway.transfers.evidence import Evidence, Shown
from gateway.transfers.statements import NOT_KNOWN, Word
from gateway.transfers.steps import Taken
from gateway.transfers.store import Row, Step

#: What must be shown beside the word and our own statement that it names.
_NEEDED = {
    Event.ACCEPTED: ("propose",),
    Event.REJECTED: ("propose",),
    Event.RELEASED: ("propose", "answer"),
    Event.CREDITED: ("propose", "answer", "released"),
}
#: The column of the row that names our statement.
_COLUMN = {"offer": "offer_id", "commit": "commit_id", "settle": "settle_id"}


@dataclass(frozen=True, slots=True)
class Begun:
    """What a word about an unknown transfer began: what its speaker is told, and the step of the new row."""

    state: str
    findings: tuple[Finding, ...] = ()
    taken: tuple[Taken, ...] = ()
    alarm: str | None = None


_NOT_ENOUGH = Begun(NOT_KNOWN, (Finding(3001),), alarm="what it shows of this transfer is not enough to take it up")


async def missing(tx: db.Tx, row: Row, after: State, step: Step, shown: Evidence) -> list[Step] | None:
    """The statements that what is said in ``after`` carries and that are not kept, as shown; None if one is not."""
    carried = {name for said in statements.SAID.get(after, ()) for name in said.carries} - {step.step}
    kept = await store.steps(tx, [row.id], sorted(carried))
    found = []
    for name in sorted(carried - {name for _, name in kept}):
        sender = row.source if name in ("propose", "released", "voided") else row.acquirer
        part = shown.find(name, row.id, str(sender))
        if part is None:
            return None
        found.append(await shown.keep(tx, part, name))
    return found


async def rebuild(tx: db.Tx, inbound: Inbound, word: Word, step: Step, own: Shown, shown: Evidence) -> Begun:
    """Insert the row of ``word``'s transfer where the word leads, from what is shown; nothing if that is not enough."""
    source = str(parse_transfer_id(word.transfer).source)
    proposed = shown.find("propose", word.transfer, source)
    proposal = _read(proposed) if proposed is not None else None
    if proposed is None or proposal is None:
        return _NOT_ENOUGH
    reached = await links.behind(tx, [proposal.acquiring.registry])
    link = await links.find(tx, source)
    acquirer = reached.get(proposal.acquiring.registry)
    speaker = source if word.event is Event.RELEASED else acquirer.code if acquirer else None
    if link is None or acquirer is None or inbound.message.sender != speaker:
        return _NOT_ENOUGH
    between = {
        name: shown.find(name, word.transfer, _side(name, source, acquirer.code)) for name in _NEEDED[word.event]
    }
    if any(part is None for part in between.values()):
        return _NOT_ENOUGH
    deadline = inbound.at + timedelta(hours=link.time_limit_hours)
    new = beginning.new(source, proposed.item, proposal, reached, None, deadline)
    causes = [await shown.keep(tx, part, name) for name, part in between.items() if part is not None]
    causes += [step, await shown.keep(tx, own, own.item.kind)]
    return await _insert(tx, inbound, word, new, proposal, tuple(causes), own)


async def _insert(
    tx: db.Tx, inbound: Inbound, word: Word, new: store.New, proposal: Proposal, causes: Sequence[Step], own: Shown
) -> Begun:
    """The row, where the word leads or, when its units are not to be had, in ``attention``."""
    progress = begin(word.event)
    assert progress is not None  # the events of _NEEDED all begin a row
    # The claim refers to the row, which is inserted where it will stand: what is wrong with the units comes first.
    findings = await _elsewhere(tx, proposal)
    if findings:
        progress = Progress(State.ATTENTION)
    inserted = await store.insert(tx, [new], word.event, progress, inbound.entry_id, inbound.at)
    claims_units = not findings and progress.state is not State.COMPLETED
    if not inserted or (claims_units and await beginning.claim(tx, new.source, [proposal], inbound.at)):
        raise GatewayError(Kind.UNAVAILABLE, "another message is about this transfer or its units now", code=9002)
    row = (await store.lock(tx, [new.id]))[new.id]
    named = {_COLUMN[own.item.kind]: own.message.id}
    found = (*findings, *word.findings)
    taken = Taken(row, word.event, progress, found, tuple(causes), named, begins=True)
    return Begun(progress.state, (), (taken,))


async def _elsewhere(tx: db.Tx, proposal: Proposal) -> tuple[Finding, ...]:
    """What stands against taking a transfer up: units that are claimed, or not held in the source's registry."""
    wanted = [Claim(str(proposal.transfer), block) for block in proposal.blocks]
    taken = [units for ranges in await claims.held_by_others(tx, wanted) for units in ranges]
    if taken:
        return (Finding(4005, tuple(taken), "another transfer has claimed these units meanwhile"),)
    pieces = await book.held(tx, list(proposal.blocks))
    there, source = 0, proposal.transferring.registry
    for block, held in zip(proposal.blocks, pieces, strict=True):
        here = [h for h in held if h.registry == source and h.account_type.standing is Standing.HELD]
        there += sum(shared.quantity for h in here if (shared := h.block.intersect(block)) is not None)
    if there == proposal.quantity:
        return ()
    return (Finding(4004, (), "the book does not have these units where they should be"),)


def _side(name: str, source: str, acquirer: str) -> str:
    return acquirer if name == "answer" else source


def _read(proposed: Shown) -> Proposal | None:
    try:
        read = parse_proposal(proposed.item.value)
    except GatewayError:
        return None
    return read if isinstance(read, Proposal) else None
