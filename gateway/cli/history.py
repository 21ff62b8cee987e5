"""``gateway history``: what was pulled of the history of units, what its source shows now, and whether it is proven.

``list`` and ``feeds`` show what is here; ``view``, ``holdings`` and ``difference`` ask the source, and say how old its
answer is; ``pull`` pulls a feed and tells a person how far it is; ``verify`` proves what is kept on this machine.
"""

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from gateway.cli.api import Where, ask, asking, given
from gateway.cli.keep import AsJson, Keep, chosen, moment, on_database, plain_console
from gateway.domain.history import MAX_PAGE, HistoryType
from gateway.errors import GatewayError, Kind
from gateway.history import view
from gateway.history.verify import Tell, Verdict

if TYPE_CHECKING:
    from gateway.settings import Settings

_PATH = "/api/v1/history"
#: How often a pull that is waited for is looked at, and how long without a further record: then no worker is at it.
LOOK_SECONDS, STILL_SECONDS = 0.5, 60.0
app = typer.Typer(help="The history of units: pulled, viewed at its source, proven.", no_args_is_help=True)

Source = Annotated[str, typer.Argument(help="The registry that keeps it, MEC01 say.")]
Registry = Annotated[str, typer.Argument(help="The books it is for, KOR01 say.")]
Limit = Annotated[int, typer.Option(min=1, max=MAX_PAGE, help="Most items.")]
After = Annotated[str | None, typer.Option(help="Go on where a page ended.")]


@dataclass(frozen=True, slots=True)
class Narrowed:
    """What is looked for, of holdings and of records."""

    account: Annotated[str | None, typer.Option(help="In, from or to this account, 100-1 say.")] = None
    party: Annotated[str | None, typer.Option(help="In whose books the units are, were or came, KOR say.")] = None
    activity: Annotated[str | None, typer.Option(help="Of this activity.")] = None
    authorisation: Annotated[str | None, typer.Option(help="Under the authorisation of this id.")] = None
    vintage: Annotated[int | None, typer.Option(help="Of this vintage.")] = None
    units: Annotated[
        str | None, typer.Option(help="Of these units: REGISTRY/SERIES/FIRST[-LAST], or ITMO identifiers A[..B].")
    ] = None


@dataclass(frozen=True, slots=True)
class Timely:
    """What is looked for of records alone."""

    type: Annotated[HistoryType | None, typer.Option(help="Of this type of action.")] = None
    since: Annotated[str | None, typer.Option(help="From this time on, 2026-03-01T12:00:00Z say.")] = None
    until: Annotated[str | None, typer.Option(help="Before this time.")] = None


@app.command("list")
@asking
def records(
    where: Where,
    narrowed: Narrowed,
    timely: Timely,
    source: Annotated[str | None, typer.Option(help="Pulled from this registry.")] = None,
    registry: Annotated[str | None, typer.Option(help="Pulled for these books.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=view.MAX_PAGE, help="Most records.")] = 50,
    cursor: Annotated[str | None, typer.Option(help="Go on where a page of the same question ended.")] = None,
    as_json: AsJson = False,
) -> None:
    """List records that were pulled, newest first, with who bears witness to each; nobody is asked."""
    wanted = _wanted(narrowed, timely) | given(source=source, registry=registry, limit=limit, cursor=cursor)
    found = ask(where, "GET", _PATH, params=wanted)
    if as_json:
        print(json.dumps(found))
        return
    table = _table("at (UTC)", "what", "units", "from", "to", "known from")
    for one in found["records"]:
        known = "\n".join(f"{w['source']} #{w['number']:,}" for w in one["witnesses"])
        table.add_row(*_told(one["said"], _beside(one)), known)
    plain_console().print(table)
    _more("--cursor", found["next"])


@app.command()
@asking
def feeds(where: Where, as_json: AsJson = False) -> None:
    """List the feeds: how far each is pulled and handed on, and why one waits."""
    found = ask(where, "GET", f"{_PATH}/feeds")
    if as_json:
        print(json.dumps(found))
        return
    table = _table("from", "for", "records", "delivered", "findings", "pulled (UTC)", "state")
    for one in found:
        pulled = moment(one["pulled_at"]) if one["pulled_at"] else "never"
        numbers = (f"{one[name]:,}" for name in ("number", "delivered", "findings"))
        table.add_row(one["source"], one["registry"], *numbers, pulled, _state(one))
    plain_console().print(table)


@app.command("view")
@asking
def at_source(
    where: Where,
    source: Source,
    registry: Registry,
    narrowed: Narrowed,
    timely: Timely,
    limit: Limit = 100,
    after: After = None,
    as_json: AsJson = False,
) -> None:
    """Show the records that the source has for a registry now, in the order of its feed, without pulling."""
    wanted = _wanted(narrowed, timely) | given(source=source, registry=registry, limit=limit, after=after)
    found = ask(where, "GET", f"{_PATH}/live/records", params=wanted)
    if as_json:
        print(json.dumps(found))
        return
    table = _table("at (UTC)", "what", "units", "from", "to")
    for one in found["items"]:
        table.add_row(*_told(one["said"]))
    plain_console().print(table)
    _aged(found)
    _more("--after", found["next"])


@app.command()
@asking
def holdings(
    where: Where,
    source: Source,
    registry: Registry,
    narrowed: Narrowed,
    limit: Limit = 100,
    after: After = None,
    as_json: AsJson = False,
) -> None:
    """Show what a registry's Party holds in the source now, and what of its units others hold there."""
    wanted = given(**asdict(narrowed), source=source, registry=registry, limit=limit, after=after)
    found = ask(where, "GET", f"{_PATH}/live/holdings", params=wanted)
    if as_json:
        print(json.dumps(found))
        return
    table = _table("party", "account", "units", "tonnes", "vintage", "activity")
    for one in found["items"]:
        block = one["block"]
        tonnes = f"{block['last'] - block['first'] + 1:,}"
        attributes = block["attributes"]
        table.add_row(
            one["party"], one["account"], _units(block), tonnes, str(attributes["vintage"]), attributes["activity"]
        )
    plain_console().print(table)
    _aged(found)
    _more("--after", found["next"])


@app.command()
@asking
def difference(
    where: Where,
    source: Source,
    registry: Registry,
    after: Annotated[str, typer.Option(help="Begin behind this number, or where another comparison ended.")] = "0",
    as_json: AsJson = False,
) -> None:
    """Hold what was pulled against what the source shows now, some thousand records at once.

    Exit code 0 when nothing differs, 1 when something does.
    """
    wanted = {"source": source, "registry": registry, "after": after}
    found = ask(where, "GET", f"{_PATH}/difference", params=wanted)
    if as_json:
        print(json.dumps(found))
    else:
        console = plain_console()
        for one in found["differences"]:
            console.print(f"record {one['number']:,}: {one['which'].replace('-', ' ')}", soft_wrap=True)
        counts = ", ".join(f"{number:,} {name.replace('-', ' ')}" for name, number in found["counts"].items())
        console.print(f"records {found['after'] + 1:,} to {found['until']:,} of {found['source']}: {counts}")
        _more("--after", found["next"])
    if any(found["counts"].values()):
        raise typer.Exit(1)


@app.command()
@asking
def pull(
    where: Where,
    source: Source,
    registry: Registry,
    wait: Annotated[bool, typer.Option(help="Wait until it is done.")] = True,
    as_json: AsJson = False,
) -> None:
    """Pull a feed now: here where the database is, unless another does it already; elsewhere a worker does it."""
    path = f"{_PATH}/feeds/{source}/{registry}"
    found = ask(where, "POST", f"{path}/pull")
    if wait and where.gateway is None:
        _pull_here(where, source, registry, shown=not as_json)
        found = ask(where, "GET", path)["feed"]
    with _waiting(f"{source} for {registry}", shown=wait and not as_json) as tell:
        until = time.monotonic() + STILL_SECONDS
        while wait and found["due"] and not found["waiting"] and time.monotonic() < until:
            time.sleep(LOOK_SECONDS)
            before, found = found, ask(where, "GET", path)["feed"]
            tell(found["number"], None)
            until = until if found["number"] == before["number"] else time.monotonic() + STILL_SECONDS
    if as_json:
        print(json.dumps(found))
    else:
        plain_console().print(f"{source} for {registry}: {found['number']:,} records, {_state(found)}", soft_wrap=True)
    if wait and (found["due"] or found["stopped"] or found["waiting"]):
        raise GatewayError(Kind.UNAVAILABLE, f"not all is pulled: {_state(found)}")


@app.command()
def verify(
    source: Annotated[str | None, typer.Option(help="Only what was pulled from this registry.")] = None,
    registry: Annotated[str | None, typer.Option(help="Only what was pulled for these books.")] = None,
    as_json: AsJson = False,
    keep: Keep = None,
) -> None:
    """Prove what is kept: every text, number, digest and signature, from the first record on; while others work.

    Exit code 0 when everything is as it must be, 1 when something is not.
    """
    from gateway.history import verify as proving

    with chosen(keep) as settings, _progress("records proven", shown=not as_json) as tell:
        verdict = on_database(settings, lambda database: proving.verify(database, source, registry, tell))
    if as_json:
        print(json.dumps({**asdict(verdict), "valid": verdict.valid}))
    else:
        _print(plain_console(), verdict)
    if not verdict.valid:
        raise typer.Exit(1)


def _pull_here(where: Where, source: str, registry: str, *, shown: bool) -> None:
    """Pull a feed in this process, to its end; nothing where another process is at it."""
    from gateway import wiring
    from gateway.cli import processes

    async def run(settings: "Settings") -> None:
        gateway = wiring.build(settings)
        async with processes.started(settings, gateway):
            await gateway.pulls.pull(source, registry, lambda number: tell(number, None))

    with chosen(where.keep) as settings, _waiting(f"{source} for {registry}", shown=shown) as tell:
        try:
            asyncio.run(run(settings))
        except GatewayError as error:
            if error.kind is not Kind.CONFLICT:
                raise


def _print(console: Console, verdict: Verdict) -> None:
    """The feeds that have records, and what is wrong: of hundreds of sections most have none."""
    for feed in (feed for feed in verdict.feeds if feed.records or feed.faults):
        told = f"{feed.records:,} records in {feed.pages:,} signed pages"
        told += f", {feed.logged:,} of them with the registry's own log" if feed.logged else ""
        console.print(f"{feed.source} for {feed.registry}: {told}, digest {feed.digest}", soft_wrap=True)
    for fault in verdict.faults:
        console.print(str(fault), soft_wrap=True)
    if verdict.found > len(verdict.faults):
        console.print(f"and {verdict.found - len(verdict.faults):,} more", soft_wrap=True)
    console.print("the history is what was signed" if verdict.valid else "the history is NOT what was signed")


def _wanted(narrowed: Narrowed, timely: Timely) -> dict[str, Any]:
    each = asdict(narrowed) | asdict(timely)
    return given(**{**each, "type": timely.type and timely.type.value})


def _table(*columns: str) -> Table:
    return Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)


def _told(said: dict[str, Any], beside: str = "") -> tuple[str | Text, ...]:
    """A record as a row: when, what, which units, from where to where."""
    what = Text.assemble(said["type"], (f"\n{said['transaction']}", "dim"), (f"\n{beside}" if beside else "", "dim"))
    ends = (said.get("from"), said.get("to"))
    return (
        moment(said["at"]),
        what,
        _units(said["block"]),
        *("\n".join((end["registry"], end["party"], end["account"])) if end else "" for end in ends),
    )


def _beside(one: dict[str, Any]) -> str:
    """What is to be known beside what a record says."""
    told = ["corrected"] if one["corrected_by"] else []
    told += ["corrects another"] if "corrects" in one["said"] else []
    return "; ".join([*told, *(f"{f['detail']} ({f['code']})" for f in one["findings"])])


def _units(block: dict[str, Any]) -> str:
    named = f"{block['origin']['registry']}/{block['origin']['series']}\n{block['first']}–{block['last']}"
    return f"{named}\n{block['itmo']['first']}" if "itmo" in block else named


def _state(feed: dict[str, Any]) -> str:
    if feed["stopped"]:
        return "stopped: its past has changed"
    if feed["waiting"]:
        return f"waits: {feed['waiting']}"
    return "due" if feed["due"] else "up to date"


def _aged(found: dict[str, Any]) -> None:
    told = f"as {found['source']} showed it at {moment(found['as_of'])} UTC, {found['age_seconds']:.0f} s ago"
    plain_console().print(f"{told}; nothing of it is kept here", soft_wrap=True)


def _more(option: str, following: str | None) -> None:
    if following is not None:
        plain_console().print(f"more: {option} {following}", soft_wrap=True)


@contextmanager
def _progress(what: str, *, shown: bool) -> Iterator[Tell]:
    """Tells a person, if one looks, how far it is."""
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn())
    with _bar(*columns, shown=shown) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, size: bar.update(task, completed=done, total=size)


@contextmanager
def _waiting(what: str, *, shown: bool) -> Iterator[Any]:
    """Tells a person, if one looks, that something goes on whose end nobody knows."""
    columns = (SpinnerColumn(), TextColumn(what), TextColumn("{task.completed:,} records"), TimeElapsedColumn())
    with _bar(*columns, shown=shown) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, size: bar.update(task, completed=done, total=size)


def _bar(*columns: Any, shown: bool) -> Progress:
    person = shown and sys.stderr.isatty()
    return Progress(*columns, console=Console(stderr=True), transient=True, disable=not person)
