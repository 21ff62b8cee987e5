"""``gateway alarms``: what registries said that cannot be true, or that shows that somebody has lost data."""

import json
from typing import Annotated

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from gateway.alarms import store
from gateway.cli.api import Where, ask, asking, given
from gateway.cli.keep import AsJson, moment, plain_console


@asking
def alarms(
    where: Where,
    link: Annotated[str | None, typer.Option(help="Only those this link has raised.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=store.MAX_PAGE)] = 50,
    as_json: AsJson = False,
) -> None:
    """List alarms, newest first."""
    found = ask(where, "GET", "/api/v1/alarms", params=given(link=link, limit=limit))
    if as_json:
        print(json.dumps(found))
        return
    table = Table("at (UTC)", "transfer, and what was said", "code", "log entry", box=box.SIMPLE_HEAD, pad_edge=False)
    for alarm in found["alarms"]:
        said = Text.assemble(alarm["transfer"], "\n", (alarm["detail"], "dim"))
        table.add_row(moment(alarm["at"]), said, str(alarm["code"]), str(alarm["entry_id"]))
    plain_console().print(table)
