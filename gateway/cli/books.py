"""``gateway books``: what the book holds of each registry, in tonnes, and whether nothing is lost or doubled."""

import json

from rich import box
from rich.table import Table

from gateway.cli.api import Where, ask, asking
from gateway.cli.keep import AsJson, plain_console

_COLUMNS = ("issued", "held", "in_transit", "used", "cancelled", "moved_in", "moved_out")


@asking
def books(where: Where, as_json: AsJson = False) -> None:
    """Show what the book holds, and how many transfers stand in each state."""
    found = ask(where, "GET", "/api/v1/books")
    if as_json:
        print(json.dumps(found))
        return
    table = Table("registry", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in _COLUMNS:
        table.add_column(name.replace("_", " "), justify="right")
    for registry in found["registries"]:
        table.add_row(registry["registry"], *(f"{registry[name]:,}" for name in _COLUMNS))
    plain_console().print(table)
    if found["conservation"] is not None:
        plain_console().print(f"issued = held + in transit + used + cancelled: {found['conservation']}")
    states = ", ".join(f"{number:,} {state}" for state, number in sorted(found["transfers"].items()))
    plain_console().print(f"transfers: {states or 'none'}")
