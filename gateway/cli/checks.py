"""``gateway checks``: the check table, from the program itself; needs no database and no settings."""

import json

from rich import box
from rich.table import Table

from gateway.cli.keep import AsJson, plain_console
from gateway.domain.check_codes import CHECKS


def checks(as_json: AsJson = False) -> None:
    """Every code that a refusal or a flag can carry: what holds when the check is passed, and who asks for it."""
    rows = [
        {
            "code": code,
            "stage": check.stage.name.lower().replace("_", " "),
            "severity": check.severity.value,
            "text": check.text,
            "source": check.source,
        }
        for code, check in sorted(CHECKS.items())
    ]
    if as_json:
        print(json.dumps(rows))
        return
    table = Table("stage", "code", "", "holds when passed", "source", box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        table.add_row(*(str(row[name]) for name in ("stage", "code", "severity", "text", "source")))
    plain_console().print(table)
