"""Who may call a gateway in service: registered by commands, given tokens at its address, shut out by commands."""

import json
from pathlib import Path
from typing import Any

import httpx

from gateway.signing.keys import SoftwareKey
from tests.e2e.programs import PATIENCE_SECONDS, only_line, run, start
from tests.e2e.test_cli import Installation, installation, migrated, serving

__all__ = ["installation", "migrated"]


def jwks(folder: Path, name: str) -> tuple[Path, Path]:
    """The files of a new key: the private one, and the public set."""
    made = run("keys", "new", folder / f"{name}.pem")
    (folder / f"{name}.jwks").write_text(made.stdout)
    return folder / f"{name}.pem", folder / f"{name}.jwks"


def said(*arguments: str | Path, at: Installation) -> Any:
    """What a command prints."""
    done = run(*arguments, **at.settings)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def token(operator: str, client: str, key: Path) -> tuple[int, str]:
    """What ``gateway token`` ends with, and prints or complains of."""
    done = run("token", "--gateway", operator, "--client", f"{client}={key}")
    return done.returncode, (done.stdout or done.stderr).strip()


def books(operator: str, bearer: str) -> int:
    """The status with which the book is shown, or not."""
    return httpx.get(f"{operator}/api/v1/books", headers={"authorization": f"Bearer {bearer}"}).status_code


def test_a_client_is_added_calls_with_a_token_and_is_shut_out_at_once(migrated: Installation, tmp_path: Path) -> None:
    (key, public), (second, more) = jwks(tmp_path, "first"), jwks(tmp_path, "second")
    added = said("clients", "add", "books", "--all", "--scope", "books:read", "--keys", public, at=migrated)
    assert added["keys"] == [json.loads(public.read_text())["keys"][0]["kid"]]
    with serving(migrated.settings) as (_, at):
        ended, bearer = token(at["operator"], added["id"], key)
        assert (ended, books(at["operator"], bearer)) == (0, 200)
        assert said("clients", "keys", "add", "books", "--keys", more, at=migrated)["name"] == "books"
        said("clients", "keys", "revoke", "books", added["keys"][0], at=migrated)
        dashed = run("clients", "keys", "revoke", "books", "-absent", **migrated.settings)
        assert dashed.returncode == 2 and only_line(dashed.stderr).endswith("[2004]")
        ended, why = token(at["operator"], added["id"], key)
        assert ended == 2 and "gives no token" in why and why.endswith("[8001]")
        ended, bearer = token(at["operator"], added["id"], second)
        assert (ended, books(at["operator"], bearer)) == (0, 200)
        said("clients", "revoke", "books", at=migrated)
        assert books(at["operator"], bearer) == 401
    [listed] = said("clients", "list", "--json", at=migrated)["clients"]
    assert (listed["name"], listed["revoked"], len(listed["keys"])) == ("books", True, 2)
    shown = run("clients", "list", **migrated.settings)
    assert added["id"] in shown.stdout and "revoked" in shown.stdout


def test_a_token_key_is_listed_and_revoked_and_its_process_does_not_start_again(
    migrated: Installation, tmp_path: Path
) -> None:
    other, _ = jwks(tmp_path, "other")
    settings = {**migrated.settings, "GATEWAY_TOKEN_KEY_FILE": str(other)}
    with serving(settings):
        kid = SoftwareKey.load(other).kid
        listed = said("keys", "token", "list", "--json", at=migrated)["keys"]
        assert listed[0] == {"kid": kid, "alg": "Ed25519", "revoked": False}
        assert said("keys", "token", "revoke", kid, at=migrated) == {"key": kid, "revoked": True}
    again = run("serve", **settings)
    assert again.returncode == 2 and "GATEWAY_TOKEN_KEY_FILE: " in only_line(again.stderr)
    twice = run("keys", "token", "revoke", kid, **migrated.settings)
    assert twice.returncode == 2 and only_line(twice.stderr).endswith("[2004]")
    assert run("keys", "token", "revoke", "absent", **migrated.settings).returncode == 2
    assert "revoked" in run("keys", "token", "list", **migrated.settings).stdout


#: What is added, and the field its refusal names.
WRONG = [
    ("clients add x --all --scope nonsense", "scopes"),
    ("clients add x --all --scope approvals:decide", "scopes"),
    ("clients add x --registry ABC01 --scope books:read", "registry"),
    ("clients add x --scope books:read", "registry"),
    ("clients add x --all --registry KOR01 --scope books:read", "registry"),
    ("people add x --all --role king", "role"),
    ("people add a/b --all --role viewer", "name"),
    ("people add x --all --role viewer --not-after 2020-01-01T00:00Z", "not_after"),
]


def test_whoever_cannot_be_is_refused_by_the_field(migrated: Installation, tmp_path: Path) -> None:
    _, public = jwks(tmp_path, "key")
    commands = [start(*given.split(), "--keys", public, **migrated.settings) for given, _ in WRONG]
    for (given, field), command in zip(WRONG, commands, strict=True):
        out, err = command.communicate(timeout=PATIENCE_SECONDS)
        assert (command.returncode, out) == (2, "") and field in only_line(err), given
    assert said("people", "list", "--json", at=migrated) == {"people": []}


def test_a_key_that_cannot_be_is_refused(migrated: Installation, tmp_path: Path) -> None:
    rsa, private = tmp_path / "rsa.jwks", tmp_path / "private.jwks"
    rsa.write_text('{"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB"}]}')
    private.write_text('{"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "AAAA", "d": "AAAA"}]}')
    for file in (rsa, private):
        refused = run("people", "add", "x", "--all", "--role", "viewer", "--keys", file, **migrated.settings)
        assert refused.returncode == 2 and only_line(refused.stderr).startswith("gateway: keys: the public key is not")


def test_who_acts_by_a_command_is_a_registered_person_with_their_own_rights(
    migrated: Installation, tmp_path: Path
) -> None:
    _, public = jwks(tmp_path, "viewer")
    said("people", "add", "viewer", "--all", "--role", "viewer", "--keys", public, at=migrated)
    for by, words in (("viewer", "access:admin"), ("nobody", "no person 'nobody'")):
        refused = run("people", "revoke", "viewer", "--by", by, **migrated.settings)
        assert refused.returncode == 2 and words in only_line(refused.stderr)
    assert not said("people", "list", "--json", at=migrated)["people"][0]["revoked"]
