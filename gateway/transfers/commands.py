"""What arrives about transfers: one function a message type, called inside the transaction of that message.

Each reads its items, locks the rows concerned, asks the transition table what the word of this registry does
to each, lets ``steps`` take those steps, and says per item in which state the transfer is now. Proposals begin rows
(``beginning``); every other word is heard in one place (``hearing``). A transfer that is not the sender's is answered
like one that does not exist.

Raises ``GatewayError`` with 2001 or 2005 for a message that is not of the protocol.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import takewhile
from typing import Any

from gateway import db
from gateway.domain import checks, integrity, wire
from gateway.domain.check_codes import Finding
from gateway.domain.identifiers import LinkCode
from gateway.domain.proposals import MAX_BLOCKS, FaultyProposal, parse_proposal
from gateway.domain.transfers import UNHAPPY, Event, Proposal, State, advance, begin
from gateway.errors import GatewayError, Kind
from gateway.holdings import claims
from gateway.keys import commands as keys
from gateway.links import store as links
from gateway.links.store import Link
from gateway.messages.inbox import Inbound
from gateway.messages.outbox import Node
from gateway.messages.receipts import ItemReceipt
from gateway.recordings import commands as recordings
from gateway.requests import commands as requests
from gateway.requests import store as requested
from gateway.signing import compact
from gateway.signing.envelope import Item
from gateway.transfers import beginning, evidence, hearing, statements, store, withdrawals
from gateway.transfers.beginning import Parsed
from gateway.transfers.hearing import Heard
from gateway.transfers.statements import NOT_KNOWN, Word
from gateway.transfers.steps import Taken, utf8_bytes
from gateway.transfers.store import Row, Step

#: The longest items taken: 3,000 ordinary blocks, or their identifiers, fit, and still do in a settle or a closing
#: with everything that travels with it. What cannot be passed on must not be let in.
MAX_ITEM_BYTES = {"propose": 3 * 1024 * 1024, "released": 2 * 1024 * 1024}
MAX_WORD_BYTES = 512 * 1024
#: What a registry's receipt of a final state must not say: it holds the opposite, and persons must look.
OPPOSITE = {State.COMPLETED: frozenset({"void"}), **dict.fromkeys(UNHAPPY, frozenset({"done", "credited", "released"}))}


@dataclass(frozen=True, slots=True)
class _Proposed:
    """A proposal as it arrived: in which message, as which item."""

    inbound: Inbound
    item: Item
    parsed: Parsed

    @property
    def id(self) -> str:
        return str(self.parsed.transfer)


async def propose(tx: db.Tx, node: Node, inbound: Inbound) -> Sequence[ItemReceipt]:
    """``transfer.propose``: rows and claims for what is new; what cannot be is ended, each alone."""
    [receipts] = await propose_together(tx, node, [inbound])
    return receipts


async def propose_together(tx: db.Tx, node: Node, inbounds: Sequence[Inbound]) -> Sequence[Sequence[ItemReceipt]]:
    """The proposals of several messages of one sender; the receipts of each message.

    Raises CONFLICT when two messages are about one transfer: the order in which they came then matters.
    """
    said = [_proposals(inbound) for inbound in inbounds]
    everything = [p for proposals in said for p in proposals]
    sender = LinkCode(inbounds[0].message.sender)
    mine = [p for p in everything if not checks.sender_2003(p.parsed.transfer, sender)]
    if len(inbounds) > 1 and len({p.id for p in mine}) < len(mine):
        raise GatewayError(Kind.CONFLICT, "two messages are about one transfer")
    await withdrawals.beside(tx, sender)
    link = await links.find(tx, sender)
    assert link is not None  # or its message would not have been verified
    fresh, faults = await _begin(tx, link, mine)
    faults |= {p.id: p.parsed.findings for p in fresh if isinstance(p.parsed, FaultyProposal)}
    faults |= _overlaps(fresh)
    rows = await store.lock(tx, [p.id for p in mine])
    withdrawn = await withdrawals.of(tx, [p.id for p in fresh])
    ended = faults.keys() | withdrawn.keys()
    sound = [p.parsed for p in fresh if isinstance(p.parsed, Proposal) and p.id not in ended]
    faults |= await beginning.within_day(tx, link, sound, inbounds[0].at)
    sound = [p for p in sound if str(p.transfer) not in faults]
    faults |= await beginning.claim(tx, sender, sound, inbounds[0].at)
    entry_of = {p.id: p.inbound.entry_id for p in mine}
    for entry_id in {entry_of[transfer] for transfer in faults}:
        await claims.release(tx, [t for t in faults if entry_of[t] == entry_id], entry_id)
    endings = [t if t.entry_id else replace(t, entry_id=entry_of[t.row.id]) for t in _endings(rows, withdrawn, faults)]
    after = await hearing.take(tx, node, inbounds[0], endings)
    known = set(rows) - {p.id for p in fresh}
    kept = await store.steps(tx, known, ("propose",)) if known else {}
    return [[_proposed(p.item, p.id, rows, after, kept, faults) for p in proposals] for proposals in said]


def _proposals(inbound: Inbound) -> list[_Proposed]:
    """The items of a message; raises MALFORMED or LIMIT for one that is not of the protocol."""
    items = _own(inbound, "propose")
    wire.nothing(inbound.message.body)
    read = [_Proposed(inbound, item, parse_proposal(item.value)) for item in items]
    _within_limits(items)
    return read


async def answer(tx: db.Tx, node: Node, inbound: Inbound) -> Sequence[ItemReceipt]:
    """``transfer.answer``: the acquirer accepts or rejects what it was offered."""
    return await _hear(tx, node, inbound, "answer")


async def released(tx: db.Tx, node: Node, inbound: Inbound) -> Sequence[ItemReceipt]:
    """``transfer.released``: the source has debited what the commit it names authorised."""
    return await _hear(tx, node, inbound, "released")


async def voided(tx: db.Tx, node: Node, inbound: Inbound) -> Sequence[ItemReceipt]:
    """``transfer.voided``: the source has not released, and never will; said to a final state, it is taken note of."""
    heard = await _hear(tx, node, inbound, "voided")
    if (answered := inbound.message.in_reply_to) is not None:
        ended = await store.lock(tx, [str(h.transfer) for h in heard if h.state in UNHAPPY])
        told = [row.id for row in ended.values() if row.closed_source_id == answered.id]
        await store.tell(tx, sorted(told), source=True, now=inbound.at)
    return heard


async def credited(tx: db.Tx, node: Node, inbound: Inbound) -> Sequence[ItemReceipt]:
    """``transfer.credited``: the acquirer has credited what the settle it names told it to."""
    return await _hear(tx, node, inbound, "credited")


async def receipt(tx: db.Tx, node: Node, inbound: Inbound) -> Sequence[ItemReceipt]:
    """``receipt``: a final state was acknowledged, a request recorded, a commit or a settle found nothing to act on."""
    wire.nothing(inbound.message.body)
    read = [statements.read_receipt(item.value) for item in _own(inbound, "receipt")]
    answered = inbound.message.in_reply_to
    assert answered is not None  # a receipt answers something, or it would not have been verified
    if len(read) == 1:  # a request is sent alone
        await requests.answered(tx, answered.id, read[0][1], read[0][2])
    by_item = zip(inbound.message.items, read, strict=True)
    await keys.answered(tx, answered.id, inbound.entry_id)
    await recordings.answered(tx, inbound, {i.value["item"]: (state, findings) for i, (_, state, findings) in by_item})
    said = {transfer: (state, findings) for transfer, state, findings in read if transfer is not None}
    rows = await store.lock(tx, list(said))
    sender = inbound.message.sender
    told = [r for r in rows.values() if _takes_note(r, said[r.id][0], of_source=r.source == sender)]
    source = {r.id for r in told if r.source == sender and r.closed_source_id == answered.id}
    acquirer = {r.id for r in told if r.acquirer == sender and r.closed_acquirer_id == answered.id}
    await store.tell(tx, sorted(source), source=True, now=inbound.at)
    await store.tell(tx, sorted(acquirer), source=False, now=inbound.at)
    noted = source | acquirer
    closings = [r for r in rows.values() if answered.id in (r.closed_source_id, r.closed_acquirer_id)]
    others = [r for r in closings if r.id not in noted]
    await hearing.sound(tx, inbound, {r.id: f"says {said[r.id][0]} to an end that is {r.state}" for r in others
                                      if said[r.id][0] in OPPOSITE[r.state]})  # fmt: skip
    lost = [_taken(row, word) for row in rows.values() if (word := _refused(row, answered.id, sender, *said[row.id]))]
    await hearing.take(tx, node, inbound, [taken for taken in lost if taken is not None])
    return ()


async def refusal(tx: db.Tx, node: Node, inbound: Inbound) -> Sequence[ItemReceipt]:
    """``refusal``: the whole message was refused; what it says of transfers stays due, and why is shown."""
    await recordings.refused(tx, inbound)
    return ()


async def status_answer(tx: db.Tx, node: Node, inbound: Inbound) -> Sequence[ItemReceipt]:
    """``status.answer``: where a registry stands, heard as if the statement it shows had arrived by itself.

    A source that does not know what it proposed has lost data (R5: that ends nothing); a settle that meets a closed
    transfer goes to persons. Everything else allows sending again and proves nothing.
    """
    body = wire.members(
        inbound.message.body, "body", frozenset({"transfer", "state", "evidence"}), frozenset({"message"})
    )
    transfer, state, sender = (
        wire.text(body["transfer"], "transfer"),
        wire.text(body["state"], "state"),
        inbound.message.sender,
    )
    shown = await evidence.of(tx, node, inbound)
    for kind, read in _READ.items():
        if (found := shown.find(kind, transfer, sender)) is not None:
            step = await shown.keep(tx, found, kind)
            heard = Heard(found.item, read(found.item.value), step.entry_id)
            await hearing.hear(tx, node, replace(inbound, entry_id=step.entry_id), [heard], shown)
            return ()
    row = (await store.lock(tx, [transfer])).get(transfer)
    if row is not None and (said := row.commit_id if row.source == sender else row.settle_id):
        word = _refused(row, said, sender, state, ())
        taken = _taken(row, word) if word else None
        await hearing.take(tx, node, inbound, [taken] if taken else [])
    return ()


_READ: Mapping[str, Callable[[dict[str, Any]], Word]] = {
    "answer": statements.read_answer,
    "released": statements.read_released,
    "voided": statements.read_voided,
    "credited": statements.read_credited,
}


async def _hear(tx: db.Tx, node: Node, inbound: Inbound, kind: str) -> Sequence[ItemReceipt]:
    """Hear the words of a message, with the evidence it may carry (``body.evidence``, and further items)."""
    if inbound.message.body:
        wire.members(inbound.message.body, "body", frozenset({"evidence"}))
    heard = [Heard(item, _READ[kind](item.value), inbound.entry_id) for item in _own(inbound, kind)]
    return await hearing.hear(tx, node, inbound, heard, await evidence.of(tx, node, inbound))


def _takes_note(row: Row, state: str, *, of_source: bool) -> bool:
    """Whether a receipt of a final state takes note of it; anything else leaves it due.

    Its own voided has settled an unhappy end for a source: it may have forgotten the transfer when it hears of it.
    """
    if row.state is State.COMPLETED:
        return state == "done"
    return row.state in UNHAPPY and (state == "void" or (of_source and state not in ("later", *OPPOSITE[row.state])))


def _refused(row: Row, answered: str, sender: str, state: str, findings: tuple[Finding, ...]) -> Word | None:
    """What a receipt, or an answer to a question, says against our commit or settle, where it does."""
    if row.source == sender and row.commit_id == answered and state == "unknown-here":
        return Word(
            row.id, Event.UNKNOWN_HERE, (Finding(3001, detail=f"{sender} does not know the transfer it proposed"),)
        )
    if row.acquirer == sender and row.settle_id == answered:
        if state == "void":
            return Word(row.id, Event.CLOSED_HERE, (Finding(3003, detail=f"{sender} has closed it before the settle"),))
        if findings and state not in ("later", "credited", "done"):
            why = Finding(3006, detail=f"{sender} refuses the settle")
            return Word(row.id, Event.SETTLE_REFUSED, (why, *findings))
    return None


def _taken(row: Row, word: Word) -> Taken | None:
    after = advance(row.progress, word.event)
    return Taken(row, word.event, after, word.findings) if after is not None else None


def _endings(
    rows: Mapping[str, Row], withdrawn: Mapping[str, Step], faults: Mapping[str, tuple[Finding, ...]]
) -> Iterator[Taken]:
    """Proposals that end as they arrive: withdrawn before they came, or with units or data that cannot be."""
    for transfer, step in withdrawn.items():
        taken = _taken(rows[transfer], Word(transfer, Event.VOIDED))
        if taken is not None:
            yield replace(taken, causes=(step,), entry_id=step.entry_id)
    for transfer, findings in faults.items():
        if transfer not in withdrawn and (
            taken := _taken(rows[transfer], Word(transfer, Event.CHECKS_FAILED, findings))
        ):
            yield taken


async def _begin(
    tx: db.Tx, link: Link, mine: Sequence[_Proposed]
) -> tuple[list[_Proposed], dict[str, tuple[Finding, ...]]]:
    """Insert the rows that are new and keep their statements; the new ones, and those that nobody asked for.

    A request is followed by one proposal: a second one that names it, or one that names none of ours, is refused.
    """
    reached = await links.behind(tx, [*(str(p.item.value["acquiring"]["registry"]) for p in mine)])
    requests_named = [p.parsed.request for p in mine if p.parsed.request]
    asked = await requested.open_of(tx, link.code, requests_named) if requests_named else set()
    limit = timedelta(hours=link.time_limit_hours)
    new, unasked = [], set()
    for p in mine:
        request = p.parsed.request if p.parsed.request in asked else None
        asked.discard(str(request))
        deadline = p.inbound.at + limit
        new.append(beginning.new(link.code, p.item, p.parsed, reached, request, deadline, p.inbound.entry_id))
        if request != p.parsed.request:
            unasked.add(p.id)
    progress = begin(Event.PROPOSED)
    assert progress is not None
    inserted = await store.insert(tx, new, Event.PROPOSED, progress, mine[0].inbound.at) if mine else set()
    fresh = [p for p in mine if p.id in inserted]
    await store.add_steps(tx, [_step(p.id, "propose", p.item, p.inbound) for p in fresh])
    nobody = (Finding(3006, detail="no request of this id waits for a proposal"),)
    return fresh, {transfer: nobody for transfer in unasked & inserted}


def _overlaps(fresh: Sequence[_Proposed]) -> dict[str, tuple[Finding, ...]]:
    """The findings of proposals that name units twice: these cannot be claimed."""
    sound = [(p.id, p.parsed) for p in fresh if isinstance(p.parsed, Proposal)]
    found = {transfer: integrity.overlaps_2008(parsed.blocks) for transfer, parsed in sound}
    return {transfer: tuple(findings) for transfer, findings in found.items() if findings}


def _proposed(
    item: Item,
    transfer: str,
    rows: Mapping[str, Row],
    after: Mapping[str, State],
    kept: statements.Known,
    faults: Mapping[str, tuple[Finding, ...]],
) -> ItemReceipt:
    row = rows.get(transfer)
    if row is None:
        return ItemReceipt(item, NOT_KNOWN, (Finding(2003, detail="not a transfer id of the sender's"),), transfer)
    if (transfer, "propose") in kept and kept[transfer, "propose"].item != item.text:
        findings: tuple[Finding, ...] = (Finding(2004, detail="the id was used for another proposal"),)
        return ItemReceipt(item, row.state, findings, transfer)
    return ItemReceipt(item, after.get(transfer, row.state), faults.get(transfer, ()), transfer)


def _step(transfer: str, step: str, item: Item, inbound: Inbound) -> Step:
    return Step(transfer, step, item.text, compact.decode(item.sha256), inbound.entry_id)


def _own(inbound: Inbound, kind: str) -> list[Item]:
    """The message's own items: of one kind, about different transfers, and not too many. Carried ones follow them."""
    carrying = bool(inbound.message.evidence)
    items = list(
        takewhile(lambda item: item.kind == kind, inbound.message.items) if carrying else inbound.message.items
    )
    if any(item.kind != kind for item in items):
        raise GatewayError(Kind.MALFORMED, f"the items of a {inbound.message.type} are of kind {kind}", code=2001)
    if not items and kind != "receipt":
        raise GatewayError(Kind.MALFORMED, f"a {inbound.message.type} has items", code=2001)
    if any(utf8_bytes(item.text) > MAX_ITEM_BYTES.get(kind, MAX_WORD_BYTES) for item in items):
        raise GatewayError(Kind.LIMIT, f"an item of kind {kind} is too long", code=2001)
    if len(items) > store.MAX_TRANSFERS:
        raise GatewayError(Kind.LIMIT, f"a message has at most {store.MAX_TRANSFERS} transfers", code=2001)
    about = [item.value.get("transfer") for item in items if "transfer" in item.value]
    if len(set(map(str, about))) != len(about):
        raise GatewayError(Kind.MALFORMED, "two items are about one transfer", code=2001)
    return items


def _within_limits(items: Sequence[Item]) -> None:
    blocks = sum(len(item.value["blocks"]) for item in items)
    if blocks > MAX_BLOCKS:
        raise GatewayError(Kind.LIMIT, f"a message has at most {MAX_BLOCKS} blocks", code=2005)
