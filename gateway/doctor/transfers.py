"""Checks of transfers: the row against its events, its statements, its claims, and what is due.

A transfer is *plain* when it began with its proposal and no event shows that the gateway had lost data. Of one
that is not, less is demanded: what was lost may be known only from what others carried.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from functools import cached_property
from itertools import pairwise
from typing import Any
from uuid import UUID

from gateway.doctor.report import Remark, finding, note
from gateway.doctor.scene import TOLERANCE, Scene
from gateway.domain.proposals import FaultyProposal, parse_proposal
from gateway.domain.transfers import (
    FINAL,
    Event,
    Outcome,
    Progress,
    Proposal,
    State,
    advance,
    begin,
    shows_lost_data,
)
from gateway.errors import GatewayError
from gateway.messages.outbox import LONGEST_WAIT_SECONDS
from gateway.signing import compact
from gateway.transfers.sending import LEASE
from gateway.transfers.statements import SAID, STEPS, Said
from gateway.transfers.store import MESSAGE_COLUMNS, Row

#: The longest that a row may be leased, or put off, from the moment that is written.
LONGEST_LEASE = max(LEASE, timedelta(seconds=LONGEST_WAIT_SECONDS))


@dataclass(frozen=True, slots=True)
class Happened:
    """An event as it was recorded."""

    version: int
    state: str
    event: str
    entry: int


@dataclass(frozen=True, slots=True)
class Course:
    """A transfer's events taken again: where they lead, or the first that cannot be taken."""

    progress: Progress | None
    fault: str | None = None
    lost_data: bool = False


@dataclass(frozen=True, slots=True)
class Claimed:
    """A block that a transfer claims (``live``), or did."""

    registry: str
    series: str
    first: int
    last: int
    live: bool

    @property
    def quantity(self) -> int:
        """Units, in tonnes."""
        return self.last - self.first + 1


@dataclass(frozen=True)
class Case:
    """One transfer with everything the database has of it.

    ``steps`` is the entry of each statement kept, ``hashes`` its hash as others name it, ``texts`` the text of those
    that are read; ``sent`` is [entry, peer, type] by message id.
    """

    row: Row
    columns: Mapping[str, Any]
    events: tuple[Happened, ...]
    steps: Mapping[str, int]
    hashes: Mapping[str, str]
    texts: Mapping[str, str]
    claims: tuple[Claimed, ...]
    sent: Mapping[str, tuple[int, str, str]]

    @property
    def next_at(self) -> datetime | None:
        """When a worker looks at it again."""
        value: datetime | None = self.columns["next_at"]
        return value

    @property
    def leased_until(self) -> datetime | None:
        """Until when a worker has it to itself."""
        value: datetime | None = self.columns["leased_until"]
        return value

    @cached_property
    def course(self) -> Course:
        """Its events, taken again by the table of the domain."""
        return retrace(self.events)

    @property
    def plain(self) -> bool:
        """Whether the gateway never lost anything of it."""
        return self.begins(Event.PROPOSED) and not self.course.lost_data

    def begins(self, *events: Event) -> bool:
        """Whether these are its first events."""
        return [e.value for e in events] == [h.event for h in self.events[: len(events)]]

    @property
    def resumed(self) -> bool:
        """Whether persons let it say again what it had said."""
        return any(h.event == Event.RESUMED.value for h in self.events)

    @property
    def ended_as_it_began(self) -> bool:
        """Whether it never had its claims: found faulty as it was proposed, or withdrawn before that arrived."""
        at_once = self.begins(Event.PROPOSED, Event.CHECKS_FAILED) and self.events[0].entry == self.events[1].entry
        return at_once or (self.begins(Event.PROPOSED, Event.VOIDED) and self.events[1].entry < self.events[0].entry)

    @cached_property
    def proposal(self) -> Proposal | FaultyProposal | None:
        """What the source proposed; nothing when that is not kept or cannot be read."""
        try:
            return parse_proposal(json.loads(self.columns["proposal"]))
        except (GatewayError, ValueError, TypeError):
            return None


def read(found: Any) -> Case:
    """A case as ``store.transfers`` gives it."""
    columns: dict[str, Any] = dict(found._mapping)
    kept: dict[str, tuple[int, str, str | None]] = columns["steps"] or {}
    values: dict[str, Any] = {f.name: str(v) if isinstance(v := columns[f.name], UUID) else v for f in fields(Row)}
    values["state"] = State(values["state"])
    values["outcome"] = Outcome(values["outcome"]) if values["outcome"] else None
    return Case(
        Row(**values),
        columns,
        tuple(Happened(*event) for event in columns["events"] or ()),
        {step: entry for step, (entry, _, _) in kept.items()},
        {step: compact.encode(bytes.fromhex(sha256)) for step, (_, sha256, _) in kept.items()},
        {step: text for step, (_, _, text) in kept.items() if text is not None},
        tuple(Claimed(*claim) for claim in columns["claims"] or ()),
        {message: tuple(sent) for message, sent in (columns["sent"] or {}).items()},
    )


def retrace(events: Iterable[Happened]) -> Course:
    """Take events as recorded from the beginning, by the table; stops at the first that is not possible."""
    progress: Progress | None = None
    lost = False
    for nr, happened in enumerate(events, 1):
        if happened.version != nr:
            return Course(progress, f"event {nr} has version {happened.version}", lost)
        try:
            event = Event(happened.event)
        except ValueError:
            return Course(progress, f"event {nr} is {happened.event!r}, which is none", lost)
        lost = lost or (progress is not None and shows_lost_data(progress, event))
        after = _begun(event, happened.state) if progress is None else advance(progress, event)
        if after is None:
            where = f"in state {progress.state}" if progress else "as a beginning"
            return Course(progress, f"event {nr}, {event}, is not possible {where}", lost)
        if after.state.value != happened.state:
            return Course(progress, f"event {nr}, {event}, leads to {after.state}, not to {happened.state}", lost)
        progress = after
    return Course(progress, None if progress else "it has no events", lost)


def _begun(event: Event, state: str) -> Progress | None:
    """Where a transfer begins; one that is taken up after it was lost may have to wait for persons at once."""
    if event is not Event.PROPOSED and state == State.ATTENTION.value and begin(event) is not None:
        return Progress(State.ATTENTION, release_stored=event is Event.CREDITED)
    return begin(event)


def course(case: Case, _scene: Scene) -> Iterable[Remark]:
    """State, outcome and version of a transfer are what its events lead to, one after the other."""
    row, found = case.row, case.course
    if found.fault is not None or found.progress is None:
        yield finding(str(found.fault), transfer=row.id)
        return
    if (row.state, row.outcome) != (found.progress.state, found.progress.outcome):
        at, leads = _standing(row.state, row.outcome), _standing(found.progress.state, found.progress.outcome)
        yield finding(f"the row is {at}, its events lead to {leads}", transfer=row.id)
    if row.version != len(case.events):
        yield finding(f"the row has version {row.version} after {len(case.events)} events", transfer=row.id)


def _standing(state: State, outcome: Outcome | None) -> str:
    return f"{state} ({outcome})" if outcome else f"{state}"


def words_heard(case: Case, _scene: Scene) -> Iterable[Remark]:
    """Every event that a registry's signed word caused has that word kept, from the message that brought it."""
    for happened in case.events:
        step = _CAUSES.get(happened.event)
        if step is None:
            continue
        if (happened.version, happened.state) == (1, State.ATTENTION.value):
            continue  # taken up from evidence, units not to be had: the word is judged again when it is repeated
        if step not in case.steps:
            yield finding(f"event {happened.event!r} has no {step!r} of a registry behind it", transfer=case.row.id)
        elif case.plain and case.steps[step] != happened.entry:
            came = f"event {happened.event!r} came with entry {happened.entry}"
            yield finding(f"{came}, its {step!r} is of entry {case.steps[step]}", transfer=case.row.id)


#: A ``closed-here`` may be said by a receipt, which is no statement.
_CAUSES = {
    Event.PROPOSED.value: "propose",
    **{event.value: step for event, step in STEPS.items() if event is not Event.CLOSED_HERE},
}
_SAID = {state.value: said for state, said in SAID.items()}


def words_said(case: Case, _scene: Scene) -> Iterable[Remark]:
    """What the gateway says on entering a state is signed, stored, kept, and named by the row; nothing else is."""
    owed: dict[str, Said] = {}
    for before, after in pairwise(("", *(h.state for h in case.events))):
        if before != after:
            owed |= {said.column: said for said in _SAID.get(after, ()) if said.peer(case.row) is not None}
    for column in MESSAGE_COLUMNS:
        message = getattr(case.row, column)
        if column in owed:
            yield from _said(case, owed[column], message)
        elif message is not None and case.plain:
            yield finding(f"{column} names a message, but nothing led to one", transfer=case.row.id)


def _said(case: Case, said: Said, message: str | None) -> Iterable[Remark]:
    if message is None:
        yield finding(f"{said.column} names no message: {said.type} to {said.peer(case.row)}", transfer=case.row.id)
    elif message not in case.sent:
        if case.plain:
            yield finding(f"{said.column} names {message}, which is not stored", transfer=case.row.id)
    elif (entry := case.sent[message][0]) and case.sent[message][1:] != (said.peer(case.row), said.type):
        _, peer, kind = case.sent[message]
        yield finding(f"{said.column} names a {kind} to {peer}", transfer=case.row.id, entry=entry)
    elif said.step not in case.steps:
        yield finding(f"its {said.step!r} is not kept", transfer=case.row.id, entry=entry)
    elif case.plain and case.steps[said.step] != entry and not case.resumed:
        other = case.steps[said.step]
        yield finding(f"its {said.step!r} is of entry {other}, not of {said.column}", transfer=case.row.id, entry=entry)


def commit_and_cancel(case: Case, _scene: Scene) -> Iterable[Remark]:
    """No transfer has both a commit and a cancel, unless an event shows that the gateway had lost the commit."""
    has = {name for name in ("commit", "cancel") if name in case.steps or getattr(case.row, f"{name}_id") is not None}
    if len(has) == 2 and case.plain:
        yield finding("it has both a commit and a cancel", transfer=case.row.id)


def proposals(case: Case, _scene: Scene) -> Iterable[Remark]:
    """The row says what the source has signed: from where, to where, for what, and how much."""
    if not isinstance(case.proposal, Proposal):
        return
    for name, said in _as_proposed(case.proposal).items():
        if case.columns[name] != said:
            yield finding(f"{name} is {case.columns[name]}, the source proposed {said}", transfer=case.row.id)


def _as_proposed(proposal: Proposal) -> dict[str, object]:
    sides = (("transferring", proposal.transferring), ("acquiring", proposal.acquiring))
    return {
        "quantity": proposal.quantity,
        "block_count": len(proposal.blocks),
        "purpose": proposal.purpose.value,
        **{f"{side}_registry": str(address.registry) for side, address in sides},
        **{f"{side}_party": str(address.party) for side, address in sides},
        **{f"{side}_account": str(address.account) for side, address in sides},
    }


def claims(case: Case, _scene: Scene) -> Iterable[Remark]:
    """An open transfer claims exactly its blocks, one that is final claims nothing, and neither ever had others."""
    row = case.row
    live = [c for c in case.claims if c.live]
    units = sum(c.quantity for c in live)
    moving = row.state in (State.COMMITTING, State.RELEASED)
    if row.state in FINAL or (case.ended_as_it_began and not moving):
        if live:
            yield finding(f"it still claims {units:,} units in state {row.state}", transfer=row.id)
        if case.ended_as_it_began:
            return
    elif len(live) < len(case.claims):
        released = sum(c.quantity for c in case.claims) - units
        yield finding(f"{released:,} of its units are not claimed any more in state {row.state}", transfer=row.id)
    if not isinstance(case.proposal, Proposal):
        return
    proposed = {(b.origin.registry, b.origin.series, b.first, b.last) for b in case.proposal.blocks}
    held = {(c.registry, c.series, c.first, c.last) for c in case.claims}
    # Where units may be moving, they are claimed, whatever was lost before.
    lacking = proposed - held if case.plain or moving else set()
    for what, blocks in (("claimed and not proposed", held - proposed), ("proposed and not claimed", lacking)):
        for registry, series, first, last in sorted(blocks)[:10]:
            yield finding(what, transfer=row.id, units=f"{registry} {series} {first}-{last}")


def units_held(case: Case, _scene: Scene) -> Iterable[Remark]:
    """From the moment its checks have passed until it is final, the units a transfer claims are held at its source."""
    claimed = sum(c.quantity for c in case.claims if c.live)
    if case.row.state in _CHECKED and case.plain and case.columns["held"] != claimed:
        what = f"its source holds {case.columns['held']:,} of the {claimed:,} units it claims"
        yield finding(f"{what} in state {case.row.state}", transfer=case.row.id)


_CHECKED = frozenset({State.CHECKED, State.ACCEPTED, State.COMMITTING, State.RELEASED, State.ATTENTION})


def due(case: Case, _scene: Scene) -> Iterable[Remark]:
    """Whatever is not finished is looked at again: an open transfer, and a final one that a side is not told of."""
    row = case.row
    told = (
        ("source", row.closed_source_id, row.told_source_at),
        ("acquirer", row.closed_acquirer_id, row.told_acquirer_at),
    )
    owed = [side for side, closed, at in told if closed is not None and at is None]
    if row.state in FINAL:
        if owed and case.next_at is None:
            yield finding(f"its end is owed to the {' and the '.join(owed)}, and nobody will say it", transfer=row.id)
        if not owed and case.next_at is not None:
            yield finding("everybody has been told of its end, and it is due all the same", transfer=row.id)
    elif row.state is not State.ATTENTION and case.next_at is None:
        yield finding(f"it is {row.state}, and nobody will look at it again", transfer=row.id)
    for side, closed, at in told:
        if at is not None and (closed is None or row.state not in FINAL):
            yield finding(f"the {side} is noted as told of an end that was not said", transfer=row.id)


def leases(case: Case, scene: Scene) -> Iterable[Remark]:
    """A lease ends soon and belongs to what is due; where nothing is due, nothing was tried and nothing waits."""
    until, next_at = case.leased_until, case.next_at
    if until is not None and until > scene.now + LONGEST_LEASE + TOLERANCE:
        yield finding(f"it is leased until {until.isoformat()}", transfer=case.row.id)
    if until is not None and (next_at is None or next_at > until):
        yield finding("it is leased, and nothing of it is due", transfer=case.row.id)
    if next_at is None and (case.row.attempts or case.columns["waiting"]):
        yield finding("it is noted as waiting, and nothing of it is due", transfer=case.row.id)


def attention(case: Case, _scene: Scene) -> Iterable[Remark]:
    """Transfers that wait for a person are named, with the reason."""
    if case.row.state is State.ATTENTION and case.events:
        reasons = [f"{f.get('detail') or 'no reason given'} ({f.get('code')})" for f in case.row.findings]
        yield note(f"waits for a person: {'; '.join(reasons) or case.events[-1].event}", transfer=case.row.id)
