"""``gateway demo``: the whole network on one machine, with units moved between registries before your eyes."""

import json
import os
import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from gateway.cli.keep import AsJson
from gateway.demo import network, show, story
from gateway.demo.outcome import Result

#: What a shell reports of a program that Ctrl-C or SIGTERM ended before its work was done.
INTERRUPTED, TERMINATED = 130, 143


def demo(
    leave: Annotated[bool, typer.Option("--exit", help="End after the table instead of staying up.")] = False,
    as_json: AsJson = False,
    keep: Annotated[Path | None, typer.Option("--keep", help="Keep the data in this folder.", file_okay=False)] = None,
    blocks: Annotated[
        Path | None,
        typer.Option("--blocks", help="Relay the real unit blocks of this CSV file, here or in A6_DATA, instead."),
    ] = None,
) -> None:
    """Run registries, gateway and database on this machine and move units along every arrow between them.

    Exit code 0 only if nothing was lost or doubled and every transfer ended as it should.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(TERMINATED))
    console = Console(stderr=as_json)
    told = story.of_blocks(_found(blocks)) if blocks else story.of_arrows()
    result: Result | None = None
    with ExitStack() as stack:
        try:
            folder = keep or stack.enter_context(network.passing_folder())
            with console.status("starting PostgreSQL, the gateway and the registries …"):
                making = network.running(folder.absolute(), told.members, told.name, kept=keep is not None)
                running = stack.enter_context(making)
            result = _told(console, running, told)
            if as_json:
                print(json.dumps(show.as_dict(result, told.note)), flush=True)
            else:
                show.tables(console, result, told.note)
            if not leave:
                show.addresses(console, running, folder)
                running.stay()
        except KeyboardInterrupt:
            console.print("stopping …")
    if result is None:
        sys.exit(INTERRUPTED)
    sys.exit(0 if result.succeeded else 1)


def _found(path: Path) -> Path:
    """The file, which may lie in the folder of shared data."""
    shared = Path(os.environ.get("A6_DATA") or "../shared/data") / path
    return shared if not path.exists() and shared.exists() else path


def _told(console: Console, running: network.Network, told: story.Story) -> Result:
    with Progress(
        TextColumn("[bold]{task.description}"), BarColumn(), TextColumn("{task.completed:,.0f} of {task.total:,.0f} t"),
        TimeElapsedColumn(), console=console,
    ) as bar:  # fmt: skip
        task = bar.add_task("relayed", total=told.tonnes)
        return told.tell(running, lambda _total, _final, tonnes: bar.update(task, completed=tonnes))
