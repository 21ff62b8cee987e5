"""``gateway keys`` as commands: a rotation from the first key to the next, and what is refused on the way.

Nobody is linked, so nobody has to receipt anything; with registries: ``tests/faults/test_rotation.py``.
"""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.signing.keys import SoftwareKey
from tests.e2e.programs import refused, run, told
from tests.e2e.test_cli import serving

Settings = dict[str, str]


def keys(settings: Settings, *arguments: str) -> Any:
    return told(settings, "keys", *arguments)


def test_the_next_key_is_announced_used_and_the_first_retired(settings: Settings, tmp_path: Path) -> None:
    first, second = SoftwareKey.load(Path(settings["GATEWAY_KEY_FILE"])).kid, SoftwareKey.generate()
    second.save(tmp_path / "second.pem")
    renewed = settings | {"GATEWAY_KEY_FILE": str(tmp_path / "second.pem")}
    with serving(settings) as (_, at):
        assert shown(at) == [first]
    for process in ("serve", "worker"):
        said = refused(renewed, process)
        assert said.startswith("gateway: GATEWAY_KEY_FILE: ") and f"{second.kid} was never announced" in said
    assert keys(settings, "announce", str(tmp_path / "second.pem")) == {"key": second.kid, "told": []}
    assert "registered for this gateway" in refused(settings, "keys", "announce", str(tmp_path / "second.pem"))
    assert "in use here" in refused(settings, "keys", "retire", first)
    with serving(renewed) as (_, at), serving(settings) as (_, older):
        assert shown(at) == shown(older) == [first, second.kid]
    assert keys(renewed, "retire", first) == {"key": first, "told": []}
    assert "is retired" in refused(renewed, "keys", "retire", first)
    assert "is retired" in refused(settings, "serve")
    found = keys(renewed, "list", "--json")["keys"]
    assert [(key["kid"], key["ended"], key["owes"]) for key in found] == [
        (first, "retired", []),
        (second.kid, None, []),
    ]
    table = run("keys", "list", COLUMNS="200", **renewed)
    assert table.returncode == 0 and "retired" in table.stdout and second.kid in table.stdout
    assert run("doctor", **renewed).returncode == 0
    told = keys(renewed, "revoke", first, "--reason", "compromised", "--since", "2026-03-01T12:00Z")
    assert told == {"key": first, "revoked": "compromised", "told": []}


def shown(at: dict[str, str]) -> list[str]:
    return [key["kid"] for key in httpx.get(f"{at['link']}/keys").json()["keys"]]


WRONG = {
    "no such key": (["keys", "retire", "A" * 43], "no key"),
    "no such key to revoke": (["keys", "revoke", "A" * 43, "--reason", "superseded"], "no key"),
    "no such message": (["keys", "which", "0195515b-9c00-7000-8000-000000000001"], "no message"),
    "no file": (["keys", "announce", "absent.pem"], "absent.pem"),
    "a time without its offset": (
        ["keys", "revoke", "A" * 43, "--reason", "superseded", "--since", "2026-03-01T12:00"], "2026-03-01T12:00"
    ),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_none_of_ours_is_refused_in_one_line(settings: Settings, wrong: str) -> None:
    arguments, said = WRONG[wrong]
    assert said in refused(settings, *arguments)


def test_a_message_is_named_by_its_id_and_a_key_file_is_one(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "corrupt.pem").write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    (tmp_path / "corrupt.pem").chmod(0o600)
    assert "corrupt.pem: not an unencrypted PEM" in refused(settings, "keys", "announce", str(tmp_path / "corrupt.pem"))
    assert "not the id of a message" in refused(settings, "keys", "which", "message")


def test_addresses_that_may_not_be_called_are_refused(settings: Settings, tmp_path: Path) -> None:
    jwks = tmp_path / "KOR01.jwks"
    jwks.write_text(json.dumps({"keys": [SoftwareKey.generate().public_jwk()]}))
    add = ["links", "add", "KOR01", "--kind", "party", "--party", "KOR", "--keys", str(jwks), "--url"]
    for url in ("https://169.254.169.254/latest", "https://user:secret@registry.example", "http://10.0.0.1"):
        said = refused(settings, *add, url)
        assert said.startswith("gateway: url: ") and "secret" not in said
    for networks in ("10.0.0.1/8", "0.0.0.0/0", "everywhere"):
        said = refused(settings | {"GATEWAY_PRIVATE_PEERS": networks}, "links", "list")
        assert said.startswith("gateway: GATEWAY_PRIVATE_PEERS: ")
