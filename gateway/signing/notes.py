"""Signed notes: texts with signature lines that any C2SP program verifies (signed-note, tlog-cosignature).

Three kinds of signature, told apart by a byte that is part of the key's id: Ed25519 over the text (0x01), and the two
timestamped cosignatures of a checkpoint, Ed25519 (0x04) and ML-DSA-44 (0x06, sound when elliptic curves are not).

Guarantees: a line of an unknown key is ignored, one of a known key that does not verify refuses the whole note, and so
does a note that no known key signed. The text is verified as it was read and never written anew. Fails with
``GatewayError``: MALFORMED for what is no note or no key, UNTRUSTED for what is not signed as it must be.
"""

import base64
import binascii
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

from gateway.errors import GatewayError, Kind

ED25519 = 0x01
COSIGNATURE = 0x04
ML_DSA_44 = 0x06
#: Bytes of the public key of each kind.
_KEY_BYTES = {ED25519: 32, COSIGNATURE: 32, ML_DSA_44: 1312}
_SIGNATURE_BYTES = {ED25519: 64, COSIGNATURE: 72, ML_DSA_44: 2428}
#: A note of ours has at most two lines a key and one a witness; readers must take 16 and may refuse more.
MAX_LINES = 64
#: A text of three lines and that many signatures, the longest of them in base64.
MAX_NOTE = 256 * 1024
_NAME = re.compile(r"[^\s+\x00-\x1f\x7f]{1,255}")
_LINE = "\u2014 "


@dataclass(frozen=True, slots=True)
class Verifier:
    """A public key under its name; ``vkey`` is how C2SP programs are told of it."""

    name: str
    kind: int
    public: bytes

    @property
    def id(self) -> bytes:
        """The four bytes that, with the name, say in a line which key signed it."""
        return sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.public).digest()[:4]

    @property
    def vkey(self) -> str:
        """``<name>+<id in hex>+<base64 of kind and key>``."""
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(bytes([self.kind]) + self.public).decode()}"

    @classmethod
    def read(cls, vkey: str) -> "Verifier":
        """The key that ``vkey`` tells of; raises MALFORMED."""
        name, _, rest = vkey.strip().partition("+")
        written, _, encoded = rest.partition("+")
        raw = unbase64(encoded)
        if not _NAME.fullmatch(name) or not raw or len(raw) - 1 != _KEY_BYTES.get(raw[0]):
            raise GatewayError(Kind.MALFORMED, "not a C2SP verifier key of type 01, 04 or 06")
        made = cls(name, raw[0], raw[1:])
        if made.id.hex() != written:
            raise GatewayError(Kind.MALFORMED, "the verifier key's id is not that of its key")
        return made

    def signed(self, text: str, blob: bytes) -> datetime | None:
        """When the cosigner signed ``text`` (none for a kind without time); raises UNTRUSTED if it did not."""
        refused = GatewayError(Kind.UNTRUSTED, f"the signature of {self.name} does not verify", code=1004)
        if len(blob) != _SIGNATURE_BYTES[self.kind]:
            raise refused
        time, signature = (0, blob) if self.kind == ED25519 else (int.from_bytes(blob[:8], "big"), blob[8:])
        key = MLDSA44PublicKey if self.kind == ML_DSA_44 else Ed25519PublicKey
        try:
            key.from_public_bytes(self.public).verify(signature, covered(self.kind, self.name, text, time))
            return None if self.kind == ED25519 else datetime.fromtimestamp(time, UTC)
        except (InvalidSignature, ValueError, OverflowError, OSError):
            raise refused from None


@dataclass(frozen=True, slots=True)
class Line:
    """A signature line: who says to have signed, by which key, and what they wrote."""

    name: str
    key_id: bytes
    blob: bytes
    text: str


@dataclass(frozen=True, slots=True)
class Signed:
    """A line that verified, by whom, and when if its kind says so."""

    by: Verifier
    at: datetime | None
    line: Line


@dataclass(frozen=True, slots=True)
class Note:
    """A text, which ends in a line feed, and its signature lines."""

    text: str
    lines: tuple[Line, ...]

    @property
    def whole(self) -> str:
        """The note as it is sent."""
        return self.text + "\n" + "".join(line.text + "\n" for line in self.lines)

    def signed_by(self, known: Iterable[Verifier]) -> list[Signed]:
        """The lines of ``known`` keys, each verified; raises UNTRUSTED if one is false or there is none."""
        keys = {(key.name, key.id): key for key in known}
        found = []
        for line in self.lines:
            if key := keys.get((line.name, line.key_id)):
                found.append(Signed(key, key.signed(self.text, line.blob), line))
        if not found:
            raise GatewayError(Kind.UNTRUSTED, "no known key has signed this note", code=1004)
        return found


def read(note: str) -> Note:
    """Take a note apart, trusting nothing in it; raises MALFORMED."""
    text, separator, rest = note.rpartition("\n\n")
    if len(note) > MAX_NOTE or not separator or not text or not rest.endswith("\n"):
        raise GatewayError(Kind.MALFORMED, "not a signed note: a text, an empty line, signature lines", code=2001)
    if any(ord(character) < 32 and character != "\n" for character in note):
        raise GatewayError(Kind.MALFORMED, "a signed note has no control characters", code=2001)
    return Note(text + "\n", tuple(lines(rest)))


def lines(text: str) -> list[Line]:
    """The signature lines that ``text`` consists of; raises MALFORMED."""
    found = text.split("\n")[:-1]
    if not text.endswith("\n") or len(found) > MAX_LINES:
        raise GatewayError(Kind.MALFORMED, f"not between 1 and {MAX_LINES} signature lines", code=2001)
    return [_line(line) for line in found]


def line(key: Verifier, blob: bytes) -> Line:
    """The signature line of ``key`` that carries ``blob``."""
    return Line(key.name, key.id, blob, f"{_LINE}{key.name} {base64.b64encode(key.id + blob).decode()}")


def _line(text: str) -> Line:
    name, _, encoded = text.removeprefix(_LINE).partition(" ")
    raw = unbase64(encoded)
    if not text.startswith(_LINE) or not _NAME.fullmatch(name) or raw is None or len(raw) < 5:
        raise GatewayError(Kind.MALFORMED, "not a signature line", code=2001)
    return Line(name, raw[:4], raw[4:], text)


def covered(kind: int, name: str, text: str, time: int) -> bytes:
    """What a signature of this kind covers; raises ``ValueError`` for what should be a checkpoint and is none."""
    if kind == ED25519:
        return text.encode()
    if kind == COSIGNATURE:
        return f"cosignature/v1\ntime {time}\n{text}".encode()
    origin, size, root = text.split("\n")[:3]
    return b"".join(
        [
            b"subtree/v1\n\0",
            _short(name.encode()),
            time.to_bytes(8, "big"),
            _short(origin.encode()),
            (0).to_bytes(8, "big"),
            int(size).to_bytes(8, "big"),
            base64.b64decode(root, validate=True),
        ]
    )


def _short(data: bytes) -> bytes:
    if not 1 <= len(data) <= 255:
        raise ValueError("between 1 and 255 bytes")
    return bytes([len(data)]) + data


def unbase64(text: str) -> bytes | None:
    """The bytes of canonical base64 with padding (RFC 4648 section 4), or nothing."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if base64.b64encode(data).decode() == text else None


def read_keys(text: str) -> Sequence[Verifier]:
    """The verifier keys of a file, one a line; empty lines and those that begin with # are passed over."""
    return [Verifier.read(line) for line in text.splitlines() if line.strip() and not line.startswith("#")]
