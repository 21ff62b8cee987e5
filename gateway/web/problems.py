"""Errors as problem documents (RFC 9457): the one place where an error gets an HTTP status.

The document carries the code of the check table where there is one, and for an envelope its slug (``reason``).
What is not a ``GatewayError`` is answered by a bare 500 that leaks nothing, and is logged.
"""

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from gateway.errors import GatewayError, Kind

CONTENT_TYPE = "application/problem+json"
#: When to come again after a refusal for overload or a missing database that does not say it better.
RETRY_AFTER_SECONDS = 2

STATUS: dict[Kind, int] = {
    Kind.MALFORMED: 400,
    Kind.UNSUPPORTED: 415,
    Kind.UNAUTHENTICATED: 401,
    Kind.UNTRUSTED: 401,
    Kind.FORBIDDEN: 403,
    Kind.NOT_FOUND: 404,
    Kind.CONFLICT: 409,
    Kind.REJECTED: 422,
    Kind.UNAVAILABLE: 503,
    Kind.LIMIT: 413,
    Kind.INVARIANT: 500,
}

log = structlog.get_logger()


def problem(error: GatewayError) -> JSONResponse:
    """The problem document of ``error``."""
    if error.kind is Kind.INVARIANT:
        log.error("invariant-broken", detail=error.detail)
        return document(500, "Internal fault", "an internal rule does not hold; nothing was changed", 9999)
    after = error.context.get("retry_after_seconds", RETRY_AFTER_SECONDS)
    headers = {"retry-after": str(after)} if error.kind is Kind.UNAVAILABLE else {}
    reason = error.context.get("fault")
    title = str(error.kind).replace("-", " ").capitalize()
    return document(STATUS[error.kind], title, error.detail, error.code, reason, headers)


def document(
    status: int,
    title: str,
    detail: str,
    code: int | None = None,
    reason: str | None = None,
    headers: dict[str, str] | None = None,
) -> JSONResponse:
    """A problem document; members without a value are left out."""
    members = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
        "reason": reason,
    }
    content = {name: value for name, value in members.items() if value is not None}
    return JSONResponse(content, status, headers=headers, media_type=CONTENT_TYPE)


def install(app: FastAPI) -> None:
    """Answer every error of ``app`` with a problem document."""

    @app.exception_handler(GatewayError)
    async def _known(_request: Request, error: GatewayError) -> JSONResponse:
        return problem(error)

    @app.exception_handler(RequestValidationError)
    async def _invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return document(422, "Invalid request", f"{where}: {first['msg']}", 2001)

    @app.exception_handler(HTTPException)
    async def _http(_request: Request, error: HTTPException) -> JSONResponse:
        said = str(error.detail)
        return document(error.status_code, said, said, 2001, headers=dict(error.headers or {}))

    @app.exception_handler(Exception)
    async def _unknown(_request: Request, error: Exception) -> JSONResponse:
        log.error("internal-fault", error=type(error).__name__, exc_info=error)
        return document(500, "Internal fault", "the request could not be served", 9999)
