"""What logs need of their own accord, about every second: publishing, feeding, looking for what is promised.

A gateway that does not answer, or answers nonsense, is a problem that ``/admin/log`` shows; the next round tries
again, and nothing else in the registry waits for it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from . import feeding, following, own_log, promises
from .registry import Registry
from .sender import NoAnswer, Sender

#: A checkpoint is due every second while there is something new, and a promise is looked after as often.
ROUND_SECONDS = 1.0

log = logging.getLogger(__name__)


async def run(registry: Registry, sender: Sender) -> None:
    """Work until cancelled; the gateway's slowness in one part does not hold the other one up."""
    async with asyncio.TaskGroup() as group:
        group.create_task(_again(lambda: _own(registry, sender)))
        group.create_task(_again(lambda: _look(registry, sender)))


async def _again(round_of: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await round_of()
        except NoAnswer as silence:
            log.info("no answer about a log: %s", silence)
        except Exception:
            log.exception("a round for a log failed")
        await asyncio.sleep(ROUND_SECONDS)


async def _own(registry: Registry, sender: Sender) -> None:
    if registry.logs.own is not None:
        await own_log.publish(registry, registry.logs.own)
        if registry.logs.fed:
            await feeding.feed(registry, sender, registry.logs.own)


async def _look(registry: Registry, sender: Sender) -> None:
    pinned = registry.logs.pinned
    if pinned is not None and await registry.database.run("log.look", promises.are_open):
        await following.look(registry, sender, pinned)
