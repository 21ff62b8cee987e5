"""Halting the gateway over HTTP: one administrator of the gateway at once, two to lift it."""

from typing import Annotated

from fastapi import APIRouter

from gateway import db
from gateway.approvals.commands import Act
from gateway.domain.callers import Caller, Scope
from gateway.halts import commands, store
from gateway.halts.store import Halt
from gateway.messages.outbox import Node
from gateway.web import schemas
from gateway.web.approving import FourEyes
from gateway.web.auth import needs


def halting(database: db.Database, node: Node, four_eyes: FourEyes) -> APIRouter:
    """Whether the gateway is halted, halting it, and asking that the halt is lifted."""
    router = APIRouter(tags=["halt"])

    @router.get("/halt")
    async def show(caller: Annotated[Caller, needs(Scope.TRANSFERS_READ)]) -> schemas.Halt:
        """Whether the gateway is halted, and why."""
        async with database.reading() as tx:
            return _shown(await store.now(tx))

    @router.post("/halt", status_code=201)
    async def halt(wanted: schemas.Refusal, caller: Annotated[Caller, needs(Scope.GATEWAY_HALT)]) -> schemas.Halt:
        """Take no proposal and no request from now on; what is committed comes to its end."""
        caller.require_all()
        return _shown(await database.run(lambda tx: commands.halt(tx, node, wanted.reason, caller), "halt"))

    @router.post("/halt/lift", status_code=202)
    async def lift(caller: Annotated[Caller, needs(Scope.GATEWAY_HALT)]) -> schemas.Approval:
        """Ask that the halt is lifted; it is when another administrator of the gateway approves that."""
        caller.require_all()

        async def act(tx: db.Tx) -> Act:
            return Act(commands.LIFT, None, await commands.lift_wanted(tx))

        return await four_eyes.ask(caller, act)

    return router


def _shown(found: Halt | None) -> schemas.Halt:
    if found is None:
        return schemas.Halt(halted=False, reason=None, by=None, since=None)
    return schemas.Halt(halted=True, reason=found.reason, by=found.by, since=found.at)
