"""PostgreSQL for the fault tests, and networks of processes on it; each file has its own."""

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.faults import network as networks
from tests.faults import postgres as databases
from tests.faults.members import MIXED
from tests.faults.network import Network
from tests.faults.postgres import Postgres


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server with a migrated database to copy."""
    with tempfile.TemporaryDirectory(prefix="gateway-faults-") as folder, databases.running(Path(folder)) as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def network(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Network]:
    """One serve, one worker, and all registries, some of which speak another wire."""
    async with networks.opened(postgres, tmp_path_factory.mktemp("network"), answers=MIXED) as opened:
        yield opened
