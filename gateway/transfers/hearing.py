"""Hears what registries say about transfers: the step each word leads to, and what else it shows.

A word counts once per (transfer, step), from the registry whose word it is, and where it answers something of ours
only if it names that: as we keep it, or as the message itself shows it with our own signature, which proves that this
gateway has lost data (R26). A word that has no effect is logged all the same (its message is) and answered with the
state and 3002, or 3003 when the transfer is final. What cannot be true raises an alarm beside that: another word on
the same step (R10), the opposite of an earlier one, one that names what we never said, one about a transfer that is
the speaker's in no way. An alarm delays nothing.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace

from gateway import db
from gateway.alarms import store as alarms
from gateway.alarms.store import Alarm
from gateway.domain.check_codes import Finding
from gateway.domain.identifiers import parse_transfer_id
from gateway.domain.transfers import FINAL, Event, State, advance, contradicts, shows_lost_data
from gateway.messages import store as messages
from gateway.messages.inbox import Inbound
from gateway.messages.outbox import Node
from gateway.messages.receipts import ItemReceipt
from gateway.signing import compact
from gateway.signing.envelope import Item
from gateway.transfers import naming, rebuilding, statements, steps, store, withdrawals
from gateway.transfers.evidence import Evidence, Shown
from gateway.transfers.statements import NOT_KNOWN, Known, Word
from gateway.transfers.steps import Taken
from gateway.transfers.store import Row, Step

#: What a word must name to count: our statement, and the column of the row that names the message it is in.
NAMED: Mapping[Event, tuple[str, str]] = {
    Event.ACCEPTED: ("offer", "offer_id"),
    Event.REJECTED: ("offer", "offer_id"),
    Event.CLOSED_HERE: ("offer", "offer_id"),
    Event.RELEASED: ("commit", "commit_id"),
    Event.CREDITED: ("settle", "settle_id"),
}
#: Whose word each event is; the others are the source's.
ACQUIRERS = frozenset({Event.ACCEPTED, Event.REJECTED, Event.CLOSED_HERE, Event.CREDITED, Event.SETTLE_REFUSED})
_A = {"offer": "an offer", "commit": "a commit", "settle": "a settle"}
_LOST = "shows that this gateway has lost data: {}"
#: Why persons must look, by the event that leads there. The registry's own words stay in the row's findings.
_ATTENTION = {
    Event.UNKNOWN_HERE: (3001, "does not know the transfer it proposed"),
    Event.CLOSED_HERE: (3003, "has closed what it is to credit"),
    Event.SETTLE_REFUSED: (3006, "refuses to credit what was released"),
    Event.RELEASED: (4004, "shows a release of units that this gateway does not have there"),
    Event.CREDITED: (4004, "shows a credit of units that this gateway does not have there"),
}


@dataclass(frozen=True, slots=True)
class Heard:
    """A word as it was said: its item, what it means, and the log entry of the message it came in."""

    item: Item
    word: Word
    entry_id: int

    @property
    def step(self) -> Step:
        """The word as it is kept."""
        return Step(self.word.transfer, self.word.step, self.item.text, compact.decode(self.item.sha256), self.entry_id)


@dataclass(frozen=True, slots=True)
class _Judged:
    """What a word comes to: a step (``effect``) or none, what the speaker is told, and what persons are."""

    effect: bool = False
    findings: tuple[Finding, ...] = ()
    alarm: str | None = None
    #: Our own statement that the word names, where only the message shows it.
    own: Shown | None = None


async def hear(tx: db.Tx, node: Node, inbound: Inbound, heard: Sequence[Heard], shown: Evidence) -> list[ItemReceipt]:
    """Take the steps these words lead to; what became of each."""
    ids = [h.word.transfer for h in heard]
    rows = await store.lock(tx, ids)
    if any(_withdraws(h, inbound) for h in heard if h.word.transfer not in rows):
        await withdrawals.alone(tx, inbound.message.sender)
        rows = await store.lock(tx, ids)  # a proposal that was being received meanwhile is there now
    own = {h.word.transfer: row for h in heard if (row := rows.get(h.word.transfer)) and _is_own(h, row, inbound)}
    wanted = {NAMED[h.word.event] for h in heard if h.word.event in NAMED}
    offers = {step for step, _ in wanted if step == "offer"}
    kept = await store.steps(tx, own, sorted({h.word.step for h in heard} | offers))
    named = await _named(tx, own, kept, wanted)
    judged = [_judge(h, own.get(h.word.transfer), kept, named, shown, node.code) for h in heard]
    misnamed = await _misnamed(tx, inbound, heard, judged)
    taken: list[Taken] = []
    raised: dict[str, str] = {}
    receipts = []
    for h, verdict in zip(heard, judged, strict=True):
        row, unknown = own.get(h.word.transfer), rows.get(h.word.transfer) is None
        if row is None and unknown and (begun := await _of_nothing(tx, node, inbound, h, shown)) is not None:
            taken += begun.taken
            raised |= {h.word.transfer: begun.alarm} if begun.alarm else {}
            receipts.append(ItemReceipt(h.item, begun.state, begun.findings, h.word.transfer))
            continue
        step = await _step(tx, inbound, h, row, verdict, shown) if row is not None and verdict.effect else None
        if verdict.effect and step is None:
            verdict = _Judged(findings=(Finding(3002),), alarm=_LOST.format("what it shows is not enough to go on"))
        misfits = misnamed.get(h.word.transfer, ())
        taken += [replace(step, findings=(*step.findings, *misfits))] if step is not None else []
        raised |= {h.word.transfer: verdict.alarm} if verdict.alarm and not unknown else {}
        found = (*verdict.findings, *misfits)
        receipts.append(ItemReceipt(h.item, row.state if row else NOT_KNOWN, found, h.word.transfer))
    await sound(tx, inbound, raised)
    after = await take(tx, node, inbound, taken)
    return [replace(r, state=after.get(str(r.transfer), r.state)) for r in receipts]


async def take(tx: db.Tx, node: Node, inbound: Inbound, taken: Sequence[Taken]) -> dict[str, State]:
    """Take steps because of a message; the states afterwards. Where persons must look, its sender's link shows it."""
    sender = inbound.message.sender
    reasons = {t.row.id: _ATTENTION[t.event] for t in taken if t.after.state is State.ATTENTION}
    found = [Alarm(sender, t, code, f"{sender} {why}", inbound.entry_id) for t, (code, why) in reasons.items()]
    await alarms.sound(tx, found, inbound.at)
    await steps.take(tx, node, taken, inbound.at, cause_entry=inbound.entry_id, answering=sender)
    return {t.row.id: t.after.state for t in taken}


def _is_own(heard: Heard, row: Row, inbound: Inbound) -> bool:
    side = row.acquirer if heard.word.event in ACQUIRERS else row.source
    return side == inbound.message.sender


def _withdraws(heard: Heard, inbound: Inbound) -> bool:
    """Whether it is the source's withdrawal of what it may propose."""
    own = parse_transfer_id(heard.word.transfer).source == inbound.message.sender
    return own and heard.word.event is Event.VOIDED and not heard.word.faults


async def _named(
    tx: db.Tx, rows: Mapping[str, Row], kept: Known, wanted: Set[tuple[str, str]]
) -> dict[tuple[str, str], str]:
    """Each of our ``wanted`` statements as a word must name it: an offer by its text, the others by their message."""
    found = {key: compact.encode(step.sha256) for key, step in kept.items() if key[1] == "offer"}
    by_message = [
        (row.id, step, message)
        for step, column in wanted
        if step != "offer"
        for row in rows.values()
        if (message := getattr(row, column)) is not None
    ]
    sent = await messages.signed_here(tx, sorted({message for *_, message in by_message})) if by_message else {}
    names = {message: statements.name_of(message, compact.digest(jws)) for message, jws in sent.items()}
    return found | {(t, step): names[message] for t, step, message in by_message if message in names}


def _judge(
    heard: Heard, row: Row | None, kept: Known, named: Mapping[tuple[str, str], str], shown: Evidence, us: str
) -> _Judged:
    """What a word comes to for a transfer of its speaker's (``row``), or for one that is not."""
    word = heard.word
    if row is None:
        return _Judged(findings=(Finding(3001),), alarm="spoke for a transfer that is not its own")
    if word.faults:
        return _Judged(findings=word.faults, alarm=f"says a {word.step} that cannot be taken")
    none = (Finding(3003 if row.state in FINAL else 3002),)
    if (earlier := kept.get((row.id, word.step))) is not None:
        if earlier.item == heard.item.text:
            return _Judged()
        return _Judged(findings=none, alarm=f"says another {word.step} than before")
    own = None
    if word.event in NAMED and word.names != named.get((row.id, NAMED[word.event][0])):
        own = _shown_own(word, shown, us)
        if own is None:
            return _Judged(findings=none, alarm=f"names {_A[NAMED[word.event][0]]} that was not made here")
    if advance(row.progress, word.event) is None:
        opposite = f"says {word.step} after the opposite" if contradicts(row.progress, word.event) else None
        return _Judged(findings=none, alarm=opposite)
    lost = own is not None or shows_lost_data(row.progress, word.event)
    return _Judged(True, alarm=_LOST.format(f"{word.step} in state {row.state}") if lost else None, own=own)


def _shown_own(word: Word, shown: Evidence, us: str) -> Shown | None:
    """Our own statement that the word names, if the message shows it; for ``closed-here`` our own closing will do."""
    if word.event is Event.CLOSED_HERE and (closing := shown.find("closed", word.transfer, us)) is not None:
        return closing
    own = shown.find(NAMED[word.event][0], word.transfer, us)
    if own is None:
        return None
    by_message = statements.name_of(own.message.id, own.message.jws_sha256)
    return own if word.names in (own.item.sha256, by_message) else None


async def _step(tx: db.Tx, inbound: Inbound, heard: Heard, row: Row, verdict: _Judged, shown: Evidence) -> Taken | None:
    """The step a word leads to; None when what must be said next cannot be, because what it carries is lost."""
    word = heard.word
    after = advance(row.progress, word.event)
    assert after is not None  # or it would have been judged to have no effect
    causes, named = [heard.step], {}
    if verdict.own is not None and word.event is not Event.CLOSED_HERE:
        found = await rebuilding.missing(tx, row, after.state, heard.step, verdict.own, shown)
        unclaimed = row.state in (State.ATTENTION, State.ENDING)  # perhaps: units that were not to be had
        if found is None or (unclaimed and await rebuilding.reclaim(tx, row, inbound)):
            return None
        kind, column = NAMED[word.event]
        causes += [*found, await shown.keep(tx, verdict.own, kind)]
        # What the gateway has said anew meanwhile stays what it repeats; both are its own.
        named = {column: verdict.own.message.id} if getattr(row, column) is None else {}
    return Taken(row, word.event, after, word.findings, tuple(causes), named)


async def _misnamed(
    tx: db.Tx, inbound: Inbound, heard: Sequence[Heard], judged: Sequence[_Judged]
) -> dict[str, tuple[Finding, ...]]:
    """What is wrong with the identifiers that releases give, by transfer; each is an alarm, and stops nothing."""
    releases = {
        h.word.transfer: naming.read_release(h.item.value)
        for h, verdict in zip(heard, judged, strict=True)
        if verdict.effect and h.word.event is Event.RELEASED
    }
    kept = await store.steps(tx, releases, ("propose",)) if releases else {}
    proposed = {transfer: steps.read_proposal(step) for (transfer, _), step in kept.items()}
    found = await naming.judge(
        tx, {transfer: (proposal, releases[transfer]) for transfer, proposal in proposed.items()}
    )
    sender, what = inbound.message.sender, "gives ITMO identifiers that cannot be taken"
    alarmed = [
        Alarm(sender, t, f.code, f"{sender} {what}: {f.detail}", inbound.entry_id) for t in found for f in found[t]
    ]
    await alarms.sound(tx, alarmed, inbound.at)
    return found


async def _of_nothing(
    tx: db.Tx, node: Node, inbound: Inbound, heard: Heard, shown: Evidence
) -> rebuilding.Begun | None:
    """What a word about a transfer without a row begins, if anything: a tombstone, or the row that was lost."""
    word = heard.word
    if word.faults:
        return None
    if _withdraws(heard, inbound):
        await withdrawals.remember(tx, [heard.step])
        return rebuilding.Begun(State.CANCELLED)
    own = _shown_own(word, shown, node.code) if word.event in NAMED and word.event is not Event.CLOSED_HERE else None
    if own is None:
        return None
    begun = await rebuilding.rebuild(tx, inbound, word, heard.step, own, shown)
    if word.event is Event.RELEASED and await withdrawals.of(tx, [word.transfer]):
        return replace(begun, alarm="says released after the opposite")
    return replace(begun, alarm=begun.alarm or _LOST.format("the whole transfer"))


async def sound(tx: db.Tx, inbound: Inbound, raised: Mapping[str, str]) -> None:
    """Raise an alarm about each of these transfers: what the sender did, after its name."""
    sender = inbound.message.sender
    found = [Alarm(sender, transfer, 3002, f"{sender} {what}", inbound.entry_id) for transfer, what in raised.items()]
    await alarms.sound(tx, found, inbound.at)
