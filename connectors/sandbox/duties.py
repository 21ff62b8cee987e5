"""What a registry does of its own accord: deciding offers it has receipted, and asking after long silence.

One task per process, woken by the transactions that leave something to decide. It only repeats work that
the database says is open, so it may die at any place.
"""

import asyncio
import contextlib
import logging

from . import accepting, status
from .registry import Registry
from .sender import NoAnswer, Sender

#: How long the task sleeps when nobody wakes it: an offer's time or a question may have come due.
ROUND_SECONDS = 5.0

log = logging.getLogger(__name__)


async def run(registry: Registry, sender: Sender) -> None:
    """Work until cancelled."""
    wake = registry.database.duties_wake
    while True:
        wake.clear()
        try:
            while await registry.database.run("duties.decide", lambda tx: accepting.decide_waiting(tx, registry)):
                pass
            await status.ask_waiting(registry, sender)
        except NoAnswer as silence:
            log.info("asked, no answer: %s", silence)
        except Exception:
            log.exception("a round of duties failed")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(wake.wait(), ROUND_SECONDS)
