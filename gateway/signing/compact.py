"""The compact JWS (RFC 7515 section 7.1) taken apart and put together, without trusting anything in it.

Guarantees: exactly three parts of canonical base64url (so one signature has one spelling), a protected header
of exactly ``alg``, ``kid`` and ``typ``, and a payload that is one strict JSON object. The received text is
kept: what was signed is never re-serialised. joserfc's own compact parser is not used because it caps a
payload at 128,000 bytes and reads the header with a lenient JSON parser; its algorithms are (``keys``,
``trust``). Fails with ``EnvelopeError``; nothing here says that a signature is good.
"""

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from typing import Any

from gateway.signing import strict_json
from gateway.signing.faults import EnvelopeError, Fault

TYP = "a6link+jws"
HEADER_MEMBERS = ("alg", "kid", "typ")

_BASE64URL = re.compile(r"[A-Za-z0-9_-]*")


@dataclass(frozen=True, slots=True)
class Compact:
    """A compact JWS read but not verified. ``signing_input`` is the ASCII text the signature covers."""

    text: str
    alg: str
    kid: str
    payload: dict[str, Any]
    signing_input: bytes
    signature: bytes


def encode(data: bytes) -> str:
    """Return base64url of ``data`` without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def decode(text: str) -> bytes:
    """Return the bytes of canonical, unpadded base64url; raises ``ValueError`` for any other spelling."""
    if not _BASE64URL.fullmatch(text):
        raise ValueError("not base64url")
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        raise ValueError("not base64url") from None
    if encode(data) != text:
        raise ValueError("not canonical base64url")
    return data


def digest(data: bytes | str) -> str:
    """Return base64url(SHA-256) of ``data`` (43 characters); text is hashed as UTF-8."""
    return encode(sha256(data))


def sha256(data: bytes | str) -> bytes:
    """Return SHA-256 of ``data``; text is hashed as UTF-8."""
    return hashlib.sha256(data.encode("utf-8") if isinstance(data, str) else data).digest()


def read(text: str) -> Compact:
    """Take a compact JWS apart; raises ``EnvelopeError`` for the first thing that is not as it must be."""
    parts = text.split(".")
    if len(parts) != 3:
        raise EnvelopeError(Fault.NOT_A_JWS, "a compact JWS has three parts")
    try:
        header, payload, signature = (decode(part) for part in parts)
    except ValueError as error:
        raise EnvelopeError(Fault.NOT_A_JWS, f"a part of the JWS is {error}") from None
    alg, kid = _read_header(header)
    value = strict_json.loads(strict_json.decode(payload))
    if not isinstance(value, dict):
        raise EnvelopeError(Fault.NOT_A_JWS, "the payload is not a JSON object")
    return Compact(text, alg, kid, value, f"{parts[0]}.{parts[1]}".encode("ascii"), signature)


def kid(text: str) -> str:
    """Return the id of the key that signed a compact JWS of our own."""
    return _read_header(decode(text.partition(".")[0]))[1]


def header_and_payload(alg: str, kid: str, payload: str) -> str:
    """Return the signing input for the JSON text ``payload``: the first two parts of a compact JWS."""
    header = strict_json.dumps({"alg": alg, "kid": kid, "typ": TYP})
    return f"{encode(header.encode('utf-8'))}.{encode(payload.encode('utf-8'))}"


def _read_header(data: bytes) -> tuple[str, str]:
    header = strict_json.loads(strict_json.decode(data))
    if not isinstance(header, dict):
        raise EnvelopeError(Fault.NOT_A_JWS, "the protected header is not a JSON object")
    if str(header.get("alg")).lower() == "none":
        raise EnvelopeError(Fault.ALGORITHM_NONE, "the message is not signed")
    if extra := [name for name in header if name not in HEADER_MEMBERS]:
        raise EnvelopeError(Fault.EXTRA_HEADER, f"header member {extra[0][:64]!r} is not allowed")
    for name in HEADER_MEMBERS:
        if not isinstance(header.get(name), str):
            raise EnvelopeError(Fault.MISSING_HEADER, f"header member {name!r} is missing or not a string")
    if header["typ"] != TYP:
        raise EnvelopeError(Fault.WRONG_TYP, f"typ is not {TYP}")
    return header["alg"], header["kid"]
