"""Everybody sees what concerns the registry they are bound to, and of the rest not even whether it exists.

Method: played registries, MEC01 → KOR01, with JPN01 concerned in nothing and MMR01, the registry of the Party whose
units are transferred; each thing is looked at by people of each, and what is refused is compared byte by byte.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
import pytest
import pytest_asyncio

from gateway import embedded
from gateway.domain.callers import Caller, Scope, Sight
from tests import recorded
from tests import stage as staging
from tests.integration.test_sandbox_play import uuid7
from tests.played import Course, Played, block, join, naming
from tests.recorded import International

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: Whose people look: at which code they are bound, and which Party's registry that is.
PEOPLE = {
    "MEC01": Sight("MEC01"), "KOR01": Sight("KOR01", "KOR"), "JPN01": Sight("JPN01", "JPN"),
    "MMR01": Sight("MMR01", "MMR"), "INT01": Sight("INT01"), "KOR99": Sight("KOR99", "KOR"),
    "MMR99": Sight("MMR99", "MMR"), "all": Sight(None),
}  # fmt: skip
#: Without one, nobody ever knew it.
NEVER = "MEC01-01900000-0000-7000-8000-000000000000"


@dataclass
class Scene:
    """Registries, and a client of the operator API in the name of the people of each."""

    course: Course
    international: International
    japan: Played
    people: dict[str, httpx.AsyncClient]

    async def who_sees(self, transfer: str) -> set[str]:
        """Whose people are shown a transfer, which must be those in whose list it is."""
        shown = {name: await get(http, f"transfers/{transfer}") for name, http in self.people.items()}
        listed = {name: await get(http, "transfers?limit=500") for name, http in self.people.items()}
        seen = {name for name, answer in shown.items() if answer.status_code == 200}
        assert {name for name, page in listed.items() if transfer in ids(page)} == seen
        missing = {name: await get(http, f"transfers/{NEVER}") for name, http in self.people.items()}
        for name in shown.keys() - seen:
            assert (shown[name].status_code, shown[name].json()["code"]) == (403, 8001)
            assert same(shown[name], missing[name])
        return seen


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(postgres: embedded.Server, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    async with staging.opened(postgres, tmp_path_factory.mktemp("sight")) as stage:
        course, international = await recorded.begun(stage)
        japan = await join(stage, "JPN01", "party", "JPN")
        await join(stage, "MMR01", "party", "MMR")
        people = {name: await stage.calling(somebody(sight)) for name, sight in PEOPLE.items()}
        yield Scene(course, international, japan, people)
        assert await stage.doctor() == []


def somebody(sight: Sight) -> Caller:
    return Caller(f"p-{sight.code}", person=True, sight=sight, scopes=frozenset(Scope))


async def get(http: httpx.AsyncClient, path: str) -> httpx.Response:
    return await http.get(f"/api/v1/{path}")


def ids(page: httpx.Response) -> list[str]:
    assert page.status_code == 200, page.text
    return [row["id"] for row in page.json()["transfers"]]


def same(one: httpx.Response, other: httpx.Response) -> bool:
    """Whether two answers are the same, but for the moment they were given at."""
    heads = [{k: v for k, v in answer.headers.items() if k != "date"} for answer in (one, other)]
    return (one.status_code, one.content, heads[0]) == (other.status_code, other.content, heads[1])


async def released(course: Course, *items: dict[str, Any], first: bool) -> list[str]:
    """Take proposals to their release; the transfers' ids."""
    names = {str(i["transfer"]): [naming(b) for b in i["blocks"] if "itmo" not in b] for i in items}
    return await course.released(*items, naming=names if first else None)


def onward(scene: Scene, units: dict[str, Any]) -> dict[str, Any]:
    """A proposal of units that KOR01 holds, to JPN01."""
    return {
        **scene.course.proposal(units),
        "transfer": f"KOR01-{uuid7()}",
        "transferring": {"registry": "KOR01", "party": "KOR", "account": "100-1"},
        "acquiring": {"registry": "JPN01", "party": "JPN", "account": "100-1"},
    }


async def test_a_transfer_is_its_sides_and_from_first_transfer_on_its_first_transferring_partys(scene: Scene) -> None:
    course, units = scene.course, block(1, 10, series=uuid7())
    await course.issue(units)
    item = course.proposal(units)
    transfer = str(item["transfer"])
    sides, partys = {"MEC01", "KOR01", "all"}, {"MMR01", "MMR99"}
    await course.propose(item)
    assert await scene.who_sees(transfer) == sides
    await course.turn()
    await course.accept([transfer])
    await course.turn()
    assert await course.stage.states([transfer]) == ["committing"]
    assert await scene.who_sees(transfer) == sides
    await course.release([transfer], {transfer: [naming(units)]})
    assert await scene.who_sees(transfer) == sides | partys
    await course.credit([transfer])
    assert await scene.who_sees(transfer) == sides | partys
    # What becomes of the units afterwards concerns the Party too, be it refused in the end.
    item = onward(scene, {**units, "itmo": naming(units)["itmo"]})
    await course.acquirer.say("transfer.propose", [item])
    transfer = str(item["transfer"])
    assert await scene.who_sees(transfer) == {"KOR01", "JPN01", "all"}
    await course.turn()
    assert await course.stage.states([transfer]) == ["checked"]
    assert await scene.who_sees(transfer) == {"KOR01", "JPN01", "all"} | partys
    await course.acquirer.say("transfer.voided", [{"kind": "voided", "transfer": transfer, "findings": []}])
    assert await course.stage.states([transfer]) == ["cancelled"]
    assert await scene.who_sees(transfer) == {"KOR01", "JPN01", "all"} | partys


async def test_units_that_were_first_transferred_without_an_identifier_are_still_their_partys(scene: Scene) -> None:
    course, units = scene.course, block(1, 10, series=uuid7())
    await course.issue(units)
    item = course.proposal(units)
    transfers = await course.released(item, naming={str(item["transfer"]): []})
    await course.credit(transfers)
    assert await course.stage.states(transfers) == ["completed"]
    item = onward(scene, units)
    await course.acquirer.say("transfer.propose", [item])
    await course.turn()
    assert await scene.who_sees(str(item["transfer"])) == {"KOR01", "JPN01", "all", "MMR01", "MMR99"}
    await course.acquirer.say("transfer.voided", [{"kind": "voided", "transfer": item["transfer"], "findings": []}])


async def test_what_never_came_to_a_first_transfer_is_not_the_partys(scene: Scene) -> None:
    course, units = scene.course, block(1, 10, series=uuid7())
    await course.issue(units)
    plain = await released(course, course.proposal(units), first=False)
    await course.credit(plain)
    assert await scene.who_sees(plain[0]) == {"MEC01", "KOR01", "all"}
    refused = course.proposal(block(1, 10, series=uuid7()))
    await course.propose(refused)
    await course.turn()
    await course.void([str(refused["transfer"])])
    assert await scene.who_sees(str(refused["transfer"])) == {"MEC01", "KOR01", "all"}


async def test_who_is_named_by_a_source_without_being_a_side_sees_nothing(scene: Scene) -> None:
    """JPN01 is said to be where the units are, by MEC01; DEU01 to be where they go, and nobody is linked as that."""
    course = scene.course
    forged = course.proposal(
        block(1, 10, series=uuid7()),
        transferring={"registry": "JPN01", "party": "JPN", "account": "100-1"},
        acquiring={"registry": "DEU01", "party": "DEU", "account": "100-1"},
    )
    await course.propose(forged)
    await course.turn()
    assert await course.stage.states([str(forged["transfer"])]) == ["ending"]
    assert await scene.who_sees(str(forged["transfer"])) == {"MEC01", "all"}
    germany = await course.stage.calling(somebody(Sight("DEU01", "DEU")))
    assert (await get(germany, f"transfers/{forged['transfer']}")).status_code == 403
    ended = await scene.people["JPN01"].post(f"/api/v1/transfers/{forged['transfer']}/end", json={"reason": "x"})
    assert ended.status_code == 403
    await course.void([str(forged["transfer"])])


@pytest.mark.parametrize(
    ("said", "seen_by"),
    [
        ("no answer from KOR01 to transfer.offer: ConnectError: 10.1.2.3:8443", {"KOR01", "all"}),
        ("the gateway cannot check this one: KeyError('x')", {"all"}),
    ],
)
async def test_what_the_way_to_a_peer_answers_is_told_to_that_peers_people(
    scene: Scene, said: str, seen_by: set[str]
) -> None:
    course = scene.course
    item = course.proposal(block(1, 10, series=uuid7()))
    transfer = str(item["transfer"])
    await course.propose(item)
    await course.stage.rows(
        f"UPDATE transfer SET waiting = '{said.replace(chr(39), chr(39) * 2)}' WHERE id = '{transfer}'"
    )
    for name in ("MEC01", "KOR01", "all"):
        shown = said if name in seen_by else said.partition(": ")[0]
        assert (await get(scene.people[name], f"transfers/{transfer}")).json()["transfer"]["waiting"] == shown
        listed = (await get(scene.people[name], "transfers?limit=500")).json()["transfers"]
        assert [row["waiting"] for row in listed if row["id"] == transfer] == [shown]
    await course.void([transfer])


async def test_a_page_begins_and_goes_on_with_what_is_seen_only(scene: Scene) -> None:
    course, series = scene.course, uuid7()
    await course.issue(block(1, 40, series=series))
    mine = [course.proposal(block(n, n, series=series)) for n in range(1, 8)]
    await course.propose(*mine)
    for who in ("KOR01", "MEC01", "all"):
        everything = ids(await get(scene.people[who], "transfers?limit=500"))
        turned: list[str] = []
        following = ""
        while following is not None:
            onward = f"&before={following}" if following else ""
            answer = await get(scene.people[who], f"transfers?limit=3{onward}")
            turned += ids(answer)
            following = answer.json()["next"]
        assert turned == everything
    proposed = ids(await get(scene.people["KOR01"], "transfers?limit=500&state=proposed"))
    assert {str(item["transfer"]) for item in mine} <= set(proposed)
    japan = scene.people["JPN01"]
    unseen = await get(japan, f"transfers?before={mine[0]['transfer']}")
    assert (unseen.status_code, unseen.json()["code"]) == (403, 8001)
    assert same(unseen, await get(japan, f"transfers?before={NEVER}"))
    assert (await get(scene.people["all"], f"transfers?before={NEVER}")).json()["code"] == 3001
    await course.void([str(item["transfer"]) for item in mine])


async def test_only_the_people_of_the_source_end_a_transfer_and_others_do_not_learn_of_it(scene: Scene) -> None:
    course, series = scene.course, uuid7()
    await course.issue(block(1, 10, series=series))
    item = course.proposal(block(1, 10, series=series))
    await course.propose(item)
    transfer = str(item["transfer"])
    before = await course.stage.rows(f"SELECT * FROM transfer WHERE id = '{transfer}'")
    for act, body in (("end", {"reason": "x"}), ("resume", {})):
        for name, http in scene.people.items():
            if name in ("MEC01", "all"):
                continue
            refused = await http.post(f"/api/v1/transfers/{transfer}/{act}", json=body)
            absent = await http.post(f"/api/v1/transfers/{NEVER}/{act}", json=body)
            assert (refused.status_code, refused.json()["code"]) == (403, 8001), name
            assert same(refused, absent)
    assert await course.stage.rows(f"SELECT * FROM transfer WHERE id = '{transfer}'") == before
    [(entries,)] = await course.stage.rows("SELECT count(*) FROM log_entry WHERE kind = 'transfer.operator-ended'")
    ended = await scene.people["MEC01"].post(f"/api/v1/transfers/{transfer}/end", json={"reason": "the ministry's"})
    assert (ended.status_code, ended.json()["state"]) == (200, "ending")
    [(after,)] = await course.stage.rows("SELECT count(*) FROM log_entry WHERE kind = 'transfer.operator-ended'")
    assert after == entries + 1
    await course.void([transfer])


async def test_only_the_people_of_the_source_ask_for_a_transfer(scene: Scene) -> None:
    def wish(registry: str, party: str) -> dict[str, Any]:
        there = {"registry": "KOR01", "party": "KOR", "account": "100-1"}
        here = {"registry": registry, "party": party, "account": "100-1"}
        return {"transferring": here, "acquiring": there, "purpose": "NDC", "quantity": 1}

    async def ask(who: str, registry: str, party: str) -> httpx.Response:
        headers = {"idempotency-key": uuid7()}
        return await scene.people[who].post("/api/v1/transfers", json=wish(registry, party), headers=headers)

    asked = {
        registry: {name for name in PEOPLE if (await ask(name, registry, party)).status_code == 202}
        for registry, party in (("MEC01", "MMR"), ("JPN01", "JPN"), ("MMR99", "MMR"))
    }
    assert asked == {
        "MEC01": {"MEC01", "all"},
        "JPN01": {"JPN01", "all"},
        "MMR99": {"MMR99", "INT01", "all"},
    }
    before = await scene.course.stage.count("transfer_request")
    others, nobodys = await ask("KOR01", "MEC01", "MMR"), await ask("KOR01", "DEU01", "DEU")
    assert (others.status_code, others.json()["code"]) == (403, 8001)
    assert same(others, nobodys)
    assert (await ask("all", "DEU01", "DEU")).json()["code"] == 4001
    assert await scene.course.stage.count("transfer_request") == before


async def test_an_idempotency_key_is_its_callers_own(scene: Scene) -> None:
    address = {"registry": "MEC01", "party": "MMR", "account": "100-1"}
    wish = {"transferring": address, "acquiring": address, "purpose": "NDC", "quantity": 1}
    key = {"idempotency-key": uuid7()}
    first = await scene.people["MEC01"].post("/api/v1/transfers", json=wish, headers=key)
    other = await scene.people["all"].post("/api/v1/transfers", json=wish, headers=key)
    assert first.json()["request"] != other.json()["request"]


async def test_books_show_ones_own_registry_and_the_balance_to_who_sees_all(scene: Scene) -> None:
    shown = {name: (await get(http, "books")).json() for name, http in scene.people.items()}
    registries = {name: {r["registry"] for r in books["registries"]} for name, books in shown.items()}
    everybody = {"MEC01", "KOR01", "JPN01", "MMR01", "KOR99", "MMR99"}
    assert registries == {**{name: {name} for name in everybody}, "INT01": {"KOR99", "MMR99"}, "all": everybody}
    assert {name for name, books in shown.items() if books["conservation"] is not None} == {"all"}
    assert shown["all"]["conservation"] == "holds"
    for name, http in scene.people.items():
        assert sum(shown[name]["transfers"].values()) == len(ids(await get(http, "transfers?limit=500")))


async def test_a_link_is_seen_by_its_people_and_by_those_of_the_registries_behind_it(scene: Scene) -> None:
    shown = {name: [x["code"] for x in (await get(http, "links")).json()] for name, http in scene.people.items()}
    assert shown == {
        **{name: [name] for name in ("MEC01", "KOR01", "JPN01", "MMR01")},
        **{key: ["INT01"] for key in ("INT01", "KOR99", "MMR99")},
        "all": ["INT01", "JPN01", "KOR01", "MEC01", "MMR01"],
    }


async def test_one_link_is_shown_like_the_list_and_others_like_none(scene: Scene) -> None:
    for http in scene.people.values():
        listed = {link["code"]: link for link in (await get(http, "links")).json()}
        for code in ("MEC01", "KOR01", "JPN01", "MMR01", "INT01"):
            for path in (f"links/{code}", f"links/{code}/keys"):
                shown, absent = await get(http, path), await get(http, path.replace(code, "XXX01"))
                if code in listed:
                    assert shown.status_code == 200
                    assert path.endswith("keys") or shown.json() == listed[code]
                else:
                    assert (shown.status_code, shown.json()["code"]) == (403, 8001)
                    assert same(shown, absent)
    [international] = (await get(scene.people["KOR99"], "links")).json()
    assert international["registries"] == ["KOR99"]


async def test_records_are_seen_in_their_own_section(scene: Scene) -> None:
    course, units = scene.course, block(1, 10, series=uuid7())
    await course.issue(units)
    await course.credit(await released(course, course.proposal(units), first=True))
    shown = {name: (await get(http, "records?limit=500")).json() for name, http in scene.people.items()}
    sections = {name: {r["section"] for r in page["records"]} for name, page in shown.items()}
    both = {"KOR99", "MMR99"}
    assert sections == {
        **{key: set() for key in ("MEC01", "KOR01", "JPN01", "MMR01")}, "KOR99": {"KOR99"}, "MMR99": {"MMR99"},
        "INT01": both, "all": both,
    }  # fmt: skip
    for page in shown.values():
        assert sum(page["counts"].values()) == len(page["records"])


async def test_alarms_are_seen_by_who_raised_them_and_by_whom_they_concern(scene: Scene) -> None:
    course, units = scene.course, block(1, 10, series=uuid7())
    await course.issue(units)
    [transfer] = await released(course, course.proposal(units), first=True)
    void = [{"kind": "voided", "transfer": transfer, "findings": []}]
    await course.source.say("transfer.voided", void)  # after its release
    await scene.japan.say("transfer.voided", void)  # it is not Japan's
    await course.credit([transfer])
    await refuse_records(scene, transfer)
    seen: dict[str, set[str]] = {}
    for name, http in scene.people.items():
        found = (await get(http, "alarms?limit=500")).json()["alarms"]
        seen[name] = {alarm["link"] for alarm in found if alarm["transfer"] == transfer}
    assert seen == {
        **{key: {"MEC01", "JPN01", "INT01"} for key in ("MEC01", "KOR01", "MMR01", "MMR99", "all")},
        "JPN01": {"JPN01"}, "KOR99": {"INT01"}, "INT01": {"INT01"},
    }  # fmt: skip
    for name, http in scene.people.items():
        found = (await get(http, "alarms?limit=500")).json()["alarms"]
        counted = {x["code"]: x["alarms"] for x in (await get(http, "links")).json()}
        assert counted == {code: sum(a["link"] == code for a in found) for code in counted}, name


async def refuse_records(scene: Scene, transfer: str) -> None:
    """INT01 refuses to record both sides of a transfer."""
    clock = scene.course.stage.clock
    clock.ahead = timedelta(seconds=90)  # records wait no longer for others to travel with
    await scene.course.turn()
    clock.ahead = timedelta()
    for sent in await scene.international.told():
        if any(transfer in text for text in recorded.texts(sent)):
            await scene.international.receipt(sent, "refused", code=3006, detail="not ours")


async def test_strangers_are_shown_to_the_gateways_own_people(scene: Scene) -> None:
    answers = {name: await get(http, "strangers") for name, http in scene.people.items()}
    assert {name for name, answer in answers.items() if answer.status_code == 200} == {"all"}
    assert {a.json()["code"] for a in answers.values() if a.status_code != 200} == {8001}
