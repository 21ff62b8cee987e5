"""``gateway keys log``: the keys that checkpoints of the transparency log are signed with."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from gateway.cli.keep import AsJson, Keep, chosen, on_database, plain_console
from gateway.signing.log_keys import LogKey

if TYPE_CHECKING:
    from gateway import db
    from gateway.audit.own_keys import Identity

app = typer.Typer(help="The keys of the transparency log.", no_args_is_help=True)


@app.command("new")
def new(
    file: Annotated[Path, typer.Argument(help="Where to write the three private keys (PEM, PKCS #8, 0600).")],
) -> None:
    """Make the keys of a log: Ed25519 and ML-DSA-44 to sign checkpoints, Ed25519 to witness. Never overwrites any."""
    key = LogKey.generate()
    key.save(file)
    print(json.dumps({"key": key.id}))


@app.command("list")
def listing(keep: Keep = None, as_json: AsJson = False) -> None:
    """List every key of the log as C2SP verifiers take it, with its time; those that are retired as well."""
    from gateway.audit import store

    async def work(database: "db.Database") -> "list[store.LogKeys]":
        async with database.reading() as tx:
            return await store.keys(tx)

    with chosen(keep) as settings:
        found = on_database(settings, work)
    if as_json:
        shown = [
            {"key": k.id, "vkeys": list(k.vkeys), "not_before": k.not_before.isoformat(),
             "not_after": k.retired_at.isoformat() if k.retired_at else None}
            for k in found
        ]  # fmt: skip
        print(json.dumps({"keys": shown}))
        return
    table = Table("Verifier key", "From", "Until")
    for key in found:
        for vkey in key.vkeys:
            table.add_row(f"{vkey[:100]}", f"{key.not_before:%Y-%m-%d %H:%M}", str(key.retired_at or ""))
    plain_console().print(table)


@app.command("add")
def add(
    file: Annotated[Path, typer.Argument(help="The next keys, made by 'gateway keys log new'.")], keep: Keep = None
) -> None:
    """Let everybody know the keys that will sign next; then start the processes with them, and retire the others."""
    from gateway.audit import own_keys

    key = LogKey.load(file)
    _change(keep, lambda tx, own, now: own_keys.add(tx, replace(own, key=key), now), "log.add-key")
    print(json.dumps({"key": key.id}))


@app.command("retire")
def retire(key: Annotated[str, typer.Argument(help="Id of the keys.")], keep: Keep = None) -> None:
    """Let keys sign no more; what they have signed stays good."""
    from gateway.audit import own_keys

    _change(keep, lambda tx, _, now: own_keys.retire(tx, key, now), "log.retire-key")
    print(json.dumps({"key": key, "retired": True}))


def _change(keep: Path | None, change: "Callable[[db.Tx, Identity, datetime], Awaitable[None]]", commit: str) -> None:
    """Make a change in one transaction, of this name, for the log of the gateway that is chosen."""
    from gateway.audit.own_keys import Identity
    from gateway.settings import log_signer

    with chosen(keep) as settings:
        own = Identity(settings.log_name, settings.witness_name, log_signer(settings))
        on_database(settings, lambda database: database.run(lambda tx: change(tx, own, datetime.now(UTC)), commit))
