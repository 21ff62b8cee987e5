"""Registries that are down for a while: the transfer waits where it is, says so, and completes when they are back.

The registries are stopped and started again as processes, with the same database, key and address. The gateway's
clock is moved ahead where an attempt would be due only later.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.stage import Stage

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: Enough for the next attempt to be due, and less than what makes a message one from the future.
A_WHILE = timedelta(seconds=40)


async def test_an_offer_waits_visibly_for_an_acquirer_that_is_down(shared: Stage) -> None:
    await shared.issue(net=100, series="OFFER")
    async with down(shared, "KOR01"):
        [transfer] = await shared.propose(100)
        await shared.until(lambda: shared.count(f"transfer WHERE id = '{transfer}'"))
        while await shared.gateway.relay.turn():
            pass
        first = (await shared.transfer(transfer))["transfer"]
        assert (first["state"], first["attempts"]) == ("checked", 1)
        assert first["waiting"].startswith("no answer from KOR01 to transfer.offer: ")
        assert first["next_action"] == "KOR01 answers the offer"
        assert read(first["next_at"]) > read(first["changed_at"])
        async with ahead(shared):
            assert await shared.gateway.relay.turn()
            second = (await shared.transfer(transfer))["transfer"]
        assert (second["state"], second["attempts"]) == ("checked", 2)
        # The wait doubles: what is due next is further off than it was.
        assert read(second["next_at"]) > read(first["next_at"])
        assert (await shared.registries["MEC01"].get("books"))["locked"] == 100
    async with ahead(shared, 2):
        assert await shared.relay([transfer]) == ["completed"]
    course = await shared.transfer(transfer)
    assert (course["transfer"]["waiting"], course["transfer"]["attempts"]) == (None, 0)
    # However often it was sent, it was signed and stored once.
    offers = await shared.count(f"transfer_step WHERE transfer_id = '{transfer}' AND step = 'offer'")
    messages = await shared.count("message WHERE type = 'transfer.offer'")
    assert (offers, messages) == (1, await shared.count("transfer WHERE offer_id IS NOT NULL"))


async def test_a_commit_waits_for_a_source_that_is_down_and_no_other_transfer_waits_with_it(shared: Stage) -> None:
    await shared.issue(net=10, series="COMMIT")
    await shared.issue(net=60, series="ELSEWHERE")
    assert await shared.relay(await shared.propose(60, to="KOR01", blocks=units("ELSEWHERE", 60))) == ["completed"]
    [transfer] = await shared.propose(10)
    await shared.until(lambda: shared.count(f"transfer WHERE id = '{transfer}'"))
    async with down(shared, "MEC01"), shared.working():
        await shared.until(lambda: waits(shared, transfer, "no answer from MEC01 to transfer.commit: "))
        assert await shared.states([transfer]) == ["committing"]
        [other] = await shared.propose(60, to="JPN01", source="KOR01", blocks=units("ELSEWHERE", 60))
        await shared.until(lambda: completed(shared, other))
        assert await shared.states([transfer]) == ["committing"]
    async with ahead(shared, 3):
        assert await shared.relay([transfer]) == ["completed"]


async def test_units_released_are_in_transit_until_the_acquirer_is_back(shared: Stage) -> None:
    await shared.issue(net=70, series="TRANSIT")
    before = await totals(shared)
    [transfer] = await shared.propose(70, to="JPN01")
    await shared.until(lambda: shared.count(f"transfer WHERE id = '{transfer}'"))
    assert await shared.gateway.relay.turn()
    assert await shared.states([transfer]) == ["accepted"]
    async with down(shared, "JPN01"), shared.working():
        await shared.until(lambda: waits(shared, transfer, "no answer from JPN01 to transfer.settle: "))
        assert (await shared.transfer(transfer))["transfer"]["next_action"] == "JPN01 credits the units"
        during = await totals(shared)
        assert during["MEC01"]["in_transit"] == 70
        assert during["MEC01"]["held"] == before["MEC01"]["held"] - 70
        assert during["JPN01"] == before["JPN01"]
        assert (await shared.books())["conservation"] == "holds"
    async with ahead(shared, 4):
        assert await shared.relay([transfer]) == ["completed"]
    after = await totals(shared)
    assert (after["MEC01"]["in_transit"], after["JPN01"]["held"]) == (0, before["JPN01"]["held"] + 70)


async def test_what_is_final_is_told_to_a_registry_that_was_down_when_it_happened(shared: Stage) -> None:
    await shared.issue(net=30, series="TOLD")
    korea = shared.registries["KOR01"]
    await korea.change("policy", decide=False)
    [transfer] = await shared.propose(30)
    async with shared.working():
        await shared.until(lambda: offered(shared, transfer))
        async with down(shared, "KOR01"):
            assert (await shared.registries["MEC01"].post(f"transfers/{transfer}/withdraw"))["state"] == "void"
            await shared.until(lambda: waits(shared, transfer, "no answer from KOR01 to transfer.closed: "))
            assert await shared.states([transfer]) == ["cancelled"]
            # The other side has been told and is not told again.
            assert await shared.count(f"transfer WHERE id = '{transfer}' AND told_source_at IS NOT NULL") == 1
    await korea.change("policy", decide=True)
    async with ahead(shared, 5):
        assert await shared.relay([transfer]) == ["cancelled"]
    assert (await korea.get(f"transfers/{transfer}"))["state"] == "void"
    assert await shared.relay(await shared.propose(30)) == ["completed"]


async def test_a_request_waits_for_its_source_and_says_so(shared: Stage) -> None:
    await shared.issue(net=20, series="REQUESTED")
    transferring = {"registry": "MEC01", "party": "MMR", "account": "100-1"}
    acquiring = {"registry": "KOR01", "party": "KOR", "account": "100-1"}
    wish = {"transferring": transferring, "acquiring": acquiring, "purpose": "NDC", "quantity": 20}

    async def ask() -> dict[str, Any]:
        url = "/api/v1/transfers"
        return dict((await shared.api.post(url, json=wish, headers={"idempotency-key": "while down"})).json())

    async def shows(name: str) -> bool:
        return (await ask())[name] is not None

    async with shared.working():
        async with down(shared, "MEC01"):
            await ask()
            await shared.until(lambda: shows("waiting"))
            assert (await ask())["waiting"].startswith("no answer from MEC01 to transfer.request: ")
        async with ahead(shared, 6):
            await shared.until(lambda: shows("transfer"))
            transfer = (await ask())["transfer"]
            await shared.until(lambda: completed(shared, transfer))


@asynccontextmanager
async def down(stage: Stage, code: str) -> AsyncIterator[None]:
    """The registry's process is stopped meanwhile."""
    await stage.registries[code].stop()
    try:
        yield
    finally:
        if stage.registries[code].process.returncode is not None:
            await stage.restart(code)


@asynccontextmanager
async def ahead(stage: Stage, times: int = 1) -> AsyncIterator[None]:
    """It is a while later for the gateway."""
    stage.clock.ahead = A_WHILE * times
    try:
        yield
    finally:
        stage.clock.ahead = timedelta()


def read(moment: str) -> datetime:
    return datetime.fromisoformat(moment)


def units(series: str, last: int) -> list[dict[str, Any]]:
    return [{"origin": {"registry": "MEC01", "series": series}, "first": 1, "last": last}]


async def waits(stage: Stage, transfer: str, why: str) -> bool:
    return str((await stage.transfer(transfer))["transfer"]["waiting"]).startswith(why)


async def completed(stage: Stage, transfer: str) -> bool:
    return await stage.states([transfer]) == ["completed"]


async def offered(stage: Stage, transfer: str) -> bool:
    listed = (await stage.registries["KOR01"].get("transfers"))["transfers"]
    return (transfer, "offered") in {(t["transfer"], t["state"]) for t in listed}


async def totals(stage: Stage) -> dict[str, dict[str, Any]]:
    return {row["registry"]: row for row in (await stage.books())["registries"]}
