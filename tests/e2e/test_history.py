"""``gateway history``, on a database and at a gateway that runs elsewhere, for people and machines.

The feed is planted as a pull leaves it, signed by a registry that is played; nobody listens at its address.
"""

import asyncio
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import psycopg
import pytest

from gateway import wiring
from gateway.settings import Settings
from gateway.signing.keys import SoftwareKey
from tests import pulled
from tests.e2e.programs import only_line, run
from tests.e2e.test_cli import Installation, installation, migrated, serving
from tests.integration.test_sandbox_play import Party, sha
from tests.played import Played

__all__ = ["installation", "migrated"]

FEED = [*pulled.chain(1, 10), *pulled.chain(11, 20)]


@dataclass
class History:
    """A gateway in service to which KOR01's history of MEC01 was pulled, and a client for each bond."""

    url: str
    here: Installation
    clients: dict[str, str]

    def elsewhere(self, client: str, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
        return run("history", *arguments, "--gateway", self.url, "--client", self.clients[client])

    def local(self, *arguments: str | Path, **settings: str) -> "subprocess.CompletedProcess[str]":
        return run("history", *arguments, **self.here.settings, **settings)

    def told(self, *arguments: str | Path) -> Any:
        """What a command prints for machines, which is the same here and elsewhere."""
        done = self.local(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        assert self.elsewhere("all", *arguments, "--json").stdout == done.stdout
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def history(migrated: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[History]:
    folder, clients, mechanism = tmp_path_factory.mktemp("history"), {}, Party("MEC01")
    (folder / "KOR01.jwks").write_text(json.dumps(Party("KOR01").jwks()))
    mechanism.write_keys(folder)
    for code, kind, party in (("MEC01", "mechanism", []), ("KOR01", "party", ["--party", "KOR"])):
        linked = ["links", "add", code, "--kind", kind, *party, "--url", "http://127.0.0.1:9"]
        added = run(*linked, "--keys", folder / f"{code}.jwks", **migrated.settings)
        assert added.returncode == 0, added.stderr
    for name, bound in (("all", ["--all"]), ("korea", ["--registry", "KOR01"]), ("source", ["--registry", "MEC01"])):
        key = SoftwareKey.generate()
        key.save(folder / f"{name}.pem")
        (folder / f"{name}.jwks").write_text(json.dumps({"keys": [key.public_jwk()]}))
        scopes = ["--scope", "books:read", "--scope", "history:pull"]
        added = run("clients", "add", name, *bound, *scopes, "--keys", folder / f"{name}.jwks", **migrated.settings)
        assert added.returncode == 0, added.stderr
        clients[name] = f"{json.loads(added.stdout)['id']}={folder}/{name}.pem"
    with psycopg.connect(migrated.server.dsn("gateway", "gateway_owner")) as database:
        database.execute("UPDATE link SET state = 'active'")
    with serving(migrated.settings) as (_, at):
        asyncio.run(planted(migrated, mechanism))
        yield History(at["operator"], migrated, clients)


async def planted(there: Installation, mechanism: Party) -> None:
    """Keep the feed in the gateway's database."""
    settings = Settings(database_url=there.settings["GATEWAY_DATABASE_URL"], key_file=there.folder / "key.pem")
    gateway = wiring.build(settings)

    async def rows(statement: str) -> list[tuple[Any, ...]]:
        owner = there.server.dsn("gateway", "gateway_owner")
        async with await psycopg.AsyncConnection.connect(owner, autocommit=True) as connection:
            cursor = await connection.execute(statement.encode())
            return list(await cursor.fetchall()) if cursor.description else []

    async def in_transaction(work: Any) -> Any:
        return await gateway.database.run(work, "request")

    stage = SimpleNamespace(gateway=gateway, clock=gateway.node.clock, rows=rows, run=in_transaction)
    await pulled.pull(Played(cast(Any, stage), mechanism, cast(Any, None)), "KOR01", "KOR", FEED, at_once=3)
    await gateway.close()


def test_records_are_listed_page_by_page(history: History) -> None:
    everything = history.told("list")
    assert {one["sha256"] for one in everything["records"]} == set(map(sha, FEED)) and everything["next"] is None
    first = history.told("list", "--limit", "1")
    second = history.told("list", "--limit", "1", "--cursor", first["next"])
    assert [*first["records"], *second["records"]] == everything["records"][:2]
    found = history.told("list", "--units", "MEC01/MMR-A64/15", "--type", "issuance", "--source", "MEC01")
    assert [one["text"] for one in found["records"]] == [FEED[3]]
    text = history.local("list", "--limit", "1", COLUMNS="160").stdout
    assert "transfer" in text and "MEC01 #3" in text and f"more: --cursor {first['next']}" in text
    assert history.told("list", "--until", "2020-01-01T00:00:00Z")["records"] == []


def test_a_feed_is_shown_and_called_for(history: History) -> None:
    [feed] = history.told("feeds")
    assert (feed["source"], feed["registry"], feed["number"], feed["due"]) == ("MEC01", "KOR01", 4, False)
    assert "up to date" in history.local("feeds", COLUMNS="160").stdout
    called = history.elsewhere("korea", "pull", "MEC01", "KOR01", "--no-wait", "--json")
    assert called.returncode == 0 and json.loads(called.stdout)["due"] is True
    assert "due" in history.local("feeds", COLUMNS="160").stdout
    refused = history.elsewhere("source", "pull", "MEC01", "KOR01", "--no-wait")
    assert refused.returncode == 2 and "[8001]" in only_line(refused.stderr)


ASKED = "SELECT count(*) FROM message WHERE type = 'history.query' AND direction = 'out'"


def test_a_feed_that_another_pulls_is_watched(history: History) -> None:
    with psycopg.connect(history.here.server.dsn("gateway", "gateway_owner"), autocommit=True) as database:
        database.execute(
            "UPDATE history_feed SET leased_by = 'another', leased_until = now() + interval '1 hour',"
            " waiting = 'its turn'"
        )
        before = database.execute(ASKED).fetchone()
        done = history.local("pull", "MEC01", "KOR01")
        assert done.returncode == 3 and "not all is pulled: waits: its turn" in only_line(done.stderr)
        assert database.execute(ASKED).fetchone() == before
        database.execute("UPDATE history_feed SET leased_by = NULL, leased_until = NULL, waiting = NULL")


def test_a_feed_that_nobody_pulls_is_pulled_by_the_command_itself(history: History) -> None:
    """Its source is asked, and is not there."""
    with psycopg.connect(history.here.server.dsn("gateway", "gateway_owner"), autocommit=True) as database:
        before = database.execute(ASKED).fetchone()
        done = history.local("pull", "MEC01", "KOR01")
        assert done.returncode == 3 and "not all is pulled: waits: " in only_line(done.stderr)
        assert before is not None and database.execute(ASKED).fetchone() == (before[0] + 1,)
        feed = "link = 'MEC01' AND registry = 'KOR01'"
        left = database.execute(f"SELECT leased_by, attempts FROM history_feed WHERE {feed}").fetchone()
        assert left == (None, 1)
        database.execute(
            "UPDATE history_feed SET waiting = NULL, attempts = 0, answered = (SELECT max(called) FROM history_call)"
        )


def test_what_a_source_that_is_not_there_shows_is_not_known(history: History) -> None:
    for command in ("view", "holdings", "difference"):
        for done in (history.local(command, "MEC01", "KOR01"), history.elsewhere("korea", command, "MEC01", "KOR01")):
            assert (done.returncode, done.stdout) == (3, "")
            assert "no answer from MEC01" in only_line(done.stderr) and "[9001]" in done.stderr
        hidden = history.elsewhere("source", command, "MEC01", "KOR01")
        assert hidden.returncode == 2 and "[8001]" in only_line(hidden.stderr)


def test_a_gateway_proves_its_history_and_says_what_is_wrong(history: History) -> None:
    done = history.local("verify", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["valid"], told["faults"], told["feeds"][0]["records"]) == (True, [], 4)
    text = history.local("verify", "--source", "MEC01", "--registry", "KOR01").stdout.splitlines()
    assert text[0].startswith("MEC01 for KOR01: 4 records in 2 signed pages, digest ")
    assert text[-1] == "the history is what was signed"
    absent = history.local("verify", "--source", "INT01")
    assert absent.returncode == 2 and "[8001]" in only_line(absent.stderr)
    superuser = history.here.server.dsn("gateway")
    with psycopg.connect(superuser, autocommit=True) as database:
        database.execute("SET session_replication_role = replica")
        database.execute("UPDATE history_record SET vintage = 2022 WHERE series = 'MMR-A64' AND first = 11")
        wrong = history.local("verify")
        machine = history.local("verify", "--json")
        database.execute("UPDATE history_record SET vintage = 2021 WHERE series = 'MMR-A64' AND first = 11")
    assert (wrong.returncode, machine.returncode) == (1, 1)
    assert wrong.stdout.splitlines()[1:] == [
        "MEC01 for KOR01, record 3: its row says otherwise than its text: vintage",
        "MEC01 for KOR01, record 4: its row says otherwise than its text: vintage",
        "the history is NOT what was signed",
    ]
    assert json.loads(machine.stdout)["found"] == 2
    assert history.local("verify").returncode == 0
