"""Reconciliations on a stage: run to their end, and faults planted in a registry's own database."""

import asyncio
from contextlib import suppress
from datetime import timedelta
from typing import Any

import psycopg

from gateway.domain.callers import EVERYTHING
from gateway.reconciliation import commands, view
from gateway.reconciliation.commands import Announcing
from gateway.reconciliation.run import TRIES
from gateway.reconciliation.view import Report
from tests.stage import ROOT, Stage


async def ask(stage: Stage, link: str, *, announce: int = 0, whole: bool = False) -> str:
    """Ask for a reconciliation; its id."""
    node = stage.gateway.node
    return await stage.run(
        lambda tx: commands.request(tx, node, link, caller=ROOT, announcing=Announcing(announce), whole=whole)
    )


async def report(stage: Stage, run: str) -> Report:
    """A run as it stands."""
    async with stage.gateway.database.reading() as tx:
        return await view.report(tx, EVERYTHING, run)


async def work(stage: Stage) -> bool:
    """What is due now is reconciled, while the log's tree takes in what is appended; whether anything was due."""
    sequencing = asyncio.create_task(_sequence(stage))
    try:
        return await stage.reconciliation.turn()
    finally:
        sequencing.cancel()
        with suppress(asyncio.CancelledError):
            await sequencing


async def reconcile(stage: Stage, link: str, *, whole: bool = False) -> Report:
    """Reconcile a link to the end, without announcement."""
    await stage.transparency.sequencer.turn()  # what has happened is behind the fence
    run = await ask(stage, link, whole=whole)

    async def ended() -> bool:
        await work(stage)
        found = (await report(stage, run)).run
        assert "could not go on" not in (found.waiting or ""), found.waiting
        return found.state == "ended"

    await stage.until(ended)
    return await report(stage, run)


async def to_the_end(stage: Stage, run: str) -> Report:
    """Work until a run has ended, without waiting for its waits."""
    for _ in range(3 * TRIES):
        await work(stage)
        found = await report(stage, run)
        if found.run.state == "ended":
            return found
        await stage.rows("UPDATE reconciliation SET next_at = least(next_at, now()) WHERE ended_at IS NULL")
    raise AssertionError(f"it has not ended: {found.run}")


async def later(stage: Stage, by: timedelta) -> None:
    """Every clock is so much ahead of the real time."""
    stage.clock.ahead = by
    for registry in stage.registries.values():
        await registry.post("clock", seconds=by.total_seconds())


async def _sequence(stage: Stage) -> None:
    while True:
        await stage.transparency.sequencer.turn()
        await asyncio.sleep(0.02)


async def at_registry(stage: Stage, code: str, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    """Run a statement in a registry's own database, as a fault of that registry would."""
    name = f"{code.lower()}_{stage.database_name}"
    dsn = stage.server.dsn(name, name)
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        cursor = await connection.execute(statement, values or None)  # type: ignore[arg-type]
        return list(await cursor.fetchall()) if cursor.description else []
