"""Which gateway a command works on: the one whose data is kept in a folder, or the one the environment names."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.console import Console

from gateway.demo import KEY, LOG_KEY, TOKEN_KEY
from gateway.errors import GatewayError, Kind

if TYPE_CHECKING:  # what makes a key only, or shows help, does not wait for these
    from gateway import db, embedded
    from gateway.settings import Settings

T = TypeVar("T")

#: For commands that are given a key's id: one of 64 begins with a hyphen, and is no option.
ANY_KEY_ID = {"ignore_unknown_options": True}
Keep = Annotated[Path | None, typer.Option("--keep", help="Work on the data kept in this folder.", file_okay=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def plain_console() -> Console:
    """A console that shows texts from other systems as they are: no markup, no emoji codes, no colours of its own."""
    return Console(markup=False, emoji=False, highlight=False)


def moment(text: str) -> str:
    """A time of the API, as people read it: UTC, to the second."""
    return f"{datetime.fromisoformat(text).astimezone(UTC):%Y-%m-%d %H:%M:%S}"


@contextmanager
def chosen(keep: Path | None) -> "Iterator[Settings]":
    """The settings to work with; starts the folder's database when nobody runs it, and stops it again.

    From here on warnings are logged as a server logs them: left alone, the library would print tracebacks with the
    values of variables, between what a command answers.
    """
    from gateway import embedded, settings, telemetry

    telemetry.configure(quiet=True)
    if keep is None:
        yield settings.read()
        return
    if not (keep / KEY).exists():
        raise GatewayError(Kind.NOT_FOUND, f"{keep} holds no gateway; 'gateway demo --keep {keep}' makes one")
    server = embedded.attach(keep)
    if server is not None:
        yield _kept(keep, server)
        return
    with embedded.running(keep) as started:
        yield _kept(keep, started)


def on_database(chosen_settings: "Settings", work: "Callable[[db.Database], Awaitable[T]]") -> T:
    """Run ``work`` with a connection to the gateway's database, and close it."""
    from gateway import db
    from gateway.settings import named

    async def run() -> T:
        with named("database_url"):
            database = db.Database(chosen_settings.database_url)
        try:
            with named("database_url"):
                await database.check()
            return await work(database)
        finally:
            await database.close()

    return asyncio.run(run())


def _kept(folder: Path, server: "embedded.Server") -> "Settings":
    from gateway.domain.addresses import LOOPBACK
    from gateway.settings import Settings

    return Settings(
        database_url=server.dsn("gateway", "gateway_app"),
        owner_database_url=server.dsn("gateway", "gateway_owner"),
        key_file=folder / KEY,
        demo=True,
        token_key_file=folder / TOKEN_KEY,
        log_key_file=folder / LOG_KEY,
        link_listen="127.0.0.1:0",
        operator_listen="127.0.0.1:0",
        private_peers=LOOPBACK,
    )
