"""The HTTP side: ``POST /messages``, ``GET /keys``, and the operator's routes.

What the gateway uses is at the root, or, where another wire is spoken, under the path that says so (``des``); what
comes there is translated on its way in, and the answer on its way out.

A body over 8 MiB is refused while it is read (413). Unsigned problem documents (RFC 9457) go out only where
nothing can be attributed to the gateway or no verdict is possible now (503); everything else is signed.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from psycopg_pool import PoolTimeout

from . import (
    admin,
    admin_books,
    admin_history,
    arrivals,
    backup,
    books,
    des,
    disturbing,
    faults,
    log_admin,
    log_routes,
    made_history,
    own_log,
    rotating,
)
from .arrivals import Cut, problem
from .backup import NotServing
from .database import Tx
from .duties import Background
from .envelope import BARE_TYPE, ITEMS_TYPE
from .keys import KeysMissing
from .registry import Registry
from .sender import NoAnswer, Sender
from .signature import MAX_BODY_BYTES, Unattributable
from .strictjson import Malformed
from .units import Declined

log = logging.getLogger(__name__)


def build(registry: Registry) -> FastAPI:
    """Make the application of one registry; its tasks run while it serves."""
    sender = Sender(registry)
    background = Background(registry, sender)
    app = FastAPI(
        title=f"sandbox registry {registry.code} (synthetic)", lifespan=_lifespan(registry, sender, background)
    )
    app.include_router(admin.router(registry, sender))
    app.include_router(admin_books.router(registry))
    app.include_router(admin_history.router(registry, sender))
    app.include_router(disturbing.router(registry, sender, background))
    app.include_router(log_admin.router(registry, sender))
    path = des.PATH if registry.wire == "des" else ""
    app.include_router(log_routes.router(registry), prefix=path)
    app.include_router(_link(registry), prefix=path)
    _map_errors(app)
    return app


def _link(registry: Registry) -> APIRouter:
    routes = APIRouter()

    async def suffer(content_type: str, body: bytes) -> Response:
        arrival = arrivals.Arrival(registry, content_type, body)
        return await faults.suffer(registry.faults, arrivals.FAULTS, "in", arrival)

    @routes.post("/messages")
    async def messages(request: Request) -> Response:
        content_type = request.headers.get("content-type", "")
        if registry.wire == "link":
            return await suffer(content_type, await _read(request, MAX_BODY_BYTES))
        if content_type != des.CONTENT_TYPE:
            raise Unattributable(415, 2001, f"content type {content_type or 'missing'} is not taken")
        document = await _read(request, des.MAX_DOCUMENT_BYTES)
        try:
            # In a thread of its own: a batch takes a second, and everything else would wait for it.
            return _document(await suffer(*await asyncio.to_thread(des.read, document)))
        except Malformed as error:
            raise Unattributable(400, 2001, str(error)) from error

    @routes.get("/keys")
    async def keys() -> Response:
        return Cut() if registry.faults.down else JSONResponse({"keys": registry.trust.published()})

    return routes


def _document(answer: Response) -> Response:
    """Translate an answer that is a message; garbage (a fault) stays what it is."""
    if answer.media_type not in (ITEMS_TYPE, BARE_TYPE):
        return answer
    with contextlib.suppress(Malformed, ValueError):
        answer = Response(des.write(bytes(answer.body)), background=answer.background)
    answer.headers["content-type"] = des.CONTENT_TYPE
    return answer


def _lifespan(registry: Registry, sender: Sender, background: Background) -> Any:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await registry.database.open()
        await registry.database.run("start.open", lambda tx: _open(tx, registry))
        if registry.made is not None:
            await made_history.make(registry, *registry.made)
        await background.begin()
        yield
        await background.end()
        await sender.close()
        await registry.database.close()

    return lifespan


async def _open(tx: Tx, registry: Registry) -> None:
    pinned = await tx.one("SELECT value FROM setting WHERE name = 'gateway_keys'")
    if pinned is not None:
        registry.trust.pin(registry.gateway, pinned["value"])
    new_kid = await backup.restored(tx)
    if new_kid is not None and new_kid != registry.key.kid:
        registry.trust.renew()  # it died between the restore and this
    await rotating.go_on(tx, registry)
    await rotating.take_up(tx, registry)
    if registry.logs.own is not None:
        await own_log.begin(tx)
    for party in [*([registry.party] if registry.party else []), *registry.sections.values()]:
        await books.ensure_accounts(tx, [(party, "100-1", "holding"), (party, books.PENDING_ACCOUNT, "pending")])


async def _read(request: Request, most: int) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise Unattributable(413, 2001, f"the body is over {most // 1024**2} MiB")
    return bytes(body)


def _map_errors(app: FastAPI) -> None:
    @app.exception_handler(Unattributable)
    async def unattributable(request: Request, error: Unattributable) -> Response:
        return problem(error.status, error.code, "not a message of the gateway", error.detail)

    @app.exception_handler(KeysMissing)
    async def keys_missing(request: Request, error: KeysMissing) -> Response:
        return problem(503, 9002, "unavailable", f"the keys of {error} are not at hand")

    @app.exception_handler(NotServing)
    async def not_serving(request: Request, error: NotServing) -> Response:
        return problem(503, 9002, "restoring", "restored to an earlier state; the gateway is asked first")

    @app.exception_handler(Declined)
    async def declined(request: Request, error: Declined) -> Response:
        return problem(409, error.code, "declined", error.detail)

    @app.exception_handler(NoAnswer)
    async def no_answer(request: Request, error: NoAnswer) -> Response:
        return problem(503, 9001, "the gateway does not answer", str(error))

    async def unavailable(request: Request, error: Exception) -> Response:
        log.error("the database cannot be used: %s", error)
        return problem(503, 9002, "unavailable", "the books cannot be used now")

    app.add_exception_handler(psycopg.Error, unavailable)
    app.add_exception_handler(PoolTimeout, unavailable)
