"""``gateway links``: register the systems that may speak to the gateway, and list them."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from gateway import db, wiring
from gateway.cli import link_keys
from gateway.cli.keep import AsJson, Keep, chosen, on_database, plain_console
from gateway.links import commands, store
from gateway.links.store import Link
from gateway.messages.outbox import Node
from gateway.settings import signer

app = typer.Typer(help="The links with registries.", no_args_is_help=True)
app.add_typer(link_keys.app, name="keys")


@app.command("add")
def add(
    code: Annotated[str, typer.Argument(help="Link code of the system, for example KOR01.")],
    kind: Annotated[str, typer.Option(help="Kind of registry: mechanism or party.")],
    url: Annotated[str, typer.Option(help="Link address of the system.")],
    keys: Annotated[Path, typer.Option(help="Its public keys: a JWK set file.", exists=True, dir_okay=False)],
    party: Annotated[str | None, typer.Option(help="The Party whose registry it is.")] = None,
    keep: Keep = None,
) -> None:
    """Register a system and its keys. The link becomes active when the system itself says so, signed."""
    wiring.require_kind(kind)
    jwks = link_keys.read(keys)
    link = Link(code, kind, url, "requested", 24, (code,))
    with chosen(keep) as settings:
        node = Node(settings.code, signer(settings), lambda: datetime.now(UTC))

        async def work(database: db.Database) -> list[str]:
            registered = commands.register
            return await database.run(lambda tx: registered(tx, node, link, {code: party}, jwks), "links.register")

        kids = on_database(settings, work)
    print(json.dumps({"link": code, "state": "requested", "keys": kids}))


@app.command("list")
def listing(as_json: AsJson = False, keep: Keep = None) -> None:
    """List the links with their states."""

    async def work(database: db.Database) -> list[Link]:
        async with database.reading() as tx:
            return await store.links(tx)

    with chosen(keep) as settings:
        found = on_database(settings, work)
    if as_json:
        rows = [{"code": x.code, "kind": x.kind, "state": x.state, "url": x.url} for x in found]
        print(json.dumps({"links": rows}))
        return
    table = Table("Link", "Kind", "State", "Address")
    for link in found:
        table.add_row(link.code, link.kind, link.state, link.url)
    plain_console().print(table)
