"""The operator's side for disturbing a registry: where it dies, which faults its messages meet, when it asks.

Like ``admin``: not authenticated, for tests and a loopback address only. A name that is not known is refused.
"""

from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter
from pydantic import Field, model_validator

from . import arrivals, crash, faults, status
from .envelope import INCOMING
from .forms import Closed, named
from .registry import Registry
from .sender import Sender

#: Message types that leave this registry by themselves.
SENT = {name.removeprefix("send.") for name in crash.SENDS} - {"keys"}
#: Longest delay.
MAX_SECONDS = 600.0


class Death(Closed):
    """The place of ``crash`` to die at, and at the how manieth passing."""

    point: Annotated[str, named(crash.POINTS, "a crash point")]
    n: int = Field(default=1, ge=1)


class FaultWish(Closed):
    """A fault to set: see ``faults``."""

    fault: Annotated[str, named(arrivals.FAULTS, "a fault")]
    direction: Literal["in", "out"] = "in"
    type: Annotated[str, named({"*", *INCOMING, *SENT}, "a message type")] = "*"
    times: int = Field(default=1, ge=1)
    skip: int = Field(default=0, ge=0)
    seconds: float = Field(default=0.0, ge=0.0, le=MAX_SECONDS)
    code: int = Field(default=9003, ge=1000, le=9999)

    @model_validator(mode="after")
    def _can_be(self) -> Self:
        if self.direction == "out" and self.fault not in faults.BOTH_WAYS:
            raise ValueError(f"{self.fault} is a fault of the receiver: direction in")
        if self.type not in ("*", *(INCOMING if self.direction == "in" else SENT)):
            raise ValueError(f"no {self.type} goes this way")
        if self.fault == "refuse-settle" and self.type != "transfer.settle":
            raise ValueError("refuse-settle is for transfer.settle")
        return self


def router(registry: Registry, sender: Sender) -> APIRouter:
    """Make the routes of one registry."""
    routes = APIRouter(prefix="/admin")
    _die(routes, registry)
    _fail(routes, registry)
    _ask(routes, registry, sender)
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


def _fail(routes: APIRouter, registry: Registry) -> None:
    @routes.post("/faults", status_code=201)
    async def add(wish: FaultWish) -> dict[str, Any]:
        members = wish.model_dump()
        return {"id": registry.faults.add(left=members.pop("times"), **members).id}

    @routes.get("/faults")
    async def listed() -> dict[str, Any]:
        shown = ("id", "fault", "direction", "type", "left", "fired")
        return {"faults": [{name: getattr(fault, name) for name in shown} for fault in registry.faults.set]}

    @routes.delete("/faults")
    async def clear() -> dict[str, Any]:
        registry.faults.clear()
        return await listed()


def _ask(routes: APIRouter, registry: Registry, sender: Sender) -> None:
    @routes.post("/ask")
    async def ask() -> dict[str, int]:
        return {"asked": await status.ask_waiting(registry, sender, at_once=True)}
