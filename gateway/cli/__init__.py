"""The command ``gateway``: thin commands, a file a noun; what they do lives elsewhere.

Every command takes ``--keep DIR`` to work on the data that ``gateway demo --keep DIR`` keeps, running or not;
without it the ``GATEWAY_*`` variables say where things are. What asks the operator API takes ``--gateway URL --client
NAME=KEYFILE`` as well, to ask a gateway that runs elsewhere. Errors end a command with one line on standard
error and an exit code: 2 for what the caller can mend, 3 for what is not there now, 1 for anything else.
"""

import importlib
import os
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from gateway.errors import GatewayError, Kind

#: Command → where it is. Imported when it is asked for: ``gateway keys`` does not wait for a web server.
_COMMANDS = {
    "demo": "demo:demo",
    "serve": "processes:serve",
    "worker": "processes:worker",
    "migrate": "processes:migrate",
    "keys": "keys:app",
    "clients": "clients:app",
    "people": "people:app",
    "token": "clients:token",
    "links": "links:app",
    "transfers": "transfers:app",
    "authorisations": "authorisations:app",
    "books": "books:books",
    "actions": "actions:actions",
    "adjustments": "adjustments:adjustments",
    "records": "records:records",
    "alarms": "alarms:alarms",
    "approvals": "approvals:app",
    "audit": "audit:app",
    "cases": "cases:app",
    "history": "history:app",
    "reconcile": "reconcile:reconcile",
    "reconciliations": "reconciliations:app",
    "halt": "halt:halt",
    "witnesses": "witnesses:app",
    "evidence": "evidence:app",
    "doctor": "doctor:doctor",
    "log": "log:app",
    "checks": "checks:checks",
    "nomenclature": "nomenclature:nomenclature",
}
_EXIT = {Kind.UNAVAILABLE: 3, Kind.INVARIANT: 1}


class _OnDemand(TyperGroup):
    def list_commands(self, ctx: Any) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name].partition(":")
        found = getattr(importlib.import_module(f"gateway.cli.{module}"), name)
        if not isinstance(found, typer.Typer):
            function, found = found, typer.Typer(add_completion=False)
            found.command()(function)
        command = typer.main.get_command(found)
        command.name = cmd_name
        return command


app = typer.Typer(
    cls=_OnDemand,
    help="The Article 6 registry gateway: links registries, relays authorised units, proves what happened.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


@app.callback()
def _gateway() -> None:
    """The group itself; its commands do the work."""


def main() -> None:
    """Run a command; the one place where an error becomes an exit code."""
    try:
        if "GATEWAY_CRASH" in os.environ:
            from gateway import settings

            settings.arm_crash()
        app(prog_name="gateway")
    except GatewayError as error:
        code = f" [{error.code}]" if error.code else ""
        print(f"gateway: {error.detail}{code}", file=sys.stderr)
        sys.exit(_EXIT.get(error.kind, 2))
