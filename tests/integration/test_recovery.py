"""Nodes that lose data or fall silent, with real registries: what heals by itself, and what waits for persons.

The gateway takes single turns and its clock is moved, so that each loss falls where the test wants it. Registries fall
back to a backup of their own; the gateway's database falls back to a copy. At the end all three books agree.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway.links import commands
from gateway.transfers import interventions, view
from tests.deciding import decided
from tests.stage import ROOT, Stage

A_WHILE = timedelta(seconds=40)


@pytest.fixture
async def linked(stage: Stage) -> AsyncIterator[Stage]:
    await stage.link("MEC01", "mechanism")
    await stage.link("KOR01", "party", "KOR")
    await stage.issue(net=100)
    yield stage
    assert await stage.doctor() == []
    assert (await stage.books())["conservation"] == "holds"


async def until(stage: Stage, holds: Callable[[], Awaitable[Any]]) -> None:
    """Take turns, each a while later, until something holds."""
    for _ in range(40):
        if await holds():
            return
        await stage.gateway.relay.turn()
        stage.clock.ahead += timedelta(seconds=5)
    raise AssertionError("it never held")


def reached(stage: Stage, transfer: str, *states: str) -> Callable[[], Awaitable[bool]]:
    async def holds() -> bool:
        return (await stage.states([transfer]))[0] in states

    return holds


async def all_agree(stage: Stage, moved: int) -> None:
    """The books of all three say that so many units have moved, and nothing is locked or owed."""
    source, acquirer = [await stage.registries[code].get("books") for code in ("MEC01", "KOR01")]
    assert (source["held"], source["moved_out"], source["locked"]) == (100 - moved, moved, 0)
    assert (acquirer["held"], acquirer["moved_in"]) == (moved, moved)
    totals = {row["registry"]: row["held"] for row in (await stage.books())["registries"]}
    assert (totals["MEC01"], totals.get("KOR01", 0)) == (100 - moved, moved)


async def alarms(stage: Stage) -> list[str]:
    return [detail for (detail,) in await stage.rows("SELECT detail FROM alarm ORDER BY id")]


async def come_back(stage: Stage, code: str, since: datetime) -> dict[str, str]:
    """A registry is restored, knows it, and synchronises; the states it reports of the transfers asked about."""
    registry = stage.registries[code]
    key = (await registry.post("restore", known=True))["key"]
    path = stage.folder / f"{code}.jwks"
    path.write_text(json.dumps({"keys": [*json.loads(path.read_text())["keys"], key]}))
    await stage.run(lambda tx: commands.restored(tx, code, [key], now=datetime.now(UTC)))
    asked = await stage.run(lambda tx: view.since(tx, code, since))
    return dict((await registry.post("synchronise", transfers=[t for t, _ in asked]))["states"])


async def proposed(stage: Stage, quantity: int = 60) -> str:
    [transfer] = await stage.propose(quantity)
    await stage.until(lambda: stage.count(f"transfer WHERE id = '{transfer}'"))
    return transfer


async def test_a_registry_whose_messages_never_leave_is_asked_and_its_answer_heard(stage: Stage) -> None:
    await stage.link("MEC01", "mechanism")
    korea = await stage.link("KOR01", "party", "KOR", answer="message")
    await stage.issue(net=100)
    await korea.post("faults", fault="lose-request", direction="out", type="transfer.credited", times=1_000)
    transfer = await proposed(stage)
    await until(stage, reached(stage, transfer, "completed"))
    assert (await korea.get("books"))["moved_in"] == 60
    [(kind,)] = await stage.rows(
        "SELECT e.kind FROM transfer_step s JOIN log_entry e ON e.id = s.entry_id WHERE s.step = 'credited'"
    )
    assert kind == "evidence"
    assert await stage.count("message WHERE type = 'status.query'") > 0
    # The message itself, when it comes one day, is nothing new.
    await korea.http.delete(f"{korea.url}/admin/faults")
    await stage.until(lambda: stage.count("message WHERE type = 'transfer.credited' AND seq IS NOT NULL"))
    assert await stage.states([transfer]) == ["completed"]
    assert await stage.doctor() == []
    assert await alarms(stage) == []


@pytest.mark.parametrize("fallen_to", ["absent", "checked", "committing", "released"])
async def test_a_gateway_that_fell_back_is_led_on_by_the_registries(linked: Stage, fallen_to: str) -> None:
    stage = linked
    if fallen_to == "absent":
        await stage.back_up()
    transfer = await proposed(stage)
    states = ["proposed", "checked", "accepted", "committing", "released", "completed"]
    if fallen_to != "absent":
        await _stop_at(stage, transfer, fallen_to)
        await stage.back_up()
    await until(stage, reached(stage, transfer, "completed"))
    await stage.fall_back()
    assert (await stage.states([transfer]))[0] in (
        "absent",
        *states[: states.index(fallen_to) + 1 if fallen_to in states else 0],
    )
    for code in ("MEC01", "KOR01"):
        await stage.registries[code].post("ask")
    await until(stage, reached(stage, transfer, "completed"))
    await until(stage, lambda: _told(stage))
    await all_agree(stage, 60)


async def _stop_at(stage: Stage, transfer: str, state: str) -> None:
    """Work until the row is in a state, with the faults set that keep it there."""
    held = {
        "checked": ("KOR01", "transfer.offer"),
        "committing": ("MEC01", "transfer.commit"),
        "released": ("KOR01", "transfer.settle"),
    }
    if state in held:
        code, kind = held[state]
        await stage.registries[code].post("faults", fault="lose-request", type=kind, times=1)
    if state == "accepted":  # a turn decides, then sends: the answer to the offer is the last of it
        await stage.gateway.relay.turn()
    elif state != "proposed":
        await until(stage, reached(stage, transfer, state))
    assert await stage.states([transfer]) == [state]


async def _told(stage: Stage) -> bool:
    return not await stage.count("transfer WHERE next_at IS NOT NULL")


async def test_a_restored_source_debits_what_it_had_released(linked: Stage) -> None:
    stage, mechanism = linked, linked.registries["MEC01"]
    transfer = await proposed(stage)
    await mechanism.post("backup")
    since = datetime.now(UTC)
    await until(stage, reached(stage, transfer, "completed"))
    assert await come_back(stage, "MEC01", since - timedelta(minutes=1)) == {transfer: "done"}
    await until(stage, lambda: _told(stage))
    await all_agree(stage, 60)


async def test_a_restored_source_is_shown_the_commit_it_does_not_know(linked: Stage) -> None:
    stage, mechanism = linked, linked.registries["MEC01"]
    transfer = await proposed(stage)
    await mechanism.post("backup")
    since = datetime.now(UTC)
    await mechanism.post("faults", fault="lose-reply", type="transfer.commit", times=100)
    await until(stage, reached(stage, transfer, "committing"))
    await stage.gateway.relay.turn()
    assert await come_back(stage, "MEC01", since - timedelta(minutes=1)) == {transfer: "released"}
    await until(stage, reached(stage, transfer, "completed"))
    await until(stage, lambda: _told(stage))
    await all_agree(stage, 60)


async def test_a_restored_acquirer_credits_once(linked: Stage) -> None:
    stage, korea = linked, linked.registries["KOR01"]
    await korea.post("backup")
    since = datetime.now(UTC)
    transfer = await proposed(stage)
    await until(stage, reached(stage, transfer, "completed"))
    await until(stage, lambda: _told(stage))
    assert await come_back(stage, "KOR01", since - timedelta(minutes=1)) == {transfer: "done"}
    await all_agree(stage, 60)
    # Its new key vouches for what it says from now on.
    more = await proposed(stage, 40)
    await until(stage, reached(stage, more, "completed"))
    await until(stage, lambda: _told(stage))
    await all_agree(stage, 100)


async def test_an_acquirer_that_fell_back_unnoticed_credits_from_the_settle(linked: Stage) -> None:
    stage, korea = linked, linked.registries["KOR01"]
    await korea.post("backup")
    transfer = await proposed(stage)
    await korea.post("faults", fault="lose-request", type="transfer.settle", times=1)
    await until(stage, reached(stage, transfer, "released"))
    await korea.post("restore", known=False)
    await until(stage, reached(stage, transfer, "completed"))
    await until(stage, lambda: _told(stage))
    await all_agree(stage, 60)
    assert len((await korea.get("books"))["alarms"]) == 1  # settled without an acceptance on record there


async def test_a_source_that_forgot_its_proposal_waits_for_persons_and_then_goes_on(linked: Stage) -> None:
    stage, mechanism = linked, linked.registries["MEC01"]
    await mechanism.post("backup")
    since = datetime.now(UTC)
    transfer = await proposed(stage)
    other = await proposed(stage, 10)
    await mechanism.post("faults", fault="lose-request", type="transfer.commit", times=1)
    await until(stage, reached(stage, transfer, "committing"))
    await mechanism.post("restore", known=False)
    await until(stage, reached(stage, transfer, "attention"))
    assert await stage.states([other]) == ["attention"]
    shown = (await stage.transfer(transfer))["transfer"]
    assert shown["findings"][0]["detail"] == "MEC01 does not know the transfer it proposed"
    assert len(await alarms(stage)) == 2
    await come_back(stage, "MEC01", since - timedelta(minutes=1))
    for waiting in (transfer, other):
        await decided(stage, f"transfers/{waiting}/resume")
    await until(stage, reached(stage, transfer, "completed"))
    await until(stage, reached(stage, other, "completed"))
    await until(stage, lambda: _told(stage))
    await all_agree(stage, 70)


async def later(stage: Stage, ahead: timedelta) -> None:
    """It is so much later, for the gateway and for both registries."""
    stage.clock.ahead = ahead
    for code in ("MEC01", "KOR01"):
        await stage.registries[code].post("clock", seconds=ahead.total_seconds())


async def silent_for(stage: Stage, hours: int) -> str:
    """KOR01 takes nothing for that long; the transfer that was offered to it meanwhile."""
    korea = stage.registries["KOR01"]
    await korea.post("faults", fault="lose-request", times=1_000_000)
    transfer = await proposed(stage)
    for minutes in range(0, hours * 60, 20):
        await later(stage, timedelta(minutes=minutes))
        await stage.gateway.relay.turn()
    await later(stage, timedelta(hours=hours, seconds=1))
    await korea.http.delete(f"{korea.url}/admin/faults")
    return transfer


async def test_a_peer_silent_for_an_hour_gets_the_same_bytes_and_completes(linked: Stage) -> None:
    stage = linked
    transfer = await silent_for(stage, 1)
    shown = (await stage.transfer(transfer))["transfer"]
    assert (shown["state"], shown["attempts"]) == ("checked", 3)
    assert shown["waiting"].startswith("no answer from KOR01 to transfer.offer")
    await later(stage, timedelta(hours=1, minutes=6))
    await until(stage, reached(stage, transfer, "completed"))
    assert await stage.count("message WHERE type = 'transfer.offer'") == 1
    await until(stage, lambda: _told(stage))
    await all_agree(stage, 60)


async def test_a_peer_silent_for_25_hours_finds_the_transfer_cancelled_on_both_sides(linked: Stage) -> None:
    stage = linked
    transfer = await silent_for(stage, 25)
    await until(stage, reached(stage, transfer, "cancelled"))
    await until(stage, lambda: _told(stage))
    assert [f["code"] for f in (await stage.transfer(transfer))["transfer"]["findings"]] == [3005]
    for code in ("MEC01", "KOR01"):
        assert (await stage.registries[code].get(f"transfers/{transfer}"))["state"] == "void"
    await all_agree(stage, 0)


async def test_a_release_that_crosses_the_end_is_followed(linked: Stage) -> None:
    """The gateway has fallen back to before its commit and decides to end what the source has released (R7)."""
    stage = linked
    transfer = await proposed(stage)
    await stage.gateway.relay.turn()
    assert await stage.states([transfer]) == ["accepted"]
    await stage.back_up()
    await stage.registries["KOR01"].post("faults", fault="lose-request", type="transfer.settle", times=1)
    await until(stage, reached(stage, transfer, "released"))
    await stage.fall_back()
    await stage.run(
        lambda tx: interventions.end(tx, stage.gateway.node, transfer, caller=ROOT, reason="it takes too long")
    )
    assert await stage.states([transfer]) == ["ending"]
    await until(stage, reached(stage, transfer, "completed"))
    await until(stage, lambda: _told(stage))
    await all_agree(stage, 60)
    assert await alarms(stage) == ["MEC01 shows that this gateway has lost data: released in state ending"]
