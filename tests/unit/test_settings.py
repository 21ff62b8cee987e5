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
    assert (read.token_key_file, read.issuer_name) == (None, "urn:article6-gateway:GWY01")


def test_what_is_shown_of_settings_holds_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_DATABASE_URL", "postgresql://gateway_app:hidden@host/gateway")
    monkeypatch.setenv("GATEWAY_OWNER_DATABASE_URL", "postgresql://gateway_owner:hidden@host/gateway")
    monkeypatch.setenv("GATEWAY_KEY", "hidden")
    monkeypatch.setenv("GATEWAY_TOKEN_KEY", "hidden")
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
        ("GATEWAY_LINK_LISTEN", "0.0.0.0:8640"),
        ("GATEWAY_BEHIND_TLS", "perhaps"),
        ("GATEWAY_OPERATOR_LISTEN", "0.0.0.0:8641"),
        ("GATEWAY_OPERATOR_LISTEN", "[::]:8641"),
        ("GATEWAY_OPERATOR_LISTEN", "10.0.0.1:8641"),
        ("GATEWAY_OPERATOR_LISTEN", "127.0.0.1"),
        ("GATEWAY_OPERATOR_LISTEN", "unix:"),
        ("GATEWAY_ISSUER", "http://gateway.example"),
        ("GATEWAY_ISSUER", "https://gateway.example/?x=hidden"),
        ("GATEWAY_ISSUER", "https://gateway.example/"),
        ("GATEWAY_ISSUER", "gateway"),
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
def test_plain_http_is_served_on_this_machine(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("GATEWAY_OPERATOR_LISTEN", address)
    assert settings.read().operator_listen == address


@pytest.mark.parametrize("name", ["GATEWAY_LINK_LISTEN", "GATEWAY_OPERATOR_LISTEN"])
def test_what_others_reach_is_behind_tls_and_no_demo_and_not_being_debugged(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "0.0.0.0:8640")
    with pytest.raises(GatewayError, match=rf"^{name}: plain HTTP"):
        settings.read()
    monkeypatch.setenv("GATEWAY_BEHIND_TLS", "true")
    assert "0.0.0.0:8640" in (settings.read().link_listen, settings.read().operator_listen)
    for variable, value, why in (("PYTHONASYNCIODEBUG", "1", "being debugged"), ("GATEWAY_DEMO", "true", "a demo is")):
        monkeypatch.setenv(variable, value)
        with pytest.raises(GatewayError, match=rf"^{name}: .*{why}"):
            settings.read()


def test_a_demos_key_signs_nowhere_else(tmp_path: Path) -> None:
    made, file = SoftwareKey.generate(demo=True), tmp_path / "demo.pem"
    made.save(file)
    given = Settings(database_url=DATABASE, key_file=file)
    assert settings.signer(given.model_copy(update={"demo": True})).kid == made.kid
    for outside in (given, given.model_copy(update={"key_file": None, "key": file.read_text()})):
        with pytest.raises(GatewayError, match=r"^GATEWAY_KEY(_FILE)?: a demo's key"):
            settings.signer(outside)


@pytest.mark.parametrize("issuer", ["https://gateway.example", "https://gateway.example/a6", "urn:example:gateway"])
def test_an_issuer_is_an_address_or_a_urn(monkeypatch: pytest.MonkeyPatch, issuer: str) -> None:
    monkeypatch.setenv("GATEWAY_ISSUER", issuer)
    assert settings.read().issuer_name == issuer


def test_the_token_key_is_another_than_the_message_key_and_named_when_it_cannot_be_used(tmp_path: Path) -> None:
    keys = {name: SoftwareKey.generate() for name in ("messages", "tokens")}
    for name, key in keys.items():
        key.save(tmp_path / name)
    (tmp_path / "corrupt").touch(0o600)
    given = Settings(database_url=DATABASE, key_file=tmp_path / "messages")
    text = (tmp_path / "tokens").read_text()
    for changed in ({"token_key_file": tmp_path / "tokens"}, {"token_key": text}):
        assert settings.token_signer(given.model_copy(update=changed)).kid == keys["tokens"].kid
    for changed, name in (
        ({}, "GATEWAY_TOKEN_KEY_FILE"),
        ({"token_key_file": tmp_path / "lost"}, "GATEWAY_TOKEN_KEY_FILE"),
        ({"token_key_file": tmp_path / "corrupt"}, "GATEWAY_TOKEN_KEY_FILE"),
        ({"token_key_file": tmp_path / "messages"}, "GATEWAY_TOKEN_KEY_FILE"),
        ({"token_key": (tmp_path / "messages").read_text()}, "GATEWAY_TOKEN_KEY"),
        ({"token_key": "hidden"}, "GATEWAY_TOKEN_KEY"),
    ):
        with pytest.raises(GatewayError, match=rf"^{name}: ") as raised:
            settings.token_signer(given.model_copy(update=changed))
        assert "hidden" not in raised.value.detail


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
