"""``gateway log``: the transparency log, verified wherever it is, exported for any web server, and its keys."""

import asyncio
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from gateway.audit import reading, walking
from gateway.audit.verdict import KINDS, Fault, Verdict
from gateway.cli.keep import AsJson, Keep, chosen, on_database, plain_console
from gateway.errors import GatewayError, Kind
from gateway.signing.notes import Verifier

if TYPE_CHECKING:  # whoever verifies a folder waits for no database
    from gateway import db

app = typer.Typer(help="The transparency log.", no_args_is_help=True)

_Tell = Callable[[int, int], None]


@app.command("verify")
def verify(
    source: Annotated[
        str | None, typer.Argument(metavar="[URL|DIR]", help="Where the log is; this gateway's database if not said.")
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Option(metavar="VKEY|FILE", help="A key that must have signed, or a file of them; else the log's word."),
    ] = None,
    as_json: AsJson = False,
    keep: Keep = None,
) -> None:
    """Verify a whole log: hash every entry again, rebuild every tile, hold every checkpoint against the tree.

    Exit code 0 when everything is as it must be, 1 when something is not.
    """
    given = [one for value in key or () for one in _keys_of(value)]
    with _progress("entries verified", shown=not as_json) as tell:
        verdict = _verdict(source, given, keep, tell)
    if as_json:
        print(json.dumps({**verdict.as_dict(), "keys": "given" if given else "the log's own word"}))
    else:
        _print(plain_console(), verdict, own_word=not given)
    if not verdict.valid:
        raise typer.Exit(1)


@app.command("export")
def export(
    to: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder, or one that this log was exported to.")],
    keep: Keep = None,
) -> None:
    """Write the published log as files that any web server can publish; run again, it adds what is new."""
    from gateway.audit import exporting
    from gateway.audit.stored import Stored

    async def work(database: "db.Database") -> exporting.Exported:
        return await exporting.export(Stored(database), to, tell)

    with chosen(keep) as settings, _progress("entries exported") as tell:
        done = on_database(settings, work)
    print(json.dumps(asdict(done)))


@app.command("key")
def keys(
    every: Annotated[bool, typer.Option("--all", help="Those that sign no more as well: for the whole past.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="All with their times, as the log serves them.")] = False,
    keep: Keep = None,
) -> None:
    """Print the keys that sign the log's checkpoints, one a line, as C2SP programs are told of them."""
    from gateway.audit.stored import Stored

    with chosen(keep) as settings:
        found = on_database(settings, lambda database: Stored(database).key_list())
    if as_json:
        print(json.dumps(found))
        return
    for row in found["keys"]:
        if every or row["not_after"] is None:
            print(row["vkey"])


def _keys_of(value: str) -> Sequence[Verifier]:
    """The keys that an option names: one itself, or a file of them; raises MALFORMED, NOT_FOUND."""
    if "+" in value and not Path(value).exists():
        return [Verifier.read(value)]
    try:
        return reading.keys(Path(value).read_bytes())
    except OSError as error:
        raise GatewayError(Kind.NOT_FOUND, f"--key {value}: {error.strerror}") from error
    except GatewayError as error:
        raise GatewayError(error.kind, f"--key {value}: {error.detail}", code=error.code) from None


def _verdict(where: str | None, given: Sequence[Verifier], keep: Path | None, tell: _Tell) -> Verdict:
    from gateway.cli import log_source

    if where is None:
        from gateway.audit.stored import Stored

        with chosen(keep) as settings:
            return on_database(settings, lambda database: _verified(Stored(database), given, tell))
    if keep is not None:
        raise GatewayError(Kind.MALFORMED, "--keep is another log than the one that is named")

    async def work() -> Verdict:
        if not log_source.is_address(where):
            return await _verified(log_source.in_folder(where), given, tell)
        async with log_source.on_server(where) as source:
            return await _verified(source, given, tell)

    return asyncio.run(work())


async def _verified(source: reading.Source, given: Sequence[Verifier], tell: _Tell) -> Verdict:
    """Under the given keys, or those that the log names."""
    if given:
        return await walking.verify(source, given, tell)
    said = await source.keys()
    try:
        own = reading.keys(said or b"")
    except GatewayError as error:
        return Verdict(faults=[Fault("keys", error.detail if said else "is not there: give --key")])
    return await walking.verify(source, own, tell)


def _print(console: Console, verdict: Verdict, *, own_word: bool) -> None:
    if head := verdict.checkpoint:
        console.print(f"log {head.origin}: {head.size:,} entries, root {head.root.hex()}", soft_wrap=True)
        for signed in verdict.signed:
            at = f", {signed.at:%Y-%m-%d %H:%M:%S} UTC" if signed.at else ""
            console.print(f"signed by {signed.by.name} ({KINDS[signed.by.kind]}{at})", soft_wrap=True)
        looked = f"{verdict.entries:,} entries hashed again, {verdict.tiles:,} tiles rebuilt"
        console.print(f"{looked}, {verdict.checkpoints:,} checkpoints held against the tree", soft_wrap=True)
    for fault in verdict.faults:
        console.print(str(fault), soft_wrap=True)
    if own_word:
        word = "the keys are the log's own word: --key verifies under keys that you have from elsewhere"
        console.print(word, soft_wrap=True)
    console.print("the log is what it says" if verdict.valid else "the log is NOT what it says")


@contextmanager
def _progress(what: str, *, shown: bool = True) -> Iterator[_Tell]:
    """Tells a person, if one looks, how far it is."""
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    person = shown and sys.stderr.isatty()
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not person) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, size: bar.update(task, completed=done, total=size)
