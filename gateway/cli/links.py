"""``gateway links``: register the systems that may speak to the gateway, and list them."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from gateway import db, wiring
from gateway.cli import link_keys
from gateway.cli.api import Where, ask, asking
from gateway.cli.keep import AsJson, Keep, chosen, on_database, plain_console
from gateway.domain.registry import RegistryKind
from gateway.errors import GatewayError, Kind
from gateway.links import commands
from gateway.links.store import Link
from gateway.messages.outbox import Node
from gateway.settings import signer
from gateway.transfers import view

app = typer.Typer(help="The links with registries.", no_args_is_help=True)
app.add_typer(link_keys.app, name="keys")

Hours = Annotated[
    int, typer.Option(min=1, max=commands.MAX_HOURS, help="Hours a transfer may take to reach its commit.")
]


@app.command("add")
def add(
    code: Annotated[str, typer.Argument(help="Link code of the system, for example KOR01.")],
    kind: Annotated[str, typer.Option(help="Kind of registry: mechanism, international, party or services.")],
    url: Annotated[str, typer.Option(help="Link address of the system.")],
    keys: Annotated[Path, typer.Option(help="Its public keys: a JWK set file.", exists=True, dir_okay=False)],
    party: Annotated[str | None, typer.Option(help="The Party whose registry it is.")] = None,
    section: Annotated[
        list[str] | None,
        typer.Option(metavar="REGISTRY=PARTY", help="A section of the international registry; may be repeated."),
    ] = None,
    time_limit: Hours = 24,
    keep: Keep = None,
) -> None:
    """Register a system and its keys. The link becomes active when the system itself says so, signed."""
    wiring.require_kind(kind)
    jwks = link_keys.read(keys)
    books = _sections(kind, section or [], party) or {code: party}
    link = Link(code, kind, url, "requested", time_limit, tuple(books))
    with chosen(keep) as settings:
        node = Node(settings.code, signer(settings), lambda: datetime.now(UTC), settings.reach)

        async def work(database: db.Database) -> list[str]:
            registered = commands.register
            return await database.run(lambda tx: registered(tx, node, link, books, jwks), "links.register")

        kids = on_database(settings, work)
    print(json.dumps({"link": code, "state": "requested", "keys": kids}))


def _sections(kind: str, given: list[str], party: str | None) -> dict[str, str | None]:
    """The sections as given; none for a registry of another kind. Raises MALFORMED."""
    if kind != RegistryKind.INTERNATIONAL:
        if given:
            raise GatewayError(Kind.MALFORMED, f"a {kind} registry has no sections: --section is for the international")
        return {}
    if not given or party is not None:
        raise GatewayError(Kind.MALFORMED, "the international registry has a --section REGISTRY=PARTY for each Party")
    sections: dict[str, str | None] = {}
    for one in given:
        registry, _, of = one.partition("=")
        if not registry or not of or registry in sections:
            raise GatewayError(Kind.MALFORMED, f"--section {one} is not REGISTRY=PARTY, each registry once")
        sections[registry] = of
    return sections


@app.command("time-limit")
def limit_time(code: link_keys.Code, hours: int, keep: Keep = None) -> None:
    """Set how many hours transfers proposed from now on may take to reach their commit."""
    with chosen(keep) as settings:
        node = Node(settings.code, signer(settings), lambda: datetime.now(UTC), settings.reach)

        async def work(database: db.Database) -> None:
            await database.run(lambda tx: commands.limit_time(tx, node, code, hours), "links.limit-time")

        on_database(settings, work)
    print(json.dumps({"link": code, "time_limit_hours": hours}))


@app.command("restored")
def restored(
    code: link_keys.Code,
    keys: Annotated[Path, typer.Option(help="Its new public keys: a JWK set file.", exists=True, dir_okay=False)],
    since: Annotated[datetime, typer.Option(parser=link_keys.moment, metavar="TIME", help="When its backup was made.")],
    keep: Keep = None,
) -> None:
    """Take note that a system came back from a backup: its earlier keys count no longer, its new ones do.

    Prints the transfers it must ask about before it serves again.
    """
    jwks, now = link_keys.read(keys), datetime.now(UTC)

    async def work(database: db.Database) -> list[tuple[str, str]]:
        async def both(tx: db.Tx) -> list[tuple[str, str]]:
            await commands.restored(tx, code, jwks, now=now)
            return await view.since(tx, code, since)

        return await database.run(both, "links.restored")

    with chosen(keep) as settings:
        found = on_database(settings, work)
    print(json.dumps({"link": code, "transfers": [{"transfer": t, "state": s} for t, s in found]}))


@app.command("list")
@asking
def listing(where: Where, as_json: AsJson = False) -> None:
    """List the links with their states, and how many alarms each has raised."""
    found = ask(where, "GET", "/api/v1/links")
    if as_json:
        print(json.dumps(found))
        return
    table = Table("Link", "Kind", "State", "Alarms", "Address")
    for link in found:
        table.add_row(link["code"], link["kind"], link["state"], str(link["alarms"]), link["url"])
    plain_console().print(table)
