"""Property: books that are compared again and again under full load never differ by what moves, only by what is wrong.

Method: transfers on every arrow without a pause, some withdrawn, while the links of MEC01 and KOR01 are reconciled in
turn, each cut announced a second ahead. Before one of the runs units of KOR01's that never move vanish from its
database: that run finds exactly them. They are put right by two people there, and its next run says so.
Scope: a hundred runs with ``FAULTS=long`` in the environment or by ``make faults`` (``long``), ten in ``make test``.
"""

import random
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults import long
from tests.faults import network as networks
from tests.faults.agreement import agree
from tests.faults.members import MIXED, OWN
from tests.faults.network import Network
from tests.faults.postgres import Postgres
from tests.faults.test_chaos import under_load

PATH = "/api/v1/reconciliations"
ANNOUNCED_SECONDS = 1
LINKS = ("MEC01", "KOR01")
AGREE, CORRECTED, DIFFER = 5, 6, 99
#: Transfers that must have been proposed for each run, or it was no load.
FOR_EACH_RUN = 10


@pytest.fixture
async def busy(postgres: Postgres, tmp_path: Path) -> AsyncIterator[Network]:
    """A network of its own, over both wires: its links are compared from the beginning."""
    async with networks.opened(postgres, tmp_path, answers=MIXED) as opened:
        yield opened


async def test_ten_runs_under_load_find_the_one_difference_there_is(busy: Network) -> None:
    await reconciled_under_load(busy, runs=10, planted=5)


@long.only
async def test_a_hundred_runs_under_load_find_the_one_difference_there_is(busy: Network) -> None:
    await reconciled_under_load(busy, runs=100, planted=51)


async def reconciled_under_load(network: Network, *, runs: int, planted: int) -> None:
    """Reconcile in turn under load; ``planted`` is the run before which a difference is, one of KOR01's (odd)."""
    assert LINKS[planted % 2] == "KOR01" and planted + 2 < runs
    seed = secrets.randbits(32)
    dice = random.Random(seed)  # noqa: S311 - dice, not keys
    acknowledged: set[str] = set()
    units: dict[str, Any] = {}
    reports = []
    async with under_load(network, dice, acknowledged):
        for nr in range(runs):
            if nr == planted:
                units = await lose(network)
            reports.append(await reconcile(network, LINKS[nr % 2]))
            if nr == planted:
                await put_right(network, units, reports[-1]["findings"])
    expected = [AGREE] * runs
    expected[planted], expected[planted + 2] = DIFFER, CORRECTED
    told = [(report["run"]["status"], report["run"]["remarks"], report["findings"]) for report in reports]
    wrong = [(nr, *one) for nr, one in enumerate(told) if one[0] != expected[nr]]
    assert not wrong, f"the dice were {seed}: {wrong}"
    assert [report["found"] for report in reports] == [int(nr == planted) for nr in range(runs)]
    [finding] = [one for one in reports[planted]["findings"] if one["case"] is not None]
    assert (finding["code"], finding["first"], finding["last"]) == (6302, units["first"], units["last"])
    assert len(acknowledged) > FOR_EACH_RUN * runs
    assert all(report["run"]["size"] for report in reports)
    await network.settle()
    await agree(network, doctor=True)


async def reconcile(network: Network, link: str) -> dict[str, Any]:
    """Have a link reconciled by the worker, and wait for the report."""
    asked = await network.operator("POST", PATH, json={"link": link, "announce_seconds": ANNOUNCED_SECONDS})
    assert asked.status_code == 202, asked.text
    [run] = asked.json()
    found: dict[str, Any] = {}

    async def ended() -> bool:
        found.update((await network.operator("GET", f"{PATH}/{run['id']}")).json())
        return bool(found["run"]["state"] == "ended")

    await network.until(ended, f"{link} is reconciled")
    return found


async def lose(network: Network) -> dict[str, Any]:
    """Let units of KOR01's vanish that no load moves."""
    blocks = (await network.admin("KOR01", "GET", "books?blocks=true"))["blocks"]
    block = max((one["block"] for one in blocks if one["account"] == OWN), key=lambda block: int(block["last"]))
    units = {"origin": block["origin"], "first": block["last"] - 6, "last": block["last"]}
    await network.insist(lambda: network.admin("KOR01", "POST", "books/lose", units=units), "KOR01 loses units")
    return units


async def put_right(network: Network, units: dict[str, Any], findings: list[dict[str, Any]]) -> None:
    """Two people of KOR01 make its books say again what the gateway's says."""
    [found] = [one for one in findings if one["case"] is not None]
    wish = {"units": units, "state": found["here"], "case": found["case"], "why": "a fault of ours (synthetic)"}
    who = ["registrar", "second registrar"]
    await network.insist(lambda: network.admin("KOR01", "POST", "books/correct", who=who, **wish), "KOR01 corrects")
