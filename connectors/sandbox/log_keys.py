"""Keys of logs and witnesses: this registry's own, and those of the gateway's log that were pinned.

Own keys are Ed25519, made at the first start beside the registry's message key: ``witness-<its file>`` and, where
the registry keeps a log, ``log-<its file>``, for their owner's eyes alone. The gateway's are a text file, one vkey a
line, read again when it changes; while it is not there nothing can be judged (``KeysMissing``).
"""

import os
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from .keys import KeysMissing
from .notes import Signer, Verifier


def own(purpose: str, code: str, message_key: Path) -> Signer:
    """Give the key of this registry's ``witness`` or ``log``, made where there is none; raises ValueError, OSError."""
    path = message_key.with_name(f"{purpose}-{message_key.name}")
    if not path.exists():
        made = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(made)
    key = load_pem_private_key(path.read_bytes(), None)
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError(f"{path.name} is not an Ed25519 key")
    return Signer(f"{code.lower()}.sandbox.invalid/{purpose}", key)


class Pinned:
    """The vkeys in a file."""

    def __init__(self, owner: str, path: Path) -> None:
        self._owner, self._path = owner, path
        self._read: tuple[tuple[int, int], Sequence[Verifier]] | None = None

    def keys(self) -> Sequence[Verifier]:
        """Give the keys; raises ``KeysMissing`` without the file, ``Malformed`` where a line is no vkey."""
        try:
            stamp = (self._path.stat().st_mtime_ns, self._path.stat().st_size)
            if self._read is None or self._read[0] != stamp:
                lines = self._path.read_text(encoding="utf-8").splitlines()
                self._read = stamp, [Verifier.of(line.strip()) for line in lines if line.strip()]
        except (FileNotFoundError, UnicodeDecodeError) as error:
            raise KeysMissing(f"{self._owner}'s log") from error
        return self._read[1]
