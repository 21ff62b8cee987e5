"""The door to PostgreSQL: what is said when it is full, and what every session asks for."""

import asyncio
import gc
from datetime import timedelta
from typing import Any

import pytest

from gateway import db
from gateway.errors import GatewayError, Kind
from gateway.signing import compact
from gateway.transfers import sending, withdrawals
from gateway.transfers.store import Step
from tests.integration.test_alarms import at
from tests.integration.test_answers import receipt, sent
from tests.played import Course, block
from tests.stage import Stage


async def test_work_that_finds_every_connection_in_use_is_told_to_come_again(stage: Stage) -> None:
    full = db.Database(stage.gateway.database.url, pool_wait_seconds=0.2)
    leave, inside = asyncio.Event(), asyncio.Semaphore(0)

    async def stays(tx: db.Tx) -> None:
        await db.one(tx, "SELECT 1")
        inside.release()
        await leave.wait()

    held = [asyncio.create_task(full.run(stays, "wait")) for _ in range(db.POOL_SIZE)]
    for _ in held:
        await inside.acquire()
    with pytest.raises(GatewayError) as raised:
        await full.run(lambda tx: db.one(tx, "SELECT 1"), "wait")
    assert (raised.value.kind, raised.value.code) == (Kind.UNAVAILABLE, 9003)
    leave.set()
    await asyncio.gather(*held)
    await full.close()


async def test_closing_waits_for_what_is_under_way_and_leaves_no_session(stage: Stage) -> None:
    database = db.Database(f"{stage.gateway.database.url}&application_name=closing")
    leave, inside = asyncio.Event(), asyncio.Event()

    async def stays(tx: db.Tx) -> None:
        await db.one(tx, "SELECT 1")
        inside.set()
        await leave.wait()

    working = asyncio.create_task(database.run(stays, "wait"))
    await inside.wait()
    closing = asyncio.create_task(database.close())
    asyncio.get_running_loop().call_soon(leave.set)
    await asyncio.gather(working, closing)
    sessions = "pg_stat_activity WHERE application_name = 'closing'"
    await stage.until(lambda: none(stage, sessions))


async def test_what_comes_after_the_close_opens_no_session(stage: Stage) -> None:
    database = db.Database(f"{stage.gateway.database.url}&application_name=closed")
    await database.check()
    await database.close()
    for late in (database.check(), database.run(lambda tx: db.one(tx, "SELECT 1"), "wait")):
        with pytest.raises(GatewayError) as refused:
            await late
        assert (refused.value.kind, refused.value.code) == (Kind.UNAVAILABLE, 9002)
    assert await stage.count("pg_stat_activity WHERE application_name = 'closed'") == 0


async def test_disconnecting_under_way_leaves_no_session(stage: Stage) -> None:
    database, ended = db.Database(f"{stage.gateway.database.url}&application_name=again"), asyncio.Event()

    async def keeps_asking() -> None:
        while not ended.is_set():
            await database.check()

    asking = asyncio.create_task(keeps_asking())
    for _ in range(50):
        await database.check()
        await database.disconnect()
    ended.set()
    await asking
    await database.close()
    gc.collect()  # a connection that is garbage and open is a warning, which is an error here
    await stage.until(lambda: none(stage, "pg_stat_activity WHERE application_name = 'again'"))


async def none(stage: Stage, what: str) -> bool:
    return await stage.count(what) == 0


@pytest.mark.parametrize(
    ("options", "idle"),
    [("-c%20work_mem%3D8MB", "15s"), ("-c%20idle_in_transaction_session_timeout%3D7s", "7s")],
)
async def test_options_of_the_address_do_not_take_the_idle_limit_away(stage: Stage, options: str, idle: str) -> None:
    database = db.Database(f"{stage.gateway.database.url}&options={options}")
    async with database.reading() as tx:
        found = await db.one(tx, "SELECT current_setting('idle_in_transaction_session_timeout') AS idle")
    await database.close()
    assert found is not None and found.idle == idle


async def test_times_are_in_utc_whatever_zone_the_address_asks_for(stage: Stage) -> None:
    database = db.Database(f"{stage.gateway.database.url}&options=-c%20timezone%3DAsia/Seoul")
    async with database.reading() as tx:
        found = await db.one(tx, "SELECT timestamptz '9999-12-31T23:59:59.999Z' AS last")
    await database.close()
    assert found is not None and found.last.year == 9999


async def test_a_withdrawal_waits_for_the_proposal_that_is_being_received(stage: Stage) -> None:
    """Of the two, whichever ends second sees the other: a proposal is never offered after its withdrawal."""
    course = await Course.begun(stage)
    await course.issue(block(1, 10))
    item = course.proposal(block(1, 10))
    transfer = str(item["transfer"])
    locked, go_on = asyncio.Event(), asyncio.Event()

    async def being_received(tx: db.Tx) -> None:
        await withdrawals.beside(tx, "MEC01")
        locked.set()
        await go_on.wait()

    receiving = asyncio.create_task(stage.run(being_received))
    await locked.wait()
    withdrawn = asyncio.create_task(course.void([transfer]))
    waiting = "pg_locks l JOIN pg_database d ON d.oid = l.database WHERE NOT granted AND datname = current_database()"
    await stage.until(lambda: stage.count(waiting))
    proposed = asyncio.create_task(course.propose(item))
    go_on.set()
    await asyncio.gather(receiving, withdrawn, proposed)
    assert await stage.states([transfer]) == ["cancelled"]
    assert await stage.count("claim WHERE released_by IS NULL") == 0
    assert await stage.run(lambda tx: _remembered(tx, transfer)) in (set(), {transfer})
    assert await stage.doctor() == []


async def _remembered(tx: db.Tx, transfer: str) -> set[str]:
    found: dict[str, Step] = await withdrawals.of(tx, [transfer])
    return set(found)


async def test_what_a_registry_writes_as_codes_neither_stops_a_send_nor_fills_the_row(stage: Stage) -> None:
    course = await Course.begun(stage)
    transfer = await at(course, "committing")
    commit = await sent(stage, "transfer.commit")
    odd: list[dict[str, Any]] = [{"code": code, "detail": "odd"} for code in range(5_000, 5_100)]
    answer = receipt(course.source, commit, transfer, "locked", findings=odd)
    reply = await stage.gateway.inbox.absorb(answer, commit)
    why = sending._waiting(commit, reply).why
    assert why.startswith("MEC01 has receipted transfer.commit, with 5000, 5001")
    assert len(why) < 200
    refusal = course.source.compose(
        "refusal", [], body={"findings": [{"code": []}, {"code": "9" * 1_000_000}, 7, {"code": 9003}]},
        in_reply_to={"id": commit.message_id, "sha256": compact.encode(commit.sha256)}, seq=None,
    )[1]  # fmt: skip
    reply = await stage.gateway.inbox.absorb(refusal, commit)
    assert sending._waiting(commit, reply).why == "MEC01 refused transfer.commit: 9003"


async def test_a_send_that_fails_for_a_reason_of_our_own_gives_its_lease_back(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No database, no file handle: the transfer must not stand still until the lease is over."""
    course = await Course.begun(stage)
    transfer = await at(course, "committing")

    async def fails(_sending: object, _lease: object) -> object:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as outage:
        outage.setattr(stage.gateway.relay.sender, "_deliver", fails)
        stage.clock.ahead += timedelta(seconds=5)
        await stage.gateway.relay.turn()
    assert await stage.count("transfer WHERE leased_until IS NOT NULL") == 1
    await stage.gateway.relay.turn()
    shown = (await stage.transfer(transfer))["transfer"]
    assert shown["waiting"].startswith("the gateway could not go on with it: OSError(24")
    assert await stage.count("transfer WHERE leased_until IS NOT NULL") == 0
