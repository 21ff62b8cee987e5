"""What operators watch and where they step in: alarms, links, records, and what persons may do to a transfer."""

from typing import Annotated

from fastapi import APIRouter, Query

from gateway import db
from gateway.alarms import store as alarms
from gateway.domain.callers import Caller, Scope
from gateway.domain.identifiers import parse_transfer_id
from gateway.holdings.recording import Told
from gateway.links import store as links
from gateway.messages.outbox import Node
from gateway.recordings import store as records
from gateway.transfers import interventions
from gateway.web import link_schemas, schemas
from gateway.web.approving import FourEyes
from gateway.web.auth import needs
from gateway.web.linking import shown

#: The id after which a page begins: one that a column can hold.
Before = Annotated[int | None, Query(ge=1, le=2**63 - 1)]


def watching(database: db.Database) -> APIRouter:
    """Alarms, links and records."""
    router = APIRouter(tags=["watching"])

    @router.get("/alarms")
    async def listing(
        caller: Annotated[Caller, needs(Scope.TRANSFERS_READ)],
        link: Annotated[str | None, Query(pattern="^[A-Z]{3}[0-9]{2}$")] = None,
        limit: Annotated[int, Query(ge=1, le=alarms.MAX_PAGE)] = 50,
        before: Before = None,
    ) -> schemas.AlarmPage:
        """What was said that cannot be true or shows lost data, by the caller's link or about its transfers."""
        async with database.reading() as tx:
            found = await alarms.listing(tx, caller.sight, link=link, limit=limit, before=before)
        shown = [schemas.Alarm.model_validate(a, from_attributes=True) for a in found]
        return schemas.AlarmPage(alarms=shown, next=found[-1].id if len(found) == limit else None)

    @router.get("/records")
    async def recordings(
        caller: Annotated[Caller, needs(Scope.TRANSFERS_READ)],
        kind: Told | None = None,
        state: records.State | None = None,
        limit: Annotated[int, Query(ge=1, le=records.MAX_PAGE)] = 50,
        before: Before = None,
    ) -> schemas.RecordPage:
        """What is recorded in the caller's section or notified to its Party, and what became of it; newest first."""
        async with database.reading() as tx:
            found = await records.listing(tx, caller.sight, kind=kind, state=state, limit=limit, before=before)
            counts = await records.counts(tx, caller.sight, kind)
        shown = [schemas.Record.model_validate(r, from_attributes=True) for r in found]
        return schemas.RecordPage(records=shown, counts=counts, next=found[-1].id if len(found) == limit else None)

    @router.get("/links")
    async def linked(caller: Annotated[Caller, needs(Scope.LINKS_READ)]) -> list[link_schemas.Link]:
        """The caller's link, or every link, and how many alarms it has raised."""
        async with database.reading() as tx:
            found, raised = await links.links(tx, caller.sight), await alarms.counts(tx, caller.sight)
        return [shown(link, raised.get(link.code, 0)) for link in found]

    return router


def stepping_in(database: db.Database, node: Node, four_eyes: FourEyes) -> APIRouter:
    """End a transfer, or let one ask again."""
    router = APIRouter(tags=["transfers"])

    @router.post("/transfers/{transfer}/end")
    async def end(
        transfer: str, wanted: schemas.Ending, caller: Annotated[Caller, needs(Scope.TRANSFERS_REQUEST)]
    ) -> schemas.Intervention:
        """End a transfer that has no commit yet; the source confirms before it is final."""
        known = str(parse_transfer_id(transfer))
        done = await database.run(
            lambda tx: interventions.end(tx, node, known, caller=caller, reason=wanted.reason), "end"
        )
        await database.ring()
        return schemas.Intervention.model_validate(done, from_attributes=True)

    @router.post("/transfers/{transfer}/resume", status_code=202)
    async def resume(transfer: str, caller: Annotated[Caller, needs(Scope.TRANSFERS_REQUEST)]) -> schemas.Approval:
        """Ask that a transfer in ``attention`` asks again; it does when another person approves that."""
        known = str(parse_transfer_id(transfer))
        return await four_eyes.ask(caller, lambda tx: interventions.resumption(tx, caller, known))

    return router
