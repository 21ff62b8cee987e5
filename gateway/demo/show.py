"""Shows the demo's result: a table for people, JSON for machines. Both say what is synthetic."""

from typing import Any

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
        "table": result.books["registries"],
        "seconds": round(result.seconds, 2),
    }


def table(console: Console, result: Result) -> None:
    """Print the table: what each registry holds, and whether nothing was lost or doubled."""
    shown = Table(title="Tonnes per registry, as the gateway's book and the registries' own books agree")
    shown.add_column("Registry")
    for name in _COLUMNS:
        shown.add_column(name.replace("_", " "), justify="right")
    for row in result.books["registries"]:
        shown.add_row(row["registry"], *(f"{row[name]:,}" for name in _COLUMNS))
    console.print(shown)
    colour = "green" if result.conservation == "holds" else "red"
    console.print(f"conservation: [{colour}]{result.conservation}[/{colour}]")
    console.print(
        f"{result.completed} of {result.total} transfers completed, {result.units_moved:,} t moved "
        f"in {result.seconds:.1f} s. {NOTE}",
        style="dim",
    )


def addresses(console: Console, network: Network, folder: str) -> None:
    """Print where to look while the demo runs."""
    console.print(f"\noperator API  {network.operator}/docs  (also /api/v1/transfers, /api/v1/books)")
    console.print(f"link          {network.link}/keys")
    for code, url in network.registries.items():
        console.print(f"{code}         {url}/admin/books")
    console.print(f"commands      gateway transfers list --keep {folder}")
    console.print("Ctrl-C stops everything.")
