"""What registries call: ``POST /messages`` with a signed message, ``GET /keys`` for ours; and the public log (``log``).

The body is read within the protocol's limit, refused while it is still arriving when it grows beyond it, and
handed to the inbox as it came; one of another way to write messages (``encodings``) as the message it carries, whose
answer is written in the same way. A sender takes up only the memory of what it has sent, and that not for long, so
slow or silent senders keep nobody out. The answer is a signed message; an unsigned problem document is given
only where there is nothing to answer to: not a message, an unknown sender, a bad signature, too large, too slow,
overloaded.
"""

import asyncio
from collections.abc import Mapping
from functools import partial
from types import MappingProxyType

from fastapi import APIRouter, FastAPI, HTTPException, Request, Response
from starlette.requests import ClientDisconnect

from gateway import db
from gateway.audit.transparency import Transparency
from gateway.audit.witness import MAX_REQUEST
from gateway.domain.registry import Encoding
from gateway.errors import GatewayError, Kind
from gateway.keys import commands as own_keys
from gateway.messages.inbox import Inbox
from gateway.messages.outbox import Node
from gateway.signing.envelope import JOSE, LINK_JSON, MAX_BODY
from gateway.web import log, problems
from gateway.web.guard import Guard

#: Messages being applied at once in one process; more are asked to come again (9003).
AT_ONCE = 64
#: How long a body may take to arrive: a sender gives a request up after this time, so nobody waits for a later answer.
READ_SECONDS = 30.0
#: What all bodies that are being read may hold together, in bytes; more are asked to come again (9003). Bytes are
#: counted, not connections: a connection that has sent little must not take the place of a message.
READ_BYTES = 64 * MAX_BODY
#: Where what stands before the application says whose client certificate a connection showed: the code of a link.
CERTIFICATE = "client_certificate"
#: How old what ``GET /keys`` shows may be.
KEYS_SECONDS = 1.0


def app(
    database: db.Database,
    inbox: Inbox,
    node: Node,
    transparency: Transparency | None = None,
    encodings: Mapping[str, Encoding] = MappingProxyType({}),
    *,
    read_seconds: float = READ_SECONDS,
    read_bytes: int = READ_BYTES,
) -> FastAPI:
    """The application that faces registries, and everybody who reads the log, where ``transparency`` is given.

    It reads bodies within the two bounds (seconds each, bytes together), and messages written otherwise by their
    content type in ``encodings``.
    """
    application = FastAPI(title="Article 6 gateway: link", openapi_url=None, docs_url=None, redoc_url=None)
    reading = _Reading(read_seconds, read_bytes)
    application.include_router(_routes(database, inbox, node, reading, encodings))
    if transparency is not None:
        application.include_router(log.published(database, transparency.own))
        application.include_router(
            log.witness(database, transparency.own, transparency.cosign, partial(reading.body, most=MAX_REQUEST))
        )
    problems.install(application)
    application.add_middleware(Guard)
    return application


class _Reading:
    """Reads bodies: each within its time, all together within a number of bytes."""

    def __init__(self, seconds: float, together: int) -> None:
        self._seconds = seconds
        self._left = together

    async def body(self, request: Request, most: int = MAX_BODY) -> bytes:
        """The body; raises LIMIT as soon as it has more than ``most`` bytes, TimeoutError, UNAVAILABLE, MALFORMED."""
        received = bytearray()
        try:
            async with asyncio.timeout(self._seconds):
                async for chunk in request.stream():
                    received += chunk
                    self._left -= len(chunk)
                    if len(received) > most:
                        raise GatewayError(Kind.LIMIT, f"a message has at most {most} bytes", code=2001)
                    if self._left < 0:
                        raise GatewayError(Kind.UNAVAILABLE, "too much is arriving at once", code=9003)
        except ClientDisconnect:
            detail = "the sender left before the end of its message"
            raise GatewayError(Kind.MALFORMED, detail, code=2001) from None
        finally:
            self._left += len(received)
        return bytes(received)


def _routes(
    database: db.Database, inbox: Inbox, node: Node, reading: _Reading, encodings: Mapping[str, Encoding]
) -> APIRouter:
    router = APIRouter()
    free = asyncio.Semaphore(AT_ONCE)

    async def ours(tx: db.ReadTx) -> list[Mapping[str, str]]:
        """Our public keys; the one in use where none has been registered yet."""
        return await own_keys.served(tx) or [node.signer.public_jwk()]

    shown = db.Kept(database, ours, KEYS_SECONDS)

    @router.post("/messages")
    async def receive(request: Request) -> Response:
        try:
            content_type = _content_type(request, encodings)
            encoding = encodings.get(content_type)
            body = await reading.body(request, encoding.most if encoding else MAX_BODY)
        except GatewayError as error:
            inbox.remember(error.kind.value)
            raise
        except TimeoutError:
            inbox.remember("timed-out")
            # Closed, because what goes on arriving would keep the connection open.
            raise HTTPException(408, "the message took too long to arrive", {"connection": "close"}) from None
        if free.locked():
            raise GatewayError(Kind.UNAVAILABLE, "too many messages at once", code=9003)
        async with free:
            certificate = getattr(request.state, CERTIFICATE, None)
            if encoding is None:
                answer = await inbox.receive(body, content_type, certificate)
                return Response(answer.body, media_type=answer.content_type)
            carried = await _carried(inbox, encoding, body)
            answer = await inbox.receive(*carried, certificate)
            return Response(await asyncio.to_thread(encoding.encode, answer.body), media_type=content_type)

    @router.get("/keys")
    async def keys() -> dict[str, list[Mapping[str, str]]]:
        return {"keys": await shown.get()}

    return router


async def _carried(inbox: Inbox, encoding: Encoding, document: bytes) -> tuple[bytes, str]:
    """The message in a document, read outside the event loop: it may be large. What is none is remembered."""
    try:
        return await asyncio.to_thread(encoding.decode, document)
    except GatewayError as error:
        inbox.remember(error.kind.value)
        raise


def _content_type(request: Request, encodings: Mapping[str, Encoding]) -> str:
    value = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if value not in (JOSE, LINK_JSON, *encodings):
        raise GatewayError(Kind.UNSUPPORTED, f"a message is {' or '.join((JOSE, LINK_JSON, *encodings))}", code=2001)
    return value
