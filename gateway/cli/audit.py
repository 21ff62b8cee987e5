"""``gateway audit``: search the log, export it to a file, and follow one unit from its issuance on.

For auditors: each shows what the caller's registry sees, or everything to who is bound to all. An export is written
beside its file and takes its name only when it is whole; on standard output the exit code tells.
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from gateway.cli import api
from gateway.cli.api import Where, ask, asking, given
from gateway.cli.keep import AsJson, chosen, moment, on_database, plain_console
from gateway.domain import moments
from gateway.domain.callers import Scope
from gateway.errors import GatewayError, Kind
from gateway.evidence import search as searching
from gateway.evidence.export import Ending, Format

_PATH = "/api/v1/audit"
app = typer.Typer(help="The log for auditors: search, export, provenance.", no_args_is_help=True)


@dataclass(frozen=True, slots=True)
class Restrictions:
    """What is looked for: the options of a search and of an export."""

    transfer: Annotated[str | None, typer.Option(help="Entries about this transfer.")] = None
    unit: Annotated[
        str | None, typer.Option(help="About this unit: REGISTRY/SERIES/SERIAL, or an ITMO identifier.")
    ] = None
    party: Annotated[str | None, typer.Option(help="That concern this Party, KOR say.")] = None
    link: Annotated[str | None, typer.Option(help="Of messages to or from this link, MEC01 say.")] = None
    type: Annotated[str | None, typer.Option(help="Of this type of message or decision, transfer.propose say.")] = None
    code: Annotated[int | None, typer.Option(help="By which this code was given.")] = None
    since: Annotated[str | None, typer.Option(help="From this time on, 2026-03-01T12:00:00Z say.")] = None
    until: Annotated[str | None, typer.Option(help="Before this time.")] = None
    actor: Annotated[str | None, typer.Option(help="Decided by this person or machine (the id in the log).")] = None


@app.command()
@asking
def search(
    where: Where,
    restrictions: Restrictions,
    limit: Annotated[int, typer.Option(min=1, max=searching.MAX_PAGE, help="Most entries.")] = 50,
    cursor: Annotated[str | None, typer.Option(help="Go on where a page of the same search ended.")] = None,
    as_json: AsJson = False,
) -> None:
    """List entries of the log, newest first, with the checkpoint of this moment."""
    wanted = given(**asdict(restrictions))
    found = ask(where, "GET", f"{_PATH}/entries", params=wanted | given(limit=limit, cursor=cursor))
    if as_json:
        print(json.dumps(found))
        return
    table = Table("entry", "leaf", "at (UTC)", "what", "message", box=box.SIMPLE_HEAD, pad_edge=False)
    for entry in found["entries"]:
        table.add_row(str(entry["entry"]), _leaf(entry), moment(entry["at"]), entry["kind"], _message(entry["message"]))
    plain_console().print(table)
    _checkpoint(found["checkpoint"])
    if found["next"] is not None:
        plain_console().print(f"more: --cursor {found['next']}", soft_wrap=True)


@app.command()
@asking
def provenance(
    where: Where,
    unit: Annotated[str, typer.Argument(help="REGISTRY/SERIES/SERIAL, or an ITMO identifier.")],
    as_json: AsJson = False,
) -> None:
    """Tell every action that ever covered a unit, across splits, from issuance on."""
    found = ask(where, "GET", f"{_PATH}/provenance", params={"unit": unit})
    if as_json:
        print(json.dumps(found))
        return
    place = found["place"]
    title = f"{found['registry']}/{found['series']}/{found['serial']}"
    title += f", {found['itmo']}" if found["itmo"] else ""
    title += f", in {place['registry']} of {place['party']} ({place['account_type']})" if place else ""
    table = Table("entry", "leaf", "at (UTC)", "what", "of the block", title=title, box=box.SIMPLE_HEAD, pad_edge=False)
    for step in found["steps"]:
        what = " ".join(str(word) for word in (step["what"], step["state"], step["details"].get("levy")) if word)
        block = f"{step['first']}–{step['last']}" if step["first"] is not None else ""
        named = Text.assemble(f"{what}\n", (step["subject"], "dim"))
        table.add_row(str(step["entry"]), _leaf(step), moment(step["at"]), named, block)
    plain_console().print(table)
    _checkpoint(found["checkpoint"])


@app.command()
@asking
def export(
    where: Where,
    restrictions: Restrictions,
    out: Annotated[
        Path | None, typer.Option("--out", dir_okay=False, help="The file; without, standard output.")
    ] = None,
    format: Annotated[Format, typer.Option(help="What is written.")] = Format.NDJSON,
) -> None:
    """Write all entries that a search finds, oldest first, with their number and the checkpoint at the end."""
    wanted = given(**asdict(restrictions))
    ending = Ending(format)
    with _opened(out) as file:

        def take(chunk: bytes) -> None:
            file.write(chunk)
            ending.feed(chunk)

        (_elsewhere if where.gateway else _here)(where, format, wanted, take)
        ending.require()
    if out is not None:
        counted = f"{ending.count} entries" if ending.count is not None else "entries"
        print(f"{counted} in {out}", file=sys.stderr)


def _elsewhere(where: Where, format: Format, wanted: Mapping[str, Any], take: Callable[[bytes], None]) -> None:
    from gateway.cli import remote

    asked = {**wanted, "format": format.value}
    with remote.streamed(*api.elsewhere(where), f"{_PATH}/export", params=asked) as answer:
        if not answer.is_success:
            answer.read()
            raise api.refused(answer)
        for chunk in answer.iter_bytes():
            take(chunk)


def _here(where: Where, format: Format, wanted: Mapping[str, Any], take: Callable[[bytes], None]) -> None:
    """Write it in this process: the application would hold all of it in memory."""
    from gateway import db, wiring
    from gateway.evidence import export as exporting
    from gateway.web.audit import wanted as read

    api.require_here(where)
    times = {name: moments.read(wanted[name]) for name in ("since", "until") if name in wanted}
    asked = read(**{**wanted, **times})

    async def written(database: db.Database) -> None:
        caller = await wiring.Local(database, where.by).of("")
        caller.require(Scope.AUDIT_READ)
        begun = await exporting.begun(database, caller.sight, asked, format)
        async for chunk in begun.chunks():
            take(chunk)

    with chosen(where.keep) as settings:
        on_database(settings, written)


@contextmanager
def _opened(out: Path | None) -> Iterator[BinaryIO]:
    """Where it is written: beside ``out`` until it is whole, or to standard output."""
    if out is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    part = out.with_name(f"{out.name}.part")
    try:
        with part.open("wb") as file:
            yield file
        part.replace(out)
    except OSError as error:
        raise GatewayError(Kind.MALFORMED, f"--out {out}: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)


def _leaf(shown: dict[str, Any]) -> str:
    return str(shown["leaf_index"]) if shown["leaf_index"] is not None else ""


def _message(said: dict[str, Any] | None) -> str:
    if said is None:
        return ""
    way = {"in": "from", "out": "to", "shown": "quoted, of"}[said["direction"]]
    return f"{way} {said['peer']} {said['id']}"


def _checkpoint(found: dict[str, Any] | None) -> None:
    said = f"at the checkpoint of size {found['size']}, root {found['root']}" if found else "no checkpoint is published"
    plain_console().print(said, soft_wrap=True)
