"""Signed notes, checkpoints and cosignatures (C2SP signed-note, tlog-checkpoint, tlog-cosignature).

``read`` proves a checkpoint by the keys of its log and gives what it says; ``parse`` alone proves nothing. Lines of
unknown keys are passed over; a line of a known key that does not verify spoils the whole note. ``Malformed`` is
raised for text that is no note or no checkpoint, ``UnknownLog`` where no key of its origin is known, ``Unproven``
where none of them signed.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

from .merkle import HASH_BYTES
from .strictjson import Malformed

#: Signature types of C2SP signed-note.
ED25519, COSIGNATURE, ML_DSA_44 = 0x01, 0x04, 0x06
#: Types a log signs its own checkpoints with.
OF_LOGS = (ED25519, ML_DSA_44)
#: Largest note: sixteen signatures of every kind fit, which a verifier must take.
MAX_NOTE_BYTES = 128 * 1024
#: Signature lines looked at.
MAX_LINES = 64
#: Largest tree: what PostgreSQL and the proof's length allow.
MAX_SIZE = 2**63 - 1

_PUBLIC_BYTES = {ED25519: 32, COSIGNATURE: 32, ML_DSA_44: 1312}
_NAME = r"[^\s+\x00-\x1f]+"
_LINE = re.compile(rf"— ({_NAME}) ([A-Za-z0-9+/]+={{0,2}})")
_VKEY = re.compile(rf"({_NAME})\+([0-9a-f]{{8}})\+([A-Za-z0-9+/]+={{0,2}})")
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")


class UnknownLog(Exception):
    """No key of this origin is known here."""


class Unproven(Exception):
    """No known key signed the note, or the line of a known key is not its signature."""


@dataclass(frozen=True)
class Line:
    """A signature line: who says to have signed, and the signature without the key id."""

    name: str
    key_id: bytes
    signature: bytes


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint says, and the note as it came."""

    origin: str
    size: int
    root: bytes
    #: What is signed: all lines up to the blank one.
    body: str
    lines: tuple[Line, ...]
    note: str


@dataclass(frozen=True)
class Verifier:
    """A public key that signs notes: a *vkey*."""

    name: str
    type: int
    public: bytes

    @classmethod
    def of(cls, vkey: str) -> "Verifier":
        """Read a vkey; raises ``Malformed``."""
        found = _VKEY.fullmatch(vkey)
        raw = from_base64(found[3]) if found else b""
        if found is None or _PUBLIC_BYTES.get(raw[0]) != len(raw) - 1:
            raise Malformed("not a vkey of a type known here")
        key = cls(found[1], raw[0], raw[1:])
        if key.key_id.hex() != found[2]:
            raise Malformed("the key id of a vkey is not its key's")
        return key

    @property
    def key_id(self) -> bytes:
        """Its four bytes in a signature line; a hint, not a proof."""
        return hashlib.sha256(self.name.encode() + b"\n" + bytes([self.type]) + self.public).digest()[:4]

    @property
    def vkey(self) -> str:
        """How it is published."""
        return f"{self.name}+{self.key_id.hex()}+{to_base64(bytes([self.type]) + self.public)}"

    def signed(self, checkpoint: Checkpoint, line: Line) -> bool:
        """Say whether the line is this key's signature of the checkpoint."""
        seconds, signature = int.from_bytes(line.signature[:8]), line.signature[8:]
        if self.type != ED25519 and not 0 < seconds <= MAX_SIZE:
            return (
                False  # the time of a cosigner counts in eight bytes, is never left out, and the first bit is not used
            )
        try:
            if self.type == ED25519:
                Ed25519PublicKey.from_public_bytes(self.public).verify(line.signature, checkpoint.body.encode())
            elif self.type == COSIGNATURE:
                signed = _cosigned(seconds, checkpoint.body)
                Ed25519PublicKey.from_public_bytes(self.public).verify(signature, signed)
            else:
                signed = _subtree(self.name, seconds, checkpoint)
                MLDSA44PublicKey.from_public_bytes(self.public).verify(signature, signed)
        except (InvalidSignature, ValueError):
            return False
        return True


@dataclass(frozen=True)
class Signer:
    """An Ed25519 key under a name: of a log, or of a witness."""

    name: str
    key: Ed25519PrivateKey

    def verifier(self, kind: int) -> Verifier:
        """Give the public key as one for signatures of this type."""
        return Verifier(self.name, kind, self.key.public_key().public_bytes_raw())

    def checkpoint(self, size: int, root: bytes) -> str:
        """Sign the head of the log whose origin is this key's name."""
        body = f"{self.name}\n{size}\n{to_base64(root)}\n"
        return f"{body}\n{self._line(ED25519, self.key.sign(body.encode()))}"

    def cosign(self, checkpoint: Checkpoint, seconds: int) -> str:
        """Give the line that says: at this POSIX time this was the largest consistent tree seen here."""
        signature = self.key.sign(_cosigned(seconds, checkpoint.body))
        return self._line(COSIGNATURE, seconds.to_bytes(8) + signature)

    def _line(self, kind: int, signature: bytes) -> str:
        return f"— {self.name} {to_base64(self.verifier(kind).key_id + signature)}\n"


def read(raw: bytes, keys: Iterable[Verifier]) -> Checkpoint:
    """Read a checkpoint and prove it by the keys of its log."""
    checkpoint = parse(raw)
    own = [key for key in keys if key.name == checkpoint.origin and key.type in OF_LOGS]
    if not own:
        raise UnknownLog(checkpoint.origin)
    matching = [(key, line) for key in own for line in checkpoint.lines if (key.name, key.key_id) == line_of(line)]
    if not matching or not all(key.signed(checkpoint, line) for key, line in matching):
        raise Unproven(f"not signed by a known key of {checkpoint.origin}")
    return checkpoint


def parse(raw: bytes) -> Checkpoint:
    """Read a checkpoint, proving nothing."""
    try:
        note = raw.decode()
    except UnicodeDecodeError as error:
        raise Malformed("a note is UTF-8") from error
    text, blank, signatures = note.rpartition("\n\n")
    if len(raw) > MAX_NOTE_BYTES or _CONTROL.search(note) or not blank:
        raise Malformed("not a signed note")
    body = f"{text}\n"
    origin, size, root, *more = [*text.split("\n"), "", ""][: max(3, text.count("\n") + 1)]
    digest = from_base64(root)
    if not all((origin, *more)) or _SIZE.fullmatch(size) is None or int(size) > MAX_SIZE or len(digest) != HASH_BYTES:
        raise Malformed("not a checkpoint: origin, size, root")
    return Checkpoint(origin, int(size), digest, body, tuple(lines_of(signatures)), note)


def lines_of(text: str) -> Sequence[Line]:
    """Read signature lines, one or more."""
    *lines, rest = text.split("\n")
    found = [_LINE.fullmatch(line) for line in lines]
    if rest or not 0 < len(lines) <= MAX_LINES or not all(found):
        raise Malformed("signature lines are missing, too many or not of their form")
    given = [(match[1], from_base64(match[2])) for match in found if match]
    if any(len(raw) < 5 for _, raw in given):
        raise Malformed("a signature line without a signature")
    return [Line(name, raw[:4], raw[4:]) for name, raw in given]


def line_of(line: Line) -> tuple[str, bytes]:
    """Give what names the key of a line."""
    return line.name, line.key_id


def to_base64(raw: bytes) -> str:
    """Write base64 as all these formats do."""
    return base64.b64encode(raw).decode()


def from_base64(text: str) -> bytes:
    """Read base64 that is written the one way it can be; raises ``Malformed``."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Malformed("not base64") from error
    if to_base64(raw) != text:
        raise Malformed("base64 that is not written the usual way")
    return raw


def _cosigned(seconds: int, body: str) -> bytes:
    return f"cosignature/v1\ntime {seconds}\n{body}".encode()


def _subtree(name: str, seconds: int, checkpoint: Checkpoint) -> bytes:
    """Give the ``cosigned_message`` of an ML-DSA-44 line: the tree from leaf 0 to its size."""
    given, origin = name.encode(), checkpoint.origin.encode()
    named = bytes([len(given)]) + given + seconds.to_bytes(8) + bytes([len(origin)]) + origin
    return b"subtree/v1\n\0" + named + (0).to_bytes(8) + checkpoint.size.to_bytes(8) + checkpoint.root
