"""Shows the demo's result: a table for people, JSON for machines. Both say what is synthetic."""

import shlex
import sys
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from gateway.demo.network import Network
from gateway.demo.story import Result

NOTE = (
    "Quantities: the first A6.4ER issuance (PoA 10471, Myanmar, 2026). Serials, accounts, the authorisation's id "
    "and the split into transfers are synthetic; the registries are sandboxes."
)
_COLUMNS = ("issued", "held", "in_transit", "used", "cancelled", "moved_in", "moved_out")


def as_dict(result: Result) -> dict[str, Any]:
    """The result as JSON-ready values, in tonnes."""
    return {
        "synthetic": NOTE,
        "transfers": {"total": result.total, "completed": result.completed, "final": result.final},
        "units": {"moved": result.units_moved},
        "conservation": result.conservation,
        "trouble": {
            "replies_lost": int(result.nowhere > 0),
            "workers_killed": int(result.nowhere > 0),
            "tonnes_nowhere": result.nowhere,
        },
        "doctor": {"fits": result.doctor.fits, "checks": len(result.doctor.results)} if result.doctor else None,
        "table": result.books["registries"],
        "seconds": round(result.seconds, 2),
    }


def table(console: Console, result: Result) -> None:
    """Print the table: what each registry holds, and whether nothing was lost or doubled."""
    # Two lines of heading and no rules between the columns: fits 80 columns up to 99,999,999 t a cell.
    shown = Table(title="Tonnes per registry, by the gateway's book", box=box.SIMPLE_HEAD, pad_edge=False)
    shown.add_column("registry", no_wrap=True)
    for name in _COLUMNS:
        shown.add_column(name.replace("_", "\n"), justify="right", no_wrap=True)
    for row in result.books["registries"]:
        shown.add_row(row["registry"], *(f"{row[name]:,}" for name in _COLUMNS))
    console.print(shown)
    colour = "green" if result.conservation == "holds" else "red"
    agree = "the registries' own books agree" if result.agrees else "the registries' own books differ"
    console.print(f"conservation: [{colour}]{result.conservation}[/{colour}] ({agree})")
    if result.nowhere:
        console.print(
            f"trouble: the answer that {result.nowhere:,} t were debited was lost and the worker killed (SIGKILL) "
            "before they were credited; started again, it resolved this by itself"
        )
    if result.doctor is not None:
        fits = "everything fits" if result.doctor.fits else "something does not fit"
        console.print(f"doctor: {fits} ({len(result.doctor.results)} checks of the whole database)")
    console.print(
        f"{result.completed} of {result.total} transfers completed, {result.units_moved:,} t moved "
        f"in {result.seconds:.1f} s. {NOTE}",
        style="dim",
    )


def addresses(console: Console, network: Network, folder: Path) -> None:
    """Print where to look while the demo runs."""
    program = Path(sys.executable).with_name("gateway")
    if program.is_relative_to(Path.cwd()):
        program = program.relative_to(Path.cwd())
    lines = [
        ("operator API", f"{network.operator}/docs"),
        ("transfers", f"{network.operator}/api/v1/transfers"),
        ("book", f"{network.operator}/api/v1/books"),
        ("link", f"{network.link}/keys"),
        *((code, f"{url}/admin/books") for code, url in network.registries.items()),
        ("commands", f"{program} transfers list --keep {shlex.quote(str(folder))}"),
    ]
    console.print()
    for name, where in lines:
        console.print(f"{name:<13} {where}", markup=False, soft_wrap=True)
    console.print("Ctrl-C stops everything.")
