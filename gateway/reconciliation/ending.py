"""Ends a run: what differs is judged, and findings, cases, log and the signed result are written in one transaction.

What was moving while the cuts were taken is kept as explained and concerns nobody, unless an open case has it.
Everything else is a finding, whose units are locked by its case (``cases``); units of open cases that differ no more
are let go. The result is owed like any message (``messages.owed``): the same bytes again until there is a receipt, or a
verdict against it, which is an alarm.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

from gateway import db
from gateway.alarms import store as alarms
from gateway.alarms.store import Alarm
from gateway.audit import log
from gateway.domain import wire
from gateway.history.questions import Traffic
from gateway.links import store as links
from gateway.messages import outbox, owed
from gateway.messages.inbox import Inbound
from gateway.messages.outbox import Draft, Node
from gateway.messages.owed import Owed
from gateway.messages.receipts import ItemReceipt, dumps
from gateway.reconciliation import cases, finding_store, judging, store
from gateway.reconciliation.findings import Found
from gateway.reconciliation.judging import Outcome
from gateway.reconciliation.store import Ending, Run
from gateway.signing import compact

#: Findings that are told in the result, as many as a message has items; the report has all.
MOST_TOLD = 1_000
#: The codes of refusals that end the telling: a type that is not known there will not be known tomorrow.
NOT_KNOWN = 1010
AGREE, CORRECTED, DENIED, LEFT = 5, 6, 7, 99


async def end(tx: db.Tx, node: Node, run: Run, worker: str, outcome: Outcome, traffic: Traffic) -> bool:
    """Write how a run ended; False, and nothing written, if another worker has it."""
    if not await store.hold(tx, run, worker):
        return False
    now = node.clock()
    verdict = await judging.judge(tx, run, outcome, now)
    judged, remarks = verdict.judged, verdict.remarks
    found = [one.found for one in judged if one.explained_by is None]
    books = sorted({one.registry for one in found})
    record = _compared(run, outcome, found, remarks)
    [compared_id] = await log.append(tx, [log.draft("reconciliation.compared", now, record)])
    opened = [
        case
        for name in books
        for case in await cases.open_for(
            tx, node, run.link, run.id, [one for one in found if one.registry == name], compared_id
        )
    ]
    closed = [
        case
        for one in outcome.books
        if not verdict.untrue(one)
        for case in await cases.settle(tx, node, one.registry, run.id, verdict.still[one.registry], compared_id)
    ]
    await _remind(tx, node, run.link, compared_id)
    untrue = any(verdict.untrue(one) for one in outcome.books)
    left = await cases.any_left(tx, [one.registry for one in outcome.books])
    stands = {one for one in remarks if "(6401)" in one} & set(await store.last_remarks(tx, run.link))
    status = _status(outcome, found, closed, serious=bool(stands) or untrue or left)
    [told] = await outbox.store(tx, node, [_result(run, outcome, status, found, opened)])
    await owed.add(tx, [Owed(run.link, told.message.id)], now)
    [entry_id] = await log.append(tx, [log.draft("reconciliation.ended", now, {
        "reconciliation": run.id, "cut": run.cut, "status": status, "compared": compared_id,
        "result": told.message.id, "opened": sorted(set(opened)), "closed": sorted(set(closed)),
        "mended": [one.registry for one in outcome.books if one.mended],
    })])  # fmt: skip
    await finding_store.keep(tx, run.id, outcome.books, judged, opened)
    ending = Ending(status, told.message.id, entry_id, remarks, traffic.round_trips, traffic.sent, traffic.received)
    if outcome.status is not None or untrue:
        code = 9001 if status == DENIED else 6901
        detail = f"reconciliation ended with status {status}: {'; '.join(remarks)}"[:200]
        await alarms.sound(tx, [Alarm(run.link, f"reconciliation {run.id}", code, detail, entry_id)], now)
    mended = [one.registry for one in outcome.books if one.mended]
    detail = "what was kept here of its book was wrong: a full reconciliation has made it anew"
    await alarms.sound(tx, [Alarm(run.link, f"book of {one}, {run.id}", 6901, detail, entry_id) for one in mended], now)
    await alarms.sound(tx, [_astray(run.link, transfer, entry_id) for transfer in verdict.astray], now)
    return await store.end(tx, run, worker, ending, now)


async def _remind(tx: db.Tx, node: Node, link: str, entry_id: int) -> None:
    """Remind of what is open too long, whatever came of the run: a link may not be compared for as long as that."""
    found = await links.find(tx, link)
    assert found is not None  # its run refers to it
    await cases.remind(tx, node, found.registries, entry_id)


def _astray(link: str, transfer: str, entry_id: int) -> Alarm:
    return Alarm(link, transfer, 6401, f"{link} has it in flight, and it is unknown here", entry_id)


def _status(outcome: Outcome, found: Sequence[Found], closed: Sequence[str], *, serious: bool) -> int:
    """``serious``: a book is left to persons, or an open case of one still has units, though something explains that
    they differ; or a transfer is in flight there and not here, as it was already when the link was compared last.

    Once proves nothing of a transfer: what tells of it, or ends it there, may be on its way.
    """
    if outcome.status is not None:
        return outcome.status
    if found or serious:
        return LEFT
    return CORRECTED if closed else AGREE


def _compared(run: Run, outcome: Outcome, found: Sequence[Found], remarks: Sequence[str]) -> dict[str, Any]:
    """What the log says of a comparison: both roots of each book, at which cuts, and every finding by its units.

    ``sha256`` is over all findings, those that are not named among them.
    """
    books = [
        {
            "registry": one.registry,
            "root": compact.encode(one.root),
            "there": None if one.theirs.root is None else compact.encode(one.theirs.root),
            "codes": list(one.codes),
        }
        for one in outcome.books
    ]
    return {
        **{"reconciliation": run.id, "link": run.link, "cut": run.cut, "size": run.size, "books": books},
        "answer": compact.digest(run.answer) if run.answer else None,
        "findings": [{"code": one.code, "units": wire.range_to_wire(one.units)} for one in found[:MOST_TOLD]],
        **{"found": len(found), "sha256": digest(found), "remarks": list(remarks)},
    }


def digest(found: Sequence[Found]) -> str:
    """The SHA-256 of findings, each as its canonical text on a line of its own, in order; base64url."""
    texts = (
        dumps({
            "registry": one.registry, "code": one.code, "units": wire.range_to_wire(one.units),
            "here": one.here, "there": one.there, "detail": one.detail,
        })
        for one in found
    )  # fmt: skip
    summed = hashlib.sha256()
    for text in texts:
        summed.update(text.encode() + b"\n")
    return compact.encode(summed.digest())


def _result(run: Run, outcome: Outcome, status: int, found: Sequence[Found], opened: Sequence[str]) -> Draft:
    body = {
        **{"of": run.link, "cut": run.cut, "status": status, "findings": len(found), "evidence": []},
        "books": [{"registry": one.registry, "root": compact.encode(one.root)} for one in outcome.books],
    }
    items = [
        dumps({
            "kind": "finding", "case": case, "registry": one.registry, "code": one.code,
            "units": wire.range_to_wire(one.units), "here": one.here, "there": one.there,
        })
        for one, case in zip(found[:MOST_TOLD], opened, strict=False)
    ]  # fmt: skip
    evidence = [run.answer] if run.answer and outcome.cut is not None else []
    return Draft(run.link, "reconciliation.result", items=items, evidence=evidence, body=body)


async def receipted(tx: db.Tx, node: Node, inbound: Inbound) -> Sequence[ItemReceipt]:
    """``receipt`` without items: the result that it answers is known there."""
    answered = inbound.message.in_reply_to
    assert answered is not None  # a receipt answers something, or it would not have been verified
    if not inbound.message.items and await store.told_by(tx, answered.id) is not None:
        await owed.done(tx, answered.id)
    return ()


async def refused(tx: db.Tx, node: Node, inbound: Inbound) -> Sequence[ItemReceipt]:
    """``refusal``: a result is not taken now, or, if the refusal is a verdict, never."""
    answered = inbound.message.in_reply_to
    assert answered is not None  # as above
    link = await store.told_by(tx, answered.id)
    if link is None:
        return ()
    body = wire.members(inbound.message.body, "body", frozenset({"findings"}))
    findings = [wire.parse_finding(value) for value in wire.array(body["findings"], "findings")]
    if inbound.message.seq is not None or any(one.code == NOT_KNOWN for one in findings):
        await owed.done(tx, answered.id)
        code, why = (findings[0].code, findings[0].detail) if findings else (3006, "it gives no reason")
        detail = f"{link} does not take the result of a reconciliation: {why}"[:200]
        await alarms.sound(tx, [Alarm(link, "reconciliation", code, detail, inbound.entry_id)], inbound.at)
    return ()
