"""How a command asks the gateway: one call of the operator API, over HTTP or inside this process.

With ``--gateway URL --client ID=KEYFILE`` the call goes to a gateway that runs elsewhere, with a token like any
machine's. Without, the same application is made here on the database that ``--keep`` or the settings name, and whoever
has that database's password calls it as the gateway's own administrator, or with ``--by`` as a registered person. A
command therefore does the same wherever it runs, and prints what the API answers. Fails with the error of the API's
problem document.
"""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from gateway.cli.keep import chosen
from gateway.errors import GatewayError, Kind

By = Annotated[str | None, typer.Option("--by", help="The registered person who acts; the log names them.")]

_KINDS = {400: Kind.MALFORMED, 401: Kind.UNAUTHENTICATED, 403: Kind.FORBIDDEN, 404: Kind.NOT_FOUND, 409: Kind.CONFLICT}


@dataclass(frozen=True, slots=True)
class Where:
    """Which gateway a command asks, and in whose name."""

    keep: Path | None = None
    by: str | None = None


def ask(where: Where, method: str, path: str, **wanted: Any) -> Any:
    """Call the API once; what it answers. ``wanted`` is as for an ``httpx`` request (``params``, ``json``)."""
    answer = _here(where, method, path, **wanted)
    if answer.is_success:
        return answer.json() if answer.content else None
    said = answer.json()
    kind = _KINDS.get(answer.status_code, Kind.REJECTED if answer.status_code < 500 else Kind.UNAVAILABLE)
    raise GatewayError(kind, str(said.get("detail")), code=said.get("code"))


def _here(where: Where, method: str, path: str, **wanted: Any) -> httpx.Response:
    """Serve the call in this process."""
    from gateway import wiring
    from gateway.web import operator

    async def served() -> httpx.Response:
        gateway = wiring.build(settings)
        try:
            callers = wiring.Local(where.by)
            app = operator.app(gateway.database, gateway.node, gateway.inbox, callers, wiring.EXECUTORS)
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
                return await client.request(method, path, **wanted)
        finally:
            await gateway.close()

    with chosen(where.keep) as settings:
        return asyncio.run(served())
