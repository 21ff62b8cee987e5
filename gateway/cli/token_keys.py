"""``gateway keys token``: the keys that access tokens are signed with. ``gateway serve`` registers its own."""

import json
from typing import Annotated
from urllib.parse import quote

import typer
from rich.table import Table

from gateway.cli.api import Where, ask, asking
from gateway.cli.keep import ANY_KEY_ID, AsJson, plain_console

app = typer.Typer(help="The keys that access tokens are signed with.", no_args_is_help=True)


@app.command("list")
@asking
def listing(where: Where, as_json: AsJson = False) -> None:
    """List every key that tokens were ever signed with, the latest first."""
    found = ask(where, "GET", "/api/v1/token-keys")
    if as_json:
        print(json.dumps({"keys": found}))
        return
    table = Table("Key", "Algorithm", "State")
    for key in found:
        table.add_row(key["kid"], key["alg"], "revoked" if key["revoked"] else "counts")
    plain_console().print(table)


@app.command("revoke", context_settings=ANY_KEY_ID)
@asking
def revoke(where: Where, kid: Annotated[str, typer.Argument(help="Id of the key.")]) -> None:
    """Let no token signed with it count any more, at once. A process that has it does not start again."""
    ask(where, "POST", f"/api/v1/token-keys/{quote(kid, '')}/revoke")
    print(json.dumps({"key": kid, "revoked": True}))
