"""Reconciles links: on schedule, after their transfer windows, and on demand; several at once, one run per link.

Which runs are due their rows say (``store``), so any number of workers may run this. What a worker that died had begun,
another goes on with; a mark that nobody takes away is taken away here. A fault of the database or of the program is
logged, and the run is put off; its row still says where to go on.
"""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from gateway import db
from gateway.errors import GatewayError
from gateway.links import store as links
from gateway.links.lifecycle import Window
from gateway.messages.shift import Shift
from gateway.reconciliation import store
from gateway.reconciliation.marking import unmark
from gateway.reconciliation.run import LEASE, Means, Running
from gateway.reconciliation.store import Planned, Run, Unplanned
from gateway.signing.messages import new_message_id

#: Runs that one process does at once: each holds what differs in one book.
AT_ONCE = 2
#: How often the lease of a run under way is renewed.
RENEW_SECONDS = LEASE.total_seconds() / 3


class Reconciliations:
    """The runs of one process."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self.shift: Shift[str] = Shift(means.database.url, "reconcile", self._take_over, self._begin)

    async def turn(self) -> bool:
        """Do what is due now, as far as it can be done now; whether anything was."""
        return await self.shift.turn()

    async def run(self, stop: asyncio.Event) -> None:
        """Reconcile what becomes due until ``stop`` is set."""
        await self.shift.run(stop)

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
        shift, now = self.shift, self._means.node.clock()
        async with self._means.database.reading() as tx:
            if not await store.look(tx, now):
                return False

        async def leased(tx: db.Tx) -> list[Run]:
            planned = [self._planned(one, now) for one in await store.unplanned(tx)]
            if planned:
                await store.plan(tx, planned, round(self._means.announce.total_seconds()))
            found: list[Run] = []
            while len(shift.under_way) + len(found) < AT_ONCE:
                under_way = [*shift.under_way, *(one.id for one in found)]
                run = await store.lease_due(tx, shift.worker_id, now, now + LEASE, but=under_way)
                if run is None:
                    break
                found.append(run)
            return found

        runs = await self._means.database.run(leased, "reconcile.lease")
        for run in runs:
            shift.start(run.id, self._do(run))
        return bool(runs)

    def _planned(self, link: Unplanned, now: datetime) -> Planned:
        """The next run: when its time has come again, or as the transfer window closes, if that is earlier."""
        at = (link.ended_at or now) + self._means.every
        return Planned(new_message_id(), link.link, min(at, _closing(link.window, now)) if link.window else at)

    async def _do(self, run: Run) -> None:
        """Take the steps of a run, one after the other, and keep its lease meanwhile."""
        running = Running(self._means, run, self.shift.worker_id)
        keeping = asyncio.create_task(_keep(running))
        try:
            while not running.over and not self.shift.stop.is_set():
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


async def _keep(running: Running) -> None:
    while True:
        await asyncio.sleep(RENEW_SECONDS)
        with suppress(GatewayError):  # without a database the lease runs out, and nothing more is written under it
            await running.keep()


def _closing(window: Window, now: datetime) -> datetime:
    """When a transfer window closes next (UTC)."""
    closes = now.astimezone(UTC).replace(hour=window.closes // 60, minute=window.closes % 60, second=0, microsecond=0)
    return closes if closes > now else closes + timedelta(days=1)
