"""Runs the relay until told to stop: a turn when something is due, a nap when nothing is.

A worker that sleeps is woken by the process that makes work due, and looks by itself after its longest nap,
so a lost notification delays and loses nothing. What a worker that died had leased, the others take over within a
nap. A fault of the database or of the program is logged and the turn is tried again; the rows still say what is due.
"""

import asyncio
import time
from contextlib import suppress

import structlog

from gateway import db
from gateway.errors import GatewayError
from gateway.transfers.relay import Relay

#: The longest nap: how late a lost notification, or a row that becomes due by its time, may be seen.
NAP_SECONDS = 1.0

#: How long sends under way may take to end when the worker is told to stop; later their outcome is unknown.
LAST_SENDS_SECONDS = 5.0

log = structlog.get_logger()


async def run(relay: Relay, database: db.Database, stop: asyncio.Event) -> None:
    """Take turns until ``stop`` is set."""
    worker_id = relay.worker_id
    bell: db.Bell | None = None
    looked = -NAP_SECONDS
    try:
        while not stop.is_set():
            try:
                bell = bell or await db.Bell.hung(database.url, worker_id)
                if time.monotonic() >= looked + NAP_SECONDS:
                    await relay.take_over()
                    looked = time.monotonic()
                if not await relay.begin():
                    await _sleep(relay, database, worker_id, bell, stop)
            except Exception as error:  # whatever it is, the rows are safe and the next turn may succeed
                log.error("turn-failed", error=type(error).__name__, detail=str(error)[:500])
                if bell is not None and bell.broken:  # a bell that is whole keeps the leases of sends under way
                    await _hang_up(bell)
                    bell = None
                await _pause(stop, NAP_SECONDS)
    finally:
        with suppress(TimeoutError):
            await asyncio.wait_for(relay.finish(), LAST_SENDS_SECONDS)
        await _hang_up(bell)
        with suppress(GatewayError):
            await database.run(lambda tx: db.forget_worker(tx, worker_id), "leave")


async def _sleep(relay: Relay, database: db.Database, worker_id: str, bell: db.Bell, stop: asyncio.Event) -> None:
    """Say that we sleep, look once more, then nap until somebody rings or one of our sends has ended."""
    await database.run(lambda tx: db.note_worker(tx, worker_id, asleep=True), "sleep")
    if not await relay.begin():
        waking = [bell.heard(NAP_SECONDS), relay.moved.wait(), stop.wait()]
        tasks = [asyncio.create_task(wait) for wait in waking]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    await database.run(lambda tx: db.note_worker(tx, worker_id, asleep=False), "wake")


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)


async def _hang_up(bell: db.Bell | None) -> None:
    if bell is not None:
        with suppress(Exception):
            await bell.close()
