"""The operator's side for disturbing a registry: where it dies, which faults its messages meet, what its clock
shows, what it says against its books, to what state it falls back, when it asks.

Like ``admin``: not authenticated, for tests and a loopback address only. A name that is not known is refused.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter
from pydantic import Field, model_validator

from . import arrivals, backup, clock, crash, faults, keys, lies, restoring, status
from .admin import in_service
from .duties import Background
from .envelope import INCOMING
from .forms import MAX_TRANSFERS, Closed, TransferId, named
from .registry import Registry
from .sender import Sender

#: Message types that leave this registry by themselves.
SENT = {name.removeprefix("send.") for name in crash.SENDS if name not in crash.UNSIGNED_SENDS}
#: Longest delay.
MAX_SECONDS = 600.0


class Death(Closed):
    """The place of ``crash`` to die at, and at the how manieth passing."""

    point: Annotated[str, named(crash.POINTS, "a crash point")]
    n: int = Field(default=1, ge=1)


class FaultWish(Closed):
    """A fault to set: see ``faults``."""

    fault: Annotated[str, named(arrivals.FAULTS, "a fault")]
    direction: Literal["in", "out", "both"] = "in"
    type: Annotated[str, named({"*", *INCOMING, *SENT}, "a message type")] = "*"
    times: int = Field(default=1, ge=1)
    skip: int = Field(default=0, ge=0)
    seconds: float = Field(default=0.0, ge=0.0, le=MAX_SECONDS)
    code: int = Field(default=9003, ge=1000, le=9999)
    key_file: str = Field(default="", max_length=4096)

    @model_validator(mode="after")
    def _can_be(self) -> Self:
        if self.fault == faults.DOWN:
            return self._everything()
        if self.direction == faults.BOTH:
            raise ValueError(f"{self.fault} strikes one direction")
        if self.direction == "out" and self.fault not in faults.BOTH_WAYS:
            raise ValueError(f"{self.fault} is a fault of the receiver: direction in")
        if self.type not in ("*", *(INCOMING if self.direction == "in" else SENT)):
            raise ValueError(f"no {self.type} goes this way")
        if self.fault == "refuse-settle" and self.type == "*":
            self.type = "transfer.settle"
        if self.fault == "refuse-settle" and self.type != "transfer.settle":
            raise ValueError("refuse-settle is for transfer.settle")
        if (self.fault == "anothers-signature") != bool(self.key_file):
            raise ValueError("anothers-signature, and nothing else, needs a key_file")
        if self.key_file:
            _is_key(Path(self.key_file))
        return self

    def _everything(self) -> Self:
        if not self.model_fields_set <= {"fault", "direction", "seconds"} or (
            "direction" in self.model_fields_set and self.direction != faults.BOTH
        ):
            raise ValueError("down strikes everything: no type, no times, no skip, and both directions")
        self.direction = faults.BOTH
        return self


def _is_key(path: Path) -> None:
    try:
        keys.load(path)
    except OSError as error:
        raise ValueError(f"key_file cannot be read: {error.strerror}") from error


class LieWish(Closed):
    """A lie to tell about one transfer: see ``lies``."""

    lie: Annotated[str, named(lies.LIES, "a lie")]
    transfer: TransferId


class Step(Closed):
    """How far ahead of the real time this process's clock stands (behind, where negative)."""

    seconds: float = Field(ge=-10 * 86_400, le=10 * 86_400)


class Restore(Closed):
    """Whether those who run the registry know that it fell back."""

    known: bool


class Synchronise(Closed):
    """The transfers since the backup, as the gateway's operator lists them; those open here are asked about anyway."""

    transfers: list[TransferId] = Field(default_factory=list, max_length=MAX_TRANSFERS)


def router(registry: Registry, sender: Sender, background: Background) -> APIRouter:
    """Make the routes of one registry."""
    routes = APIRouter(prefix="/admin")
    _die(routes, registry)
    _fail(routes, registry)
    _lie(routes, registry)
    _fall_back(routes, registry, sender, background)
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

    @routes.post("/clock")
    async def set_clock(wish: Step) -> dict[str, str]:
        clock.step(wish.seconds)
        return {"now": clock.now()}

    @routes.delete("/faults")
    async def clear() -> dict[str, Any]:
        registry.faults.clear()
        return await listed()


def _lie(routes: APIRouter, registry: Registry) -> None:
    @routes.post("/lies", status_code=201, dependencies=[in_service(registry)])
    async def tell(wish: LieWish) -> dict[str, str]:
        told = await registry.database.run("admin.lies", lambda tx: lies.tell(tx, registry, wish.lie, wish.transfer))
        return {"message": told}


def _fall_back(routes: APIRouter, registry: Registry, sender: Sender, background: Background) -> None:
    @routes.post("/backup")
    async def take() -> dict[str, str]:
        return {"at": await registry.database.run("admin.backup", backup.take)}

    @routes.post("/restore")
    async def restore(wish: Restore) -> dict[str, Any]:
        key = await restoring.restore(registry, background, known=wish.known)
        return {"key": key.public()}

    @routes.post("/synchronise")
    async def synchronise(wish: Synchronise) -> dict[str, Any]:
        states = await restoring.synchronise(registry, sender, background, wish.transfers)
        return {"asked": len(states), "states": states}

    @routes.post("/ask", dependencies=[in_service(registry)])
    async def ask() -> dict[str, int]:
        return {"asked": await status.ask_waiting(registry, sender, at_once=True)}
