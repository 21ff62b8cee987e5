"""Workers that die, and processes that stop in the middle of a transaction: nobody waits for them for long."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import psycopg
import pytest

from gateway import db, wiring
from gateway.domain.addresses import LOOPBACK
from gateway.errors import GatewayError, Kind
from gateway.settings import Settings
from gateway.transfers import leases, store
from gateway.transfers.sending import SPEAKING
from gateway.wiring import Gateway
from tests.played import Course, block
from tests.stage import Stage


@pytest.fixture
async def course(stage: Stage) -> AsyncIterator[Course]:
    yield await Course.begun(stage)
    assert await stage.doctor() == []


@pytest.fixture
async def another(stage: Stage) -> AsyncIterator[Gateway]:
    """A second worker's gateway on the same database."""
    dsn = stage.server.dsn(stage.database_name, "gateway_app")
    made = wiring.build(
        Settings(private_peers=LOOPBACK, database_url=dsn, key_file=stage.folder / "gateway.pem"), clock=stage.clock
    )
    yield made
    await made.close()


async def leased(course: Course, by: str) -> str:
    """A transfer whose offer a worker of this name has leased to send it."""
    await course.issue(block(1, 10))
    await course.propose(item := course.proposal(block(1, 10)))
    await course.turn()
    lease = leases.Lease(by, course.stage.clock() + timedelta(seconds=60))
    later = course.stage.clock() + timedelta(seconds=30)
    [row] = await course.stage.run(lambda tx: leases.lease_due(tx, SPEAKING, later, lease, []))
    assert row.id == item["transfer"]
    return row.id


async def lessee(stage: Stage) -> str | None:
    [(by,)] = await stage.rows("SELECT leased_by FROM transfer")
    return by  # type: ignore[no-any-return]


async def test_what_a_dead_worker_had_leased_is_free_at_once(course: Course, another: Gateway) -> None:
    stage, dead = course.stage, "gateway-worker-dead"
    await leased(course, dead)
    async with await psycopg.AsyncConnection.connect(
        stage.gateway.database.url, application_name=dead, autocommit=True
    ):
        stage.clock.ahead = timedelta(seconds=30)
        await another.relay.take_over()
        assert await lessee(stage) == dead  # it lives: its lease is its own
    await stage.until(lambda: _gone(stage, dead))
    await another.relay.take_over()
    assert await lessee(stage) is None
    assert await another.relay.turn()  # and what was due is sent again


async def _gone(stage: Stage, name: str) -> bool:
    return not await stage.count(f"pg_stat_activity WHERE application_name = '{name}'")


async def test_a_lease_that_was_taken_over_is_not_given_back_by_whoever_lost_it(course: Course) -> None:
    stage = course.stage
    transfer = await leased(course, "the first")
    lost = leases.Lease("the first", (await stage.rows("SELECT leased_until FROM transfer"))[0][0])
    await stage.rows("UPDATE transfer SET leased_by = 'the second'")
    before = await stage.rows("SELECT * FROM transfer")
    wait = leases.Wait(lost, stage.clock(), 1.0, "it came too late")
    await stage.run(lambda tx: leases.wait(tx, [transfer], wait))
    assert not await stage.run(lambda tx: leases.renew(tx, [transfer], lost, stage.clock()))
    assert await stage.run(lambda tx: leases.held(tx, [transfer], lost, 10)) == []
    assert await stage.rows("SELECT * FROM transfer") == before


async def test_what_was_put_off_because_of_a_fault_is_not_taken_over(course: Course, another: Gateway) -> None:
    stage = course.stage
    await course.issue(block(1, 10))
    await course.propose(course.proposal(block(1, 10)))
    [(transfer,)] = await stage.rows("SELECT id FROM transfer")
    row = (await stage.run(lambda tx: store.lock(tx, [transfer])))[transfer]
    until = stage.clock() + timedelta(seconds=300)
    await stage.run(lambda tx: leases.put_off(tx, row, until, "a fault of the program"))
    await another.relay.take_over()
    assert not await another.relay.turn()
    assert await stage.states([transfer]) == ["proposed"]


async def test_a_transaction_that_stands_idle_is_ended_and_holds_up_nobody(course: Course) -> None:
    """A process that was stopped inside a transaction (SIGSTOP) writes nothing late, and its locks are gone."""
    stage = course.stage
    await course.issue(block(1, 10))
    await course.propose(item := course.proposal(block(1, 10)))
    transfer = str(item["transfer"])
    url = f"{stage.gateway.database.url}&options=-c%20idle_in_transaction_session_timeout%3D200"
    stopped = db.Database(url)
    locked, over = asyncio.Event(), asyncio.Event()

    async def stands_idle(tx: db.Tx) -> None:
        await store.lock(tx, [transfer])
        locked.set()
        await over.wait()
        await db.execute(tx, "UPDATE transfer SET waiting = 'late'")

    late = asyncio.create_task(stopped.run(stands_idle, "wait"))
    await locked.wait()
    [(waiting,)] = await stage.rows(
        f"UPDATE transfer SET attempts = attempts WHERE id = '{transfer}' RETURNING waiting"
    )
    assert waiting is None  # the lock was had without the stopped process
    over.set()
    with pytest.raises(GatewayError) as raised:
        await late
    assert raised.value.kind is Kind.UNAVAILABLE
    assert await stage.rows("SELECT waiting FROM transfer") == [(None,)]
    await stopped.close()


async def test_every_session_of_the_gateway_ends_what_stands_idle(stage: Stage) -> None:
    async with stage.gateway.database.reading() as tx:
        found = await db.one(tx, "SELECT current_setting('idle_in_transaction_session_timeout') AS value")
    assert found is not None and found.value == f"{db.IDLE_MS // 1000}s"
