"""Signatures: the only code of this program that touches JOSE.

``prove`` gives the payload of a JWS that a named sender signed under a key registered for that sender, with
a header of exactly ``alg``, ``kid`` and ``typ``; it raises ``Unattributable`` for anything else and
``KeysMissing`` while the sender's key set is not at hand.
"""

import base64
import hashlib
import re
from datetime import datetime
from typing import Any

from joserfc import jws
from joserfc.errors import JoseError

from . import strictjson
from .keys import OwnKey, Trust, algorithm_of
from .shapes import is_time
from .strictjson import Malformed

#: Largest HTTP body of a message.
MAX_BODY_BYTES = 8 * 1024 * 1024

_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_REGISTRY = jws.JWSRegistry(algorithms=["Ed25519", "ES256"])
# A thousand transfers with all their evidence are beyond the library's default of 128,000 characters.
_REGISTRY.max_payload_length = MAX_BODY_BYTES


class Unattributable(Exception):
    """Nothing can be attributed to the sender: an HTTP status and a code, no signature."""

    def __init__(self, status: int, code: int, detail: str) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail = status, code, detail


def digest(data: str | bytes) -> str:
    """SHA-256 as the contract writes it: base64url without padding, 43 characters."""
    raw = hashlib.sha256(data.encode() if isinstance(data, str) else data).digest()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def is_compact(value: Any) -> bool:
    """Say whether ``value`` looks like a compact JWS."""
    return isinstance(value, str) and _COMPACT.fullmatch(value) is not None


def sign(payload: str, key: OwnKey) -> str:
    """Give the compact JWS over ``payload``."""
    header = {"alg": key.alg, "kid": key.kid, "typ": "a6link+jws"}
    return jws.serialize_compact(header, payload, key.key, registry=_REGISTRY)


def segment(text: str) -> dict[str, Any]:
    """Parse one part of a JWS, proving nothing; raises ``Malformed`` or ValueError."""
    value = strictjson.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    if not isinstance(value, dict):
        raise Malformed("not an object")
    return value


def prove(compact: str, sender: str, trust: Trust) -> dict[str, Any]:
    """Give the payload of a JWS that ``sender`` signed; raises ``Unattributable`` or ``KeysMissing``."""
    try:
        header, payload = (segment(part) for part in compact.split(".")[:2])
    except (ValueError, Malformed) as error:
        raise Unattributable(400, 2001, "not a JWS of this protocol") from error
    if header.keys() != {"alg", "kid", "typ"} or header["typ"] != "a6link+jws":
        raise Unattributable(400, 2001, "the header is not exactly alg, kid and typ")
    if payload.get("from") != sender:
        raise Unattributable(401, 1002, "unknown sender")
    key = trust.key(sender, header["kid"]) if isinstance(header["kid"], str) else None
    if key is None:
        raise Unattributable(401, 1007, "unknown key")
    if header["alg"] != algorithm_of(key):
        raise Unattributable(401, 1005, "the algorithm is not the key's")
    try:
        jws.deserialize_compact(compact, key, registry=_REGISTRY)
    except (JoseError, ValueError) as error:
        raise Unattributable(401, 1006, "the signature is not valid") from error
    sent_at: Any = payload.get("sent_at")
    if is_time(sent_at) and not trust.good(sender, header["kid"], datetime.fromisoformat(sent_at)):
        raise Unattributable(401, 1007, "the key was not valid when this was sent")
    return payload
