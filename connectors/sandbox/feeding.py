"""Feeding this registry's own log to the gateway's witness, and what an operator may have it feed instead.

Each new checkpoint goes there with a proof from the last one that was cosigned; the cosignature is kept. Who is told
another old size (409) proves from that one, once. Any other answer is kept as the reason why not, and the next round
tries again. Two modes feed what no honest log has: ``fork``, another root for the size last cosigned, and
``rewrite``, a larger tree with another past. Both are signed, neither is served by this registry's own routes.
"""

import os
import re
from dataclasses import dataclass

from . import merkle, notes, own_log
from .database import Tx
from .logs import Mode
from .notes import Signer
from .registry import Registry
from .sender import Sender
from .strictjson import Malformed
from .units import Declined

#: Longest answer read: as many cosignatures as a note may carry.
MAX_ANSWER_BYTES = notes.MAX_NOTE_BYTES

_SIZE = re.compile(rb"(0|[1-9][0-9]{0,18})\n?")


@dataclass(frozen=True)
class Offer:
    """A checkpoint and how it leads on from an old size."""

    old: int
    size: int
    proof: list[bytes]
    note: str

    @property
    def body(self) -> bytes:
        """How it is sent (C2SP tlog-witness)."""
        lines = [f"old {self.old}", *map(notes.to_base64, self.proof)]
        return ("".join(f"{line}\n" for line in lines) + f"\n{self.note}").encode()


async def feed(registry: Registry, sender: Sender, signer: Signer) -> None:
    """Offer the last checkpoint to the gateway's witness unless it has cosigned it; raises ``NoAnswer``."""
    async with registry.logs.feeding:
        offer = await _prepared(registry, signer, None)
        if offer is None:
            return
        status, answer = await _send(sender, offer)
        told = _SIZE.fullmatch(answer) if status == 409 else None
        if told is not None and int(told[1]) <= offer.size:
            offer = await _prepared(registry, signer, int(told[1])) or offer
            status, answer = await _send(sender, offer)
        await _store(registry, offer, status, answer)


async def set_mode(tx: Tx, registry: Registry, mode: Mode) -> Mode:
    """Feed this from now on; raises ``Declined`` where there is nothing yet that a lie could contradict."""
    if registry.logs.own is None or not registry.logs.fed:
        raise Declined(3002, "no log of this registry's own is fed to a witness")
    if mode != "honest" and not await _cosigned(tx):
        raise Declined(3001, "nothing of this log has been cosigned")
    registry.logs.mode = mode
    return mode


async def _prepared(registry: Registry, signer: Signer, told: int | None) -> Offer | None:
    return await registry.database.run("log.proof", lambda tx: _offer(tx, signer, registry.logs.mode, told))


async def _store(registry: Registry, offer: Offer, status: int, answer: bytes) -> None:
    await registry.database.run("log.fed", lambda tx: _fed(tx, offer, status, answer))


async def _send(sender: Sender, offer: Offer) -> tuple[int, bytes]:
    return await sender.submit("send.witness.checkpoint", "/witness/add-checkpoint", offer.body, MAX_ANSWER_BYTES)


async def _cosigned(tx: Tx) -> int:
    row = await tx.one("SELECT max(size) AS size FROM log.own_checkpoint WHERE cosignature IS NOT NULL")
    return int(row["size"] or 0) if row else 0


async def _offer(tx: Tx, signer: Signer, mode: Mode, told: int | None) -> Offer | None:
    """Give what is to be sent, from the size the witness has ``told`` or the last one it cosigned."""
    signed, cosigned = await own_log.checkpoint(tx), await _cosigned(tx)
    if signed is None:
        return None
    old = cosigned if told is None else told
    if mode == "fork":
        return Offer(old, old, [], signer.checkpoint(old, os.urandom(merkle.HASH_BYTES)))
    if mode == "rewrite":
        shape = merkle.proof_spans(old, old + 1) if old else []
        proof = [os.urandom(merkle.HASH_BYTES) for _ in shape]
        return Offer(old, old + 1, proof, signer.checkpoint(old + 1, os.urandom(merkle.HASH_BYTES)))
    size, note = signed
    if size == 0 or (told is None and size == cosigned):
        return None
    return Offer(old, size, await own_log.proof(tx, old, size) if old else [], note)


async def _fed(tx: Tx, offer: Offer, status: int, answer: bytes) -> None:
    cosignature = _lines(answer) if status == 200 else ""
    if cosignature:
        await tx.execute(
            "UPDATE log.own_checkpoint SET cosignature = %s WHERE size = %s AND note = %s",
            cosignature,
            offer.size,
            offer.note,
        )
        return
    said = answer[:500].decode("utf-8", "replace").replace("\0", " ")
    await tx.execute(
        "UPDATE log.own_checkpoint SET refused = %s WHERE size = (SELECT max(size) FROM log.own_checkpoint)",
        f"{status} for {offer.size} leaves from {offer.old}: {said}",
    )


def _lines(answer: bytes) -> str:
    """Give an answer that consists of signature lines; empty for any other."""
    try:
        text = answer.decode()
        notes.lines_of(text)
    except (UnicodeDecodeError, Malformed):
        return ""
    return text
