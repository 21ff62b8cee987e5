"""``gateway actions``: what Parties report of their units, both sides of each movement from the same row."""

import json
from typing import Annotated

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from gateway.cli.api import Where, ask, asking, given
from gateway.cli.keep import AsJson, moment, plain_console
from gateway.reports import store


@asking
def actions(
    where: Where,
    party: Annotated[str | None, typer.Option(help="Only those of this Party, KOR say.")] = None,
    year: Annotated[int | None, typer.Option(help="Only those of this calendar year (UTC).")] = None,
    limit: Annotated[
        int, typer.Option(min=1, max=store.MAX_PAGE, help="Most movements; each has up to two sides.")
    ] = 50,
    before: Annotated[int | None, typer.Option(help="Only those after this movement: the next page.")] = None,
    as_json: AsJson = False,
) -> None:
    """List actions of Parties, newest first: transfers and acquisitions, uses and cancellations."""
    wanted = given(party=party, year=year, limit=limit, before=before)
    found = ask(where, "GET", "/api/v1/actions", params=wanted)
    if as_json:
        print(json.dumps(found))
        return
    table = Table("at (UTC)", "action, and its cause", "Party", "with", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("tonnes", justify="right")
    for action in found["actions"]:
        kind = ": ".join(word for word in (action["type"], action["subtype"]) if word)
        what = Text.assemble(f"{kind}\n", (action["cause"], "dim"))
        table.add_row(
            moment(action["at"]), what, action["party"], action["counterparty"] or "", f"{action['quantity']:,}"
        )
    plain_console().print(table)
    if found["next"] is not None:
        plain_console().print(f"more: --before {found['next']}")
