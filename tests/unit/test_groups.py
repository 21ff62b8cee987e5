"""Whoever waits with others is answered like one who came alone, whatever becomes of them.

Scope: ``gateway.messages.groups``, with messages that are texts and answers that are their capitals.
"""

import asyncio
from collections.abc import Sequence

import pytest

from gateway.errors import GatewayError, Kind
from gateway.messages import groups
from gateway.messages.groups import Groups


class Applied:
    """Applies messages; the first one alone waits until it is told, so that the others gather behind it."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.go = asyncio.Event()
        self.together: list[list[str]] = []
        self.alone: list[str] = []
        self.fault: Exception | None = None

    async def several(self, messages: Sequence[str]) -> list[str | None]:
        self.together.append(list(messages))
        if self.fault is not None:
            raise self.fault
        return [None if message.startswith("odd") else message.upper() for message in messages]

    async def one(self, message: str) -> str:
        self.alone.append(message)
        self.begun.set()
        await self.go.wait()
        if message.startswith("bad"):
            raise GatewayError(Kind.MALFORMED, message)
        return message.upper()

    async def all(self, *messages: str, leaving: int | None = None) -> list[str | BaseException]:
        """The first, and the others that come while it is applied; one of them may go before it is answered."""
        joined = Groups(self.several, self.one, len)
        tasks = [asyncio.create_task(joined.join("MEC01", message)) for message in messages]
        await self.begun.wait()
        if leaving is not None:
            tasks[leaving].cancel()
        self.go.set()
        return list(await asyncio.gather(*tasks, return_exceptions=True))


async def test_those_that_wait_are_applied_together() -> None:
    applied = Applied()
    assert await applied.all("a", "b", "c") == ["A", "B", "C"]
    assert (applied.alone, applied.together) == (["a"], [["b", "c"]])


async def test_what_cannot_be_applied_with_others_is_applied_alone() -> None:
    applied = Applied()
    assert await applied.all("a", "b", "odd", "c") == ["A", "B", "ODD", "C"]
    assert applied.alone == ["a", "odd"]


async def test_a_fault_of_the_group_shows_whose_it_is() -> None:
    applied = Applied()
    applied.fault = GatewayError(Kind.CONFLICT, "two messages are about one transfer")
    told = await applied.all("a", "b", "bad", "c")
    assert [told[0], told[1], told[3]] == ["A", "B", "C"]
    assert isinstance(told[2], GatewayError)
    assert told[2].detail == "bad"


async def test_without_a_database_nobody_waits_for_the_others_turn() -> None:
    applied = Applied()
    applied.fault = GatewayError(Kind.UNAVAILABLE, "the database cannot be reached")
    told = await applied.all("a", "b", "c")
    assert told[1:] == [applied.fault, applied.fault]
    assert applied.alone == ["a"]


async def test_a_group_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    applied = Applied()
    monkeypatch.setattr(groups, "MAX_TOGETHER", 3)
    monkeypatch.setattr(groups, "MAX_TOGETHER_BYTES", 5)
    await applied.all("a", "b", "c", "d", "e", "four", "more")
    assert applied.together == [["b", "c", "d"], ["e", "four"]]


async def test_who_has_gone_is_not_told_and_harms_nobody() -> None:
    told = await Applied().all("a", "b", "c", leaving=1)
    assert [told[0], told[2]] == ["A", "C"]
