"""How our programs get a token: where they ask, what they send there, and when they ask again."""

from typing import Any

import httpx
import pytest

from gateway.errors import GatewayError, Kind
from gateway.signing import jwt
from gateway.signing.keys import SoftwareKey
from gateway.web.client import Tokens

AT = "http://127.0.0.1:8641"
METADATA = {"issuer": "urn:x", "token_endpoint": f"{AT}/token"}
GIVEN = {"access_token": "given", "expires_in": 600}
KEY = SoftwareKey.generate()


def called(tokens: Tokens, *answers: httpx.Response) -> list[httpx.Request]:
    """The requests that one call becomes when it meets these answers."""
    flow = tokens.auth_flow(httpx.Request("GET", f"{AT}/api/v1/books"))
    requests = [next(flow)]
    requests += [flow.send(answer) for answer in answers]
    flow.close()
    return requests


def said(status: int = 200, **body: Any) -> httpx.Response:
    return httpx.Response(status, json=body)


def test_a_token_is_asked_for_once_and_again_before_it_ends() -> None:
    now = [1_000_000.0]
    tokens = Tokens(AT, "c-1", KEY, ["books:read"], clock=lambda: now[0])
    asked, posted, shown = called(tokens, said(**METADATA), said(**GIVEN))
    assert str(asked.url) == f"{AT}/.well-known/oauth-authorization-server"
    form = dict(httpx.QueryParams(posted.read().decode()))
    assert (str(posted.url), form["scope"]) == (f"{AT}/token", "books:read")
    claims = jwt.read(form["client_assertion"]).claims
    assert (claims["iss"], claims["sub"], claims["aud"]) == ("c-1", "c-1", "urn:x")
    assert shown.headers["authorization"] == "Bearer given"
    now[0] += 530
    assert len(called(tokens)) == 1
    now[0] += 20
    assert len(called(tokens, said(**METADATA), said(**GIVEN))) == 3


@pytest.mark.parametrize("endpoint", ["http://elsewhere.example/token", f"{AT}1/token", "ftp://x", ""])
def test_no_assertion_goes_elsewhere_in_the_clear(endpoint: str) -> None:
    with pytest.raises(GatewayError) as raised:
        called(Tokens(AT, "c-1", KEY), said(**{**METADATA, "token_endpoint": endpoint}))
    assert raised.value.kind is Kind.UNTRUSTED


def test_no_gateway_gives_itself_out_for_another() -> None:
    with pytest.raises(GatewayError) as raised:
        called(Tokens(AT, "c-1", KEY), said(**{**METADATA, "issuer": "https://another.example"}))
    assert raised.value.kind is Kind.UNTRUSTED


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (said(400, error="invalid_client", error_description="no"), Kind.UNAUTHENTICATED),
        (said(429, error="temporarily_unavailable"), Kind.UNAVAILABLE),
        (said(503, detail="no database"), Kind.UNAVAILABLE),
        (httpx.Response(200, text="<html>"), Kind.UNAVAILABLE),
        (httpx.Response(200, json=[]), Kind.UNAVAILABLE),
        (said(200, token_type="Bearer"), Kind.UNAVAILABLE),
        (said(200, access_token="x", expires_in="soon"), Kind.UNAVAILABLE),
    ],
)
def test_an_answer_without_a_token_is_told_as_what_it_is(answer: httpx.Response, kind: Kind) -> None:
    with pytest.raises(GatewayError) as raised:
        called(Tokens(AT, "c-1", KEY), said(**METADATA), answer)
    assert raised.value.kind is kind
