"""``gateway keys``: the gateway's own message keys, from the first to the one that is announced next."""

import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar
from urllib.parse import quote

import typer
from rich.table import Table

from gateway.cli import log_keys, token_keys
from gateway.cli.api import Where, ask, asking
from gateway.cli.keep import ANY_KEY_ID, AsJson, Keep, chosen, on_database, plain_console
from gateway.signing.keys import ALGORITHMS, ED25519, SoftwareKey
from gateway.signing.trust import Revocation

if TYPE_CHECKING:  # what makes a key, or shows help, does not wait for a database
    from gateway import db
    from gateway.messages.outbox import Node

T = TypeVar("T")

app = typer.Typer(help="The gateway's signing keys.", no_args_is_help=True)
app.add_typer(token_keys.app, name="token")
app.add_typer(log_keys.app, name="log")

Kid = Annotated[str, typer.Argument(help="Id of the key.")]


@app.command("new")
def new(
    file: Annotated[Path, typer.Argument(help="Where to write the private key (PEM, PKCS #8, 0600).")],
    algorithm: Annotated[str, typer.Option(help=f"One of {', '.join(sorted(ALGORITHMS))}.")] = ED25519,
) -> None:
    """Make a private key; never overwrites one. Prints the public JWK set."""
    key = SoftwareKey.generate(algorithm)
    key.save(file)
    print(json.dumps({"keys": [{**key.public_jwk(), "use": "sig"}]}))


@app.command("show")
def show(keep: Keep = None) -> None:
    """Print the public JWK set of the key in use."""
    from gateway.settings import signer

    with chosen(keep) as settings:
        print(json.dumps({"keys": [{**signer(settings).public_jwk(), "use": "sig"}]}))


@app.command("announce")
def announce(
    file: Annotated[Path, typer.Argument(help="The new private key, made by 'gateway keys new'.")], keep: Keep = None
) -> None:
    """Tell every link of the key that will be used next. Start with it once 'gateway keys list' shows it receipted."""
    from gateway.keys import commands

    jwk = SoftwareKey.load(file).public_jwk()
    told = _change(keep, lambda tx, node: commands.announce(tx, node, jwk), "keys.announce")
    print(json.dumps({"key": jwk["kid"], "told": told}))


@app.command("retire", context_settings=ANY_KEY_ID)
def retire(kid: Kid, keep: Keep = None) -> None:
    """Let an earlier key sign no more; refused while it owes a message."""
    from gateway.keys import commands
    from gateway.transfers import owing

    told = _change(keep, lambda tx, node: commands.retire(tx, node, kid, owing.unanswered), "keys.retire")
    print(json.dumps({"key": kid, "told": told}))


@app.command("revoke", context_settings=ANY_KEY_ID)
def revoke(
    kid: Kid,
    reason: Annotated[Revocation, typer.Option(help="compromised or superseded.")],
    since: Annotated[str | None, typer.Option(metavar="TIME", help="For example 2026-03-01T12:00Z.")] = None,
    keep: Keep = None,
) -> None:
    """Let a key sign no more at once. Tell the links of a compromised key by people. It cannot be undone."""
    from gateway.cli.link_keys import moment
    from gateway.keys import commands

    begun = moment(since) if since else None
    told = _change(keep, lambda tx, node: commands.revoke(tx, node, kid, reason, since=begun), "keys.revoke")
    print(json.dumps({"key": kid, "revoked": reason.value, "told": told}))


@app.command("list")
@asking
def listing(where: Where, as_json: AsJson = False) -> None:
    """List every key: its time, who has receipted it, and which messages it still owes."""
    found = ask(where, "GET", "/api/v1/keys")
    if as_json:
        print(json.dumps(found))
        return
    table = Table("Key", "From", "Until", "Receipted by", "Not yet", "Owes")
    for row in found["keys"]:
        waiting = [f"{link}: {why}" if why else link for link, why in row["waiting"].items()]
        until = f"{row['until']} {row['ended']}" if row["until"] else ""
        receipted = ", ".join(row["receipted"])
        owes = f"{len(row['owes'])}{' or more' if found['more'] else ''}"
        table.add_row(row["kid"], row["not_before"], until, receipted, ", ".join(waiting), owes)
    plain_console().print(table)


@app.command("which")
@asking
def which(where: Where, message: Annotated[str, typer.Argument(help="Id of a message.")]) -> None:
    """Say which key signed a message and whether it was valid then, by what the log says."""
    print(json.dumps(ask(where, "GET", f"/api/v1/messages/{quote(message, safe='')}/key")))


def _change(keep: Path | None, change: "Callable[[db.Tx, Node], Awaitable[T]]", commit: str) -> T:
    """Make a change of keys in the name of the key in use, and wake who sends."""
    from gateway.messages.outbox import Node
    from gateway.settings import signer

    with chosen(keep) as settings:
        node = Node(settings.code, signer(settings), lambda: datetime.now(UTC))

        async def work(database: "db.Database") -> T:
            done = await database.run(lambda tx: change(tx, node), commit)
            await database.ring()
            return done

        return on_database(settings, work)
