"""Property: whichever commit or send a process dies at, nothing is lost and nothing happens twice.

Method: every declared point once. A process is told to kill itself just before a commit or a send (SIGKILL) while at
least twenty transfers are under way on every course, is started again and dies just after the same; everybody else
stays up. Then it is left alive, and everything comes to its end: final, or with a person; all books must agree. A
point that nothing passes fails, so the list cannot grow silently.
Scope: the points are tried in some lanes side by side, each a network of its own, because much of the time is
waiting; the tests below look at what came of each. After a failure a lane goes on with a fresh network.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import pytest_asyncio

from connectors.sandbox import crash as registry
from gateway import crash as gateway
from tests.faults import courses, load
from tests.faults import network as networks
from tests.faults.agreement import agree
from tests.faults.courses import Course
from tests.faults.network import MIRRORED, USUAL, Network
from tests.faults.postgres import Postgres

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: Networks side by side: whether the registries answer in the usual way, or mirrored.
LANES = (False, False, True)
#: How long a victim may take to come to its point.
REACH_SECONDS = 30.0
#: Who dies at the gateway's points, by their names.
VICTIMS = {
    **dict.fromkeys(gateway.SERVING, "serve"),
    **dict.fromkeys(gateway.WORKING, "worker"),
    **dict.fromkeys(gateway.SENDING, "worker"),
}
Case = tuple[str, str, Course]


def cases() -> dict[str, Case]:
    """Name of a pair of points → who dies there, the name itself, and what leads there."""
    found = {f"gateway-{n}": (VICTIMS[n], n, courses.GATEWAY.get(n, Course())) for n in VICTIMS}
    for name in (*registry.COMMITS, *registry.SENDS):
        victim, course = courses.REGISTRY.get(name, ("MEC01", Course()))
        found[f"registry-{name}"] = (victim, name, course)
    return found


CASES = cases()


@pytest.mark.parametrize("name", CASES)
async def test_nothing_is_lost_and_nothing_happens_twice_when_a_process_dies_at(
    name: str, campaign: dict[str, "asyncio.Future[None]"]
) -> None:
    await campaign[name]


async def test_every_declared_point_is_a_case_or_of_a_command() -> None:
    ours = {point.rpartition(".")[0] for point in gateway.POINTS} - set(gateway.COMMANDS)
    theirs = {point.rpartition(".")[0] for point in registry.POINTS}
    assert set(CASES) == {f"gateway-{n}" for n in ours} | {f"registry-{n}" for n in theirs}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def campaign(
    request: pytest.FixtureRequest, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[dict[str, "asyncio.Future[None]"]]:
    """What comes of each pair of points that was asked for."""
    here = [i for i in request.session.items if i.path == request.path and isinstance(i, pytest.Function)]
    asked = [i.callspec.params["name"] for i in here if hasattr(i, "callspec")]
    outcome = {name: asyncio.get_running_loop().create_future() for name in asked}
    todo = [[name for name in asked if CASES[name][2].mirrored is mirrored] for mirrored in (False, True)]
    lanes = [
        asyncio.create_task(_lane(postgres, tmp_path_factory.mktemp("lane"), todo, outcome, mirrored=mirrored))
        for mirrored in LANES
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
    """Try what is left to be tried; what needs mirrored registries only where they are."""
    fresh = 0
    while todo[mirrored] or todo[False]:
        fresh += 1
        inside = folder / str(fresh)
        inside.mkdir()
        async with networks.opened(postgres, inside, answers=MIRRORED if mirrored else USUAL) as network:
            sound = True
            while sound and (mine := todo[mirrored] or todo[False]):
                name = mine.pop(0)
                try:
                    await _die_at(network, *CASES[name])
                    await agree(network, doctor=not (todo[mirrored] or todo[False]))
                    outcome[name].set_result(None)
                except BaseException as error:  # whoever waits for the outcome is told
                    outcome[name].set_exception(error)
                    sound = False


async def _die_at(network: Network, victim: str, name: str, course: Course) -> None:
    """Let the victim die before and after what ``name`` is, with everything under way; wait until all is at rest."""
    act = "send" if name.startswith("send.") else "commit"
    if victim == "worker":
        network[victim].kill()
    await load.begin(network)
    await network.until(lambda: _has_arrived(network), "the load has arrived")
    await course.before(network)
    network[victim].kill()
    working = None
    try:
        for point in (f"{name}.before-{act}", f"{name}.after-{act}"):
            network[victim].start(armed=point)
            working = working or asyncio.create_task(_work(network, course, f"{name}.after-{act}"))
            await _until_death(network, victim, working)
            under_way = await network.under_way()
            assert len(under_way) >= load.UNDER_WAY, f"only {len(under_way)} transfers under way at {point}"
        await network.start(victim)
        await working
    finally:
        if working is not None:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
    await network.settle()


async def _until_death(network: Network, victim: str, working: "asyncio.Task[None]") -> None:
    async def has_died() -> bool:
        if working.done():
            working.result()
        return await network[victim].has_died()

    await network.until(has_died, f"{victim} dies at {network[victim].armed}", patience_seconds=REACH_SECONDS)


async def _work(network: Network, course: Course, last: str) -> None:
    """What leads to the points; nothing is decided until the second death, where that does not need it."""
    if course.during is not courses.nothing:
        await course.during(network)
        await courses.has_died_at(network, last)
    await load.end(network)
    await course.afterwards(network)


async def _has_arrived(network: Network) -> bool:
    return await network.count("transfer WHERE state IN ('proposed', 'checked')") >= load.UNDER_WAY
