"""JSON Web Tokens: what is read, what is believed, and that whatever stands in one never does more than be refused."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.access import tokens
from gateway.access.store import Principal
from gateway.access.tokens import Authority
from gateway.domain.callers import Scope
from gateway.errors import GatewayError, Kind
from gateway.signing import compact, jwt
from gateway.signing.keys import SoftwareKey
from gateway.signing.trust import PeerKey

NOW = datetime(2026, 11, 26, tzinfo=UTC)
KEY, OTHER, TOKEN_KEY = SoftwareKey.generate(), SoftwareKey.generate("ES256"), SoftwareKey.generate()
ISSUER = "urn:article6-gateway:GWY01"
CLIENT = Principal("c-1", False, "machine", None, None, frozenset({Scope.BOOKS_READ}))


def peer(key: SoftwareKey) -> PeerKey:
    return PeerKey.from_jwk("c-1", key.public_jwk(), not_before=NOW)


def text(header: str, claims: str = "{}") -> str:
    return f"{compact.encode(header.encode())}.{compact.encode(claims.encode())}.AA"


def test_a_token_is_read_and_proven_by_the_key_it_was_signed_with_and_no_other() -> None:
    for key in (KEY, OTHER):
        read = jwt.read(jwt.sign(key, "JWT", {"a": 1}))
        assert (read.alg, read.kid, read.typ) == (key.alg, key.kid, "JWT")
        assert jwt.proven(read, [peer(KEY), peer(OTHER)]) == {"a": 1}
        for others in ([], [peer(SoftwareKey.generate(key.alg))]):
            with pytest.raises(GatewayError, match=jwt.UNSIGNED):
                jwt.proven(read, others)


def test_what_is_shown_of_a_token_holds_nothing_to_call_with() -> None:
    signed = jwt.sign(KEY, "JWT", {})
    assert signed.split(".")[2] not in repr(jwt.read(signed)) and signed[:40] not in repr(jwt.read(signed))
    assert "PRIVATE" not in repr(Authority(ISSUER, KEY))


@pytest.mark.parametrize(
    "token",
    [
        "", ".", "..", "a.b", "a.b.c.d", "x" * (jwt.MAX_BYTES + 1), text("[]"), text("1"), text("{"), text("{}"),
        text('{"alg":"none"}'), text('{"alg":"HS256"}'), text('{"alg":"EdDSA"}'), text('{"alg":["ES256"]}'),
        text('{"alg":"ES256","kid":7}'), text('{"alg":"ES256","typ":null,"x5u":"http://x"}'),
        text('{"alg":"ES256","jku":"http://x"}'), text('{"alg":"ES256","crit":[]}'), text('{"alg":"ES256","alg":"x"}'),
        text('{"alg":"ES256"}', "[]"), text('{"alg":"ES256"}', '{"exp":NaN}'), text('{"alg":"ES256"}', '{"a":1,"a":2}'),
        text('{"alg":"ES256"}', '{"a":"\\ud800"}'), text('{"alg":"ES256"}', '{"sub":"\\u0000"}'),
        text('{"alg":"ES256"}', "[" * 5_000), text('{"alg":"ES256"}') + "=", text('{"alg":"ES256"}') + "\n", "é.é.é",
    ],
)  # fmt: skip
def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(GatewayError) as raised:
        jwt.read(token)
    assert (raised.value.kind, raised.value.code) == (Kind.UNAUTHENTICATED, 8001)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([ISSUER, f"{ISSUER}:operator", "c-1", "books:read", *(int(NOW.timestamp()) + n for n in (0, 60))])
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=2),
    max_leaves=4,
)  # fmt: skip
_NAMES = ("iss", "sub", "aud", "exp", "iat", "nbf", "jti", "scope", "client_id", "auth_time", "amr", "acr", "roles")
_CLAIMS = st.dictionaries(st.sampled_from(_NAMES), _VALUES)


@given(_CLAIMS)
def test_whatever_an_assertion_claims_it_is_answered(changes: Mapping[str, Any]) -> None:
    moment = int(NOW.timestamp())
    good = {"iss": "c-1", "sub": "c-1", "aud": ISSUER, "iat": moment, "exp": moment + 60, "jti": "x"}
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": jwt.sign(KEY, "JWT", {**good, **changes}),
    }
    claimed = tokens.claimed(form)
    assert claimed is None or isinstance(claimed, str)
    answer = Authority(ISSUER, TOKEN_KEY).answer(form, CLIENT, [peer(KEY)], NOW)
    assert answer.status == 200 or answer.body["error"] in ("invalid_client", "invalid_scope")
    if answer.status == 200:
        assert json.loads(json.dumps(changes.get("iss", "c-1"))) == changes.get("sub", "c-1") == "c-1"
        assert changes.get("aud", ISSUER) in (ISSUER, [ISSUER]) and answer.assertion is not None


@given(_CLAIMS)
def test_whatever_a_token_of_ours_would_claim_it_is_believed_or_refused(changes: Mapping[str, Any]) -> None:
    good = jwt.read(Authority(ISSUER, TOKEN_KEY).token("c-1", CLIENT.scopes, NOW)).claims
    try:
        principal, scopes = tokens.judged({**good, **changes}, ISSUER, NOW)
    except GatewayError as error:
        assert (error.kind, error.code) == (Kind.UNAUTHENTICATED, 8001)
    else:
        assert isinstance(principal, str) and all(isinstance(scope, str) for scope in scopes)
