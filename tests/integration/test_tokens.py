"""Tokens: what a client must show to be given one, what is believed of one, and who is out at once.

Every attack below is made with the attacker's means: keys of their own, what they heard, and any HTTP request.
"""

import asyncio
import base64
import hmac
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
import pytest_asyncio

from gateway import embedded, wiring
from gateway.access import limits
from gateway.access.tokens import Authority
from gateway.domain.callers import Scope
from gateway.settings import Settings
from gateway.signing import jwt
from gateway.signing.keys import SoftwareKey
from tests import stage as staging
from tests.machines import FORM, ISSUER, books, made
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


@pytest.mark.parametrize("alg", ["Ed25519", "ES256"])
async def test_a_client_gets_a_token_of_the_form_of_rfc_9068_and_calls_with_it(stage: Stage, alg: str) -> None:
    client = await made(stage, "books:read", "transfers:read", alg=alg)
    answer = await client.ask()
    said = answer.json()
    assert (said["token_type"], said["expires_in"], said["scope"]) == ("Bearer", 600, "books:read transfers:read")
    assert answer.headers["cache-control"] == "no-store"
    token = jwt.read(said["access_token"])
    claims = token.claims
    assert (token.typ, claims["sub"], claims["client_id"]) == ("at+jwt", client.id, client.id)
    assert (claims["iss"], claims["aud"], claims["exp"] - claims["iat"]) == (ISSUER, f"{ISSUER}:operator", 600)
    assert (await books(stage, said["access_token"])).status_code == 200
    fewer = (await client.ask(scope="transfers:read")).json()
    assert fewer["scope"] == "transfers:read"
    refused = await books(stage, fewer["access_token"])
    assert (refused.status_code, refused.json()["code"]) == (403, 8001)


async def test_an_assertion_is_good_once_whoever_shows_it_and_however_often_at_one_moment(stage: Stage) -> None:
    client = await made(stage)
    shown = jwt.sign(client.key, "JWT", client.claims())
    answers = await asyncio.gather(*(client.ask(shown) for _ in range(8)))
    assert sorted(a.status_code for a in answers) == [200, *[400] * 7]
    refused = await client.ask(shown)
    assert refused.json() == {"error": "invalid_client", "error_description": "the assertion was used before"}


async def test_an_assertion_is_remembered_until_nobody_can_show_it_and_no_longer(stage: Stage) -> None:
    client = await made(stage)
    rows = f"assertion WHERE principal = '{client.id}'"
    await client.token()
    stage.clock.ahead += timedelta(minutes=30)
    await client.token()
    assert await stage.count(rows) == 2
    stage.clock.ahead += timedelta(minutes=40)
    await client.token()
    assert await stage.count(rows) == 2


WRONG_CLAIMS: dict[str, dict[str, Any]] = {
    "for another gateway": {"aud": "urn:article6-gateway:GWY02"},
    "for the API, as a token is": {"aud": f"{ISSUER}:operator"},
    "for several": {"aud": [ISSUER, "urn:article6-gateway:GWY02"]},
    "for nobody": {"aud": None},
    "by another": {"iss": "c-0000000000000000"},
    "by nobody": {"iss": None},
    "without an end": {"exp": None},
    "without a name": {"jti": None},
    "with a name that is none": {"jti": 7},
    "with an empty name": {"jti": ""},
    "with an endless name": {"jti": "x" * 129},
    "with an end that is none": {"exp": "tomorrow"},
    "with an end that is true": {"exp": True},
    "with an endless end": {"exp": 2**53 - 1},
}


@pytest.mark.parametrize("name", WRONG_CLAIMS)
async def test_an_assertion_that_says_something_else_is_refused(stage: Stage, name: str) -> None:
    client = await made(stage)
    refused = await client.ask(jwt.sign(client.key, "JWT", client.claims(**WRONG_CLAIMS[name])))
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_client")
    assert await stage.count(f"assertion WHERE principal = '{client.id}'") == 0


@pytest.mark.parametrize(
    ("made_at", "exp", "status"),
    [(0, 300, 200), (0, 331, 400), (0, 329, 200), (-120, -40, 400), (-120, -20, 200), (20, 80, 200), (40, 80, 400)],
)
async def test_an_assertion_is_good_for_five_minutes_at_most_on_clocks_that_differ_a_little(
    stage: Stage, made_at: int, exp: int, status: int
) -> None:
    client, stands = await made(stage), stage.clock.stands_at
    stage.clock.stands_at = stage.clock() - stage.clock.ahead
    now = int(stage.clock().timestamp())
    answer = await client.ask(jwt.sign(client.key, "JWT", client.claims(iat=now + made_at, exp=now + exp)))
    stage.clock.stands_at = stands
    assert answer.status_code == status, answer.text


def encoded(part: dict[str, Any] | bytes) -> str:
    data = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def forged(kind: str, key: SoftwareKey, claims: dict[str, Any], typ: str) -> str:
    """A token of these claims that the holder of ``key`` has not signed, or not so."""
    if kind in ("none", "None"):
        return f"{encoded({'alg': kind, 'typ': typ})}.{encoded(claims)}."
    header = {"alg": "HS256", "kid": key.kid, "typ": typ}
    if kind == "HS256":  # with the public key, which everybody has, as the secret
        signed = f"{encoded(header)}.{encoded(claims)}"
        secret = json.dumps(key.public_jwk()).encode()
        return f"{signed}.{encoded(hmac.digest(secret, signed.encode(), 'sha256'))}"
    good = jwt.sign(key, typ, claims).split(".")
    if kind == "other claims":
        good[1] = encoded(claims | {"jti": "another"})
    elif kind == "other alg":
        good[0] = encoded({"alg": "ES256", "kid": key.kid, "typ": typ})
    elif kind == "own key inside":
        mine = SoftwareKey.generate()
        head = {"alg": mine.alg, "kid": mine.kid, "typ": typ, "jwk": mine.public_jwk()}
        signed = f"{encoded(head)}.{encoded(claims)}"
        return f"{signed}.{encoded(mine.sign(signed.encode()))}"
    elif kind == "critical":
        head = {"alg": key.alg, "kid": key.kid, "typ": typ, "crit": ["exp"]}
        signed = f"{encoded(head)}.{encoded(claims)}"
        return f"{signed}.{encoded(key.sign(signed.encode()))}"
    elif kind == "no signature":
        good[2] = ""
    elif kind == "padded":
        good[2] += "="
    return ".".join(good)


FORGERIES = [
    "none",
    "None",
    "HS256",
    "other claims",
    "other alg",
    "own key inside",
    "critical",
    "no signature",
    "padded",
]


@pytest.mark.parametrize("kind", FORGERIES)
async def test_neither_a_forged_assertion_nor_a_forged_token_is_believed(stage: Stage, kind: str) -> None:
    client = await made(stage)
    refused = await client.ask(forged(kind, client.key, client.claims(), "JWT"))
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_client")
    good, signer = await client.token(), SoftwareKey.load(stage.folder / "tokens.pem")
    refused = await books(stage, forged(kind, signer, jwt.read(good).claims, "at+jwt"))
    assert (refused.status_code, refused.json()["code"]) == (401, 8001)
    assert refused.headers["www-authenticate"] == 'Bearer error="invalid_token"'


async def test_an_assertion_signed_by_another_clients_key_is_refused_as_one_of_nobody_is(stage: Stage) -> None:
    client, other = await made(stage), await made(stage)
    stolen = await client.ask(jwt.sign(other.key, "JWT", client.claims()))
    nobody = await client.ask(jwt.sign(other.key, "JWT", client.claims(iss="c-absent", sub="c-absent")))
    assert (stolen.status_code, stolen.content) == (nobody.status_code, nobody.content)
    assert stolen.json()["error"] == "invalid_client"


async def test_a_token_is_no_assertion_and_an_assertion_no_token(stage: Stage) -> None:
    client = await made(stage)
    typed = jwt.sign(client.key, "at+jwt", client.claims())
    assert (await client.ask(typed)).json()["error"] == "invalid_client"
    assert (await client.ask(await client.token())).json()["error"] == "invalid_client"
    signer = SoftwareKey.load(stage.folder / "tokens.pem")
    for typ in ("JWT", "a6link+jws"):
        assert (await books(stage, jwt.sign(signer, typ, jwt.read(await client.token()).claims))).status_code == 401
    assert (await books(stage, jwt.sign(client.key, "JWT", client.claims()))).status_code == 401


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "urn:article6-gateway:GWY02:operator"}, {"aud": ISSUER}, {"aud": None}, {"iss": "urn:other"},
        {"iss": None}, {"client_id": "c-other"}, {"sub": "c-0000000000000000", "client_id": "c-0000000000000000"},
        {"exp": 1}, {"exp": None}, {"iat": 2**40}, {"jti": None}, {"scope": None}, {"scope": ["books:read"]},
    ],
)  # fmt: skip
async def test_a_token_of_ours_that_says_something_else_is_refused(stage: Stage, changes: dict[str, Any]) -> None:
    client, signer = await made(stage), SoftwareKey.load(stage.folder / "tokens.pem")
    claims = jwt.read(await client.token()).claims
    assert (await books(stage, jwt.sign(signer, "at+jwt", claims))).status_code == 200
    changed = {name: value for name, value in {**claims, **changes}.items() if value is not None}
    assert (await books(stage, jwt.sign(signer, "at+jwt", changed))).status_code == 401


async def test_a_token_gives_no_more_than_its_owner_has(stage: Stage) -> None:
    client, signer = await made(stage, "books:read"), SoftwareKey.load(stage.folder / "tokens.pem")
    generous = Authority(ISSUER, signer).token(client.id, frozenset(Scope), stage.clock())
    assert (await books(stage, generous)).status_code == 200
    headers = {"authorization": f"Bearer {generous}"}
    refused = await stage.http.get(f"{stage.operator_url}/api/v1/transfers", headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (403, 8001)


async def test_a_token_ends_after_ten_minutes(stage: Stage) -> None:
    token = await (await made(stage)).token()
    stage.clock.ahead += timedelta(seconds=590)
    assert (await books(stage, token)).status_code == 200
    stage.clock.ahead += timedelta(seconds=50)
    assert (await books(stage, token)).status_code == 401


async def test_whoever_is_revoked_is_out_at_once(stage: Stage) -> None:
    client = await made(stage)
    token = await client.token()
    assert (await stage.api.post(f"/api/v1/clients/{client.name}/revoke")).status_code == 200
    assert (await books(stage, token)).status_code == 401
    assert (await client.ask()).json()["error"] == "invalid_client"


async def test_a_revoked_key_gets_no_token_and_the_other_still_does(stage: Stage) -> None:
    client, new = await made(stage), SoftwareKey.generate("ES256")
    at = f"/api/v1/clients/{client.name}/keys"
    assert (await stage.api.post(at, json={"keys": [new.public_jwk()]})).status_code == 201
    both = [client.key, new]
    assert [(await client.ask(jwt.sign(key, "JWT", client.claims()))).status_code for key in both] == [200, 200]
    assert (await stage.api.post(f"{at}/{client.key.kid}/revoke")).status_code == 200
    assert [(await client.ask(jwt.sign(key, "JWT", client.claims()))).status_code for key in both] == [400, 200]


async def test_a_key_counts_until_its_end(stage: Stage) -> None:
    client = await made(stage, not_after=(stage.clock() + timedelta(hours=1)).isoformat())
    await client.token()
    stage.clock.ahead += timedelta(hours=2)
    assert (await client.ask()).json()["error"] == "invalid_client"


async def test_tokens_of_every_process_count_at_every_process_until_their_key_is_revoked(stage: Stage) -> None:
    """The old key's tokens stay good when a process starts with a new one: that is how a token key is replaced."""
    client, new = await made(stage), SoftwareKey.generate("ES256")
    settings = Settings(
        database_url=stage.server.dsn(stage.database_name, "gateway_app"),
        key_file=stage.folder / "gateway.pem",
        token_key_file=stage.folder / "new.pem",
    )
    new.save(stage.folder / "new.pem")
    second = wiring.build(settings, stage.clock)
    endpoint = wiring.token_endpoint(settings, second)
    await asyncio.gather(*(endpoint.register() for _ in range(4)))
    assert await stage.count(f"token_key WHERE kid = '{new.kid}'") == 1
    old = await client.token()
    form = FORM | {"client_assertion": jwt.sign(client.key, "JWT", client.claims())}
    newer = (await endpoint.answer(httpx.Request("POST", "http://x", data=form).read())).body["access_token"]
    assert jwt.read(newer).kid == new.kid != jwt.read(old).kid
    assert [(await books(stage, token)).status_code for token in (old, newer)] == [200, 200]
    assert (await second.callers.of(old)).id == (await second.callers.of(newer)).id == client.id
    assert (await stage.api.post(f"/api/v1/token-keys/{new.kid}/revoke")).status_code == 204
    assert [(await books(stage, token)).status_code for token in (old, newer)] == [200, 401]
    with pytest.raises(Exception, match="was revoked"):
        await endpoint.register()
    await second.close()


async def test_a_token_signed_by_a_key_that_nobody_registered_is_refused(stage: Stage) -> None:
    client = await made(stage)
    foreign = Authority(ISSUER, SoftwareKey.generate()).token(client.id, frozenset(), stage.clock())
    assert (await books(stage, foreign)).status_code == 401
    with_message_key = Authority(ISSUER, stage.gateway.node.signer).token(client.id, frozenset(), stage.clock())
    assert (await books(stage, with_message_key)).status_code == 401


@pytest.mark.parametrize("header", ["", "Bearer", "Basic Og==", "Bearer x", "Bearer a.b.c", "Token x.y.z"])
async def test_no_token_no_call(stage: Stage, header: str) -> None:
    headers = {"authorization": header} if header else {}
    refused = await stage.http.get(f"{stage.operator_url}/api/v1/books", headers=headers)
    assert (refused.status_code, refused.headers["content-type"]) == (401, "application/problem+json")
    assert refused.json()["code"] == 8001 and refused.headers["www-authenticate"].startswith("Bearer")
