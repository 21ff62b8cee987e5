"""Property: a process that was stopped and comes back when others have done its work changes nothing any more.

Method: SIGSTOP in the middle of a send or of a transaction, the gateway's clock moved beyond the lease (or
PostgreSQL's patience with an idle transaction), everything finished by the others, SIGCONT. Two serves and two
workers run on one database. What the late process then writes is looked for in every table.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults import load, long
from tests.faults import network as networks
from tests.faults.agreement import agree
from tests.faults.members import REGISTRIES
from tests.faults.network import Network
from tests.faults.postgres import Postgres

#: Longer than a lease (60 s), and less than what makes a message one from the future.
BEYOND_A_LEASE_SECONDS = 65.0
#: Longer than a registry takes to do what it then does not answer.
LATE_SECONDS = 2.0
#: Everything a worker could do to a transfer, or say.
TABLES = ("transfer", "transfer_event", "transfer_step", "position", "claim", "outgoing_stream", "alarm")
#: What was said of transfers: history is pulled under leases of its own.
HEARD = "SELECT entry_id, direction || ' ' || type FROM message WHERE type NOT LIKE 'history.%'"
#: Whose transactions stand still at the moment.
IDLE = (
    "pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction' AND usename = 'gateway_app'"
)


@pytest.fixture
async def network(postgres: Postgres, tmp_path: Path) -> AsyncIterator[Network]:
    """Two of everything of the gateway's; both registries answer in the reply, so that a late reply says something."""
    answers = dict.fromkeys(REGISTRIES, "reply")
    async with networks.opened(postgres, tmp_path, serves=2, workers=2, answers=answers) as opened:
        yield opened


@pytest.mark.parametrize(
    ("code", "message_type"),
    [("MEC01", "transfer.commit"), ("KOR01", "transfer.settle"), ("KOR01", "transfer.offer")],
)
async def test_a_worker_that_returns_after_its_lease_changes_nothing(
    network: Network, code: str, message_type: str
) -> None:
    network["worker2"].kill()
    await network.admin(code, "POST", "faults", fault="delay-reply", type=message_type, seconds=LATE_SECONDS)
    await network.propose(*[1] * load.UNDER_WAY)
    await network.until(lambda: has_fired(network, code), f"{code} holds its answer back")
    await network.until(lambda: caught_sending(network, "worker"), "the worker waits for answers")
    await network.start("worker2")
    network.step_clock(BEYOND_A_LEASE_SECONDS)
    await network.settle()
    before, heard = await everything(network), await network.rows(HEARD)
    network["worker"].thaw()
    await network.until(lambda: both_sleep(network), "the late worker has found nothing to do")
    assert await everything(network) == before
    # What only the late worker was told is evidence all the same: it is kept, and has no effect.
    assert {kind for _, kind in set(await network.rows(HEARD)) - set(heard)} <= {"in receipt"}
    await agree(network, doctor=True)


async def test_workers_that_are_stopped_in_turns_take_each_step_once(network: Network) -> None:
    for nr in (1, 2):
        frozen = "worker" if nr % 2 else "worker2"
        await load.begin(network)
        working = asyncio.create_task(load.end(network))
        await network.until(lambda: network.count("transfer WHERE leased_until > now()"), "a worker sends")
        await network.until(lambda frozen=frozen: caught_outside(network, frozen), "it is outside of a transaction")
        network.step_clock(nr * BEYOND_A_LEASE_SECONDS)
        await working
        await network.settle()
        network[frozen].thaw()
    await network.settle()
    await agree(network, doctor=True)


@pytest.mark.parametrize("name", ["serve", pytest.param("worker", marks=long.only)])
async def test_a_process_stopped_inside_a_transaction_holds_up_nobody_for_long(network: Network, name: str) -> None:
    """PostgreSQL ends the transaction of a process that stands still, and what it held is free."""
    loading = asyncio.create_task(load_for_a_while(network))
    await network.until(lambda: caught_in_a_transaction(network, name), f"{name} is caught in a transaction")
    held = await network.rows(f"SELECT pid FROM {IDLE}", "postgres")
    loading.cancel()
    await asyncio.gather(loading, return_exceptions=True)
    if name == "worker":  # the other one does its work
        network.step_clock(BEYOND_A_LEASE_SECONDS)
        await network.settle()
    await network.until(lambda: has_let_go(network, held), "PostgreSQL has ended the transaction")
    network[name].thaw()
    await network.settle()
    await agree(network, doctor=True)


async def test_every_process_in_turn_stands_still_for_a_moment(network: Network) -> None:
    for name in network.parts:
        loading = asyncio.create_task(load_for_a_while(network, 3))
        await asyncio.sleep(0.2)
        network[name].freeze()
        await asyncio.sleep(1.0)
        network[name].thaw()
        await loading
    await network.settle()
    await agree(network, doctor=True)


async def load_for_a_while(network: Network, times: int = 1000) -> None:
    for _ in range(times):
        await load.propose(network, [load.wish(1)] * load.TOGETHER)
        await asyncio.sleep(0.05)


async def caught_in_a_transaction(network: Network, name: str) -> bool:
    """Stop the process; if it is not inside a transaction at this moment, let it go on."""
    return await _caught(network, name, inside=True)


async def caught_outside(network: Network, name: str) -> bool:
    """Stop the process; if it is inside a transaction, which would last until PostgreSQL ends it, let it go on."""
    return await _caught(network, name, inside=False)


async def caught_sending(network: Network, name: str) -> bool:
    """Stop the process; if it has leased nothing, or is inside a transaction, let it go on."""
    if not await caught_outside(network, name):
        return False
    if await network.count("transfer WHERE leased_until > now()"):
        return True
    network[name].thaw()
    return False


async def _caught(network: Network, name: str, *, inside: bool) -> bool:
    network[name].freeze()
    await asyncio.sleep(0.05)  # what others had begun is over, what it had begun stands
    first = set(await network.rows(f"SELECT pid, xact_start FROM {IDLE}", "postgres"))
    await asyncio.sleep(0.15)
    stands = first & set(await network.rows(f"SELECT pid, xact_start FROM {IDLE}", "postgres"))
    if bool(stands) is inside:
        return True
    network[name].thaw()
    await asyncio.sleep(0.03)
    return False


async def has_let_go(network: Network, held: list[tuple[int]]) -> bool:
    return not set(await network.rows(f"SELECT pid FROM {IDLE}", "postgres")) & set(held)


async def has_fired(network: Network, code: str) -> bool:
    return any(f["fired"] for f in (await network.admin(code, "GET", "faults"))["faults"])


async def both_sleep(network: Network) -> bool:
    """Whether both workers have looked around since they were let go on, and found nothing."""
    asleep = "worker WHERE asleep AND seen_at > now() - interval '1 s'"
    return await network.count(asleep) == 2 and await network.at_rest()


async def everything(network: Network) -> dict[str, list[tuple[Any, ...]]]:
    return {table: await network.rows(f"SELECT t::text FROM {table} t ORDER BY 1") for table in TABLES}
