"""Very many records are shown page by page as few are: each once, in order, and no page reads more than its share.

Method: a feed of tens of thousands of records for JPN01 and a small one for KOR01, of the same source; who sees many is
led by the records' times, who sees few by their feeds. All units are synthetic.
"""

import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from gateway import db, embedded
from gateway.domain.callers import EVERYTHING, Sight
from gateway.domain.units import UnitRange
from gateway.history import verify, view, view_store
from gateway.history.view import Wanted
from gateway.history.view_store import Along, Question
from tests import pulled
from tests import stage as staging
from tests.played import block, join
from tests.pulled import address, at, record
from tests.stage import Stage

pytestmark = pytest.mark.asyncio(loop_scope="module")

MANY = view.FEW + 2_000
JAPAN, KOREA = Sight("JPN01", "JPN"), Sight("KOR01", "KOR")
#: Every thousandth is a use; two at a time have the same moment.
TEXTS = [
    record(
        block(nr, nr), at=at(nr // 2), transaction=f"t{nr}", type="issuance" if nr % 1_000 else "use",
        to=address("MEC01", "JPN"),
    )
    for nr in range(1, MANY + 1)
]  # fmt: skip
FEW = [record(block(nr, nr, "KOR-FEW"), at=at(nr), transaction="few", to=address("MEC01", "KOR")) for nr in (7, 9_000)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def many(postgres: embedded.Server, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with staging.opened(postgres, tmp_path_factory.mktemp("many")) as stage:
        mechanism = await join(stage, "MEC01", "mechanism")
        for code in ("JPN01", "KOR01"):
            await join(stage, code, "party", code[:3])
        await pulled.pull(mechanism, "JPN01", "JPN", TEXTS)
        await pulled.pull(mechanism, "KOR01", "KOR", FEW)
        await stage.rows("ANALYZE")
        yield stage


async def pages(stage: Stage, sight: Sight, wanted: Wanted, limit: int, most: int = 1_000) -> list[list[str]]:
    """The texts of each page, to the end or as many as ``most``."""
    found, cursor = list[list[str]](), None
    while len(found) < most:
        async with stage.gateway.database.reading() as tx:
            page = await view.page(tx, sight, wanted, limit=limit, cursor=cursor)
        found.append([one.text for one in page.records])
        cursor = page.next
        if cursor is None:
            break
    return found


def newest_first(texts: list[str]) -> list[str]:
    return sorted(texts, key=lambda text: str(json.loads(text)["at"]), reverse=True)


async def test_every_record_is_on_one_page_and_in_order(many: Stage) -> None:
    shown = await pages(many, JAPAN, Wanted(), view.MAX_PAGE)
    texts = [text for page in shown for text in page]
    assert sorted(texts) == sorted(TEXTS)
    times = [json.loads(text)["at"] for text in texts]
    assert times == sorted(times, reverse=True)


async def test_who_sees_all_is_shown_all_and_who_sees_few_finds_them_at_once(many: Stage) -> None:
    assert await pages(many, KOREA, Wanted(), 50) == [newest_first(FEW)]
    assert sum(map(len, await pages(many, EVERYTHING, Wanted(), view.MAX_PAGE))) == MANY + len(FEW)


async def test_rare_records_are_found_though_pages_may_be_short(many: Stage) -> None:
    uses = [text for text in TEXTS if '"type":"use"' in text]
    shown = await pages(many, JAPAN, Wanted(type=view.HistoryType.USE), 10)
    assert [text for page in shown for text in page] == newest_first(uses)
    never = await pages(many, JAPAN, Wanted(activity="none"), 10)
    assert [text for page in never for text in page] == [] and len(never) <= 2


async def test_all_of_them_are_proven(many: Stage) -> None:
    verdict = await verify.verify(many.gateway.database)
    assert verdict.valid and sum(feed.records for feed in verdict.feeds) == MANY + len(FEW)


async def test_units_are_found_wherever_they_lie(many: Stage) -> None:
    assert await pages(many, JAPAN, Wanted(units=f"MEC01/MMR-A64/{MANY // 2}"), 10) == [[TEXTS[MANY // 2 - 1]]]
    assert await pages(many, JAPAN, Wanted(units="MEC01/KOR-FEW/7"), 10) == [[]]


@pytest.mark.parametrize("along", [Along.TIME, Along.UNITS])
async def test_what_is_kept_is_read_by_its_indexes(many: Stage, along: Along) -> None:
    units = (view.parse_units("MEC01/MMR-A64/17"),)
    assert isinstance(units[0], UnitRange)
    asked = view_store.parameters(Question(JAPAN, along, units=units if along is Along.UNITS else None))
    given = {**asked, "edge_at": "infinity", "edge_id": 2**63 - 1, "limit": 50}
    async with many.gateway.database.reading() as tx:
        explained = await db.rows(tx, f"EXPLAIN {view_store.statement(along, view.WINDOW)}", given)
    plan = [row[0] for row in explained]
    index = {Along.TIME: "history_record_in_time", Along.UNITS: "history_record_covering"}[along]
    assert any(index in line for line in plan), plan
    assert not [line for line in plan if "Seq Scan on history_record" in line], plan
