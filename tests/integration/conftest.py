"""PostgreSQL for all tests of this folder, and a gateway on a fresh database of it for each that asks."""

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from gateway import embedded
from tests import stage as staging
from tests.stage import Stage


@pytest.fixture(scope="session")
def postgres() -> Iterator[embedded.Server]:
    """One PostgreSQL server, with a migrated database to copy."""
    with tempfile.TemporaryDirectory(prefix="gateway-tests-") as folder, embedded.running(Path(folder)) as server:
        staging.make_template(server)
        yield server


@pytest.fixture
async def stage(postgres: embedded.Server, tmp_path: Path) -> AsyncIterator[Stage]:
    """A gateway that serves, with nobody linked yet."""
    async with staging.opened(postgres, tmp_path) as opened:
        yield opened


@pytest.fixture
async def linked(stage: Stage) -> Stage:
    """The same with MEC01 (answers in the response) and KOR01 (answers by messages of its own) linked."""
    await stage.link("MEC01", "mechanism")
    await stage.link("KOR01", "party", "KOR", answer="message")
    return stage
