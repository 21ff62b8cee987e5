"""What registries call: ``POST /messages`` with a signed message, ``GET /keys`` for ours.

The body is read within the protocol's limit, refused while it is still arriving when it grows beyond it, and
handed to the inbox as it came. The answer is a signed message; an unsigned problem document is given only
where there is nothing to answer to: not a message, an unknown sender, a bad signature, too large, overloaded.
"""

import asyncio

from fastapi import APIRouter, FastAPI, Request, Response
from starlette.requests import ClientDisconnect

from gateway.errors import GatewayError, Kind
from gateway.messages.inbox import Inbox
from gateway.messages.outbox import Node
from gateway.signing.envelope import JOSE, LINK_JSON, MAX_BODY
from gateway.web import problems

#: Messages being read or applied at once in one process; more are asked to come again (9003).
AT_ONCE = 64


def app(inbox: Inbox, node: Node) -> FastAPI:
    """The application that faces registries."""
    application = FastAPI(title="Article 6 gateway: link", openapi_url=None, docs_url=None, redoc_url=None)
    application.include_router(_routes(inbox, node))
    problems.install(application)
    return application


def _routes(inbox: Inbox, node: Node) -> APIRouter:
    router = APIRouter()
    free = asyncio.Semaphore(AT_ONCE)

    @router.post("/messages")
    async def receive(request: Request) -> Response:
        if free.locked():
            raise GatewayError(Kind.UNAVAILABLE, "too many messages at once", code=9003)
        async with free:
            try:
                content_type = _content_type(request)
                body = await _read(request)
            except GatewayError as error:
                inbox.remember(error.kind.value)
                raise
            answer = await inbox.receive(body, content_type)
        return Response(answer.body, media_type=answer.content_type)

    @router.get("/keys")
    async def keys() -> dict[str, list[dict[str, str]]]:
        return {"keys": [{**node.signer.public_jwk(), "use": "sig"}]}

    return router


def _content_type(request: Request) -> str:
    value = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if value not in (JOSE, LINK_JSON):
        raise GatewayError(Kind.UNSUPPORTED, f"a message is {JOSE} or {LINK_JSON}", code=2001)
    return value


async def _read(request: Request) -> bytes:
    """The body, within the limit: a longer one is refused without waiting for its end."""
    received = bytearray()
    try:
        async for chunk in request.stream():
            received += chunk
            if len(received) > MAX_BODY:
                raise GatewayError(Kind.LIMIT, f"a message has at most {MAX_BODY} bytes", code=2001)
    except ClientDisconnect:
        raise GatewayError(Kind.MALFORMED, "the sender left before the end of its message", code=2001) from None
    return bytes(received)
