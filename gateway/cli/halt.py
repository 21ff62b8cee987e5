"""``gateway halt``: stop the taking of proposals and requests, at once; two persons lift it."""

import json
from typing import Annotated

import typer

from gateway.cli.api import Where, ask, asking
from gateway.errors import GatewayError, Kind


@asking
def halt(
    where: Where,
    reason: Annotated[str | None, typer.Argument(help="Why; every operator is told. Without: is it halted?")] = None,
    lift: Annotated[bool, typer.Option("--lift", help="Ask that the halt is lifted; another person approves.")] = False,
) -> None:
    """Take no proposal and no request from now on; what is committed comes to its end."""
    if lift and reason is not None:
        raise GatewayError(Kind.MALFORMED, "--lift is given without a reason")
    if lift:
        print(json.dumps(ask(where, "POST", "/api/v1/halt/lift")))
    elif reason is not None:
        print(json.dumps(ask(where, "POST", "/api/v1/halt", json={"reason": reason})))
    else:
        print(json.dumps(ask(where, "GET", "/api/v1/halt")))
