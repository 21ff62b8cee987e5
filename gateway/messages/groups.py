"""Lets messages of one sender that arrive at the same moment be applied together.

A message alone is applied at once. Those that arrive while it is applied wait for its end and are then applied in one
transaction, with one statement each where one message would need it too: thirty clients of a registry cost little
more than one. A message that cannot be applied with others (it repeats an id, is refused, clashes) is applied alone,
after them, exactly as if it had come alone: together or apart, the effect and the answer are the same. Nothing waits
longer than the transactions before it; nothing is kept here that a killed process could lose, because nobody has been
answered yet.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import structlog

from gateway.errors import GatewayError, Kind

#: Messages applied together at most, and their bytes: a few thousand transfers' worth of arrays.
MAX_TOGETHER, MAX_TOGETHER_BYTES = 100, 512 * 1024
#: A message longer than this has transfers enough to be worth a transaction of its own.
MAX_SMALL_BYTES = 64 * 1024

M = TypeVar("M")
A = TypeVar("A")

log = structlog.get_logger()


class Groups(Generic[M, A]):
    """Who waits to be applied with whom. ``together`` gives None for each message that must be applied ``alone``."""

    def __init__(
        self,
        together: Callable[[Sequence[M]], Awaitable[Sequence[A | None]]],
        alone: Callable[[M], Awaitable[A]],
        size_of: Callable[[M], int],
    ) -> None:
        self._together, self._alone, self._size_of = together, alone, size_of
        self._waiting: defaultdict[str, deque[tuple[M, asyncio.Future[A]]]] = defaultdict(deque)
        self._working: dict[str, asyncio.Task[None]] = {}

    async def join(self, sender: str, message: M) -> A:
        """Have ``message`` applied, with others of its sender if some wait; raises what applying it alone raises."""
        future: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        self._waiting[sender].append((message, future))
        if sender not in self._working:
            self._working[sender] = asyncio.create_task(self._work(sender))
        return await future

    async def _work(self, sender: str) -> None:
        waiting = self._waiting[sender]
        try:
            while waiting:
                await self._apply(self._next(waiting))
        finally:
            del self._working[sender], self._waiting[sender]
            for _, future in waiting:  # none is left unless this task was ended: nobody waits for ever
                future.cancel()

    def _next(self, waiting: deque[tuple[M, asyncio.Future[A]]]) -> list[tuple[M, asyncio.Future[A]]]:
        group, room = [waiting.popleft()], MAX_TOGETHER_BYTES
        while waiting and len(group) < MAX_TOGETHER:
            room -= self._size_of(waiting[0][0])
            if room < 0:
                break
            group.append(waiting.popleft())
        return group

    async def _apply(self, group: Sequence[tuple[M, asyncio.Future[A]]]) -> None:
        answers: Sequence[A | None] = [None] * len(group)
        if len(group) > 1:
            try:
                answers = await self._together([message for message, _ in group])
            except Exception as error:
                if isinstance(error, GatewayError) and error.kind is Kind.UNAVAILABLE:
                    return _fail(group, error)  # as it would be for each alone, one after another
                log.info("applied-apart", messages=len(group), error=repr(error)[:300])  # each alone shows whose it is
        for (message, future), answer in zip(group, answers, strict=True):
            if answer is not None:
                _tell(future, answer)
            else:
                await self._apart(message, future)
        return None

    async def _apart(self, message: M, future: "asyncio.Future[A]") -> None:
        try:
            _tell(future, await self._alone(message))
        except Exception as error:
            _fail([(message, future)], error)


def _fail(group: Sequence[tuple[M, "asyncio.Future[A]"]], error: Exception) -> None:
    for _, future in group:
        if not future.done():
            future.set_exception(error)


def _tell(future: "asyncio.Future[A]", answer: A) -> None:
    if not future.done():  # whoever asked may have gone
        future.set_result(answer)
