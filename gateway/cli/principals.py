"""What ``gateway clients`` and ``gateway people`` have in common: they are listed, revoked, and given keys alike."""

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from gateway.cli import link_keys
from gateway.cli.api import Where, ask, asking
from gateway.cli.keep import ANY_KEY_ID, AsJson, plain_console
from gateway.errors import GatewayError, Kind

#: A key's id: base64url of a SHA-256.
KID_WIDTH = 43

Name = Annotated[str, typer.Argument(help="Their name, which is never given again; or their id.")]
Registry = Annotated[str | None, typer.Option(help="The registry or link they are bound to.", metavar="CODE")]
All = Annotated[bool, typer.Option("--all", help="Bound to no registry: they see everything.")]
Keys = Annotated[Path, typer.Option(help="Their public keys: a JWK set file.", exists=True, dir_okay=False)]
Ends = Annotated[
    datetime | None, typer.Option(parser=link_keys.moment, metavar="TIME", help="Until when the keys count.")
]


def administering(noun: str, whom: str) -> typer.Typer:
    """The commands that are alike; ``noun`` is as in the API's path."""
    app = typer.Typer(help=f"{whom.capitalize()} who may call the operator API.", no_args_is_help=True)
    at = f"/api/v1/{noun}"

    @app.command("list", help=f"List {whom}: what they are bound to, what they may do, and every key they had.")
    @asking
    def listing(where: Where, as_json: AsJson = False) -> None:
        found = _everybody(where, at)
        if as_json:
            print(json.dumps({noun: found}))
            return
        plain_console().print(_table(found))

    @app.command("revoke", help="Let them call no longer, at once. It cannot be undone.")
    @asking
    def revoke(where: Where, name: Name) -> None:
        print(json.dumps(ask(where, "POST", f"{at}/{quote(name, '')}/revoke")))

    keys = typer.Typer(help="The keys that vouch for them.", no_args_is_help=True)
    app.add_typer(keys, name="keys")

    @keys.command("add", help="Register further keys; the earlier ones count as before.")
    @asking
    def add_keys(where: Where, name: Name, keys: Keys, not_after: Ends = None) -> None:
        print(json.dumps(ask(where, "POST", f"{at}/{quote(name, '')}/keys", json=new_keys(keys, not_after))))

    @keys.command("revoke", context_settings=ANY_KEY_ID, help="Let a key count no longer, at once and for good.")
    @asking
    def revoke_key(where: Where, name: Name, kid: Annotated[str, typer.Argument(help="Id of the key.")]) -> None:
        print(json.dumps(ask(where, "POST", f"{at}/{quote(name, '')}/keys/{quote(kid, '')}/revoke")))

    return app


def new_keys(file: Path, not_after: datetime | None) -> dict[str, Any]:
    """The keys of a file, as they are registered."""
    return {"keys": link_keys.read(file), "not_after": not_after.isoformat() if not_after else None}


def bound(registry: str | None, everything: bool) -> str | None:
    """What somebody is bound to; raises MALFORMED unless it was said, once."""
    if (registry is None) != everything:
        raise GatewayError(Kind.MALFORMED, "registry: one of --registry CODE and --all says what they are bound to")
    return registry


def _everybody(where: Where, at: str) -> list[dict[str, Any]]:
    """All of them, page by page."""
    page = ask(where, "GET", at)
    found = list(page["listed"])
    while page["next"] is not None:
        page = ask(where, "GET", at, params={"after": page["next"]})
        found += page["listed"]
    return found


def _table(found: list[dict[str, Any]]) -> Table:
    # Ids are never cut: they are what other commands are given. With the keys below the names, 80 columns do.
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("name, id, keys", min_width=KID_WIDTH)
    table.add_column("bound to")
    table.add_column("may")
    for row in found:
        may = "revoked" if row["revoked"] else row["role"] or "\n".join(row["scopes"])
        keys = [f"{key['kid']}{' revoked' if key['revoked'] else ''}" for key in row["keys"]]
        first = Text("\n").join([Text(row["name"], "bold"), Text(row["id"]), *(Text(key, "dim") for key in keys)])
        table.add_row(first, row["registry"] or "all", may)
    return table
