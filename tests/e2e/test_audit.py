"""``gateway audit``, on a database and at a gateway that runs elsewhere, for people and machines."""

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

__all__ = ["installation", "migrated"]

PLANTED = """
INSERT INTO unit_series (registry, series) VALUES ('KOR01', 'KOR-X');
INSERT INTO action (registry, action, type, at, quantity, item, entry_id)
  SELECT 'KOR01', 'issued', 'issuance', now(), 100, '{"blocks": []}', min(id) FROM log_entry;
INSERT INTO action_block SELECT a.id, s.id, 1, 100, 100 FROM action a, unit_series s;
"""


@dataclass
class Auditing:
    """A gateway in service with some entries and an issuance of 100 units, and a client for each scope."""

    url: str
    here: Installation
    clients: dict[str, str]

    def elsewhere(self, client: str, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
        return run("audit", *arguments, "--gateway", self.url, "--client", self.clients[client])

    def told(self, *arguments: str | Path) -> Any:
        """What a command prints for machines, which is the same here and elsewhere."""
        done = run("audit", *arguments, "--json", **self.here.settings)
        assert done.returncode == 0, done.stderr
        assert self.elsewhere("auditor", *arguments, "--json").stdout == done.stdout
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def auditing(migrated: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Auditing]:
    folder, clients = tmp_path_factory.mktemp("auditing"), {}
    for name, scope in (("auditor", "audit:read"), ("reader", "transfers:read")):
        key = SoftwareKey.generate()
        key.save(folder / f"{name}.pem")
        (folder / f"{name}.jwks").write_text(json.dumps({"keys": [key.public_jwk()]}))
        wanted = ("clients", "add", name, "--all", "--scope", scope, "--keys", folder / f"{name}.jwks")
        added = run(*wanted, **migrated.settings)
        assert added.returncode == 0, added.stderr
        clients[name] = f"{json.loads(added.stdout)['id']}={folder}/{name}.pem"
    with psycopg.connect(migrated.server.dsn("gateway", "gateway_owner")) as database:
        database.execute(PLANTED.encode())
    with serving(migrated.settings) as (_, at):
        for client in clients.values():  # what signing in writes is there before anything is compared
            run("audit", "search", "--gateway", at["operator"], "--client", client)
        yield Auditing(at["operator"], migrated, clients)


def test_entries_are_searched_page_by_page(auditing: Auditing) -> None:
    everything = auditing.told("search")
    assert {entry["kind"] for entry in everything["entries"]} >= {"access.client-added"} and everything["next"] is None
    first = auditing.told("search", "--limit", "1")
    second = auditing.told("search", "--limit", "1", "--cursor", first["next"])
    assert [*first["entries"], *second["entries"]] == everything["entries"][:2]
    text = run("audit", "search", "--limit", "1", **auditing.here.settings, COLUMNS="120").stdout
    assert str(first["entries"][0]["entry"]) in text and f"more: --cursor {first['next']}" in text
    assert auditing.told("search", "--type", "access.client-added", "--until", "2020-01-01T00:00:00Z")["entries"] == []


def test_a_unit_is_followed(auditing: Auditing) -> None:
    [step] = auditing.told("provenance", "KOR01/KOR-X/50")["steps"]
    assert (step["what"], step["first"], step["last"]) == ("issuance", 1, 100)
    text = run("audit", "provenance", "KOR01/KOR-X/50", **auditing.here.settings, COLUMNS="120").stdout
    assert "KOR01/issued" in text and "1–100" in text
    absent = run("audit", "provenance", "KOR01/KOR-X/101", **auditing.here.settings)
    assert absent.returncode == 2 and "[4003]" in only_line(absent.stderr)


def test_an_export_is_the_same_here_and_elsewhere(auditing: Auditing, tmp_path: Path) -> None:
    wanted = ("export", "--type", "access.client-added")
    for format in ("ndjson", "csv"):
        here, there = tmp_path / f"here.{format}", tmp_path / f"there.{format}"
        done = run("audit", *wanted, "--format", format, "--out", here, **auditing.here.settings)
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
        assert only_line(done.stderr) == f"2 entries in {here}"
        assert auditing.elsewhere("auditor", *wanted, "--format", format, "--out", there).returncode == 0
        assert here.read_bytes() == there.read_bytes()
        shown = run("audit", *wanted, "--format", format, **auditing.here.settings)
        assert shown.stdout.encode().splitlines() == here.read_bytes().splitlines()
    lines = [json.loads(line) for line in (tmp_path / "here.ndjson").read_text().splitlines()]
    assert [line["kind"] for line in lines[1:-1]] == ["access.client-added"] * 2 and lines[-1]["end"]["count"] == 2


def test_who_may_not_and_what_cannot_be_leave_no_file(auditing: Auditing, tmp_path: Path) -> None:
    out = tmp_path / "absent" / "file"
    refused = [
        (auditing.elsewhere("reader", "export", "--out", tmp_path / "x"), "[8001]"),
        (run("audit", "export", "--party", "XX", "--out", tmp_path / "x", **auditing.here.settings), "[2010]"),
        (run("audit", "export", "--since", "x", "--out", tmp_path / "x", **auditing.here.settings), "[2014]"),
        (run("audit", "export", "--out", out, **auditing.here.settings), "No such file"),
        (run("audit", "search", "--cursor", "x", **auditing.here.settings), "[2001]"),
    ]
    for done, said in refused:
        assert (done.returncode, done.stdout) == (2, "") and said in only_line(done.stderr), done
    assert list(tmp_path.iterdir()) == []
