"""Asks witnesses to cosign our checkpoints: the client's side of C2SP tlog-witness.

Each witness is asked for the newest checkpoint it has not cosigned, with the proof from the one before; a slow or
silent one holds up nobody. A line is kept only if it verifies under the witness's key. A witness that shows a larger
tree than ours, signed by keys of ours, proves that our database is older than our log: nothing is published any more by
this process, because it would be a second view; people have to look. Its word alone stops nothing.
"""

import asyncio
import base64
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
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
from gateway.signing.notes import Verifier

#: Bytes of an answer that are looked at: a few signature lines.
MAX_ANSWER = 64 * 1024

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
    """Asks, witness by witness; ``behind`` once a witness has shown a larger tree of ours than we have."""

    def __init__(self, database: db.Database, origin: str, post: Post, get: Get) -> None:
        self._db = database
        self._origin = origin
        self._post = post
        self._get = get
        self._asking: dict[str, asyncio.Task[None]] = {}
        self.behind = False

    async def turn(self) -> None:
        """Ask every witness that is not being asked and has not cosigned the newest checkpoint."""
        async with self._db.reading() as tx:
            newest = await store.latest(tx)
            witnesses = await rows.witnesses(tx) if newest else []
        for witness in witnesses:
            asked = self._asking.get(witness.name)
            if newest and witness.size < newest.size and (asked is None or asked.done()):
                self._asking[witness.name] = asyncio.create_task(self._ask(witness, newest))

    async def finish(self) -> None:
        """Wait for what is under way; then nobody is asked any more."""
        await asyncio.gather(*self._asking.values(), return_exceptions=True)

    async def _ask(self, witness: Witness, newest: Published) -> None:
        try:
            reply = await self._submit(witness, newest, witness.size)
            if reply.status == 409:
                reply = await self._submit(witness, newest, await self._told(witness, newest, reply))
            if reply.status != 200:
                raise GatewayError(Kind.REJECTED, f"status {reply.status}: {reply.body[:200]!r}")
            await self._keep(witness, newest, reply)
        except Exception as error:  # whatever a witness does, the log goes on
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
            await self._look(witness, newest)
            raise GatewayError(Kind.CONFLICT, f"it says that it knows {int(said)} leaves, of {newest.size}")
        return int(said)

    async def _look(self, witness: Witness, newest: Published) -> None:
        """Let a witness show the larger tree that it says it has cosigned; raises as reading what it shows does."""
        shown = await self._get(f"{witness.at}/{sha256(self._origin.encode()).hexdigest()}/checkpoint")
        note = notes.read((shown or b"")[:MAX_ANSWER].decode())
        async with self._db.reading() as tx:
            ours = [Verifier.read(vkey) for key in await store.keys(tx) for vkey in key.vkeys]
        note.signed_by(ours)
        known = Checkpoint.read(note.text)
        if known.origin == self._origin and known.size > newest.size:
            self.behind = True
            journal.error("log-is-behind", witness=witness.name, known=known.size, ours=newest.size, note=note.text)

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
    record = {"name": witness.name, "link": witness.link, "url": witness.url, "vkey": witness.vkey}
    [entry_id] = await log.append(tx, [log.draft("witness.added", now, record)])
    if not await rows.add_witness(tx, witness, entry_id):
        raise GatewayError(Kind.CONFLICT, f"a witness was added under the name {witness.name} before", code=3002)


async def remove(tx: db.Tx, name: str, now: datetime) -> None:
    """Ask a witness no more; raises NOT_FOUND."""
    [entry_id] = await log.append(tx, [log.draft("witness.removed", now, {"name": name})])
    if not await rows.remove_witness(tx, name, entry_id):
        raise GatewayError(Kind.NOT_FOUND, f"no witness {name} is asked", code=3001)
