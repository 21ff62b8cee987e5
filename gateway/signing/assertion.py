"""Says who a machine client is, in a JWT that its own key signs (RFC 7523 section 3): made for one token request.

It is good for a minute and, by its ``jti``, once. The client's name is issuer and subject, the gateway's issuer is the
audience. Only makes them; whoever receives one judges it.
"""

import secrets
from datetime import datetime, timedelta

from gateway.signing import compact, strict_json
from gateway.signing.keys import Signer

#: Long enough for clocks that differ by less; RFC 7523 leaves it to the receiver, and ours takes up to 300 s.
LIFE = timedelta(seconds=60)


def make(key: Signer, client: str, audience: str, now: datetime) -> str:
    """The compact JWS by which ``client`` asks ``audience`` for a token."""
    header = {"alg": key.alg, "kid": key.kid, "typ": "JWT"}
    claims = {
        "iss": client,
        "sub": client,
        "aud": audience,
        "iat": int(now.timestamp()),
        "exp": int((now + LIFE).timestamp()),
        "jti": secrets.token_urlsafe(24),
    }
    signed = ".".join(compact.encode(strict_json.dumps(part).encode()) for part in (header, claims))
    return f"{signed}.{compact.encode(key.sign(signed.encode('ascii')))}"
