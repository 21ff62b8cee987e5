"""A log without a database: entries of any number, checkpoints at the sizes that are wanted, keys of its own.

It is what ``gateway.audit.exporting`` exports; its roots are grown here and its notes signed here, so that a folder of
it can be verified, spoiled, and shown to programs of others.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from datetime import UTC, datetime, timedelta
from functools import cache
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from gateway.audit import merkle
from gateway.audit.checkpoint import Checkpoint
from gateway.audit.store import Published
from gateway.signing import notes
from gateway.signing.notes import Note, Verifier

ORIGIN = "gwy01.article6-gateway.invalid/log"
WITNESS = "mec01.sandbox.invalid/witness"
#: Entries that are hashed at once.
PART = 8192
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


class Signer:
    """A private key of one kind under a name."""

    def __init__(self, name: str, kind: int) -> None:
        self._private = MLDSA44PrivateKey.generate() if kind == notes.ML_DSA_44 else Ed25519PrivateKey.generate()
        self.verifier = Verifier(name, kind, self._private.public_key().public_bytes_raw())

    def sign(self, text: str, at: datetime) -> notes.Line:
        """The line that says this key signed ``text`` then."""
        time, key = int(at.timestamp()), self.verifier
        signature = self._private.sign(notes.covered(key.kind, key.name, text, time))
        return notes.line(key, signature if key.kind == notes.ED25519 else time.to_bytes(8, "big") + signature)


@cache
def signers(origin: str = ORIGIN) -> tuple[Signer, Signer, Signer]:
    """The log's two keys and its witness's, the same for all logs of that origin that a process makes."""
    kinds = ((origin, notes.ED25519), (origin, notes.ML_DSA_44), (WITNESS, notes.COSIGNATURE))
    first, second, third = (Signer(*kind) for kind in kinds)
    return first, second, third


def entry(nr: int) -> bytes:
    """A leaf as the gateway's are."""
    at = (BEGAN + timedelta(seconds=nr)).isoformat(timespec="milliseconds")
    return json.dumps({"kind": "message.received", "record": sha256(b"%d" % nr).hexdigest(), "time": at}).encode()


class MadeLog:
    """A log with checkpoints at ``sizes``, which ascend; ``entry_at`` gives each of its entries."""

    def __init__(self, sizes: Iterable[int], *, origin: str = ORIGIN, entry_at: Callable[[int], bytes] = entry) -> None:
        self._entry, self._signers = entry_at, signers(origin)
        growth = merkle.Growth.of(0, {})
        self.rows: list[Published] = []
        for nr, size in enumerate(sizes):
            while growth.size < size:
                end = min(size, growth.size + PART)
                growth.add([merkle.leaf_hash(entry_at(nr)) for nr in range(growth.size, end)])
                growth.tiles.clear()
            self.rows.append(self._published(Checkpoint(origin, size, growth.root), BEGAN + timedelta(minutes=nr)))

    def _published(self, head: Checkpoint, at: datetime) -> Published:
        lines = tuple(signer.sign(head.text, at) for signer in self._signers)
        return Published(head.size, Note(head.text, lines).whole, at)

    def first(self, number: int) -> "MadeLog":
        """The same log when it had published so many checkpoints."""
        earlier = copy(self)
        earlier.rows = self.rows[:number]
        return earlier

    @property
    def vkeys(self) -> list[str]:
        """The log's Ed25519 key, its ML-DSA-44 key, the witness's key."""
        return [signer.verifier.vkey for signer in self._signers]

    @property
    def verifiers(self) -> list[Verifier]:
        """The same, to verify with."""
        return [signer.verifier for signer in self._signers]

    async def latest(self) -> Published | None:
        return self.rows[-1] if self.rows else None

    async def published(self, above: int, limit: int) -> Sequence[Published]:
        return [row for row in self.rows if row.size > above][:limit]

    async def entries(self, first: int, number: int) -> Sequence[bytes]:
        return [self._entry(nr) for nr in range(first, min(first + number, self.rows[-1].size))]

    async def keys(self) -> bytes:
        rows = [{"vkey": vkey, "not_before": BEGAN.isoformat(), "not_after": None} for vkey in self.vkeys[:2]]
        return json.dumps({"origin": self._signers[0].verifier.name, "keys": rows}, indent=1).encode()
