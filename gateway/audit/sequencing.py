"""Gives the log's entries their places in the Merkle tree, and publishes what the tree has become.

    appended     the entry is committed with its effect; a crash loses neither or both
    sequenced    it has its place in the tree, and
    integrated   the tiles and the head contain it: one transaction, so a crash loses the work and no place
    published    a signed checkpoint of a committed head is served; a crash before it delays, nothing else

Whoever holds the leader's lock for the length of a transaction does the work; when it dies, PostgreSQL ends its
transaction and the next turn of any worker goes on. The head is moved by comparing its old size, a checkpoint has the
size as its key, so two leaders could not make two trees either.

Entries are found by the absence of their leaf, never by an id above the last one seen: ids commit out of order. So that
a turn does not look through the whole past, ``swept`` follows: the last id given at one moment, once every transaction
that was writing entries at that moment has ended, in the same database: what was given in one that was put back since
says nothing.

Nothing is published by keys that are retired (CONFLICT), nor once a checkpoint of ours is known that is not in this
tree (``cosigning``): a second history would begin there.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from gateway import db
from gateway.audit import store
from gateway.audit.checkpoint import Checkpoint
from gateway.audit.merkle import Growth
from gateway.errors import GatewayError, Kind
from gateway.signing.log_keys import LogKey
from gateway.signing.notes import Note

#: Entries that one turn takes in: a second's work at full speed, and a transaction that is over soon.
MOST_AT_ONCE = 20_000


@dataclass(frozen=True, slots=True)
class _Seen:
    """The last id that was given at a moment, and who was writing then; of a database that was not put back since."""

    epoch: str
    last_id: int
    writing: frozenset[str]


class Sequencer:
    """Takes turns: ``integrate`` and then ``publish``; any number may, one of them works at a time."""

    def __init__(self, database: db.Database, origin: str, key: LogKey, clock: Callable[[], datetime]) -> None:
        self._db = database
        self._origin = origin
        self._key = key
        self._clock = clock
        self._seen: _Seen | None = None

    async def turn(self) -> bool:
        """Integrate what waits and publish it; whether there may be more to do at once."""
        taken = await self._db.run(self._integrate, "integrate")
        await self._db.run(self._publish, "publish")
        return taken == MOST_AT_ONCE

    async def _integrate(self, tx: db.Tx) -> int:
        """How many entries were taken in."""
        if not await store.lead(tx):
            return 0
        before = await store.head(tx)
        swept = await self._sweep(tx, before.swept)
        entries = await store.waiting(tx, before.swept, MOST_AT_ONCE)
        if not entries and swept == before.swept:
            return 0
        if len(entries) == MOST_AT_ONCE:
            swept = before.swept  # there may be older ones still without a leaf
        grown = Growth.of(before.size, await store.edge(tx, before.size))
        grown.add([leaf_hash for _, leaf_hash in entries])
        done = await store.integrate(tx, before, grown, [entry_id for entry_id, _ in entries], swept)
        return len(entries) if done else 0

    async def _sweep(self, tx: db.Tx, swept: int) -> int:
        """Up to which id no entry can appear any more.

        Looked up before the entries that wait: what ended before this is seen by the statement that comes after it.
        """
        last = await store.last_id(tx)
        now, seen = _Seen(await store.epoch(tx), last, await store.writing(tx)), self._seen
        if seen is None or seen.epoch != now.epoch or seen.last_id > now.last_id:
            self._seen = now  # ids that were given in a database that is no more may be given again
            return swept
        if seen.writing & now.writing:
            return swept
        self._seen = now
        return max(swept, seen.last_id)

    async def _publish(self, tx: db.Tx) -> None:
        if not await store.lead(tx):
            return
        head, last = await store.head(tx), await store.latest(tx)
        if head.size <= (last.size if last else 0) or await store.stopped(tx) is not None:
            return
        if not any(keys.id == self._key.id and keys.retired_at is None for keys in await store.keys(tx)):
            raise GatewayError(Kind.CONFLICT, f"log keys {self._key.id} are retired: start with others")
        now = self._clock()
        text = Checkpoint(self._origin, head.size, head.root).text
        note = Note(text, tuple(self._key.sign(self._origin, text, now)))
        await store.publish(tx, head.size, note.whole, now)
