"""The source's state table: locked, released, done, void.

Every function here runs inside one transaction and judges each transfer by its own row. ``void`` is for
ever (R13); a debit and its release are one transaction (R12); only a commit whose proposal and acceptance
are proven debits. Whichever of commit and withdrawal locks the row first decides. A lock that does not hold what was
proposed is an alarm and holds up its own transfer only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from . import books, clock, history, post, strictjson, transfers
from .accepting import policy, terms_of
from .database import Row, Tx
from .envelope import Message
from .evidence import Evidence, Item
from .first_transfers import by_leaving
from .keys import KeysMissing
from .outcomes import Finding, Outcome, finding, later, said
from .registry import Registry
from .transfers import SOURCE
from .units import Declined, Holding


async def commit(tx: Tx, registry: Registry, message: Message) -> list[Outcome]:
    """Debit every locked transfer whose commit is proven; repeat the word of the others."""
    rows, words = await _situation(tx, message.own)
    shut = set((await policy(tx))["refuse_release"])
    outcome: dict[str, Outcome] = {}
    debits: dict[str, Item] = {}
    for item in message.own:
        transfer = item.value["transfer"]
        row = rows.get(transfer)
        if row is None:
            # Our own proposal is inside: data was lost here. Nothing is decided by saying so (R5).
            outcome[transfer] = Outcome(item, "unknown-here", [finding(3001, "no such transfer")], kept=False)
        elif row["state"] != "locked":
            outcome[transfer] = _word(item, row["state"], words)
        elif (unproven := _judge(registry, row, item, message.evidence)) is not None:
            outcome[transfer] = unproven
            if unproven.state == "locked":
                await transfers.alarm(tx, transfer, unproven.findings[0]["code"], "a commit that is not proven")
        elif row["terms"]["acquiring"]["party"] in shut:
            # By its own checks a source may still refuse: for ever, and with the code (R13).
            refused = [finding(5904, "no release to this Party")]
            text = (await void(tx, [transfer], refused))[transfer]
            outcome[transfer] = said(item, "void", "voided", text, new=True)
        else:
            debits[transfer] = item
    for transfer in await _poisoned(tx, rows, list(debits)):
        outcome[transfer] = later(debits.pop(transfer), 4003, "the lock does not hold what was proposed")
    texts = await _debit(tx, registry, rows, debits, message)
    for transfer, text in texts.items():
        outcome[transfer] = said(debits[transfer], "released", "released", text, new=True)
    return [outcome[item.value["transfer"]] for item in message.own]


async def cancel(tx: Tx, registry: Registry, message: Message) -> list[Outcome]:
    """Void what is not released, unknown transfers included; the answer binds either way."""
    rows, words = await _situation(tx, message.own)
    await transfers.keep(tx, SOURCE, message.id, [(i.value["transfer"], "cancel", i.text) for i in message.own])
    voided = await void(tx, [t for t, row in rows.items() if row["state"] == "locked"])
    voided |= await void_unknown(tx, [t for i in message.own if (t := i.value["transfer"]) not in rows])
    return [
        said(item, "void", "voided", voided[transfer], new=True)
        if (transfer := item.value["transfer"]) in voided
        else _word(item, rows[transfer]["state"], words)
        for item in message.own
    ]


async def closed(tx: Tx, registry: Registry, message: Message) -> list[Outcome]:
    """Take note of a final state; what contradicts our own word is an alarm and changes nothing (I5)."""
    rows, words = await _situation(tx, message.own)
    await transfers.keep(tx, SOURCE, message.id, [(i.value["transfer"], "closed", i.text) for i in message.own])
    done: list[str] = []
    ended: list[Item] = []
    outcome: dict[str, Outcome] = {}
    for item in message.own:
        transfer, completed = item.value["transfer"], item.value["state"] == "completed"
        state = rows[transfer]["state"] if transfer in rows else None
        if state == "released" and completed:
            done.append(transfer)
        elif state == "locked" and not completed:
            ended.append(item)
        elif state == "locked":
            outcome[transfer] = await _catch_up(tx, registry, message, item)
        elif state in ("released", "done") and not completed:
            await transfers.alarm(tx, transfer, 3002, "closed as not completed, but released here")
            outcome[transfer] = _word(item, "released", words, [finding(3002, "released here")])
        elif state == "void" and completed:
            await transfers.alarm(tx, transfer, 3002, "closed as completed, but void here")
            outcome[transfer] = Outcome(item, "void", [finding(3002, "contradiction: void here")])
        else:
            outcome[transfer] = Outcome(item, state or "unknown-here")
    await transfers.advance(tx, SOURCE, "done", done, ["released"])
    voided = await void(tx, [item.value["transfer"] for item in ended])
    for item in ended:
        transfer = item.value["transfer"]
        outcome[transfer] = said(item, "void", "voided", voided[transfer], new=True)
    return [outcome.get(i.value["transfer"]) or Outcome(i, "done") for i in message.own]


async def void(tx: Tx, locked: Sequence[str], findings: Sequence[Finding] = ()) -> dict[str, str]:
    """Unlock and void transfers whose rows are ``locked``; gives the text of each ``voided`` item."""
    await books.unlock(tx, locked)
    await transfers.advance(tx, SOURCE, "void", locked, ["locked"])
    return {transfer: _voided(transfer, findings) for transfer in locked}


async def void_unknown(tx: Tx, unknown: Sequence[str]) -> dict[str, str]:
    """Void, for ever, transfers without a row; gives the text of each ``voided`` item."""
    await transfers.insert(tx, SOURCE, "void", [(transfer, None, None) for transfer in unknown])
    return {transfer: _voided(transfer) for transfer in unknown}


def _voided(transfer: str, findings: Sequence[Finding] = ()) -> str:
    return strictjson.dumps({"kind": "voided", "transfer": transfer, "findings": list(findings)})


async def _situation(tx: Tx, items: Sequence[Item]) -> tuple[dict[str, Row], dict[tuple[str, str], str]]:
    ids = [item.value["transfer"] for item in items]
    rows = await transfers.lock(tx, SOURCE, ids)
    return rows, await transfers.steps(tx, SOURCE, rows, ["released", "voided"])


def _word(item: Item, state: str, words: Mapping[tuple[str, str], str], findings: Sequence[Finding] = ()) -> Outcome:
    """Repeat what was said: released for ever, or void for ever (R13)."""
    step = "voided" if state == "void" else "released"
    return said(item, state, step, words[item.value["transfer"], step], findings=findings)


def _judge(registry: Registry, row: Row, item: Item, evidence: Evidence) -> Outcome | None:
    """Say why a commit is not proven: our proposal as we stored it, and the acquirer's acceptance of it."""
    acquirer = registry.speaker(row["terms"]["acquiring"])
    try:
        proposal = evidence.find(item.value["proposal"], "propose", "transfer.propose", registry.code)
        answer = evidence.find(item.value["answer"], "answer", "transfer.answer", acquirer)
    except KeysMissing:
        return later(item, 1007, f"the keys of {acquirer} are not at hand")
    if proposal is None or proposal.sha256 != row["proposal"]:
        return Outcome(item, "locked", [finding(2004, "not the proposal made here")], kept=False)
    if answer is None or answer.value["transfer"] != item.value["transfer"]:
        return Outcome(item, "locked", [finding(1006, "no proven answer of the acquirer")], kept=False)
    if answer.value["answer"] != "accepted":
        return Outcome(item, "locked", [finding(3006, "the acquirer has not accepted")], kept=False)
    return None


async def _poisoned(tx: Tx, rows: Mapping[str, Row], due: Sequence[str]) -> list[str]:
    """Give the transfers whose lock does not hold what was proposed; an alarm for each, and nothing else changes."""
    held = await books.locked_quantities(tx, due)
    poisoned = [t for t in due if held.get(t, 0) != rows[t]["terms"]["quantity"]]
    for transfer in poisoned:
        await transfers.alarm(tx, transfer, 4003, "committed, but the lock does not hold what was proposed")
    return poisoned


async def _debit(
    tx: Tx, registry: Registry, rows: Mapping[str, Row], orders: Mapping[str, Item], message: Message
) -> dict[str, str]:
    # R12: the units leave, the row moves on and the release is stored in the caller's one transaction.
    gone = await books.debit(tx, list(orders))
    first_named = {
        transfer: [unit for unit in gone[transfer] if by_leaving(registry, rows[transfer]["terms"], unit)]
        for transfer in orders
    }
    named = await _name(tx, first_named)
    now = clock.now()
    texts, records = {}, []
    for transfer, order in orders.items():
        released = {
            "kind": "released",
            "transfer": transfer,
            "commit": {"id": message.id, "sha256": message.jws_sha256},
            "released_at": now,
            "first_transfer": bool(first_named[transfer]),
            "itmo": named[transfer],
        }
        texts[transfer] = strictjson.dumps(released)
        proposal = strictjson.loads(message.evidence.texts[order.value["proposal"]])
        records += history.of_transfer(proposal, released)
    await history.write(tx, records)
    await transfers.advance(tx, SOURCE, "released", list(orders), ["locked"])
    heard = [(t, "commit", item.text) for t, item in orders.items()]
    heard += [(t, "answer", message.evidence.texts[item.value["answer"]]) for t, item in orders.items()]
    await transfers.keep(tx, SOURCE, message.id, heard)
    return texts


async def _name(tx: Tx, units: Mapping[str, Sequence[Holding]]) -> dict[str, list[dict[str, Any]]]:
    """Give identifiers to the units of each transfer, and write them as the release shows them."""
    named = iter(await books.name_holdings(tx, [unit for group in units.values() for unit in group]))
    blocks = {transfer: [next(named).block() for _ in group] for transfer, group in units.items()}
    members = ("origin", "first", "last", "itmo")
    return {
        transfer: [{name: block[name] for name in members} for block in group] for transfer, group in blocks.items()
    }


async def _catch_up(tx: Tx, registry: Registry, message: Message, item: Item) -> Outcome:
    """Completed, but only locked here: data was lost, and our own signed release is inside."""
    transfer = item.value["transfer"]
    if not await debit_as_released(tx, registry, transfer, message.evidence):
        return Outcome(item, "locked", [finding(3006, "our own release is not inside")], kept=False)
    await transfers.alarm(tx, transfer, 3006, "completed elsewhere; debited from our own signed release")
    await transfers.advance(tx, SOURCE, "done", [transfer], ["released"])
    return Outcome(item, "done")


async def debit_as_released(tx: Tx, registry: Registry, transfer: str, evidence: Evidence) -> bool:
    """Debit a locked transfer as our own release says that was forgotten; gives whether it is inside."""
    found = evidence.of_transfer(transfer, "released", "transfer.released", registry.code)
    if found is None:
        return False
    release, jws = found
    row = (await transfers.lock(tx, SOURCE, [transfer]))[transfer]
    gone = (await books.debit(tx, [transfer])).get(transfer, [])
    if sum(unit.quantity for unit in gone) != row["terms"]["quantity"]:
        await transfers.alarm(tx, transfer, 4003, "released before, but the lock does not hold those units")
    await books.skip_names(tx, release.value["itmo"])
    proposal = (await transfers.steps(tx, SOURCE, [transfer], ["propose"]))[transfer, "propose"]
    await history.write(tx, history.of_transfer(strictjson.loads(proposal), release.value))
    await transfers.keep(tx, SOURCE, await post.witness(tx, jws), [(transfer, "released", release.text)])
    await transfers.advance(tx, SOURCE, "released", [transfer], ["locked"])
    return True


async def relock(tx: Tx, registry: Registry, transfer: str, evidence: Evidence) -> bool:
    """Lock the units of a proposal of our own that was forgotten; gives whether that is possible."""
    found = evidence.of_transfer(transfer, "propose", "transfer.propose", registry.code)
    if found is None:
        return False
    proposal, jws = found
    value, address = proposal.value, proposal.value["transferring"]
    try:
        (units,) = await books.take_ranges(tx, address["party"], address["account"], [value["blocks"]])
    except Declined as error:
        await transfers.alarm(tx, transfer, error.code, f"proposed before, but not to be locked: {error.detail}")
        return False
    await books.put(tx, [replace(unit, locked_by=transfer) for unit in units])
    entry = ("lock", transfer, address["party"], address["account"], value["quantity"])
    await books.write_journal(tx, [entry])
    await transfers.insert(tx, SOURCE, "locked", [(transfer, terms_of(proposal), proposal.sha256)])
    await transfers.keep(tx, SOURCE, await post.witness(tx, jws), [(transfer, "propose", proposal.text)])
    return True
