"""Does what takes long beside the event loop, one thing at a time.

Reading and verifying a message of megabytes may take a second, in which nobody else would be answered. Several threads
would gain nothing under one interpreter lock, and each would keep the memory its largest message took: there is one.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
_THREAD = ThreadPoolExecutor(1, "large-messages")


async def aside(work: Callable[[], T]) -> T:
    """What ``work`` gives, or raises; it must touch nothing that the event loop changes meanwhile."""
    return await asyncio.get_running_loop().run_in_executor(_THREAD, work)
