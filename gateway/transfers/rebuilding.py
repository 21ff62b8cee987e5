"""Takes up transfers that this gateway has lost, from what the registries show of them (R26).

What a registry shows is our own signature under a later step, and what that step names by hash: the source's proposal
and release, the acquirer's answer. With all of it the row is inserted where the word leads, its units are claimed again
and the next statement is said, as if nothing had been lost. Where the book does not have the units as they should be,
or another transfer has claimed them: before a release the transfer ends (the source is asked to void it); after one
the row waits in ``attention`` without the word, which is judged anew, units and all, each time the registry repeats it.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from gateway import db
from gateway.authorisations import store as authorisations
from gateway.domain.check_codes import Finding
from gateway.domain.identifiers import Standing, parse_transfer_id
from gateway.domain.proposals import parse_proposal
from gateway.domain.transfers import Event, Progress, Proposal, State, advance, begin
from gateway.errors import GatewayError, Kind
from gateway.holdings import book, claims
from gateway.holdings.claims import Claim
from gateway.links import store as links
from gateway.messages.inbox import Inbound
from gateway.signing import compact
from gateway.transfers import beginning, statements, store
from gateway.transfers.evidence import Evidence, Shown
from gateway.transfers.judge import judge
from gateway.transfers.statements import NOT_KNOWN, Word
from gateway.transfers.steps import Taken
from gateway.transfers.store import Row, Step

#: The column of the row that names our statement.
_COLUMN = {"offer": "offer_id", "commit": "commit_id", "settle": "settle_id"}
_MOVED = frozenset({Event.RELEASED, Event.CREDITED})


@dataclass(frozen=True, slots=True)
class Begun:
    """What a word about an unknown transfer began: what its speaker is told, and the step of the new row."""

    state: str
    findings: tuple[Finding, ...] = ()
    taken: tuple[Taken, ...] = ()
    alarm: str | None = None


_NOT_ENOUGH = Begun(
    NOT_KNOWN, (Finding(3001),), alarm="shows a statement of this gateway's, but not enough to take the transfer up"
)


async def missing(tx: db.Tx, row: Row, after: State, step: Step, own: Shown, shown: Evidence) -> list[Step] | None:
    """The statements that what is said in ``after`` carries and that are not kept, as shown.

    None if one is not shown, or if what is kept is not what our own statement ``own`` names.
    """
    carried = {name for said in statements.SAID.get(after, ()) for name in said.carries} - {step.step}
    named = own.names()
    kept = await store.steps(tx, [row.id], sorted(carried | named.keys()))
    if any(compact.encode(kept[row.id, name].sha256) != named[name] for name in named if (row.id, name) in kept):
        return None
    found = []
    for name in sorted(carried - {name for _, name in kept}):
        sender = row.acquirer if name in ("answer", "credited") else row.source
        part = shown.find(name, row.id, str(sender), named.get(name))
        if part is None or name not in named:
            return None
        found.append(await shown.keep(tx, part, name))
    return found


async def reclaim(tx: db.Tx, row: Row, inbound: Inbound) -> tuple[Finding, ...]:
    """What stands against going on with a row that may have no claims; those it lacks are taken anew."""
    if await claims.count(tx, row.id):
        return ()
    kept = await store.steps(tx, [row.id], ("propose",))
    proposal = parse_proposal(json.loads(kept[row.id, "propose"].item))
    if not isinstance(proposal, Proposal):
        return proposal.findings
    found = await _elsewhere(tx, proposal)
    if not found and await beginning.claim(tx, row.source, [proposal], inbound.at):
        raise _busy()
    return found


async def rebuild(tx: db.Tx, inbound: Inbound, word: Word, step: Step, own: Shown, shown: Evidence) -> Begun:
    """Insert the row of ``word``'s transfer where the word leads, from what is shown; nothing if that is not enough."""
    source, named = str(parse_transfer_id(word.transfer).source), own.names()
    proposed = shown.find("propose", word.transfer, source, named.get("propose"))
    proposal = _read(proposed) if proposed is not None else None
    if proposed is None or proposal is None:
        return _NOT_ENOUGH
    reached = await links.behind(tx, [proposal.acquiring.registry])
    link = await links.find(tx, source)
    acquirer = reached.get(proposal.acquiring.registry)
    speaker = source if word.event is Event.RELEASED else acquirer.code if acquirer else None
    if link is None or acquirer is None or inbound.message.sender != speaker:
        return _NOT_ENOUGH
    sides = {"propose": source, "answer": acquirer.code, "released": source}
    parts = {name: shown.find(name, word.transfer, sides[name], sha256) for name, sha256 in named.items()}
    causes = [await shown.keep(tx, part, name) for name, part in parts.items() if part is not None]
    if len(causes) < len(parts):
        return _NOT_ENOUGH
    causes.append(await shown.keep(tx, own, own.item.kind))
    deadline = inbound.at + timedelta(hours=link.time_limit_hours)
    new = beginning.new(source, proposed.item, proposal, reached, None, deadline, inbound.entry_id)
    return await _insert(tx, inbound, word, step, new, proposal, causes, {_COLUMN[own.item.kind]: own.message.id})


async def _insert(
    tx: db.Tx,
    inbound: Inbound,
    word: Word,
    step: Step,
    new: store.New,
    proposal: Proposal,
    causes: Sequence[Step],
    named: dict[str, str],
) -> Begun:
    """The row, where the word leads; or, where its units are not to be had, where the module says."""
    # The claim refers to the row, which is inserted where it will stand: what is wrong with the units comes first.
    findings = await _elsewhere(tx, proposal)
    progress = begin(word.event)
    assert progress is not None  # only answers, releases and credits come here, and all of them begin a row
    kept = (*causes, step)
    if findings and word.event in _MOVED:
        progress, kept, named = Progress(State.ATTENTION), tuple(causes), {}
    if not await store.insert(tx, [new], word.event, progress, inbound.at):
        raise _busy()
    [verdict] = await judge(tx, [(new.source, proposal)], inbound.at, draw=True, passed=True)
    await authorisations.rely(tx, verdict.reliances)
    if not findings and progress.state is not State.COMPLETED:
        if await beginning.claim(tx, new.source, [proposal], inbound.at):
            raise _busy()
    row = (await store.lock(tx, [new.id]))[new.id]
    if findings and word.event is Event.ACCEPTED:
        after = advance(progress, Event.CHECKS_FAILED)
        assert after is not None  # the table says so
        return Begun(after.state, (), (Taken(row, Event.CHECKS_FAILED, after, findings, kept, named),))
    shown = findings if word.event in _MOVED else ()
    taken = Taken(row, word.event, progress, (*shown, *word.findings), kept, named, begins=True)
    return Begun(progress.state, (), (taken,))


def _busy() -> GatewayError:
    """Another message is about this transfer or its units at this instant: no verdict, the same bytes again."""
    return GatewayError(Kind.UNAVAILABLE, "another message is about this transfer or its units now", code=9002)


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


def _read(proposed: Shown) -> Proposal | None:
    try:
        read = parse_proposal(proposed.item.value)
    except GatewayError:
        return None
    return read if isinstance(read, Proposal) else None
