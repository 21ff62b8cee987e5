"""Four eyes: who asks, who decides, on exactly what, once, in time, and what a machine or a stranger cannot.

One stage for all; each test asks for something of its own. All links, persons and keys are synthetic.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio

from gateway import embedded, wiring
from gateway.access import commands as access
from gateway.approvals import commands
from gateway.approvals.commands import WAITS, Act, Executors
from gateway.domain.callers import EVERYTHING, ROLES, Caller, Role, Scope, Sight
from gateway.errors import GatewayError, Kind
from gateway.signing.keys import SoftwareKey
from gateway.web import operator
from gateway.wiring import EXECUTORS
from tests import stage as staging
from tests.deciding import ONE, TWO, approved, asked, decided
from tests.played import Course
from tests.stage import Stage

pytestmark = pytest.mark.asyncio(loop_scope="module")

ADMINISTRATOR = ROLES[Role.ADMINISTRATOR]
KOREAN, SECOND_KOREAN = (Caller(f"korean-{n}", True, Sight("KOR01", "KOR"), ADMINISTRATOR) for n in (1, 2))
STRANGER = Caller("japanese", True, Sight("JPN01", "JPN"), ADMINISTRATOR)
MACHINE = Caller("c-machine", False, EVERYTHING, frozenset(Scope))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(postgres: embedded.Server, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with staging.opened(postgres, tmp_path_factory.mktemp("approvals")) as opened:
        await Course.begun(opened)
        yield opened


async def limited(stage: Stage, hours: int, *, by: Caller = ONE, code: str = "KOR01") -> dict[str, Any]:
    """Somebody asks for another time limit."""
    answer = await asked(stage, f"links/{code}", "PATCH", by=by, time_limit_hours=hours)
    assert answer.status_code == 202, answer.text
    return dict(answer.json())


async def hours(stage: Stage, code: str = "KOR01") -> int:
    [(found,)] = await stage.rows(f"SELECT time_limit_hours FROM link WHERE code = '{code}'")
    return int(found)


def refused(answer: httpx.Response, status: int, code: int) -> str:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    return str(answer.json()["detail"])


async def entries(stage: Stage, approval: str) -> list[tuple[str, dict[str, Any]]]:
    found = await stage.rows(
        "SELECT kind, convert_from(record, 'UTF8') FROM log_entry JOIN log_record ON id = entry_id "
        "WHERE kind LIKE 'approval.%' ORDER BY id"
    )
    read = [(kind, json.loads(record)) for kind, record in found]
    return [(kind, record) for kind, record in read if record["approval"] == approval]


async def test_one_asks_another_approves_and_both_are_in_the_log_with_the_hash(stage: Stage) -> None:
    waiting = await limited(stage, 31)
    said = {
        "v": 1,
        "act": "link.change",
        "registry": None,
        "parameters": json.loads(waiting["canonical"])["parameters"],
    }
    assert waiting["canonical"] == json.dumps(said, sort_keys=True, separators=(",", ":"))
    assert waiting["sha256"] == sha256(waiting["canonical"].encode()).hexdigest()
    assert said["parameters"] == {"link": "KOR01", "changes": {"time_limit_hours": {"from": 24, "to": 31}}}
    assert await hours(stage) == 24
    done = (await approved(stage, waiting)).json()
    assert (done["state"], done["decider"], done["result"]) == (
        "approved",
        TWO.id,
        {"link": "KOR01", "time_limit_hours": 31},
    )
    assert await hours(stage) == 31
    about = {"approval": waiting["id"], "act": "link.change", "registry": None, "sha256": waiting["sha256"]}
    assert await entries(stage, waiting["id"]) == [
        ("approval.requested", {**about, "person": ONE.id}),
        ("approval.approved", {**about, "person": TWO.id}),
    ]


async def test_nobody_approves_what_they_have_asked_for(stage: Stage) -> None:
    waiting = await limited(stage, 32)
    refused(await approved(stage, waiting, by=ONE), 403, 8001)
    assert await hours(stage) != 32
    forged = (
        "UPDATE approval SET state = 'approved', decider = initiator, decided_at = now(), decided_by = 1 "
        f"WHERE id = '{waiting['id']}'"
    )
    with pytest.raises(Exception, match="nobody_approves_what_they_asked_for"):
        await stage.rows(forged)
    assert (await approved(stage, waiting)).status_code == 200


async def test_what_was_decided_is_not_decided_again(stage: Stage) -> None:
    waiting = await limited(stage, 33)
    assert (await approved(stage, waiting)).status_code == 200
    await decided(stage, "links/KOR01", "PATCH", time_limit_hours=34)
    refused(await approved(stage, waiting), 409, 3003)
    refused(await asked(stage, f"approvals/{waiting['id']}/decline", by=TWO, reason="late"), 409, 3003)
    assert await hours(stage) == 34


async def test_of_two_who_approve_at_one_moment_one_does(stage: Stage) -> None:
    waiting = await limited(stage, 35)
    third = Caller("administrator-3", True, EVERYTHING, frozenset(Scope))
    answers = await asyncio.gather(*(approved(stage, waiting, by=by) for by in (TWO, third)))
    assert sorted(a.status_code for a in answers) == [200, 409]
    assert len(await entries(stage, waiting["id"])) == 2


async def test_another_hash_approves_nothing(stage: Stage) -> None:
    waiting, other = await limited(stage, 36), await limited(stage, 37)
    swapped = {**waiting, "sha256": other["sha256"]}
    assert waiting["sha256"] not in refused(await approved(stage, swapped), 409, 2004)
    assert (await asked(stage, f"approvals/{waiting['id']}/approve", by=TWO, sha256="x")).status_code == 422
    assert await hours(stage) not in (36, 37)
    assert [kind for kind, _ in await entries(stage, waiting["id"])] == ["approval.requested"]


async def test_a_change_that_was_overtaken_is_void(stage: Stage) -> None:
    first, second = await limited(stage, 38), await limited(stage, 39)
    assert (await approved(stage, first)).status_code == 200
    assert "changed meanwhile" in refused(await approved(stage, second), 409, 3002)
    assert await hours(stage) == 38
    refused(await approved(stage, second), 409, 3003)
    [(_, _), (kind, record)] = await entries(stage, second["id"])
    assert kind == "approval.void"
    assert "changed meanwhile" in record["reason"]


async def test_what_waits_longer_than_a_day_has_expired(stage: Stage) -> None:
    waiting = await limited(stage, 40)
    stage.clock.ahead = WAITS - timedelta(minutes=1)
    assert (await asked(stage, f"approvals/{waiting['id']}", "GET")).json()["state"] == "open"
    stage.clock.ahead = WAITS
    try:
        assert (await asked(stage, f"approvals/{waiting['id']}", "GET")).json()["state"] == "expired"
        refused(await approved(stage, waiting), 409, 3005)
        assert await hours(stage) != 40
        assert [kind for kind, _ in await entries(stage, waiting["id"])] == ["approval.requested", "approval.expired"]
        again = await limited(stage, 40)
        assert again["id"] != waiting["id"]
        assert (await approved(stage, again)).status_code == 200
    finally:
        stage.clock.ahead = timedelta()


async def test_a_machine_neither_asks_nor_decides(stage: Stage) -> None:
    refused(await asked(stage, "links/KOR01", "PATCH", by=MACHINE, time_limit_hours=41), 403, 8001)
    waiting = await limited(stage, 41)
    refused(await approved(stage, waiting, by=MACHINE), 403, 8001)
    refused(await asked(stage, f"approvals/{waiting['id']}/decline", by=MACHINE, reason="no"), 403, 8001)
    assert await hours(stage) != 41


async def test_a_registrys_own_people_decide_and_anothers_see_nothing(stage: Stage) -> None:
    key = SoftwareKey.generate().public_jwk()
    waiting = (await asked(stage, "links/KOR01/keys", by=KOREAN, keys=[key])).json()
    missing = f"approvals/{uuid4()}"
    for method, act, body in (
        ("GET", "", {}),
        ("POST", "/approve", {"sha256": "0" * 64}),
        ("POST", "/decline", {"reason": "x"}),
    ):
        hidden = await asked(stage, f"approvals/{waiting['id']}{act}", method, by=STRANGER, **body)
        absent = await asked(stage, f"{missing}{act}", method, by=STRANGER, **body)
        refused(hidden, 403, 8001)
        assert hidden.content == absent.content
    refused(await asked(stage, missing, "GET"), 404, 3001)
    for by in (STRANGER, KOREAN):  # what limits a link is the gateway's to decide
        refused(await asked(stage, "links/KOR01", "PATCH", by=by, time_limit_hours=43), 403, 8001)
    assert (await approved(stage, waiting, by=SECOND_KOREAN)).status_code == 200
    seen = [
        (await asked(stage, "approvals?limit=500", "GET", by=by)).json()["approvals"] for by in (KOREAN, STRANGER, ONE)
    ]
    assert {one["registry"] for one in seen[0]} == {"KOR01"}
    assert seen[1] == []
    assert len(seen[2]) > len(seen[0])


async def test_what_is_of_the_whole_gateway_is_decided_by_its_own_administrators(stage: Stage) -> None:
    act = Act("of.all", None, {"n": 1})
    waiting = await stage.run(lambda tx: commands.request(tx, stage.gateway.node, ONE, act))
    with pytest.raises(GatewayError) as raised:
        await stage.run(
            lambda tx: commands.approve(tx, stage.gateway.node, KOREAN, waiting.id, waiting.sha256, EXECUTORS)
        )
    assert (raised.value.kind, raised.value.code) == (Kind.FORBIDDEN, 8001)


async def test_without_the_scope_nobody_decides_or_asks(stage: Stage) -> None:
    waiting = await limited(stage, 44)
    viewer = Caller("viewer", True, EVERYTHING, ROLES[Role.VIEWER])
    refused(await approved(stage, waiting, by=viewer), 403, 8001)
    refused(await asked(stage, "links/KOR01", "PATCH", by=viewer, time_limit_hours=45), 403, 8001)
    assert (await asked(stage, f"approvals/{waiting['id']}", "GET", by=viewer)).status_code == 200


async def revoked(stage: Stage, caller: Caller) -> None:
    local = replace(ONE, id="local", at_hand=True)
    await stage.run(lambda tx: access.revoke(tx, stage.gateway.node, local, caller.id, person=True))


async def test_what_a_revoked_person_asked_for_is_void(stage: Stage) -> None:
    leaver = replace(ONE, id="leaver")
    waiting, before = await limited(stage, 50, by=leaver), await hours(stage)
    await revoked(stage, leaver)
    assert "leaver may not do this any more [8001]" in refused(await approved(stage, waiting), 409, 3002)
    assert await hours(stage) == before
    assert [kind for kind, _ in await entries(stage, waiting["id"])] == ["approval.requested", "approval.void"]


async def test_who_was_revoked_a_moment_ago_approves_nothing(stage: Stage) -> None:
    leaver = replace(TWO, id="late-leaver")
    await stage.authorization(leaver)  # who was let in before
    waiting = await limited(stage, 51)
    await revoked(stage, leaver)
    with pytest.raises(GatewayError, match="may not do this any more"):
        await stage.run(
            lambda tx: commands.approve(tx, stage.gateway.node, leaver, waiting["id"], waiting["sha256"], EXECUTORS)
        )
    assert (await asked(stage, f"approvals/{waiting['id']}", "GET")).json()["state"] == "open"
    assert (await approved(stage, waiting)).status_code == 200


async def test_nobody_is_revoked_while_an_act_of_theirs_is_done(stage: Stage) -> None:
    going = replace(ONE, id="going")
    act = Act("slow", None, {"n": 3})
    begun, let_on = asyncio.Event(), asyncio.Event()

    async def slow(*_: object) -> dict[str, Any]:
        begun.set()
        await let_on.wait()
        return {}

    await stage.authorization(going)
    waiting = await stage.run(lambda tx: commands.request(tx, stage.gateway.node, going, act))
    executors = Executors(EXECUTORS.standing, {"slow": (Scope.LINKS_ADMIN, slow)})
    doing = asyncio.create_task(
        stage.run(lambda tx: commands.approve(tx, stage.gateway.node, TWO, waiting.id, waiting.sha256, executors))
    )
    await begun.wait()
    revoking = asyncio.create_task(revoked(stage, going))
    await asyncio.sleep(0.3)
    assert not revoking.done()
    let_on.set()
    assert (await doing).state == "approved"
    await revoking


async def test_who_asked_takes_it_back_and_others_decline(stage: Stage) -> None:
    for by in (ONE, TWO):
        waiting = await limited(stage, 46)
        done = await asked(stage, f"approvals/{waiting['id']}/decline", by=by, reason="not now")
        assert (done.status_code, done.json()["state"], done.json()["reason"]) == (200, "declined", "not now")
        refused(await approved(stage, waiting), 409, 3003)
    assert await hours(stage) != 46


async def test_who_may_only_ask_takes_back_what_they_asked_for_and_nothing_else(stage: Stage) -> None:
    asker = Caller("asker", True, EVERYTHING, frozenset({Scope.LINKS_ADMIN, Scope.APPROVALS_READ}))
    mine, others = await limited(stage, 52, by=asker), await limited(stage, 53)

    async def decline(one: dict[str, Any]) -> httpx.Response:
        return await asked(stage, f"approvals/{one['id']}/decline", by=asker, reason="a mistake")

    assert "approvals:decide" in refused(await decline(others), 403, 8001)
    assert (await decline(mine)).json()["state"] == "declined"
    refused(await decline(mine), 409, 3003)
    assert [record.get("person") for _, record in await entries(stage, mine["id"])] == ["asker", "asker"]


async def test_of_whom_the_database_alone_vouched_for_the_log_says_so(stage: Stage) -> None:
    waiting, node = await limited(stage, 54), stage.gateway.node
    for caller in (TWO, MACHINE):
        await stage.authorization(caller)
    borrowed = await wiring.Local(stage.gateway.database, TWO.id).of("")
    await stage.run(lambda tx: commands.approve(tx, node, borrowed, waiting["id"], waiting["sha256"], EXECUTORS))
    other = await stage.run(lambda tx: commands.request(tx, node, borrowed, Act("link.change", None, {})))
    await stage.run(lambda tx: commands.decline(tx, node, borrowed, other.id, "no", EXECUTORS))
    said = [*await entries(stage, waiting["id"]), *await entries(stage, other.id)]
    assert [record.get("at_hand") for _, record in said] == [None, True, True, True]
    await stage.run(lambda tx: access.revoke(tx, node, replace(ONE, at_hand=True), MACHINE.id, person=False))
    [(record,)] = await stage.rows(
        "SELECT convert_from(record, 'UTF8') FROM log_record JOIN log_entry ON id = entry_id "
        "WHERE kind = 'access.client-revoked' ORDER BY id DESC LIMIT 1"
    )
    assert json.loads(record)["at_hand"] is True


async def test_a_person_at_hand_adds_nobody_alone(stage: Stage) -> None:
    await stage.authorization(ONE)
    here, callers = stage.gateway, wiring.Local(stage.gateway.database, ONE.id)
    app = operator.app(here.database, here.node, here.inbox, callers, EXECUTORS, live=here.live)
    new = {"name": "second-self", "registry": None, "role": "approver", "keys": [SoftwareKey.generate().public_jwk()]}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as api:
        answer = await api.post("/api/v1/people", json=new)
    assert (answer.status_code, answer.json()["state"]) == (202, "open")


@pytest.mark.parametrize("reason", ["", " ", "x\ny", "\u202e", "\ud800"], ids=repr)
async def test_a_reason_that_is_none_is_refused(stage: Stage, reason: str) -> None:
    waiting = await limited(stage, 47)
    body = json.dumps({"reason": reason}).encode()
    headers = {"authorization": await stage.authorization(TWO), "content-type": "application/json"}
    url = f"{stage.operator_url}/api/v1/approvals/{waiting['id']}/decline"
    answer = await stage.http.post(url, content=body, headers=headers)
    assert answer.status_code in (400, 422), answer.text
    assert (await asked(stage, f"approvals/{waiting['id']}", "GET")).json()["state"] == "open"


async def test_what_is_asked_for_twice_waits_once_and_pages_lead_on(stage: Stage) -> None:
    both = await asyncio.gather(limited(stage, 48), limited(stage, 48, by=TWO))
    assert both[0]["id"] == both[1]["id"]
    await limited(stage, 49)
    first = (await asked(stage, "approvals?limit=1&state=open", "GET")).json()
    following = (await asked(stage, f"approvals?limit=1&state=open&before={first['next']}", "GET")).json()
    assert following["approvals"][0]["id"] == both[0]["id"] != first["approvals"][0]["id"]


async def test_a_fault_leaves_it_open(stage: Stage) -> None:
    act = Act("fails", None, {"n": 2})
    waiting = await stage.run(lambda tx: commands.request(tx, stage.gateway.node, ONE, act))

    async def fails(*_: object) -> dict[str, Any]:
        raise GatewayError(Kind.UNAVAILABLE, "not now", code=9002)

    with pytest.raises(GatewayError, match="not now"):
        executors = Executors(EXECUTORS.standing, {"fails": (Scope.LINKS_ADMIN, fails)})
        await stage.run(lambda tx: commands.approve(tx, stage.gateway.node, TWO, waiting.id, waiting.sha256, executors))
    assert (await asked(stage, f"approvals/{waiting.id}", "GET")).json()["state"] == "open"


async def test_what_waits_of_one_registry_holds_up_no_other_and_not_the_gateway(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def keys() -> list[dict[str, str]]:
        return [SoftwareKey.generate().public_jwk()]

    async def add(by: Caller) -> httpx.Response:
        return await asked(stage, "links/KOR01/keys", by=by, keys=keys())

    monkeypatch.setattr(commands, "MAX_EACH", 2)
    monkeypatch.setattr(commands, "MAX_OPEN", 3)
    wanted = replace(KOREAN, id="korean-3")
    answers = [await add(by) for by in (wanted, wanted, wanted, SECOND_KOREAN, SECOND_KOREAN, ONE)]
    assert [answer.status_code for answer in answers] == [202, 202, 503, 202, 503, 202]
    for answer in answers[2], answers[4]:
        refused(answer, 503, 9003)
        assert answer.headers["retry-after"] == "60"
    mechanism = Caller("mechanism", True, Sight("MEC01"), ADMINISTRATOR)
    assert (await asked(stage, "links/MEC01/keys", by=mechanism, keys=keys())).status_code == 202
    for number in range(4):
        await limited(stage, 60 + number)


async def test_too_long_an_act_is_refused(stage: Stage) -> None:
    with pytest.raises(GatewayError) as raised:
        await stage.run(
            lambda tx: commands.request(tx, stage.gateway.node, ONE, Act("x", None, {"x": "y" * commands.MAX_TEXT}))
        )
    assert raised.value.kind is Kind.LIMIT
