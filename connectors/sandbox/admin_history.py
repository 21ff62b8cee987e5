"""The operator's side of history: feeds, what was told of elsewhere, the chain of units; lies about it, and tricks.

Like ``admin``: not authenticated, for tests and a loopback address only.
"""

from typing import Annotated, Any, Self

from fastapi import APIRouter, Query
from pydantic import Field, model_validator

from . import admin, books, feeds, history, history_lies, history_pages, told_history
from .database import Tx
from .forms import Closed, PartyCode, Serial, named
from .history_lies import LIES
from .history_tricks import TRICKS, written
from .registry import Registry
from .sender import Sender

#: Records one listing gives.
MAX_ROWS = 10_000

Limit = Annotated[int, Query(ge=1, le=MAX_ROWS)]
After = Annotated[int, Query(ge=0)]


class Lie(Closed):
    """A lie about a Party's feed (``history_lies``), or a trick on the next page (``history_tricks``)."""

    lie: Annotated[str, named({*LIES, *TRICKS}, "a lie about history")]
    party: PartyCode | None = None
    number: Serial | None = None
    count: Serial = 1
    changes: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _of_a_party(self) -> Self:
        if (self.lie in LIES) != (self.party is not None):
            raise ValueError("a lie is told to a party, a trick is played on whoever comes next")
        return self


class Viewers(Closed):
    """The Parties that may not view."""

    shut: list[PartyCode]


def router(registry: Registry, sender: Sender) -> APIRouter:
    """Make the routes of one registry."""
    routes = APIRouter(prefix="/admin/history", dependencies=[admin.in_service(registry)])
    _look(routes, registry)
    _lie(routes, registry)

    @routes.post("/ask")
    async def ask() -> dict[str, int]:
        known = await registry.database.run("admin.look", told_history.known_feeds)
        told_history.wanted(registry, known)
        return {"asked": await told_history.ask_lacking(registry, sender)}

    return routes


def _look(routes: APIRouter, registry: Registry) -> None:
    database = registry.database

    @routes.get("")
    async def feed(party: str, after: After = 0, limit: Limit = 1000) -> dict[str, Any]:
        while (placed := await database.run("history.place", lambda tx: feeds.place(tx, party)))[1]:
            pass
        end = placed[0]
        found = await database.run("admin.look", lambda tx: feeds.read(tx, party, after, end.number, limit))
        return {"end": written(end), "records": [{"number": e.place.number, "text": e.text} for e in found]}

    @routes.get("/told")
    async def told(source: str, code: str, after: After = 0, limit: Limit = 1000) -> dict[str, Any]:
        end, found = await database.run("admin.look", lambda tx: told_history.listed(tx, source, code, after, limit))
        return {"end": written(end), "records": found}

    @routes.get("/units")
    async def units(origin: str, series: str, first: int, last: int) -> dict[str, Any]:
        asked = (origin, series, first, last)
        return {"records": await database.run("admin.look", lambda tx: history.of_units(tx, *asked))}


def _lie(routes: APIRouter, registry: Registry) -> None:
    @routes.post("/lies", status_code=201)
    async def tell(wish: Lie) -> dict[str, Any]:
        if wish.party is None:
            registry.tricks.waiting.append(wish.lie)
            return {"waiting": registry.tricks.waiting}
        told = history_lies.Wish(wish.party, wish.number or 0, wish.count, wish.changes)
        return await registry.database.run("admin.lies", lambda tx: history_lies.tell(tx, wish.lie, told))

    @routes.post("/viewers")
    async def shut(wish: Viewers) -> dict[str, Any]:
        await registry.database.run("admin.policy", lambda tx: _shut(tx, wish.shut))
        return wish.model_dump()


async def _shut(tx: Tx, parties: list[str]) -> None:
    await tx.execute(
        "INSERT INTO setting (name, value) VALUES (%s, %s::jsonb)"
        " ON CONFLICT (name) DO UPDATE SET value = EXCLUDED.value",
        history_pages.SHUT,
        books.plain(parties),
    )
