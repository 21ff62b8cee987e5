"""Pulls feeds: on schedule, when called for, and on demand; several at once, one pull per feed.

Which feeds are due their rows say (``store``), so any number of workers may run this. A pull holds one page in memory,
and its next query is sent when that page is stored: a registry is never asked faster than we keep what it says. A fault
of the database or of the program is logged; the feed's row still says where to go on.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from gateway import db
from gateway.errors import GatewayError, Kind
from gateway.history import deliver, store
from gateway.history.reading import LEASE, Means, Reading
from gateway.history.store import Feed
from gateway.messages.shift import Shift

#: Feeds that one process pulls at once: each holds a page of up to 7 MiB, its records and a connection for a moment.
AT_ONCE = 4
#: Of these, so many of one source: one that is slow, or has much to tell, leaves room for the others.
OF_ONE_SOURCE = 2
#: Pages after which a feed goes behind the others that are due.
PAGES_AT_A_TIME = 50

#: Told after each page that was stored: how many records of the feed we have.
Progress = Callable[[int], None]
#: What is done between two pages.
Then = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Pulled:
    """How a pull ended: the number of the feed's last record that we have, and why it waits if it is not at its end."""

    number: int
    waiting: str | None


class Pulls:
    """The pulls of one process."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self.shift: Shift[Feed] = Shift(means.database.url, "pull", self._take_over, self._begin)

    async def turn(self) -> bool:
        """Do what is due now, to its end; whether anything was."""
        return await self.shift.turn()

    async def run(self, stop: asyncio.Event) -> None:
        """Pull what becomes due until ``stop`` is set."""
        await self.shift.run(stop)

    async def pull(self, of: str, registry: str, told: Progress | None = None) -> Pulled:
        """Pull one feed now, to its end.

        Raises NOT_FOUND 3001 where there is no such feed or its links are not open for it, CONFLICT 3002 where it is
        stopped or being pulled.
        """
        now = self._means.node.clock()

        async def leased(tx: db.Tx) -> Feed:
            await store.ensure(tx, now)
            feed = await store.lease(tx, of, registry, self.shift.worker_id, now, now + LEASE)
            if feed is None:
                raise _not_now(await store.standing(tx, of, registry))
            return feed

        async with self.shift.there():
            reading = Reading(self._means, await self._means.database.run(leased, "pull.lease"), self.shift.worker_id)
            await self._read(reading, told)
            return Pulled(reading.feed.cursor.number, reading.waiting)

    async def _take_over(self) -> None:
        now = self._means.node.clock()
        await self._means.database.run(lambda tx: store.take_over(tx, now), "pull.take-over")

    async def _begin(self) -> bool:
        """Lease what is due and begin to pull it; hand on what waits for that; whether there was any."""
        now, room = self._means.node.clock(), AT_ONCE - len(self.shift.under_way)
        async with self._means.database.reading() as tx:
            if not await store.look(tx, now):
                return False

        async def leased(tx: db.Tx) -> tuple[list[Feed], int]:
            await store.ensure(tx, now)
            return await self._lease(tx, now, room), await deliver.go_on(tx, self._means.node)

        feeds, delivered = await self._means.database.run(leased, "pull.lease")
        for feed in feeds:
            self.shift.start(feed, self._take_turns(Reading(self._means, feed, self.shift.worker_id)))
        return bool(feeds or delivered)

    async def _lease(self, tx: db.Tx, now: datetime, room: int) -> list[Feed]:
        running, found = self.shift.under_way, list[Feed]()
        while len(found) < room:
            pulled = Counter(str(feed.asked.of) for feed in [*running, *found])
            busy = [link for link, number in pulled.items() if number >= OF_ONE_SOURCE]
            under_way = [feed.id for feed in running]
            feed = await store.lease_due(tx, self.shift.worker_id, now, now + LEASE, busy=busy, but=under_way)
            if feed is None:
                break
            found.append(feed)
        return found

    async def _take_turns(self, reading: Reading) -> None:
        """Read a feed, but let others that wait have their turn in between."""
        pages = 0

        async def told() -> None:
            nonlocal pages
            pages += 1
            if pages % PAGES_AT_A_TIME == 0:
                async with self._means.database.reading() as tx:
                    others = await store.others_wait(tx, self._means.node.clock())
                if others:
                    await reading.give_back()

        await self._read(reading, then=told)

    async def _read(self, reading: Reading, told: Progress | None = None, then: Then | None = None) -> None:
        while not reading.over:
            try:
                await reading.page()
            except Exception as error:
                with suppress(GatewayError):  # without a database its lease runs out
                    await reading.put_off(f"the gateway could not go on with it: {error!r}")
                raise
            if told is not None:
                told(reading.feed.cursor.number)
            if self.shift.stop.is_set() and not reading.over:
                await reading.give_back()
            if then is not None and not reading.over:
                await then()


def _not_now(standing: tuple[bool, bool] | None) -> GatewayError:
    """Why a feed was not to be leased: whether it is stopped, and whether somebody pulls it."""
    stopped, leased = standing or (False, False)
    if stopped:
        return GatewayError(Kind.CONFLICT, "its past has changed: nothing more is pulled of it", code=3002)
    if leased:
        return GatewayError(Kind.CONFLICT, "it is being pulled", code=3002)
    return GatewayError(Kind.NOT_FOUND, "there is no such feed, or its links are not open for viewing", code=3001)
