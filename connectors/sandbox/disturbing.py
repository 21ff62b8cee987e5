"""The operator's side for disturbing a registry: where it dies.

Like ``admin``: not authenticated, for tests and a loopback address only. A name that is not known is refused.
"""

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field

from . import crash
from .forms import Closed, named
from .registry import Registry


class Death(Closed):
    """The place of ``crash`` to die at, and at the how manieth passing."""

    point: Annotated[str, named(crash.POINTS, "a crash point")]
    n: int = Field(default=1, ge=1)


def router(registry: Registry) -> APIRouter:
    """Make the routes of one registry."""
    routes = APIRouter(prefix="/admin")
    _die(routes, registry)
    return routes


def _die(routes: APIRouter, registry: Registry) -> None:
    points = registry.database.crash

    @routes.post("/crash", status_code=201)
    async def arm(death: Death) -> dict[str, Any]:
        points.arm(death.point, death.n)
        return death.model_dump()

    @routes.get("/crash")
    async def passed() -> dict[str, Any]:
        return {"points": crash.POINTS, "passed": points.passed}
