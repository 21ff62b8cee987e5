"""All that a process does for the log beside appending to it: integrate, publish, have it witnessed, witness others.

``run`` takes turns until it is told to stop. Any number of workers may run it; whoever holds the leader's lock does
the work of a turn. A fault is logged and the next turn tries again: what is appended waits, nothing is lost.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from gateway import db
from gateway.audit import merkle, own_keys, witness, witness_store
from gateway.audit.cosigning import Cosigning
from gateway.audit.own_keys import Identity
from gateway.audit.proofs import Tiles
from gateway.audit.sequencing import Sequencer
from gateway.audit.witness import Told
from gateway.audit.witness_store import Split, Watched

#: The longest time between two turns: a checkpoint comes at least every second while there is something new.
NAP_SECONDS = 0.5
#: How long a log that did not answer is not asked again about a doubtful checkpoint.
REST_SECONDS = 5.0
#: How long those who are asked for a cosignature may still answer when the process ends.
LAST_ANSWERS_SECONDS = 3.0

#: The tiles of another log's tree of one size.
TilesOf = Callable[[Watched, int], Tiles]

journal = structlog.get_logger()


@dataclass
class Transparency:
    """The log of this gateway, and its part as a witness."""

    database: db.Database
    own: Identity
    clock: Callable[[], datetime]
    sequencer: Sequencer
    cosigning: Cosigning
    tiles_of: TilesOf
    told: Told
    _surveyed: bool = False
    _settling: "asyncio.Task[None] | None" = None
    #: Log → until when (monotonic) it is not asked about its doubtful checkpoints.
    _resting: dict[str, float] = field(default_factory=dict)

    async def start(self) -> None:
        """Let this process sign checkpoints; raises CONFLICT where it may not."""
        await self.database.run(lambda tx: own_keys.start(tx, self.own, self.clock()), "log-keys")

    async def cosign(self, body: bytes) -> str:
        """Cosign the checkpoint that ``body`` brings; see ``witness.add_checkpoint``."""
        return await witness.add_checkpoint(self.database, self.own, body, self.clock, self.told)

    async def turn(self) -> bool:
        """One turn of everything; whether there may be more to integrate at once."""
        if not self._surveyed:
            await self.cosigning.survey()
            self._surveyed = True
        more = await self.sequencer.turn()
        await self.cosigning.turn()
        if self._settling is None or self._settling.done():  # whoever does not answer holds up nobody
            self._settling = asyncio.create_task(self.settle())
        return more

    async def settle(self) -> None:
        """Ask the logs whose checkpoints came with bad proofs, each about one of them; one that fails rests."""
        try:
            async with self.database.reading() as tx:
                doubts = await witness_store.splits(tx, unsettled=True)
                known = {one.origin: one for one in await witness_store.watched(tx)} if doubts else {}
            first = {split.origin: split for split in reversed(doubts)}
            await asyncio.gather(*(self._settle(split, known) for split in first.values()))
        except Exception as error:  # asked again in the next turn
            journal.warning("not-settled", detail=str(error)[:300])

    async def _settle(self, split: Split, known: dict[str, Watched]) -> None:
        if self._resting.get(split.origin, 0.0) > time.monotonic():
            return
        try:
            await witness.settle(self.database, split, self._tiles(known, split), self.clock(), self.told)
        except Exception as error:  # it does not answer, or does not show that tree; it is asked again
            self._resting[split.origin] = time.monotonic() + REST_SECONDS
            journal.warning("not-settled", origin=split.origin, size=split.size, detail=str(error)[:300])

    async def finish(self) -> None:
        """Wait for what is under way."""
        await self.cosigning.finish()
        if self._settling is not None:
            await self._settling

    def _tiles(self, known: dict[str, Watched], split: Split) -> Tiles:
        return self.tiles_of(known[split.origin], split.size)

    async def run(self, stop: asyncio.Event) -> None:
        """Take turns until ``stop`` is set."""
        while not stop.is_set():
            more = False
            try:
                more = await self.turn()
            except Exception as error:  # whatever it is, what is appended waits
                journal.error("log-turn-failed", error=type(error).__name__, detail=str(error)[:500])
            if not more:
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), NAP_SECONDS)
        with suppress(TimeoutError):
            await asyncio.wait_for(self.finish(), LAST_ANSWERS_SECONDS)


def written(level: int, nr: int, size: int) -> tuple[str, int]:
    """The path of a tile in a tree of ``size``, and its width there, 0 if it is not in it."""
    there = size >> (8 * level)
    width = max(0, min(merkle.TILE_WIDTH, there - nr * merkle.TILE_WIDTH))
    return (merkle.path(nr, width) if width else "", width)
