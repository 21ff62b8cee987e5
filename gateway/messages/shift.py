"""Work that rows say is due, done by a worker that others take over from when it is gone.

A *shift* leases what is due, does several pieces side by side, and naps until somebody rings, a piece has ended or it
is time to look again. While it lasts, its session shows that the worker lives (``db.ALIVE``). A fault of the database
or of the program is logged and the shift goes on: the rows still say what is due. Told to stop, it lets what is under
way end for a while and cuts the rest off.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, Generic, TypeVar

import structlog

from gateway import db

#: The longest nap: how late a call, or what is due by its time, may be seen.
NAP_SECONDS = 1.0
#: How long what is under way may take to end when the process is told to stop; what is cut off is done again.
LAST_SECONDS = 5.0

Piece = TypeVar("Piece")
journal = structlog.get_logger()


class Shift(Generic[Piece]):
    """One worker of a kind (``pull``, say).

    ``take_over`` frees what workers that are gone hold; ``begin`` leases what is due, starts it, and says whether there
    was any.
    """

    def __init__(
        self, url: str, kind: str, take_over: Callable[[], Awaitable[None]], begin: Callable[[], Awaitable[bool]]
    ) -> None:
        #: Unlike any other's; no longer than PostgreSQL takes it (63 bytes).
        self.worker_id = f"gateway-{kind}-{secrets.token_hex(8)}"
        self._url, self._kind, self._take_over, self._begin = url, kind, take_over, begin
        self._running: dict[asyncio.Task[None], Piece] = {}
        self.stop = asyncio.Event()

    @property
    def under_way(self) -> list[Piece]:
        """What is being done now."""
        return list(self._running.values())

    def start(self, piece: Piece, work: Coroutine[Any, Any, None]) -> None:
        """Do a piece beside the others."""
        task = asyncio.create_task(work)
        self._running[task] = piece
        task.add_done_callback(self._ended)

    async def turn(self) -> bool:
        """Do what is due now, as far as it can be done now; whether anything was."""
        async with self.there():
            await self._take_over()
            worked = False
            while await self._begin():
                worked = True
                await self.finish()
            return worked

    async def run(self, stop: asyncio.Event) -> None:
        """Do what becomes due until ``stop`` is set."""
        self.stop = stop
        bell: db.Bell | None = None
        try:
            while not stop.is_set():
                try:
                    if bell is None or bell.broken:
                        bell = await db.Bell.hung(self._url, self.worker_id)
                    await self._take_over()
                    await self._begin()
                    await self._nap(bell)
                except Exception as error:  # whatever it is, the rows say where to go on
                    journal.error(f"{self._kind}-shift-failed", error=type(error).__name__, detail=str(error)[:500])
                    with suppress(TimeoutError):
                        await asyncio.wait_for(stop.wait(), NAP_SECONDS)
        finally:
            if self._running:
                await asyncio.wait(self._running, timeout=LAST_SECONDS)
            for task in self._running:
                task.cancel()
            await self.finish()
            if bell is not None:
                with suppress(Exception):
                    await bell.close()

    @asynccontextmanager
    async def there(self) -> AsyncIterator[None]:
        """Show meanwhile that this worker lives, so that nobody takes over what it has leased."""
        bell = await db.Bell.hung(self._url, self.worker_id)
        try:
            yield
        finally:
            await bell.close()

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._running.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            journal.error(f"{self._kind}-failed", error=type(error).__name__, detail=str(error)[:500])

    async def finish(self) -> None:
        """Wait until nothing is under way."""
        while self._running:
            await asyncio.wait(self._running)

    async def _nap(self, bell: db.Bell) -> None:
        """Wait until somebody rings, a piece has ended while others may be due, or it is time to look again."""
        waiting = [asyncio.create_task(bell.heard(NAP_SECONDS)), asyncio.create_task(self.stop.wait())]
        await asyncio.wait([*waiting, *self._running], return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
