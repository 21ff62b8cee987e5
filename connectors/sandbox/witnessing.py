"""This registry as a witness of the gateway's log (C2SP tlog-witness): ``add-checkpoint``.

``add`` cosigns a checkpoint that grows from the last one cosigned here, and stores it before the cosignature leaves;
the row of the log is locked meanwhile, so of two that come at once one is the last and the other one conflicts.
``NotCosigned`` says why not, with the status the specification gives. A checkpoint of the very size of one that was
cosigned or followed here, and with another root, is a fork: an alarm, both are kept. A proof that fails is not, because
anybody can send a good checkpoint with a bad proof.
"""

import re
from dataclasses import dataclass

from . import clock, following, merkle, notes
from .database import Tx
from .following import Head
from .notes import Checkpoint, Signer, UnknownLog, Unproven
from .registry import Registry
from .strictjson import Malformed

#: Largest request: the checkpoint, and 63 lines of proof.
MAX_BYTES = notes.MAX_NOTE_BYTES + 4096

_OLD = re.compile(r"old (0|[1-9][0-9]{0,18})")


class NotCosigned(Exception):
    """Why a checkpoint is not cosigned: an HTTP status; with 409 the size last cosigned."""

    def __init__(self, status: int, detail: str, size: int | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.size = status, detail, size


@dataclass(frozen=True)
class Request:
    """What ``add-checkpoint`` was sent."""

    old: int
    proof: list[bytes]
    checkpoint: Checkpoint


async def add(registry: Registry, body: bytes) -> str:
    """Give the cosignature line; raises ``NotCosigned``, and ``KeysMissing`` while the log's keys are not at hand."""
    request = _read(registry, body)
    signer, seconds = registry.logs.witness, int(clock.present().timestamp())
    answer = await registry.database.run("witness.checkpoint", lambda tx: _add(tx, signer, request, seconds))
    if isinstance(answer, NotCosigned):
        raise answer
    return answer


async def known(tx: Tx, digest: str) -> str | None:
    """The checkpoint last cosigned of the log whose origin has this SHA-256, in hex."""
    row = await tx.one(
        "SELECT note FROM log.witnessed WHERE encode(sha256(convert_to(origin, 'UTF8')), 'hex') = %s AND size > 0",
        digest,
    )
    return str(row["note"]) if row else None


def _read(registry: Registry, body: bytes) -> Request:
    if len(body) > MAX_BYTES:
        raise NotCosigned(400, f"more than {MAX_BYTES} bytes")
    asked, _, note = body.partition(b"\n\n")
    keys = registry.logs.pinned.keys() if registry.logs.pinned else []
    try:
        first, *proof = asked.decode("ascii").split("\n")
        old = _OLD.fullmatch(first)
        if old is None or len(proof) > merkle.MAX_PROOF:
            raise Malformed("the first line is not the old size, or there are more than 63 hashes")
        hashes = [notes.from_base64(line) for line in proof]
        if any(len(one) != merkle.HASH_BYTES for one in hashes):
            raise Malformed("a line of the proof is no hash")
        checkpoint = notes.read(note, keys)
    except (Malformed, UnicodeDecodeError) as error:
        raise NotCosigned(400, str(error)) from error
    except UnknownLog as error:
        raise NotCosigned(404, f"no log {error} is witnessed here") from error
    except Unproven as error:
        raise NotCosigned(403, str(error)) from error
    if int(old[1]) > checkpoint.size:
        raise NotCosigned(400, "the old size is beyond the checkpoint's")
    return Request(int(old[1]), hashes, checkpoint)


async def _add(tx: Tx, signer: Signer, request: Request, seconds: int) -> str | NotCosigned:
    """Check and store in one; a fork is noted even where nothing is cosigned."""
    shown = request.checkpoint
    await tx.execute("INSERT INTO log.witnessed (origin) VALUES (%s) ON CONFLICT DO NOTHING", shown.origin)
    row = await tx.one(
        "SELECT size, root, ''::bytea AS peaks, note FROM log.witnessed WHERE origin = %s FOR UPDATE", shown.origin
    )
    last = Head.of(row)
    forked = False
    for known in (last, await following.believed(tx, shown.size)):
        if known is not None and known.note and known.size == shown.size and known.root != shown.root:
            await following.note_fork(tx, known.note, shown.note)
            forked = True
    if request.old != last.size:
        return NotCosigned(409, f"the last one cosigned here has {last.size} leaves", last.size)
    if forked:
        return NotCosigned(422, "another root than the tree of this size that is known here")
    if shown.size == 0 and shown.root != merkle.EMPTY:
        return NotCosigned(422, "an empty tree has another root")
    if not merkle.consistent(request.old, last.root, shown.size, shown.root, request.proof):
        return NotCosigned(422, "the proof does not lead from the tree last cosigned to this one")
    await tx.execute(
        "UPDATE log.witnessed SET size = %s, root = %s, note = %s WHERE origin = %s",
        shown.size,
        shown.root,
        shown.note,
        shown.origin,
    )
    return signer.cosign(shown, seconds)
