"""Property: what was acknowledged is never lost, whoever is killed whenever, and all books agree afterwards.

Method: proposals without a pause, on every course, while processes of the network are killed (SIGKILL) at random and
started again a moment later; then the same with PostgreSQL: a backend, or the postmaster and with it everything. A
proposal counts as acknowledged when its receipt has been seen. The dice are told in a failure, but time is not theirs,
so the same dice may not fail again.
Scope: three minutes, with ``FAULTS=long`` in the environment or by ``make faults`` (``long``). In ``make test`` the
same processes are killed at each of their points, one after the other (``test_crash_points``), and PostgreSQL once
(``test_resources``).
"""

import asyncio
import os
import random
import secrets
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from tests.faults import load, long
from tests.faults import network as networks
from tests.faults.agreement import agree
from tests.faults.members import NO_ACCOUNT, REGISTRIES, SOURCES
from tests.faults.network import Network, Unavailable
from tests.faults.postgres import Postgres

#: How long each of the two runs kills.
SECONDS = 90.0
#: Transfers proposed at a time, and the pause between.
AT_A_TIME, PAUSE_SECONDS = 6, 0.25
VICTIMS = ("serve", "serve2", "worker", "worker2", *REGISTRIES)
pytestmark = long.only

Kill = Callable[[Network, random.Random], Awaitable[None]]


@pytest.fixture
async def network(postgres: Postgres, tmp_path: Path) -> AsyncIterator[Network]:
    """Two of everything of the gateway's."""
    async with networks.opened(postgres, tmp_path, serves=2, workers=2) as opened:
        yield opened


async def test_processes_are_killed_at_random_under_load(network: Network) -> None:
    await chaos(network, kill_a_process)


async def test_postgresql_is_killed_under_load(network: Network) -> None:
    await chaos(network, kill_the_database)


async def chaos(network: Network, kill: Kill) -> None:
    """Kill again and again under load; then let everything come to rest, and judge."""
    seed = secrets.randbits(32)
    dice = random.Random(seed)  # noqa: S311 - dice, not keys
    acknowledged: set[str] = set()
    try:
        async with under_load(network, dice, acknowledged):
            over = asyncio.get_running_loop().time() + SECONDS
            while asyncio.get_running_loop().time() < over:
                await kill(network, dice)
                await asyncio.sleep(dice.uniform(0.1, 1.0))
        await network.settle()
        assert len(acknowledged) > load.UNDER_WAY
        lost = acknowledged - {t for (t,) in await network.rows("SELECT id FROM transfer")}
        assert not lost, f"{len(lost)} of {len(acknowledged)} acknowledged proposals are lost"
        await agree(network, doctor=True)
    except AssertionError as error:
        error.add_note(f"the dice were {seed}")
        raise


async def kill_a_process(network: Network, dice: random.Random) -> None:
    """One of them; sometimes another one before the first is back."""
    victims = dice.sample(VICTIMS, dice.choice((1, 1, 2)))
    for victim in victims:
        network[victim].kill()
        await asyncio.sleep(dice.uniform(0.0, 0.5))
    await asyncio.gather(*(network.start(victim) for victim in victims))


async def kill_the_database(network: Network, dice: random.Random) -> None:
    """A backend, after which PostgreSQL starts itself again, or the postmaster, after which we do."""
    if dice.random() < 0.5:
        with suppress(psycopg.OperationalError, ProcessLookupError):
            os.kill(dice.choice(network.postgres.backends()), signal.SIGKILL)
    else:
        network.postgres.kill()
        await asyncio.sleep(dice.uniform(0.0, 1.0))
        network.postgres.restart()
    await asyncio.sleep(1.0)


@asynccontextmanager
async def under_load(network: Network, dice: random.Random, acknowledged: set[str]) -> AsyncIterator[None]:
    """Propose without a pause meanwhile, and note what is acknowledged."""
    tasks = [asyncio.create_task(_propose(network, dice)), asyncio.create_task(_note(network, acknowledged))]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    for error in ended:
        assert isinstance(error, asyncio.CancelledError), f"the load ended by itself: {error!r}"


async def _propose(network: Network, dice: random.Random) -> None:
    while True:
        code = dice.choice(("MEC01", "MEC01", *SOURCES))
        with suppress(httpx.TransportError, Unavailable):
            body = {"transfers": _wishes(code, dice), "one_message_each": True}
            made = await network.admin(code, "POST", "transfers", **body)
            if dice.random() < 0.3:
                url = f"{network[code].url}/admin/transfers/{made['transfers'][0]}/withdraw"
                await network.http.post(url)
        await asyncio.sleep(PAUSE_SECONDS)


def _wishes(code: str, dice: random.Random) -> list[dict[str, Any]]:
    """Transfers to ask a registry for, on every arrow that leaves it and on those that are none."""
    arrows = [arrow.wish for arrow in (*load.ARROWS.values(), *load.NOWHERE.values()) if arrow.source == code]
    if code == "MEC01":
        arrows += [lambda quantity: load.wish(quantity, dice.choice(ACCOUNTS))] * len(ACCOUNTS)
    return [dice.choice(arrows)(dice.randint(1, 3)) for _ in range(AT_A_TIME)]


async def _note(network: Network, acknowledged: set[str]) -> None:
    receipted = """
        SELECT DISTINCT s.transfer FROM step s JOIN sent m ON m.id = s.message
        WHERE s.step = 'propose' AND s.role = 'source' AND m.answer_jws IS NOT NULL
    """
    while True:
        with suppress(psycopg.OperationalError):
            for code in SOURCES:
                acknowledged |= {t for (t,) in await network.rows(receipted, code)}
        await asyncio.sleep(PAUSE_SECONDS)


#: Where the units go: most into an account that takes them.
ACCOUNTS = ("100-1",) * 8 + (load.USED, NO_ACCOUNT)
