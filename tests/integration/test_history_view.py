"""What was pulled is shown to those it was pulled for and to its source, with who bears witness, and to nobody else.

Method: MEC01 and INT01, both played, have shown feeds to KOR01, to KOR99 (Korea's section) and to JPN01; people of each
look. The feeds are planted (``pulled``). All units are synthetic.
"""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import pytest_asyncio

from gateway import embedded
from gateway.domain.callers import Caller, Scope, Sight
from tests import pulled
from tests import stage as staging
from tests.integration.test_sandbox_play import sha
from tests.played import Played, block, join
from tests.pulled import address, at, chain, record
from tests.stage import Stage

pytestmark = pytest.mark.asyncio(loop_scope="module")

PEOPLE = {
    "MEC01": Sight("MEC01"), "INT01": Sight("INT01"), "KOR01": Sight("KOR01", "KOR"), "KOR99": Sight("KOR99", "KOR"),
    "JPN01": Sight("JPN01", "JPN"), "CHE01": Sight("CHE01", "CHE"), "all": Sight(None),
}  # fmt: skip
KOREAN = [*chain(1, 10), *chain(11, 20), *chain(21, 30)]
USED = record(
    block(1, 4), type="use", transaction="used", at=at(200), registry="KOR01", purpose="NDC", year=2022,
    **{"from": address("KOR01", "KOR"), "to": address("KOR01", "KOR", "200-1")},
)  # fmt: skip
WRONG = record(block(500, 510, "OTHER"), transaction="wrong", at=at(300), to=address("MEC01", "KOR", "100-7"))
RIGHT = record(
    block(500, 511, "OTHER"), transaction="wrong", at=at(301), to=address("MEC01", "KOR", "100-7"), corrects=sha(WRONG)
)
JAPANESE = chain(31, 40, to="JPN01")


@dataclass
class Scene:
    """The stage with its feeds, and a client in the name of the people of each."""

    stage: Stage
    source: Played
    international: Played
    people: dict[str, httpx.AsyncClient]

    async def get(self, who: str, path: str = "", **wanted: Any) -> httpx.Response:
        return await self.people[who].get(f"/api/v1/history{path}", params=wanted)

    async def records(self, who: str, **wanted: Any) -> list[dict[str, Any]]:
        """Every record that is shown, over all pages."""
        found, cursor = list[dict[str, Any]](), {}
        while True:
            answer = await self.get(who, **wanted, **cursor)
            assert answer.status_code == 200, answer.text
            found += answer.json()["records"]
            if answer.json()["next"] is None:
                return found
            cursor = {"cursor": answer.json()["next"]}

    async def texts(self, who: str, **wanted: Any) -> list[str]:
        return [one["text"] for one in await self.records(who, **wanted)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(postgres: embedded.Server, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    async with staging.opened(postgres, tmp_path_factory.mktemp("history")) as stage:
        mechanism = await join(stage, "MEC01", "mechanism")
        international = await join(stage, "INT01", "international", sections={"KOR99": "KOR", "MMR99": "MMR"})
        for code in ("KOR01", "JPN01", "CHE01"):
            await join(stage, code, "party", code[:3])
        await pulled.pull(mechanism, "KOR01", "KOR", [*KOREAN, WRONG, RIGHT], at_once=3)
        await pulled.pull(international, "KOR99", "KOR", [USED, KOREAN[0]])
        await pulled.pull(mechanism, "JPN01", "JPN", JAPANESE)
        people = {name: await stage.calling(somebody(name, sight)) for name, sight in PEOPLE.items()}
        yield Scene(stage, mechanism, international, people)
        assert await stage.doctor() == []


def somebody(name: str, sight: Sight) -> Caller:
    scopes = frozenset({Scope.BOOKS_READ, Scope.HISTORY_PULL})
    return Caller(f"p-{name}", person=True, sight=sight, scopes=scopes)


def same(one: httpx.Response, other: httpx.Response) -> bool:
    """Whether two answers are the same, but for the moment they were given at."""
    heads = [{k: v for k, v in answer.headers.items() if k != "date"} for answer in (one, other)]
    return (one.status_code, one.content, heads[0]) == (other.status_code, other.content, heads[1])


def newest_first(texts: list[str]) -> list[str]:
    return sorted(texts, key=lambda text: json.loads(text)["at"], reverse=True)


async def test_records_are_shown_newest_first_to_those_whose_feeds_have_them(scene: Scene) -> None:
    from_mechanism = [*KOREAN, WRONG, RIGHT]
    koreas = newest_first([*from_mechanism, USED])
    assert await scene.texts("KOR01") == await scene.texts("KOR99") == koreas
    assert await scene.texts("JPN01") == newest_first(JAPANESE)
    assert await scene.texts("MEC01") == newest_first([*from_mechanism, *JAPANESE])
    assert await scene.texts("INT01") == newest_first([USED, KOREAN[0]])
    assert await scene.texts("CHE01") == []
    assert await scene.texts("all") == newest_first([*from_mechanism, USED, *JAPANESE])


async def test_a_page_goes_on_where_the_one_before_ended(scene: Scene) -> None:
    for limit in (1, 2, 4, 9):
        assert await scene.texts("KOR01", limit=limit) == await scene.texts("KOR01")
    first = (await scene.get("KOR01", limit=1)).json()
    for who, wanted in (("JPN01", {}), ("KOR01", {"vintage": 2021})):
        other = await scene.get(who, cursor=first["next"], **wanted)
        assert (other.status_code, other.json()["code"]) == (400, 2001)


async def test_a_record_says_who_bears_witness_when_it_was_retrieved_and_what_corrects_it(scene: Scene) -> None:
    shown = {one["text"]: one for one in await scene.records("KOR01")}
    both = shown[KOREAN[0]]
    assert [(w["source"], w["registry"], w["number"]) for w in both["witnesses"]] == [
        ("INT01", "KOR99", 2), ("MEC01", "KOR01", 1)
    ]  # fmt: skip
    entries = await scene.stage.rows(
        "SELECT l.at FROM history_page p JOIN history_feed f ON f.id = p.feed_id JOIN log_entry l ON l.id = p.entry_id"
        " WHERE (f.link, p.first) IN (('INT01', 1), ('MEC01', 1)) AND f.party = 'KOR' ORDER BY f.link"
    )
    assert [staging.datetime.fromisoformat(w["retrieved_at"]) for w in both["witnesses"]] == [a for (a,) in entries]
    assert both["sha256"] == sha(KOREAN[0]) and both["said"] == json.loads(KOREAN[0])
    assert shown[WRONG]["corrected_by"] == [sha(RIGHT)]
    assert shown[RIGHT]["said"]["corrects"] == sha(WRONG) and shown[RIGHT]["corrected_by"] == []
    # Its source does not learn who else knows it.
    [seen] = [one for one in await scene.records("MEC01") if one["text"] == KOREAN[0]]
    assert [w["source"] for w in seen["witnesses"]] == ["MEC01"]


async def test_what_was_found_in_a_record_is_shown_with_it(scene: Scene) -> None:
    await scene.stage.rows(
        "INSERT INTO history_finding (feed_id, record, code, detail, at, entry_id)"
        " SELECT f.id, r.sha256, 4010, 'it contradicts another', now(), 1 FROM history_feed f, history_record r"
        " WHERE (f.link, f.registry) = ('INT01', 'KOR99') AND r.transaction = 'used'"
    )
    [used] = await scene.records("KOR01", type="use")
    assert [(f["code"], f["detail"]) for f in used["findings"]] == [(4010, "it contradicts another")]
    feed = (await scene.get("KOR99", "/feeds/INT01/KOR99")).json()
    assert feed["feed"]["findings"] == 1 and [f["code"] for f in feed["found"]] == [4010]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"source": "INT01"}, [USED, KOREAN[0]]),
        ({"registry": "KOR99"}, [USED, KOREAN[0]]),
        ({"source": "MEC01", "type": "issuance", "until": at(12)}, [KOREAN[1], KOREAN[3]]),
        ({"type": "use"}, [USED]),
        ({"account": "200-1"}, [USED]),
        ({"account": "100-7", "party": "KOR"}, [WRONG, RIGHT]),
        ({"account": "100-7", "party": "MMR"}, []),
        ({"party": "MMR", "since": at(75)}, [KOREAN[4]]),
        ({"activity": "PoA 10471", "type": "use"}, [USED]),
        ({"activity": "another"}, []),
        ({"authorisation": "AUTH-SYNTHETIC-1", "type": "use"}, [USED]),
        ({"authorisation": "another"}, []),
        ({"vintage": 2021, "type": "use"}, [USED]),
        ({"vintage": 2022}, []),
        ({"units": "MEC01/MMR-A64/4"}, [USED, KOREAN[0], KOREAN[1]]),
        ({"units": "MEC01/MMR-A64/5"}, [KOREAN[0], KOREAN[1]]),
        ({"units": "MEC01/MMR-A64/10-11"}, KOREAN[:4]),
        ({"units": "MEC01/MMR-A64/1-1000000"}, [*KOREAN, USED]),
        ({"units": "MEC01/OTHER/511"}, [RIGHT]),
        ({"units": "MEC01/MMR-A64/31"}, []),
        ({"units": "CA0001-MMR99-MMR-4-2021"}, [USED, KOREAN[0], KOREAN[1]]),
        ({"units": "CA0001-MMR99-MMR-10-2021..CA0001-MMR99-MMR-11-2021", "type": "issuance"}, [KOREAN[1], KOREAN[3]]),
        ({"units": "CA0001-MMR99-MMR-31-2021"}, []),
    ],
    ids=lambda value: str(value)[:70],
)  # fmt: skip
async def test_a_search_finds_what_matches_all_that_is_asked_for(
    scene: Scene, wanted: dict[str, Any], found: list[str]
) -> None:
    assert await scene.texts("KOR01", **wanted) == newest_first(found)
    assert await scene.texts("KOR01", **wanted, limit=1) == newest_first(found)


@pytest.mark.parametrize(
    ("wanted", "status", "code"),
    [
        ({"units": "x"}, 400, 2006), ({"units": "MEC01/A/0"}, 400, 2006), ({"units": "MEC01/A/5-4"}, 400, 2007),
        ({"units": "CA0001-MMR99-MMR-2-2021..CA0001-MMR99-MMR-1-2021"}, 400, 2007), ({"party": "XXX"}, 400, 2010),
        ({"account": "1"}, 400, 2014), ({"since": at(1), "until": at(1)}, 400, 2014), ({"source": "x"}, 400, 2011),
        ({"cursor": "AAAA"}, 400, 2001),
    ],
    ids=lambda value: str(value)[:70],
)  # fmt: skip
async def test_what_cannot_be_looked_for_is_refused(
    scene: Scene, wanted: dict[str, Any], status: int, code: int
) -> None:
    answer = await scene.get("KOR01", **wanted)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_of_others_feeds_not_even_that_they_are_there_is_shown(scene: Scene) -> None:
    for who, source, registry in (
        ("JPN01", "MEC01", "KOR01"), ("KOR01", "MEC01", "JPN01"), ("CHE01", "MEC01", "KOR01"),
        ("INT01", "MEC01", "KOR01"), ("MEC01", "INT01", "KOR99"),
    ):  # fmt: skip
        for path, wanted in (("", {"source": source, "registry": registry}), (f"/feeds/{source}/{registry}", {})):
            hidden = await scene.get(who, path, **wanted)
            absent_path = path.replace(registry, "MMR01").replace(source, "SRV01")
            absent = await scene.get(who, absent_path, **({"source": "SRV01"} if wanted else {}))
            assert (hidden.status_code, hidden.json()["code"]) == (403, 8001)
            assert same(hidden, absent)
    known = await scene.get("all", "/feeds/SRV01/MMR01")
    assert (known.status_code, known.json()["code"]) == (404, 8001)


async def test_a_feed_says_how_far_it_is_and_why_it_waits(scene: Scene) -> None:
    of_korea, of_source = [
        [f for f in (await scene.get(who, "/feeds")).json() if f["number"]] for who in ("KOR01", "MEC01")
    ]
    assert [(f["source"], f["registry"], f["number"]) for f in of_korea] == [
        ("INT01", "KOR99", 2), ("MEC01", "KOR01", 8)
    ]  # fmt: skip
    assert {f["registry"] for f in of_source} == {"KOR01", "JPN01"}
    assert all(f["registry"] == "CHE01" for f in (await scene.get("CHE01", "/feeds")).json())
    await scene.stage.rows(
        "UPDATE history_feed SET delivered = 5, waiting = 'MEC01 refused history.query: 9002: secret', attempts = 2"
        " WHERE (link, registry) = ('MEC01', 'KOR01')"
    )
    [mine] = [
        f for f in (await scene.get("KOR01", "/feeds")).json() if (f["source"], f["registry"]) == ("MEC01", "KOR01")
    ]
    assert (mine["delivered"], mine["attempts"], mine["due"], mine["stopped"]) == (5, 2, False, False)
    assert mine["waiting"] == "MEC01 refused history.query"
    [theirs] = [f for f in (await scene.get("MEC01", "/feeds")).json() if f["registry"] == "KOR01"]
    assert theirs["waiting"].endswith("secret")


async def test_a_feed_is_called_for_by_the_people_it_is_for(scene: Scene) -> None:
    async def call(who: str) -> httpx.Response:
        return await scene.people[who].post("/api/v1/history/feeds/MEC01/KOR01/pull")

    assert (await scene.get("KOR01", "/feeds/MEC01/KOR01")).json()["feed"]["due"] is False
    refused = [await call(who) for who in ("MEC01", "JPN01", "CHE01")]
    assert [(r.status_code, r.json()["code"]) for r in refused] == [(403, 8001)] * 3
    of_korea = "SELECT called FROM history_call c JOIN history_feed f ON f.id = c.feed_id AND f.registry = 'KOR01'"
    of_korea += " AND f.link = 'MEC01'"
    assert await scene.stage.rows(of_korea) == [(0,)]
    for nr, who in enumerate(("KOR01", "KOR99", "all"), 1):
        called = await call(who)
        assert (called.status_code, called.json()["due"]) == (202, True)
        assert await scene.stage.rows(of_korea) == [(nr,)]
    await scene.stage.rows("UPDATE history_feed SET stopped = true WHERE registry = 'KOR01'")
    stopped = await call("KOR01")
    assert (stopped.status_code, stopped.json()["code"]) == (409, 8004)
    await scene.stage.rows("UPDATE history_feed SET stopped = false WHERE registry = 'KOR01'")


async def test_a_correction_by_who_never_told_the_record_is_none(scene: Scene) -> None:
    meddling = record(
        block(500, 511, "OTHER"),
        transaction="wrong",
        at=at(302),
        to=address("MEC01", "KOR", "100-7"),
        corrects=sha(WRONG),
    )
    await pulled.pull(scene.international, "KOR99", "KOR", [meddling])
    shown = {one["text"]: one for one in await scene.records("KOR01")}
    assert shown[WRONG]["corrected_by"] == [sha(RIGHT)] and meddling in shown
