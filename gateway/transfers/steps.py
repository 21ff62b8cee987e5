"""Takes steps of transfers: the one place where a row's state moves, and everything that moves with it.

For each step, in the transaction it is called in: the statements that caused it are kept, what the gateway
says in the new state is signed and stored (``statements.SAID``), the row is changed under the guard of its
state and version, and the book follows: units move to the acquirer when it has credited them, claims are
released when a transfer is final. Handlers of messages and the worker both come here; neither changes a row
otherwise. A fixed number of statements, whatever the number of transfers.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache, partial
from itertools import groupby

from gateway import db
from gateway.alarms import store as alarms
from gateway.alarms.store import Alarm
from gateway.authorisations import store as authorisations
from gateway.authorisations.store import Reliance
from gateway.domain.actions import FirstTransfer
from gateway.domain.check_codes import Finding
from gateway.domain.identifiers import Account, PartyCode
from gateway.domain.proposals import FaultyProposal, parse_proposal
from gateway.domain.transfers import FINAL, Event, Progress, Proposal, State
from gateway.domain.units import Block
from gateway.errors import invariant
from gateway.holdings import book, claims, movements, recording
from gateway.holdings.recording import Relayed
from gateway.messages import outbox
from gateway.messages import store as messages
from gateway.messages.outbox import Draft, Node
from gateway.signing import compact
from gateway.transfers import naming, statements, store, viewers
from gateway.transfers.judge import judge
from gateway.transfers.statements import Known, Said
from gateway.transfers.store import Change, Row, Step

#: How many bytes of statements and evidence one message carries at most: half of what a body may have, because JSON
#: escapes the quotes of the texts, and so that the largest transfer that is let in still fits when it is alone.
MAX_MESSAGE_BYTES = 4 * 1024 * 1024
#: A proposal is read when it is checked, named and settled; the last few small ones (in characters) are kept as read.
PROPOSALS_KEPT, SMALL_ITEM = 3_000, 4_000


@dataclass(frozen=True, slots=True)
class Taken:
    """A step that a row takes: where it stands afterwards, why, and the statements that caused it (if any did).

    ``messages`` are those of ours that the row names from now on beside what is said in this step, by column: shown
    by a registry to a gateway that has lost them. ``begins`` is a row that has just been inserted where it stands.
    ``entry_id`` is the log entry behind the step where that is not the one all the steps are taken for, ``next_at`` is
    when the row is looked at again where that is not at once.
    """

    row: Row
    event: Event
    after: Progress
    findings: tuple[Finding, ...] = ()
    causes: tuple[Step, ...] = ()
    messages: dict[str, str] = field(default_factory=dict)
    begins: bool = False
    entry_id: int | None = None
    next_at: datetime | None = None


@dataclass(slots=True)
class _Saying:
    """A statement that is about to be made."""

    said: Said
    row: Row
    text: str
    peer: str
    message_id: str = field(default="")
    entry_id: int = 0


@dataclass(frozen=True, slots=True)
class _Completed:
    """A transfer whose units are credited, as its statements say it."""

    row: Row
    proposed: str
    proposal: Proposal
    release: naming.Release
    released_at: str
    account: Account
    credited_at: str
    #: By the Party that authorised; nothing where this gateway has lost the authorisation.
    relied: Mapping[str, Reliance]

    @property
    def first(self) -> FirstTransfer | None:
        """How units that had no identifiers are first transferred: as was judged when the transfer was checked.

        Of one whose authorisation was never told the source's word counts.
        """
        if all(block.itmo is not None for block in self.proposal.blocks):
            return None
        if not self.relied:
            return FirstTransfer.TO_ANOTHER_PARTY if self.release.first_transfer else None
        kinds = {reliance.first for reliance in self.relied.values()} - {None}
        return FirstTransfer(min(map(str, kinds))) if kinds else None


async def take(
    tx: db.Tx,
    node: Node,
    taken: Sequence[Taken],
    now: datetime,
    *,
    cause_entry: int | None,
    answering: str | None = None,
) -> None:
    """Take ``taken``. ``cause_entry`` is the log entry of the message behind them; None for the worker's own
    decisions, which are logged by the messages they make.
    """
    if not taken:
        return
    await store.add_steps(tx, [step for t in taken for step in t.causes])
    carried = {step for t in taken for said in statements.SAID.get(t.after.state, ()) for step in said.carries}
    known = await store.steps(tx, [t.row.id for t in taken], sorted(carried)) if carried else {}
    await viewers.add(tx, [pair for t in taken for pair in _first_transferring(t, known)])
    await _rely_late(tx, taken, known, now)
    if cause_entry is not None:  # before anything is said: the locks of series come before those of streams
        await _settle_book(tx, taken, known, cause_entry, now)
    sayings = list(_sayings(taken, known))
    await _say(tx, node, sayings, known, answering)
    said: dict[str, list[_Saying]] = defaultdict(list)
    for saying in sayings:
        said[saying.row.id].append(saying)
    changes = [_change(t, said[t.row.id], cause_entry, now) for t in taken]
    begun = {t.row.id for t in taken if t.begins}
    await store.name_messages(tx, [c for c in changes if c.row.id in begun])
    moved = [c for c in changes if c.row.id not in begun]
    written = await store.apply(tx, moved, now) if moved else set()
    invariant(len(written) == len(moved), "a row that was locked has changed all the same")


async def _rely_late(tx: db.Tx, taken: Sequence[Taken], known: Known, now: datetime) -> None:
    """Let what is released draw on its authorisation whose checks this gateway has lost, or never came to."""
    late = [t.row for t in taken if t.event is Event.RELEASED and t.row.state is not State.COMMITTING]
    relied = await authorisations.relied_on(tx, [row.id for row in late]) if late else {}
    drawing = [(row.source, read_proposal(known[row.id, "propose"])) for row in late if row.id not in relied]
    if drawing:
        judged = await judge(tx, drawing, now, draw=True, passed=True)
        await authorisations.rely(tx, [reliance for verdict in judged for reliance in verdict.reliances])


def _sayings(taken: Sequence[Taken], known: Known) -> Iterable[_Saying]:
    for t in taken:
        if t.after.state is t.row.state and not t.begins:
            continue
        row = _as_it_will_be(t)
        for said in statements.SAID.get(t.after.state, ()):
            peer = said.peer(row)
            if peer is not None and getattr(row, said.column) is None:  # what was said is repeated, never signed again
                yield _Saying(said, row, said.text(row, t.after.state, known), peer)


def _as_it_will_be(t: Taken) -> Row:
    if not t.findings and t.after.outcome is t.row.outcome:
        return t.row.naming(t.messages)
    found = statements.findings_to_wire(t.findings)
    return replace(t.row, outcome=t.after.outcome, findings=[*t.row.findings, *found]).naming(t.messages)


async def _say(tx: db.Tx, node: Node, sayings: list[_Saying], known: Known, answering: str | None) -> None:
    """Sign and store what is said, as few messages as the limits allow, and keep each statement as a step."""
    entries = sorted({step.entry_id for saying in sayings for step in _carried(saying, known)})
    evidence = await messages.signed(tx, entries) if entries else {}
    batches = list(_batches(sayings, known, evidence))
    drafts = [_draft(batch, known, evidence) for batch in batches]
    for batch, stored in zip(batches, await outbox.store(tx, node, drafts, answering=answering), strict=True):
        for saying in batch:
            saying.message_id, saying.entry_id = stored.message.id, stored.entry_id
    await store.add_steps(
        tx,
        [Step(s.row.id, s.said.step, s.text, compact.sha256(s.text), s.entry_id) for s in sayings],
    )


def _carried(saying: _Saying, known: Known) -> list[Step]:
    return [known[saying.row.id, step] for step in saying.said.carries if (saying.row.id, step) in known]


def _batches(sayings: list[_Saying], known: Known, evidence: dict[int, str]) -> Iterable[list[_Saying]]:
    """What goes to one peer in one message: within the protocol's limits on transfers, blocks and bytes."""
    order = sorted(sayings, key=lambda s: (s.peer, s.said.type, s.said.step))
    for _, group in groupby(order, key=lambda s: (s.peer, s.said.type, s.said.step)):
        batch: list[_Saying] = []
        blocks = size = 0
        entries: set[int] = set()
        for saying in group:
            steps = _carried(saying, known)
            new = {step.entry_id for step in steps} - entries
            texts = [saying.text, *(step.item for step in steps)]
            weight = sum(map(utf8_bytes, texts)) + sum(len(evidence[e]) for e in new) * 4 // 3
            full = (
                len(batch) == store.MAX_TRANSFERS
                or blocks + saying.row.block_count > store.MAX_BLOCKS
                or size + weight > MAX_MESSAGE_BYTES
            )
            if batch and full:
                yield batch
                batch, blocks, size, entries = [], 0, 0, set()
            batch.append(saying)
            blocks += saying.row.block_count
            size += weight
            entries |= {step.entry_id for step in steps}
        yield batch


def _draft(batch: list[_Saying], known: Known, evidence: dict[int, str]) -> Draft:
    said = batch[0].said
    carried = [step for saying in batch for step in _carried(saying, known)]
    return Draft(
        batch[0].peer,
        said.type,
        items=[s.text for s in batch],
        carried=[step.item for step in carried],
        evidence=[evidence[entry] for entry in dict.fromkeys(step.entry_id for step in carried)],
        expires_at=max(s.row.deadline for s in batch) if said.type == "transfer.offer" else None,
    )


def utf8_bytes(text: str) -> int:
    """How many bytes a text takes on the wire, before JSON escapes its quotes."""
    return len(text) if text.isascii() else len(text.encode())


def _change(t: Taken, mine: list[_Saying], cause_entry: int | None, now: datetime) -> Change:
    entry_id = t.entry_id or cause_entry or next((s.entry_id for s in mine), None)
    invariant(entry_id is not None, f"{t.event} of {t.row.id} would be in no log entry")
    assert entry_id is not None
    idle = t.after.state is State.ATTENTION or (t.after.state in FINAL and not mine)
    return Change(
        t.row,
        t.event,
        t.after,
        entry_id,
        next_at=None if idle else t.next_at or now,
        findings=statements.findings_to_wire(t.findings),
        messages={**t.messages, **{s.said.column: s.message_id for s in mine}},
    )


async def _settle_book(tx: db.Tx, taken: Sequence[Taken], known: Known, entry_id: int, now: datetime) -> None:
    """Move the units of completed transfers to their acquirers; let go of everything final."""
    ready = [t.row for t in taken if t.after.state is State.COMPLETED]
    relied = await authorisations.relied_on(tx, [row.id for row in ready]) if ready else {}
    completed = [_completed(row, known, relied.get(row.id, {})) for row in ready]
    pieces = [(one, move) for one in completed for move in _moves(one)]
    moves = [move for _, move in pieces]
    if moves:
        was = await movements.before_relay(tx, _relayed([(one, move.block) for one, move in pieces]))
        moved = await db.unless_excluded(tx, partial(book.move, tx, moves, entry_id))
        if moved is None:  # identifiers that other units bear: seldom, so it is found out by trying
            moves = await _without_clashes(tx, pieces, entry_id, now)
            moved = await book.move(tx, moves, entry_id)
        invariant(moved == sum(one.row.quantity for one in completed), "the book does not hold what was credited")
        done = _relayed([(one, move.block) for (one, _), move in zip(pieces, moves, strict=True)])
        await recording.relayed(tx, done, entry_id)
        await movements.relayed(tx, done, was, entry_id)
    final = [t.row.id for t in taken if t.after.state in FINAL]
    if final:
        await claims.release(tx, final, entry_id)
    if len(final) > len(completed):
        ended = [t.row.id for t in taken if t.after.state in FINAL and t.after.state is not State.COMPLETED]
        await authorisations.give_back(tx, ended, entry_id)


def _completed(row: Row, known: Known, relied: Mapping[str, Reliance]) -> _Completed:
    proposed, released, credited = (known[row.id, step] for step in ("propose", "released", "credited"))
    left, arrived = json.loads(released.item), json.loads(credited.item)
    account = statements.read_account_credited(arrived)
    read, release = read_proposal(proposed), naming.read_release(left)
    return _Completed(row, proposed.item, read, release, left["released_at"], account, arrived["credited_at"], relied)


def _relayed(blocks: Sequence[tuple[_Completed, Block]]) -> list[Relayed]:
    """Completed transfers as they are to be recorded, from their blocks in order."""
    done = []
    for _, group in groupby(blocks, key=lambda pair: pair[0].row.id):
        of = list(group)
        one = of[0][0]
        units = [block for _, block in of]
        times = one.released_at, one.credited_at
        done.append(Relayed(one.row.id, one.proposed, one.proposal, *times, one.first, units))
    return done


async def _without_clashes(
    tx: db.Tx, pieces: Sequence[tuple[_Completed, book.Move]], entry_id: int, now: datetime
) -> list[book.Move]:
    """The moves without the identifiers that other units bear by now, with an alarm on whoever gave them twice."""
    clashes = await naming.clashing(tx, [move.block for _, move in pieces])
    what = "has given ITMO identifiers that other units bear"
    rows = {one.row.id: one.row for nr, (one, _) in enumerate(pieces) if nr in clashes}
    found = [Alarm(row.source, row.id, 4007, f"{row.source} {what}", entry_id) for row in rows.values()]
    await alarms.sound(tx, found, now)
    plain = (replace(move, block=replace(move.block, itmo=None)) for _, move in pieces)
    return [bare if nr in clashes else move for nr, ((_, move), bare) in enumerate(zip(pieces, plain, strict=True))]


def _first_transferring(t: Taken, known: Known) -> Iterable[tuple[str, PartyCode]]:
    """The transfer, and the Parties whose units a release that is heard now first transfers.

    A row that begins with a later step has passed its checks before it was lost: what is named was first transferred.
    """
    heard = {step.step: step for step in t.causes}
    released = heard.get("released")
    first = released is not None and json.loads(released.item)["first_transfer"]
    if not first and not t.begins:
        return
    proposal = read_proposal(heard.get("propose") or known[t.row.id, "propose"])
    of = {b.attributes.first_transferring_party for b in proposal.blocks if (first if b.itmo is None else t.begins)}
    yield from ((t.row.id, party) for party in of)


def _moves(one: _Completed) -> Iterable[book.Move]:
    acquiring = one.proposal.acquiring
    place = book.Place(acquiring.registry, acquiring.party, one.account.type.value)
    transferred_at = one.release.released_at if one.first is not None else None
    # What is no first transfer gives no identifiers: units that bear some count as first transferred.
    named = naming.named(one.proposal, one.release) if one.first is not None else one.proposal.blocks
    for piece in named:
        reliance = one.relied.get(piece.attributes.first_transferring_party)
        version = None if reliance is None else reliance.version
        yield book.Move(piece, place, transferred_at, one.proposal.transferring.registry, version)


def read_proposal(step: Step) -> Proposal:
    """The proposal a row began with; its data were found sound when it arrived."""
    read = _read_small if len(step.item) <= SMALL_ITEM else _read
    proposal = read(step.item)
    invariant(not isinstance(proposal, FaultyProposal), f"{step.transfer} was let in with faulty data")
    assert isinstance(proposal, Proposal)
    return proposal


def _read(item: str) -> Proposal | FaultyProposal:
    return parse_proposal(json.loads(item))


_read_small = lru_cache(maxsize=PROPOSALS_KEPT)(_read)
