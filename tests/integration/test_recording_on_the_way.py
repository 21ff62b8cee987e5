"""Records on their way to a real international registry: whatever is lost, doubled or down, they are the actions.

The gateway takes single turns, so that each fault falls where the test wants it. At the end the registry has exactly
the records that the gateway has made, to the letter, and holds no unit more for it.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from gateway import wiring
from gateway.domain.addresses import LOOPBACK
from gateway.links.store import Link
from gateway.messages import owed
from gateway.messages.outbox import Lease
from gateway.settings import Settings
from tests import deciding
from tests.stage import Stage

SECTIONS = ("MMR", "KOR", "THA")


@pytest.fixture
async def linked(stage: Stage) -> AsyncIterator[Stage]:
    """MEC01, KOR01 and INT01 with its sections; what is recorded agrees at the end."""
    await asyncio.gather(
        stage.link("MEC01", "mechanism"),
        stage.link("KOR01", "party", "KOR"),
        stage.link("INT01", "international", sections=SECTIONS),
    )
    await stage.issue(net=1_000)
    yield stage
    await stage.until(lambda: recorded(stage))
    await agree(stage)
    assert await stage.doctor() == []
    assert (await stage.books())["conservation"] == "holds"


async def at_international(stage: Stage) -> dict[str, str]:
    """What INT01 has recorded: the text of each action."""
    found: dict[str, str] = {}
    while page := (await stage.registries["INT01"].get(f"records?limit=2&after={max(found, default='')}"))["records"]:
        found |= {record["action"]: record["item"] for record in page}
    return found


async def agree(stage: Stage) -> None:
    """INT01's records are the gateway's, to the letter; each action was recorded once, whatever came twice."""
    ours = dict(await stage.rows("SELECT action, item FROM action_record WHERE (kind, state) = ('record', 'recorded')"))
    theirs = await at_international(stage)
    assert theirs == ours
    summed = sum(json.loads(item)["quantity"] for item in theirs.values())
    assert (await stage.registries["INT01"].get("books"))["records"] == {"count": len(theirs), "quantity": summed}


async def recorded(stage: Stage) -> bool:
    """Whether everything is answered; what was put off is due at once."""
    await stage.rows("UPDATE owed SET next_at = now() WHERE next_at > now()")
    await stage.gateway.relay.turn()
    return not await stage.count("action_record WHERE answered_by IS NULL") + await stage.count("owed")


async def use(stage: Stage, quantity: int = 1) -> None:
    """MEC01 uses units of Myanmar's, which has a section."""
    before = await stage.count("action")
    await stage.registries["MEC01"].post("use", party="MMR", to_account="200-1", quantity=quantity)
    await stage.until(lambda: _more_than(stage, before))


async def _more_than(stage: Stage, before: int) -> bool:
    return await stage.count("action") > before


async def meets(stage: Stage, fault: str, times: int = 1, **more: Any) -> None:
    body = {"fault": fault, "direction": "in", "type": "action.record", "times": times, **more}
    await stage.registries["INT01"].post("faults", **body)


async def test_what_parties_did_anywhere_is_recorded_and_moves_nothing(linked: Stage) -> None:
    before = (await linked.registries["INT01"].get("books"))["held"]
    transfers = await linked.propose(300, 200)
    section = await linked.propose(100, to="THA99")
    assert await linked.relay([*transfers, *section]) == ["completed"] * 3
    await linked.registries["KOR01"].post("use", party="KOR", to_account="200-1", quantity=7)
    await linked.registries["INT01"].post("use", party="THA", to_account="200-1", quantity=40)
    await linked.registries["MEC01"].post("cancel", party="MMR", to_account="300-1", quantity=9)
    await linked.until(lambda: linked.count("(SELECT FROM action_record WHERE kind = 'record' OFFSET 8) AS ninth"))
    await linked.until(lambda: recorded(linked))
    texts = [json.loads(item) for item in (await at_international(linked)).values()]
    did = sorted((r["party"], r["type"], r["registry"], r["quantity"]) for r in texts)
    assert did == sorted([
        ("MMR", "First transfer", "MEC01", 300), ("KOR", "Acquisition", "KOR01", 300),
        ("MMR", "First transfer", "MEC01", 200), ("KOR", "Acquisition", "KOR01", 200),
        ("MMR", "First transfer", "MEC01", 100), ("THA", "Acquisition", "THA99", 100),
        ("KOR", "Use", "KOR01", 7), ("THA", "Use", "THA99", 40), ("MMR", "Cancellation", "MEC01", 9),
    ])  # fmt: skip
    assert all(b["itmo"] for r in texts if r["type"] == "Acquisition" for b in r["blocks"])
    assert (await linked.registries["INT01"].get("books"))["held"] == before + 60  # what came, less what was used


@pytest.mark.parametrize(
    "fault", ["lose-reply", "lose-request", "repeat", "refuse", "refuse-unsigned", "garbage", "wrong-signature"]
)
async def test_records_are_the_actions_whatever_happens_on_the_way(linked: Stage, fault: str) -> None:
    await meets(linked, fault, times=2)
    for _ in range(3):
        await use(linked)
        await linked.gateway.relay.turn()
    await linked.until(lambda: recorded(linked))
    assert len(await at_international(linked)) == 3
    sent = await linked.count("message WHERE type = 'action.record' AND direction = 'out'")
    assert sent <= 3
    listed = (await linked.registries["INT01"].get("faults"))["faults"]
    assert sum(one["fired"] for one in listed) == 2


async def test_an_answer_that_comes_after_its_message_was_sent_again_changes_nothing(linked: Stage) -> None:
    await use(linked)
    await meets(linked, "delay-reply", seconds=1.0)
    slow = asyncio.create_task(linked.gateway.relay.turn())
    await linked.until(lambda: linked.count("owed WHERE leased_by IS NOT NULL"))
    await linked.rows("UPDATE owed SET leased_until = NULL, leased_by = NULL")
    async with other_worker(linked) as another:
        await another.relay.turn()
        assert await linked.count("owed") == 0
        before = await linked.rows("SELECT * FROM action_record")
    await slow
    assert await linked.rows("SELECT * FROM action_record") == before


async def test_while_it_is_down_transfers_complete_and_their_records_wait_together(linked: Stage) -> None:
    await linked.registries["INT01"].stop()
    transfers = await linked.propose(10, 20, 30)
    assert await linked.relay(transfers) == ["completed"] * 3
    for _ in range(4):
        await use(linked)
        await linked.gateway.relay.turn()
    assert await linked.count("action_record WHERE state = 'recorded'") == 0
    [why] = (await linked.rows("SELECT DISTINCT waiting FROM owed WHERE waiting IS NOT NULL"))[0]
    assert str(why).startswith("no answer from INT01 to action.record")
    await linked.restart("INT01")
    linked.clock.ahead += timedelta(seconds=60)
    await linked.until(lambda: recorded(linked))
    assert len(await at_international(linked)) == 10
    assert await linked.count("message WHERE type = 'action.record' AND direction = 'out'") <= 4


async def test_a_worker_that_dies_between_signing_and_sending_loses_nothing(linked: Stage) -> None:
    await use(linked)
    assert await linked.gateway.relay.decisions.record()
    now = linked.clock()
    gone = Lease("gateway-worker-gone", now + timedelta(seconds=60))
    assert await linked.run(lambda tx: owed.lease_due(tx, now, gone, []))
    assert not await linked.gateway.relay.turn()  # it is leased to somebody
    async with other_worker(linked) as another:
        await another.relay.take_over()
        await another.relay.turn()
    assert len(await at_international(linked)) == 1
    assert await linked.count("message WHERE type = 'action.record' AND direction = 'out'") == 1


async def test_what_a_gateway_that_lost_data_records_again_is_the_same(linked: Stage) -> None:
    [transfer] = await linked.propose(50)
    await linked.until(lambda: linked.count("transfer"))
    await linked.gateway.relay.turn()
    await linked.back_up()
    assert await linked.relay([transfer]) == ["completed"]
    await linked.until(lambda: recorded(linked))
    before = await at_international(linked)
    assert len(before) == 2
    await linked.fall_back()
    assert await linked.count("action_record") == 0
    assert await linked.relay([transfer]) == ["completed"]
    await linked.until(lambda: recorded(linked))
    assert await at_international(linked) == before
    assert await linked.rows("SELECT DISTINCT state FROM action_record") == [("recorded",)]


async def test_what_it_refuses_is_shown_and_not_repeated(stage: Stage) -> None:
    """The gateway was told of a section that INT01 does not keep."""
    await asyncio.gather(stage.link("MEC01", "mechanism"), stage.link("JPN01", "party", "JPN"))
    registry = await stage._start("INT01", "international", "", "reply", ("MMR",))
    keys = (await stage.http.get(f"{registry.url}/keys")).json()["keys"]
    link = Link("INT01", "international", registry.url, "requested", 24, ("MMR99", "JPN99"))
    books: dict[str, str | None] = {"MMR99": "MMR", "JPN99": "JPN"}
    await stage.run(lambda tx: deciding.establish(tx, stage.gateway.node, link, books, keys))
    assert (await registry.post("activate"))["receipted"]
    stage.registries["INT01"] = registry
    await stage.issue(net=1_000)
    [transfer] = await stage.propose(100, to="JPN01")
    assert await stage.relay([transfer]) == ["completed"]
    await stage.until(lambda: recorded(stage))
    await agree(stage)
    page = (await stage.api.get("/api/v1/records?state=refused")).json()
    assert page["counts"] == {"waiting": 0, "sent": 0, "recorded": 1, "refused": 1}
    [refused] = page["records"]
    assert (refused["action"], refused["section"]) == (f"{transfer}/acquisition", "JPN99")
    assert [finding["code"] for finding in refused["findings"]] == [4002]
    [alarm] = (await stage.api.get("/api/v1/alarms?link=INT01")).json()["alarms"]
    assert (alarm["transfer"], alarm["code"]) == (transfer, 4002)
    assert await stage.count("owed") == 0
    assert await stage.doctor() == []


class other_worker:
    """A second worker's gateway on the same database."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    async def __aenter__(self) -> wiring.Gateway:
        dsn = self.stage.server.dsn(self.stage.database_name, "gateway_app")
        settings = Settings(private_peers=LOOPBACK, database_url=dsn, key_file=self.stage.folder / "gateway.pem")
        self.gateway = wiring.build(settings, clock=self.stage.clock)
        return self.gateway

    async def __aexit__(self, *_: object) -> None:
        await self.gateway.close()
