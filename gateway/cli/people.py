"""``gateway people``: persons who act, each with a role. They get tokens under a key of theirs, as machines do."""

import json
from typing import Annotated

import typer

from gateway.cli import principals
from gateway.cli.api import Where, ask, asking
from gateway.cli.principals import All, Ends, Keys, Name, Registry

app = principals.administering("people", "persons")


@app.command("add")
@asking
def add(
    where: Where,
    name: Name,
    keys: Keys,
    role: Annotated[str, typer.Option(help="viewer, operator, approver, administrator or auditor.")],
    registry: Registry = None,
    everything: All = False,
    not_after: Ends = None,
) -> None:
    """Register a person. Prints the id that the log names them by."""
    wanted = {"name": name, "registry": principals.bound(registry, everything), "role": role}
    print(json.dumps(ask(where, "POST", "/api/v1/people", json=wanted | principals.new_keys(keys, not_after))))
