"""The log in the database, as a source to verify or to export; each answer is read in a transaction of its own.

What is published never changes, so that it does not matter when each part is read. Fails with the database.
"""

import json
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

from gateway import db
from gateway.audit import merkle, reading, store
from gateway.audit.store import Published
from gateway.signing.notes import Verifier


class Stored:
    """The published log of ``database``."""

    def __init__(self, database: db.Database) -> None:
        self._database = database

    async def latest(self) -> Published | None:
        """The last checkpoint, if there is one."""
        async with self._database.reading() as tx:
            return await store.latest(tx)

    async def published(self, above: int, limit: int) -> Sequence[Published]:
        """Checkpoints of more than ``above`` entries, smallest first."""
        async with self._database.reading() as tx:
            return await store.published(tx, above, limit)

    async def entries(self, first: int, number: int) -> Sequence[bytes]:
        """The leaves ``[first, first + number)``."""
        async with self._database.reading() as tx:
            return await store.entries(tx, first, number)

    async def key_list(self) -> dict[str, Any]:
        """The keys with their times, as the log serves them."""
        async with self._database.reading() as tx:
            rows = await store.keys(tx)
        listed = [
            {
                "vkey": vkey,
                "not_before": row.not_before.isoformat(),
                "not_after": row.retired_at and row.retired_at.isoformat(),
            }
            for row in rows
            for vkey in row.vkeys
        ]
        return {"origin": Verifier.read(rows[0].vkeys[0]).name if rows else None, "keys": listed}

    async def keys(self) -> bytes:
        """The same in bytes."""
        return json.dumps(await self.key_list(), indent=1).encode() + b"\n"

    async def checkpoint(self) -> bytes | None:
        """The note of the last checkpoint."""
        found = await self.latest()
        return found.note.encode() if found else None

    async def tile(self, level: int, nr: int, width: int) -> bytes | None:
        """The first ``width`` hashes of a tile."""
        async with self._database.reading() as tx:
            return await store.tile(tx, level, nr, width)

    async def bundle(self, nr: int, width: int) -> bytes | None:
        """The first ``width`` entries of a bundle."""
        return reading.joined(await self.entries(nr * merkle.TILE_WIDTH, width))

    async def checkpoints(self) -> AsyncGenerator[tuple[int, str], None]:
        """Size and note of every checkpoint, smallest first."""
        above = -1
        while found := await self.published(above, reading.PAGE):
            for row in found:
                yield row.size, row.note
            above = found[-1].size

    async def narrower(self, path: Callable[[int], str], width: int) -> AsyncGenerator[tuple[int, bytes], None]:
        """Nothing: a tile is kept once."""
        for _ in ():
            yield _
