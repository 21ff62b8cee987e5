"""Which gateway a command works on: the one whose data is kept in a folder, or the one the environment names."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from gateway import db, embedded, settings
from gateway.errors import GatewayError, Kind
from gateway.settings import Settings
from gateway.wiring import KEY, kept

T = TypeVar("T")

Keep = Annotated[Path | None, typer.Option("--keep", help="Work on the data kept in this folder.", file_okay=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


@contextmanager
def chosen(keep: Path | None) -> Iterator[Settings]:
    """The settings to work with; starts the folder's database when nobody runs it, and stops it again."""
    if keep is None:
        yield settings.read()
        return
    if not (keep / KEY).exists():
        raise GatewayError(Kind.NOT_FOUND, f"{keep} holds no gateway; 'gateway demo --keep {keep}' makes one")
    server = embedded.attach(keep)
    if server is not None:
        yield kept(keep, server)
        return
    with embedded.running(keep) as started:
        yield kept(keep, started)


def on_database(chosen_settings: Settings, work: Callable[[db.Database], Awaitable[T]]) -> T:
    """Run ``work`` with a connection to the gateway's database, and close it."""

    async def run() -> T:
        database = db.Database(chosen_settings.database_url)
        try:
            return await work(database)
        finally:
            await database.close()

    return asyncio.run(run())
