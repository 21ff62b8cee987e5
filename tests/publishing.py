"""A log's keys, a witness, and what puts the entries of a stage's gateway into a published, cosigned tree at once."""

import base64
from dataclasses import dataclass, field
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from gateway.audit import cosigning, store, witness_store
from gateway.audit.witness_store import Witness
from gateway.signing import notes
from gateway.signing.notes import COSIGNATURE, ED25519, ML_DSA_44, Verifier
from tests.played import NOWHERE
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
    """Publishes the log of a stage, and has each checkpoint cosigned by a witness of the test's own."""

    stage: Stage
    witness: Signer = field(default_factory=lambda: Signer("mec01.sandbox.invalid/witness", COSIGNATURE))
    ready: bool = False

    async def publish(self, *, witnessed: bool = True) -> None:
        """Integrate what there is, publish it, and cosign it."""
        stage, now = self.stage, self.stage.clock()
        if not self.ready:
            await stage.gateway.start()  # registers the gateway's own key
            added = Witness(self.witness.name, self.witness.verifier.vkey, url=NOWHERE)
            await stage.run(lambda tx: cosigning.add(tx, added, now))
            self.ready = True
        await stage.transparency.sequencer.turn()
        async with stage.gateway.database.reading() as tx:
            newest = await store.latest(tx)
        if witnessed and newest is not None and not newest.witnesses:
            line = self.witness.line(notes.read(newest.note).text, now)
            await stage.run(lambda tx: witness_store.cosigned(tx, newest.size, self.witness.name, now, line))


def b64(data: bytes) -> str:
    """Base64 with padding, as C2SP writes hashes."""
    return base64.b64encode(data).decode()
