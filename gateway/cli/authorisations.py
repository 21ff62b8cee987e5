"""``gateway authorisations``: what Parties have authorised, version by version, and what has moved under it."""

import json
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.authorisations.statements import MAX_PAGE as STATEMENTS
from gateway.authorisations.store import MAX_PAGE
from gateway.cli.api import Where, ask, asking, given
from gateway.cli.keep import AsJson, moment, plain_console
from gateway.errors import GatewayError, Kind
from gateway.signing import strict_json

_PATH = "/api/v1/authorisations"

app = typer.Typer(help="Authorisations, as registries and operators of their Parties told them.", no_args_is_help=True)

Party = Annotated[str, typer.Argument(help="The Party that authorises, for example MMR.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="Id of the authorisation.")]


@app.command("list")
@asking
def listing(
    where: Where,
    party: Annotated[str | None, typer.Option(help="Only those of this Party.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=MAX_PAGE)] = 50,
    after: Annotated[str | None, typer.Option(metavar="PARTY/ID", help="Only those after this one.")] = None,
    as_json: AsJson = False,
) -> None:
    """List authorisations, in order of Party and id."""
    found = ask(where, "GET", _PATH, params=given(party=party, limit=limit, after=after))
    if as_json:
        print(json.dumps(found))
        return
    table = Table("Party", "id, and who told its last version", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("version", "purposes", "moved", "left"):
        table.add_column(name, justify="right" if name != "purposes" else "left")
    for one in found["authorisations"]:
        last = one["versions"][-1]
        first = Text.assemble(one["id"], "\n", (_told_by(one), "dim"))
        table.add_row(
            one["party"], first, str(last["version"]), last["terms"]["purposes"], f"{one['drawn']:,}", _left(one)
        )
    plain_console().print(table)


@app.command("show")
@asking
def show(where: Where, party: Party, name: Id, as_json: AsJson = False) -> None:
    """Show one authorisation: the terms of each version as told, who told it, and what has moved under it."""
    found = ask(where, "GET", _path_of(party, name))
    print(json.dumps(found)) if as_json else _print(plain_console(), found)


@app.command("statements")
@asking
def stated(
    where: Where,
    party: Annotated[str | None, typer.Option(help="Only those of this Party.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=STATEMENTS)] = 50,
    as_json: AsJson = False,
) -> None:
    """List what host Parties stated of their Article 6.4 activities, newest first."""
    found = ask(where, "GET", "/api/v1/statements", params=given(party=party, limit=limit))
    if as_json:
        print(json.dumps(found))
        return
    table = Table("Party", "activity", "authorises", "came from", "told by", box=box.SIMPLE_HEAD, pad_edge=False)
    for one in found["statements"]:
        table.add_row(one["party"], one["activity"], one["says"], one["transitioned_from"] or "", one["told_by"])
    plain_console().print(table)


@app.command("tell")
@asking
def tell(
    where: Where,
    terms: Annotated[Path, typer.Argument(metavar="FILE.json", help="The terms of the version.", dir_okay=False)],
) -> None:
    """Ask that a version of an authorisation is told: the first one, or the next; another person approves it."""
    try:
        read = strict_json.loads(terms.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise GatewayError(Kind.MALFORMED, f"{terms} cannot be read as JSON: {error}", code=2001) from None
    print(json.dumps(ask(where, "POST", _PATH, json={"terms": read})))


@app.command("revoke")
@asking
def revoke(
    where: Where,
    party: Party,
    name: Id,
    version: Annotated[int, typer.Argument(min=1, help="The version that you know it by.")],
    reason: Annotated[str, typer.Option(help="Why; whoever sees the authorisation is told.")],
) -> None:
    """Ask that an authorisation is revoked; another person approves it."""
    wanted = {"version": version, "reason": reason}
    print(json.dumps(ask(where, "POST", f"{_path_of(party, name)}/revoke", json=wanted)))


def _path_of(party: str, name: str) -> str:
    """Where an authorisation is; neither word can lead to another path."""
    return "/".join((_PATH, *(quote(word, safe="").replace(".", "%2E") for word in (party, name))))


def _print(console: Console, found: dict[str, Any]) -> None:
    console.print(Text.assemble((f"{found['party']} {found['id']}", "bold"), f"  {_told_by(found)}"))
    quantity = "any quantity" if found["quantity"] is None else f"{found['quantity']:,} t"
    console.print(f"{quantity}, {found['drawn']:,} t moved, {_left(found)} left")
    for one in found["versions"]:
        console.print(f"version {one['version']}, told by {one['told_by']}, log entry {one['entry_id']}")
        print(json.dumps(one["terms"], indent=2, ensure_ascii=False))


def _told_by(found: dict[str, Any]) -> str:
    end = found["revoked"]
    if end is None:
        return str(found["versions"][-1]["told_by"])
    return f"revoked at {moment(end['at'])} by {end['told_by']}: {end['reason']}"


def _left(found: dict[str, Any]) -> str:
    return "no limit" if found["left"] is None else f"{found['left']:,}"
