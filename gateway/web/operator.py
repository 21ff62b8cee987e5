"""What operators call: transfers as they stand, requests for new ones, the totals of the book.

Whoever calls shows a token, which ``auth`` reads. Every caller sees what concerns the registry they are bound to, and
acts for that registry; what is refused them is refused as if it were not there (8001). Nothing here moves units: a
request asks the source registry, which alone can propose. What is watched, and where persons step in, is in
``watching``; who may call, in ``tokens`` and ``principals``; what auditors call at the same address, in ``audit``.
"""

from typing import Annotated

from fastapi import APIRouter, FastAPI, Header, Query

from gateway import db
from gateway.access.endpoint import Endpoint
from gateway.approvals.commands import Executors
from gateway.domain.callers import Caller, Scope
from gateway.domain.identifiers import Address as DomainAddress
from gateway.domain.identifiers import parse_account, parse_party, parse_registry_code, parse_transfer_id
from gateway.domain.proposals import parse_purpose
from gateway.domain.transfers import State
from gateway.halts import store as halts
from gateway.history.live import Live
from gateway.holdings import actions
from gateway.messages.inbox import Inbox
from gateway.messages.outbox import Node
from gateway.requests import commands as requests
from gateway.requests.commands import Wish
from gateway.requests.store import Request
from gateway.transfers import view
from gateway.web import audit, principals, problems, schemas, tokens
from gateway.web.approving import FourEyes, approving
from gateway.web.auth import Callers, needs
from gateway.web.authorising import authorising
from gateway.web.cases import casing
from gateway.web.evidence import evidence
from gateway.web.guard import MAX_BODY, Guard
from gateway.web.halting import halting
from gateway.web.history import history
from gateway.web.keys import keys
from gateway.web.linking import linking
from gateway.web.reconciling import reconciling
from gateway.web.reporting import reporting
from gateway.web.watching import stepping_in, watching


def app(
    database: db.Database,
    node: Node,
    inbox: Inbox,
    callers: Callers,
    executors: Executors,
    endpoint: Endpoint | None = None,
    *,
    live: Live,
    quorum: int = 1,
    announce_seconds: int = 900,
) -> FastAPI:
    """The application that faces operators: ``callers`` tells who they are, ``executors`` does what two approve, and
    ``endpoint`` gives tokens, ``live`` asks registries what people look at there. ``quorum`` witnesses make a
    checkpoint of evidence witnessed; the cut of a reconciliation is announced ``announce_seconds`` ahead.
    """
    four_eyes = FourEyes(database, node, executors)
    application = FastAPI(title="Article 6 gateway: operator API", version="1", docs_url=None, redoc_url=None)
    application.state.callers = callers
    application.include_router(_health(database))
    for router in (
        _transfers(database, node),
        stepping_in(database, node, four_eyes),
        linking(database, node, four_eyes),
        halting(database, node, four_eyes),
        approving(database, node, four_eyes),
        watching(database),
        authorising(database, four_eyes),
        casing(database, node, four_eyes),
        _books(database, inbox),
        history(database, node, live),
        reconciling(database, node, announce_seconds),
        reporting(database, node),
        keys(database, node),
        evidence(database, node, quorum),
        principals.routes(database, node, four_eyes),
    ):
        application.include_router(router, prefix="/api/v1")
    application.include_router(audit.auditing(database), prefix=audit.PREFIX, include_in_schema=False)
    if endpoint is not None:
        application.include_router(tokens.routes(endpoint))
    problems.install(application)
    problems.publish(application)
    application.add_middleware(Guard, max_body=MAX_BODY)
    return application


def _health(database: db.Database) -> APIRouter:
    router = APIRouter()

    @router.get("/healthz")
    async def healthy() -> dict[str, str]:
        """The process answers."""
        return {"status": "ok"}

    @router.get("/readyz")
    async def ready() -> dict[str, str]:
        """The process can do its work: the database answers and its schema is there. During a halt it says so."""
        async with database.reading() as tx:
            await db.one(tx, "SELECT 1 FROM transfer LIMIT 1")
            halt = await halts.now(tx)
        return {"status": "halted" if halt else "ready"}

    return router


def _transfers(database: db.Database, node: Node) -> APIRouter:
    router = APIRouter(tags=["transfers"])

    @router.get("/transfers")
    async def listing(
        caller: Annotated[Caller, needs(Scope.TRANSFERS_READ)],
        state: State | None = None,
        limit: Annotated[int, Query(ge=1, le=view.MAX_PAGE)] = 50,
        before: Annotated[str | None, Query(max_length=64)] = None,
    ) -> schemas.TransferPage:
        """Transfers of the caller's registry, newest first."""
        edge = str(parse_transfer_id(before)) if before is not None else None
        async with database.reading() as tx:
            found = await view.listing(tx, caller.sight, state=state.value if state else None, limit=limit, before=edge)
            halt = await halts.now(tx)
        following = found[-1].id if len(found) == limit else None
        halted = halt.reason if halt else None
        return schemas.TransferPage(transfers=[_shown(row) for row in found], next=following, halted=halted)

    @router.get("/transfers/{transfer}")
    async def show(transfer: str, caller: Annotated[Caller, needs(Scope.TRANSFERS_READ)]) -> schemas.TransferCourse:
        """One transfer: its state, who acts next, why it waits, and every message behind it."""
        async with database.reading() as tx:
            course = await view.course(tx, caller.sight, str(parse_transfer_id(transfer)))
        return schemas.TransferCourse(
            transfer=_shown(course.transfer),
            blocks=[schemas.Block(**b) for b in course.blocks],
            events=[schemas.Event(**e) for e in course.events],
            messages=[schemas.Message(**m) for m in course.messages],
        )

    @router.post("/transfers", status_code=202)
    async def request(
        caller: Annotated[Caller, needs(Scope.TRANSFERS_REQUEST)],
        wish: schemas.TransferRequest,
        idempotency_key: Annotated[str, Header(min_length=1, max_length=128)],
    ) -> schemas.RequestState:
        """Ask the source registry to propose a transfer; the same key and content ask once."""
        read = Wish(_address(wish.transferring), _address(wish.acquiring), parse_purpose(wish.purpose), wish.quantity)

        async def ask(tx: db.Tx) -> Request:
            return await requests.ask(tx, node, read, caller=caller, idempotency_key=idempotency_key)

        made = await database.run(ask, "request")
        await database.ring()
        return schemas.RequestState(
            request=made.id, source=made.source, state=made.state, findings=made.findings,
            transfer=made.transfer, waiting=made.waiting,
        )  # fmt: skip

    return router


def _books(database: db.Database, inbox: Inbox) -> APIRouter:
    router = APIRouter(tags=["books"])

    @router.get("/books")
    async def books(caller: Annotated[Caller, needs(Scope.BOOKS_READ)]) -> schemas.Books:
        """What the gateway's book holds of the caller's registry; of all, with whether nothing is lost or doubled."""
        async with database.reading() as tx:
            found = await actions.totals(tx, caller.sight)
            tally = await view.tally(tx, caller.sight)
        everything = caller.sight.code is None
        return schemas.Books(
            registries=[schemas.RegistryTotals.model_validate(t, from_attributes=True) for t in found],
            conservation=("holds" if actions.conserved(found) else "broken") if everything else None,
            transfers=tally,
        )

    @router.get("/strangers")
    async def strangers(caller: Annotated[Caller, needs(Scope.AUDIT_READ)]) -> list[schemas.Stranger]:
        """The last messages that no registered key vouched for, as this process saw them; nobody's registry's."""
        caller.require_all()
        return [schemas.Stranger.model_validate(s, from_attributes=True) for s in inbox.strangers]

    return router


def _address(given: schemas.Address) -> DomainAddress:
    return DomainAddress(parse_registry_code(given.registry), parse_party(given.party), parse_account(given.account))


def _shown(row: view.TransferRow) -> schemas.Transfer:
    return schemas.Transfer(
        id=row.id,
        source=row.source,
        acquirer=row.acquirer,
        transferring=schemas.StatedAddress(
            registry=row.transferring_registry, party=row.transferring_party, account=row.transferring_account
        ),
        acquiring=schemas.StatedAddress(
            registry=row.acquiring_registry, party=row.acquiring_party, account=row.acquiring_account
        ),
        purpose=row.purpose,
        quantity=row.quantity,
        state=row.state,
        kyoto_status=State(row.state).kyoto_status,
        outcome=row.outcome,
        findings=row.findings,
        deadline=row.deadline,
        next_action=row.next_action,
        next_at=row.next_at,
        attempts=row.attempts,
        waiting=row.waiting,
        created_at=row.created_at,
        changed_at=row.changed_at,
    )
