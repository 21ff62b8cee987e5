"""``gateway nomenclature``: the lists of values in force, from the program itself; needs no database, no settings."""

import dataclasses
import json
from typing import Any

from rich import box
from rich.table import Table

from gateway.cli.keep import AsJson, plain_console
from gateway.domain.nomenclature import Nomenclature, in_force

#: The lists that are values alone.
_LISTS = (
    *("unit_types", "metrics", "mitigation_types", "purposes", "first_transfer_definitions"),
    *("action_types", "sectors", "activity_types", "underlying_registries"),
)


def nomenclature(as_json: AsJson = False) -> None:
    """The edition of the nomenclature in force, where it is from, and every value of its lists."""
    if as_json:
        members = {f.name: getattr(in_force, f.name) for f in dataclasses.fields(in_force)}
        shown: dict[str, Any] = {"date": in_force.date.isoformat(), "marks": dict(in_force.marks)}
        for rows in ("account_types", "action_subtypes"):
            shown[rows] = [dataclasses.asdict(row) for row in members[rows]]
        print(json.dumps(members | shown))
        return
    console = plain_console()
    console.print(f"nomenclature of {in_force.date}: {in_force.source}")
    console.print(_table(in_force))


def _table(edition: Nomenclature) -> Table:
    table = Table("list", "value", "", box=box.SIMPLE_HEAD, pad_edge=False)
    for account in edition.account_types:
        about = "; ".join(part for part in (account.standing.value, account.mark) if part)
        table.add_row("account types", f"{account.code} {account.label}", about)
    for name in _LISTS:
        for value in getattr(edition, name):
            table.add_row(name.replace("_", " "), value, edition.marks.get(value, ""))
    for subtype in edition.action_subtypes:
        table.add_row("action subtypes", subtype.value, f"of {', '.join(subtype.under)}")
    return table
