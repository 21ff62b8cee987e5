"""The PostgreSQL under a network: can be killed whole or in part, and is started again by the harness."""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psycopg

from gateway import embedded
from tests import stage as staging


class Postgres:
    """A server on one folder. MUST be used in the main thread: the kernel ends the server with its starter."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._running = ExitStack()
        self.server = self._start()

    def _start(self) -> embedded.Server:
        return self._running.enter_context(embedded.running(self.folder))

    def kill(self) -> None:
        """SIGKILL of the postmaster: every transaction under way is lost, the rest is recovered at the next start."""
        os.kill(self.server.pid, signal.SIGKILL)
        self._running.close()

    def restart(self) -> None:
        """Start it again after a kill, with crash recovery."""
        self.server = self._start()

    def backends(self) -> list[int]:
        """The processes that serve clients."""
        with psycopg.connect(self.server.dsn(), autocommit=True) as connection:
            found = connection.execute(
                "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            )
            return [pid for (pid,) in found]

    def close(self) -> None:
        """End it at once: nobody needs what is in it, so nothing is written out first."""
        with suppress(ProcessLookupError):
            os.kill(self.server.pid, signal.SIGQUIT)
        self._running.close()


@contextmanager
def running(folder: Path) -> Iterator[Postgres]:
    """A server with a migrated database to copy."""
    postgres = Postgres(folder)
    try:
        staging.make_template(postgres.server)
        yield postgres
    finally:
        postgres.close()
        if os.path.lexists(folder / "postgres"):
            embedded.remove(folder)
