"""What everybody may read of the log, and where other logs are cosigned: C2SP tlog-tiles and tlog-witness.

Nothing here says who transfers what: leaves are salted hashes. Tiles and entries never change and may be cached for
ever; the checkpoint for a second. An address that is not written exactly as the specification says does not exist, so
that each resource has one name. Errors are problem documents, but for the witness, whose answers C2SP lays down.
"""

import gzip
import json
import re
from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from gateway import db
from gateway.audit import merkle, store, witness_store
from gateway.audit.own_keys import Identity
from gateway.errors import GatewayError, Kind
from gateway.web.problems import STATUS

#: How old the checkpoint may be that is served.
CHECKPOINT_SECONDS = 0.5
#: Checkpoints on one page.
MAX_PAGE = 1_000
_FOREVER = {"cache-control": "public, max-age=31536000, immutable"}
_NOW = {"cache-control": "public, max-age=1"}
_TEXT = "text/plain; charset=utf-8"
_NUMBER = re.compile(r"(?:x[0-9]{3}/)*[0-9]{3}(?:\.p/[1-9][0-9]{0,2})?")

#: Cosigns the checkpoint that a body brings: the signature line.
Cosign = Callable[[bytes], Awaitable[str]]


def published(database: db.Database, own: Identity) -> APIRouter:
    """The log as static files."""
    router = APIRouter(prefix="/log")
    newest = db.Kept(database, store.latest, CHECKPOINT_SECONDS)

    @router.get("/checkpoint")
    async def checkpoint() -> Response:
        found = await newest.get()
        if found is None:
            raise _nothing()
        return Response(found.note, media_type=_TEXT, headers=_NOW)

    @router.get("/checkpoints")
    async def checkpoints(
        above: Annotated[int, Query(ge=0, le=merkle.MAX_SIZE)] = 0,
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100,
    ) -> Response:
        async with database.reading() as tx:
            found = await store.published(tx, above, limit)
        lines = [json.dumps({"size": one.size, "at": one.at.isoformat(), "note": one.note}) + "\n" for one in found]
        return Response("".join(lines), media_type="application/x-ndjson", headers=_NOW)

    @router.get("/keys")
    async def keys() -> dict[str, object]:
        async with database.reading() as tx:
            known = await store.keys(tx)
        shown = [
            {"vkey": vkey, "not_before": one.not_before, "not_after": one.retired_at}
            for one in known
            for vkey in one.vkeys
        ]
        return {"origin": own.origin, "keys": shown}

    @router.get("/tile/{level}/{number:path}")
    async def tile(level: str, number: str, request: Request) -> Response:
        nr, width = _read_number(number)
        if level == "entries":
            return await _entries(database, nr, width, request)
        if not re.fullmatch(r"[0-9]|[1-5][0-9]|6[0-3]", level):
            raise _nothing()
        async with database.reading() as tx:
            hashes = await store.tile(tx, int(level), nr, width)
        if hashes is None:
            raise _nothing()
        return Response(hashes, media_type="application/octet-stream", headers=_FOREVER)

    return router


def witness(
    database: db.Database, own: Identity, cosign: Cosign, body: Callable[[Request], Awaitable[bytes]]
) -> APIRouter:
    """The witness: brings what ``body`` reads of a request to ``cosign``."""
    router = APIRouter(prefix="/witness")

    @router.post("/add-checkpoint")
    async def add_checkpoint(request: Request) -> Response:
        try:
            return Response(await cosign(await body(request)), media_type=_TEXT)
        except GatewayError as error:
            if error.kind is Kind.UNAVAILABLE:
                raise
            if "size" in error.context:
                # As a header: a media type of text would get a charset, which the specification does not have.
                return Response(f"{error.context['size']}\n", 409, {"content-type": "text/x.tlog.size"})
            status = 403 if error.kind is Kind.UNTRUSTED else STATUS[error.kind]
            return Response(f"{error.detail}\n", status, media_type=_TEXT)

    @router.get("/keys")
    async def keys() -> Response:
        return Response(own.key.witness(own.witness).vkey + "\n", media_type=_TEXT)

    @router.get("/{origin}/checkpoint")
    async def known(origin: str) -> Response:
        if not re.fullmatch(r"[0-9a-f]{64}", origin):
            raise _nothing()
        async with database.reading() as tx:
            found = await witness_store.find_watched(tx, origin)
        if found is None or not found.size:
            raise _nothing()
        return Response(found.note, media_type=_TEXT, headers=_NOW)

    return router


async def _entries(database: db.Database, nr: int, width: int, request: Request) -> Response:
    async with database.reading() as tx:
        leaves = await store.entries(tx, nr * merkle.TILE_WIDTH, width)
    if len(leaves) != width:
        raise _nothing()
    bundle = b"".join(len(leaf).to_bytes(2, "big") + leaf for leaf in leaves)
    headers = {**_FOREVER, "vary": "accept-encoding", "etag": f'"{sha256(bundle).hexdigest()[:32]}"'}
    if "gzip" in request.headers.get("accept-encoding", ""):
        bundle = gzip.compress(bundle, 6, mtime=0)
        headers["content-encoding"] = "gzip"
    return Response(bundle, media_type="application/octet-stream", headers=headers)


def _read_number(number: str) -> tuple[int, int]:
    """Number and width of a tile; raises NOT_FOUND for a spelling that is not the specification's."""
    if len(number) > 40 or not _NUMBER.fullmatch(number):
        raise _nothing()
    digits, _, partial = number.partition(".p/")
    nr, width = int(digits.replace("x", "").replace("/", "")), int(partial or merkle.TILE_WIDTH)
    if merkle.path(nr, width) != number or nr > merkle.MAX_SIZE // merkle.TILE_WIDTH or width > merkle.TILE_WIDTH:
        raise _nothing()
    return nr, width


def _nothing() -> GatewayError:
    return GatewayError(Kind.NOT_FOUND, "the log has nothing under this name", code=3001)
