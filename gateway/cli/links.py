"""``gateway links``: register the systems that may speak to the gateway, list them, and ask for what two decide."""

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from gateway.cli import link_keys
from gateway.cli.api import Where, ask, asking
from gateway.cli.keep import AsJson, plain_console
from gateway.domain.registry import Capability, RegistryKind
from gateway.errors import GatewayError, Kind
from gateway.links.lifecycle import Step

app = typer.Typer(help="The links with registries.", no_args_is_help=True)
app.add_typer(link_keys.app, name="keys")


@app.command("add")
@asking
def add(
    where: Where,
    code: Annotated[str, typer.Argument(help="Link code of the system, for example KOR01.")],
    kind: Annotated[str, typer.Option(help="Kind of registry: mechanism, international, party or services.")],
    url: Annotated[str, typer.Option(help="Link address of the system.")],
    keys: Annotated[Path, typer.Option(help="Its public keys: a JWK set file.", exists=True, dir_okay=False)],
    party: Annotated[str | None, typer.Option(help="The Party whose registry it is.")] = None,
    section: Annotated[
        list[str] | None,
        typer.Option(metavar="REGISTRY=PARTY", help="A section of the international registry; may be repeated."),
    ] = None,
    time_limit: Annotated[int, typer.Option(help="Hours a transfer may take to reach its commit.")] = 24,
) -> None:
    """Register a system and its keys. Nothing is received until 'links test'; the system itself makes it active."""
    books = _sections(kind, section or [], party) or {code: party}
    made = {"code": code, "kind": kind, "url": url, "parties": books, "keys": link_keys.read(keys)}
    print(json.dumps(ask(where, "POST", "/api/v1/links", json={**made, "time_limit_hours": time_limit})))


@app.command("test")
@asking
def test(where: Where, code: link_keys.Code) -> None:
    """Ask that a registered link is tested: its registry may then ask for the time, and open the link."""
    _step(where, Step.TEST, code)


@app.command("suspend")
@asking
def suspend(where: Where, code: link_keys.Code) -> None:
    """Ask that nothing begins over a link any more; what is under way comes to its end."""
    _step(where, Step.SUSPEND, code)


@app.command("reactivate")
@asking
def reactivate(where: Where, code: link_keys.Code) -> None:
    """Ask that a suspended link is used again."""
    _step(where, Step.REACTIVATE, code)


@app.command("close")
@asking
def close(where: Where, code: link_keys.Code) -> None:
    """Ask that a link is closed for good; what is under way comes to its end."""
    _step(where, Step.CLOSE, code)


def _step(where: Where, step: Step, code: str) -> None:
    print(json.dumps(ask(where, "POST", f"/api/v1/links/{code}/{step}")))


@app.command("change")
@asking
def change(
    where: Where,
    code: link_keys.Code,
    url: Annotated[str | None, typer.Option(help="Its link address.")] = None,
    time_limit: Annotated[int | None, typer.Option(help="Hours a transfer may take to reach its commit.")] = None,
    use: Annotated[
        list[Capability] | None, typer.Option(help="What it is to be used for, and nothing else; may be repeated.")
    ] = None,
    messages_per_second: Annotated[str | None, typer.Option(metavar="N|none", help="Messages it may send.")] = None,
    blocks_per_day: Annotated[str | None, typer.Option(metavar="N|none", help="Blocks it may propose a day.")] = None,
    window: Annotated[
        str | None, typer.Option(metavar="HH:MM-HH:MM|none", help="When (UTC) its proposals are taken up.")
    ] = None,
) -> None:
    """Ask for another address, another use or other limits of a link."""
    plain: dict[str, Any] = {
        "url": url,
        "time_limit_hours": time_limit,
        "capabilities": [one.value for one in use] if use else None,
    }
    limits = {"messages_per_second": messages_per_second, "blocks_per_day": blocks_per_day}
    wanted = {name: value for name, value in plain.items() if value is not None}
    wanted |= {name: _limit(value) for name, value in limits.items() if value is not None}
    wanted |= {"window": None if window == "none" else window} if window is not None else {}
    print(json.dumps(ask(where, "PATCH", f"/api/v1/links/{code}", json=wanted)))


def _limit(text: str) -> int | None:
    if text != "none" and not text.isdecimal():
        raise GatewayError(Kind.MALFORMED, f"a limit is a whole number or none, not {text!r}")
    return None if text == "none" else int(text)


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


@app.command("restored")
@asking
def restored(
    where: Where,
    code: link_keys.Code,
    keys: Annotated[Path, typer.Option(help="Its new public keys: a JWK set file.", exists=True, dir_okay=False)],
    since: Annotated[datetime, typer.Option(parser=link_keys.moment, metavar="TIME", help="When its backup was made.")],
) -> None:
    """Ask that of a system that came back from a backup its earlier keys count no longer, and its new ones do.

    When that is approved, the transfers are named that it must ask about before it serves again.
    """
    wanted = {"keys": link_keys.read(keys), "since": since.isoformat()}
    print(json.dumps(ask(where, "POST", f"/api/v1/links/{code}/restored", json=wanted)))


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
