"""Reconciles links: on schedule, after their transfer windows, and on demand; several at once, one run per link.

Which runs are due their rows say (``store``), so any number of workers may run this. What a worker that died had begun,
another goes on with; a mark that nobody takes away is taken away here. A fault of the database or of the program is
logged, and the run is put off; its row still says where to go on.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta

import structlog

from gateway import db
from gateway.errors import GatewayError
from gateway.links import store as links
from gateway.links.lifecycle import Window
from gateway.reconciliation import store
from gateway.reconciliation.marking import unmark
from gateway.reconciliation.run import LEASE, Means, Running
from gateway.reconciliation.store import Planned, Run, Unplanned
from gateway.signing.messages import new_message_id

#: Runs that one process does at once: each holds what differs in one book.
AT_ONCE = 2
#: The longest nap: how late a run that is due may be seen.
NAP_SECONDS = 1.0
#: How often the lease of a run under way is renewed.
RENEW_SECONDS = LEASE.total_seconds() / 3
#: How long the steps under way may take to end when the process is told to stop; what is cut off is begun again.
LAST_STEPS_SECONDS = 5.0

journal = structlog.get_logger()


class Reconciliations:
    """The runs of one process."""

    def __init__(self, means: Means) -> None:
        #: Unlike any other's; no longer than PostgreSQL takes it (63 bytes).
        self.worker_id = f"gateway-reconcile-{secrets.token_hex(8)}"
        self._means = means
        self._running: dict[asyncio.Task[None], str] = {}
        self._stop = asyncio.Event()

    async def turn(self) -> bool:
        """Do what is due now, as far as it can be done now; whether anything was."""
        async with self._there():
            await self._take_over()
            worked = False
            while await self._begin():
                worked = True
                while self._running:
                    await asyncio.wait(self._running)
            return worked

    async def run(self, stop: asyncio.Event) -> None:
        """Reconcile what becomes due until ``stop`` is set."""
        self._stop = stop
        bell: db.Bell | None = None
        try:
            while not stop.is_set():
                try:
                    if bell is None or bell.broken:
                        bell = await db.Bell.hung(self._means.database.url, self.worker_id)
                    await self._take_over()
                    await self._begin()
                    await self._nap(bell, stop)
                except Exception as error:  # whatever it is, the rows say where to go on
                    journal.error("reconciliations-failed", error=type(error).__name__, detail=str(error)[:500])
                    with suppress(TimeoutError):
                        await asyncio.wait_for(stop.wait(), NAP_SECONDS)
        finally:
            if self._running:
                await asyncio.wait(self._running, timeout=LAST_STEPS_SECONDS)
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)
            if bell is not None:
                with suppress(Exception):
                    await bell.close()

    @asynccontextmanager
    async def _there(self) -> AsyncIterator[None]:
        """Show meanwhile that this worker lives, so that nobody takes over what it has leased."""
        bell = await db.Bell.hung(self._means.database.url, self.worker_id)
        try:
            yield
        finally:
            await bell.close()

    async def _take_over(self) -> None:
        """Free the runs of workers that are gone, and the books that were marked for too long."""
        now = self._means.node.clock()

        async def taken(tx: db.Tx) -> None:
            await store.take_over(tx, now)
            for run, link in await store.unmark_overdue(tx, now):
                found = await links.find(tx, link)
                assert found is not None  # its run refers to it
                await unmark(tx, self._means.node, run, found.registries, None)

        await self._means.database.run(taken, "reconcile.take-over")

    async def _begin(self) -> bool:
        """Plan the runs that are missing, lease what is due, and begin; whether there was any."""
        now, room = self._means.node.clock(), AT_ONCE - len(self._running)
        async with self._means.database.reading() as tx:
            if not await store.look(tx, now):
                return False

        async def leased(tx: db.Tx) -> list[Run]:
            planned = [self._planned(one, now) for one in await store.unplanned(tx)]
            if planned:
                await store.plan(tx, planned, round(self._means.announce.total_seconds()))
            found: list[Run] = []
            while len(found) < room:
                under_way = [*self._running.values(), *(one.id for one in found)]
                run = await store.lease_due(tx, self.worker_id, now, now + LEASE, but=under_way)
                if run is None:
                    break
                found.append(run)
            return found

        runs = await self._means.database.run(leased, "reconcile.lease")
        for run in runs:
            task = asyncio.create_task(self._do(run))
            self._running[task] = run.id
            task.add_done_callback(self._ended)
        return bool(runs)

    def _planned(self, link: Unplanned, now: datetime) -> Planned:
        """The next run: when its time has come again, or as the transfer window closes, if that is earlier."""
        at = (link.ended_at or now) + self._means.every
        return Planned(new_message_id(), link.link, min(at, _closing(link.window, now)) if link.window else at)

    async def _do(self, run: Run) -> None:
        """Take the steps of a run, one after the other, and keep its lease meanwhile."""
        running = Running(self._means, run, self.worker_id)
        keeping = asyncio.create_task(_keep(running))
        try:
            while not running.over and not self._stop.is_set():
                try:
                    await running.go_on()
                except Exception as error:
                    with suppress(GatewayError):  # without a database its lease runs out
                        await running.broken(f"the gateway could not go on with it: {error!r}")
                    raise
            if not running.over:
                await running.put_off("the worker was told to end")
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._running.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            journal.error("reconciliation-failed", error=type(error).__name__, detail=str(error)[:500])

    async def _nap(self, bell: db.Bell, stop: asyncio.Event) -> None:
        """Wait until somebody rings, a run has ended while others may be due, or it is time to look again."""
        waiting = [asyncio.create_task(bell.heard(NAP_SECONDS)), asyncio.create_task(stop.wait())]
        await asyncio.wait([*waiting, *self._running], return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def _keep(running: Running) -> None:
    while True:
        await asyncio.sleep(RENEW_SECONDS)
        with suppress(GatewayError):  # without a database the lease runs out, and nothing more is written under it
            await running.keep()


def _closing(window: Window, now: datetime) -> datetime:
    """When a transfer window closes next (UTC)."""
    closes = now.astimezone(UTC).replace(hour=window.closes // 60, minute=window.closes % 60, second=0, microsecond=0)
    return closes if closes > now else closes + timedelta(days=1)
