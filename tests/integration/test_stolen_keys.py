"""A key that somebody else has too: what is revoked with it, and that nothing comes in behind a revocation."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway import db
from gateway.links import commands
from gateway.signing.trust import Revocation
from tests import deciding
from tests.integration.test_peer_keys import announcement, kid, signing
from tests.integration.test_races import WAITING
from tests.integration.test_sandbox_play import Party, stamp
from tests.played import Played, join
from tests.refusals import is_refusal, unvouched
from tests.stage import Stage


async def announces(played: Played, *new: Party, **said: Any) -> None:
    assert (await played.say("link.keys", [], body=announcement(*new, **said))).type == "receipt"


async def revoked(stage: Stage, code: str = "MEC01") -> dict[str, str | None]:
    """Why each key of a link counts no longer."""
    return dict(await stage.rows(f"SELECT kid, revoked_reason FROM peer_key WHERE link = '{code}'"))


async def asked(stage: Stage, party: Party, reason: str, since: datetime | None) -> dict[str, Any]:
    """The approval that two persons need to revoke a key."""
    body = {"reason": reason, "since": since.isoformat() if since else None}
    answer = await deciding.asked(stage, f"links/MEC01/keys/{kid(party)}/revoke", **body)
    assert answer.status_code == 202, answer.text
    return dict(answer.json())


async def stolen(stage: Stage) -> tuple[Played, list[Party], datetime, datetime]:
    """MEC01 whose first key has announced another; then a thief has it, brings two keys and ends the honest one.

    The registry, the honest key and the thief's two, since when, and that end.
    """
    source, keys = await join(stage, "MEC01", "mechanism"), [Party("MEC01") for _ in range(3)]
    honest, first, second = keys
    await announces(source, honest)
    since, end = datetime.now(UTC), datetime.now(UTC) + timedelta(minutes=5)
    await announces(source, first, ends={kid(honest): end})
    await announces(signing(source, first), second)
    return source, keys, since, end


async def test_with_a_stolen_key_falls_what_its_thief_did_with_it(stage: Stage) -> None:
    source, (honest, first, second), since, end = await stolen(stage)
    waiting = await asked(stage, source.party, "compromised", since)
    said = json.loads(waiting["canonical"])["parameters"]
    assert (said["also"], said["reopened"]) == ([kid(first), kid(second)], {kid(honest): None})
    done = await deciding.approved(stage, waiting)
    assert (done.json()["result"]["also"], done.json()["result"]["reopened"]) == (said["also"], said["reopened"])
    assert await revoked(stage) == {
        **dict.fromkeys((kid(source.party), kid(first), kid(second)), "compromised"),
        kid(honest): None,
    }
    for party in (source.party, first, second):
        await unvouched(stage, *signing(source, party).compose("link.keys", [], body=announcement(party)), 401, 1007)
    after = signing(source, honest).compose("action.notice", [], sent_at=stamp(end + timedelta(minutes=1)))
    stage.clock.ahead = timedelta(minutes=10)
    assert (await source.post(*after)).type == "receipt"
    assert await stage.doctor() == []


async def test_what_is_announced_until_the_approval_falls_too(stage: Stage) -> None:
    source, (_, first, second), since, _ = await stolen(stage)
    waiting = await asked(stage, source.party, "compromised", since)
    third = Party("MEC01")
    await announces(signing(source, second), third)
    done = await deciding.approved(stage, waiting)
    assert done.json()["result"]["also"] == [kid(first), kid(second), kid(third)]
    assert (await revoked(stage))[kid(third)] == "compromised"


async def test_an_end_that_the_honest_gave_before_is_put_back(stage: Stage) -> None:
    source, honest = await join(stage, "MEC01", "mechanism"), Party("MEC01")
    planned = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    await announces(source, honest)
    await announces(source, Party("MEC01"), ends={kid(honest): planned})
    since = datetime.now(UTC)
    await announces(source, ends={kid(honest): datetime.now(UTC) + timedelta(minutes=5)})
    waiting = await asked(stage, source.party, "compromised", since)
    assert (await deciding.approved(stage, waiting)).json()["result"]["reopened"] == {kid(honest): planned.isoformat()}
    [(end,)] = await stage.rows(f"SELECT not_after FROM peer_key WHERE kid = '{kid(honest)}'")
    assert end == planned
    assert await stage.doctor() == []


@pytest.mark.parametrize("reason", ["superseded", "compromised"])
async def test_what_a_key_announced_in_its_good_time_stays(stage: Stage, reason: str) -> None:
    source, (honest, first, second), _, end = await stolen(stage)
    waiting = await asked(stage, source.party, reason, datetime.now(UTC) if reason == "compromised" else None)
    done = (await deciding.approved(stage, waiting)).json()["result"]
    assert (done["also"], done["reopened"]) == ([], {})
    assert {kid for kid, why in (await revoked(stage)).items() if why is None} == {kid(honest), kid(first), kid(second)}
    [(until,)] = await stage.rows(f"SELECT not_after FROM peer_key WHERE kid = '{kid(honest)}'")
    assert stamp(until) == stamp(end)


Change = Callable[[db.Tx, str, Party], Awaitable[object]]


def revoke(tx: db.Tx, old: str, _: Party) -> Awaitable[object]:
    now = datetime.now(UTC)
    return commands.revoke_key(tx, "MEC01", old, Revocation.COMPROMISED, now=now, since=now - timedelta(hours=1))


def restore(tx: db.Tx, _: str, __: Party) -> Awaitable[object]:
    return commands.restored(tx, "MEC01", Party("MEC01").jwks()["keys"], now=datetime.now(UTC))


def add(tx: db.Tx, _: str, new: Party) -> Awaitable[object]:
    now = datetime.now(UTC)
    return commands.add_keys(tx, "MEC01", new.jwks()["keys"], now=now, not_before=now, not_after=None)


async def waits(stage: Stage, task: "asyncio.Task[Any]") -> None:
    """Wait until a task waits for a lock, or has not had to."""

    async def held() -> bool:
        return task.done() or bool(await stage.count(WAITING))

    await stage.until(held)


@pytest.mark.parametrize("change", [revoke, restore, add])
async def test_no_key_is_announced_behind_a_change_of_keys(stage: Stage, change: Change) -> None:
    source, new = await join(stage, "MEC01", "mechanism"), Party("MEC01")
    kind, made = source.compose("link.keys", [], body=announcement(new))
    tasks = []

    async def changes(tx: db.Tx) -> None:
        await change(tx, kid(source.party), new)
        tasks.append(asyncio.create_task(source.post(kind, made)))  # verified before this is committed
        await waits(stage, tasks[0])

    await stage.run(changes)
    await is_refusal(stage, await tasks[0], made, 1007)
    assert (kid(new) in await revoked(stage)) == (change is add)


async def test_a_key_that_comes_in_before_a_restoration_is_of_the_earlier_life(stage: Stage) -> None:
    source, new = await join(stage, "MEC01", "mechanism"), Party("MEC01")
    tasks = []

    async def adds(tx: db.Tx) -> None:
        await add(tx, "", new)
        tasks.append(asyncio.create_task(stage.run(lambda other: restore(other, "", new))))
        await waits(stage, tasks[0])

    await stage.run(adds)
    [renewed] = await tasks[0]
    assert await revoked(stage) == {kid(source.party): "restored", kid(new): "restored", renewed: None}
