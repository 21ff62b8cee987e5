"""``gateway alarms``: what registries said that cannot be true, or that shows that somebody has lost data."""

import json
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from gateway import db
from gateway.alarms import store
from gateway.alarms.store import Raised
from gateway.cli.keep import AsJson, Keep, chosen, on_database, plain_console


def alarms(
    link: Annotated[str | None, typer.Option(help="Only those this link has raised.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=store.MAX_PAGE)] = 50,
    as_json: AsJson = False,
    keep: Keep = None,
) -> None:
    """List alarms, newest first."""

    async def work(database: db.Database) -> list[Raised]:
        async with database.reading() as tx:
            return await store.listing(tx, link=link, limit=limit)

    with chosen(keep) as settings:
        found = on_database(settings, work)
    if as_json:
        rows = [{name: getattr(alarm, name) for name in Raised.__match_args__} for alarm in found]
        print(json.dumps({"alarms": rows}, default=datetime.isoformat))
        return
    table = Table("at (UTC)", "transfer, and what was said", "code", "log entry", box=box.SIMPLE_HEAD, pad_edge=False)
    for alarm in found:
        said = Text.assemble(alarm.transfer, "\n", (alarm.detail, "dim"))
        at = alarm.at.astimezone(UTC)
        table.add_row(f"{at:%Y-%m-%d %H:%M:%S}", said, str(alarm.code), str(alarm.entry_id))
    plain_console().print(table)
