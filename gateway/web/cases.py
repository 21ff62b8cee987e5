"""Cases over HTTP: what reconciliations found and what others did, step by step to its end.

The people of the registry or Party concerned see a case and respond to it; those of the gateway correct its book, and
close what no reconciliation ends, two of them each time.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Query

from gateway import db
from gateway.approvals.commands import Act
from gateway.domain import wire
from gateway.domain.callers import Caller, Scope, Sight
from gateway.domain.units import UnitRange
from gateway.errors import GatewayError, Kind
from gateway.messages.outbox import Node
from gateway.reconciliation import case_view, corrections, inconsistencies, trails
from gateway.reconciliation.case_store import Source, State
from gateway.reconciliation.case_view import MAX_PAGE, Shown
from gateway.reconciliation.trails import Told
from gateway.signing import compact
from gateway.web.approving import FourEyes
from gateway.web.auth import needs
from gateway.web.case_schemas import (
    BookCorrection,
    Case,
    CaseCourse,
    CaseEvent,
    CaseMovement,
    CasePage,
    CaseRecord,
    CaseTrail,
    CaseUnits,
    CaseUnitsPage,
    Closure,
    Corrected,
    NewCase,
    Notification,
    Response,
)
from gateway.web.schemas import Approval, Moment

Reader = Annotated[Caller, needs(Scope.TRANSFERS_READ)]
Actor = Annotated[Caller, needs(Scope.RECONCILIATION_RUN)]


def casing(database: db.Database, node: Node, four_eyes: FourEyes) -> APIRouter:
    """Cases as they stand, and what persons do with them."""
    router = APIRouter(tags=["cases"])
    _reading(router, database)
    _saying(router, database, node)
    _deciding(router, four_eyes)
    return router


def _reading(router: APIRouter, database: db.Database) -> None:
    @router.get("/cases")
    async def listing(
        caller: Reader,
        state: State | None = None,
        source: Source | None = None,
        registry: Annotated[str | None, Query(max_length=5)] = None,
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
        before: Annotated[str | None, Query(max_length=32)] = None,
    ) -> CasePage:
        """Cases that concern the caller's registry or Party, newest first."""
        async with database.reading() as tx:
            edge = await _found(tx, caller.sight, before) if before is not None else None
            found = await case_view.listing(
                tx, caller.sight, state=state, source=source, registry=registry, limit=limit, before=edge
            )
        return CasePage(cases=[_shown(one) for one in found], next=found[-1].id if len(found) == limit else None)

    @router.get("/cases/{case}")
    async def show(case: str, caller: Reader) -> CaseCourse:
        """One case: what it is about, how far it is, and every step."""
        async with database.reading() as tx:
            return await _course(tx, caller, case)

    @router.get("/cases/{case}/findings")
    async def findings(
        case: str,
        caller: Reader,
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
        after: Annotated[int, Query(ge=0, le=2**63 - 1)] = 0,
    ) -> CaseUnitsPage:
        """The units of a case down to serials, with their states in both books."""
        async with database.reading() as tx:
            await _found(tx, caller.sight, case)
            found = await case_view.findings(tx, caller.sight, case, after=after, limit=limit)
        shown = [CaseUnits.model_validate(one, from_attributes=True) for one in found]
        return CaseUnitsPage(findings=shown, next=found[-1].id if len(found) == limit else None)

    @router.get("/cases/{case}/trail")
    async def trail(
        case: str,
        caller: Reader,
        since: Moment | None = None,
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100,
    ) -> CaseTrail:
        """What moved the units of a case in the gateway's book, and what their registry told of them, newest first."""
        async with database.reading() as tx:
            shown = await _found(tx, caller.sight, case)
            found = await trails.trail(tx, caller.sight, shown, since=since, limit=limit)
        moved = [CaseMovement.model_validate(one, from_attributes=True) for one in found.moved]
        return CaseTrail(since=found.since, moved=moved, told=[_record(one) for one in found.told])


def _saying(router: APIRouter, database: db.Database, node: Node) -> None:
    async def done(caller: Caller, case: str, act: Callable[[db.Tx], Awaitable[None]]) -> CaseCourse:
        async def work(tx: db.Tx) -> CaseCourse:
            await act(tx)
            return await _course(tx, caller, case)

        return await database.run(work, "case")

    @router.post("/cases", status_code=201)
    async def identify(wanted: NewCase, caller: Actor) -> CaseCourse:
        """Open a case for an inconsistency that the secretariat, a review or the Party itself has found."""
        about = (wanted.source, wanted.check_id, wanted.party, _units(wanted.units), wanted.effect, wanted.detail)

        async def work(tx: db.Tx) -> CaseCourse:
            made = await inconsistencies.identify(tx, node, caller, inconsistencies.Wanted(*about, wanted.due))
            return await _course(tx, caller, made)

        return await database.run(work, "case")

    @router.post("/cases/{case}/notify")
    async def notify(case: str, said: Notification, caller: Actor) -> CaseCourse:
        """Note that those concerned were notified."""
        about = node, caller, case, said.version
        return await done(caller, case, lambda tx: inconsistencies.notify(tx, *about, said.note, said.due))

    @router.post("/cases/{case}/respond")
    async def respond(case: str, said: Response, caller: Actor) -> CaseCourse:
        """Respond to a case."""
        about = node, caller, case, said.version
        return await done(caller, case, lambda tx: inconsistencies.respond(tx, *about, said.response))

    @router.post("/cases/{case}/corrected")
    async def corrected(case: str, said: Corrected, caller: Actor) -> CaseCourse:
        """Note what has corrected it: a submission, or a transfer that is completed."""
        about = node, caller, case, said.version
        if said.submission is not None and said.transfer is None:
            submission = said.submission
            return await done(caller, case, lambda tx: inconsistencies.resubmitted(tx, *about, submission))
        if said.transfer is not None and said.submission is None:
            transfer = said.transfer
            return await done(caller, case, lambda tx: inconsistencies.compensated(tx, *about, transfer))
        raise GatewayError(Kind.MALFORMED, "a case is corrected by a submission or by a transfer", code=2001)


def _deciding(router: APIRouter, four_eyes: FourEyes) -> None:
    @router.post("/cases/{case}/correct", status_code=202)
    async def correct(case: str, wanted: BookCorrection, caller: Actor) -> Approval:
        """Ask that the gateway's book is corrected by what the registry has signed of its own."""

        async def act(tx: db.Tx) -> Act:
            about = wanted.findings, wanted.reason, wanted.evidence
            return await corrections.correction_wanted(tx, caller, case, wanted.version, *about)

        return await four_eyes.ask(caller, act)

    @router.post("/cases/{case}/close", status_code=202)
    async def close(case: str, wanted: Closure, caller: Actor) -> Approval:
        """Ask that a case is closed that no run ends, and its units are free."""

        async def act(tx: db.Tx) -> Act:
            return await inconsistencies.closing_wanted(tx, caller, case, wanted.version, wanted.reason)

        return await four_eyes.ask(caller, act)


async def _found(tx: db.Tx | db.ReadTx, sight: Sight, case: str) -> Shown:
    found = await case_view.find(tx, sight, wire.text(case, "the id of a case", 32))
    if found is None:
        raise sight.absent(f"there is no case {case}", 3001)
    return found


async def _course(tx: db.Tx | db.ReadTx, caller: Caller, case: str) -> CaseCourse:
    found = await _found(tx, caller.sight, case)
    events = [CaseEvent.model_validate(e, from_attributes=True) for e in await case_view.events(tx, case)]
    return CaseCourse(case=_shown(found), events=events)


def _shown(found: Shown) -> Case:
    return Case.model_validate(found, from_attributes=True)


def _record(one: Told) -> CaseRecord:
    return CaseRecord(
        sha256=compact.encode(one.sha256), registry=one.registry, transaction=one.transaction, type=one.type, at=one.at,
        origin_registry=one.units.origin.registry, series=one.units.origin.series, first=one.units.first,
        last=one.units.last, here_at=one.here_at, here_entry=one.here_entry, code=one.code, detail=one.detail,
    )  # fmt: skip


def _units(given: list[dict[str, Any]]) -> tuple[UnitRange, ...]:
    """The ranges of units; raises MALFORMED with the code of the first that is none."""
    faults = wire.Faults()
    units = [wire.read_range(one, faults) for one in given]
    if faults.findings:
        first = faults.findings[0]
        raise GatewayError(Kind.MALFORMED, first.detail, code=first.code)
    return tuple(one for one in units if one is not None)
