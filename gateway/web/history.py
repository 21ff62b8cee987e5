"""What operators see of the history of their units: what was pulled, how far that is, and what its source shows now.

Reading what is here needs ``books:read``; having it pulled, or looking at its source, which costs that registry a
question, needs ``history:pull``.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from gateway import db
from gateway.domain.callers import Caller, Scope
from gateway.domain.history import MAX_PAGE, HistoryType
from gateway.domain.identifiers import parse_account, parse_link_code, parse_party, parse_registry_code
from gateway.domain.units import UnitRange
from gateway.domain.wire import MAX_TEXT, range_to_wire, time_to_wire
from gateway.errors import GatewayError, Kind
from gateway.history import call_store, difference, live, view
from gateway.history.view import Wanted
from gateway.messages.outbox import Node
from gateway.web import history_schemas as schemas
from gateway.web.auth import needs
from gateway.web.schemas import Moment

Source = Annotated[str, Query(pattern="^[A-Z]{3}[0-9]{2}$", examples=["MEC01"])]
Registry = Annotated[str, Query(pattern="^[A-Z]{3}[0-9]{2}$", examples=["KOR01"])]
_Text = Annotated[str | None, Query(min_length=1, max_length=MAX_TEXT)]
#: The longest place in a source's feed or in its list: a cursor is a number and a digest.
_AFTER = Query(min_length=1, max_length=256)


def narrowed(
    account: Annotated[str | None, Query(max_length=20)] = None,
    party: Annotated[str | None, Query(max_length=3)] = None,
    activity: _Text = None,
    authorisation: _Text = None,
    vintage: Annotated[int | None, Query(ge=1, le=9999)] = None,
    units: Annotated[str | None, Query(max_length=view.MAX_UNITS, examples=["MEC01/MMR-A64/1-17"])] = None,
) -> Wanted:
    """What is looked for, of holdings or of records. Raises as the parsers of its parts do."""
    if units is not None:
        view.parse_units(units)
    return Wanted(
        account=str(parse_account(account)) if account is not None else None,
        party=parse_party(party) if party is not None else None,
        activity=activity,
        authorisation=authorisation,
        vintage=vintage,
        units=units,
    )


def wanted(
    narrow: Annotated[Wanted, Depends(narrowed)],
    type: HistoryType | None = None,
    since: Annotated[Moment | None, Query()] = None,
    until: Annotated[Moment | None, Query()] = None,
) -> Wanted:
    """What is looked for of records; ``since`` is in it, ``until`` is not."""
    if since is not None and until is not None and until <= since:
        raise GatewayError(Kind.MALFORMED, "the time ends before it begins", code=2014)
    parts = {name: getattr(narrow, name) for name in Wanted.__slots__}
    return Wanted(**{**parts, "type": type, "since": since, "until": until})


_Holdings = Annotated[Wanted, Depends(narrowed)]
_Records = Annotated[Wanted, Depends(wanted)]


def history(database: db.Database, node: Node, at_source: live.Live) -> APIRouter:
    """Pulled history, its feeds, and the view of the sources."""
    router = APIRouter(tags=["history"])

    @router.get("/history")
    async def records(
        caller: Annotated[Caller, needs(Scope.BOOKS_READ)],
        what: _Records,
        source: Annotated[str | None, Query(max_length=5)] = None,
        registry: Annotated[str | None, Query(max_length=5)] = None,
        limit: Annotated[int, Query(ge=1, le=view.MAX_PAGE)] = 50,
        cursor: Annotated[str | None, Query(max_length=view.MAX_CURSOR)] = None,
    ) -> schemas.PulledPage:
        """Records that were pulled and that the caller sees, newest first; the sources are not asked."""
        feed = {
            "source": parse_link_code(source) if source is not None else None,
            "registry": parse_registry_code(registry) if registry is not None else None,
        }
        parts = {name: getattr(what, name) for name in Wanted.__slots__}
        async with database.reading() as tx:
            found = await view.page(tx, caller.sight, Wanted(**parts | feed), limit=limit, cursor=cursor)
        return schemas.PulledPage.model_validate(found, from_attributes=True)

    @router.get("/history/feeds")
    async def feeds(caller: Annotated[Caller, needs(Scope.BOOKS_READ)]) -> list[schemas.Feed]:
        """How far each feed that the caller sees is pulled and handed on, and why one waits."""
        async with database.reading() as tx:
            found = await view.feeds(tx, caller.sight)
        return [schemas.Feed.model_validate(one, from_attributes=True) for one in found]

    @router.get("/history/feeds/{source}/{registry}")
    async def feed(source: str, registry: str, caller: Annotated[Caller, needs(Scope.BOOKS_READ)]) -> schemas.FeedFound:
        """One feed, and what was found in its pages and records."""
        named = parse_link_code(source), parse_registry_code(registry)
        async with database.reading() as tx:
            _, one = await view.feed(tx, caller.sight, *named)
            found = await view.findings(tx, caller.sight, *named)
        return schemas.FeedFound.model_validate({"feed": one, "found": found}, from_attributes=True)

    @router.post("/history/feeds/{source}/{registry}/pull", status_code=202)
    async def pull(source: str, registry: str, caller: Annotated[Caller, needs(Scope.HISTORY_PULL)]) -> schemas.Feed:
        """Have a feed of the caller's registry pulled now; a worker does it."""
        named = parse_link_code(source), parse_registry_code(registry)
        one = await database.run(lambda tx: _called(tx, node, caller, *named), "call")
        await database.ring()
        return schemas.Feed.model_validate(one, from_attributes=True)

    router.include_router(_viewing(database, at_source))
    return router


def _viewing(database: db.Database, at_source: live.Live) -> APIRouter:
    router = APIRouter()

    @router.get("/history/live/holdings")
    async def holdings(
        caller: Annotated[Caller, needs(Scope.HISTORY_PULL)],
        source: Source,
        registry: Registry,
        what: _Holdings,
        after: Annotated[str | None, _AFTER] = None,
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100,
    ) -> schemas.Shown:
        """What the registry's Party holds in the source now, and what of its units others hold there."""
        found = await at_source.holdings(caller.sight, source, registry, _selected(what), after=after, limit=limit)
        return schemas.Shown.model_validate(found, from_attributes=True)

    @router.get("/history/live/records")
    async def records(
        caller: Annotated[Caller, needs(Scope.HISTORY_PULL)],
        source: Source,
        registry: Registry,
        what: _Records,
        after: Annotated[str | None, _AFTER] = None,
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100,
    ) -> schemas.Shown:
        """The records that the source shows the registry now, in the order of its feed; nothing is pulled."""
        found = await at_source.records(caller.sight, source, registry, _selected(what), after=after, limit=limit)
        return schemas.Shown.model_validate(found, from_attributes=True)

    @router.get("/history/difference")
    async def compared(
        caller: Annotated[Caller, needs(Scope.HISTORY_PULL)],
        source: Source,
        registry: Registry,
        after: Annotated[str, _AFTER] = "0",
    ) -> schemas.Comparison:
        """Hold what was pulled against the source's feed, some thousand records from number ``after`` on."""
        found = await difference.compare(database, at_source, caller.sight, source, registry, after=after)
        return schemas.Comparison.model_validate(found, from_attributes=True)

    return router


async def _called(tx: db.Tx, node: Node, caller: Caller, source: str, registry: str) -> view.Feed:
    """The feed, which is due from now on; raises CONFLICT 8004 for one that was stopped."""
    if caller.sight.code == source:  # who is asked does not say when
        raise caller.sight.absent("no such history is pulled here", 8001)
    reading = db.ReadTx(tx)
    feed_id, found = await view.feed(reading, caller.sight, source, registry)
    if found.stopped:
        raise GatewayError(Kind.CONFLICT, "its past is another one: two persons must look at it first", code=8004)
    await call_store.call_for(tx, feed_id)
    return (await view.feed(reading, caller.sight, source, registry))[1]


def _selected(what: Wanted) -> dict[str, Any]:
    """What a source is asked for, as the protocol writes it."""
    named = {name: getattr(what, name) for name in ("account", "party", "activity", "authorisation", "vintage")}
    times = {"since": what.since, "until": what.until}
    named |= {name: time_to_wire(at) for name, at in times.items() if at is not None}
    named |= {"type": what.type.value} if what.type is not None else {}
    if what.units is not None:
        units = view.parse_units(what.units)
        if not isinstance(units, UnitRange):
            detail = "at the source units are named by their origin: REGISTRY/SERIES/FIRST[-LAST]"
            raise GatewayError(Kind.MALFORMED, detail, code=2006)
        named["units"] = range_to_wire(units)
    return {name: value for name, value in named.items() if value is not None}
