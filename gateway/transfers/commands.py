"""What arrives about transfers: one function a message type, called inside the transaction of that message.

Each reads its items, locks the rows concerned, asks the transition table what the word of this registry does
to each, lets ``steps`` take those steps, and says per item in which state the transfer is now. A word that has
no effect is logged all the same (the message is) and answered with the state and 3002, or 3003 when the
transfer is final; a transfer that is not the sender's is answered like one that does not exist.

Raises ``GatewayError`` with 2001 or 2005 for a message that is not of the protocol.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from gateway import db
from gateway.domain import checks, integrity, wire
from gateway.domain.check_codes import Finding
from gateway.domain.identifiers import LinkCode
from gateway.domain.proposals import MAX_BLOCKS, FaultyProposal, parse_proposal
from gateway.domain.transfers import FINAL, UNHAPPY, Event, Proposal, State, advance, begin
from gateway.domain.units import UnitRange
from gateway.errors import GatewayError, Kind
from gateway.holdings import claims
from gateway.holdings.claims import Claim
from gateway.links import store as links
from gateway.messages import store as messages
from gateway.messages.inbox import Inbound
from gateway.messages.outbox import Node
from gateway.messages.receipts import ItemReceipt
from gateway.requests import commands as requests
from gateway.requests import store as requested
from gateway.signing import compact
from gateway.signing.envelope import Item
from gateway.transfers import statements, steps, store
from gateway.transfers.judge import judge
from gateway.transfers.statements import NOT_KNOWN, Word
from gateway.transfers.steps import Taken, utf8_bytes
from gateway.transfers.store import New, Row, Step


async def propose(tx: db.Tx, node: Node, inbound: Inbound) -> Sequence[ItemReceipt]:
    """``transfer.propose``: rows and claims for what is new; what cannot be is ended, each alone."""
    items = _own(inbound, "propose")
    parsed = {item.sha256: parse_proposal(item.value) for item in items}
    _within_limits(items)
    sender = LinkCode(inbound.message.sender)
    mine = [(i, parsed[i.sha256]) for i in items if not checks.sender_2003(parsed[i.sha256].transfer, sender)]
    fresh, faults = await _begin(tx, inbound, mine)
    faults |= {str(p.transfer): p.findings for _, p in fresh if isinstance(p, FaultyProposal)}
    faults |= _overlaps(fresh)
    rows = await store.lock(tx, [str(p.transfer) for _, p in mine])
    sound = [p for _, p in fresh if isinstance(p, Proposal) and str(p.transfer) not in faults]
    faults |= await _claim(tx, sender, sound, inbound.at)
    if faults:
        await claims.release(tx, list(faults), inbound.entry_id)
    ending = [(rows[transfer], Word(transfer, Event.CHECKS_FAILED, f), None) for transfer, f in faults.items()]
    after = await _take(tx, node, inbound, ending)
    known = set(rows) - {str(p.transfer) for _, p in fresh}
    kept = await store.steps(tx, known, ("propose",)) if known else {}
    return [_proposed(item, str(parsed[item.sha256].transfer), rows, after, kept, faults) for item in items]


async def answer(tx: db.Tx, node: Node, inbound: Inbound) -> Sequence[ItemReceipt]:
    """``transfer.answer``: the acquirer accepts or rejects what it was offered."""
    words = [(i, statements.read_answer(i.value)) for i in _own(inbound, "answer")]
    rows = await store.lock(tx, [w.transfer for _, w in words])
    offers = await store.steps(tx, rows, ("offer",))
    named: dict[str, str | None] = {t: compact.encode(step.sha256) for (t, _), step in offers.items()}
    return await _hear(tx, node, inbound, words, rows, by_source=False, named=named)


async def released(tx: db.Tx, node: Node, inbound: Inbound) -> Sequence[ItemReceipt]:
    """``transfer.released``: the source has debited what the commit it names authorised."""
    words = [(i, statements.read_released(i.value)) for i in _own(inbound, "released")]
    rows = await store.lock(tx, [w.transfer for _, w in words])
    named = await _referred(tx, {row.id: row.commit_id for row in rows.values()})
    return await _hear(tx, node, inbound, words, rows, by_source=True, named=named)


async def voided(tx: db.Tx, node: Node, inbound: Inbound) -> Sequence[ItemReceipt]:
    """``transfer.voided``: the source has not released, and never will."""
    words = [(i, statements.read_voided(i.value)) for i in _own(inbound, "voided")]
    rows = await store.lock(tx, [w.transfer for _, w in words])
    return await _hear(tx, node, inbound, words, rows, by_source=True)


async def credited(tx: db.Tx, node: Node, inbound: Inbound) -> Sequence[ItemReceipt]:
    """``transfer.credited``: the acquirer has credited what the settle it names told it to."""
    words = [(i, statements.read_credited(i.value)) for i in _own(inbound, "credited")]
    rows = await store.lock(tx, [w.transfer for _, w in words])
    named = await _referred(tx, {row.id: row.settle_id for row in rows.values()})
    return await _hear(tx, node, inbound, words, rows, by_source=False, named=named)


async def receipt(tx: db.Tx, node: Node, inbound: Inbound) -> Sequence[ItemReceipt]:
    """``receipt``: a final state was acknowledged, a request recorded, or a commit found nothing to release."""
    read = [statements.read_receipt(item.value) for item in _own(inbound, "receipt")]
    answered = inbound.message.in_reply_to
    assert answered is not None  # a receipt answers something, or it would not have been verified
    if len(read) == 1:  # a request is sent alone
        await requests.answered(tx, answered.id, read[0][1], read[0][2])
    states = {transfer: state for transfer, state, _ in read if transfer is not None}
    rows = await store.lock(tx, list(states))
    sender = inbound.message.sender
    told = [r for r in rows.values() if states[r.id] in CLOSED_THERE]
    # Its own voided has settled the matter for a source: it may have forgotten the transfer when it hears of the end.
    settled = [r for r in rows.values() if r.state in UNHAPPY and states[r.id] != "later"]
    source = {r.id for r in (*told, *settled) if r.source == sender and r.closed_source_id == answered.id}
    acquirer = {r.id for r in told if r.acquirer == sender and r.closed_acquirer_id == answered.id}
    await store.tell(tx, sorted(source), source=True, now=inbound.at)
    await store.tell(tx, sorted(acquirer), source=False, now=inbound.at)
    unknown = [r for r in rows.values() if r.source == sender and states[r.id] == "unknown-here"]
    lost = [r for r in unknown if r.commit_id == answered.id]
    await _take(tx, node, inbound, [(row, Word(row.id, Event.UNKNOWN_HERE), None) for row in lost])
    return ()


async def refusal(tx: db.Tx, node: Node, inbound: Inbound) -> Sequence[ItemReceipt]:
    """``refusal``: the whole message was refused; what it said stays due, and the row shows why it waits."""
    return ()


#: The longest items taken: 3,000 ordinary blocks, or their identifiers, fit, and still do in a settle or a closing
#: with everything that travels with it. What cannot be passed on must not be let in.
MAX_ITEM_BYTES = {"propose": 3 * 1024 * 1024, "released": 2 * 1024 * 1024}
MAX_WORD_BYTES = 512 * 1024
#: What a registry's receipt of a final state says when it has taken note; anything else leaves it due.
CLOSED_THERE = frozenset({"done", "void"})
Parsed = Proposal | FaultyProposal


async def _begin(
    tx: db.Tx, inbound: Inbound, mine: Sequence[tuple[Item, Parsed]]
) -> tuple[list[tuple[Item, Parsed]], dict[str, tuple[Finding, ...]]]:
    """Insert the rows that are new and keep their statements; the new ones, and those that nobody asked for.

    A request is followed by one proposal: a second one that names it, or one that names none of ours, is refused.
    """
    sender = inbound.message.sender
    reached = await links.behind(tx, [*(str(i.value["acquiring"]["registry"]) for i, _ in mine)])
    requests_named = [p.request for _, p in mine if p.request]
    asked = await requested.open_of(tx, sender, requests_named) if requests_named else set()
    link = await links.find(tx, sender)
    assert link is not None  # or its message would not have been verified
    deadline = inbound.at + timedelta(hours=link.time_limit_hours)
    new, unasked = [], set()
    for item, proposal in mine:
        request = proposal.request if proposal.request in asked else None
        asked.discard(str(request))
        new.append(_new(sender, item, proposal, reached, request, deadline))
        if request != proposal.request:
            unasked.add(str(proposal.transfer))
    progress = begin(Event.PROPOSED)
    assert progress is not None
    inserted = await store.insert(tx, new, Event.PROPOSED, progress, inbound.entry_id, inbound.at)
    fresh = [(i, p) for i, p in mine if str(p.transfer) in inserted]
    await store.add_steps(tx, [_step(str(p.transfer), "propose", i, inbound) for i, p in fresh])
    nobody = (Finding(3006, detail="no request of this id waits for a proposal"),)
    return fresh, {transfer: nobody for transfer in unasked & inserted}


def _new(
    sender: str,
    item: Item,
    proposal: Parsed,
    reached: dict[str, links.Link],
    request: str | None,
    deadline: datetime,
) -> New:
    raw = item.value
    acquirer = reached.get(raw["acquiring"]["registry"])
    return New(
        str(proposal.transfer),
        sender,
        acquirer.code if acquirer else None,
        request,
        _address(raw["transferring"]),
        _address(raw["acquiring"]),
        raw["purpose"],
        raw["quantity"],
        len(raw["blocks"]),
        deadline,
    )


def _address(raw: dict[str, str]) -> tuple[str, str, str]:
    return raw["registry"], raw["party"], raw["account"]


def _overlaps(fresh: Sequence[tuple[Item, Parsed]]) -> dict[str, tuple[Finding, ...]]:
    """The findings of proposals that name units twice: these cannot be claimed."""
    found = {str(p.transfer): integrity.overlaps_2008(p.blocks) for _, p in fresh if isinstance(p, Proposal)}
    return {transfer: tuple(findings) for transfer, findings in found.items() if findings}


async def _claim(tx: db.Tx, sender: str, sound: Sequence[Proposal], now: datetime) -> dict[str, tuple[Finding, ...]]:
    """Claim the units of sound proposals; the findings of those that cannot have them, judged at once."""
    wanted = [Claim(str(p.transfer), block) for p in sound for block in p.blocks]
    refused: dict[str, list[UnitRange]] = {}
    for nr in sorted(await claims.take(tx, wanted, sender)):
        refused.setdefault(wanted[nr].transfer, []).append(wanted[nr].block.range)
    if not refused:
        return {}
    failed = [p for p in sound if str(p.transfer) in refused]
    found = {
        str(p.transfer): f for p, f in zip(failed, await judge(tx, [(sender, p) for p in failed], now), strict=True)
    }
    taken = {t: (Finding(4005, tuple(units), "claimed by another transfer"),) for t, units in refused.items()}
    return {t: taken[t] if checks.passed(found[t]) else found[t] for t in refused}


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


async def _referred(tx: db.Tx, said: Mapping[str, str | None]) -> dict[str, str | None]:
    """What a word must name, by transfer: the message we said it in, by id and hash of its JWS; None if not said."""
    sent = await messages.outgoing(tx, sorted(set(filter(None, said.values()))))
    names = {m.message_id: statements.name_of(m.message_id, compact.digest(steps.jws_of(m.body))) for m in sent}
    return {transfer: names.get(message) if message else None for transfer, message in said.items()}


async def _hear(
    tx: db.Tx,
    node: Node,
    inbound: Inbound,
    words: Sequence[tuple[Item, Word]],
    rows: Mapping[str, Row],
    *,
    by_source: bool,
    named: Mapping[str, str | None] | None = None,
) -> Sequence[ItemReceipt]:
    """Take the steps that ``words`` of the source or the acquirer lead to, and answer each.

    ``named`` holds what a word MUST name to count: our offer, commit or settle.
    """
    kept = await store.steps(tx, rows, sorted({word.step for _, word in words}))
    heard, answers = [], []
    for item, word in words:
        row = rows.get(word.transfer)
        if row is None or inbound.message.sender != (row.source if by_source else row.acquirer):
            answers.append(ItemReceipt(item, NOT_KNOWN, (Finding(3001),), word.transfer))
            continue
        if word.faults:
            answers.append(ItemReceipt(item, row.state, word.faults, row.id))
            continue
        earlier = kept.get((row.id, word.step))
        in_turn = named is None or named.get(row.id) == word.names
        if earlier is None and in_turn and advance(row.progress, word.event) is not None:
            heard.append((row, word, item))
            answers.append(ItemReceipt(item, row.state, (), row.id))
        elif earlier is not None and earlier.item == item.text:
            answers.append(ItemReceipt(item, row.state, (), row.id))
        else:
            answers.append(ItemReceipt(item, row.state, (Finding(3003 if row.state in FINAL else 3002),), row.id))
    after = await _take(tx, node, inbound, heard)
    return [replace(a, state=after.get(str(a.transfer), a.state)) for a in answers]


async def _take(
    tx: db.Tx, node: Node, inbound: Inbound, heard: Sequence[tuple[Row, Word, Item | None]]
) -> dict[str, State]:
    """Take the step each word leads to; the states afterwards."""
    taken = []
    for row, word, item in heard:
        after = advance(row.progress, word.event)
        if after is not None:
            cause = _step(row.id, word.step, item, inbound) if item else None
            taken.append(Taken(row, word.event, after, word.findings, cause))
    await steps.take(tx, node, taken, inbound.at, cause_entry=inbound.entry_id, answering=inbound.message.sender)
    return {t.row.id: t.after.state for t in taken}


def _step(transfer: str, step: str, item: Item, inbound: Inbound) -> Step:
    return Step(transfer, step, item.text, compact.decode(item.sha256), inbound.entry_id)


def _own(inbound: Inbound, kind: str) -> list[Item]:
    """The message's own items: of one kind, about different transfers, and not too many. Its body is empty."""
    wire.nothing(inbound.message.body)
    items = list(inbound.message.items)
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
