"""What a source shows is read through, marked with its age, and never kept; who may not view is told nothing.

Method: MEC01 is played over HTTP (``viewed``) and shows histories and holdings to KOR01; its answers are what the tests
say, good or not. All units are synthetic.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
import pytest
import pytest_asyncio

from gateway import embedded
from gateway.domain.callers import Caller, Scope, Sight
from gateway.history import live
from tests import pulled
from tests import stage as staging
from tests.integration.test_sandbox_play import sha
from tests.played import Played, block, join
from tests.pulled import chain
from tests.stage import Stage
from tests.viewed import NOW, Source, listening

pytestmark = pytest.mark.asyncio(loop_scope="module")

FEED = [*chain(1, 10), *chain(11, 20), *chain(21, 30)]
HELD = [
    {"party": "KOR", "account": account, "block": block(first, first + 9)}
    for first, account in ((101, "100-1"), (111, "200-1"), (121, "100-1"))
]
PEOPLE = {"KOR01": Sight("KOR01", "KOR"), "JPN01": Sight("JPN01", "JPN"), "MEC01": Sight("MEC01"), "all": Sight(None)}


@dataclass
class Scene:
    """The gateway, the source it asks, and clients in the name of people."""

    stage: Stage
    mechanism: Played
    source: Source
    people: dict[str, httpx.AsyncClient]
    fresh: int = 0

    async def get(self, path: str, who: str = "KOR01", **wanted: Any) -> httpx.Response:
        named = {"source": "MEC01", "registry": "KOR01", **wanted}
        return await self.people[who].get(f"/api/v1/history/{path}", params=named)

    async def shown(self, path: str, who: str = "KOR01", **wanted: Any) -> dict[str, Any]:
        answer = await self.get(path, who, **wanted)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def anew(self, path: str, **wanted: Any) -> httpx.Response:
        """Ask what was not asked before: another limit, each time."""
        self.fresh += 1
        return await self.get(path, limit=900 - self.fresh, **wanted)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(postgres: embedded.Server, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    async with staging.opened(postgres, tmp_path_factory.mktemp("live")) as stage:
        mechanism = await join(stage, "MEC01", "mechanism")
        for code in ("KOR01", "JPN01"):
            await join(stage, code, "party", code[:3])
        people = {name: await stage.calling(somebody(name, sight)) for name, sight in PEOPLE.items()}
        async with listening(mechanism) as source:
            source.feeds, source.positions = {"KOR01": list(FEED)}, {"KOR01": HELD}
            yield Scene(stage, mechanism, source, people)
        assert await stage.doctor() == []


@pytest.fixture(autouse=True)
def as_before(scene: Scene) -> None:
    """A source that answers as the contract says."""
    scene.source.refusing, scene.source.failing, scene.source.changed = [], None, lambda body: None
    scene.source.asked.clear()


def somebody(name: str, sight: Sight) -> Caller:
    scopes = frozenset({Scope.BOOKS_READ, Scope.HISTORY_PULL})
    return Caller(f"p-{name}", person=True, sight=sight, scopes=scopes)


async def test_holdings_are_the_sources_word_of_a_moment_and_nothing_of_them_is_kept(scene: Scene) -> None:
    kept = "SELECT (SELECT count(*) FROM history_record), (SELECT count(*) FROM position), (SELECT count(*) FROM owed)"
    before = await scene.stage.rows(kept)
    found = await scene.shown("live/holdings")
    assert found["items"] == HELD and found["next"] is None
    assert (found["source"], found["registry"], found["party"]) == ("MEC01", "KOR01", "KOR")
    assert staging.datetime.fromisoformat(found["as_of"]) == staging.datetime.fromisoformat(NOW)
    assert 0 <= found["age_seconds"] < live.FRESH_SECONDS
    assert await scene.stage.rows(kept) == before
    [asked] = scene.source.asked
    assert asked["body"] == {"of": "MEC01", "for": {"registry": "KOR01", "party": "KOR"}, "limit": 100}
    said = await scene.stage.rows(
        "SELECT direction, type FROM message WHERE type LIKE 'positions.%' ORDER BY entry_id DESC LIMIT 2"
    )
    assert said == [("in", "positions.answer"), ("out", "positions.query")]


async def test_holdings_are_read_page_by_page_and_selected_at_the_source(scene: Scene) -> None:
    first = await scene.shown("live/holdings", limit=2)
    assert first["items"] == HELD[:2]
    rest = await scene.shown("live/holdings", limit=2, after=first["next"])
    assert (rest["items"], rest["next"]) == (HELD[2:], None)
    selected = await scene.shown("live/holdings", account="200-1", units="MEC01/MMR-A64/111-112", vintage=2021)
    assert selected["items"] == [HELD[1]]
    units = {"origin": {"registry": "MEC01", "series": "MMR-A64"}, "first": 111, "last": 112}
    assert scene.source.asked[-1]["body"]["select"] == {"account": "200-1", "units": units, "vintage": 2021}


async def test_records_are_shown_in_the_order_of_the_feed_without_pulling(scene: Scene) -> None:
    found = await scene.shown("live/records", limit=4)
    assert [one["text"] for one in found["items"]] == FEED[:4]
    assert [one["sha256"] for one in found["items"]] == [sha(one) for one in FEED[:4]]
    assert found["items"][0]["said"] == json.loads(FEED[0])
    rest = await scene.shown("live/records", limit=4, after=found["next"])
    assert ([one["text"] for one in rest["items"]], rest["next"]) == (FEED[4:], None)
    issued = await scene.shown("live/records", limit=4, type="issuance", since="2026-03-01T12:00:00Z")
    assert [one["text"] for one in issued["items"]] == FEED[1:4:2] and issued["next"] == found["next"]
    assert scene.source.asked[-1]["body"]["select"] == {"type": "issuance", "since": "2026-03-01T12:00:00.000Z"}
    assert await scene.stage.count("history_record") == 0


async def test_the_same_question_within_seconds_asks_the_source_once_and_says_how_old_the_answer_is(
    scene: Scene,
) -> None:
    scene.stage.gateway.live._recent = live.Recent(600.0)
    answers = await asyncio.gather(*(scene.shown("live/holdings", who, limit=7) for who in ("KOR01", "all", "KOR01")))
    assert [a["items"] for a in answers] == [HELD] * 3 and len(scene.source.asked) == 1
    later = await scene.shown("live/holdings", limit=7)
    assert later["age_seconds"] > answers[0]["age_seconds"] and len(scene.source.asked) == 1
    await scene.shown("live/holdings", limit=8)
    assert len(scene.source.asked) == 2


async def test_an_answer_is_asked_for_again_once_it_is_old_and_a_failure_at_once() -> None:
    asked = 0

    async def ask() -> int:
        nonlocal asked
        asked += 1
        if asked == 3:
            raise ValueError("no answer")
        return asked

    recent: live.Recent[int] = live.Recent(0.0)
    assert (await recent.get("x", ask), await recent.get("x", ask)) == (1, 2)
    kept: live.Recent[int] = live.Recent(60.0)
    with pytest.raises(ValueError, match="no answer"):
        await kept.get("x", ask)
    assert (await kept.get("x", ask), await kept.get("x", ask)) == (4, 4)


async def test_who_may_not_view_is_refused_alike_whatever_there_is(scene: Scene) -> None:
    for path in ("live/holdings", "live/records", "difference"):
        hidden = [await scene.get(path, who) for who in ("JPN01", "MEC01")]
        absent = [
            await scene.get(path, "JPN01", registry="ZZZ01"), await scene.get(path, source="ZZZ01"),
            await scene.get(path, source="JPN01"), await scene.get(path, registry="MEC01"),
        ]  # fmt: skip
        assert {(a.status_code, a.content) for a in [*hidden, *absent]} == {(403, hidden[0].content)}
        assert hidden[0].json()["code"] == 8001
    known = await scene.get("live/holdings", "all", registry="ZZZ01")
    assert (known.status_code, known.json()["code"]) == (404, 8001)
    assert scene.source.asked == []


async def test_a_link_that_is_not_for_view_or_not_active_shows_nothing(scene: Scene) -> None:
    for link in ("MEC01", "KOR01"):
        for change, back, code in (
            ("capabilities = array_remove(capabilities, 'view')", "capabilities = array_append(capabilities, 'view')",
             1010),
            ("state = 'suspended'", "state = 'active'", 1003),
            ("state = 'testing'", "state = 'active'", 1002),
        ):  # fmt: skip
            await scene.stage.rows(f"UPDATE link SET {change} WHERE code = '{link}'")
            answer = await scene.anew("live/holdings")
            await scene.stage.rows(f"UPDATE link SET {back} WHERE code = '{link}'")
            assert (answer.status_code, answer.json()["code"]) == (403, code)
            assert link in answer.json()["detail"]
    assert scene.source.asked == []


async def test_what_the_source_refuses_or_leaves_open_is_said_with_its_reason(scene: Scene) -> None:
    scene.source.refusing = [8001]
    hidden = await scene.anew("live/records")
    assert (hidden.status_code, hidden.json()["code"]) == (403, 8001)
    scene.source.refusing = [9003]
    refused = await scene.anew("live/records")
    assert (refused.status_code, refused.json()["code"]) == (503, 9002)
    assert refused.json()["detail"] == "MEC01 refuses to answer (9003)"
    scene.source.refusing, scene.source.failing = (
        [],
        (503, {"retry-after": "77", "content-type": "application/problem+json"}),
    )
    later = await scene.anew("live/records")
    assert (later.status_code, later.json()["code"], later.headers["retry-after"]) == (503, 9002, "77")
    scene.source.failing = (500, {})
    silent = await scene.anew("live/holdings")
    assert (silent.status_code, silent.json()["code"]) == (503, 9001)
    assert silent.json()["detail"].startswith("no answer from MEC01 to positions.query")


@pytest.mark.parametrize(
    "change",
    [
        {"of": "INT01"}, {"for": {"registry": "JPN01", "party": "JPN"}}, {"at": "yesterday"}, {"at": None}, {"more": 1},
        {"next": ""},
    ],
    ids=str,
)  # fmt: skip
async def test_an_answer_that_is_not_of_the_protocol_is_not_shown(scene: Scene, change: dict[str, Any]) -> None:
    scene.source.changed = lambda body: body.update(change)
    answer = await scene.anew("live/holdings")
    assert (answer.status_code, answer.json()["code"]) == (503, 9002)
    assert answer.json()["detail"].startswith("the answer of MEC01 cannot be read")


async def test_a_record_that_is_none_is_not_shown(scene: Scene) -> None:
    for text in (
        FEED[0].replace('"first_transfer":true', '"first_transfer":1'),
        FEED[0].replace("{", "{ ", 1),
        FEED[0].replace('"authorisation":{"id":"AUTH-SYNTHETIC-1","version":1}', '"authorisation":null'),
    ):
        scene.source.feeds["KOR01"] = [text]
        answer = await scene.anew("live/records")
        assert (answer.status_code, answer.json()["code"]) == (503, 9002), text
    scene.source.feeds["KOR01"] = list(FEED)


async def test_who_signs_for_another_is_not_believed(scene: Scene) -> None:
    code, scene.source.code = scene.source.code, "KOR01"
    answer = await scene.anew("live/holdings")
    scene.source.code = code
    assert (answer.status_code, answer.json()["code"]) == (503, 9002)
    assert "was refused" in answer.json()["detail"]


async def test_units_are_named_by_their_origin_at_the_source(scene: Scene) -> None:
    answer = await scene.get("live/holdings", units="CA0001-MMR99-MMR-4-2021")
    assert (answer.status_code, answer.json()["code"]) == (400, 2006)
    cursor = await scene.get("live/records", after="7")
    assert (cursor.status_code, cursor.json()["code"]) == (400, 8003)


async def test_what_was_pulled_and_what_the_source_shows_are_compared_record_by_record(scene: Scene) -> None:
    nothing = await scene.shown("difference")
    assert nothing["counts"] == {"missing-here": 6, "missing-there": 0, "different": 0} and nothing["here"] == 0
    await pulled.pull(scene.mechanism, "KOR01", "KOR", FEED[:5], at_once=2)
    one_short = await scene.shown("difference", after="3")
    assert (one_short["after"], one_short["until"], one_short["here"], one_short["next"]) == (3, 6, 5, None)
    assert one_short["differences"] == [{"number": 6, "which": "missing-here", "here": None, "there": FEED[5]}]
    assert scene.source.asked[-1]["body"]["after"]["number"] == 3 and "select" not in scene.source.asked[-1]["body"]
    await pulled.pull(scene.mechanism, "KOR01", "KOR", FEED[5:])
    assert (await scene.shown("difference"))["differences"] == []
    scene.source.feeds["KOR01"] = [*FEED[:2], FEED[3], *FEED[4:5]]
    other = await scene.shown("difference")
    assert [(d["number"], d["which"]) for d in other["differences"]] == [
        (3, "different"), (4, "different"), (5, "missing-there"), (6, "missing-there")
    ]  # fmt: skip
    assert (other["differences"][0]["here"], other["differences"][0]["there"]) == (FEED[2], FEED[3])
    elsewhere = await scene.get("difference", after="4")
    assert (elsewhere.status_code, elsewhere.json()["code"]) == (409, 8003)
    assert (await scene.shown("difference", after="2"))["counts"]["different"] == 2
    scene.source.feeds["KOR01"] = list(FEED)
    for after in ("7", "x", "-1", "1.x"):
        beyond = await scene.get("difference", after=after)
        assert (beyond.status_code, beyond.json()["code"]) == (400, 8003), after


async def test_a_comparison_is_bounded_and_goes_on_where_it_ended(scene: Scene) -> None:
    long = [text for first in range(1, 21_001, 10) for text in chain(first, first + 9)]
    scene.source.feeds["KOR01"] = long
    found, after, calls = list[int](), "0", 0
    while after is not None:
        part = await scene.shown("difference", after=after)
        found += [d["number"] for d in part["differences"]]
        after, calls = part["next"], calls + 1
        assert part["until"] - part["after"] <= 3_000
    assert found == list(range(7, len(long) + 1)) and calls > 1
    scene.source.feeds["KOR01"] = list(FEED)


async def test_a_page_that_leads_nowhere_ends_a_comparison(scene: Scene) -> None:
    scene.source.changed = lambda body: body.update(until=body["after"], more=True)
    answer = await scene.get("difference")
    assert (answer.status_code, answer.json()["code"]) == (503, 9002)


async def test_an_answer_that_comes_too_late_is_not_the_present(scene: Scene) -> None:
    scene.stage.clock.ahead = timedelta(hours=1)
    try:
        answer = await scene.anew("live/holdings")
    finally:
        scene.stage.clock.ahead = timedelta()
    assert (answer.status_code, answer.json()["code"]) == (503, 9002)
