"""``gateway records``: what is to be recorded in the international registry, and what became of it."""

import json
from typing import Annotated

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from gateway.cli.api import Where, ask, asking, given
from gateway.cli.keep import AsJson, moment, plain_console
from gateway.recordings import store
from gateway.recordings.store import State


@asking
def records(
    where: Where,
    state: Annotated[State | None, typer.Option(help="Only those in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=store.MAX_PAGE)] = 50,
    as_json: AsJson = False,
) -> None:
    """List records, newest first, and how many are in each state."""
    found = ask(where, "GET", "/api/v1/records", params=given(state=state and state.value, limit=limit))
    if as_json:
        print(json.dumps(found))
        return
    table = Table("at (UTC)", "action", "section", "tonnes", "state", box=box.SIMPLE_HEAD, pad_edge=False)
    for record in found["records"]:
        why = record["waiting"] or "; ".join(f"{f.get('detail', '')} ({f['code']})".strip() for f in record["findings"])
        said = Text.assemble(f"{record['type']}\n", (record["action"], "dim"), (f"\n{why}" if why else "", "dim"))
        quantity = f"{record['quantity']:,}"
        table.add_row(moment(record["at"]), said, record["section"], quantity, record["state"])
    plain_console().print(table)
    plain_console().print(", ".join(f"{number:,} {name}" for name, number in found["counts"].items()))
