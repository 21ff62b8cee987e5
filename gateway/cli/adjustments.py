"""``gateway adjustments``: what a Party's first transfers add to its account and its uses subtract, year by year."""

import json
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table

from gateway.cli.api import Where, ask, asking, given
from gateway.cli.keep import AsJson, plain_console
from gateway.domain.nomenclature import FIRST_VINTAGE
from gateway.reports.adjustments import Method

_FIGURES = ("first_transferred", "used", "annual", "cumulative")


@asking
def adjustments(
    where: Where,
    party: Annotated[str | None, typer.Option(help="The Party, MMR say; without, every one that is seen.")] = None,
    method: Annotated[Method, typer.Option(help="How the Party applies them.")] = Method.TRAJECTORY,
    first: Annotated[int, typer.Option(help="First year of the NDC period.")] = FIRST_VINTAGE,
    last: Annotated[int | None, typer.Option(help="Last year; without, this year.")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="List what is behind each figure.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show corresponding adjustments: additions for first transfers, subtractions for use towards the NDC."""
    wanted = given(party=party, method=method.value, first=first, last=last, explain=explain)
    found = ask(where, "GET", "/api/v1/adjustments", params=wanted)
    if as_json:
        print(json.dumps(found))
        return
    for account in found["accounts"]:
        _show(account)
    if not found["accounts"]:
        plain_console().print("nothing is first transferred or used by a Party whose account is seen")
    if found["more"]:
        plain_console().print("more actions are behind the figures than are listed")


def _show(account: dict[str, Any]) -> None:
    table = Table(title=f"{account['party']}, {account['metric']}, {account['method']}", box=box.SIMPLE_HEAD)
    table.add_column("year")
    for name in (*_FIGURES, "applied"):
        table.add_column(name.replace("_", " "), justify="right")
    for year in account["years"]:
        table.add_row(str(year["year"]), *(f"{year[name]:,}" for name in _FIGURES), _applied(year["applied"]))
    plain_console().print(table)
    causes = [(str(year["year"]), cause) for year in account["years"] for cause in year["behind"] or ()]
    if causes:
        _explain(causes)
    if account["outside"]:
        plain_console().print(f"{account['outside']:,} units count in other years than these")


def _explain(causes: list[tuple[str, dict[str, Any]]]) -> None:
    table = Table("year", "effect", "cause", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("tonnes", justify="right")
    for year, cause in causes:
        table.add_row(year, cause["effect"], cause["cause"], f"{cause['quantity']:,}")
    plain_console().print(table)


def _applied(quotient: dict[str, Any]) -> str:
    """An average with what is left over where it is not whole."""
    left = quotient["remainder"]
    return f"{quotient['text']} (rest {left}/{quotient['by']})" if left else f"{quotient['whole']:,}"
