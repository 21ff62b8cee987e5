"""The operator's calls for what happens to units inside one registry."""

from typing import Any

from fastapi import APIRouter

from . import actions, listing
from .action_forms import Adaptation, Cancel, FirstTransfer, Move, Reversal, Use
from .registry import Registry


def add(routes: APIRouter, registry: Registry) -> None:
    """Add the routes."""
    database = registry.database

    async def move(name: str, kind: str, wanted: Move) -> dict[str, Any]:
        action, holdings = await database.run(
            name,
            lambda tx: actions.move(
                tx,
                registry,
                kind,
                party=wanted.party,
                account=wanted.account,
                to_account=wanted.to_account,
                quantity=wanted.quantity,
                blocks=[block.model_dump() for block in wanted.blocks],
                said=wanted.said(),
                announce=wanted.announce,
            ),
        )
        return {"action": action, "holdings": listing.holdings(holdings)}

    @routes.post("/use", status_code=201)
    async def use(wanted: Use) -> dict[str, Any]:
        return await move("admin.use", "use", wanted)

    @routes.post("/cancel", status_code=201)
    async def cancel(wanted: Cancel) -> dict[str, Any]:
        return await move("admin.cancel", "cancellation", wanted)

    @routes.post("/adaptation", status_code=201)
    async def give_to_adaptation(wanted: Adaptation) -> dict[str, Any]:
        return await move("admin.actions", "adaptation", wanted)

    @routes.post("/first_transfers", status_code=201)
    async def transfer_first(wanted: FirstTransfer) -> dict[str, Any]:
        blocks = [block.model_dump() for block in wanted.blocks]
        action, holdings = await database.run(
            "admin.actions",
            lambda tx: actions.transfer_first(
                tx, registry, wanted.subtype, wanted.party, wanted.account, wanted.quantity or 0, blocks
            ),
        )
        return {"action": action, "holdings": listing.holdings(holdings)}

    @routes.post("/reversals", status_code=201)
    async def reverse(wanted: Reversal) -> dict[str, Any]:
        blocks = [block.model_dump() for block in wanted.blocks]
        action = await database.run(
            "admin.actions",
            lambda tx: actions.reverse(tx, registry, wanted.party, blocks, resolved=wanted.resolved),
        )
        return {"action": action}
