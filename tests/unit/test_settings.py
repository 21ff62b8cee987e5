"""Settings: what is read from the environment, and that one line names what is wrong with it."""

import os
from pathlib import Path

import pytest

from gateway import settings
from gateway.domain.addresses import PUBLIC
from gateway.errors import GatewayError, Kind
from gateway.settings import Settings
from gateway.signing.keys import SoftwareKey

DATABASE = "postgresql://gateway_app@one,two/gateway?target_session_attrs=read-write"


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("GATEWAY_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GATEWAY_DATABASE_URL", DATABASE)


def test_everything_but_the_database_and_the_key_has_a_default() -> None:
    read = settings.read()
    assert (read.code, read.database_url, read.key_file) == ("GWY01", DATABASE, None)
    assert (read.link_listen, read.operator_listen) == ("127.0.0.1:8640", "127.0.0.1:8641")


def test_what_is_shown_of_settings_holds_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_DATABASE_URL", "postgresql://gateway_app:hidden@host/gateway")
    monkeypatch.setenv("GATEWAY_OWNER_DATABASE_URL", "postgresql://gateway_owner:hidden@host/gateway")
    monkeypatch.setenv("GATEWAY_KEY", "hidden")
    assert "hidden" not in repr(settings.read())


def test_no_private_network_is_called_unless_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for named in (None, "", " "):
        if named is not None:
            monkeypatch.setenv("GATEWAY_PRIVATE_PEERS", named)
        assert settings.read().reach == PUBLIC
    monkeypatch.setenv("GATEWAY_PRIVATE_PEERS", "10.1.0.0/16, fd00::/8")
    assert [str(network) for network in settings.read().reach.private] == ["10.1.0.0/16", "fd00::/8"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GATEWAY_CODE", "gwy1"),
        ("GATEWAY_CODE", "GWY\u0660\u0661"),
        ("GATEWAY_DATABASE_URL", "mysql://host/hidden"),
        ("GATEWAY_OWNER_DATABASE_URL", "hidden"),
        ("GATEWAY_LINK_LISTEN", "nonsense"),
        ("GATEWAY_LINK_LISTEN", "8640"),
        ("GATEWAY_LINK_LISTEN", ":8640"),
        ("GATEWAY_LINK_LISTEN", "127.0.0.1:65536"),
        ("GATEWAY_LINK_LISTEN", "127.0.0.1:-1"),
        ("GATEWAY_OPERATOR_LISTEN", "0.0.0.0:8641"),
        ("GATEWAY_OPERATOR_LISTEN", "[::]:8641"),
        ("GATEWAY_OPERATOR_LISTEN", "10.0.0.1:8641"),
        ("GATEWAY_OPERATOR_LISTEN", "127.0.0.1"),
        ("GATEWAY_OPERATOR_LISTEN", "unix:"),
        ("GATEWAY_PRIVATE_PEERS", "10.0.0.1/8"),
        ("GATEWAY_PRIVATE_PEERS", "0.0.0.0/0"),
        ("GATEWAY_PRIVATE_PEERS", "registry.example"),
        ("GATEWAY_LINK_LISTN", "0.0.0.0:8640"),
        ("GATEWAY_KEYFILE", "/run/key"),
        ("GATEWAY_DATABSE_URL", DATABASE),
    ],
)
def test_a_wrong_setting_is_named_in_one_line(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(GatewayError) as raised:
        settings.read()
    assert raised.value.kind is Kind.MALFORMED
    assert raised.value.detail.startswith(f"{name}: ")
    assert "\n" not in raised.value.detail and "hidden" not in raised.value.detail


def test_a_missing_database_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GATEWAY_DATABASE_URL")
    with pytest.raises(GatewayError, match=r"^GATEWAY_DATABASE_URL: is not set$"):
        settings.read()


@pytest.mark.parametrize("name", ["SERVICE_HOST", "SERVICE_PORT", "PORT", "PORT_8640_TCP_ADDR", "SERVICE_PORT_LINK"])
def test_what_kubernetes_says_of_a_service_named_gateway_is_no_setting(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(f"GATEWAY_{name}", "tcp://10.0.0.1:8640")
    assert settings.read().link_listen == "127.0.0.1:8640"


@pytest.mark.parametrize("address", ["127.0.0.1:1", "[::1]:1", "localhost:1", "unix:/run/gateway/operator.sock"])
def test_operators_are_served_on_this_machine_only(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("GATEWAY_OPERATOR_LISTEN", address)
    assert settings.read().operator_listen == address


def test_a_key_that_cannot_be_used_is_named_with_its_setting(tmp_path: Path) -> None:
    key, usable = SoftwareKey.generate(), tmp_path / "usable.pem"
    key.save(usable)
    given = Settings(database_url=DATABASE)
    assert settings.signer(given.model_copy(update={"key_file": usable})).kid == key.kid
    assert settings.signer(given.model_copy(update={"key": usable.read_text()})).kid == key.kid
    usable.chmod(0o640)
    (tmp_path / "empty").touch(0o600)
    for changed, name in (
        ({}, "GATEWAY_KEY_FILE"),
        ({"key_file": usable}, "GATEWAY_KEY_FILE"),
        ({"key_file": tmp_path / "absent"}, "GATEWAY_KEY_FILE"),
        ({"key_file": tmp_path / "empty"}, "GATEWAY_KEY_FILE"),
        ({"key": "hidden"}, "GATEWAY_KEY"),
    ):
        with pytest.raises(GatewayError, match=rf"^{name}: ") as raised:
            settings.signer(given.model_copy(update=changed))
        assert "hidden" not in raised.value.detail
