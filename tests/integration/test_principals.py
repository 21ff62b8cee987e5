"""Who administers people and machines, for whom, and what nobody can give away. What is refused changes nothing."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from gateway import embedded, wiring
from gateway.access import commands, store
from gateway.domain.callers import EVERYTHING, ROLES, Caller, Role, Scope, Sight
from gateway.errors import GatewayError, Kind
from gateway.signing.keys import SoftwareKey
from tests import stage as staging
from tests.deciding import TWO
from tests.stage import Stage

pytestmark = pytest.mark.asyncio(loop_scope="module")

ADMINISTERS = frozenset({Scope.ACCESS_ADMIN})
KOREA = Caller("p-korea", person=True, sight=Sight("KOR01", "KOR"), scopes=ADMINISTERS)
#: Who approves what the others ask for.
_OTHER: list[httpx.AsyncClient] = []
CALLS = {"clients": {"scopes": ["books:read"]}, "people": {"role": "viewer"}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(postgres: embedded.Server, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """A gateway with MEC01, KOR01 and INT01 (Thailand's section THA99) linked."""
    async with staging.opened(postgres, tmp_path_factory.mktemp("principals")) as opened:
        await opened.link("MEC01", "mechanism")
        await opened.link("KOR01", "party", "KOR")
        await opened.link("INT01", "international", sections=["THA"])
        _OTHER[:] = [await opened.calling(TWO)]
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def korea(stage: Stage) -> httpx.AsyncClient:
    """An administrator of KOR01."""
    return await stage.calling(KOREA)


_number = iter(range(1000))


def new(registry: str | None, **more: Any) -> dict[str, Any]:
    """Somebody to be added, of a name that was not given yet."""
    return {"name": f"n{next(_number)}", "registry": registry, "keys": [SoftwareKey.generate().public_jwk()], **more}


async def add(api: httpx.AsyncClient, noun: str, registry: str | None, **more: Any) -> httpx.Response:
    return await given(api, noun, new(registry) | CALLS[noun] | more)


async def given(api: httpx.AsyncClient, path: str, wanted: dict[str, Any]) -> httpx.Response:
    """Ask for somebody or for keys, and let another administrator approve that where it takes two; the answer."""
    asked = await api.post(f"/api/v1/{path}", json=wanted)
    if asked.status_code != 202:
        return asked
    waiting = asked.json()
    done = await _OTHER[0].post(f"/api/v1/approvals/{waiting['id']}/approve", json={"sha256": waiting["sha256"]})
    assert done.status_code == 200, done.text
    return httpx.Response(201, json=done.json()["result"])


async def rows(stage: Stage) -> list[Any]:
    """Everything that is known of principals, and how long the log is."""
    tables = ("principal", "principal_key", "token_key")
    return [await stage.rows(f"SELECT * FROM {t} ORDER BY 1") for t in tables] + [await stage.count("log_entry")]


async def test_each_change_is_an_entry_that_names_nobody_but_by_pseudonym(stage: Stage) -> None:
    for noun in CALLS:
        one = (await add(stage.api, noun, "KOR01")).json()
        at, more = f"/api/v1/{noun}/{one['name']}", SoftwareKey.generate()
        await given(stage.api, f"{noun}/{one['name']}/keys", {"keys": [more.public_jwk()]})
        await stage.api.post(f"{at}/keys/{more.kid}/revoke")
        await stage.api.post(f"{at}/revoke")
        found = await stage.rows(
            "SELECT e.kind, convert_from(r.record, 'UTF8') FROM log_entry e JOIN log_record r ON r.entry_id = e.id "
            "WHERE e.kind LIKE 'access.%' ORDER BY e.id DESC LIMIT 4"
        )
        word = {"clients": "client", "people": "person"}[noun]
        kinds = [f"{word}-revoked", "key-revoked", "key-added", f"{word}-added"]
        assert [kind for kind, _ in found] == [f"access.{kind}" for kind in kinds]
        for _, record in found:
            assert one["id"] in record and '"by":"root' in record and one["name"] not in record


async def test_an_administrator_of_one_registry_adds_for_that_registry_alone(
    stage: Stage, korea: httpx.AsyncClient
) -> None:
    for noun in CALLS:
        assert (await add(korea, noun, "KOR01")).status_code == 201
        before = await rows(stage)
        refusals = [await add(korea, noun, code) for code in ("MEC01", "THA99", "XXX01", None)]
        assert {(r.status_code, r.content) for r in refusals} == {(403, refusals[0].content)}
        assert refusals[0].json()["code"] == 8001
        assert await rows(stage) == before


async def test_of_what_is_anothers_an_administrator_hears_what_they_hear_of_nothing(
    stage: Stage, korea: httpx.AsyncClient
) -> None:
    key = SoftwareKey.generate()
    for noun in CALLS:
        theirs = (await add(stage.api, noun, "MEC01")).json()
        everybodys = (await add(stage.api, noun, None)).json()
        own = (await add(korea, noun, "KOR01")).json()
        before = await rows(stage)
        for act, body in (
            ("revoke", None), ("keys", {"keys": [key.public_jwk()]}), (f"keys/{theirs['keys'][0]}/revoke", None),
        ):  # fmt: skip
            names = (theirs["name"], everybodys["name"], "absent")
            refusals = [await korea.post(f"/api/v1/{noun}/{name}/{act}", json=body) for name in names]
            assert {(r.status_code, r.content) for r in refusals} == {(403, refusals[0].content)}
        assert await rows(stage) == before
        listed = (await korea.get(f"/api/v1/{noun}")).json()["listed"]
        assert own["name"] in {one["name"] for one in listed} and {one["registry"] for one in listed} == {"KOR01"}
    assert (await korea.get("/api/v1/token-keys")).status_code == 403
    assert (await korea.post("/api/v1/token-keys/absent/revoke")).status_code == 403


async def test_who_is_bound_to_all_hears_that_there_is_nobody(stage: Stage) -> None:
    for path in (f"{noun}/{name}/revoke" for noun in ("clients", "people", "token-keys") for name in ("absent", "%00")):
        refused = await stage.api.post(f"/api/v1/{path}")
        assert (refused.status_code, refused.json()["code"]) == (404, 3001)
    machine = (await add(stage.api, "clients", None)).json()
    assert (await stage.api.post(f"/api/v1/people/{machine['name']}/revoke")).status_code == 404


async def test_nobody_bound_to_one_registry_can_halt_the_gateway(stage: Stage, korea: httpx.AsyncClient) -> None:
    for api in (stage.api, korea):
        refused = await add(api, "clients", "KOR01", scopes=["gateway:halt"])
        assert (refused.status_code, refused.json()["detail"].split(":")[0]) == (400, "scopes")
    person = (await add(korea, "people", "KOR01", role="administrator")).json()
    everywhere = (await add(stage.api, "people", None, role="administrator")).json()
    async with stage.gateway.database.reading() as tx:
        bound, [unbound] = await store.caller(tx, person["id"]), await store.by_name(tx, everywhere["name"])
    assert bound == Caller(person["id"], True, Sight("KOR01", "KOR"), ROLES[Role.ADMINISTRATOR] - {Scope.GATEWAY_HALT})
    assert unbound == Caller(everywhere["id"], True, EVERYTHING, ROLES[Role.ADMINISTRATOR])


@pytest.mark.parametrize(("code", "party"), [("MEC01", None), ("THA99", "THA"), ("INT01", None)])
async def test_a_caller_is_bound_to_a_registry_a_section_or_a_system(
    stage: Stage, code: str, party: str | None
) -> None:
    made = (await add(stage.api, "clients", code)).json()
    async with stage.gateway.database.reading() as tx:
        found = await store.caller(tx, made["id"])
    assert found == Caller(made["id"], False, Sight(code, party), frozenset({Scope.BOOKS_READ}))


async def test_they_are_listed_page_by_page(stage: Stage) -> None:
    for noun in CALLS:
        names = [(await add(stage.api, noun, None)).json()["name"] for _ in range(3)]
        whole = [one["name"] for one in (await stage.api.get(f"/api/v1/{noun}")).json()["listed"]]
        assert set(names) <= set(whole) and whole == sorted(whole)
        found: list[str] = []
        query: dict[str, Any] = {"limit": 2}
        while query:
            page = (await stage.api.get(f"/api/v1/{noun}", params=query)).json()
            found += [one["name"] for one in page["listed"]]
            query = {"limit": 2, "after": page["next"]} if page["next"] else {}
        assert found == whole


async def test_no_more_keys_count_than_may(stage: Stage) -> None:
    one = (await add(stage.api, "clients", None)).json()
    at, most = f"/api/v1/clients/{one['name']}/keys", commands.MAX_KEYS
    more = [SoftwareKey.generate().public_jwk() for _ in range(most)]
    refused = await stage.api.post(at, json={"keys": more})
    assert (refused.status_code, refused.json()["code"]) == (409, 2004) and "keys" in refused.text
    assert (await stage.api.post(at, json={"keys": more[1:]})).status_code == 201
    assert (await stage.api.post(f"{at}/{one['keys'][0]}/revoke")).status_code == 200
    assert (await stage.api.post(at, json={"keys": more[:1]})).status_code == 201


async def test_without_the_scope_nobody_administers(stage: Stage) -> None:
    others = frozenset(Scope) - ADMINISTERS
    api = await stage.calling(Caller("p-other", person=True, sight=EVERYTHING, scopes=others))
    for noun in CALLS:
        before = await rows(stage)
        answers = [await add(api, noun, None), await api.get(f"/api/v1/{noun}")]
        answers += [await api.post(f"/api/v1/{noun}/x/{act}", json={"keys": [{}]}) for act in ("revoke", "keys")]
        assert [(a.status_code, a.json()["code"]) for a in answers] == [(403, 8001)] * 4
        assert await rows(stage) == before


KEY = SoftwareKey.generate().public_jwk()
WRONG: dict[str, tuple[str, dict[str, Any], int, int]] = {
    "an unknown scope": ("clients", {"scopes": ["books:burn"]}, 422, 2001),
    "no scope": ("clients", {"scopes": []}, 422, 2001),
    "what only people do": ("clients", {"scopes": ["approvals:decide"]}, 400, 2001),
    "what only people add": ("clients", {"scopes": ["access:admin"]}, 400, 2001),
    "an unknown role": ("people", {"role": "king"}, 422, 2001),
    "a role of a machine": ("clients", {"role": "viewer"}, 422, 2001),
    "scopes of a person": ("people", {"scopes": ["books:read"]}, 422, 2001),
    "an unknown registry": ("clients", {"registry": "ABC01"}, 400, 2001),
    "a registry that is none": ("people", {"registry": "AB\0"}, 400, 2001),
    "a name that is none": ("people", {"name": "a b"}, 400, 2001),
    "an empty name": ("people", {"name": ""}, 400, 2001),
    "a name like an id": ("people", {"name": "p-0123456789abcdef"}, 400, 2001),
    "no key": ("people", {"keys": []}, 422, 2001),
    "a key twice": ("people", {"keys": [KEY, KEY]}, 400, 2001),
    "too many keys": ("people", {"keys": [KEY] * 11}, 422, 2001),
    "another type of key": ("clients", {"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB"}]}, 400, 1007),
    "a shared secret": ("clients", {"keys": [{"kty": "oct", "k": "AAAA"}]}, 400, 1007),
    "a private key": ("clients", {"keys": [{**KEY, "d": "AAAA"}]}, 400, 1007),
    "a key that has ended": ("people", {"keys": [KEY], "not_after": "2020-01-01T00:00:00Z"}, 400, 2001),
    "an end without a place": ("people", {"keys": [KEY], "not_after": "2090-01-01T00:00:00"}, 422, 2001),
    "an end in the year 10000": ("clients", {"not_after": "9999-12-31T23:59:59-12:00"}, 422, 2001),
    "an end in the year 0": ("people", {"not_after": "0001-01-01T00:00:00+14:00"}, 422, 2001),
}


@pytest.mark.parametrize("what", WRONG)
async def test_whoever_cannot_be_is_refused_with_the_field_and_nothing_changes(stage: Stage, what: str) -> None:
    noun, changes, status, code = WRONG[what]
    before = await rows(stage)
    refused = await stage.api.post(f"/api/v1/{noun}", json=new(None) | CALLS[noun] | changes)
    assert (refused.status_code, refused.json()["code"]) == (status, code), refused.text
    assert set(changes) & set(refused.json()["detail"].replace(":", ".").split(".")), refused.text
    assert await rows(stage) == before


async def test_neither_a_name_nor_a_key_is_given_twice_even_when_revoked(stage: Stage) -> None:
    first = new(None, role="viewer")
    assert (await given(stage.api, "people", first)).status_code == 201
    again = [first | {"keys": [KEY]}, first | {"name": "another"}]
    for revoked in (False, True):
        if revoked:
            at = f"/api/v1/people/{first['name']}"
            assert (await stage.api.post(f"{at}/keys/{first['keys'][0]['kid']}/revoke")).status_code == 200
            assert (await stage.api.post(f"{at}/revoke")).status_code == 200
        before = await rows(stage)
        for wanted in again:
            refused = await stage.api.post("/api/v1/people", json=wanted)
            assert (refused.status_code, refused.json()["code"]) == (409, 2004)
        assert await rows(stage) == before
    for act, body in (("revoke", None), ("keys", {"keys": [KEY]}), ("keys/absent/revoke", None)):
        assert (await stage.api.post(f"{at}/{act}", json=body)).status_code == 409


async def test_a_name_is_a_registrys_own_and_tells_nobody_what_another_has(
    stage: Stage, korea: httpx.AsyncClient
) -> None:
    for noun in CALLS:
        theirs, everybodys = (await add(stage.api, noun, "MEC01")).json(), (await add(stage.api, noun, None)).json()
        for name in theirs["name"], everybodys["name"]:
            own = (await add(korea, noun, "KOR01", name=name)).json()
            assert own["name"] == name
            twice = await add(korea, noun, "KOR01", name=name)
            assert (twice.status_code, twice.json()["code"]) == (409, 2004)
        several = await stage.api.post(f"/api/v1/{noun}/{name}/revoke")
        assert (several.status_code, several.json()["code"]) == (409, 2004)
        assert own["id"] in several.json()["detail"] and everybodys["id"] in several.json()["detail"]
        if noun == "people":
            with pytest.raises(GatewayError, match=f"several are named .*{own['id']}"):
                await wiring.Local(stage.gateway.database, name).of("")
            assert (await wiring.Local(stage.gateway.database, own["id"]).of("")).id == own["id"]
        by_id = await korea.post(f"/api/v1/{noun}/{everybodys['id']}/revoke")
        assert (by_id.status_code, by_id.json()["code"]) == (403, 8001)
        assert (await korea.post(f"/api/v1/{noun}/{name}/revoke")).json()["id"] == own["id"]
        assert (await stage.api.post(f"/api/v1/{noun}/{everybodys['id']}/revoke")).json()["id"] == everybodys["id"]


async def test_who_acts_on_the_database_is_local_or_a_person_who_is_registered(stage: Stage) -> None:
    local = await wiring.Local(stage.gateway.database, None).of("")
    assert (local.id, local.person, local.sight, local.scopes) == ("local", False, EVERYTHING, frozenset(Scope))
    person = (await add(stage.api, "people", "KOR01", role="operator")).json()
    found = await wiring.Local(stage.gateway.database, person["name"]).of("")
    assert found == Caller(person["id"], True, Sight("KOR01", "KOR"), ROLES[Role.OPERATOR], at_hand=True)
    machine = (await add(stage.api, "clients", None)).json()
    await stage.api.post(f"/api/v1/people/{person['name']}/revoke")
    for name in (machine["name"], person["name"], "absent"):
        with pytest.raises(GatewayError, match="no person") as raised:
            await wiring.Local(stage.gateway.database, name).of("")
        assert raised.value.kind is Kind.UNAUTHENTICATED


async def test_nobody_adds_a_second_self_to_approve_with(stage: Stage, korea: httpx.AsyncClient) -> None:
    before = await stage.count("principal WHERE registry = 'KOR01'")
    asked = await korea.post("/api/v1/people", json=new("KOR01") | {"role": "approver"})
    assert (asked.status_code, asked.json()["state"]) == (202, "open")
    waiting = {"sha256": asked.json()["sha256"]}
    assert (await korea.post(f"/api/v1/approvals/{asked.json()['id']}/approve", json=waiting)).status_code == 403
    other = await stage.calling(Caller("p-thailand", True, Sight("THA99", "THA"), ROLES[Role.APPROVER]))
    assert (await other.post(f"/api/v1/approvals/{asked.json()['id']}/approve", json=waiting)).status_code == 403
    assert await stage.count("principal WHERE registry = 'KOR01'") == before
    machine = await stage.calling(Caller("c-korea", False, Sight("KOR01", "KOR"), ADMINISTERS))
    refused = await machine.post("/api/v1/people", json=new("KOR01") | {"role": "approver"})
    assert (refused.status_code, refused.json()["code"]) == (403, 8001)
    person = (await add(stage.api, "people", "KOR01", role="approver")).json()
    key = {"keys": [SoftwareKey.generate().public_jwk()]}
    assert (await korea.post(f"/api/v1/people/{person['name']}/keys", json=key)).status_code == 202, "nor a key to one"
