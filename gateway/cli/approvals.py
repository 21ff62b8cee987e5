"""``gateway approvals``: what waits for a second person, and what is decided on it."""

import json
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from gateway.cli.api import Where, ask, asking
from gateway.cli.keep import AsJson, plain_console

app = typer.Typer(help="What takes two persons: asked for by one, decided on by another.", no_args_is_help=True)

#: An approval's id: a UUID.
ID_WIDTH = 36

Approval = Annotated[str, typer.Argument(help="Id of the approval.")]


@app.command("list")
@asking
def listing(
    where: Where,
    state: Annotated[str | None, typer.Option(help="Only open, approved, declined, expired or void ones.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=500)] = 50,
    as_json: AsJson = False,
) -> None:
    """List what was asked for, newest first."""
    wanted = {"limit": limit, **({"state": state} if state else {})}
    found = ask(where, "GET", "/api/v1/approvals", params=wanted)
    if as_json:
        print(json.dumps(found))
        return
    # The id is never cut: it is what ``show`` is asked for.
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("approval, and who asked for it", min_width=ID_WIDTH)
    for name in ("act", "of", "state"):
        table.add_column(name)
    for one in found["approvals"]:
        first = Text.assemble(one["id"], "\n", (one["initiator"], "dim"))
        table.add_row(first, one["kind"], one["registry"] or "the gateway", one["state"])
    plain_console().print(table)


@app.command("show")
@asking
def show(where: Where, approval: Approval, as_json: AsJson = False) -> None:
    """Show what exactly is to be done, and the hash by which it is approved."""
    found = ask(where, "GET", f"/api/v1/approvals/{approval}")
    print(json.dumps(found)) if as_json else _print(found)


@app.command("approve")
@asking
def approve(
    where: Where,
    approval: Approval,
    sha256: Annotated[str, typer.Option(help="The hash that 'show' shows: approved is that text and no other.")],
) -> None:
    """Approve what another person has asked for; it is done in the same moment."""
    path = f"/api/v1/approvals/{approval}/approve"
    print(json.dumps(ask(where, "POST", path, json={"sha256": sha256})))


@app.command("decline")
@asking
def decline(
    where: Where, approval: Approval, reason: Annotated[str, typer.Option(help="Why; who asked for it sees that.")]
) -> None:
    """Decline what was asked for, or take back what you have asked for."""
    path = f"/api/v1/approvals/{approval}/decline"
    print(json.dumps(ask(where, "POST", path, json={"reason": reason})))


def _print(found: dict[str, Any]) -> None:
    console = plain_console()
    console.print(f"{found['kind']} of {found['registry'] or 'the gateway'}: {found['state']}")
    console.print(f"asked for by {found['initiator']} at {found['requested_at']}, until {found['expires_at']}")
    if found["decider"] or found["reason"]:
        console.print(f"{found['decider'] or 'nobody'} at {found['decided_at']}: {found['reason'] or found['state']}")
    # Said as it is signed for: wrapped by nothing.
    print(json.dumps(json.loads(found["canonical"]), indent=2, ensure_ascii=False))
    print(f"sha256 {found['sha256']}")
