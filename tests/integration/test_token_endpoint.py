"""The token endpoint as an endpoint: how it is found, what it is asked, how often, and what it answers (RFC 6749)."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import timedelta

import httpx
import pytest
import pytest_asyncio

from gateway import db, embedded
from gateway.access import endpoint, limits, store
from gateway.signing import jwt
from gateway.web.client import Tokens
from tests import stage as staging
from tests.machines import FORM, ISSUER, made
from tests.stage import Stage

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(postgres: embedded.Server, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """A gateway with nobody linked."""
    async with staging.opened(postgres, tmp_path_factory.mktemp("tokens")) as opened:
        yield opened


@pytest.fixture(autouse=True)
def unlimited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refusals of one test do not put off another's."""
    monkeypatch.setattr(limits, "STRANGERS_PER_SECOND", 1e9)


async def test_the_token_endpoint_is_found_and_its_keys_are_published(stage: Stage) -> None:
    said = (await stage.http.get(f"{stage.operator_url}/.well-known/oauth-authorization-server")).json()
    assert (said["issuer"], said["token_endpoint"]) == (ISSUER, f"{stage.operator_url}/token")
    assert said["token_endpoint_auth_methods_supported"] == ["private_key_jwt"]
    keys = (await stage.http.get(said["jwks_uri"])).json()["keys"]
    client = await made(stage)
    async with httpx.AsyncClient(auth=Tokens(stage.operator_url, client.id, client.key), trust_env=False) as http:
        assert (await http.get(f"{stage.operator_url}/api/v1/books")).status_code == 200
    assert jwt.read(await client.token()).kid in {key["kid"] for key in keys}


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"grant_type": "password"}, "unsupported_grant_type"), ({"grant_type": ""}, "unsupported_grant_type"),
        ({"grant_type": '"\\é'}, "unsupported_grant_type"), ({"scope": "nonsense"}, "invalid_scope"),
        ({"scope": "books:read links:read"}, "invalid_scope"), ({"client_assertion_type": "x"}, "invalid_client"),
        ({"client_assertion": ""}, "invalid_client"), ({"client_assertion": "a.b.c"}, "invalid_client"),
        ({"client_assertion": "x" * 9_000}, "invalid_client"), ({"client_assertion": "x" * 20_000}, "invalid_request"),
    ],
)  # fmt: skip
async def test_a_request_that_cannot_be_is_answered_as_rfc_6749_says(
    stage: Stage, changes: dict[str, str], error: str
) -> None:
    refused = await (await made(stage)).ask(**changes)
    assert (refused.status_code, refused.json()["error"]) == (400, error)


@pytest.mark.parametrize(
    "body", [b"", b"\xff", b"grant_type=a&grant_type=b", b"&".join(b"a%d=1" % n for n in range(17)), b"no form"]
)
async def test_what_is_no_form_is_an_invalid_request(stage: Stage, body: bytes) -> None:
    kind = {"content-type": "application/x-www-form-urlencoded"}
    refused = await stage.http.post(f"{stage.operator_url}/token", content=body, headers=kind)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_request")
    as_json = await stage.http.post(f"{stage.operator_url}/token", json=FORM)
    assert as_json.json()["error"] == "invalid_request"


async def test_a_client_is_put_off_and_nobody_else_uses_up_its_tries(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CLIENT_BURST", 2)
    client, other = await made(stage), await made(stage)
    for _ in range(4):
        await client.ask(jwt.sign(other.key, "JWT", client.claims()))
    shown = jwt.sign(client.key, "JWT", client.claims())
    stage.clock.stands_at = stage.clock() - stage.clock.ahead
    assert [(await client.ask()).status_code for _ in range(2)] == [200, 200]
    put_off = await client.ask(shown)
    assert (put_off.status_code, put_off.headers["retry-after"]) == (429, "2")
    assert (await other.ask()).status_code == 200
    stage.clock.ahead += timedelta(seconds=2)
    assert (await client.ask(shown)).status_code == 200  # what was put off is not used up
    stage.clock.stands_at = None


async def test_whoever_is_nobody_is_put_off_before_the_database_is_asked(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    find = store.find

    async def counted(tx: db.Tx, principal: str) -> store.Principal | None:
        asked.append(principal)
        return await find(tx, principal)

    monkeypatch.setattr(store, "find", counted)
    monkeypatch.setattr(limits, "STRANGERS_PER_SECOND", 0.1)
    client = await made(stage)
    for n in range(2 * limits.STRANGERS_BURST):
        nobody = f"c-{n:016x}"
        await client.ask(jwt.sign(client.key, "JWT", client.claims(iss=nobody, sub=nobody)))
    assert len(asked) <= limits.STRANGERS_BURST
    await asyncio.sleep(endpoint.KEPT_SECONDS)
    assert (await client.ask()).status_code == 200


@pytest.mark.parametrize("nobody", ["", "\0", "c-\0", "c-" + "0" * 5_000])
async def test_a_name_that_is_none_is_a_strangers(stage: Stage, nobody: str) -> None:
    client = await made(stage)
    refused = await client.ask(jwt.sign(client.key, "JWT", client.claims(iss=nobody, sub=nobody)))
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_client")


async def test_the_published_keys_are_read_no_more_often_than_each_second(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = 0
    token_keys = store.token_keys

    async def counted(tx: db.ReadTx) -> list[store.TokenKey]:
        nonlocal read
        read += 1
        return await token_keys(tx)

    monkeypatch.setattr(store, "token_keys", counted)
    begun = time.monotonic()
    answers = await asyncio.gather(*(stage.http.get(f"{stage.operator_url}/jwks") for _ in range(50)))
    assert {len(answer.json()["keys"]) for answer in answers} == {1}
    assert read <= 1 + (time.monotonic() - begun) / endpoint.KEPT_SECONDS


async def test_whoever_proves_nothing_is_put_off_with_all_who_do_not(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await made(stage)
    monkeypatch.setattr(limits, "STRANGERS_PER_SECOND", 0.1)
    await asyncio.sleep(endpoint.KEPT_SECONDS)
    answers = [await client.ask("x") for _ in range(limits.STRANGERS_BURST + 1)]
    assert answers[-1].status_code == 429 and int(answers[-1].headers["retry-after"]) > 1
    assert (await client.ask()).status_code == 200
