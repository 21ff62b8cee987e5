"""``gateway records``: what sections are to record, what first transferring Parties are to be notified of."""

import json
from typing import Annotated

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from gateway.cli.api import Where, ask, asking, given
from gateway.cli.keep import AsJson, moment, plain_console
from gateway.holdings.recording import Told
from gateway.recordings import store
from gateway.recordings.store import State


@asking
def records(
    where: Where,
    kind: Annotated[Told | None, typer.Option(help="Only records, or only notifications.")] = None,
    state: Annotated[State | None, typer.Option(help="Only those in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=store.MAX_PAGE)] = 50,
    as_json: AsJson = False,
) -> None:
    """List records and notifications, newest first, and how many are in each state."""
    wanted = given(kind=kind and kind.value, state=state and state.value, limit=limit)
    found = ask(where, "GET", "/api/v1/records", params=wanted)
    if as_json:
        print(json.dumps(found))
        return
    table = Table("at (UTC)", "action", "told to", "tonnes", "state", box=box.SIMPLE_HEAD, pad_edge=False)
    for record in found["records"]:
        why = record["waiting"] or "; ".join(f"{f.get('detail', '')} ({f['code']})".strip() for f in record["findings"])
        said = Text.assemble(f"{record['type']}\n", (record["action"], "dim"), (f"\n{why}" if why else "", "dim"))
        quantity = f"{record['quantity']:,}"
        to = f"{record['section'] or record['party']}\n{record['kind']}"
        table.add_row(moment(record["at"]), said, to, quantity, record["state"])
    plain_console().print(table)
    plain_console().print(", ".join(f"{number:,} {name}" for name, number in found["counts"].items()))
