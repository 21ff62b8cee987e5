"""PostgreSQL for the machine, and stages on it: one for all examples, and a new one after an example that failed."""

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway import embedded
from tests import stage as staging
from tests.stateful.operations import World


class Worlds:
    """The world in use. What an example that failed leaves behind would make the next one fail too."""

    def __init__(self, server: embedded.Server, folder: Path) -> None:
        self.loop = asyncio.new_event_loop()
        self._server, self._folder = server, folder
        self._world: World | None = None

    def take(self) -> World:
        """The world for the next example."""
        if self._world is not None and self._world.is_spoiled:
            self.close()
        if self._world is None:
            folder = Path(tempfile.mkdtemp(dir=self._folder))
            self._world = self.loop.run_until_complete(World.opened(self._server, folder))
        return self._world

    def close(self) -> None:
        """End the world in use, if there is one."""
        if self._world is not None:
            world, self._world = self._world, None
            self.loop.run_until_complete(world.close())


@pytest.fixture(scope="session")
def worlds() -> Iterator[Worlds]:
    """Worlds on a PostgreSQL server of their own."""
    with tempfile.TemporaryDirectory(prefix="gateway-stateful-") as name, embedded.running(Path(name)) as server:
        staging.make_template(server)
        (folder := Path(name) / "worlds").mkdir()
        found = Worlds(server, folder)
        yield found
        found.close()
        found.loop.run_until_complete(found.loop.shutdown_asyncgens())
        found.loop.close()
