"""Which gateway elsewhere a command asks, and as whom: what is no address of one, or no client, is named."""

from pathlib import Path

import pytest

from gateway.cli import remote
from gateway.cli.api import Where, ask
from gateway.errors import GatewayError, Kind
from gateway.signing.keys import SoftwareKey


@pytest.mark.parametrize(
    "address",
    [
        "http://gateway.example", "http://10.0.0.1:8641", "http://127.0.0.1.example", "ftp://127.0.0.1",
        "127.0.0.1:8641", "https://", "https://user:word@gateway.example", "https://gateway.example?x=1", "https://gateway.example#x",
        "https://gateway.example:port", "https://[::1", "https://gateway.example/operator", "",
    ],
)  # fmt: skip
def test_a_token_is_asked_for_over_tls_or_on_this_machine_only(address: str) -> None:
    with pytest.raises(GatewayError, match="--gateway") as refused:
        remote.opened(address)
    assert refused.value.kind is Kind.MALFORMED


@pytest.mark.parametrize(
    "address",
    ["https://gateway.example", "https://gateway.example:8443/", "http://127.0.0.1:8641", "http://[::1]:8641",
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
        (Where(gateway="https://gateway.example", client="auditor"), "ID=KEYFILE"),
        (Where(gateway="https://gateway.example", client="=key.pem"), "ID=KEYFILE"),
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
