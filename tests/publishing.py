"""A log's keys, a witness, and what puts the entries of a stage's gateway into a published, cosigned tree at once."""

import base64
from dataclasses import dataclass, field
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from gateway.audit import merkle
from gateway.audit.checkpoint import Checkpoint
from gateway.signing import notes
from gateway.signing.notes import COSIGNATURE, ED25519, ML_DSA_44, Verifier
from tests.stage import Stage

ORIGIN = "gwy01.article6-gateway.invalid/log"


@dataclass
class Signer:
    """One note key with its private half."""

    name: str
    kind: int
    private: Ed25519PrivateKey | MLDSA44PrivateKey = field(init=False)

    def __post_init__(self) -> None:
        self.private = (MLDSA44PrivateKey if self.kind == ML_DSA_44 else Ed25519PrivateKey).generate()

    @property
    def verifier(self) -> Verifier:
        return Verifier(self.name, self.kind, self.private.public_key().public_bytes_raw())

    def line(self, text: str, at: datetime) -> str:
        time = int(at.timestamp())
        blob = self.private.sign(notes.covered(self.kind, self.name, text, time))
        return notes.line(self.verifier, blob if self.kind == ED25519 else time.to_bytes(8, "big") + blob).text


@dataclass
class Press:
    """Publishes the log of a stage."""

    stage: Stage
    log: tuple[Signer, ...] = (Signer(ORIGIN, ED25519), Signer(ORIGIN, ML_DSA_44))
    witness: Signer = field(default_factory=lambda: Signer("mec01.sandbox.invalid/witness", COSIGNATURE))
    ready: bool = False

    async def publish(self, *, witnessed: bool = True) -> Checkpoint:
        """Sequence what there is, and sign a checkpoint of it, cosigned by the witness."""
        if not self.ready:
            for key in self.log:
                await self.stage.rows(f"INSERT INTO log_key (vkey, not_before) VALUES ('{key.verifier.vkey}', now())")
            vkey = self.witness.verifier.vkey
            await self.stage.rows(
                f"INSERT INTO log_witness (name, vkey, url) VALUES ('{self.witness.name}', '{vkey}', '')"
            )
            await self.stage.gateway.start()  # registers the gateway's own key
            self.ready = True
        await self.stage.rows(
            "INSERT INTO log_leaf (leaf_index, entry_id) SELECT (SELECT count(*) FROM log_leaf) + "
            "row_number() OVER (ORDER BY id) - 1, id FROM log_entry e "
            "WHERE NOT EXISTS (SELECT FROM log_leaf l WHERE l.entry_id = e.id)"
        )
        found = await self.stage.rows(
            "SELECT leaf_hash FROM log_leaf l JOIN log_entry e ON e.id = l.entry_id ORDER BY leaf_index"
        )
        made = Checkpoint(ORIGIN, len(found), merkle.subtree([bytes(row[0]) for row in found]))
        now = datetime.now(UTC)
        note = made.text + "\n" + "".join(key.line(made.text, now) + "\n" for key in self.log)
        await self.stage.rows(
            "INSERT INTO log_checkpoint (size, note, at) "
            f"VALUES ({made.size}, $n${note}$n$, now()) ON CONFLICT DO NOTHING"
        )
        if witnessed:
            line = self.witness.line(made.text, now)
            await self.stage.rows(
                "INSERT INTO log_cosignature (size, witness, at, line) "
                f"VALUES ({made.size}, '{self.witness.name}', now(), $n${line}$n$) ON CONFLICT DO NOTHING"
            )
        return made


def b64(data: bytes) -> str:
    """Base64 with padding, as C2SP writes hashes."""
    return base64.b64encode(data).decode()
