"""The gateway's own keys as operators and auditors see them; what is changed about them is a command at the gateway.

A caller bound to one link sees what that link was told and is owed, and traces the messages exchanged with it.
"""

from typing import Annotated

from fastapi import APIRouter

from gateway import db
from gateway.domain.callers import Caller, Scope
from gateway.keys import tracing, view
from gateway.messages.outbox import Node
from gateway.transfers import owing
from gateway.web import schemas
from gateway.web.auth import needs


def keys(database: db.Database, node: Node) -> APIRouter:
    """The routes of keys."""
    router = APIRouter(tags=["keys"])

    @router.get("/keys")
    async def listing(caller: Annotated[Caller, needs(Scope.LINKS_READ)]) -> schemas.OwnKeys:
        """Every key this gateway has signed with or announced: who has receipted it, and the oldest of what it owes."""
        async with database.reading() as tx:
            found = await view.listing(tx, owing.unanswered, caller.sight)
        return schemas.OwnKeys.model_validate(found, from_attributes=True)

    @router.get("/messages/{message}/key")
    async def which(message: str, caller: Annotated[Caller, needs(Scope.AUDIT_READ)]) -> schemas.Traces:
        """Which key signed a message and whether it was valid then, by the entries of the log alone."""
        async with database.reading() as tx:
            found = await tracing.which(tx, node.code, message, caller.sight)
        return schemas.Traces(messages=[schemas.Trace.model_validate(one, from_attributes=True) for one in found])

    return router
