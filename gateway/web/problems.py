"""Errors as problem documents (RFC 9457): the one place where an error gets an HTTP status.

The document carries the code of the check table where there is one, for an envelope its slug (``reason``), and where
several things stand against what was asked, each of them (``findings``).
What is not a ``GatewayError`` is answered by a bare 500 that leaks nothing, and is logged.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from gateway.errors import GatewayError, Kind
from gateway.web.headers import HEADERS
from gateway.web.schemas import Problem

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

#: What any operation may answer instead of what it promises.
REFUSALS = {
    400: "Malformed: not a request, or a value that cannot be read.",
    401: "No good bearer token.",
    403: "The caller lacks the scope, or there is nothing here that it may see or act on (8001).",
    404: "There is no such thing; said to callers bound to all only.",
    408: "The request took too long to arrive.",
    409: "Not in this state, or not any more; not yet, where there is a Retry-After.",
    413: "The request is too large.",
    422: "A value is not of its schema, or is refused by a check.",
    429: "Too many requests; Retry-After says when to come again.",
    503: "Unavailable, overloaded or halted; Retry-After says when to come again.",
}

log = structlog.get_logger()


def problem(error: GatewayError) -> JSONResponse:
    """The problem document of ``error``."""
    if error.kind is Kind.INVARIANT:
        log.error("invariant-broken", detail=error.detail)
        return document(500, "Internal fault", "an internal rule does not hold; nothing was changed", 9999)
    after = error.context.get("retry_after_seconds", RETRY_AFTER_SECONDS)
    passing = error.kind is Kind.UNAVAILABLE or "retry_after_seconds" in error.context
    headers = {"retry-after": str(after)} if passing else {}
    if "challenge" in error.context:
        headers["www-authenticate"] = error.context["challenge"]
    reason = error.context.get("fault")
    title = str(error.kind).replace("-", " ").capitalize()
    findings = error.context.get("findings")
    return document(STATUS[error.kind], title, error.detail, error.code, reason, headers, findings)


def document(
    status: int,
    title: str,
    detail: str,
    code: int | None = None,
    reason: str | None = None,
    headers: Mapping[str, str] | None = None,
    findings: Sequence[Mapping[str, Any]] | None = None,
) -> JSONResponse:
    """A problem document; members without a value are left out."""
    members = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
        "reason": reason,
        "findings": findings,
    }
    content = {name: value for name, value in members.items() if value is not None}
    return JSONResponse(content, status, headers=headers, media_type=CONTENT_TYPE)


def publish(app: FastAPI) -> None:
    """Show in the document of ``app`` what its operations may answer instead: each refusal once, and referred to."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = plain()
            shapes = document["components"]["schemas"]
            for unused in ("HTTPValidationError", "ValidationError"):
                shapes.pop(unused, None)
            shapes["Problem"] = Problem.model_json_schema()
            shown = {CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
            document["components"]["responses"] = {
                str(status): {"description": meaning, "content": shown} for status, meaning in REFUSALS.items()
            }
            for methods in document["paths"].values():
                for operation in methods.values():
                    refused = {str(status): {"$ref": f"#/components/responses/{status}"} for status in REFUSALS}
                    operation["responses"].pop("422", None)  # the framework's own
                    operation["responses"] = refused | operation["responses"]
        return plain()

    app.openapi = openapi  # type: ignore[method-assign]


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
        # Made outside of whatever adds headers to answers.
        return document(500, "Internal fault", "the request could not be served", 9999, headers=HEADERS)
