"""Commands at a gateway that runs elsewhere: a reconciliation job's or an auditor's machine needs no database.

The commands get no ``GATEWAY_*`` variable: all they have is an address, their name there and their key.
"""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from gateway.signing.keys import SoftwareKey
from tests.e2e.programs import only_line, run
from tests.e2e.test_cli import Installation, installation, migrated, serving
from tests.integration.test_sandbox_play import uuid7

__all__ = ["installation", "migrated"]

REQUEST = ["transfers", "request", "--to", "JPN01/JPN/100-1", "--quantity", "5", "--purpose", "NDC", "--key", "one"]


@dataclass
class Elsewhere:
    """A gateway in service, with KOR01 and JPN01 linked and a transfer from one to the other, and its clients."""

    url: str
    transfer: str
    clients: dict[str, str]
    here: Installation

    def run(self, client: str, *arguments: str | Path, url: str | None = None) -> "subprocess.CompletedProcess[str]":
        return run(*arguments, "--gateway", url or self.url, "--client", self.clients[client])

    def told(self, client: str, *arguments: str) -> Any:
        done = self.run(client, *arguments)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def refused(self, client: str, *arguments: str) -> str:
        done = self.run(client, *arguments)
        assert (done.returncode, done.stdout) == (2, ""), done
        return only_line(done.stderr)


@pytest.fixture(scope="module")
def elsewhere(migrated: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Elsewhere]:
    folder = tmp_path_factory.mktemp("elsewhere")

    def key(name: str, alg: str = "Ed25519") -> tuple[Path, Path]:
        made = SoftwareKey.generate(alg)
        made.save(folder / f"{name}.pem")
        (folder / f"{name}.jwks").write_text(json.dumps({"keys": [made.public_jwk()]}))
        return folder / f"{name}.pem", folder / f"{name}.jwks"

    for code in ("KOR01", "JPN01"):
        linked = ["links", "add", code, "--kind", "party", "--party", code[:3], "--url", "http://127.0.0.1:9"]
        assert run(*linked, "--keys", key(code)[1], **migrated.settings).returncode == 0
    transfer = f"KOR01-{uuid7()}"
    with psycopg.connect(migrated.server.dsn("gateway", "gateway_owner")) as database:
        database.execute("UPDATE link SET state = 'active'")
        database.execute(
            "INSERT INTO transfer (id, source, acquirer, transferring_registry, transferring_party, "
            "transferring_account, acquiring_registry, acquiring_party, acquiring_account, purpose, quantity, "
            "block_count, state, version, deadline, created_at, changed_at) VALUES (%s, 'KOR01', 'JPN01', 'KOR01', "
            "'KOR', '100-1', 'JPN01', 'JPN', '100-1', 'NDC', 1, 1, 'checked', 1, now(), now(), now())",
            [transfer],
        )
        for viewer in ("KOR01", "JPN01"):
            database.execute("INSERT INTO transfer_viewer SELECT %s, created_at, id FROM transfer", [viewer])
    clients = {}
    for name, bound, alg, scopes in (
        ("korea", ["--registry", "KOR01"], "Ed25519", ["transfers:read", "transfers:request", "books:read"]),
        (
            "japan",
            ["--registry", "JPN01"],
            "ES256",
            ["transfers:read", "transfers:request", "books:read", "links:read"],
        ),
        ("auditor", ["--all"], "Ed25519", ["transfers:read", "books:read", "links:read"]),
    ):
        file, public = key(name, alg)
        rights = [part for scope in scopes for part in ("--scope", scope)]
        added = run("clients", "add", name, *bound, *rights, "--keys", public, **migrated.settings)
        assert added.returncode == 0, added.stderr
        clients[name] = f"{json.loads(added.stdout)['id']}={file}"
    with serving(migrated.settings) as (_, at):
        yield Elsewhere(at["operator"], transfer, clients, migrated)


def test_each_client_sees_its_registrys_part(elsewhere: Elsewhere) -> None:
    for client in elsewhere.clients:
        listed = elsewhere.told(client, "transfers", "list", "--json")
        assert [t["id"] for t in listed["transfers"]] == [elsewhere.transfer]
    registries = {
        client: [r["registry"] for r in elsewhere.told(client, "books", "--json")["registries"]]
        for client in elsewhere.clients
    }
    assert registries == {"korea": ["KOR01"], "japan": ["JPN01"], "auditor": ["JPN01", "KOR01"]}
    assert [link["code"] for link in elsewhere.told("japan", "links", "list", "--json")] == ["JPN01"]
    assert elsewhere.told("auditor", "records", "--json")["records"] == []
    assert elsewhere.told("auditor", "alarms", "--json")["alarms"] == []


def test_a_command_prints_the_same_wherever_it_runs(elsewhere: Elsewhere) -> None:
    for command in (("transfers", "list"), ("transfers", "show", elsewhere.transfer), ("books",), ("links", "list")):
        here = run(*command, "--json", **elsewhere.here.settings)
        assert here.returncode == 0, here.stderr
        assert elsewhere.run("auditor", *command, "--json").stdout == here.stdout


def test_only_the_source_requests_and_ends(elsewhere: Elsewhere) -> None:
    asked = elsewhere.told("korea", *REQUEST, "--from", "KOR01/KOR/100-1")
    assert elsewhere.told("korea", *REQUEST, "--from", "KOR01/KOR/100-1") == asked
    others = elsewhere.refused("japan", *REQUEST, "--from", "KOR01/KOR/100-1")
    assert "[8001]" in others and others == elsewhere.refused("japan", *REQUEST, "--from", "DEU01/DEU/100-1")
    end = ["transfers", "end", elsewhere.transfer, "--reason", "the ministry's"]
    absent = ["transfers", "end", f"KOR01-{uuid7()}", "--reason", "the ministry's"]
    assert elsewhere.refused("japan", *end) == elsewhere.refused("japan", *absent)
    assert "transfers:request" in elsewhere.refused("auditor", *end)
    assert elsewhere.told("korea", *end)["state"] == "ending"


def test_who_is_not_a_client_gets_no_token(elsewhere: Elsewhere, tmp_path: Path) -> None:
    SoftwareKey.generate().save(tmp_path / "other.pem")
    of, _, file = elsewhere.clients["korea"].partition("=")
    for client in (f"{of}={tmp_path}/other.pem", f"c-nobody={file}"):
        done = run("books", "--gateway", elsewhere.url, "--client", client)
        assert (done.returncode, done.stdout) == (2, "")
        assert "no token" in only_line(done.stderr)


def test_a_gateway_that_is_not_there_or_is_none_is_said_to_be(elsewhere: Elsewhere) -> None:
    for url in ("http://127.0.0.1:9", "unix:/absent/operator.sock"):
        done = elsewhere.run("korea", "books", url=url)
        assert done.returncode == 3 and "cannot be reached" in only_line(done.stderr)


def test_a_gateway_on_a_unix_socket_is_asked_like_any_other(elsewhere: Elsewhere) -> None:
    path = elsewhere.here.folder / "operator.sock"
    with serving({**elsewhere.here.settings, "GATEWAY_OPERATOR_LISTEN": f"unix:{path}"}):
        done = elsewhere.run("korea", "books", "--json", url=f"unix:{path}")
        assert done.returncode == 0, done.stderr
        assert [r["registry"] for r in json.loads(done.stdout)["registries"]] == ["KOR01"]
