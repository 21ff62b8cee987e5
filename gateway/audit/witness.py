"""We cosign the checkpoints of registries' logs: the server's side of C2SP tlog-witness.

Anyone may bring a checkpoint. We cosign it if its log has signed it and it goes on from the largest one we cosigned
before; looking and storing is one transaction, so no two requests can move us to two different trees.

A log that signed two roots for one size has a *split view*: that is proven by its own signatures. A checkpoint whose
proof does not hold proves nothing against its log, because anyone may bring a log's checkpoint with a bad proof: it is
kept, and the log itself is asked (``settle``); if its own tiles make another root, that is proven too. Both checkpoints
are kept as evidence, and ``Told`` acts in the same transaction (an alarm, the link suspended). At most one row is kept
for each checkpoint that a log has signed, with the log's own signature lines and nobody else's.
"""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime

from gateway import db
from gateway.audit import log, merkle, proofs
from gateway.audit import witness_store as store
from gateway.audit.checkpoint import Checkpoint
from gateway.audit.own_keys import Identity
from gateway.audit.proofs import Tiles
from gateway.audit.witness_store import Split, Watched
from gateway.errors import GatewayError, Kind
from gateway.signing import notes
from gateway.signing.notes import Note, Verifier

#: What is done when a log has a split view: its link, the log entry, and what to say.
Told = Callable[[db.Tx, str, int, str], Awaitable[None]]
#: The largest request: 63 hashes and a note.
MAX_REQUEST = notes.MAX_NOTE + 64 * 64
_OLD = re.compile(r"old (0|[1-9][0-9]{0,18})")


@dataclass(frozen=True, slots=True)
class Submission:
    """A checkpoint that is brought: what it goes on from, the proof, and the note."""

    old: int
    proof: tuple[bytes, ...]
    note: Note
    checkpoint: Checkpoint

    @classmethod
    def read(cls, body: bytes) -> "Submission":
        """Read a request; raises MALFORMED, LIMIT for one that is too large."""
        if len(body) > MAX_REQUEST:
            raise GatewayError(Kind.LIMIT, f"at most {MAX_REQUEST} bytes", code=2001)
        try:
            head, separator, rest = body.decode().partition("\n\n")
        except UnicodeDecodeError:
            raise _malformed("it is UTF-8") from None
        old, *hashes = head.split("\n")
        proof = [notes.unbase64(line) for line in hashes]
        if not separator or not _OLD.fullmatch(old):
            raise _malformed("it begins with the old size and goes on, after an empty line, with a checkpoint")
        if len(proof) > merkle.MAX_PROOF or any(h is None or len(h) != merkle.HASH_BYTES for h in proof):
            raise _malformed(f"a proof is at most {merkle.MAX_PROOF} hashes in base64")
        note = notes.read(rest)
        size = int(old.removeprefix("old "))
        checkpoint = Checkpoint.read(note.text)
        if size > checkpoint.size:
            raise _malformed("the old size is larger than the checkpoint's")
        return cls(size, tuple(h for h in proof if h is not None), note, checkpoint)


async def add_checkpoint(
    database: db.Database, own: Identity, body: bytes, clock: Callable[[], datetime], told: Told
) -> str:
    """Cosign a checkpoint: our signature line.

    Raises MALFORMED, NOT_FOUND for a log we do not witness, UNTRUSTED where it did not sign, CONFLICT with the size we
    know in the context, REJECTED where it does not go on from what we know: nothing has moved then.
    """
    brought = Submission.read(body)

    async def judged(tx: db.Tx) -> str | GatewayError:
        known = await store.lock_watched(tx, brought.checkpoint.origin)
        if known is None:
            raise GatewayError(Kind.NOT_FOUND, "no log of this origin is witnessed here", code=3001)
        signed = brought.note.signed_by([Verifier.read(vkey) for vkey in known.vkeys])
        note = Note(brought.note.text, tuple({one.by: one.line for one in signed}.values()))  # nobody else's lines
        return await _judge(tx, own, known, replace(brought, note=note), clock(), told)

    verdict = await database.run(judged, "witness")
    if isinstance(verdict, GatewayError):  # what is kept of it is committed
        raise verdict
    return verdict


async def _judge(
    tx: db.Tx, own: Identity, known: Watched, brought: Submission, now: datetime, told: Told
) -> str | GatewayError:
    claimed = brought.checkpoint
    if claimed.size == known.size > 0 and claimed.root != known.root:
        await _keep(tx, known, brought, now, told, proven=True)
        if brought.old == known.size:
            return GatewayError(Kind.REJECTED, "another root was cosigned for this size", code=3002)
    if brought.old != known.size:
        return GatewayError(Kind.CONFLICT, "another size was cosigned last", context={"size": known.size})
    if not merkle.consistent(known.size, claimed.size, brought.proof, known.root, claimed.root):
        if claimed.size > known.size and known.size:
            await _keep(tx, known, brought, now, told, proven=None)
        return GatewayError(Kind.REJECTED, "the proof does not show that the cosigned tree begins this one", code=3002)
    line = own.key.cosign(own.witness, brought.note.text, now)
    if claimed.size > known.size:
        await store.advance(tx, claimed.origin, claimed.size, claimed.root, brought.note.whole)
    return line.text + "\n"


async def _keep(
    tx: db.Tx, known: Watched, brought: Submission, now: datetime, told: Told, *, proven: bool | None
) -> None:
    claimed = brought.checkpoint
    if await store.known_split(tx, claimed.origin, claimed.size, claimed.root):
        return
    record = {"origin": claimed.origin, "known": known.note, "brought": brought.note.whole}
    [entry_id] = await log.append(tx, [log.draft("witness.doubt", now, record)])
    split = Split(claimed.origin, claimed.size, claimed.root, brought.note.whole, known.note, now, proven)
    await store.keep_split(tx, split, entry_id)
    if proven:
        await told(tx, known.link, entry_id, _two_roots(claimed))


async def settle(database: db.Database, split: Split, tiles: Tiles, now: datetime, told: Told) -> bool:
    """Ask a log's own tiles about a checkpoint that came with a bad proof: whether its split view is proven.

    Raises what ``tiles`` raises, and NOT_FOUND where the log does not show such a tree, with nothing settled: what is
    missing proves nothing, and is asked for again.
    """
    known = Checkpoint.read(notes.read(split.known).text)
    roots = [await proofs.root_in(tiles, size) for size in (known.size, split.size)]

    async def settled(tx: db.Tx) -> None:
        watched = await store.lock_watched(tx, split.origin)
        if watched is None or not await store.settle_split(tx, split, proven=roots != [known.root, split.root]):
            return
        if roots != [known.root, split.root]:
            record = {"origin": split.origin, "known": split.known, "brought": split.note}
            [entry_id] = await log.append(tx, [log.draft("witness.split-view", now, record)])
            await told(tx, watched.link, entry_id, _not_explained(split))

    await database.run(settled, "witness")
    return roots != [known.root, split.root]


async def watch(tx: db.Tx, log_: Watched, now: datetime) -> None:
    """Witness a registry's log from now on, or under other keys than before.

    Raises MALFORMED for keys of another log, CONFLICT for a log that is another link's, and for keys that are known.
    """
    if any(Verifier.read(vkey).name != log_.origin for vkey in log_.vkeys) or not log_.vkeys:
        raise GatewayError(Kind.MALFORMED, f"these are not keys of the log {log_.origin}", code=2014)
    record = {"origin": log_.origin, "link": log_.link, "vkeys": list(log_.vkeys)}
    [entry_id] = await log.append(tx, [log.draft("witness.watching", now, record)])
    if not await store.watch(tx, log_, entry_id):
        raise GatewayError(Kind.CONFLICT, f"the log {log_.origin} is witnessed already", code=3002)


def _two_roots(claimed: Checkpoint) -> str:
    return f"the log {claimed.origin} has signed two roots of {claimed.size} leaves"


def _not_explained(split: Split) -> str:
    return f"the log {split.origin} cannot show that its tree of {split.size} leaves goes on from what it had signed"


def _malformed(why: str) -> GatewayError:
    return GatewayError(Kind.MALFORMED, f"not a request to a witness: {why}", code=2001)
