"""One PostgreSQL for all rules, and for each file a gateway in this process with three real registries around it."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from gateway import embedded
from tests import contract
from tests import stage as staging
from tests.played import Course
from tests.rules.world import World
from tests.stage import Stage


@pytest.fixture(scope="session")
def postgres() -> Iterator[embedded.Server]:
    """One PostgreSQL server, with a migrated database to copy."""
    with tempfile.TemporaryDirectory(prefix="gateway-rules-") as folder, embedded.running(Path(folder)) as server:
        staging.make_template(server)
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def linked(postgres: embedded.Server, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """A gateway with MEC01, KOR01 and JPN01 linked, all of which answer in the response."""
    async with staging.opened(postgres, tmp_path_factory.mktemp("rules")) as stage:
        await asyncio.gather(
            stage.link("MEC01", "mechanism"), stage.link("KOR01", "party", "KOR"), stage.link("JPN01", "party", "JPN")
        )
        yield stage
        await contract.sent_as_agreed(stage)


@pytest_asyncio.fixture(loop_scope="module")
async def course(postgres: embedded.Server, tmp_path: Path) -> AsyncIterator[Course]:
    """A gateway on a database of its own, with MEC01 and KOR01 played by the test."""
    async with staging.opened(postgres, tmp_path) as stage:
        yield await Course.begun(stage)


@pytest_asyncio.fixture(loop_scope="module")
async def world(linked: Stage) -> AsyncIterator[World]:
    """The stage for one test, which leaves nothing at work behind it, whatever fault it has played."""
    world = World(linked)
    yield world
    await world.rest()
