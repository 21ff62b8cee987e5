"""The command ``gateway``: thin commands, a file a noun; what they do lives elsewhere.

Every command takes ``--keep DIR`` to work on the data that ``gateway demo --keep DIR`` keeps, running or not;
without it the ``GATEWAY_*`` variables say where things are. Errors end a command with one line on standard
error and an exit code: 2 for what the caller can mend, 3 for what is not there now, 1 for anything else.
"""

import sys

import typer

from gateway.cli import keys, links, processes, transfers
from gateway.cli.demo import demo
from gateway.errors import GatewayError, Kind

app = typer.Typer(
    name="gateway",
    help="The Article 6 registry gateway: links registries, relays authorised units, proves what happened.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command("demo")(demo)
app.command("serve")(processes.serve)
app.command("worker")(processes.worker)
app.command("migrate")(processes.migrate)
app.add_typer(keys.app, name="keys")
app.add_typer(links.app, name="links")
app.add_typer(transfers.app, name="transfers")

_EXIT = {Kind.UNAVAILABLE: 3, Kind.INVARIANT: 1}


def main() -> None:
    """Run a command; the one place where an error becomes an exit code."""
    try:
        app()
    except GatewayError as error:
        code = f" [{error.code}]" if error.code else ""
        print(f"gateway: {error.detail}{code}", file=sys.stderr)
        sys.exit(_EXIT.get(error.kind, 2))
