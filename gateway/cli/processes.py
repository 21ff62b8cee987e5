"""``gateway serve``, ``gateway worker`` and ``gateway migrate``: the long-running processes, and the schema."""

import asyncio
import json
import signal
from collections.abc import Awaitable, Callable

from gateway import migrations, telemetry, wiring
from gateway import worker as relay_worker
from gateway.cli.keep import Keep, chosen
from gateway.errors import GatewayError, Kind
from gateway.web import link as link_edge
from gateway.web import operator as operator_edge
from gateway.web import server
from gateway.wiring import Gateway


def serve(keep: Keep = None) -> None:
    """Serve registries and operators; prints one JSON line with both addresses when ready."""
    with chosen(keep) as settings:
        sockets = [server.listen(settings.link_listen), server.listen(settings.operator_listen)]

        async def run(gateway: Gateway, stop: asyncio.Event) -> None:
            for sock in sockets:
                sock.listen(1024)
            link, operator = map(server.url, sockets)
            print(json.dumps({"link": link, "operator": operator}), flush=True)
            facing_registries = link_edge.app(gateway.inbox, gateway.node)
            facing_operators = operator_edge.app(gateway.database, gateway.node, gateway.inbox)
            apps = (facing_registries, facing_operators)
            await server.run(list(zip(apps, sockets, strict=True)), stop)

        _until_told(wiring.build(settings), run)


def worker(keep: Keep = None) -> None:
    """Relay transfers until told to stop; any number of workers may run."""
    with chosen(keep) as settings:
        _until_told(wiring.build(settings), lambda g, stop: relay_worker.run(g.relay, g.database, stop))


def migrate(keep: Keep = None) -> None:
    """Bring the database to the schema this version needs (as gateway_owner)."""
    with chosen(keep) as settings:
        if settings.owner_database_url is None:
            raise GatewayError(Kind.MALFORMED, "GATEWAY_OWNER_DATABASE_URL: gateway_owner is needed to migrate")
        migrations.apply(settings.owner_database_url)


def _until_told(gateway: Gateway, work: Callable[[Gateway, asyncio.Event], Awaitable[None]]) -> None:
    """Run ``work`` until SIGINT or SIGTERM, then let it end in order."""
    telemetry.configure()

    async def run() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        try:
            await work(gateway, stop)
        finally:
            await gateway.close()

    asyncio.run(run())
