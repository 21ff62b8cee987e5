"""``gateway cases``: what reconciliations and others have found, and how each of it comes to its end."""

import json
import re
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from gateway.cli.api import Where, ask, asking, given
from gateway.cli.keep import AsJson, moment, plain_console
from gateway.errors import GatewayError, Kind
from gateway.reconciliation.case_store import Source, State
from gateway.reconciliation.case_view import MAX_PAGE

_PATH = "/api/v1/cases"
#: Units as commands name them: ``MEC01/SERIES/1-10``.
_UNITS = re.compile(r"([^/]+)/([^/]+)/([0-9]{1,20})(?:-([0-9]{1,20}))?")

app = typer.Typer(help="Cases: differences and inconsistencies, from finding to end.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="CASE", help="Id of the case, for example KOR01-17.")]
Version = Annotated[int, typer.Option(min=1, help="The version that you know it by.")]
Due = Annotated[datetime | None, typer.Option(help="By when a response is due (UTC).")]


@app.command("list")
@asking
def listing(
    where: Where,
    state: Annotated[State | None, typer.Option(help="Only those in this state.")] = None,
    source: Annotated[Source | None, typer.Option(help="Only those found by this.")] = None,
    registry: Annotated[str | None, typer.Option(help="Only those of this registry's book.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=MAX_PAGE)] = 50,
    before: Annotated[str | None, typer.Option(metavar="CASE", help="Only those older than this one.")] = None,
    as_json: AsJson = False,
) -> None:
    """List cases, newest first."""
    chosen = {"state": state and state.value, "source": source and source.value}
    found = ask(where, "GET", _PATH, params=given(**chosen, registry=registry, limit=limit, before=before))
    if as_json:
        print(json.dumps(found))
        return
    table = Table("case", "found by", "check", "what is not so", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("tonnes", justify="right")
    table.add_column("state, and by when")
    for one in found["cases"]:
        until = Text.assemble(one["state"], "\n", (_until(one), "dim"))
        quantity = f"{one['quantity']:,}"
        table.add_row(one["id"], one["source"], one["check_id"], one["detail"], quantity, until)
    plain_console().print(table)


@app.command("show")
@asking
def show(
    where: Where,
    case: Id,
    findings: Annotated[bool, typer.Option("--findings", help="Its units down to serials, the first 500.")] = False,
    after: Annotated[int, typer.Option(min=0, help="With --findings: only those after this one.")] = 0,
    trail: Annotated[
        bool,
        typer.Option("--trail", help="What moved its units in the book and what their registry told, the last 500."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show one case: what it is about, what would end it, and every step."""
    if trail:
        print(json.dumps(ask(where, "GET", f"{_at(case)}/trail", params={"limit": MAX_PAGE})))
        return
    if findings:
        print(json.dumps(ask(where, "GET", f"{_at(case)}/findings", params={"limit": MAX_PAGE, "after": after})))
        return
    found = ask(where, "GET", _at(case))
    print(json.dumps(found)) if as_json else _print(found)


@app.command("open")
@asking
def identify(
    where: Where,
    source: Annotated[Source, typer.Option(help="Who found it.")],
    check: Annotated[str, typer.Option(help="Which of the secretariat's checks, for example II03.")],
    party: Annotated[str, typer.Option(help="The Party concerned.")],
    detail: Annotated[str, typer.Option(help="What is inconsistent.")],
    units: Annotated[list[str] | None, typer.Option(metavar="REGISTRY/SERIES/FIRST-LAST")] = None,
    effect: Annotated[
        bool, typer.Option("--effect", help="It may affect the emissions balance: its units do not move (4009).")
    ] = False,
    due: Due = None,
) -> None:
    """Open a case for an inconsistency that others, or the Party itself, have found."""
    wanted = {"source": source.value, "check_id": check, "party": party, "detail": detail, "effect": effect}
    body = {**wanted, "units": [_units(one) for one in units or []], **_due(due)}
    print(json.dumps(ask(where, "POST", _PATH, json=body)))


@app.command("notify")
@asking
def notify(
    where: Where,
    case: Id,
    version: Version,
    note: Annotated[str, typer.Option(help="Who was notified, and how.")],
    due: Due = None,
) -> None:
    """Note that those concerned were notified."""
    body = {"version": version, "note": note, **_due(due)}
    print(json.dumps(ask(where, "POST", f"{_at(case)}/notify", json=body)))


@app.command("respond")
@asking
def respond(where: Where, case: Id, version: Version, text: Annotated[str, typer.Option(help="The response.")]) -> None:
    """Respond to a case."""
    print(json.dumps(ask(where, "POST", f"{_at(case)}/respond", json={"version": version, "response": text})))


@app.command("corrected")
@asking
def corrected(
    where: Where,
    case: Id,
    version: Version,
    submission: Annotated[str | None, typer.Option(help="The version of the submission that corrects it.")] = None,
    transfer: Annotated[str | None, typer.Option(help="The completed transfer that corrects it.")] = None,
) -> None:
    """Note what has corrected it: a submission or a transfer."""
    body = {"version": version, **given(submission=submission, transfer=transfer)}
    print(json.dumps(ask(where, "POST", f"{_at(case)}/corrected", json=body)))


@app.command("correct")
@asking
def correct(
    where: Where,
    case: Id,
    version: Version,
    reason: Annotated[str, typer.Option(help="Why the book is wrong.")],
    evidence: Annotated[str, typer.Option(help="On what evidence, and with whom it was agreed.")],
    finding: Annotated[list[int] | None, typer.Option(help="Only these findings, by id.")] = None,
) -> None:
    """Ask that the gateway's book is corrected by what the registry has signed; another person approves it."""
    body = {"version": version, "findings": finding or [], "reason": reason, "evidence": evidence}
    print(json.dumps(ask(where, "POST", f"{_at(case)}/correct", json=body)))


@app.command("close")
@asking
def close(where: Where, case: Id, version: Version, reason: Annotated[str, typer.Option(help="Why.")]) -> None:
    """Ask that a case is closed that no run ends; another person approves it."""
    print(json.dumps(ask(where, "POST", f"{_at(case)}/close", json={"version": version, "reason": reason})))


def _at(case: str) -> str:
    """Where a case is; no word leads to another path."""
    return f"{_PATH}/{quote(case, safe='').replace('.', '%2E')}"


def _units(written: str) -> dict[str, Any]:
    found = _UNITS.fullmatch(written)
    if found is None:
        raise GatewayError(Kind.MALFORMED, f"units are REGISTRY/SERIES/FIRST-LAST, not {written!r}", code=2001)
    origin = {"registry": found[1], "series": found[2]}
    return {"origin": origin, "first": int(found[3]), "last": int(found[4] or found[3])}


def _due(due: datetime | None) -> dict[str, str]:
    return {} if due is None else {"due": f"{due.isoformat()}Z"}


def _until(one: dict[str, Any]) -> str:
    if one["closed_at"] is not None:
        return moment(one["closed_at"])
    return f"response due {moment(one['due'])}"


def _print(found: dict[str, Any]) -> None:
    console, one = plain_console(), found["case"]
    of = one["registry"] or " ".join(one["parties"])
    console.print(Text.assemble((one["id"], "bold"), f"  {one['source']}, check {one['check_id']}, of {of}"))
    console.print(one["detail"])
    marked = f", marked as {one['flag']}" if one["flag"] and one["closed_at"] is None else ""
    console.print(f"{one['findings']:,} ranges of units, {one['quantity']:,} t{marked}")
    console.print(f"{one['state']} (version {one['version']}); {_until(one)}")
    if one["corrected_by"]:
        console.print(f"corrected by {one['corrected_by']}")
    if one["closed_at"] is None:
        console.print(f"what would end it: {one['proposed']}")
    for step in found["events"]:
        said = f"{step['event']} by {step['by']} (log entry {step['entry_id']}): {step['detail']}"
        console.print(f"{moment(step['at'])}  {step['version']:>3}  {said}")
