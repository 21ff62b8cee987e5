"""Lets the doctor examine the gateway's database: where there is much of it, by two processes side by side.

Its walks share nothing. Each process sees a moment of its own, and what is examined is at rest by then: every transfer
is final, every record equal.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from gateway import db
from gateway.demo import processes
from gateway.demo.network import Network
from gateway.doctor.examination import WALKS, Walk, examine, walks_of
from gateway.doctor.report import Report, Result

#: The check whose walk takes about as long as all others together: every message is read and verified.
LONGEST = "messages"
#: From how many transfers on a process more is worth its start.
MANY = 1_000
#: How long that may take: far longer than it does on a machine with much else to do.
PATIENCE_SECONDS = 600.0


def examined(network: Network, transfers: int) -> Report:
    """What the doctor finds of so many transfers; raises INVARIANT when the other process ends without a word."""
    if transfers < MANY:
        return asyncio.run(_walked(network, WALKS))
    longest = walks_of([LONGEST])
    command = ["gateway", "doctor", "--json", "--keep", str(network.folder), "--only", LONGEST]
    with ExitStack() as stack:
        with processes.undisturbed():
            other = processes.start("gateway doctor", command)
            stack.callback(other.stop)
        ours = asyncio.run(_walked(network, [walk for walk in WALKS if walk not in longest]))
        said: dict[str, Any] = other.said(PATIENCE_SECONDS)
    return Report(ours.at, (*ours.results, *map(_result, said["checks"])))


async def _walked(network: Network, walks: Sequence[Walk[Any]]) -> Report:
    database = db.Database(network.database.dsn("gateway", "gateway_app"))
    try:
        return await examine(database, network.gateway, walks=walks)
    finally:
        await database.close()


def _result(said: Mapping[str, Any]) -> Result:
    """What a check found, in numbers."""
    return Result(said["name"], said["rule"], said["examined"], said["found"], said["noted"])
