"""``gateway serve``, ``gateway worker`` and ``gateway migrate``: the long-running processes, and the schema.

A start that could not work ends with one line before anything is served. The settings are read first, and each
command then imports what it alone needs: a worker has no web server, and only ``migrate`` has the migrations.
"""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from gateway.cli.keep import Keep, chosen
from gateway.errors import GatewayError, Kind
from gateway.settings import Settings, log_signer, named, token_signer

if TYPE_CHECKING:
    from gateway.audit.transparency import Transparency
    from gateway.wiring import Gateway


def serve(keep: Keep = None) -> None:
    """Serve registries and operators; prints one JSON line with both addresses when ready."""
    with chosen(keep) as settings:
        from gateway import wiring
        from gateway.web import link, operator, server

        token_signer(settings)  # or the start ends here
        log_signer(settings)
        with named("link_listen"):
            facing_registries = server.listen(settings.link_listen)
        with named("operator_listen"):
            facing_operators = server.listen(settings.operator_listen)

        async def run(gateway: "Gateway", stop: asyncio.Event) -> None:
            addresses = {"link": server.url(facing_registries), "operator": server.url(facing_operators)}
            endpoint = wiring.token_endpoint(settings, gateway)
            transparency = await transparent(settings, gateway)
            with named("token_key" if settings.token_key is not None else "token_key_file"):
                await endpoint.register()
            print(json.dumps(addresses), flush=True)
            for_registries = link.app(gateway.database, gateway.inbox, gateway.node, transparency, wiring.ENCODINGS)
            for_operators = operator.app(
                gateway.database,
                gateway.node,
                gateway.inbox,
                gateway.callers,
                wiring.EXECUTORS,
                endpoint,
                live=gateway.live,
                quorum=settings.witness_quorum,
                announce_seconds=settings.announce_seconds,
            )
            await server.run([(for_registries, facing_registries), (for_operators, facing_operators)], stop)

        _until_told(settings, run)


def worker(keep: Keep = None) -> None:
    """Relay transfers, pull histories, reconcile and keep the log until told to stop; any number may run."""
    with chosen(keep) as settings:
        from gateway import worker as relay_worker

        log_signer(settings)  # or the start ends here

        async def run(gateway: "Gateway", stop: asyncio.Event) -> None:
            transparency = await transparent(settings, gateway)
            async with asyncio.TaskGroup() as group:
                group.create_task(relay_worker.run(gateway.relay, gateway.database, stop))
                group.create_task(transparency.run(stop))
                group.create_task(gateway.pulls.run(stop))
                group.create_task(gateway.reconciliations.run(stop))

        _until_told(settings, run)


async def transparent(settings: Settings, gateway: "Gateway") -> "Transparency":
    """The log's part of this process, which may sign it from now on."""
    from gateway import wiring

    transparency = wiring.transparent(settings, gateway)
    with named("log_key" if settings.log_key is not None else "log_key_file"):
        await transparency.start()
    return transparency


def migrate(keep: Keep = None) -> None:
    """Bring the database to the schema this version needs (as gateway_owner)."""
    with chosen(keep) as settings:
        from gateway import migrations

        if settings.owner_database_url is None:
            raise GatewayError(Kind.MALFORMED, "GATEWAY_OWNER_DATABASE_URL: gateway_owner is needed to migrate")
        with named("owner_database_url"):
            migrations.apply(settings.owner_database_url)


def _until_told(settings: Settings, work: "Callable[[Gateway, asyncio.Event], Awaitable[None]]") -> None:
    """Run ``work`` until SIGINT or SIGTERM, then let it end in order."""
    from gateway import telemetry, wiring

    telemetry.configure()
    gateway = wiring.build(settings)

    async def run() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        async with started(settings, gateway):
            await work(gateway, stop)

    asyncio.run(run())


@asynccontextmanager
async def started(settings: Settings, gateway: "Gateway") -> AsyncIterator[None]:
    """Have the gateway's database and key ready, and close it in the end."""
    try:
        with named("database_url"):
            await gateway.database.check()
        with named("key" if settings.key is not None else "key_file"):
            await gateway.start()
        yield
    finally:
        await gateway.close()
