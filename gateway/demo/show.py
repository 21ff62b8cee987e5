"""Shows the demo's result: tables for people, JSON for machines. Both say what is synthetic."""

import dataclasses
import shlex
import sys
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from gateway.demo import people
from gateway.demo.network import Network
from gateway.demo.outcome import Result, Way
from gateway.demo.proving import Proof
from gateway.demo.rules import Rules

_COLUMNS = ("issued", "held", "in_transit", "used", "cancelled", "moved_in", "moved_out")


def as_dict(result: Result, note: str) -> dict[str, Any]:
    """The result as JSON-ready values, in tonnes."""
    return {
        "synthetic": note,
        "transfers": {"total": result.total, "completed": result.completed, "final": result.final},
        "units": {"moved": result.units_moved},
        "conservation": result.conservation,
        "arrows": [_way(way) for way in result.ways],
        "records": None if result.records is None else {
            "recorded": result.records.recorded,
            "tonnes": result.records.quantity,
            "equal": result.records.equal,
        },
        "trouble": {
            "replies_lost": int(result.nowhere > 0),
            "workers_killed": int(result.nowhere > 0),
            "tonnes_nowhere": result.nowhere,
        },
        "rules": dataclasses.asdict(result.rules) if result.rules else None,
        "access": [dataclasses.asdict(one) for one in result.tries],
        "history": [dataclasses.asdict(feed) for feed in result.history],
        "reconciliation": [dataclasses.asdict(one) for one in result.compared],
        "log": dataclasses.asdict(result.proof) if result.proof else None,
        "doctor": {"fits": result.doctor.fits, "checks": len(result.doctor.results)} if result.doctor else None,
        "table": _used(result),
        "seconds": round(result.seconds, 2),
    }  # fmt: skip


def tables(console: Console, result: Result, note: str) -> None:
    """Print what went which way, what each registry holds, and whether nothing was lost or doubled."""
    console.print(_arrows(result))
    console.print(_books(result))
    colour = "green" if result.conservation == "holds" else "red"
    agree = "the registries' own books agree" if result.agrees else "the registries' own books differ"
    console.print(f"conservation: [{colour}]{result.conservation}[/{colour}] ({agree})")
    if result.rules is not None:
        console.print(_rules(result.rules))
    if result.tries:
        console.print(_tries(result))
    if result.records is not None:
        equal = "equal" if result.records.equal else "[red]not equal[/red]"
        console.print(f"records: {result.records.recorded} actions recorded, {equal}")
    if result.nowhere:
        console.print(
            f"trouble: the answer that {result.nowhere:,} t were debited was lost and the worker killed (SIGKILL) "
            "before they were credited; started again, it resolved this by itself"
        )
    if result.history:
        console.print(_history(result))
    if result.compared:
        console.print(_compared(result))
    if result.proof is not None:
        console.print(_proof(result.proof))
    if result.doctor is not None:
        fits = "everything fits" if result.doctor.fits else "something does not fit"
        console.print(f"doctor: {fits} ({len(result.doctor.results)} checks of the whole database)")
    console.print(
        f"{result.completed:,} of {result.total:,} transfers completed, {result.units_moved:,} t moved "
        f"in {result.seconds:.1f} s. {note}",
        style="dim",
    )


def addresses(console: Console, network: Network, folder: Path) -> None:
    """Print where to look while the demo runs."""
    program = Path(sys.executable).with_name("gateway")
    if program.is_relative_to(Path.cwd()):
        program = program.relative_to(Path.cwd())
    client = shlex.quote(f"{network.callers[people.CLIENT]}={network.machine_key}")
    lines = [
        ("operator API", f"{network.operator}/openapi.json"),
        ("transfers", f"{network.operator}/api/v1/transfers"),
        ("book", f"{network.operator}/api/v1/books"),
        ("a token", f"{program} token --gateway {network.operator} --client {client}"),
        ("link", f"{network.link}/keys"),
        *((code, f"{url}/admin/books") for code, url in network.registries.items()),
        ("commands", f"{program} transfers list --keep {shlex.quote(str(folder))}"),
    ]
    console.print()
    for name, where in lines:
        console.print(f"{name:<13} {where}", markup=False, soft_wrap=True)
    console.print("Ctrl-C stops everything.")


def _arrows(result: Result) -> Table:
    shown = Table(title="Which way, and what came of it", box=box.SIMPLE_HEAD, pad_edge=False)
    shown.add_column("arrow", no_wrap=True)
    shown.add_column("from", no_wrap=True)
    shown.add_column("to", no_wrap=True)
    shown.add_column("tonnes", justify="right", no_wrap=True)
    shown.add_column("state", no_wrap=True)
    for way in result.ways:
        state = f"{way.state} {way.code}" if way.code else way.state
        state = state if way.as_it_should else f"[red]{state}[/red]"
        shown.add_row(way.arrow, way.source, way.to, f"{way.quantity:,}", state)
    return shown


def _rules(rules: Rules) -> Table:
    one = rules.issuance
    taken = f"{one.host}: {one.gross:,} t issued, {one.share_of_proceeds:,} for adaptation, {one.omge:,} for OMGE"
    shown = Table(title="What the rules made of them", box=box.SIMPLE_HEAD, pad_edge=False, caption=taken)
    shown.add_column("first transfer by", no_wrap=True)
    shown.add_column("recorded as", no_wrap=True)
    shown.add_column("tonnes", justify="right", no_wrap=True)
    shown.add_column("moved as", no_wrap=True)
    for d in rules.definitions:
        recorded = d.first_transfer if d.as_it_should else f"[red]{d.first_transfer}[/red]"
        shown.add_row(d.definition, recorded, f"{d.tonnes:,}", d.moved_as)
    return shown


def _proof(proof: Proof) -> Table:
    shown = Table(title="What nobody has to believe the gateway", box=box.SIMPLE_HEAD, pad_edge=False)
    shown.add_column("what was verified")
    shown.add_column("outcome", no_wrap=True)
    promises = f"{proof.promises_kept} kept, {proof.promises_open} open, {proof.promises_broken} broken"
    evidence = "valid" if proof.evidence_valid else "[red]not valid[/red]"
    log = "valid" if proof.valid else "[red]not valid[/red]"
    shown.add_row(f"log: {proof.entries} entries, {proof.checkpoints + 1} checkpoints", log)
    shown.add_row("its last checkpoint, cosigned by registries", f"{proof.witnesses} of {proof.witnesses}")
    shown.add_row("promises in receipts, looked up by registries", promises)
    shown.add_row("MEC01's own log, cosigned by the gateway", f"{proof.cosigned} entries")
    shown.add_row(f"evidence of one transfer, offline: {proof.evidence_checks} checks", evidence)
    return shown


def _history(result: Result) -> Table:
    shown = Table(title="History of its units in each Party's own books", box=box.SIMPLE_HEAD, pad_edge=False)
    shown.add_column("pulled from", no_wrap=True)
    shown.add_column("for", no_wrap=True)
    shown.add_column("records", justify="right", no_wrap=True)
    shown.add_column("there, here and in its books", no_wrap=True)
    for feed in result.history:
        equal = "equal" if feed.equal else "[red]not equal[/red]"
        shown.add_row(feed.source, feed.registry, f"{feed.records:,}", equal)
    return shown


def _compared(result: Result) -> Table:
    shown = Table(title="The registries' books compared with the gateway's", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("link", "when"):
        shown.add_column(name, no_wrap=True)
    for name in ("books", "tonnes\ndiffering", "round\ntrips"):
        shown.add_column(name, justify="right", no_wrap=True)
    shown.add_column("outcome", no_wrap=True)
    for one in result.compared:
        codes = " ".join(map(str, one.codes))
        outcome = f"{one.outcome} {codes}".rstrip()
        outcome = outcome if one.as_it_should else f"[red]{outcome}[/red]"
        shown.add_row(one.link, one.when, f"{one.books:,}", f"{one.differing:,}", f"{one.round_trips:,}", outcome)
    return shown


def _tries(result: Result) -> Table:
    shown = Table(title="Who may see and do what, tried", box=box.SIMPLE_HEAD, pad_edge=False)
    shown.add_column("who", no_wrap=True)
    shown.add_column("tries")
    shown.add_column("outcome", no_wrap=True)
    for one in result.tries:
        shown.add_row(one.who, one.what, one.outcome if one.as_it_should else f"[red]{one.outcome}[/red]")
    return shown


def _books(result: Result) -> Table:
    # Two lines of heading and no rules between the columns: fits 80 columns up to 99,999,999 t a cell.
    shown = Table(title="Tonnes per registry, by the gateway's book", box=box.SIMPLE_HEAD, pad_edge=False)
    shown.add_column("registry", no_wrap=True)
    for name in _COLUMNS:
        shown.add_column(name.replace("_", "\n"), justify="right", no_wrap=True)
    for row in _used(result):
        shown.add_row(row["registry"], *(f"{row[name]:,}" for name in _COLUMNS))
    return shown


def _used(result: Result) -> list[dict[str, Any]]:
    """The registries with anything in their books: of the many sections, few have."""
    return [row for row in result.books["registries"] if any(row[name] for name in _COLUMNS)]


def _way(way: Way) -> dict[str, Any]:
    return {
        "arrow": way.arrow,
        "from": way.source,
        "to": way.to,
        "activity": way.activity,
        "tonnes": way.quantity,
        "transfers": way.transfers,
        "state": way.state,
        "code": way.code,
    }
