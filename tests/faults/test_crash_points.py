"""Property: whichever commit or send a process dies at, nothing is lost and nothing happens twice.

Method: every declared point once. One process is told to kill itself there (SIGKILL) while at least twenty transfers
are under way on every course; everybody else stays up. It is started again, and everything comes to its end: final,
or with a person. Then all books must agree. A point that no load passes fails, so the list cannot grow silently.
Scope: the points are tried in some lanes side by side, each a network of its own, because most of the time is
waiting; the tests below look at what came of each. After a failure a lane goes on with a fresh network.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import pytest_asyncio

from gateway import crash
from tests.faults import load
from tests.faults import network as networks
from tests.faults.agreement import agree
from tests.faults.courses import Act, course_to
from tests.faults.network import MIRRORED, USUAL, Network
from tests.faults.postgres import Postgres

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: Networks side by side, by how their registries answer.
LANES = (False, False, True)
#: How long a victim may take to come to its point.
REACH_SECONDS = 30.0
#: What whom kills.
VICTIMS = {
    **dict.fromkeys(crash.SERVING, "serve"),
    **dict.fromkeys(crash.WORKING, "worker"),
    **dict.fromkeys(crash.SENDING, "worker"),
}
POINTS = tuple(point for point in crash.POINTS if point.rpartition(".")[0] in VICTIMS)


@pytest.mark.parametrize("point", POINTS)
async def test_nothing_is_lost_and_nothing_happens_twice_when_a_process_dies_at(
    point: str, campaign: dict[str, "asyncio.Future[None]"]
) -> None:
    await campaign[point]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def campaign(
    request: pytest.FixtureRequest, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[dict[str, "asyncio.Future[None]"]]:
    """What comes of each point that was asked for."""
    asked = [i.callspec.params["point"] for i in request.session.items if i.path == request.path]  # type: ignore[attr-defined]
    outcome = {point: asyncio.get_running_loop().create_future() for point in asked}
    todo = [[p for p in asked if course_to(p).mirrored is mirrored] for mirrored in (False, True)]
    lanes = [
        asyncio.create_task(_lane(postgres, tmp_path_factory.mktemp("lane"), todo, outcome, mirrored=mirrored))
        for mirrored in LANES[: len(asked)]
    ]
    yield outcome
    for left in todo:
        left.clear()
    await asyncio.gather(*lanes)


async def _lane(
    postgres: Postgres,
    folder: Path,
    todo: Sequence[list[str]],
    outcome: dict[str, "asyncio.Future[None]"],
    *,
    mirrored: bool,
) -> None:
    """Try points until none is left; those that need the other kind of network are left to it."""
    nr = 0
    while mine := todo[mirrored] or todo[False]:
        nr += 1
        inside = folder / str(nr)
        inside.mkdir()
        async with networks.opened(postgres, inside, answers=MIRRORED if mirrored else USUAL) as network:
            while mine := todo[mirrored] or todo[False]:
                point = mine.pop(0)
                try:
                    await _die_at(network, VICTIMS[point.rpartition(".")[0]], point)
                    await agree(network, doctor=not (todo[mirrored] or todo[False]))
                    outcome[point].set_result(None)
                except BaseException as error:  # whoever waits for the outcome is told
                    outcome[point].set_exception(error)
                    break


async def _both(network: Network, first: Act, then: Act) -> None:
    await asyncio.gather(first(network), then(network))


async def _die_at(network: Network, victim: str, point: str) -> None:
    """Let the victim die at its point with everything under way, start it again, and wait until all is at rest."""
    course = course_to(point)
    if victim == "worker":
        network[victim].kill()
        await load.begin(network)
        await network.until(lambda: network.count("transfer WHERE state = 'proposed'"), "the load has arrived")
        await course.before(network)
        await network.start(victim, armed=point)
        rest = load.end
    else:
        await course.before(network)
        await network.restart(victim, armed=point)
        rest = load.everything
    working = asyncio.create_task(_both(network, rest, course.after))
    try:
        await network.until(network[victim].has_died, f"{victim} dies at {point}", patience_seconds=REACH_SECONDS)
        under_way = await network.under_way()
        assert len(under_way) >= load.UNDER_WAY, f"only {len(under_way)} transfers under way"
        await network.start(victim)
        await working
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
    await network.settle()
