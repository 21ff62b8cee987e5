"""Asks witnesses to cosign our checkpoints: the client's side of C2SP tlog-witness.

Each witness is asked for the newest checkpoint it has not cosigned, with the proof from the one before; a slow or
silent one holds up nobody, and one that fails is left alone for some seconds. A line is kept only if it verifies under
the witness's key.

A witness that knows more than we say, or another tree, has to show the checkpoint that it cosigned. If our keys signed
it and our tree does not have it, the database is older than the log: that is kept for ever, and no process publishes
anything any more, because it would be a second history; people have to look (``gateway doctor``, ``gateway witnesses
list``). So all witnesses are asked what they know before a process publishes for the first time (``survey``). A
witness's word alone stops nothing.
"""

import asyncio
import base64
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256

import structlog

from gateway import db
from gateway.audit import log, proofs, store
from gateway.audit import witness_store as rows
from gateway.audit.checkpoint import Checkpoint
from gateway.audit.store import Published
from gateway.audit.witness_store import Witness
from gateway.errors import GatewayError, Kind
from gateway.signing import notes
from gateway.signing.notes import Note, Verifier

#: Bytes of an answer that are looked at: a few signature lines.
MAX_ANSWER = 64 * 1024
#: How long a witness that failed is left alone; and how long one may take to show what it knows before we begin.
REST_SECONDS, SURVEY_SECONDS = 5.0, 5.0

journal = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Reply:
    """What a witness answered."""

    status: int
    content_type: str
    body: bytes


#: Posts bytes to an address; raises UNAVAILABLE when there is no answer.
Post = Callable[[str, bytes], Awaitable[Reply]]
#: What is at an address, or nothing; raises UNAVAILABLE when there is no answer.
Get = Callable[[str], Awaitable[bytes | None]]


class Cosigning:
    """Asks, witness by witness."""

    def __init__(self, database: db.Database, origin: str, post: Post, get: Get, clock: Callable[[], datetime]) -> None:
        self._db = database
        self._origin = origin
        self._post = post
        self._get = get
        self._clock = clock
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._resting: dict[str, float] = {}

    async def survey(self) -> None:
        """Let every witness show what it has cosigned of our log; who does not answer in time tells nothing."""
        async with self._db.reading() as tx:
            witnesses = await rows.witnesses(tx)
        asking = [asyncio.wait_for(self._look(witness), SURVEY_SECONDS) for witness in witnesses]
        for witness, shown in zip(witnesses, await asyncio.gather(*asking, return_exceptions=True), strict=True):
            if isinstance(shown, Exception):
                journal.warning("not-surveyed", witness=witness.name, detail=str(shown)[:300])

    async def turn(self) -> None:
        """Ask every witness that is not being asked and has not cosigned the newest checkpoint."""
        async with self._db.reading() as tx:
            newest = await store.latest(tx)
            witnesses = await rows.witnesses(tx) if newest else []
        for witness in witnesses:
            asked = self._asking.get(witness.name)
            rested = self._resting.get(witness.name, 0.0) <= time.monotonic()
            if newest and witness.size < newest.size and rested and (asked is None or asked.done()):
                self._asking[witness.name] = asyncio.create_task(self._ask(witness, newest))

    async def finish(self) -> None:
        """Wait for what is under way; then nobody is asked any more."""
        await asyncio.gather(*self._asking.values(), return_exceptions=True)

    async def _ask(self, witness: Witness, newest: Published) -> None:
        try:
            reply = await self._submit(witness, newest, witness.size)
            if reply.status == 409:
                reply = await self._submit(witness, newest, await self._told(witness, newest, reply))
            if reply.status == 422:
                await self._look(witness)
            if reply.status != 200:
                raise GatewayError(Kind.REJECTED, f"status {reply.status}: {reply.body[:200]!r}")
            await self._keep(witness, newest, reply)
        except Exception as error:  # whatever a witness does, the log goes on
            self._resting[witness.name] = time.monotonic() + REST_SECONDS
            journal.warning("not-cosigned", witness=witness.name, detail=str(error)[:300])

    async def _submit(self, witness: Witness, newest: Published, old: int) -> Reply:
        async with self._db.reading() as tx:
            proof = await proofs.consistency(tx, old, newest.size)
        lines = [f"old {old}", *(base64.b64encode(h).decode() for h in proof), ""]
        text = "\n".join(lines) + "\n" + notes.read(newest.note).whole
        return await self._post(f"{witness.at}/add-checkpoint", text.encode())

    async def _told(self, witness: Witness, newest: Published, reply: Reply) -> int:
        """The size a witness knows, where it is one of ours."""
        said = reply.body.strip()
        if reply.content_type != "text/x.tlog.size" or not said.isdigit() or len(said) > 19:
            raise GatewayError(Kind.UNTRUSTED, "it does not say which size it knows")
        if int(said) > newest.size:
            await self._look(witness)
            raise GatewayError(Kind.CONFLICT, f"it says that it knows {int(said)} leaves, of {newest.size}")
        return int(said)

    async def _look(self, witness: Witness) -> None:
        """Look at the checkpoint that a witness has cosigned last, if it shows one; raises as reading it does.

        Compared with the tree as it is now: other processes may have published since we looked.
        """
        shown = await self._get(f"{witness.at}/{sha256(self._origin.encode()).hexdigest()}/checkpoint")
        if shown is None:
            return
        note = notes.read(shown[:MAX_ANSWER].decode())
        known = Checkpoint.read(note.text)

        async def compared(tx: db.Tx) -> bool:
            ours = [Verifier.read(vkey) for key in await store.keys(tx) for vkey in key.vkeys]
            signed = Note(note.text, tuple(one.line for one in note.signed_by(ours)))
            if known.origin != self._origin or await self._has(tx, known) or await store.stopped(tx) is not None:
                return False
            now = self._clock()
            record = {"witness": witness.name, "shown": signed.whole}
            [entry_id] = await log.append(tx, [log.draft("log.stopped", now, record)])
            await store.stop(tx, witness.name, signed.whole, now, entry_id)
            return True

        if await self._db.run(compared, "cosign"):
            journal.error("log-is-behind", witness=witness.name, known=known.size, note=note.text)

    async def _has(self, tx: db.Tx, known: Checkpoint) -> bool:
        """Whether our tree had this root at this size."""
        if known.size > (await store.head(tx)).size:
            return False
        return await proofs.root_in(partial(store.tiles, tx), known.size) == known.root

    async def _keep(self, witness: Witness, newest: Published, reply: Reply) -> None:
        note = notes.read(newest.note)
        cosigned = notes.Note(note.text, tuple(notes.lines(reply.body[:MAX_ANSWER].decode())))
        signed = cosigned.signed_by([Verifier.read(witness.vkey)])[0]
        at = signed.at or datetime.now(UTC)

        async def keep(tx: db.Tx) -> None:
            await rows.cosigned(tx, newest.size, witness.name, at, signed.line.text)

        await self._db.run(keep, "cosign")


async def add(tx: db.Tx, witness: Witness, now: datetime) -> None:
    """Ask ``witness`` from now on; raises MALFORMED for a key that is no witness's, CONFLICT for a used name."""
    key = Verifier.read(witness.vkey)
    if key.kind == notes.ED25519 or key.name != witness.name:
        raise GatewayError(Kind.MALFORMED, f"not a cosigner's key of the name {witness.name}", code=2014)
    for other in await rows.witnesses(tx):
        if Verifier.read(other.vkey).public == key.public and other.name != key.name:
            raise GatewayError(Kind.CONFLICT, f"this is the key of the witness {other.name}", code=3002)
    record = {"name": witness.name, "link": witness.link, "url": witness.url, "vkey": witness.vkey}
    [entry_id] = await log.append(tx, [log.draft("witness.added", now, record)])
    if not await rows.add_witness(tx, witness, entry_id):
        raise GatewayError(Kind.CONFLICT, f"a witness was added under the name {witness.name} before", code=3002)


async def remove(tx: db.Tx, name: str, now: datetime) -> None:
    """Ask a witness no more; raises NOT_FOUND."""
    [entry_id] = await log.append(tx, [log.draft("witness.removed", now, {"name": name})])
    if not await rows.remove_witness(tx, name, entry_id):
        raise GatewayError(Kind.NOT_FOUND, f"no witness {name} is asked", code=3001)
