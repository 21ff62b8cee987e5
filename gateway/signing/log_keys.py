"""The keys of the transparency log, apart from the key that messages are signed with.

One file holds three private keys (PEM PKCS#8, in this order): Ed25519 and ML-DSA-44, which both sign every checkpoint
of our log, and the Ed25519 key with which we cosign those of others as a witness. The last is one of its own because an
Ed25519 cosignature does not cover the name of its signer. They are made, kept and replaced together.

Fails as ``key_files`` does, and with MALFORMED for a file that holds anything else.
"""

import re
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from gateway.errors import GatewayError, Kind
from gateway.signing import key_files, notes
from gateway.signing.keys import DEMO_MARK
from gateway.signing.notes import Line, Verifier

_PEM = re.compile(rb"-----BEGIN PRIVATE KEY-----.*?-----END PRIVATE KEY-----", re.DOTALL)


class LogKey:
    """The three keys in this process's memory; ``demo`` if they sign for a demo only."""

    __slots__ = ("_curve", "_lattice", "_witness", "demo")

    def __init__(
        self, curve: Ed25519PrivateKey, lattice: MLDSA44PrivateKey, witness: Ed25519PrivateKey, *, demo: bool = False
    ) -> None:
        self._curve, self._lattice, self._witness = curve, lattice, witness
        self.demo = demo

    def __repr__(self) -> str:
        """Show what is public anyway."""
        return f"<LogKey {self.id}>"

    def __reduce__(self) -> Any:
        """Refuse to be pickled: private keys leave this process by ``save`` only."""
        raise TypeError("a private key is not pickled")

    @classmethod
    def generate(cls, *, demo: bool = False) -> Self:
        """New keys."""
        return cls(Ed25519PrivateKey.generate(), MLDSA44PrivateKey.generate(), Ed25519PrivateKey.generate(), demo=demo)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the keys from the file ``path``."""
        return cls._from_pem(key_files.read(path), f"key file {path}")

    @classmethod
    def from_environment(cls, text: str) -> Self:
        """The keys whose PEM is ``text``."""
        return cls._from_pem(text.encode(), "log key from the environment")

    @classmethod
    def _from_pem(cls, pem: bytes, source: str) -> Self:
        try:
            curve, lattice, witness = (load_pem_private_key(part, None) for part in _PEM.findall(pem))
        except (ValueError, TypeError):
            raise GatewayError(Kind.MALFORMED, f"{source}: not the three unencrypted keys of a log") from None
        if not (
            isinstance(curve, Ed25519PrivateKey)
            and isinstance(lattice, MLDSA44PrivateKey)
            and isinstance(witness, Ed25519PrivateKey)
        ):
            raise GatewayError(Kind.MALFORMED, f"{source}: not an Ed25519, an ML-DSA-44 and an Ed25519 key")
        if curve.private_bytes_raw() == witness.private_bytes_raw():
            raise GatewayError(Kind.MALFORMED, f"{source}: the witness needs a key of its own")
        return cls(curve, lattice, witness, demo=pem.startswith(DEMO_MARK))

    def save(self, path: Path) -> None:
        """Write the keys to ``path`` with mode 0600; raises CONFLICT when anything is there already."""
        keys = (self._curve, self._lattice, self._witness)
        pem = b"".join(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) for key in keys)
        key_files.write(path, (DEMO_MARK if self.demo else b"") + pem)

    @property
    def id(self) -> str:
        """What tells these keys from others: the Ed25519 key in hex."""
        return self._curve.public_key().public_bytes_raw().hex()

    def verifiers(self, origin: str) -> tuple[Verifier, Verifier]:
        """What the checkpoints of the log ``origin`` are verified with."""
        return (
            Verifier(origin, notes.ED25519, self._curve.public_key().public_bytes_raw()),
            Verifier(origin, notes.ML_DSA_44, self._lattice.public_key().public_bytes_raw()),
        )

    def witness(self, name: str) -> Verifier:
        """What the cosignatures of the witness ``name`` are verified with."""
        return Verifier(name, notes.COSIGNATURE, self._witness.public_key().public_bytes_raw())

    def sign(self, origin: str, text: str, now: datetime) -> list[Line]:
        """The signature lines of a checkpoint of our own."""
        curve, lattice = self.verifiers(origin)
        time = int(now.timestamp())
        late = self._lattice.sign(notes.covered(notes.ML_DSA_44, origin, text, time))
        return [
            notes.line(curve, self._curve.sign(text.encode())),
            notes.line(lattice, time.to_bytes(8, "big") + late),
        ]

    def cosign(self, name: str, text: str, now: datetime) -> Line:
        """The witness's cosignature of another log's checkpoint."""
        time = int(now.timestamp())
        signature = self._witness.sign(notes.covered(notes.COSIGNATURE, name, text, time))
        return notes.line(self.witness(name), time.to_bytes(8, "big") + signature)
