"""The operator's calls for what a host Party decides: authorising, revoking, stating."""

from typing import Any

from fastapi import APIRouter

from . import authorising
from .authorisation_forms import Authorise, Revoke, Statement
from .authorisations import Version
from .registry import Registry


def add(routes: APIRouter, registry: Registry) -> None:
    """Add the routes."""
    database = registry.database

    @routes.post("/authorisations", status_code=201)
    async def authorise(wanted: Authorise) -> dict[str, Any]:
        version = Version(wanted.stated(), [units.model_dump() for units in wanted.units])
        if wanted.force:
            await database.run("admin.authorisations", lambda tx: authorising.only_say(tx, registry, version))
        else:
            announce = wanted.announce
            await database.run(
                "admin.authorisations",
                lambda tx: authorising.authorise(tx, registry, version, announce=announce),
            )
        return {"party": wanted.party, "id": wanted.id, "version": wanted.version}

    @routes.post("/authorisations/revoke", status_code=201)
    async def revoke(wanted: Revoke) -> dict[str, Any]:
        ref = (wanted.party, wanted.id, wanted.version)
        action = await database.run(
            "admin.authorisations", lambda tx: authorising.revoke(tx, registry, ref, wanted.reason)
        )
        return {"action": action}

    @routes.post("/statements", status_code=201)
    async def state(wanted: Statement) -> dict[str, Any]:
        action = await database.run(
            "admin.authorisations",
            lambda tx: authorising.state(
                tx, registry, wanted.party, wanted.activity, wanted.says, wanted.transitioned_from
            ),
        )
        return {"action": action}
