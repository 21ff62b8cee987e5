"""``gateway links keys``: which keys vouch for a linked system, from when until when, and which count no longer."""

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from gateway.cli.api import Where, ask, asking
from gateway.cli.keep import ANY_KEY_ID, AsJson, plain_console
from gateway.domain import moments
from gateway.errors import GatewayError, Kind
from gateway.signing.trust import Revocation

app = typer.Typer(help="The keys that vouch for a linked system.", no_args_is_help=True)


def moment(text: str) -> datetime:
    """A time with its offset from UTC; without one it would mean another moment on another machine."""
    return moments.read(text)


Code = Annotated[str, typer.Argument(help="Link code of the system, for example KOR01.")]
Moment = Annotated[datetime | None, typer.Option(parser=moment, metavar="TIME", help="For example 2026-03-01T12:00Z.")]


@app.command("add")
@asking
def add(
    where: Where,
    code: Code,
    keys: Annotated[Path, typer.Option(help="Its public keys: a JWK set file.", exists=True, dir_okay=False)],
    not_before: Moment = None,
    not_after: Moment = None,
) -> None:
    """Ask that further keys vouch for it, from the approval or --not-before until --not-after, beside the earlier."""
    window = {"not_before": not_before, "not_after": not_after}
    wanted = {"keys": read(keys), **{name: at.isoformat() for name, at in window.items() if at}}
    print(json.dumps(ask(where, "POST", f"/api/v1/links/{code}/keys", json=wanted)))


@app.command("revoke", context_settings=ANY_KEY_ID)
@asking
def revoke(
    where: Where,
    code: Code,
    kid: Annotated[str, typer.Argument(help="Id of the key.")],
    reason: Annotated[Revocation, typer.Option(help="compromised and restored end it for what was sent before, too.")],
    since: Moment = None,
) -> None:
    """Ask that a key counts no longer, since --since or from the approval on. It cannot be undone."""
    wanted = {"reason": reason.value, "since": since.isoformat() if since else None}
    print(json.dumps(ask(where, "POST", f"/api/v1/links/{code}/keys/{kid}/revoke", json=wanted)))


@app.command("list")
@asking
def listing(where: Where, code: Code, as_json: AsJson = False) -> None:
    """List every key ever registered for a system."""
    found = ask(where, "GET", f"/api/v1/links/{code}/keys")
    if as_json:
        print(json.dumps({"keys": found}))
        return
    table = Table("Key", "Algorithm", "Valid from", "Until", "Revoked")
    for key in found:
        revoked = f"{key['revoked']} since {key['since']}" if key["revoked"] else ""
        table.add_row(key["kid"], key["alg"], key["not_before"], key["not_after"] or "", revoked)
    plain_console().print(table)


def read(file: Path) -> list[dict[str, Any]]:
    """The keys of a JWK set file; raises MALFORMED when it is none."""
    try:
        found = json.loads(file.read_text())["keys"]
    except (ValueError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise GatewayError(Kind.MALFORMED, f"{file} is not a JWK set") from error
    if not (isinstance(found, list) and all(isinstance(key, dict) for key in found)):
        raise GatewayError(Kind.MALFORMED, f"{file} is not a JWK set")
    return found
