"""The token endpoint as OAuth 2 clients call it (RFC 6749, 7523), and how they find it (RFC 8414)."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from gateway.access.endpoint import MAX_FORM, Endpoint
from gateway.access.tokens import Answer
from gateway.web.auth import TOKEN_PATH

FORM = "application/x-www-form-urlencoded"
#: Neither a token nor why there is none is kept on its way (RFC 6749 section 5.1).
_NOT_KEPT = {"cache-control": "no-store", "pragma": "no-cache"}


class Token(BaseModel):
    """An access token, for the header ``Authorization: Bearer …``."""

    access_token: str
    token_type: str
    expires_in: int
    scope: str = ""


class TokenError(BaseModel):
    """Why there is none (RFC 6749 section 5.2)."""

    error: str
    error_description: str = ""


_ASKED = {
    "requestBody": {
        "required": True,
        "content": {
            FORM: {
                "schema": {
                    "type": "object",
                    "required": ["grant_type", "client_assertion_type", "client_assertion"],
                    "properties": {
                        "grant_type": {"const": "client_credentials"},
                        "client_assertion_type": {"const": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
                        "client_assertion": {"type": "string", "description": "A JWT the client's key has signed."},
                        "scope": {"type": "string", "description": "Fewer scopes than the client has."},
                    },
                }
            }
        },
    }
}


def routes(endpoint: Endpoint) -> APIRouter:
    """Ask for a token; which keys verify it; where all this is."""
    router = APIRouter(tags=["tokens"])

    @router.post(
        TOKEN_PATH, response_model=Token, openapi_extra=_ASKED, responses={s: {"model": TokenError} for s in (400, 429)}
    )
    async def token(request: Request) -> JSONResponse:
        """An access token for who shows an assertion that a key of theirs has signed, once."""
        kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
        body = await _body(request) if kind == FORM else b""
        return _written(await endpoint.answer(body))

    @router.get("/jwks")
    async def jwks() -> dict[str, list[dict[str, str]]]:
        """The public keys that access tokens are verified by."""
        return {"keys": await endpoint.jwks()}

    @router.get("/.well-known/oauth-authorization-server")
    async def metadata(request: Request) -> dict[str, Any]:
        """Who gives tokens here, for which scopes, and where."""
        return endpoint.metadata(str(request.base_url))

    return router


async def _body(request: Request) -> bytes:
    """What was sent, no further than a form may go: one byte more makes it none."""
    received = bytearray()
    async for chunk in request.stream():
        received += chunk
        if len(received) > MAX_FORM:
            break
    return bytes(received[: MAX_FORM + 1])


def _written(answer: Answer) -> JSONResponse:
    later = {"retry-after": str(answer.retry_after_seconds)} if answer.retry_after_seconds else {}
    return JSONResponse(dict(answer.body), answer.status, headers=_NOT_KEPT | later)
