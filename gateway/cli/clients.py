"""``gateway clients``: machines that may call the operator API; ``gateway token``: what one of them calls with."""

import json
from typing import Annotated

import typer

from gateway.cli import principals
from gateway.cli.api import Where, ask, asking
from gateway.cli.principals import All, Ends, Keys, Name, Registry

app = principals.administering("clients", "machines")


@app.command("add")
@asking
def add(
    where: Where,
    name: Name,
    keys: Keys,
    scope: Annotated[list[str], typer.Option(help="What it may do, for example transfers:read; may be repeated.")],
    registry: Registry = None,
    everything: All = False,
    not_after: Ends = None,
) -> None:
    """Register a machine. Prints the id it calls by; its private key stays where it is."""
    wanted = {"name": name, "registry": principals.bound(registry, everything), "scopes": scope}
    print(json.dumps(ask(where, "POST", "/api/v1/clients", json=wanted | principals.new_keys(keys, not_after))))


def token(
    gateway: Annotated[str, typer.Option(help="Where its operator API is, for example https://gateway.example.")],
    client: Annotated[str, typer.Option(metavar="ID=KEYFILE", help="Who asks, and their private key (PEM).")],
    scope: Annotated[list[str] | None, typer.Option(help="A scope to ask for; all they have, where none is.")] = None,
) -> None:
    """Print an access token, good for ten minutes: curl -H "authorization: Bearer $(gateway token …)" …."""
    from gateway.cli import remote

    print(remote.token(gateway, client, scope or ()))
