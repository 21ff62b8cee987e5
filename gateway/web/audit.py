"""What auditors call: search the log, export it, follow one unit. An audience of its own, with a document of its own.

Served at the operators' address under ``/api/v1/audit``, to callers with the scope ``audit:read``; each sees what
concerns the registry they are bound to, those bound to all see everything. ``openapi/audit.json`` is the contract.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Query
from fastapi.responses import JSONResponse, StreamingResponse

from gateway import db
from gateway.domain.callers import Caller, Scope
from gateway.domain.identifiers import parse_link_code, parse_party, parse_transfer_id
from gateway.errors import GatewayError, Kind
from gateway.evidence import export, provenance, search
from gateway.evidence.export import Format
from gateway.evidence.search import Wanted
from gateway.web import audit_schemas as schemas
from gateway.web import problems
from gateway.web.auth import needs
from gateway.web.schemas import Moment

PREFIX = "/api/v1/audit"
#: The longest name of a unit: a registry, a series and a serial, or an ITMO identifier.
_UNIT = Query(max_length=96, examples=["MEC01/MMR-A64/17", "CA0001-MMR01-MMR-17-2021"])
_STREAMS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Entries, oldest first; what shows that all are there is at the end (see the operation).",
        "content": {
            name: {"schema": {"type": "string", "format": "binary"}}
            for name in ("application/x-ndjson", "text/csv", "application/vnd.apache.parquet")
        },
    },
    415: {
        "description": "This gateway cannot write that format.",
        "content": {problems.CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    },
}


def wanted(
    transfer: Annotated[str | None, Query(max_length=64)] = None,
    unit: Annotated[str | None, _UNIT] = None,
    party: Annotated[str | None, Query(max_length=3)] = None,
    link: Annotated[str | None, Query(max_length=5)] = None,
    type: Annotated[str | None, Query(pattern=r"^[a-z][a-z.-]{0,63}$")] = None,
    code: Annotated[int | None, Query(ge=1000, le=9999)] = None,
    since: Annotated[Moment | None, Query()] = None,
    until: Annotated[Moment | None, Query()] = None,
    actor: Annotated[str | None, Query(pattern=r"^[A-Za-z0-9._@:-]{1,128}$")] = None,
) -> Wanted:
    """What is searched for; ``since`` is in it, ``until`` is not. Raises as the parsers of its parts do."""
    if unit is not None:
        search.parse_unit(unit)
    if since is not None and until is not None and until <= since:
        raise GatewayError(Kind.MALFORMED, "the time ends before it begins", code=2014)
    return Wanted(
        transfer=str(parse_transfer_id(transfer)) if transfer is not None else None,
        unit=unit,
        party=parse_party(party) if party is not None else None,
        link=parse_link_code(link) if link is not None else None,
        type=type,
        code=code,
        since=since,
        until=until,
        actor=actor,
    )


#: The restrictions of a search or an export, as they are asked for.
Asked = Annotated[Wanted, Depends(wanted)]


def auditing(database: db.Database) -> APIRouter:
    """Search, export and provenance."""
    router = APIRouter(tags=["audit"])

    @router.get("/entries")
    async def entries(
        caller: Annotated[Caller, needs(Scope.AUDIT_READ)],
        what: Asked,
        limit: Annotated[int, Query(ge=1, le=search.MAX_PAGE)] = 50,
        cursor: Annotated[str | None, Query(max_length=search.MAX_CURSOR)] = None,
    ) -> schemas.EntryPage:
        """Entries of the log that concern the caller's registry, newest first, with the checkpoint of this moment."""
        async with database.reading() as tx:
            found = await search.page(tx, caller.sight, what, limit=limit, cursor=cursor)
        return schemas.EntryPage.model_validate(found, from_attributes=True)

    @router.get("/export", response_class=StreamingResponse, responses=_STREAMS)
    async def exported(
        caller: Annotated[Caller, needs(Scope.AUDIT_READ)], what: Asked, format: Format = Format.NDJSON
    ) -> StreamingResponse:
        """The same entries, all of them, oldest first: the end says how many they are, and at which checkpoint.

        NDJSON ends with a line ``{"end": {"count", "checkpoint"}}``, CSV with a row ``#end``, count, checkpoint,
        Parquet with its footer, which has both as key-value metadata. What has no such end was cut off.
        """
        begun = await export.begun(database, caller.sight, what, format)
        return StreamingResponse(begun.chunks(), media_type=format.media_type)

    @router.get("/provenance")
    async def followed(
        caller: Annotated[Caller, needs(Scope.AUDIT_READ)], unit: Annotated[str, _UNIT]
    ) -> schemas.Provenance:
        """Every action that ever covered a unit (REGISTRY/SERIES/SERIAL or its ITMO identifier), from issuance on."""
        async with database.reading() as tx:
            found = await provenance.of(tx, caller.sight, unit)
        return schemas.Provenance.model_validate(found, from_attributes=True)

    @router.get("/openapi.json", include_in_schema=False)
    async def contract() -> JSONResponse:
        """The contract of these operations."""
        return JSONResponse(document(database))

    return router


def document(database: db.Database) -> dict[str, Any]:
    """The contract of the audit operations, at the paths they are served at."""
    alone = FastAPI(title="Article 6 gateway: audit API", version="1")
    alone.include_router(auditing(database), prefix=PREFIX)
    problems.publish(alone)
    return alone.openapi()
