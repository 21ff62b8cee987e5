"""``gateway transfers``: the transfers as they stand, one with its whole course, and what persons may do to one."""

import json
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.cli.api import Where, ask, asking, given
from gateway.cli.keep import AsJson, moment, plain_console
from gateway.domain.identifiers import parse_transfer_id
from gateway.domain.transfers import Purpose, State
from gateway.errors import GatewayError, Kind
from gateway.transfers import view

#: A transfer's id: a link code, a hyphen and a UUID.
ID_WIDTH = 42
_PATH = "/api/v1/transfers"

app = typer.Typer(help="Transfers between registries.", no_args_is_help=True)


@app.command("list")
@asking
def listing(
    where: Where,
    state: Annotated[State | None, typer.Option(help="Only those in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=view.MAX_PAGE)] = 50,
    before: Annotated[str | None, typer.Option(help="Only those after this one: the next page.")] = None,
    as_json: AsJson = False,
) -> None:
    """List transfers, newest first."""
    found = ask(where, "GET", _PATH, params=given(state=state and state.value, limit=limit, before=before))
    if as_json:
        print(json.dumps(found))
        return
    if found["halted"] is not None:
        plain_console().print(f"The gateway is halted: {found['halted']}")
    # The id is never cut: it is what ``show`` is asked for. With what happens next below it, 80 columns do.
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("transfer, and what happens next", min_width=ID_WIDTH)
    table.add_column("from")
    table.add_column("to")
    table.add_column("tonnes", justify="right")
    table.add_column("state")
    for row in found["transfers"]:
        ends = (row["transferring"]["registry"], row["acquiring"]["registry"])
        first = Text.assemble(row["id"], "\n", (_next(row), "dim"))
        table.add_row(first, *ends, f"{row['quantity']:,}", row["state"])
    plain_console().print(table)


@app.command("show")
@asking
def show(where: Where, transfer: str, as_json: AsJson = False) -> None:
    """Show one transfer: state, codes, messages, the next action and why it waits."""
    course = ask(where, "GET", f"{_PATH}/{segment(transfer)}")
    if as_json:
        print(json.dumps(course))
        return
    _print(plain_console(), course)


_ADDRESS = "REGISTRY/PARTY/ACCOUNT"


@app.command("request")
@asking
def request(
    where: Where,
    transferring: Annotated[str, typer.Option("--from", metavar=_ADDRESS, help="Where the units are.")],
    acquiring: Annotated[str, typer.Option("--to", metavar=_ADDRESS, help="Where they shall be.")],
    quantity: Annotated[int, typer.Option(min=1, help="Whole tonnes.")],
    purpose: Annotated[Purpose, typer.Option(help="What they are transferred for.")],
    key: Annotated[str, typer.Option(help="A name of your own for this wish: repeated, it is asked once.")],
) -> None:
    """Ask the registry that holds units to propose their transfer. It chooses which, and alone can propose."""
    wish = {
        "transferring": _address("--from", transferring),
        "acquiring": _address("--to", acquiring),
        "purpose": purpose.value,
        "quantity": quantity,
    }
    print(json.dumps(ask(where, "POST", _PATH, json=wish, headers={"idempotency-key": key})))


@app.command("end")
@asking
def end(
    where: Where,
    transfer: str,
    reason: Annotated[str, typer.Option(help="Why; the source and the acquirer are told.")],
) -> None:
    """End a transfer that has no commit yet. It is final when its source has confirmed that the units stay."""
    print(json.dumps(ask(where, "POST", f"{_PATH}/{segment(transfer)}/end", json={"reason": reason})))


@app.command("resume")
@asking
def resume(where: Where, transfer: str) -> None:
    """Ask that a transfer in attention asks again; it does when another person approves that."""
    print(json.dumps(ask(where, "POST", f"{_PATH}/{segment(transfer)}/resume")))


def _address(option: str, text: str) -> dict[str, str]:
    parts = text.split("/")
    if len(parts) != 3:
        raise GatewayError(Kind.MALFORMED, f"{option} {text} is not {_ADDRESS}", code=2001)
    return dict(zip(("registry", "party", "account"), parts, strict=True))


def segment(transfer: str) -> str:
    """An id as part of a path: what is none of ours must not name another path."""
    try:
        return str(parse_transfer_id(transfer))
    except GatewayError as error:
        raise GatewayError(error.kind, f"{transfer}: {error.detail}", code=error.code) from None


def _print(console: Console, course: dict[str, Any]) -> None:
    row = course["transfer"]
    console.print(Text.assemble((row["id"], "bold"), f"  {row['state']}  {row['quantity']:,} t for {row['purpose']}"))
    for word, end in (("from", row["transferring"]), ("to  ", row["acquiring"])):
        console.print(f"{word} {end['registry']} {end['party']} {end['account']}")
    console.print(f"next: {_next(row)}")
    for finding in row["findings"]:
        console.print(f"code {finding['code']}: {finding.get('detail', '')}")
    for block in course["blocks"]:
        console.print(f"units {block['registry']} {block['series']} {block['first']}-{block['last']}")
    table = Table("at (UTC)", "", "message", "log entry", box=box.SIMPLE_HEAD, pad_edge=False)
    for said in course["messages"]:
        arrow = "→" if said["direction"] == "out" else "←"
        table.add_row(moment(said["at"]), f"{arrow} {said['peer']}", said["step"], str(said["entry_id"]))
    console.print(table)


def _next(row: dict[str, Any]) -> str:
    return f"{row['next_action']}; {row['waiting']}" if row["waiting"] else str(row["next_action"])
