"""What a registry does of its own accord: deciding offers it has receipted, and asking, after long silence or for
history it lacks.

One task per process, woken by the transactions that leave something to decide. It only repeats work that
the database says is open, so it may die at any place. ``Background`` runs it and the outbox beside the requests.
"""

import asyncio
import contextlib
import logging

from . import accepting, backup, log_duties, status, told_history
from .registry import Registry
from .sender import NoAnswer, Sender

#: How long the task sleeps when nobody wakes it: an offer's time or a question may have come due.
ROUND_SECONDS = 5.0

log = logging.getLogger(__name__)


class Background:
    """What a registry does beside answering: sending, deciding, asking; and what its logs need."""

    def __init__(self, registry: Registry, sender: Sender) -> None:
        self._registry, self._sender = registry, sender
        self._tasks: list[asyncio.Task[None]] = []

    async def begin(self) -> None:
        """Begin, unless the registry was restored and has not asked yet (R15)."""
        await self.end()
        if await self._registry.database.run("duties.begin", backup.restored) is None:
            work = [self._sender.run(), run(self._registry, self._sender)]
            work += log_duties.work(self._registry, self._sender)
            self._tasks = [asyncio.create_task(coroutine) for coroutine in work]

    async def end(self) -> None:
        """Stop; what is under way is given up like by a process that ends."""
        pending = set(self._tasks)
        while pending:  # again and again: what is just getting a result may swallow a cancellation
            for task in pending:
                task.cancel()
            _, pending = await asyncio.wait(pending, timeout=0.2)
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []


async def run(registry: Registry, sender: Sender) -> None:
    """Work until cancelled."""
    wake = registry.database.duties_wake
    while True:
        wake.clear()
        try:
            while await registry.database.run("duties.decide", lambda tx: accepting.decide_waiting(tx, registry)):
                pass
            await status.ask_waiting(registry, sender)
            await told_history.ask_lacking(registry, sender)
        except NoAnswer as silence:
            log.info("asked, no answer: %s", silence)
        except Exception:
            log.exception("a round of duties failed")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(wake.wait(), ROUND_SECONDS)
