"""The acquirer's state table: offered, accepted, rejected, credited, done, void.

An acceptance binds until a settle or a closed arrives; nothing here takes it back (R18). A settle is enough
by itself (R20): whatever state the row is in, our own proven acceptance and the source's proven release inside it
credit the units, once for ever (R21, the key of ``crediting``). The proposal inside must be the one accepted: that
of the row, and that of the offer which the acceptance names, as far as either is at hand.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from . import books, clock, history, post, strictjson, transfers
from .accepting import closed_here, decide, deciding, terms_of
from .database import Row, Tx
from .envelope import Message
from .evidence import Evidence, Item
from .keys import KeysMissing
from .outcomes import Outcome, finding, later, said
from .registry import Registry
from .signature import digest
from .transfers import ACQUIRER
from .units import name_blocks

#: States from which a proven settle credits.
_UNSETTLED = ["offered", "accepted", "rejected"]


@dataclass(frozen=True)
class Proof:
    """The statements that make a credit: what was proposed, what we accepted, what the source released."""

    proposal: Item
    answer: Item
    release: Item


@dataclass(frozen=True)
class Known:
    """What is on record here of a transfer: its row, and the text of the offer that was decided."""

    row: Row | None
    offer: str | None


async def offer(tx: Tx, registry: Registry, message: Message) -> list[Outcome]:
    """Decide new offers (at once, or after a receipt); repeat the word of the others."""
    rows, words = await _situation(tx, message.own, ["answer"])
    outcome: dict[str, Outcome] = {}
    new: dict[str, tuple[Item, Item]] = {}
    for item in message.own:
        transfer = item.value["transfer"]
        row = rows.get(transfer)
        if row is not None:
            outcome[transfer] = _word(item, row, words)
            continue
        source = transfer[:5]
        try:
            proposal = message.evidence.find(item.value["proposal"], "propose", "transfer.propose", source)
        except KeysMissing:
            outcome[transfer] = later(item, 1007, f"the keys of {source} are not at hand")
            continue
        if proposal is None or not _belongs(registry, transfer, proposal):
            outcome[transfer] = later(item, 1006, "no proven proposal of this transfer inside")
        else:
            new[transfer] = (item, proposal)
    outcome |= await _begin(tx, registry, message, new)
    return [outcome[item.value["transfer"]] for item in message.own]


async def settle(tx: Tx, registry: Registry, message: Message) -> list[Outcome]:
    """Credit what is proven and not credited yet; repeat ``credited`` for the others."""
    rows, words = await _situation(tx, message.own, ["offer", "credited"])
    outcome: dict[str, Outcome] = {}
    proven: dict[str, Proof] = {}
    for item in message.own:
        transfer = item.value["transfer"]
        state = rows[transfer]["state"] if transfer in rows else None
        if state in ("credited", "done"):
            outcome[transfer] = said(item, state, "credited", words[transfer, "credited"])
        elif state == "void":
            outcome[transfer] = await _gone(tx, registry, message, item)
        else:
            known = Known(rows.get(transfer), words.get((transfer, "offer")))
            proof = _prove(registry, item, message.evidence, known)
            if isinstance(proof, Proof):
                proven[transfer] = proof
            elif proof.state == "later":
                outcome[transfer] = proof
            else:
                detail = f"a settle that is not proven: {proof.findings[0]['detail']}"
                await transfers.alarm(tx, transfer, 3001, detail)
                outcome[transfer] = replace(proof, state=state or proof.state)
    texts = await _credit(tx, registry, message, rows, proven)
    settled = [(i.value["transfer"], "settle", i.text) for i in message.own if i.value["transfer"] in texts]
    await transfers.keep(tx, ACQUIRER, message.id, settled)
    for item in message.own:
        transfer = item.value["transfer"]
        if transfer in texts:
            outcome[transfer] = said(item, "credited", "credited", texts[transfer], new=True)
        elif transfer in proven:
            outcome[transfer] = later(item, 4007, "units are already held here")
    return [outcome[item.value["transfer"]] for item in message.own]


async def refuse(tx: Tx, registry: Registry, message: Message) -> list[Outcome]:
    """Credit nothing and say only where each transfer stands: what a registry in trouble does with a settle."""
    rows, _ = await _situation(tx, message.own, [])
    states = {transfer: row["state"] for transfer, row in rows.items()}
    return [
        Outcome(item, states.get(item.value["transfer"], "not known here"), [finding(3001, "refused")], kept=False)
        for item in message.own
    ]


async def closed(tx: Tx, registry: Registry, message: Message) -> list[Outcome]:
    """Take note of a final state, also of a transfer never seen offered (R19)."""
    rows, words = await _situation(tx, message.own, ["offer", "credited"])
    outcome: dict[str, Outcome] = {}
    moves: dict[str, list[str]] = {"done": [], "void": []}
    for item in message.own:
        transfer, completed = item.value["transfer"], item.value["state"] == "completed"
        state = rows[transfer]["state"] if transfer in rows else None
        if state == "credited" and completed:
            moves["done"].append(transfer)
        elif state in ("credited", "done") and not completed:
            await transfers.alarm(tx, transfer, 3002, "closed as not completed, but credited here")
            said_before = words[transfer, "credited"]
            outcome[transfer] = said(item, state, "credited", said_before, findings=[finding(3002, "credited here")])
        elif state == "void" and completed:
            await transfers.alarm(tx, transfer, 3002, "closed as completed, but void here")
            outcome[transfer] = Outcome(item, "void", [finding(3002, "contradiction: void here")])
        elif state in ("done", "void"):
            outcome[transfer] = Outcome(item, state)
        elif completed:
            known = Known(rows.get(transfer), words.get((transfer, "offer")))
            outcome[transfer] = await _catch_up(tx, registry, message, item, known)
        else:
            moves["void"].append(transfer)
    await transfers.advance(tx, ACQUIRER, "done", moves["done"], ["credited"])
    await _advance_or_insert(tx, rows, "void", {transfer: None for transfer in moves["void"]})
    await transfers.keep(tx, ACQUIRER, message.id, [(i.value["transfer"], "closed", i.text) for i in message.own])
    states = {transfer: state for state, group in moves.items() for transfer in group}
    return [outcome.get(t) or Outcome(i, states[t]) for i in message.own if (t := i.value["transfer"])]


async def accept_again(tx: Tx, registry: Registry, transfer: str, row: Row | None, evidence: Evidence) -> None:
    """Stand by an acceptance of our own that was forgotten: the gateway counts on it."""
    source = transfer[:5]
    answer = evidence.of_transfer(transfer, "answer", "transfer.answer", registry.code)
    proposal = evidence.of_transfer(transfer, "propose", "transfer.propose", source)
    offer = evidence.of_transfer(transfer, "offer", "transfer.offer", registry.gateway)
    state = row["state"] if row else None
    if answer is None or answer[0].value["answer"] != "accepted" or state not in (None, "offered"):
        return
    if proposal is not None and _fault(registry, answer[0], proposal[0], Known(row, None), evidence) is not None:
        return  # whatever was accepted, it was not this
    for step, found in (("offer", offer), ("propose", proposal), ("answer", answer)):
        if found is not None:
            await transfers.keep(tx, ACQUIRER, await post.witness(tx, found[1]), [(transfer, step, found[0].text)])
    terms = (terms_of(proposal[0]), proposal[0].sha256) if proposal else None
    await _advance_or_insert(tx, {transfer: row} if row else {}, "accepted", {transfer: terms})


async def _situation(
    tx: Tx, items: Sequence[Item], names: Sequence[str]
) -> tuple[dict[str, Row], dict[tuple[str, str], str]]:
    rows = await transfers.lock(tx, ACQUIRER, [item.value["transfer"] for item in items])
    return rows, await transfers.steps(tx, ACQUIRER, rows, names)


def _word(item: Item, row: Row, words: Mapping[tuple[str, str], str]) -> Outcome:
    if row["state"] == "offered":
        return Outcome(item, "offered")
    if row["state"] == "void":
        return said(item, "void", "answer", closed_here(item.value["transfer"], item.sha256))
    return said(item, row["state"], "answer", words[item.value["transfer"], "answer"])


async def _gone(tx: Tx, registry: Registry, message: Message, item: Item) -> Outcome:
    """Answer a settle of a transfer that was closed here: it is told so, with the gateway's own closing."""
    transfer = item.value["transfer"]
    offered = (await transfers.steps(tx, ACQUIRER, [transfer], ["offer"])).get((transfer, "offer"))
    accepted = message.evidence.find(item.value["answer"], "answer", "transfer.answer", registry.code)
    offer_sha256 = digest(offered) if offered else accepted.value["offer"] if accepted else None
    if offer_sha256 is None:
        return Outcome(item, "void", [finding(3003, "closed here")])
    return said(item, "void", "answer", closed_here(transfer, offer_sha256))


def _belongs(registry: Registry, transfer: str, proposal: Item) -> bool:
    """Say whether a proposal is of this transfer, made by the link that speaks for the transferring registry."""
    value = proposal.value
    return bool(value["transfer"] == transfer and registry.speaker(value["transferring"]) == transfer[:5])


async def _begin(
    tx: Tx, registry: Registry, message: Message, new: Mapping[str, tuple[Item, Item]]
) -> dict[str, Outcome]:
    await transfers.insert(tx, ACQUIRER, "offered", [(t, terms_of(p), p.sha256) for t, (_, p) in new.items()])
    await tx.execute(
        "UPDATE transfer SET answer_by = n.answer_by FROM unnest(%s::text[], %s::timestamptz[])"
        " AS n (t, answer_by) WHERE role = 'acquirer' AND transfer = n.t",
        list(new),
        [item.value["answer_by"] for item, _ in new.values()],
    )
    heard = [(t, "offer", item.text) for t, (item, _) in new.items()]
    heard += [(t, "propose", proposal.text) for t, (_, proposal) in new.items()]
    await transfers.keep(tx, ACQUIRER, message.id, heard)
    if not (registry.at_once and await deciding(tx)):
        tx.wakes_duties = True
        return {t: Outcome(item, "offered") for t, (item, _) in new.items()}
    answers = await decide(tx, registry, new)
    return {t: said(item, answers[t].state, "answer", answers[t].text, new=True) for t, (item, _) in new.items()}


def _prove(registry: Registry, item: Item, evidence: Evidence, known: Known) -> Proof | Outcome:
    """Prove the chain of a settle by its hashes (R20), or say what is missing."""
    transfer, value = item.value["transfer"], item.value
    source = transfer[:5]
    try:
        proposal = evidence.find(value["proposal"], "propose", "transfer.propose", source)
        answer = evidence.find(value["answer"], "answer", "transfer.answer", registry.code)
        release = evidence.find(value["release"], "released", "transfer.released", source)
    except KeysMissing:
        return later(item, 1007, f"the keys of {source} are not at hand")
    if proposal is None or not _belongs(registry, transfer, proposal):
        return _unproven(item, "no proven proposal of this transfer inside")
    if not registry.keeps(proposal.value["acquiring"]):
        return _unproven(item, "a proposal to another registry")
    if answer is None or answer.value["transfer"] != transfer or answer.value["answer"] != "accepted":
        return _unproven(item, "no acceptance signed here inside")
    if release is None or release.value["transfer"] != transfer:
        return _unproven(item, "no proven release of the source inside")
    fault = _fault(registry, answer, proposal, known, evidence)
    return Proof(proposal, answer, release) if fault is None else _unproven(item, fault)


def _fault(registry: Registry, answer: Item, proposal: Item, known: Known, evidence: Evidence) -> str | None:
    """Say why what is proven is not of one transfer: another proposal than the one accepted here."""
    accepted = {known.row["proposal"]} if known.row and known.row["proposal"] else set()
    offered = answer.value["offer"]
    if known.offer is not None and digest(known.offer) == offered:
        accepted.add(strictjson.loads(known.offer)["proposal"])
    shown = evidence.find(offered, "offer", "transfer.offer", registry.gateway)
    if shown is not None:
        accepted.add(shown.value["proposal"])
    return None if accepted <= {proposal.sha256} else "not the proposal accepted here"


def _unproven(item: Item, detail: str) -> Outcome:
    return Outcome(item, "not known here", [finding(3001, detail)], kept=False)


async def _credit(
    tx: Tx, registry: Registry, message: Message, rows: Mapping[str, Row], proven: Mapping[str, Proof]
) -> dict[str, str]:
    """Credit transfers; gives each ``credited`` text. Units that are here already are left out."""
    pieces = {t: _pieces(proof) for t, proof in proven.items()}
    twice = await books.present(tx, [(t, block) for t, blocks in pieces.items() for block in blocks])
    for transfer in twice:
        await transfers.alarm(tx, transfer, 4007, "a settle brings units that are already held here")
    into = await _accounts(tx, {t: proof for t, proof in proven.items() if t not in twice})
    made = await books.adopt(tx, [(*account, block) for t, account in into.items() for block in pieces[t]])
    quantities = {t: sum(b["last"] - b["first"] + 1 for b in pieces[t]) for t in into}
    await _book_entries(tx, into, quantities)
    await books.put(tx, made)
    told = [record for t in into for record in history.of_transfer(proven[t].proposal.value, proven[t].release.value)]
    await history.write(tx, told)
    for transfer, proof in proven.items():
        if transfer in into and (transfer not in rows or rows[transfer]["state"] != "accepted"):
            await transfers.alarm(tx, transfer, 3006, "settled without an acceptance on record here")
            await transfers.keep(tx, ACQUIRER, message.id, [(transfer, "answer", proof.answer.text)])
    heard = [(t, "released", proven[t].release.text) for t in into]
    heard += [(t, "propose", proven[t].proposal.text) for t in into if t not in rows]
    await transfers.keep(tx, ACQUIRER, message.id, heard)
    terms = {t: (terms_of(proven[t].proposal), proven[t].proposal.sha256) for t in into}
    await _advance_or_insert(tx, rows, "credited", terms)
    return {t: _credited(t, message, account[1], proven[t]) for t, account in into.items()}


def _pieces(proof: Proof) -> list[dict[str, Any]]:
    return list(name_blocks(proof.proposal.value["blocks"], proof.release.value["itmo"]))


async def _accounts(tx: Tx, proven: Mapping[str, Proof]) -> dict[str, tuple[str, str]]:
    """Where each transfer's units go: the account named, or the Party's pending account (5906)."""
    named = {
        t: (proof.proposal.value["acquiring"]["party"], proof.proposal.value["acquiring"]["account"])
        for t, proof in proven.items()
    }
    is_open = await books.accounts_open(tx, named.values())
    pending = {t: (party, books.PENDING_ACCOUNT) for t, (party, a) in named.items() if not is_open.get((party, a))}
    await books.ensure_accounts(tx, [(*account, "pending") for account in pending.values()])
    return {**named, **pending}


async def _book_entries(tx: Tx, into: Mapping[str, tuple[str, str]], quantities: Mapping[str, int]) -> None:
    # R21: the key of this table refuses a second crediting, whatever the protocol's tables say.
    await tx.execute(
        "INSERT INTO crediting (transfer, party, account, quantity)"
        " SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::bigint[])",
        list(into),
        [party for party, _ in into.values()],
        [account for _, account in into.values()],
        [quantities[t] for t in into],
    )
    await books.write_journal(tx, [("credit", t, *account, quantities[t]) for t, account in into.items()])


def _credited(transfer: str, message: Message, account: str, proof: Proof) -> str:
    diverted = account != proof.proposal.value["acquiring"]["account"]
    members = {
        "kind": "credited",
        "transfer": transfer,
        "settle": {"id": message.id, "sha256": message.jws_sha256},
        "credited_at": clock.now(),
        "account": account,
        "findings": [{"code": 5906}] if diverted else [],
    }
    return strictjson.dumps(members)


async def _advance_or_insert(
    tx: Tx,
    rows: Mapping[str, Row],
    state: str,
    terms: Mapping[str, tuple[Mapping[str, Any], str] | None],
) -> None:
    await transfers.advance(tx, ACQUIRER, state, [t for t in terms if t in rows], _UNSETTLED)
    fresh = [(t, *(given or (None, None))) for t, given in terms.items() if t not in rows]
    await transfers.insert(tx, ACQUIRER, state, fresh)


async def _catch_up(tx: Tx, registry: Registry, message: Message, item: Item, known: Known) -> Outcome:
    """Completed, but not credited here: data was lost, and our own signed credit is inside."""
    transfer, source = item.value["transfer"], item.value["transfer"][:5]
    evidence = message.evidence
    try:
        found = (
            evidence.of_transfer(transfer, "propose", "transfer.propose", source),
            evidence.of_transfer(transfer, "answer", "transfer.answer", registry.code),
            evidence.of_transfer(transfer, "released", "transfer.released", source),
        )
    except KeysMissing:
        return later(item, 1007, f"the keys of {source} are not at hand")
    credited = evidence.of_transfer(transfer, "credited", "transfer.credited", registry.code)
    if credited is None or found[0] is None or found[1] is None or found[2] is None:
        return replace(
            _unproven(item, "our own credit is not inside"), findings=[finding(3006, "no own credit inside")]
        )
    proof = Proof(found[0][0], found[1][0], found[2][0])
    if (fault := _fault(registry, proof.answer, proof.proposal, known, evidence)) is not None:
        await transfers.alarm(tx, transfer, 3001, f"a closed that is not proven: {fault}")
        return _unproven(item, fault)
    rows = {transfer: known.row} if known.row else {}
    if not await _credit(tx, registry, message, rows, {transfer: proof}):
        return later(item, 4007, "units are already held here")
    await transfers.keep(tx, ACQUIRER, message.id, [(transfer, "credited", credited[0].text)])
    await transfers.advance(tx, ACQUIRER, "done", [transfer], ["credited"])
    return Outcome(item, "done")
