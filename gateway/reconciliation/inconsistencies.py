"""Inconsistencies of Article 6.2, which others have found, and what persons do with any case.

Identified by the secretariat's consistency check (2/CMA.3 annex para 33), by the technical expert review, or by the
Party itself before it files; notified; responded to; corrected by a new version of the submission; closed. Where one
may affect the emissions balance its units are flagged (4009) until two persons of the gateway close it. A difference
that a reconciliation has found is responded to here, and the transfer that compensates it is named here: one that was
under way when the case was opened and has completed since, because none begins while its units are flagged (4008).

Such a difference is closed by a run, because no word of anybody's makes two books equal. Two persons of the gateway
close it where no run will, its link being suspended or closed, and where it holds units of other registries whose own
later runs agreed on them: who claims what others have does not hold it fast.

Raises ``GatewayError``: FORBIDDEN 8001 for a machine, and for a case that is not seen, or NOT_FOUND 3001 to who sees
everything; CONFLICT 3003 for a case that has another version, is closed, or is not in a state for this; MALFORMED with
2001, 2010 or 2014 for what cannot be; REJECTED 4003 for units that are not in the book.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gateway import db
from gateway.alarms import store as alarms
from gateway.alarms.store import Alarm
from gateway.approvals.commands import Act
from gateway.audit import log
from gateway.domain.callers import Caller, hidden
from gateway.domain.facts import Flag
from gateway.domain.identifiers import parse_party, parse_transfer_id
from gateway.domain.unit_ranges import joined, minus
from gateway.domain.units import UnitRange
from gateway.errors import GatewayError, Kind
from gateway.holdings import book, registries
from gateway.messages.outbox import Node
from gateway.reconciliation import case_store as store
from gateway.reconciliation import case_view, correction_store
from gateway.reconciliation.case_store import Case, Entered, Source, Standing, State, Step
from gateway.reconciliation.cases import align, named_units

#: The secretariat's consistency checks of agreed electronic formats, by their public ids.
CHECK_IDS = frozenset({*(f"II0{n}" for n in range(1, 8)), *(f"STC0{n}" for n in range(1, 5)), "ISC01"})
#: The act of closing a case, as persons approve it.
CLOSE = "case.close"
#: The longest reason or note, and the longest response: what the people of a registry write for a case, not a report.
MAX_REASON, MAX_RESPONSE = 500, 4_000
#: Ranges of units that one case is opened for: as many as a message has blocks.
MOST_UNITS = 3_000
#: How far ahead a response can be due: beyond it, nobody means it.
MOST_DAYS = 366
_UNCLOSED = frozenset(State) - {State.CLOSED}


@dataclass(frozen=True, slots=True)
class Wanted:
    """An inconsistency as it is identified: by whom and which check, of which Party, about which units.

    ``due``: by when a response is, as configured (``case_days``) where it is None.
    """

    source: Source
    check_id: str
    party: str
    units: tuple[UnitRange, ...]
    effect: bool
    detail: str
    due: datetime | None = None


async def identify(tx: db.Tx, node: Node, caller: Caller, wanted: Wanted) -> str:
    """Open a case; its id. Its units are flagged where it may affect the emissions balance.

    The Party's own people do this for units in their own books, the gateway's for any.
    """
    _require_person(caller)
    party = parse_party(wanted.party)
    if wanted.source is Source.RECONCILIATION or wanted.check_id not in CHECK_IDS:
        raise _malformed(f"a case is opened for a check of {', '.join(sorted(CHECK_IDS))}, by its source")
    if len(wanted.units) > MOST_UNITS:
        raise _malformed(f"a case is opened for at most {MOST_UNITS} ranges of units", 2001)
    printable("description", wanted.detail)
    if caller.sight.code is not None and not await registries.keeps(tx, caller.sight.code, party):
        raise hidden()
    await store.alone(tx)
    units = joined(wanted.units)
    await _require_known(tx, caller, units, wanted.effect)
    now, of = node.clock(), str(party)
    case, flag = f"{of}-{await store.next_number(tx, of)}", Flag.INCONSISTENT if wanted.effect else None
    about = {"case": case, "source": wanted.source.value, "check": wanted.check_id, "party": of}
    record = {**about, "effect": wanted.effect, "detail": wanted.detail, **named_units(units), **caller.named}
    [entry_id] = await log.append(tx, [log.draft("case.opened", now, record)])
    made = Case(
        case, of, wanted.source, wanted.check_id, None, None, (of,), wanted.effect, flag, None, wanted.detail,
        State.OPEN, _due(wanted.due, now) or now + node.response_due, entry_id,
    )  # fmt: skip
    await store.open_cases(tx, [made], caller.id, now, [entry_id])
    await store.enter(tx, [Entered(case, one) for one in units], entry_id)
    if flag is not None:
        await align(tx, flag, units, entry_id)
    said = f"case {case}: {wanted.check_id} by {wanted.source}, {'with' if flag else 'without'} effect on the balance"
    links = await registries.links_keeping(tx, of)
    await alarms.sound(tx, [Alarm(link, case, 4009, said, entry_id) for link in links[:1]], now)
    return case


async def notify(
    tx: db.Tx, node: Node, caller: Caller, case: str, version: int, note: str, due: datetime | None
) -> None:
    """Note that those concerned were notified, and by when they are to respond."""
    until = _due(due, node.clock())
    said = {"notified_at": node.clock(), **({"due": until} if until else {})}
    await _take(
        tx, node, caller, (case, version), "notified", {State.OPEN}, State.NOTIFIED, printable("note", note), said
    )


async def respond(tx: db.Tx, node: Node, caller: Caller, case: str, version: int, response: str) -> None:
    """Keep what those concerned respond."""
    written = printable("response", response, MAX_RESPONSE)
    said = {"responded_at": node.clock(), "response": written}
    before = {State.NOTIFIED, State.RESPONDED}
    await _take(tx, node, caller, (case, version), "responded", before, State.RESPONDED, written, said)


async def resubmitted(tx: db.Tx, node: Node, caller: Caller, case: str, version: int, submission: str) -> None:
    """Note that a new version of the Party's submission corrects it; not for what a reconciliation found."""
    named = printable("version of a submission", submission, 64)

    def possible(found: Standing) -> None:
        if found.source is Source.RECONCILIATION:
            raise _not_now("what a reconciliation found is not corrected by a submission")

    said = {"corrected_by": f"submission {named}"}
    await _take(tx, node, caller, (case, version), "corrected", _UNCLOSED, State.CORRECTED, named, said, possible)


async def compensated(tx: db.Tx, node: Node, caller: Caller, case: str, version: int, transfer: str) -> None:
    """Note that a transfer corrects it, which has completed since it was opened and has moved all its units."""
    named = str(parse_transfer_id(transfer))
    await _seen(tx, caller, case)
    if not await correction_store.moved_by(tx, case, named):
        raise _not_now(f"{named} is no transfer that has moved the units of case {case} since it was opened")
    said = {"corrected_by": f"transfer {named}"}
    await _take(tx, node, caller, (case, version), "corrected", _UNCLOSED, State.CORRECTED, named, said)


async def closing_wanted(tx: db.Tx, caller: Caller, case: str, version: int, reason: str) -> Act:
    """What is to be approved so that a case is closed; the gateway's own people ask for it and decide."""
    caller.require_all()
    written = printable("reason", reason)
    await _require_closable(tx, await standing_of(tx, case, version))
    return Act(CLOSE, None, {"case": case, "version": version, "reason": written})


async def close(tx: db.Tx, node: Node, parameters: Mapping[str, Any], by: tuple[str, str]) -> dict[str, Any]:
    """Close a case that was approved to be closed, if it is as it was then; its units are free."""
    case, version, now = parameters["case"], parameters["version"], node.clock()
    await store.alone(tx)
    found = await standing_of(tx, case, version)
    await _require_closable(tx, found)
    record = {"case": case, "version": version + 1, "by": list(by), "reason": parameters["reason"]}
    [entry_id] = await log.append(tx, [log.draft("case.closed", now, record)])
    there = await store.units_of(tx, case)
    step = Step(case, version, "closed", State.CLOSED, " and ".join(by), parameters["reason"], entry_id,
                {"closed_at": now})  # fmt: skip
    await store.take_steps(tx, [step], now)
    await store.leave(tx, [one.id for one in there], entry_id)
    flag = Flag.DISCREPANCY if found.source is Source.RECONCILIATION else Flag.INCONSISTENT
    await align(tx, flag, [one.units for one in there], entry_id)
    return {"case": case, "closed": True}


async def standing_of(tx: db.Tx, case: str, version: int) -> Standing:
    """How far a case is; raises NOT_FOUND 3001, or CONFLICT 3003 unless it is open and has this version."""
    found = (await store.standing(tx, [case])).get(case)
    if found is None:
        raise GatewayError(Kind.NOT_FOUND, f"there is no case {case}", code=3001)
    if found.state is State.CLOSED:
        raise _not_now(f"case {case} is closed")
    if found.version != version:
        raise _not_now(f"case {case} has moved on: its version is {found.version}")
    return found


def printable(name: str, text: str, longest: int = MAX_REASON) -> str:
    """A text that can be shown and stored; raises MALFORMED 2014."""
    if not text.strip() or len(text) > longest or not text.isprintable():
        raise _malformed(f"a {name} is a printable text of 1 to {longest} characters")
    return text


async def _take(
    tx: db.Tx, node: Node, caller: Caller, which: tuple[str, int], event: str, before: Collection[State], after: State,
    detail: str, said: Mapping[str, Any], possible: Callable[[Standing], None] | None = None,
) -> None:  # fmt: skip
    """Take a case further, which the caller sees, and write who did it and what they said."""
    _require_person(caller)
    case, version = which
    await _seen(tx, caller, case)
    await store.alone(tx)
    found = await standing_of(tx, case, version)
    if found.state not in before:
        raise _not_now(f"case {case} is {found.state}: it is {event} out of {' or '.join(sorted(before))}")
    if possible is not None:
        possible(found)
    now = node.clock()
    record = {"case": case, "version": version + 1, "detail": detail, **caller.named}
    [entry_id] = await log.append(tx, [log.draft(f"case.{event}", now, record)])
    await store.take_steps(tx, [Step(case, version, event, after, caller.id, detail, entry_id, dict(said))], now)


def _require_person(caller: Caller) -> None:
    if not caller.person:
        raise GatewayError(Kind.FORBIDDEN, "what is said of a case is said by a person", code=8001)


async def _seen(tx: db.Tx, caller: Caller, case: str) -> None:
    if await case_view.find(tx, caller.sight, case) is None:
        raise caller.sight.absent(f"there is no case {case}", 3001)


async def _require_known(tx: db.Tx, caller: Caller, units: Sequence[UnitRange], effect: bool) -> None:
    """Raise unless the book has these units, and those to be flagged in books that are the caller's to speak for."""
    pieces = [piece for held in await book.held(tx, units) for piece in held]
    mine = await registries.behind(tx, caller.sight.code) if caller.sight.code else None
    if mine is not None and effect:
        pieces = [piece for piece in pieces if piece.registry in mine]
    if minus(units, [piece.block.range for piece in pieces]):
        if mine is not None:
            raise hidden()
        raise GatewayError(Kind.REJECTED, "some of these units are not in the book", code=4003)


async def _require_closable(tx: db.Tx, found: Standing) -> None:
    if found.source is Source.RECONCILIATION and not await store.beyond_proof(tx, found.id):
        raise _not_now("a difference that a reconciliation found is closed by a run that finds it no more")


def _due(given: datetime | None, now: datetime) -> datetime | None:
    if given is not None and not 0 <= (given - now).days <= MOST_DAYS:
        raise _malformed(f"a response is due within {MOST_DAYS} days from now")
    return given


def _not_now(detail: str) -> GatewayError:
    return GatewayError(Kind.CONFLICT, detail, code=3003)


def _malformed(detail: str, code: int = 2014) -> GatewayError:
    return GatewayError(Kind.MALFORMED, detail, code=code)
