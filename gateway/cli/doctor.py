"""``gateway doctor``: whether everything in the database fits together; changes nothing, and may run at any time."""

import json
from collections.abc import Sequence
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from gateway import db
from gateway.cli.keep import AsJson, Keep, chosen, on_database, plain_console
from gateway.doctor.examination import WALKS, examine, walks_of
from gateway.doctor.report import Remark, Report
from gateway.doctor.scene import Own
from gateway.errors import GatewayError
from gateway.settings import Settings, signer

#: Findings, and notes, of one check that are printed for people; machines get more of them.
FINDINGS_SHOWN, NOTES_SHOWN = 20, 5


def doctor(
    as_json: AsJson = False,
    only: Annotated[list[str] | None, typer.Option(help="A check; only what it looks at is examined.")] = None,
    keep: Keep = None,
) -> None:
    """Examine the whole database, reading only: what does not fit, and where.

    Exit code 0 when everything fits, 1 when something does not.
    """

    walks = walks_of(only) if only else WALKS

    async def work(database: db.Database) -> Report:
        return await examine(database, own, walks=walks)

    with chosen(keep) as settings:
        own = _own(settings)
        report = on_database(settings, work)
    if as_json:
        print(json.dumps(report.as_dict()))
    else:
        _print(plain_console(), report)
    if not report.fits:
        raise typer.Exit(1)


def _own(settings: Settings) -> Own:
    """Who we are; the key need not be at hand, because the database lists those that were ever used."""
    try:
        return Own(settings.code, signer(settings).public_jwk())
    except GatewayError:
        return Own(settings.code)


def _print(console: Console, report: Report) -> None:
    table = Table("check", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("examined", "do not fit", "notes"):
        table.add_column(column, justify="right")
    for result in report.results:
        table.add_row(result.name, f"{result.examined:,}", f"{result.found:,}", f"{result.noted:,}")
    console.print(table)
    for result in report.results:
        _list(console, result.name, result.findings[:FINDINGS_SHOWN], result.found)
        _list(console, f"note: {result.name}", result.notes[:NOTES_SHOWN], result.noted)
    told = "everything fits" if report.fits else "something does not fit"
    console.print(f"{told}, as it was at {report.at:%Y-%m-%d %H:%M:%S} UTC")


def _list(console: Console, title: str, shown: Sequence[Remark], total: int) -> None:
    for remark in shown:
        console.print(f"{title}: {remark}", soft_wrap=True)
    if total > len(shown):
        console.print(f"{title}: and {total - len(shown):,} more", soft_wrap=True)
