"""A gateway that commands of a file's own work on."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from gateway import embedded, migrations
from tests.e2e.test_cli import prepared


@pytest.fixture(scope="module")
def settings() -> Iterator[dict[str, str]]:
    """A migrated gateway that has never started."""
    with tempfile.TemporaryDirectory(prefix="gateway-tests-") as made, ExitStack() as stack:
        folder = Path(made)
        stack.callback(embedded.remove, folder)
        server = stack.enter_context(embedded.running(folder))
        wanted = prepared(folder, server)
        migrations.apply(server.dsn("gateway", "gateway_owner"))
        yield wanted
