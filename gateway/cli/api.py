"""How a command asks the gateway: one call of the operator API, over HTTP or inside this process.

With ``--gateway URL --client ID=KEYFILE`` the call goes to a gateway that runs elsewhere, with a token like any
machine's. Without, the same application is made here on the database that ``--keep`` or the settings name, and whoever
has that database's password calls it as the gateway's own administrator, or with ``--by`` as a registered person. A
command therefore does the same wherever it runs, and prints what the API answers. Fails with the error of the API's
problem document.
"""

import asyncio
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from gateway.cli.keep import chosen
from gateway.errors import GatewayError, Kind

if TYPE_CHECKING:  # what only shows help does not wait for it
    import httpx

_KINDS = {400: Kind.MALFORMED, 401: Kind.UNAUTHENTICATED, 403: Kind.FORBIDDEN, 404: Kind.NOT_FOUND, 409: Kind.CONFLICT}


@dataclass(frozen=True, slots=True)
class Where:
    """Which gateway a command asks, and in whose name: the options that every such command has."""

    keep: Annotated[
        Path | None, typer.Option("--keep", help="Work on the data kept in this folder.", file_okay=False)
    ] = None
    by: Annotated[str | None, typer.Option("--by", help="The registered person who acts; the log names them.")] = None
    gateway: Annotated[str | None, typer.Option("--gateway", help="Ask the gateway at this address.")] = None
    client: Annotated[
        str | None, typer.Option("--client", metavar="ID=KEYFILE", help="As this client of that gateway.")
    ] = None


def asking(command: Callable[..., None]) -> Callable[..., None]:
    """A command that asks the API: each parameter that is a dataclass, ``Where`` above all, is made from its options.

    The options of ``Where`` are shown last, those of any other where their parameter stands.
    """
    own = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: hint for name, hint in own.items() if is_dataclass(hint)}

    @wraps(command)
    def run(**options: Any) -> None:
        made = {name: group(**{f.name: options.pop(f.name) for f in fields(group)}) for name, group in groups.items()}
        command(**made, **options)

    shown: list[inspect.Parameter] = []
    for p in sorted(inspect.signature(command).parameters.values(), key=lambda p: groups.get(p.name) is Where):
        mine = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=own[p.name])]
        shown += _options(groups[p.name]) if p.name in groups else mine
    run.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in shown}
    return run


def _options(group: Any) -> list[inspect.Parameter]:
    """The fields of a dataclass as options of a command."""
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default, annotation=hints[f.name])
        for f in fields(group)
    ]


def ask(where: Where, method: str, path: str, **wanted: Any) -> Any:
    """Call the API once; what it answers. ``wanted`` is as for an ``httpx`` request (``params``, ``json``)."""
    answer = _elsewhere(where, method, path, **wanted) if where.gateway else _here(where, method, path, **wanted)
    if answer.is_success:
        return answer.json() if answer.content else None
    raise refused(answer)


def refused(answer: "httpx.Response") -> GatewayError:
    """What the API says against a call, which has been read."""
    try:
        said = answer.json()
    except ValueError:  # not the gateway's words: a front's, say
        said = {"detail": f"HTTP status {answer.status_code}"}
    kind = _KINDS.get(answer.status_code, Kind.REJECTED if answer.status_code < 500 else Kind.UNAVAILABLE)
    return GatewayError(kind, str(said.get("detail")), code=said.get("code"))


def given(**wanted: Any) -> dict[str, Any]:
    """The parameters of a query that have a value."""
    return {name: value for name, value in wanted.items() if value is not None}


def _elsewhere(where: Where, method: str, path: str, **wanted: Any) -> "httpx.Response":
    from gateway.cli import remote

    return remote.call(*elsewhere(where), method, path, **wanted)


def elsewhere(where: Where) -> tuple[str, str]:
    """The address of the gateway that runs elsewhere and the client to ask it as; raises MALFORMED without both."""
    if where.keep is not None or where.by is not None:
        raise GatewayError(Kind.MALFORMED, "--gateway is another gateway than --keep or --by work on")
    if where.gateway is None or where.client is None:
        raise GatewayError(Kind.MALFORMED, "--gateway needs --client ID=KEYFILE")
    return where.gateway, where.client


def require_here(where: Where) -> None:
    """Raise MALFORMED for options that only a gateway elsewhere is asked with."""
    if where.client is not None:
        raise GatewayError(Kind.MALFORMED, "--client needs --gateway URL")


def _here(where: Where, method: str, path: str, **wanted: Any) -> "httpx.Response":
    """Serve the call in this process."""
    import httpx

    from gateway import wiring
    from gateway.settings import named
    from gateway.web import operator

    require_here(where)

    async def served() -> "httpx.Response":
        gateway = wiring.build(settings)
        try:
            with named("database_url"):
                await gateway.database.check()
            callers = wiring.Local(gateway.database, where.by)
            app = operator.app(
                gateway.database,
                gateway.node,
                gateway.inbox,
                callers,
                wiring.EXECUTORS,
                live=gateway.live,
                quorum=settings.witness_quorum,
                announce_seconds=settings.announce_seconds,
            )
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
                return await client.request(method, path, **wanted)
        finally:
            await gateway.close()

    with chosen(where.keep) as settings:
        return asyncio.run(served())
