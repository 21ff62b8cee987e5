"""The operator's side of a sandbox registry: JSON over HTTP under ``/admin``.

It is NOT authenticated. It exists for tests and the demonstration, and the program listens on a loopback
address only. Each call is one transaction; what it leaves to send is stored with it and sent afterwards.
What the books refuse is a 409 problem document with the code of the check table.
"""

import asyncio
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query

from . import (
    accepting,
    actions,
    admin_actions,
    admin_authorisations,
    authorisations,
    backup,
    books,
    issuing,
    listing,
    proposing,
    rotating,
    shapes,
    shares,
    status,
    told_actions,
)
from .accepting import set_policy
from .books import plain
from .database import Tx
from .forms import Account, Issuances, Issue, Policy, Transfers, shaped
from .issuing import Issuance
from .proposing import Wish
from .registry import ISSUING, Registry
from .sender import Sender

#: Rows one listing gives.
MAX_ROWS = 10_000
#: Cooperative approach of what each kind issues. A stem of ITMO identifiers has one registry that counts it.
APPROACHES = {"mechanism": "CA0001", "international": "CA0002", "services": "CA0003"}
#: How long an activation waits for its receipt.
ACTIVATION_SECONDS = 30.0


def router(registry: Registry, sender: Sender) -> APIRouter:
    """Make the routes of one registry."""
    changing = APIRouter(dependencies=[in_service(registry)])
    _operate(changing, registry, sender)
    _keep_books(changing, registry)
    _set_policy(changing, registry)
    admin_actions.add(changing, registry)
    admin_authorisations.add(changing, registry)
    routes = APIRouter(prefix="/admin")
    routes.include_router(changing)
    _look(routes, registry)
    return routes


def in_service(registry: Registry) -> Any:
    """Make the condition of a route that changes something: not between a restore and asking the gateway (R15)."""

    async def serving() -> None:
        await registry.database.run("admin.look", backup.serving)

    return Depends(serving)


def _operate(routes: APIRouter, registry: Registry, sender: Sender) -> None:
    database = registry.database

    @routes.post("/activate")
    async def activate() -> dict[str, Any]:
        if registry.gateway not in registry.trust.files:
            key_set = await sender.fetch_keys()
            await database.run("admin.activate", lambda tx: _pin(tx, key_set))
            registry.trust.pin(registry.gateway, key_set)
        messages, positions = await database.run("admin.activate", lambda tx: actions.activate(tx, registry))
        ids = [message.id for message in messages]
        receipted = await _receipted(registry, ids)
        return {"messages": ids, "positions": positions, "receipted": receipted}

    @routes.post("/keys/rotate")
    async def rotate() -> dict[str, Any]:
        await rotating.rotate(registry)
        return _keys(registry)

    @routes.post("/transfers", status_code=201)
    async def propose(wanted: Transfers) -> dict[str, Any]:
        wishes = [
            Wish(
                wish.party,
                wish.account,
                wish.to.model_dump(),
                wish.purpose,
                wish.quantity,
                [block.model_dump() for block in wish.blocks],
                wish.authorisation.model_dump() if wish.authorisation else None,
                unchecked=wish.unchecked,
            )
            for wish in wanted.transfers
        ]
        alone = wanted.one_message_each
        ids = await database.run(
            "admin.transfers", lambda tx: proposing.propose(tx, registry, wishes, each_alone=alone)
        )
        return {"transfers": ids}

    @routes.post("/transfers/{transfer}/withdraw")
    async def withdraw(transfer: str) -> dict[str, Any]:
        return {"transfer": transfer, "state": await status.withdraw(registry, sender, transfer)}


def _keep_books(routes: APIRouter, registry: Registry) -> None:
    database = registry.database

    @routes.post("/accounts", status_code=201)
    async def open_account(account: Account) -> dict[str, Any]:
        registry.books_of(account.party)
        await database.run(
            "admin.accounts", lambda tx: books.ensure_accounts(tx, [(account.party, account.account, account.name)])
        )
        return account.model_dump()

    @routes.patch("/accounts")
    async def change_account(account: Account) -> dict[str, Any]:
        changed = await database.run(
            "admin.accounts",
            lambda tx: tx.execute(
                "UPDATE account SET open = %s WHERE party = %s AND account = %s",
                account.open,
                account.party,
                account.account,
            ),
        )
        if not changed:
            raise HTTPException(404, "no such account")
        return account.model_dump()

    @routes.post("/issue", status_code=201)
    async def issue(wanted: Issue) -> dict[str, Any]:
        given = [_issuance(registry, wanted)]
        [(action, holdings)] = await database.run("admin.issue", lambda tx: issuing.issue(tx, registry, given))
        return {"action": action, "holdings": listing.holdings(holdings)}

    @routes.post("/issuances", status_code=201)
    async def issue_many(wanted: Issuances) -> dict[str, Any]:
        given = [_issuance(registry, one) for one in wanted.issuances]
        issued = await database.run("admin.issuances", lambda tx: issuing.issue(tx, registry, given))
        return {"actions": len(issued), "quantity": sum(one.net for one in given)}


def _set_policy(routes: APIRouter, registry: Registry) -> None:
    database = registry.database

    @routes.patch("/policy")
    async def change_policy(policy: Policy) -> dict[str, Any]:
        return await database.run("admin.policy", lambda tx: set_policy(tx, policy.model_dump(exclude_none=True)))


def _look(routes: APIRouter, registry: Registry) -> None:
    database = registry.database

    @routes.get("/books")
    async def totals(blocks: bool = False) -> dict[str, Any]:
        return await database.run("admin.look", lambda tx: listing.totals(tx, registry, blocks=blocks))

    @routes.get("/records")
    async def recorded(after: str = "", limit: Annotated[int, Query(ge=1, le=MAX_ROWS)] = 1000) -> dict[str, Any]:
        return {"records": await database.run("admin.look", lambda tx: listing.record_list(tx, after, limit))}

    @routes.get("/authorisations")
    async def known() -> dict[str, Any]:
        return {"authorisations": await database.run("admin.look", authorisations.listed)}

    @routes.get("/told_actions")
    async def told() -> dict[str, Any]:
        return {"actions": await database.run("admin.look", told_actions.listed)}

    @routes.get("/keys")
    async def keys() -> dict[str, Any]:
        return _keys(registry)

    @routes.get("/policy")
    async def policy() -> dict[str, Any]:
        return await database.run("admin.look", accepting.policy)

    @routes.get("/transfers")
    async def transfers(
        state: str | None = None, after: str = "", limit: Annotated[int, Query(ge=1, le=MAX_ROWS)] = 1000
    ) -> dict[str, Any]:
        return {
            "transfers": await database.run("admin.look", lambda tx: listing.transfer_list(tx, state, after, limit))
        }

    @routes.get("/transfers/{transfer}")
    async def transfer(transfer: str) -> dict[str, Any]:
        return _found(await database.run("admin.look", lambda tx: listing.transfer(tx, transfer)))

    @routes.get("/messages/{message}")
    async def message(message: Annotated[str, shaped(shapes.is_uuid7, "a message id")]) -> dict[str, Any]:
        return _found(await database.run("admin.look", lambda tx: listing.message(tx, message)))


def _keys(registry: Registry) -> dict[str, Any]:
    announced = registry.trust.announced
    return {"signs": registry.key.kid, "announced": announced.kid if announced else None}


def _found(value: dict[str, Any] | None) -> dict[str, Any]:
    if value is None:
        raise HTTPException(404, "not known here")
    return value


def _issuance(registry: Registry, wanted: Issue) -> Issuance:
    """Make an issuance of a form: deductions that are not given are the usual ones of its kind and host."""
    if registry.kind not in ISSUING:
        raise HTTPException(409, "this kind of registry does not issue")
    given = {"omge": wanted.omge_percent, "sop": wanted.sop_percent, "buffer": wanted.buffer_percent}
    percent = {name: value for name, value in given.items() if value is not None}
    taken = replace(shares.usual(registry.kind, wanted.party), **percent)
    gross = wanted.gross or issuing.gross_for(wanted.net or 0, taken)
    attributes = _attributes(registry.kind, wanted)
    return Issuance(attributes, wanted.series, wanted.account, gross, taken, wanted.announce)


def _attributes(kind: str, wanted: Issue) -> dict[str, Any]:
    """Give the attributes of an issuance: a synthetic household cookstove activity unless said otherwise."""
    return {
        "unit_type": "A6.4ER" if kind == "mechanism" else "MO",
        "first_transferring_party": wanted.party,
        "vintage": wanted.vintage,
        "cooperative_approach": APPROACHES[kind],
        "metric": "GHG",
        "mitigation_type": "Emission reductions",
        "sector": "Energy generation",
        "activity_type": "Energy Efficiency households",
        "activity": wanted.activity,
        "authorisation": wanted.authorisation.model_dump() if wanted.authorisation else None,
        **wanted.attributes,
    }


async def _pin(tx: Tx, key_set: dict[str, Any]) -> None:
    await tx.execute(
        "INSERT INTO setting (name, value) VALUES ('gateway_keys', %s::jsonb)"
        " ON CONFLICT (name) DO UPDATE SET value = EXCLUDED.value",
        plain(key_set),
    )


async def _receipted(registry: Registry, ids: list[str]) -> bool:
    """Wait, for a while, until none of these messages is owed any more."""
    deadline = asyncio.get_running_loop().time() + ACTIVATION_SECONDS
    while asyncio.get_running_loop().time() < deadline:
        owed = await registry.database.run(
            "admin.look",
            lambda tx: tx.one("SELECT 1 AS owed FROM sent WHERE owed AND id = ANY(%s::uuid[]) LIMIT 1", ids),
        )
        if owed is None:
            return True
        await asyncio.sleep(0.02)
    return False
