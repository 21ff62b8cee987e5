"""PostgreSQL for all tests of this folder, and gateways on fresh databases of it.

``stage`` and ``linked`` are a test's own. ``shared`` and ``either`` are one for all tests of a file that run in
one loop; such a test counts what it made itself. Whatever a gateway sent is held against the contract at the end.
"""

import asyncio
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from gateway import embedded
from tests import contract
from tests import stage as staging
from tests.played import Course
from tests.stage import Stage


@pytest.fixture(scope="session")
def postgres() -> Iterator[embedded.Server]:
    """One PostgreSQL server, with a migrated database to copy."""
    with tempfile.TemporaryDirectory(prefix="gateway-tests-") as folder:
        with embedded.running(Path(folder)) as server:
            staging.make_template(server)
            yield server
            os.kill(server.pid, signal.SIGQUIT)  # without a checkpoint: nobody looks at it any more
        embedded.remove(Path(folder))  # root's data is elsewhere


@pytest.fixture
async def stage(postgres: embedded.Server, tmp_path: Path) -> AsyncIterator[Stage]:
    """A gateway that serves, with nobody linked yet."""
    async with staging.opened(postgres, tmp_path) as opened:
        yield opened
        await contract.sent_as_agreed(opened)


@pytest.fixture
async def linked(stage: Stage) -> Stage:
    """The same with MEC01 (answers in the response) and KOR01 (answers by messages of its own) linked."""
    await stage.link("MEC01", "mechanism")
    await stage.link("KOR01", "party", "KOR", answer="message")
    return stage


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(postgres: embedded.Server, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """A gateway with MEC01 (answers in the response), KOR01 (by own messages) and JPN01 (in the response)."""
    async with staging.opened(postgres, tmp_path_factory.mktemp("shared")) as stage:
        await asyncio.gather(
            stage.link("MEC01", "mechanism"),
            stage.link("KOR01", "party", "KOR", answer="message"),
            stage.link("JPN01", "party", "JPN"),
        )
        yield stage
        await contract.sent_as_agreed(stage)


@pytest_asyncio.fixture(
    scope="module",
    loop_scope="module",
    params=[("reply", "message"), ("message", "reply"), ("des", "des")],
    ids="-".join,
)
async def either(
    request: pytest.FixtureRequest, postgres: embedded.Server, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    """A gateway with MEC01 and KOR01 linked, each side in both ways of answering, and both over the other wire."""
    source, acquirer = ({"wire": way} if way == "des" else {"answer": way} for way in request.param)
    async with staging.opened(postgres, tmp_path_factory.mktemp("either")) as stage:
        await asyncio.gather(
            stage.link("MEC01", "mechanism", **source), stage.link("KOR01", "party", "KOR", **acquirer)
        )
        yield stage
        await contract.sent_as_agreed(stage)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def course(postgres: embedded.Server, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Course]:
    """A gateway with MEC01 and KOR01 linked, both played by the tests of a file."""
    async with staging.opened(postgres, tmp_path_factory.mktemp("course")) as stage:
        yield await Course.begun(stage)
        await contract.sent_as_agreed(stage)
