"""JSON Web Tokens (RFC 7519) as OAuth 2 uses them here: a client's assertion (RFC 7523), an access token (RFC 9068).

Guarantees: three parts of canonical base64url, a protected header of nothing but ``alg``, ``kid`` and ``typ``, one
strict JSON object inside; ``alg`` is Ed25519 or ES256 and is the key's own, so that neither ``none`` nor a public key
taken for an HMAC secret verifies anything. What the claims must say is judged in ``access``, by authlib. Fails with
UNAUTHENTICATED (8001), which never quotes the token.
"""

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from joserfc.errors import JoseError

from gateway.errors import GatewayError, Kind
from gateway.signing import compact, strict_json
from gateway.signing.faults import EnvelopeError
from gateway.signing.keys import ALGORITHMS, Signer
from gateway.signing.trust import PeerKey

#: The longest token that is looked at, in bytes: one with every scope and an ES256 signature has below 1,500.
MAX_BYTES = 8 * 1024
ACCESS_TOKEN = "at+jwt"  # noqa: S105 - a media type (RFC 9068 section 2.1)
#: What the ``typ`` of a client's assertion may be, where it has one.
ASSERTION_TYPES = frozenset({None, "JWT", "client-authentication+jwt"})
#: How long an assertion made here is good: one request's time, on machines whose clocks differ a little.
ASSERTION_SECONDS = 60

#: What authlib raises of claims that are not as they must be.
ClaimsError = JoseError

#: Why nothing in a token is believed.
UNSIGNED = "no key that counts has signed the token"

_MEMBERS = frozenset({"alg", "kid", "typ"})


@dataclass(frozen=True, slots=True)
class Unproven:
    """A token taken apart. Nothing in it may be believed until ``proven`` has returned its claims."""

    typ: str | None
    alg: str
    kid: str | None
    claims: dict[str, Any]
    signing_input: bytes = field(repr=False)
    signature: bytes = field(repr=False)


def read(text: str) -> Unproven:
    """Take a token apart; raises UNAUTHENTICATED for what is none, or is longer than ``MAX_BYTES``."""
    parts = text.split(".")
    if len(text) > MAX_BYTES or len(parts) != 3:
        raise refused("a token is a compact JWS, and not long")
    try:
        header, claims, signature = (compact.decode(part) for part in parts)
        said, content = (strict_json.loads(strict_json.decode(part)) for part in (header, claims))
    except (ValueError, EnvelopeError):
        raise refused("a part of the token cannot be read") from None
    if not isinstance(said, dict) or not isinstance(content, dict) or said.keys() - _MEMBERS:
        raise refused("the token has a header or content of another form")
    alg, kid, typ = said.get("alg"), said.get("kid"), said.get("typ")
    if alg not in ALGORITHMS or not all(isinstance(x, str | None) for x in (kid, typ)):
        raise refused(f"the token's alg is none of {', '.join(ALGORITHMS)}")
    return Unproven(typ, alg, kid, content, f"{parts[0]}.{parts[1]}".encode("ascii"), signature)


def proven(token: Unproven, keys: Iterable[PeerKey]) -> dict[str, Any]:
    """The claims of a token that one of ``keys`` has signed; raises UNAUTHENTICATED for any other."""
    for key in keys:
        meant = token.alg == key.alg and token.kid in (None, key.kid)
        if meant and key.verifies(token.signing_input, token.signature):
            return token.claims
    raise refused(UNSIGNED)


def sign(signer: Signer, typ: str, claims: Mapping[str, Any]) -> str:
    """A signed token of these claims."""
    header = strict_json.dumps({"alg": signer.alg, "kid": signer.kid, "typ": typ})
    parts = (compact.encode(part.encode()) for part in (header, strict_json.dumps(dict(claims))))
    signing_input = ".".join(parts)
    return f"{signing_input}.{compact.encode(signer.sign(signing_input.encode('ascii')))}"


def assertion(signer: Signer, client: str, audience: str, now: datetime) -> str:
    """What a client shows at the token endpoint of ``audience``, once (RFC 7523 section 3)."""
    moment = int(now.timestamp())
    claims = {
        "iss": client,
        "sub": client,
        "aud": audience,
        "iat": moment,
        "exp": moment + ASSERTION_SECONDS,
        "jti": secrets.token_urlsafe(16),
    }
    return sign(signer, "JWT", claims)


def refused(why: str) -> GatewayError:
    """The refusal of a token."""
    return GatewayError(Kind.UNAUTHENTICATED, why, code=8001)
