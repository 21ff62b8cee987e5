"""What a client must show to be given an access token, and what an access token must say: OAuth 2, judged by authlib.

authlib runs the grant (RFC 6749), judges the assertion's claims (RFC 7523) and those of a token (RFC 9068). It is
synchronous and knows no database: whoever asks it has fetched the one principal that the assertion names. Signatures
are made and verified in ``signing.jwt`` instead of authlib's way, which takes private keys out of their keeping and
accepts more algorithms than two. All moments come from the caller's clock.
"""

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from authlib.oauth2.claims import JWTClaims
from authlib.oauth2.rfc6749 import AuthorizationServer, ClientMixin, OAuth2Request, scope_to_list
from authlib.oauth2.rfc6749.errors import InvalidClientError
from authlib.oauth2.rfc6749.grants import ClientCredentialsGrant
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload
from authlib.oauth2.rfc6750.token import BearerTokenGenerator
from authlib.oauth2.rfc7523 import JWTBearerClientAssertion
from authlib.oauth2.rfc9068.claims import JWTAccessTokenClaims

from gateway.access.store import Principal
from gateway.domain.callers import Scope
from gateway.errors import GatewayError
from gateway.signing import jwt
from gateway.signing.keys import Signer
from gateway.signing.trust import PeerKey

#: How long an access token is good.
TOKEN_SECONDS = 600
#: The longest an assertion may be good: it is remembered that long.
ASSERTION_SECONDS = 300
#: How far clocks may differ.
LEEWAY_SECONDS = 30
#: The longest name of an assertion, in characters.
MAX_JTI = 128

#: What the id of somebody may be: what is none is nobody's, and not looked up.
_ID = re.compile(r"[A-Za-z0-9-]{1,64}")

# authlib refuses requests that did not come by https; what our listener is reached by is the settings' to judge.
_URI = "https://gateway.invalid/token"


@dataclass(frozen=True, slots=True)
class Assertion:
    """An assertion that has proven who shows it, to be used up with what it is answered."""

    principal: str
    jti: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Answer:
    """What the token endpoint answers, and the assertion it is an answer to, if that was good."""

    status: int
    body: Mapping[str, Any] = field(repr=False)
    assertion: Assertion | None = None
    retry_after_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class Authority:
    """The gateway as it gives tokens: its name, and the key it signs them with."""

    issuer: str
    signer: Signer = field(repr=False)

    def token(self, principal: str, scopes: frozenset[Scope], now: datetime) -> str:
        """An access token (RFC 9068) for a principal, good for ``TOKEN_SECONDS``."""
        moment = int(now.timestamp())
        claims = {
            "iss": self.issuer,
            "sub": principal,
            "client_id": principal,
            "aud": audience(self.issuer),
            "iat": moment,
            "exp": moment + TOKEN_SECONDS,
            "jti": secrets.token_urlsafe(16),
            "scope": " ".join(sorted(scopes)),
        }
        return jwt.sign(self.signer, jwt.ACCESS_TOKEN, claims)

    def answer(
        self, form: Mapping[str, str], principal: Principal | None, keys: Sequence[PeerKey], now: datetime
    ) -> Answer:
        """What a request is answered, whose assertion says it is ``principal``'s, whose keys are ``keys``."""
        server = _Server(self, principal, keys, now)
        answer: Answer = server.create_token_response(form)
        return answer


def audience(issuer: str) -> str:
    """What our access tokens are for: the operator API."""
    return f"{issuer}:operator"


def claimed(form: Mapping[str, str]) -> str | None:
    """Whose an assertion says it is, which may be anybody's word; nothing when there is none that can be somebody's."""
    try:
        claims = jwt.read(form.get("client_assertion", "")).claims
    except GatewayError:
        return None
    sub = claims.get("sub")
    return sub if isinstance(sub, str) and _ID.fullmatch(sub) else None


def judged(claims: Mapping[str, Any], issuer: str, now: datetime) -> tuple[str, frozenset[str]]:
    """Whose an access token is, and what scopes it names; raises UNAUTHENTICATED unless it is ours and good now.

    ``claims`` are those of a token whose signature was proven.
    """
    essential: dict[str, Any] = {name: {"essential": True} for name in ("exp", "iat", "jti", "sub", "client_id")}
    options = essential | {"iss": {"essential": True, "value": issuer}}
    options["aud"] = {"essential": True, "value": audience(issuer)}
    _require(JWTAccessTokenClaims, claims, options, now)
    if claims["sub"] != claims["client_id"] or not isinstance(claims.get("scope"), str):
        raise jwt.refused("the token is not one of ours")
    return claims["sub"], frozenset(claims["scope"].split())


def _require(kind: Any, claims: Mapping[str, Any], options: dict[str, Any], now: datetime) -> None:
    """Let authlib judge claims; raises UNAUTHENTICATED with what it found."""
    header = {"typ": jwt.ACCESS_TOKEN}
    try:
        kind(dict(claims), header, options).validate(now=int(now.timestamp()), leeway=LEEWAY_SECONDS)
    except jwt.ClaimsError as error:
        claim = getattr(error, "claim", None) or error.error.partition("_")[0]
        raise jwt.refused(f"the token's {claim} is not as it must be") from None


class _Client(ClientMixin):
    """A principal as authlib asks about it."""

    def __init__(self, principal: Principal, keys: Sequence[PeerKey]) -> None:
        self.principal = principal
        self.keys = keys

    def get_client_id(self) -> str:
        return self.principal.id

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method == JWTBearerClientAssertion.CLIENT_AUTH_METHOD and endpoint == "token"

    def check_grant_type(self, grant_type: str) -> bool:
        return bool(grant_type == ClientCredentialsGrant.GRANT_TYPE)

    def get_allowed_scope(self, scope: str | None) -> str | None:
        """All it may do, or what it asked for; nothing (``invalid_scope``) when it asked for more."""
        allowed = {str(one) for one in self.principal.allowed}
        wanted = set(scope_to_list(scope)) if scope else allowed
        return " ".join(sorted(wanted)) if wanted <= allowed else None


class _Proof(JWTBearerClientAssertion):
    """``private_key_jwt``: the assertion is read and verified by us, its claims are authlib's to judge, then ours."""

    def __init__(self, issuer: str, now: datetime) -> None:
        super().__init__(leeway=LEEWAY_SECONDS)
        self._issuer = issuer
        self._now = now
        self.used: Assertion | None = None

    def extract_assertion(self, assertion: str) -> tuple[dict[str, Any], dict[str, Any]]:
        try:
            token = jwt.read(assertion)
        except GatewayError as error:
            raise InvalidClientError(description="the assertion cannot be read") from error
        return {"typ": token.typ}, token.claims

    def resolve_client_public_key(self, client: _Client) -> Sequence[PeerKey]:
        return client.keys

    def process_assertion_claims(self, assertion: str, keys: Sequence[PeerKey]) -> Mapping[str, Any]:
        token = jwt.read(assertion)
        try:
            claims = jwt.proven(token, keys)
            if token.typ not in jwt.ASSERTION_TYPES:
                raise jwt.refused("its typ is of something else")
            self._judge(claims)
        except GatewayError as error:
            raise InvalidClientError(description=error.detail.replace('"', "'").replace("\\", "/")) from error
        return claims

    def _judge(self, claims: Mapping[str, Any]) -> None:
        essential: dict[str, Any] = {name: {"essential": True} for name in ("iss", "sub", "exp", "jti")}
        options = essential | {"aud": {"essential": True, "value": self._issuer}}
        _require(JWTClaims, claims, options, self._now)
        if claims["iss"] != claims["sub"]:
            raise jwt.refused("iss and sub are one and the same client")
        if claims["aud"] not in (self._issuer, [self._issuer]):
            raise jwt.refused("aud is this gateway and nobody else")
        expires_at = self._end(claims["exp"])
        if not 1 <= len(claims["jti"]) <= MAX_JTI:
            raise jwt.refused(f"jti has 1 to {MAX_JTI} characters")
        self.used = Assertion(claims["sub"], claims["jti"], expires_at + timedelta(seconds=LEEWAY_SECONDS))

    def _end(self, exp: float) -> datetime:
        if exp > self._now.timestamp() + ASSERTION_SECONDS + LEEWAY_SECONDS:
            raise jwt.refused(f"exp is at most {ASSERTION_SECONDS} seconds ahead")
        return datetime.fromtimestamp(exp, UTC)


class _Grant(ClientCredentialsGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = (JWTBearerClientAssertion.CLIENT_AUTH_METHOD,)


class _Request(OAuth2Request):
    def __init__(self, form: Mapping[str, str]) -> None:
        super().__init__("POST", _URI)
        self.payload = BasicOAuth2Payload(dict(form))

    @property
    def form(self) -> Mapping[str, str]:
        found: Mapping[str, str] = self.payload.data
        return found


class _Server(AuthorizationServer):
    """authlib's server for one request; the principal was fetched before."""

    def __init__(
        self, authority: Authority, principal: Principal | None, keys: Sequence[PeerKey], now: datetime
    ) -> None:
        super().__init__(scopes_supported=[scope.value for scope in Scope])
        self._client = _Client(principal, keys) if principal is not None and not principal.revoked else None
        self._proof = _Proof(authority.issuer, now)
        self.register_client_auth_method(JWTBearerClientAssertion.CLIENT_AUTH_METHOD, self._proof)
        self.register_grant(_Grant)

        def made(client: _Client, grant_type: str, user: None, scope: str) -> str:
            return authority.token(client.get_client_id(), frozenset(map(Scope, scope.split())), now)

        self.register_token_generator("default", BearerTokenGenerator(made, expires_generator=TOKEN_SECONDS))

    def query_client(self, client_id: str) -> _Client:
        if self._client is None or self._client.get_client_id() != client_id:
            raise InvalidClientError(description=jwt.UNSIGNED)  # as if another had signed: ids are not to be tried out
        return self._client

    def save_token(self, token: Mapping[str, Any], request: _Request) -> None:
        """A token is not kept: what it may do is looked up at each call."""

    def send_signal(self, name: str, *args: Any, **kwargs: Any) -> None:
        """Nobody listens."""

    def create_oauth2_request(self, request: Mapping[str, str]) -> _Request:
        return _Request(request)

    def handle_response(self, status: int, body: Mapping[str, Any], headers: Any) -> Answer:
        return Answer(status, body, self._proof.used)
