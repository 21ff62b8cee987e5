"""``gateway transfers``: the transfers as they stand, and one with its whole course."""

import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway import db
from gateway.cli.api import By, Where, ask
from gateway.cli.keep import AsJson, Keep, chosen, on_database, plain_console
from gateway.domain.transfers import State
from gateway.halts import store as halts
from gateway.halts.store import Halt
from gateway.messages.outbox import Node
from gateway.settings import signer
from gateway.transfers import interventions, view
from gateway.transfers.interventions import Intervention

#: A transfer's id: a link code, a hyphen and a UUID.
ID_WIDTH = 42

app = typer.Typer(help="Transfers between registries.", no_args_is_help=True)


@app.command("list")
def listing(
    state: Annotated[State | None, typer.Option(help="Only those in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=view.MAX_PAGE)] = 50,
    as_json: AsJson = False,
    keep: Keep = None,
) -> None:
    """List transfers, newest first."""

    async def work(database: db.Database) -> tuple[list[view.TransferRow], Halt | None]:
        async with database.reading() as tx:
            return await view.listing(tx, state=state.value if state else None, limit=limit), await halts.now(tx)

    with chosen(keep) as settings:
        found, halt = on_database(settings, work)
    if as_json:
        listed = {"transfers": [_as_dict(row) for row in found], "halted": halt.reason if halt else None}
        print(json.dumps(listed, default=datetime.isoformat))
        return
    if halt is not None:
        plain_console().print(f"The gateway is halted: {halt.reason}")
    # The id is never cut: it is what ``show`` is asked for. With what happens next below it, 80 columns do.
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("transfer, and what happens next", min_width=ID_WIDTH)
    table.add_column("from")
    table.add_column("to")
    table.add_column("tonnes", justify="right")
    table.add_column("state")
    for row in found:
        ends = (row.transferring_registry, row.acquiring_registry)
        first = Text.assemble(row.id, "\n", (_next(row), "dim"))
        table.add_row(first, *ends, f"{row.quantity:,}", row.state)
    plain_console().print(table)


@app.command("show")
def show(transfer: str, as_json: AsJson = False, keep: Keep = None) -> None:
    """Show one transfer: state, codes, messages, the next action and why it waits."""

    async def work(database: db.Database) -> view.Course:
        async with database.reading() as tx:
            return await view.course(tx, transfer)

    with chosen(keep) as settings:
        course = on_database(settings, work)
    if as_json:
        whole = {"transfer": _as_dict(course.transfer), "blocks": course.blocks}
        print(json.dumps({**whole, "events": course.events, "messages": course.messages}, default=datetime.isoformat))
        return
    _print(plain_console(), course)


Person = Annotated[str, typer.Option("--by", help="Who decides this; the log names them.")]


@app.command("end")
def end(
    transfer: str,
    by: Person,
    reason: Annotated[str, typer.Option(help="Why; the source and the acquirer are told.")],
    keep: Keep = None,
) -> None:
    """End a transfer that has no commit yet. It is final when its source has confirmed that the units stay."""
    _intervene(keep, lambda tx, node: interventions.end(tx, node, transfer, person=by, reason=reason), "end")


@app.command("resume")
def resume(transfer: str, by: By = None, keep: Keep = None) -> None:
    """Ask that a transfer in attention asks again; it does when another person approves that."""
    print(json.dumps(ask(Where(keep, by), "POST", f"/api/v1/transfers/{transfer}/resume")))


def _intervene(keep: Path | None, act: Callable[[db.Tx, Node], Awaitable[Intervention]], commit: str) -> None:
    with chosen(keep) as settings:
        node = Node(settings.code, signer(settings), lambda: datetime.now(UTC))

        async def work(database: db.Database) -> Intervention:
            done = await database.run(lambda tx: act(tx, node), commit)
            await database.ring()
            return done

        done = on_database(settings, work)
    print(json.dumps({"transfer": done.transfer, "state": done.state}))


def _print(console: Console, course: view.Course) -> None:
    row = course.transfer
    console.print(Text.assemble((row.id, "bold"), f"  {row.state}  {row.quantity:,} t for {row.purpose}"))
    console.print(f"from {row.transferring_registry} {row.transferring_party} {row.transferring_account}")
    console.print(f"to   {row.acquiring_registry} {row.acquiring_party} {row.acquiring_account}")
    console.print(f"next: {_next(row)}")
    for finding in row.findings:
        console.print(f"code {finding['code']}: {finding.get('detail', '')}")
    for block in course.blocks:
        console.print(f"units {block['registry']} {block['series']} {block['first']}-{block['last']}")
    table = Table("at (UTC)", "", "message", "log entry", box=box.SIMPLE_HEAD, pad_edge=False)
    for said in course.messages:
        arrow = "→" if said["direction"] == "out" else "←"
        at = said["at"].astimezone(UTC)
        table.add_row(f"{at:%Y-%m-%d %H:%M:%S}", f"{arrow} {said['peer']}", said["step"], str(said["entry_id"]))
    console.print(table)


def _next(row: view.TransferRow) -> str:
    return f"{row.next_action}; {row.waiting}" if row.waiting else row.next_action


def _as_dict(row: view.TransferRow) -> dict[str, Any]:
    return {**row.model_dump(), "next_action": row.next_action}
