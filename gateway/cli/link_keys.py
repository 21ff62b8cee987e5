"""``gateway links keys``: which keys vouch for a linked system, from when until when, and which count no longer."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from gateway import db
from gateway.cli.keep import AsJson, Keep, chosen, on_database, plain_console
from gateway.errors import GatewayError, Kind
from gateway.links import commands
from gateway.signing.trust import PeerKey, Revocation

app = typer.Typer(help="The keys that vouch for a linked system.", no_args_is_help=True)


def moment(text: str) -> datetime:
    """A time with its offset from UTC; without one it would mean another moment on another machine."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise GatewayError(Kind.MALFORMED, f"{text!r} is not a time such as 2026-03-01T12:00:00Z")
    return found.astimezone(UTC)


Code = Annotated[str, typer.Argument(help="Link code of the system, for example KOR01.")]
Moment = Annotated[datetime | None, typer.Option(parser=moment, metavar="TIME", help="For example 2026-03-01T12:00Z.")]


@app.command("add")
def add(
    code: Code,
    keys: Annotated[Path, typer.Option(help="Its public keys: a JWK set file.", exists=True, dir_okay=False)],
    not_before: Moment = None,
    not_after: Moment = None,
    keep: Keep = None,
) -> None:
    """Register further keys, valid from now or --not-before until --not-after; the earlier ones stay valid."""
    jwks, now = read(keys), datetime.now(UTC)

    async def work(database: db.Database) -> list[str]:
        begins = not_before or now
        return await database.run(
            lambda tx: commands.add_keys(tx, code, jwks, now=now, not_before=begins, not_after=not_after),
            "links.add-keys",
        )

    with chosen(keep) as settings:
        kids = on_database(settings, work)
    print(json.dumps({"link": code, "keys": kids}))


@app.command("revoke")
def revoke(
    code: Code,
    kid: Annotated[str, typer.Argument(help="Id of the key.")],
    reason: Annotated[Revocation, typer.Option(help="compromised and restored end it for what was sent before, too.")],
    since: Moment = None,
    keep: Keep = None,
) -> None:
    """Let a key count no longer, from now or from --since. It cannot be undone."""
    now = datetime.now(UTC)

    async def work(database: db.Database) -> None:
        await database.run(
            lambda tx: commands.revoke_key(tx, code, kid, reason, now=now, since=since), "links.revoke-key"
        )

    with chosen(keep) as settings:
        on_database(settings, work)
    print(json.dumps({"link": code, "key": kid, "revoked": reason.value}))


@app.command("list")
def listing(code: Code, as_json: AsJson = False, keep: Keep = None) -> None:
    """List every key ever registered for a system."""

    async def work(database: db.Database) -> list[PeerKey]:
        async with database.reading() as tx:
            return await commands.keys(tx, code)

    with chosen(keep) as settings:
        found = [_as_dict(key) for key in on_database(settings, work)]
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


def _as_dict(key: PeerKey) -> dict[str, Any]:
    since = key.compromised_since or key.revoked_at
    return {
        "kid": key.kid,
        "alg": key.alg,
        "not_before": _written(key.not_before),
        "not_after": _written(key.not_after) if key.not_after else None,
        "revoked": key.revoked_reason.value if key.revoked_reason else None,
        "since": _written(since) if since else None,
    }


def _written(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
