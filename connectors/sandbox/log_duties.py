"""What logs need of their own accord, about every second: publishing, feeding, looking for what is promised.

A gateway that does not answer, or answers nonsense, is a problem that ``/admin/log`` shows; the next round tries
again, and nothing else in the registry waits for it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from . import feeding, following, own_log, promises
from .log_keys import Pinned
from .notes import Signer
from .registry import Registry
from .sender import NoAnswer, Sender

#: A checkpoint is due every second while there is something new, and a promise is looked after as often.
ROUND_SECONDS = 1.0

log = logging.getLogger(__name__)


def work(registry: Registry, sender: Sender) -> list[Coroutine[Any, Any, None]]:
    """Give what is to run until cancelled: a task each, so that slowness in one does not hold the other one up."""
    own, pinned = registry.logs.own, registry.logs.pinned
    found = []
    if own is not None:
        found.append(_again(lambda: _own(registry, sender, own)))
    if pinned is not None:
        found.append(_again(lambda: _look(registry, sender, pinned)))
    return found


async def _again(round_of: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await round_of()
        except NoAnswer as silence:
            log.info("no answer about a log: %s", silence)
        except Exception:
            log.exception("a round for a log failed")
        await asyncio.sleep(ROUND_SECONDS)


async def _own(registry: Registry, sender: Sender, signer: Signer) -> None:
    await own_log.publish(registry, signer)
    if registry.logs.fed:
        await feeding.feed(registry, sender, signer)


async def _look(registry: Registry, sender: Sender, pinned: Pinned) -> None:
    if await registry.database.run("log.look", promises.are_open):
        await following.look(registry, sender, pinned)
