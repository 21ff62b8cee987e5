"""The operator's side of books by hand: planted differences, corrections, lies about cuts, and what was found.

Like ``admin``: not authenticated, for tests and a loopback address only.
"""

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import AfterValidator, Field

from . import admin, by_hand, cut_lies, reconciled, shapes
from .forms import AccountNumber, Closed, Correction, PartyCode, Range, named
from .registry import Registry


def _block(value: dict[str, Any]) -> dict[str, Any]:
    if not shapes.is_block(value):
        raise ValueError("not a block of units")
    return value


class Lost(Closed):
    """Units that are to vanish."""

    units: Range


class Invented(Closed):
    """A block of units to be put into an account."""

    party: PartyCode
    account: AccountNumber = "100-1"
    block: Annotated[dict[str, Any], AfterValidator(_block)]


class Changed(Closed):
    """Units, and the attributes that they are to have instead of theirs."""

    units: Range
    attributes: dict[str, Any]


class Moved(Closed):
    """Units, and the account they are to be in."""

    units: Range
    party: PartyCode
    account: AccountNumber


class Lie(Closed):
    """A lie about cuts (``cut_lies``): to how many answers, after how many true ones."""

    lie: Annotated[str, named(cut_lies.LIES, "a lie about cuts")]
    times: int = Field(default=1, ge=1)
    skip: int = Field(default=0, ge=0)


def router(registry: Registry) -> APIRouter:
    """Make the routes of one registry."""
    routes = APIRouter(prefix="/admin", dependencies=[admin.in_service(registry)])
    _plant(routes, registry)
    _correct(routes, registry)
    _lie(routes, registry)
    return routes


def _plant(routes: APIRouter, registry: Registry) -> None:
    run = registry.database.run

    @routes.post("/books/lose")
    async def lose(wish: Lost) -> dict[str, int]:
        return {"quantity": await run("admin.books", lambda tx: by_hand.lose(tx, wish.units.model_dump()))}

    @routes.post("/books/invent")
    async def invent(wish: Invented) -> dict[str, int]:
        to = (wish.party, wish.account)
        return {"quantity": await run("admin.books", lambda tx: by_hand.invent(tx, registry, *to, wish.block))}

    @routes.post("/books/change")
    async def change(wish: Changed) -> dict[str, int]:
        units = wish.units.model_dump()
        return {"quantity": await run("admin.books", lambda tx: by_hand.change(tx, units, wish.attributes))}

    @routes.post("/books/move")
    async def move(wish: Moved) -> dict[str, int]:
        units, to = wish.units.model_dump(), (wish.party, wish.account)
        return {"quantity": await run("admin.books", lambda tx: by_hand.move(tx, registry, units, *to))}


def _correct(routes: APIRouter, registry: Registry) -> None:
    run = registry.database.run

    @routes.post("/books/correct", status_code=201)
    async def correct(wish: Correction) -> dict[str, Any]:
        return await run("admin.books", lambda tx: by_hand.correct(tx, registry, wish.model_dump()))

    @routes.get("/corrections")
    async def corrections() -> dict[str, Any]:
        return {"corrections": await run("admin.look", by_hand.corrections)}

    @routes.get("/reconciliations")
    async def reconciliations() -> dict[str, Any]:
        return {"reconciliations": await run("admin.look", reconciled.listed)}


def _lie(routes: APIRouter, registry: Registry) -> None:
    lies = registry.cut_lies

    @routes.post("/cuts/lies", status_code=201)
    async def tell(wish: Lie) -> dict[str, Any]:
        lies.waiting.append(cut_lies.Waiting(wish.lie, wish.times, wish.skip))
        return {"waiting": [one.lie for one in lies.waiting]}

    @routes.delete("/cuts/lies")
    async def clear() -> dict[str, Any]:
        lies.clear()
        return {"waiting": []}
