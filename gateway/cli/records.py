"""``gateway records``: what is to be recorded in the international registry, and what became of it."""

import json
from dataclasses import fields
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from gateway import db
from gateway.cli.keep import AsJson, Keep, chosen, on_database, plain_console
from gateway.recordings import store
from gateway.recordings.store import Record, State


def records(
    state: Annotated[State | None, typer.Option(help="Only those in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=store.MAX_PAGE)] = 50,
    as_json: AsJson = False,
    keep: Keep = None,
) -> None:
    """List records, newest first, and how many are in each state."""

    async def work(database: db.Database) -> tuple[list[Record], dict[str, int]]:
        async with database.reading() as tx:
            return await store.listing(tx, state=state, limit=limit), await store.counts(tx)

    with chosen(keep) as settings:
        found, counts = on_database(settings, work)
    if as_json:
        rows = [{field.name: getattr(record, field.name) for field in fields(Record)} for record in found]
        print(json.dumps({"records": rows, "counts": counts}, default=datetime.isoformat))
        return
    table = Table("at (UTC)", "action", "section", "tonnes", "state", box=box.SIMPLE_HEAD, pad_edge=False)
    for record in found:
        why = record.waiting or "; ".join(f"{f.get('detail', '')} ({f['code']})".strip() for f in record.findings)
        said = Text.assemble(f"{record.type}\n", (record.action, "dim"), (f"\n{why}" if why else "", "dim"))
        at = record.at.astimezone(UTC)
        table.add_row(f"{at:%Y-%m-%d %H:%M:%S}", said, record.section, f"{record.quantity:,}", record.state.value)
    plain_console().print(table)
    plain_console().print(", ".join(f"{number:,} {name}" for name, number in counts.items()))
