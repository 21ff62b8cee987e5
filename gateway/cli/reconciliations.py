"""``gateway reconciliations``: the runs there were and are, and what each found."""

import json
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table

from gateway.cli.api import Where, ask, asking, given
from gateway.cli.keep import AsJson, moment, plain_console
from gateway.reconciliation.view import MAX_FINDINGS, MAX_RUNS, WORDS

_PATH = "/api/v1/reconciliations"
app = typer.Typer(help="Reconciliations of books, and what they found.", no_args_is_help=True)


@app.command("list")
@asking
def listing(
    where: Where,
    link: Annotated[str | None, typer.Option(help="Of this link.")] = None,
    before: Annotated[str | None, typer.Option(help="That ended before this time: where a page ended.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=MAX_RUNS, help="Most runs.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List reconciliations: those to come or under way, then the others, the last first."""
    found = ask(where, "GET", _PATH, params=given(link=link, before=before, limit=limit))
    if as_json:
        print(json.dumps(found))
        return
    table = Table("id", "link", "state", "result", "when (UTC)", "bytes", box=box.SIMPLE_HEAD, pad_edge=False)
    for run in found["reconciliations"]:
        when = run["ended_at"] or run["next_at"]
        table.add_row(run["id"], run["link"], run["state"], _result(run), moment(when), _bytes(run))
    plain_console().print(table)
    if found["next"] is not None:
        plain_console().print(f"more: --before {found['next']}", soft_wrap=True)


@app.command()
@asking
def show(
    where: Where,
    reconciliation: Annotated[str, typer.Argument(help="Its id.")],
    after: Annotated[int, typer.Option(min=0, help="Go on behind this finding.")] = 0,
    limit: Annotated[int, typer.Option(min=1, max=MAX_FINDINGS, help="Most findings.")] = 100,
    as_json: AsJson = False,
) -> None:
    """Show one reconciliation down to the serials of its findings."""
    found = ask(where, "GET", f"{_PATH}/{reconciliation}", params={"after": after, "limit": limit})
    if as_json:
        print(json.dumps(found))
        return
    run, console = found["run"], plain_console()
    console.print(f"{run['link']}: {_result(run)}; cut {run['cut'] or 'not named yet'}", soft_wrap=True)
    for book in found["books"]:
        console.print(f"{book['registry']}: root {book['root']} here, {book['there']} there", soft_wrap=True)
    table = Table("nr", "book", "units", "what", "case", box=box.SIMPLE_HEAD, pad_edge=False)
    for one in found["findings"]:
        units = f"{one['origin_registry']}/{one['series']}\n{one['first']}–{one['last']}"
        case = one["case"] or "\n".join(["explained by", *(one["explained_by"] or ["what moved meanwhile"])])
        table.add_row(str(one["id"]), one["registry"], units, f"{one['code']} {one['detail']}", case)
    console.print(table)
    for remark in run["remarks"]:
        console.print(f"remark: {remark}", soft_wrap=True)
    if found["next"] is not None:
        console.print(f"more: --after {found['next']}", soft_wrap=True)


def _result(run: dict[str, Any]) -> str:
    if run["state"] != "ended":
        return str(run["waiting"] or "–")
    return f"{WORDS.get(run['status'], '')} ({run['status']})"


def _bytes(run: dict[str, Any]) -> str:
    return f"{run['bytes_sent'] + run['bytes_received']:,}"
