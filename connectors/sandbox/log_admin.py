"""The operator's side of logs: what was promised, how the looks went, what is fed to the gateway's witness.

Like ``admin``: not authenticated, for tests and a loopback address only.
"""

from typing import Any, get_args

from fastapi import APIRouter, HTTPException

from . import clock, feeding, following, notes, own_log, promises
from .database import Tx
from .logs import Mode
from .registry import Registry
from .sender import Sender

#: Forks that are shown, the latest first.
SHOWN_FORKS = 100


def router(registry: Registry, sender: Sender) -> APIRouter:
    """Make the routes of one registry."""
    routes = APIRouter(prefix="/admin")
    database = registry.database

    @routes.get("/promises")
    async def promised() -> dict[str, Any]:
        return await database.run("admin.look", promises.listed)

    @routes.post("/follow")
    async def follow() -> dict[str, Any]:
        if registry.logs.pinned is None:
            raise HTTPException(409, "no keys of the gateway's log are pinned: --gateway-log-keys")
        await following.look(registry, sender, registry.logs.pinned)
        return await database.run("admin.look", lambda tx: _following(tx, registry))

    @routes.get("/log")
    async def state() -> dict[str, Any]:
        return await database.run("admin.look", lambda tx: _state(tx, registry))

    @routes.post("/log/{mode}")
    async def feed(mode: str) -> dict[str, str]:
        wanted: dict[str, Mode] = {name: name for name in get_args(Mode)}
        if mode not in wanted:
            raise HTTPException(404, f"a log is fed as one of: {', '.join(wanted)}")
        set_to = await database.run("admin.lies", lambda tx: feeding.set_mode(tx, registry, wanted[mode]))
        return {"mode": set_to}

    return routes


async def _state(tx: Tx, registry: Registry) -> dict[str, Any]:
    witnessed = await tx.rows("SELECT origin, size, note FROM log.witnessed WHERE size > 0 ORDER BY origin")
    forks = await tx.rows("SELECT at, known, shown FROM log.fork ORDER BY id DESC LIMIT %s", SHOWN_FORKS)
    return {
        "following": await _following(tx, registry),
        "forks": [{**row, "at": clock.stamp(row["at"])} for row in forks],
        "witnessed": witnessed,
        "own": await _own(tx, registry) if registry.logs.own else None,
    }


async def _following(tx: Tx, registry: Registry) -> dict[str, Any]:
    head = await following.head(tx)
    told = {"size": head.size, "root": notes.to_base64(head.root), "checkpoint": head.note}
    return told | {"problem": registry.logs.problem}


async def _own(tx: Tx, registry: Registry) -> dict[str, Any]:
    signed = await own_log.checkpoint(tx)
    fed = await tx.one(
        "SELECT size, cosignature FROM log.own_checkpoint WHERE cosignature IS NOT NULL ORDER BY size DESC LIMIT 1"
    )
    refused = await tx.one(
        "SELECT refused FROM log.own_checkpoint WHERE refused IS NOT NULL ORDER BY size DESC LIMIT 1"
    )
    return {
        "size": signed[0] if signed else 0,
        "checkpoint": signed[1] if signed else "",
        "cosigned": fed["size"] if fed else 0,
        "cosignature": fed["cosignature"] if fed else "",
        "refused": refused["refused"] if refused else "",
        "mode": registry.logs.mode,
    }
