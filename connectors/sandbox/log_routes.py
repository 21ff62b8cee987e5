"""What is served of logs to everyone: this registry's own (C2SP tlog-tiles), and its witness (C2SP tlog-witness).

Only what is under a signed checkpoint is shown, and tiles are read by the exact addresses of the specification;
everything else is 404. Nothing here is authenticated: a checkpoint proves itself.
"""

from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from . import notes, own_log, tiles, witnessing
from .arrivals import Cut
from .registry import Registry
from .witnessing import NotCosigned

#: A tile of an address never changes.
FOR_EVER = {"cache-control": "public, max-age=31536000, immutable"}
#: A checkpoint is overtaken within a second or so.
FOR_NOW = {"cache-control": "public, max-age=1"}


def router(registry: Registry) -> APIRouter:
    """Make the routes of one registry; without a log of its own only those of its witness give something."""
    routes = APIRouter()
    _log(routes, registry)
    _witness(routes, registry)
    return routes


def _log(routes: APIRouter, registry: Registry) -> None:
    database, logs, faults = registry.database, registry.logs, registry.faults

    @routes.get("/log/checkpoint")
    async def checkpoint() -> Response:
        signed = await database.run("admin.look", own_log.checkpoint) if logs.own else None
        if faults.down:
            return Cut()
        if signed is None:
            raise HTTPException(404, "no checkpoint")
        return PlainTextResponse(signed[1], headers=FOR_NOW)

    @routes.get("/log/tile/{path:path}")
    async def tile(path: str) -> Response:
        address = tiles.parse(path) if logs.own else None
        found = await database.run("admin.look", lambda tx: own_log.tile(tx, address)) if address else None
        if faults.down:
            return Cut()
        if found is None:
            raise HTTPException(404, "no such tile")
        return Response(found, media_type="application/octet-stream", headers=FOR_EVER)

    @routes.get("/log/keys")
    async def keys() -> Response:
        if faults.down:
            return Cut()
        if logs.own is None:
            raise HTTPException(404, "no log is kept here")
        key: dict[str, Any] = {"vkey": logs.own.verifier(notes.ED25519).vkey, "not_before": None, "not_after": None}
        return JSONResponse({"origin": logs.own.name, "keys": [key]})


def _witness(routes: APIRouter, registry: Registry) -> None:
    @routes.get("/witness/keys")
    async def keys() -> Response:
        if registry.faults.down:
            return Cut()
        return PlainTextResponse(f"{registry.logs.witness.verifier(notes.COSIGNATURE).vkey}\n")

    @routes.get("/witness/{digest}/checkpoint")
    async def known(digest: str) -> Response:
        if registry.faults.down:
            return Cut()
        note = await registry.database.run("admin.look", lambda tx: witnessing.known(tx, digest))
        if note is None:
            raise HTTPException(404, "nothing of such a log was cosigned here")
        return PlainTextResponse(note)

    @routes.post("/witness/add-checkpoint")
    async def add(request: Request) -> Response:
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > witnessing.MAX_BYTES:
                break
        if registry.faults.down:
            return Cut()
        try:
            return PlainTextResponse(await witnessing.add(registry, bytes(body)))
        except NotCosigned as why:
            if why.size is not None:
                # As a header: a media type of text would get a charset, which the specification does not have.
                return Response(f"{why.size}\n", why.status, {"content-type": "text/x.tlog.size"})
            return PlainTextResponse(f"{why.detail}\n", why.status)
