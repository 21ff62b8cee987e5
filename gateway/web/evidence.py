"""Evidence over the operator API: the bundle of one transfer, as a file that verifies anywhere."""

from typing import Annotated

from fastapi import APIRouter
from fastapi.responses import Response

from gateway import db
from gateway.domain.callers import Caller, Scope
from gateway.domain.identifiers import parse_transfer_id
from gateway.evidence import bundle
from gateway.messages.outbox import Node
from gateway.web.auth import needs_one

_SHAPE = {"type": "object", "description": "An evidence bundle: openapi/evidence.schema.json."}


def evidence(database: db.Database, node: Node, quorum: int) -> APIRouter:
    """The route of evidence. ``quorum`` witnesses make a checkpoint witnessed."""
    router = APIRouter(tags=["evidence"])

    @router.get(
        "/transfers/{transfer}/evidence",
        response_class=Response,
        responses={200: {"description": "The bundle.", "content": {"application/json": {"schema": _SHAPE}}}},
    )
    async def show(
        transfer: str, caller: Annotated[Caller, needs_one(Scope.AUDIT_READ, Scope.TRANSFERS_READ)]
    ) -> Response:
        """The evidence of one transfer, for its own people and for auditors who see it.

        409 with 3006 and Retry-After while its last entries are not in a published checkpoint.
        """
        known = str(parse_transfer_id(transfer))
        if caller.sight.code is None:  # bound to all: nobody's own people
            caller.require(Scope.AUDIT_READ)
        async with database.reading() as tx:
            made = await bundle.collect(tx, node.code, caller.sight, known, quorum=quorum, synthetic=node.signer.demo)
        return Response(bundle.written(made), media_type="application/json")

    return router
