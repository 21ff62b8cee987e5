"""History between real registries: from where it happened, through the gateway, into each Party's own books.

Pulled and viewed from the mechanism registry and from the international one, for a Party's own registry and for a
section of the international one; over either wire. All units are synthetic.
"""

import json
from collections.abc import AsyncIterator
from itertools import pairwise, product
from typing import Any

import pytest
import pytest_asyncio

from gateway import embedded
from gateway.history import verify
from tests import contract
from tests import stage as staging
from tests.stage import Stage

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: Where history is pulled from, for which books; and for which Party those are.
SEEN = {"KOR01": "KOR", "GHA99": "GHA"}
PAIRS = tuple(product(("MEC01", "INT01"), SEEN))


async def linked(stage: Stage, wire: str = "link") -> None:
    """A mechanism registry that keeps a log of its own, a Party's registry, and the international one."""
    await stage.link("MEC01", "mechanism", follows=True, wire=wire)
    await stage.link("KOR01", "party", "KOR", wire=wire)
    await stage.link("INT01", "international", sections=("GHA", "MMR"), wire=wire)
    for party in ("GHA", "MMR"):
        await stage.registries["INT01"].post("accounts", party=party, account="100-1")


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["link", "des"])
async def world(
    request: pytest.FixtureRequest, postgres: embedded.Server, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    """Units of Myanmar went to Korea's registry and to Ghana's section, some of the latter's on to Korea."""
    async with staging.opened(postgres, tmp_path_factory.mktemp("history")) as stage:
        await linked(stage, request.param)
        await stage.issue(net=1_200)
        sent = await stage.propose(*[1] * 1_000) + await stage.propose(200, to="GHA99")
        assert set(await stage.relay(sent)) == {"completed"}
        [onward] = await stage.propose(50, source="INT01", to="KOR01", party="GHA")
        assert await stage.relay([onward]) == ["completed"]
        await told(stage)
        yield stage
        assert await stage.doctor() == []
        await contract.sent_as_agreed(stage)


async def told(stage: Stage) -> None:
    """Let everything that is to be pulled be pulled, and handed on."""
    while await stage.history.turn() or await stage.gateway.relay.turn():
        pass


async def at_source(stage: Stage, source: str, registry: str) -> dict[str, Any]:
    return await stage.registries[source].get(f"history?party={SEEN[registry]}&limit=10000")


async def in_its_books(stage: Stage, source: str, registry: str) -> dict[str, Any]:
    home = stage.registries["INT01" if registry.endswith("99") else registry]
    return await home.get(f"history/told?source={source}&code={registry}&limit=10000")


@pytest.mark.parametrize(("source", "registry"), PAIRS)
async def test_what_was_pulled_is_at_home_as_it_is_at_its_source(world: Stage, source: str, registry: str) -> None:
    there, home = await at_source(world, source, registry), await in_its_books(world, source, registry)
    assert there["end"]["number"] > 0
    assert home == there


@pytest.mark.parametrize(("source", "registry"), PAIRS)
async def test_its_source_can_be_viewed_without_pulling(world: Stage, source: str, registry: str) -> None:
    before = await world.count("history_entry")
    asked = f"source={source}&registry={registry}"
    records = await world.api.get(f"/api/v1/history/live/records?{asked}&type=transfer")
    holdings = await world.api.get(f"/api/v1/history/live/holdings?{asked}")
    assert records.is_success and holdings.is_success, (records.text, holdings.text)
    shown = records.json()
    assert (shown["source"], shown["registry"]) == (source, registry)
    assert shown["age_seconds"] >= 0 and {item["said"]["type"] for item in shown["items"]} == {"transfer"}
    different = await world.api.get(f"/api/v1/history/difference?{asked}")
    assert different.is_success and different.json()["differences"] == [], different.text
    assert await world.count("history_entry") == before


async def test_every_unit_that_came_has_its_chain_from_issuance_to_acquisition(world: Stage) -> None:
    """A thousand blocks and one from Ghana's section; compared with what the mechanism registry tells of each unit."""
    blocks = [h["block"] for h in (await world.registries["KOR01"].get("books?blocks=true"))["blocks"]]
    units = [serial for b in blocks for serial in range(b["first"], b["last"] + 1)]
    assert (len(blocks), len(units)) == (1_001, 1_050)
    asked = f"history/units?origin=MEC01&series={blocks[0]['origin']['series']}&first={min(units)}&last={max(units)}"
    ours, theirs = [
        [json.loads(text) for text in (await world.registries[code].get(asked))["records"]]
        for code in ("KOR01", "MEC01")
    ]
    for unit in units:
        chain, there = [
            [r for r in records if r["block"]["first"] <= unit <= r["block"]["last"]] for records in (ours, theirs)
        ]
        assert (chain[0]["type"], chain[-1]["to"]["registry"]) == ("issuance", "KOR01")
        assert [r for r in chain if r["registry"] == "MEC01"] == there
        assert all(later["from"] == earlier["to"] for earlier, later in pairwise(chain))


async def test_one_transfer_told_by_both_its_registries_is_one_fact_with_two_witnesses(world: Stage) -> None:
    page = await world.api.get("/api/v1/history?type=transfer&registry=GHA99&limit=500")
    twice = [one for one in page.json()["records"] if {w["source"] for w in one["witnesses"]} == {"MEC01", "INT01"}]
    assert [one["said"]["to"]["registry"] for one in twice] == ["GHA99"]
    assert await world.count("history_finding") == 0


async def test_all_of_it_is_proven(world: Stage) -> None:
    verdict = await verify.verify(world.gateway.database)
    assert verdict.valid and len(verdict.feeds) >= len(PAIRS)
    assert {f.logged > 0 for f in verdict.feeds if f.source == "MEC01" and f.records} == {True}


async def test_what_happens_here_is_called_for_and_told(world: Stage) -> None:
    """A use in Ghana's section is in its history there, and at home."""
    number = (await at_source(world, "INT01", "GHA99"))["end"]["number"]
    wish = {"party": "GHA", "account": "100-1", "to_account": "200-1", "quantity": 1}
    await world.registries["INT01"].post("use", **wish)
    await world.until(lambda: world.count("action WHERE type = 'use'"))
    await told(world)
    there = await at_source(world, "INT01", "GHA99")
    assert there["end"]["number"] == number + 1
    assert await in_its_books(world, "INT01", "GHA99") == there
