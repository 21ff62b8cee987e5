"""Ends a run: what differs is judged, and findings, cases, log and the signed result are written in one transaction.

What was moving while the cuts were taken is kept as explained and concerns nobody. Everything else is a finding, whose
units are locked by its case (``cases``); units of open cases that differ no more are let go. The result is owed like
any message (``messages.owed``): the same bytes again until there is a receipt, or a verdict against it, which is an
alarm.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway import db
from gateway.alarms import store as alarms
from gateway.alarms.store import Alarm
from gateway.audit import log
from gateway.domain import wire
from gateway.history.questions import Traffic
from gateway.holdings import book, fingerprints
from gateway.messages import outbox, owed
from gateway.messages.inbox import Inbound
from gateway.messages.outbox import Draft, Node
from gateway.messages.owed import Owed
from gateway.messages.receipts import ItemReceipt, dumps
from gateway.reconciliation import cases, classify, finding_store, moving_store, reading, store
from gateway.reconciliation.classify import Differing, Elsewhere, Judged, Known
from gateway.reconciliation.findings import Found
from gateway.reconciliation.reading import Cut, TheirBook, Totals
from gateway.reconciliation.store import Ending, Run
from gateway.signing import compact

#: Findings that are told in the result, as many as a message has items; the report has all.
MOST_TOLD = 1_000
#: Findings of one run: more are no work for persons, and the books are another case than any of their units.
MOST_FINDINGS = 100_000
#: The codes of refusals that end the telling: a type that is not known there will not be known tomorrow.
NOT_KNOWN = 1010
AGREE, CORRECTED, DENIED, LEFT = 5, 6, 7, 99


@dataclass(frozen=True, slots=True)
class Compared:
    """A book as it was compared.

    ``untrue``: what its registry said cannot be, or is more than can be compared: nothing that is not found is let go.
    ``mended``: what was kept of it here was wrong, and was made anew before it was compared.
    """

    registry: str
    root: bytes
    theirs: TheirBook
    totals: Totals
    differences: tuple[Differing, ...] = ()
    untrue: bool = False
    mended: bool = False

    @property
    def codes(self) -> tuple[int, ...]:
        """By which totals it does not agree (6201, 6202)."""
        return reading.disagreeing(self.totals, self.theirs.totals)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to; ``status`` is decided by the findings where it is None. Without a ``cut``, none was taken."""

    status: int | None
    books: Sequence[Compared] = ()
    cut: Cut | None = None
    remarks: tuple[str, ...] = field(default=())


async def end(tx: db.Tx, node: Node, run: Run, worker: str, outcome: Outcome, traffic: Traffic) -> bool:
    """Write how a run ended; False, and nothing written, if another worker has it."""
    if not await store.hold(tx, run, worker):
        return False
    now = node.clock()
    judged, remarks = await _judged(tx, run, outcome)
    found = [one.found for one in judged if one.explained_by is None]
    books = sorted({one.registry for one in found})
    [compared_id] = await log.append(tx, [log.draft("reconciliation.compared", now, _compared(run, outcome, found))])
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
        if not one.untrue
        for case in await cases.settle(tx, node, one.registry, run.id, _still(one.registry, judged), compared_id)
    ]
    status = _status(outcome, found, closed, remarks)
    [told] = await outbox.store(tx, node, [_result(run, outcome, status, found, opened)])
    await owed.add(tx, [Owed(run.link, told.message.id)], now)
    [entry_id] = await log.append(tx, [log.draft("reconciliation.ended", now, {
        "reconciliation": run.id, "cut": run.cut, "status": status, "compared": compared_id,
        "result": told.message.id, "opened": sorted(set(opened)), "closed": sorted(set(closed)),
        "mended": [one.registry for one in outcome.books if one.mended],
    })])  # fmt: skip
    await finding_store.keep(tx, run.id, outcome.books, judged, opened)
    ending = Ending(status, told.message.id, entry_id, remarks, traffic.round_trips, traffic.sent, traffic.received)
    if outcome.status is not None or any(one.untrue for one in outcome.books):
        code = 9001 if status == DENIED else 6901
        detail = f"reconciliation ended with status {status}: {'; '.join(remarks)}"[:200]
        await alarms.sound(tx, [Alarm(run.link, f"reconciliation {run.id}", code, detail, entry_id)], now)
    mended = [one.registry for one in outcome.books if one.mended]
    detail = "what was kept here of its book was wrong: a full reconciliation has made it anew"
    await alarms.sound(tx, [Alarm(run.link, f"book of {one}, {run.id}", 6901, detail, entry_id) for one in mended], now)
    return await store.end(tx, run, worker, ending, now)


async def _judged(tx: db.Tx, run: Run, outcome: Outcome) -> tuple[list[Judged], tuple[str, ...]]:
    """Every finding, explained or not, and the remarks of the run."""
    cut, remarks = outcome.cut, list(outcome.remarks)
    if cut is None:
        return [], tuple(remarks)
    assert run.fence is not None and run.cut_at is not None  # the cut is taken
    fence = await moving_store.fence(tx, run.fence, run.cut_at, cut.taken_at)
    judged = [one for each in outcome.books for one in await _judged_book(tx, each, fence)]
    locked = moving_store.by_letter(cut.moving, "L")
    over = await moving_store.over_here(tx, run.link, sorted(cut.moving), run.cut_at)
    for standing in over:
        if standing.transfer in locked and standing.state != "completed":
            judged += classify.orphaned(standing)
        else:
            remarks.append(f"transfer {standing.transfer} is {standing.state} here and in flight there (6401)")
    unknown = await moving_store.unknown_here(tx, sorted(cut.moving))
    remarks += [f"transfer {transfer} is in flight there and unknown here (6401)" for transfer in unknown]
    if not cut.moving_more:
        for standing in await moving_store.unknown_there(tx, run.link, sorted(cut.moving), fence):
            judged += classify.one_sided(standing)
    if len(judged) > MOST_FINDINGS:
        remarks.append(f"there are {len(judged)} findings; the first {MOST_FINDINGS} are kept")
    judged = classify.distinct(judged[:MOST_FINDINGS])
    return sorted(judged, key=lambda one: one.found.registry), tuple(remarks)


async def _judged_book(tx: db.Tx, compared: Compared, fence: int) -> list[Judged]:
    differences = compared.differences
    if not differences:
        return []
    units = [one.units for one in differences]
    claimed = await moving_store.claims(tx, units, fence)
    moved = await fingerprints.moved_since(tx, compared.registry, fence, units)
    held = await book.held(tx, units)
    judged: list[Judged] = []
    for nr, one in enumerate(differences):
        places = [Elsewhere(piece.block.range, piece.registry) for piece in held[nr]]
        judged += classify.judge(one, Known(claimed[nr], moved[nr], places))
    return judged


def _still(registry: str, judged: Iterable[Judged]) -> list[Any]:
    """The units of a book that differ, explained or not: no case of theirs is closed."""
    return [one.found.units for one in judged if one.found.registry == registry]


def _status(outcome: Outcome, found: Sequence[Found], closed: Sequence[str], remarks: Sequence[str]) -> int:
    if outcome.status is not None:
        return outcome.status
    serious = any(one.untrue for one in outcome.books) or any("(6401)" in remark for remark in remarks)
    if found or serious:
        return LEFT
    return CORRECTED if closed else AGREE


def _compared(run: Run, outcome: Outcome, found: Sequence[Found]) -> dict[str, Any]:
    """What the log says of a comparison: both roots of each book, at which cuts, and every finding by its units."""
    books = [
        {
            "registry": one.registry,
            "root": compact.encode(one.root),
            "there": None if one.theirs.root is None else compact.encode(one.theirs.root),
        }
        for one in outcome.books
    ]
    return {
        **{"reconciliation": run.id, "link": run.link, "cut": run.cut, "size": run.size, "books": books},
        "answer": compact.digest(run.answer) if run.answer else None,
        "findings": [{"code": one.code, "units": wire.range_to_wire(one.units)} for one in found[:MOST_TOLD]],
        "found": len(found),
    }


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
