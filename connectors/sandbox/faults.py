"""Faults an operator sets: what the network, or this registry's own front, does to single messages.

A fault waits for messages of one direction ("in": from the gateway, "out": to it) and one type (or "*"), lets
``skip`` of them pass and strikes the next ``times``. A message meets at most one fault, the oldest whose turn it
is. Faults are in memory only: a restarted process has none. What a fault does is a function in a table by name;
those here work in both directions, because both directions are an ``Exchange``.

``down`` is of no direction and no type: from the moment it is set every exchange is cut, the questions for keys too,
and what is under way loses its answer, until it is cleared or its ``seconds`` (where not 0) are over.
"""

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

#: How long a message is held, at most, until the next one of its direction is done.
REORDER_SECONDS = 5.0
#: The fault that strikes everything as long as it is set, and its direction.
DOWN: Final = "down"
BOTH: Final = "both"

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Exchange(Protocol[T_co]):
    """A message and its answer, in either direction."""

    @property
    def type(self) -> str:
        """The type the message claims to have."""

    def go(self) -> Awaitable[T_co]:
        """Let it take its ordinary course."""

    def lost(self) -> T_co:
        """Let it end without an answer."""


@dataclass
class Fault:
    """A fault that is set, and how often it has still to strike."""

    id: int
    fault: str
    direction: str
    type: str
    left: int
    skip: int
    seconds: float
    code: int
    #: Private key of another registry (``arrivals``: anothers-signature).
    key_file: str = ""
    fired: int = 0

    def strikes(self, direction: str, message_type: str) -> bool:
        """Say whether this message is struck; counts those that are let pass first."""
        if not self.left or self.direction not in (BOTH, direction) or self.type not in ("*", message_type):
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.left -= self.fault != DOWN
        self.fired += 1
        return True

    def end(self) -> None:
        """Strike no more."""
        self.left = 0


class Faults:
    """The faults that are set, and the messages they hold back."""

    def __init__(self) -> None:
        self.set: list[Fault] = []
        self._ids = itertools.count(1)
        self._held: list[tuple[str, asyncio.Event]] = []

    def add(self, **members: Any) -> Fault:
        """Set a fault."""
        fault = Fault(next(self._ids), **members)
        if fault.fault != DOWN:
            self.set.append(fault)
            return fault
        # It comes before whatever else a message could meet.
        self.set.insert(0, fault)
        if fault.seconds:
            asyncio.get_running_loop().call_later(fault.seconds, fault.end)
        return fault

    @property
    def down(self) -> bool:
        """Whether nothing comes in or goes out."""
        return any(fault.fault == DOWN and fault.left for fault in self.set)

    def clear(self) -> None:
        """Take all faults away and let go of what they hold."""
        self.set.clear()
        self._let_go()

    def striking(self, direction: str, message_type: str) -> Fault | None:
        """Give the fault this message meets."""
        return next((fault for fault in self.set if fault.strikes(direction, message_type)), None)

    async def hold(self, seconds: float, until: str = "") -> None:
        """Wait so long, or until a message of the direction ``until`` is done, or until all faults are cleared."""
        held = (until, asyncio.Event())
        self._held.append(held)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(held[1].wait(), seconds)
        if held in self._held:
            self._held.remove(held)

    def done(self, direction: str) -> None:
        """A message of this direction is done: what waited for it goes on."""
        self._let_go(direction)

    def _let_go(self, direction: str | None = None) -> None:
        for held in [held for held in self._held if direction in (None, held[0])]:
            self._held.remove(held)
            held[1].set()


Behaviour = Callable[[Faults, Fault, Any], Awaitable[Any]]


async def suffer(faults: Faults, table: Mapping[str, Behaviour], direction: str, exchange: Exchange[T]) -> T:
    """Let an exchange take its course, or the one of the fault that strikes it."""
    fault = faults.striking(direction, exchange.type) if faults.set else None
    try:
        answer: T = await (exchange.go() if fault is None else table[fault.fault](faults, fault, exchange))
        return exchange.lost() if faults.down else answer
    finally:
        faults.done(direction)


async def lose_reply(faults: Faults, fault: Fault, exchange: Exchange[T]) -> T:
    """Everything is done, and nobody learns of it."""
    await exchange.go()
    return exchange.lost()


async def lose_request(faults: Faults, fault: Fault, exchange: Exchange[T]) -> T:
    """Nothing is done, and nobody learns of that either."""
    return exchange.lost()


async def delay(faults: Faults, fault: Fault, exchange: Exchange[T]) -> T:
    """It comes late."""
    await faults.hold(fault.seconds)
    return await exchange.go()


async def repeat(faults: Faults, fault: Fault, exchange: Exchange[T]) -> T:
    """The same bytes arrive twice at the same instant."""
    first, second = await asyncio.gather(exchange.go(), exchange.go(), return_exceptions=True)
    for answer in (first, second):
        if not isinstance(answer, BaseException):
            return answer
    raise first if isinstance(first, BaseException) else AssertionError("unreachable")


async def reorder(faults: Faults, fault: Fault, exchange: Exchange[T]) -> T:
    """The next message of this direction overtakes it."""
    await faults.hold(REORDER_SECONDS, until=fault.direction)
    return await exchange.go()


#: What works in both directions; ``arrivals`` adds what only a receiver can do.
BOTH_WAYS: Mapping[str, Behaviour] = {
    "lose-reply": lose_reply,
    "lose-request": lose_request,
    DOWN: lose_request,
    "delay": delay,
    "repeat": repeat,
    "reorder": reorder,
}
