"""A transparency log as the tests make it: notes, tiles and proofs written here again, from the specifications alone.

Nothing of the gateway or of a connector is imported. Leaves are leaf hashes, so that a test can place one that
somebody promised; a bundle of entries is read back by ``entries``. Slow and plain: everything is computed from all
leaves each time (RFC 6962 section 2.1, C2SP signed-note, tlog-checkpoint, tlog-tiles, tlog-cosignature).
"""

import base64
import hashlib
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey


def b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def leaf(entry: bytes) -> bytes:
    return hashlib.sha256(b"\0" + entry).digest()


def root(leaves: list[bytes]) -> bytes:
    if len(leaves) < 2:
        return leaves[0] if leaves else hashlib.sha256(b"").digest()
    k = split(len(leaves))
    return hashlib.sha256(b"\1" + root(leaves[:k]) + root(leaves[k:])).digest()


def proof(leaves: list[bytes], old: int, whole: bool = True) -> list[bytes]:
    """PROOF(old, leaves) of RFC 6962 section 2.1.2."""
    if old == len(leaves):
        return [] if whole else [root(leaves)]
    k = split(len(leaves))
    if old <= k:
        return [*proof(leaves[:k], old, whole), root(leaves[k:])]
    return [*proof(leaves[k:], old - k, False), root(leaves[:k])]


def split(size: int) -> int:
    k = 1
    while k * 2 < size:
        k *= 2
    return k


def key_id(name: str, kind: int, public: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + bytes([kind]) + public).digest()[:4]


def vkey(name: str, kind: int, public: bytes) -> str:
    return f"{name}+{key_id(name, kind, public).hex()}+{b64(bytes([kind]) + public)}"


def body_of(note: str) -> str:
    return note.rpartition("\n\n")[0] + "\n"


def read(note: str, key: str) -> tuple[int, bytes]:
    """The size and the root that a checkpoint says, proven by an Ed25519 vkey of its log; else the test fails."""
    name, _, encoded = key.split("+", 2)
    public = base64.b64decode(encoded)[1:]
    origin, size, root64 = body_of(note).splitlines()
    assert origin == name
    (line,) = [one for one in note.rpartition("\n\n")[2].splitlines() if one.startswith(f"— {name} ")]
    raw = base64.b64decode(line.split(" ")[2])
    assert raw[:4] == key_id(name, 1, public)
    Ed25519PublicKey.from_public_bytes(public).verify(raw[4:], body_of(note).encode())
    return int(size), base64.b64decode(root64)


def cosigned_at(line: str, key: str, note: str) -> int:
    """The POSIX time of a cosignature, proven by a vkey of type 4; else the test fails."""
    name, _, encoded = key.split("+", 2)
    raw, public = base64.b64decode(line.removesuffix("\n").split(" ")[2]), base64.b64decode(encoded)
    assert line.startswith(f"— {name} ") and public[0] == 4 and raw[:4] == key_id(name, 4, public[1:])
    seconds = int.from_bytes(raw[4:12])
    signed = f"cosignature/v1\ntime {seconds}\n{body_of(note)}".encode()
    Ed25519PublicKey.from_public_bytes(public[1:]).verify(raw[12:], signed)
    return seconds


def entries(bundle: bytes) -> list[bytes]:
    """The entries of a bundle."""
    found = []
    while bundle:
        length = int.from_bytes(bundle[:2])
        found.append(bundle[2 : 2 + length])
        bundle = bundle[2 + length :]
    return found


@dataclass
class Log:
    """A log with its key; ``shown`` is the checkpoint it serves, if any."""

    origin: str = "gwy01.article6-gateway.invalid/log"
    leaves: list[bytes] = field(default_factory=list)
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    shown: str | None = None

    @property
    def vkey(self) -> str:
        return vkey(self.origin, 1, self.key.public_key().public_bytes_raw())

    def checkpoint(self, size: int | None = None, of_root: bytes | None = None) -> str:
        """A signed note of the first ``size`` leaves, or of whatever root the test says."""
        number = len(self.leaves) if size is None else size
        body = f"{self.origin}\n{number}\n{b64(of_root or root(self.leaves[:number]))}\n"
        public = self.key.public_key().public_bytes_raw()
        signature = key_id(self.origin, 1, public) + self.key.sign(body.encode())
        return f"{body}\n— {self.origin} {b64(signature)}\n"

    def grow(self, *leaves: bytes) -> None:
        """Append leaf hashes and show the new head."""
        self.leaves += leaves
        self.shown = self.checkpoint()

    def fill(self, size: int) -> None:
        """Append leaves of no meaning up to a size."""
        self.grow(*(leaf(str(n).encode()) for n in range(len(self.leaves), size)))

    def tile(self, path: str) -> bytes | None:
        """The level-0 tile of a path below ``tile/``."""
        name, _, width = path.partition(".p/")
        number = int(name.removeprefix("0/").replace("x", "").replace("/", ""))
        hashes = self.leaves[number * 256 :][: int(width or 256)]
        return b"".join(hashes) if len(hashes) == int(width or 256) else None

    def added(self, old: int, note: str | None = None, by: list[bytes] | None = None) -> bytes:
        """The body of an add-checkpoint for a note (the head), with a proof from ``old`` (or ``by`` these hashes)."""
        size = int(body_of(note).splitlines()[1]) if note else len(self.leaves)
        hashes = by if by is not None else proof(self.leaves[:size], old) if old else []
        return (
            "".join(f"{line}\n" for line in (f"old {old}", *map(b64, hashes))) + "\n" + (note or self.checkpoint())
        ).encode()
