"""What operators and jobs call of reconciliations: ask for one, see how it goes, read what it found.

Asking needs ``reconciliation:run``, reading ``books:read``. Each caller sees the runs of its link, and of a link with
several books its own.
"""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse

from gateway import db
from gateway.domain.callers import Caller, Scope
from gateway.domain.check_codes import text
from gateway.messages.outbox import Node
from gateway.reconciliation import commands, view
from gateway.reconciliation.page import POLICY, page
from gateway.signing import compact
from gateway.web import reconciling_schemas as schemas
from gateway.web.auth import needs
from gateway.web.schemas import Moment

_SHAPE = {"text/html": {"schema": {"type": "string"}}}
_HTML: dict[int | str, dict[str, Any]] = {200: {"description": "The page.", "content": _SHAPE}}


def reconciling(database: db.Database, node: Node, announce_seconds: int) -> APIRouter:
    """The routes; a cut is announced ``announce_seconds`` ahead where nothing else is asked for."""
    router = APIRouter(tags=["reconciliation"])

    @router.post("/reconciliations", status_code=202)
    async def start(
        caller: Annotated[Caller, needs(Scope.RECONCILIATION_RUN)], wanted: schemas.Wanted
    ) -> list[schemas.Run]:
        """Have a link reconciled now, or every link that the caller sees; a worker does it.

        409 with 3002 while a run of the named link is under way. Another announcement than is usual here only the
        people of the link and the gateway's own may ask for (8001). Without a name such runs are among those answered.
        """
        announcing = commands.Announcing(announce_seconds, wanted.announce_seconds)

        async def ask(tx: db.Tx) -> list[str]:
            whole = wanted.whole
            if wanted.link is None:
                return await commands.request_all(tx, node, caller=caller, announcing=announcing, whole=whole)
            return [await commands.request(tx, node, wanted.link, caller=caller, announcing=announcing, whole=whole)]

        runs = await database.run(ask, "reconcile.request")
        await database.ring()
        async with database.reading() as tx:
            found = [await view.report(tx, caller.sight, run) for run in runs]
        return [schemas.Run.model_validate(one.run, from_attributes=True) for one in found]

    @router.get("/reconciliations")
    async def listing(
        caller: Annotated[Caller, needs(Scope.BOOKS_READ)],
        link: Annotated[str | None, Query(pattern="^[A-Z]{3}[0-9]{2}$")] = None,
        before: Annotated[Moment | None, Query()] = None,
        limit: Annotated[int, Query(ge=1, le=view.MAX_RUNS)] = 50,
    ) -> schemas.RunPage:
        """Reconciliations that the caller sees: those that have not ended, then the others, the last first."""
        async with database.reading() as tx:
            found = await view.listing(tx, caller.sight, link=link, before=before, limit=limit)
        following: datetime | None = found[-1].ended_at if len(found) == limit else None
        runs = [schemas.Run.model_validate(one, from_attributes=True) for one in found]
        return schemas.RunPage(reconciliations=runs, next=following)

    @router.get("/reconciliations/{reconciliation}")
    async def show(
        reconciliation: UUID,
        caller: Annotated[Caller, needs(Scope.BOOKS_READ)],
        after: Annotated[int, Query(ge=0, le=2**63 - 1)] = 0,
        limit: Annotated[int, Query(ge=1, le=view.MAX_FINDINGS)] = 100,
    ) -> schemas.Report:
        """One reconciliation: what was compared, at which cut, what it took, and its findings down to serials."""
        async with database.reading() as tx:
            found = await view.report(tx, caller.sight, str(reconciliation), after=after, limit=limit)
        return _shown(found)

    @router.get("/reconciliations/{reconciliation}/report", response_class=HTMLResponse, responses=_HTML)
    async def report(reconciliation: UUID, caller: Annotated[Caller, needs(Scope.BOOKS_READ)]) -> HTMLResponse:
        """The same as a page to be read and printed."""
        async with database.reading() as tx:
            found = await view.report(tx, caller.sight, str(reconciliation))
        return HTMLResponse(page(found), headers={"content-security-policy": POLICY})

    return router


def _shown(found: view.Report) -> schemas.Report:
    books = [
        schemas.Book(
            registry=one.registry,
            root=compact.encode(one.root),
            there=None if one.theirs is None else compact.encode(one.theirs),
            totals=[schemas.Total(**total) for total in one.totals],
            totals_there=[schemas.Total(**total) for total in one.totals_there],
            codes=one.codes,
        )
        for one in found.books
    ]
    findings = [
        schemas.Finding(**{name: getattr(one, name) for name in type(one).__slots__}, text=text(one.code))
        for one in found.findings
    ]
    run = schemas.Run.model_validate(found.run, from_attributes=True)
    return schemas.Report(
        run=run, books=books, findings=findings, found=found.found, explained=found.explained, next=found.next
    )
