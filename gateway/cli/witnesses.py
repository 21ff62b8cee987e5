"""``gateway witnesses``: who cosigns our log, and whose logs we cosign."""

import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from gateway.cli.keep import AsJson, Keep, chosen, on_database, plain_console
from gateway.errors import GatewayError, Kind

if TYPE_CHECKING:
    from gateway import db

app = typer.Typer(help="Who cosigns our log, and whose logs we cosign.", no_args_is_help=True)

Code = Annotated[str, typer.Argument(help="Link code of a registry.")]


@app.command("add")
def add(
    vkey: Annotated[str, typer.Argument(help="The witness's C2SP verifier key (type 04 or 06), as it gave it to you.")],
    link: Annotated[str | None, typer.Option(help="A linked registry: it is asked at its link's /witness.")] = None,
    url: Annotated[str | None, typer.Option(help="Or where another witness takes add-checkpoint.")] = None,
    keep: Keep = None,
) -> None:
    """Ask a witness for a cosignature of each of our checkpoints, from now on."""
    from gateway.audit import cosigning
    from gateway.audit.witness_store import Witness
    from gateway.signing.notes import Verifier

    if (link is None) == (url is None):
        raise GatewayError(Kind.MALFORMED, "say either --link or --url", code=2014)
    witness = Witness(Verifier.read(vkey).name, vkey, link, url.rstrip("/") if url else None)
    _change(keep, lambda tx, now: cosigning.add(tx, witness, now), "log.add-witness", link, url)
    print(json.dumps({"witness": witness.name}))


@app.command("remove")
def remove(name: Annotated[str, typer.Argument(help="Name of a witness.")], keep: Keep = None) -> None:
    """Ask a witness no more; its cosignatures stay."""
    from gateway.audit import cosigning

    _change(keep, lambda tx, now: cosigning.remove(tx, name, now), "log.remove-witness")
    print(json.dumps({"witness": name, "removed": True}))


@app.command("watch")
def watch(
    link: Code,
    vkeys: Annotated[list[str], typer.Argument(help="The verifier keys of its log, as it gave them to you.")],
    keep: Keep = None,
) -> None:
    """Witness the log of a linked registry: cosign its checkpoints, and suspend the link if it has two histories."""
    from gateway.audit import witness
    from gateway.audit.witness_store import Watched
    from gateway.signing.notes import Verifier

    log = Watched(Verifier.read(vkeys[0]).name, link, tuple(vkeys))
    _change(keep, lambda tx, now: witness.watch(tx, log, now), "log.watch", link)
    print(json.dumps({"log": log.origin, "link": link}))


@app.command("list")
def listing(keep: Keep = None, as_json: AsJson = False) -> None:
    """List both, how far they have come, and every checkpoint that did not fit."""
    from gateway.audit import store, witness_store

    async def work(database: "db.Database") -> dict[str, Any]:
        async with database.reading() as tx:
            ours = await witness_store.witnesses(tx)
            theirs = await witness_store.watched(tx)
            doubts = await witness_store.splits(tx)
            stopped = await store.stopped(tx)
        return {
            "stopped": stopped,
            "witnesses": [{"name": w.name, "at": w.at, "vkey": w.vkey, "size": w.size} for w in ours],
            "watched": [{"origin": w.origin, "link": w.link, "size": w.size} for w in theirs],
            "doubts": [
                {"origin": d.origin, "size": d.size, "at": d.at.isoformat(), "proven": d.proven, "known": d.known,
                 "brought": d.note}
                for d in doubts
            ],
        }  # fmt: skip

    with chosen(keep) as settings:
        found = on_database(settings, work)
    if as_json:
        print(json.dumps(found))
        return
    table = Table("Log", "Cosigned by", "Up to", "At")
    for one in found["witnesses"]:
        table.add_row("ours", one["name"], str(one["size"]), one["at"])
    for one in found["watched"]:
        table.add_row(one["origin"], "us", str(one["size"]), one["link"])
    plain_console().print(table)
    if found["stopped"] is not None:
        print(f"STOPPED: our keys have signed what is not in this tree: {found['stopped']!r}")
    for one in found["doubts"]:
        word = {None: "in doubt", True: "SPLIT VIEW", False: "explained"}[one["proven"]]
        print(f"{word}: {one['origin']} at {one['size']} leaves, {one['at']}")


def _change(
    keep: Path | None,
    change: "Callable[[db.Tx, datetime], Awaitable[None]]",
    commit: str,
    link: str | None = None,
    url: str | None = None,
) -> None:
    """Make a change in one transaction of this name; ``link`` must be there, ``url`` must be one we may call."""
    from gateway.links.changing import require

    with chosen(keep) as settings:
        if url is not None:
            settings.reach.check(url)

        async def work(tx: "db.Tx") -> None:
            if link is not None:
                await require(tx, link)
            await change(tx, datetime.now(UTC))

        on_database(settings, lambda database: database.run(work, commit))
