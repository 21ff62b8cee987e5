"""Who calls: the bearer token of a request, and the scope an operation needs.

Every operation but those for everyone declares its scope by ``needs``, which also puts it into the published document.
A request without a good token is answered 401, one whose caller lacks the scope 403 with 8001.
"""

from typing import Annotated, Any, Protocol

from fastapi import Depends, Request, Security
from fastapi.openapi.models import OAuthFlowClientCredentials, OAuthFlows
from fastapi.security import OAuth2, SecurityScopes

from gateway.domain.callers import Caller, Scope
from gateway.errors import GatewayError, Kind

#: Where tokens are asked for, at the operators' address.
TOKEN_PATH = "/token"  # noqa: S105 - a path


class Callers(Protocol):
    """Tells who a token was given to."""

    async def of(self, token: str) -> Caller:
        """The caller; raises UNAUTHENTICATED for a token that is none, has expired, or was given to who is revoked."""


_scheme = OAuth2(
    flows=OAuthFlows(
        clientCredentials=OAuthFlowClientCredentials(
            tokenUrl=TOKEN_PATH, scopes={scope.value: scope.value.replace(":", ", ") for scope in Scope}
        )
    ),
    auto_error=False,
)


async def _caller(request: Request, wanted: SecurityScopes, header: str | None = Security(_scheme)) -> Caller:
    scheme, _, token = (header or "").partition(" ")
    callers: Callers = request.app.state.callers
    try:
        caller = await callers.of(token.strip() if scheme.lower() == "bearer" else "")
    except GatewayError as error:
        if error.kind is not Kind.UNAUTHENTICATED:
            raise
        challenge = 'Bearer error="invalid_token"' if token else "Bearer"  # RFC 6750 section 3
        raise GatewayError(error.kind, error.detail, code=error.code, context={"challenge": challenge}) from None
    for scope in wanted.scopes:
        caller.require(Scope(scope))
    return caller


def needs(scope: Scope) -> Any:
    """The dependency that gives the caller, who has ``scope``."""
    return Security(_caller, scopes=[scope.value])


def needs_one(*scopes: Scope) -> Any:
    """The dependency that gives the caller, who has one of ``scopes``; what each opens is the route's to say."""

    async def caller(found: Annotated[Caller, Security(_caller, scopes=[])]) -> Caller:
        if not found.scopes & set(scopes):
            raise GatewayError(Kind.FORBIDDEN, f"this needs one of the scopes {', '.join(scopes)}", code=8001)
        return found

    return Depends(caller)
