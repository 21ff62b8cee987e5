"""Four eyes over HTTP: what takes two persons is answered 202 with an approval, and another person decides on it.

What could not be done any more when it was approved, or was decided on too late, is answered 409, though that it is
so is committed.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query

from gateway import db
from gateway.approvals import commands, store
from gateway.approvals.commands import Act, Executors
from gateway.approvals.store import Approval, State
from gateway.domain.callers import Caller, Scope
from gateway.errors import GatewayError, Kind
from gateway.messages.outbox import Node
from gateway.web import schemas
from gateway.web.auth import needs


class FourEyes:
    """Asks for acts, and has them done once they are approved; ``executors`` does each kind of act."""

    def __init__(self, database: db.Database, node: Node, executors: Executors) -> None:
        self._db = database
        self._node = node
        self._executors = executors

    async def ask(self, caller: Caller, act: Callable[[db.Tx], Awaitable[Act]]) -> schemas.Approval:
        """Ask that another person approves an act, which is put together in the same transaction."""
        commands.require_person(caller)

        async def work(tx: db.Tx) -> Approval:
            return await commands.request(tx, self._node, caller, await act(tx))

        return _shown(await self._db.run(work, "approvals.request"))

    async def approve(self, caller: Caller, approval: str, sha256: str) -> schemas.Approval:
        """Approve, and do it; raises CONFLICT for what is void or has expired, which is committed all the same."""

        async def work(tx: db.Tx) -> Approval:
            return await commands.approve(tx, self._node, caller, approval, sha256, self._executors)

        done = await self._db.run(work, "approvals.approve")
        await self._db.ring()
        return _shown(_in_time(done))

    async def decline(self, caller: Caller, approval: str, reason: str) -> schemas.Approval:
        """Decline; raises CONFLICT for what has expired."""

        async def work(tx: db.Tx) -> Approval:
            return await commands.decline(tx, self._node, caller, approval, reason, self._executors)

        return _shown(_in_time(await self._db.run(work, "approvals.decline")))


def approving(database: db.Database, node: Node, four_eyes: FourEyes) -> APIRouter:
    """What waits for a decision, and deciding."""
    router = APIRouter(tags=["approvals"])

    @router.get("/approvals")
    async def listing(
        caller: Annotated[Caller, needs(Scope.APPROVALS_READ)],
        state: State | None = None,
        limit: Annotated[int, Query(ge=1, le=store.MAX_PAGE)] = 50,
        before: UUID | None = None,
    ) -> schemas.ApprovalPage:
        """What was asked for, newest first."""
        async with database.reading() as tx:
            edge = await commands.show(tx, node, caller, str(before)) if before else None
            now = node.clock()
            found = await store.listing(tx, caller.sight, now, state=state, limit=limit, before=edge)
        following = found[-1].id if len(found) == limit else None
        return schemas.ApprovalPage(approvals=[_shown(one) for one in found], next=following)

    @router.get("/approvals/{approval}")
    async def show(approval: UUID, caller: Annotated[Caller, needs(Scope.APPROVALS_READ)]) -> schemas.Approval:
        """One of them: the text that says what is to be done, and its hash."""
        async with database.reading() as tx:
            return _shown(await commands.show(tx, node, caller, str(approval)))

    @router.post("/approvals/{approval}/approve")
    async def approve(
        approval: UUID, given: schemas.Consent, caller: Annotated[Caller, needs(Scope.APPROVALS_DECIDE)]
    ) -> schemas.Approval:
        """Approve what has this hash; it is done in the same moment. Nobody approves what they have asked for."""
        return await four_eyes.approve(caller, str(approval), given.sha256)

    @router.post("/approvals/{approval}/decline")
    async def decline(
        approval: UUID, given: schemas.Refusal, caller: Annotated[Caller, needs(Scope.APPROVALS_READ)]
    ) -> schemas.Approval:
        """Decline what was asked for, which needs ``approvals:decide``; who asked for it may take it back this way."""
        return await four_eyes.decline(caller, str(approval), given.reason)

    return router


def _in_time(done: Approval) -> Approval:
    if done.state is State.VOID:
        raise GatewayError(Kind.CONFLICT, f"this could not be done any more: {done.reason}", code=3002)
    if done.state is State.EXPIRED:
        raise GatewayError(Kind.CONFLICT, f"this has expired: {done.reason}", code=3005)
    return done


def _shown(found: Approval) -> schemas.Approval:
    members: dict[str, Any] = {name: getattr(found, name) for name in schemas.Approval.model_fields}
    return schemas.Approval(**members)
