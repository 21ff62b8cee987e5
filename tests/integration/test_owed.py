"""What is owed as a whole: leased by one worker at a time, given back, taken over, renewed while it waits its turn."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from gateway import wiring
from gateway.domain.addresses import LOOPBACK
from gateway.messages import owed
from gateway.messages.outbox import Lease, Wait
from gateway.settings import Settings
from gateway.wiring import Gateway
from tests.played import Course
from tests.stage import Stage

ENDS = {
    "transferring": {"registry": "MEC01", "party": "MMR", "account": "100-1"},
    "acquiring": {"registry": "KOR01", "party": "KOR", "account": "100-1"},
}


@pytest.fixture
async def asked(stage: Stage) -> AsyncIterator[str]:
    """The message of a request to MEC01, where nobody listens."""
    await Course.begun(stage)
    yield await ask(stage, "one")
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


async def ask(stage: Stage, key: str) -> str:
    wish = {**ENDS, "purpose": "NDC", "quantity": 3}
    url, headers = "/api/v1/transfers", {"Idempotency-Key": key}
    assert (await stage.api.post(url, json=wish, headers=headers)).status_code == 202
    [(message,)] = await stage.rows(f"SELECT message_id::text FROM transfer_request WHERE idempotency_key = '{key}'")
    return str(message)


async def standing(stage: Stage) -> list[tuple[object, ...]]:
    return await stage.rows("SELECT message_id::text, attempts, leased_by, leased_until, next_at, waiting FROM owed")


async def test_two_workers_do_not_lease_one_message_and_a_busy_peer_is_passed_over(stage: Stage, asked: str) -> None:
    now = stage.clock()

    async def leased(worker: str, *busy: str) -> list[str]:
        lease = Lease(worker, now + timedelta(seconds=60))
        found = await stage.run(lambda tx: owed.lease_due(tx, now, lease, list(busy)))
        return [o.message_id for o in found]

    assert await leased("one", "MEC01") == []
    found = await asyncio.gather(leased("one"), leased("two"))
    assert sorted(found) == [[], [asked]]
    assert await leased("three") == []


async def test_a_message_that_was_not_answered_waits_longer_each_time_and_says_why(stage: Stage, asked: str) -> None:
    waits = []
    for _ in range(3):
        before = stage.clock()
        await stage.gateway.relay.turn()
        [(message, attempts, leased_by, _, next_at, waiting)] = await standing(stage)
        assert (message, leased_by) == (asked, None)
        assert str(waiting).startswith("no answer from MEC01 to transfer.request")
        waits.append((attempts, round((next_at - before).total_seconds())))  # type: ignore[operator]
        stage.clock.ahead += timedelta(seconds=waits[-1][1] + 1)
    assert waits == [(1, 1), (2, 2), (3, 4)]


async def test_a_dead_workers_message_is_free_at_once_and_what_it_says_late_is_nothing(
    stage: Stage, asked: str, another: Gateway
) -> None:
    now = stage.clock()
    lost = Lease("gateway-worker-dead", now + timedelta(seconds=60))
    assert await stage.run(lambda tx: owed.lease_due(tx, now, lost, []))
    await another.relay.take_over()
    [(_, _, leased_by, *_)] = await standing(stage)
    assert leased_by is None
    mine = Lease("another", now + timedelta(seconds=50))
    assert await stage.run(lambda tx: owed.lease_due(tx, now, mine, []))
    before = await standing(stage)
    await stage.run(lambda tx: owed.wait(tx, asked, Wait(lost, now, 1.0, "it came too late")))
    assert not await stage.run(lambda tx: owed.renew(tx, asked, lost, now))
    assert await standing(stage) == before
    assert await stage.run(lambda tx: owed.renew(tx, asked, mine, now + timedelta(seconds=70)))
    assert not await stage.run(lambda tx: owed.renew(tx, asked, mine, now))  # under that lease it is no more


async def test_what_was_answered_is_owed_no_more_whoever_still_sends_it(stage: Stage, asked: str) -> None:
    now = stage.clock()
    lease = Lease("slow", now + timedelta(seconds=60))
    assert await stage.run(lambda tx: owed.lease_due(tx, now, lease, []))
    await stage.run(lambda tx: owed.done(tx, asked))
    assert not await stage.run(lambda tx: owed.renew(tx, asked, lease, now + timedelta(seconds=70)))
    await stage.run(lambda tx: owed.wait(tx, asked, Wait(lease, now, 1.0, "late")))
    assert await standing(stage) == []
    await stage.rows("UPDATE transfer_request SET state = 'recorded'")
