"""Property: whichever commit or send a process dies at, nothing is lost and nothing happens twice.

Method: every declared point once, the two of a name one after the other (``campaign``): the process kills itself
there (SIGKILL) while at least twenty transfers are under way on every course, everybody else stays up, all comes to
its end, and all books must agree. A point that nothing passes fails, so the list cannot grow silently.
Scope: the points are tried in some lanes side by side; the tests below look at what came of each. What single
commands commit: ``test_commands``. With faults of messages and other deaths at the same time: ``make faults``.
"""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from connectors.sandbox import crash as registry
from gateway import crash as gateway
from tests.faults import campaign, long
from tests.faults.campaign import CASES, Trial
from tests.faults.postgres import Postgres

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: What leads there races the clock against the answers and does not get there each time: not in every run of the tests.
#: That a lease is renewed: ``tests/integration/test_leases.py``.
NOT_EACH_TIME = frozenset() if long.LONG else frozenset({"gateway-renew"})


@pytest.mark.parametrize("name", [pytest.param(n, marks=long.only) if n in NOT_EACH_TIME else n for n in CASES])
async def test_nothing_is_lost_and_nothing_happens_twice_when_a_process_dies_at(
    name: str, outcome: dict[str, "asyncio.Future[None]"]
) -> None:
    await outcome[name]


async def test_every_declared_point_is_a_case_or_of_a_command() -> None:
    ours = {point.rpartition(".")[0] for point in gateway.POINTS} - set(gateway.COMMANDS)
    theirs = {point.rpartition(".")[0] for point in registry.POINTS}
    assert set(CASES) == {f"gateway-{n}" for n in ours} | {f"registry-{n}" for n in theirs}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def outcome(
    request: pytest.FixtureRequest, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[dict[str, "asyncio.Future[None]"]]:
    """What comes of each pair of points that was asked for."""
    here = [i for i in request.session.items if i.path == request.path and isinstance(i, pytest.Function)]
    asked = [i.callspec.params["name"] for i in here if hasattr(i, "callspec")]
    asked = [name for name in asked if name not in NOT_EACH_TIME]
    futures = {name: asyncio.get_running_loop().create_future() for name in asked}

    def told(trial: Trial, error: BaseException | None) -> None:
        if error is None:
            futures[trial.case].set_result(None)
        else:
            futures[trial.case].set_exception(RuntimeError(str(error)))

    trials = [Trial(name) for name in asked]
    running = asyncio.create_task(campaign.run(postgres, tmp_path_factory.mktemp("campaign"), trials, told))
    yield futures
    if not all(future.done() for future in futures.values()):
        running.cancel()
    await asyncio.gather(running, return_exceptions=True)
