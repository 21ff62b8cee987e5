"""What a command tells a gateway that runs elsewhere, and whom it tells: the address, the client, the assertion."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from joserfc import jws
from joserfc.errors import BadSignatureError
from joserfc.jwk import import_key

from gateway.cli import remote
from gateway.cli.api import Where, ask
from gateway.errors import GatewayError, Kind
from gateway.signing import assertion
from gateway.signing.keys import ALGORITHMS, SoftwareKey

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "address",
    [
        "http://gateway.example", "http://10.0.0.1:8641", "http://127.0.0.1.example", "ftp://127.0.0.1",
        "127.0.0.1:8641", "https://", "https://user:word@gateway.example", "https://gateway.example?x=1", "https://gateway.example#x",
        "https://gateway.example:port", "https://[::1", "",
    ],
)  # fmt: skip
def test_a_token_is_asked_for_over_tls_or_on_this_machine_only(address: str) -> None:
    with pytest.raises(GatewayError, match="--gateway") as refused:
        remote.opened(address)
    assert refused.value.kind is Kind.MALFORMED


@pytest.mark.parametrize(
    "address",
    ["https://gateway.example", "https://gateway.example:8443/a6", "http://127.0.0.1:8641", "http://[::1]:8641",
     "http://localhost:8641", "unix:/run/gateway.sock"],
)  # fmt: skip
def test_these_addresses_are_taken(address: str) -> None:
    remote.opened(address).close()


@pytest.mark.parametrize(
    ("where", "words"),
    [
        (Where(gateway="https://gateway.example"), "--client"),
        (Where(client="auditor=key.pem"), "--gateway"),
        (Where(gateway="https://gateway.example", client="auditor=key.pem", by="one"), "--by"),
        (Where(gateway="https://gateway.example", client="auditor=key.pem", keep=Path("kept")), "--keep"),
        (Where(gateway="https://gateway.example", client="auditor"), "NAME=KEYFILE"),
        (Where(gateway="https://gateway.example", client="=key.pem"), "NAME=KEYFILE"),
        (Where(gateway="https://gateway.example", client="auditor=/absent/key.pem"), "/absent/key.pem"),
    ],
)
def test_options_that_do_not_go_together_are_named(where: Where, words: str) -> None:
    with pytest.raises(GatewayError, match=words):
        ask(where, "GET", "/api/v1/books")


def test_a_key_that_others_could_read_signs_nothing(tmp_path: Path) -> None:
    SoftwareKey.generate().save(tmp_path / "key.pem")
    (tmp_path / "key.pem").chmod(0o644)
    with pytest.raises(GatewayError, match="mode 0600") as refused:
        ask(Where(gateway="https://gateway.example", client=f"auditor={tmp_path}/key.pem"), "GET", "/api/v1/books")
    assert refused.value.kind is Kind.UNTRUSTED


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_an_assertion_is_the_clients_own_for_one_audience_once_and_soon_over(alg: str) -> None:
    key = SoftwareKey.generate(alg)
    made = [assertion.make(key, "auditor", "urn:article6-gateway:GWY01", NOW) for _ in range(2)]
    public = import_key(dict(key.public_jwk()))
    read = [jws.deserialize_compact(text, public, algorithms=list(ALGORITHMS)) for text in made]
    claims = [json.loads(one.payload) for one in read]
    assert read[0].headers() == {"alg": alg, "kid": key.kid, "typ": "JWT"}
    assert {(c["iss"], c["sub"], c["aud"]) for c in claims} == {("auditor", "auditor", "urn:article6-gateway:GWY01")}
    assert {(c["iat"], c["exp"]) for c in claims} == {(int(NOW.timestamp()), int(NOW.timestamp()) + 60)}
    assert len({c["jti"] for c in claims}) == 2
    other = import_key(dict(SoftwareKey.generate(alg).public_jwk()))
    with pytest.raises(BadSignatureError):
        jws.deserialize_compact(made[0], other, algorithms=list(ALGORITHMS))
