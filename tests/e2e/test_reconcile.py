"""``gateway reconcile`` as jobs run it: its exit codes, its JSON, on the database's machine and at a gateway elsewhere.

MEC01 is a real registry of which differences are planted and put right; all units are synthetic.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from gateway.signing.keys import SoftwareKey
from tests.e2e.programs import PATIENCE_SECONDS, environment, only_line, run, start, told, until
from tests.e2e.test_cli import Installation, installation, migrated, serving
from tests.faults.processes import free_port

__all__ = ["installation", "migrated"]

NOW = ("--announce", "0")


@dataclass
class World:
    """A gateway in service with MEC01 linked, and machine clients by name."""

    here: Installation
    operator: str
    command: list[str]
    url: str = ""
    clients: dict[str, str] = field(default_factory=dict)
    process: "subprocess.Popen[str] | None" = None

    def begin(self) -> None:
        """Start the registry (again, where it was)."""
        where = ["--listen", self.url.removeprefix("http://")] if self.url else []
        self.process = subprocess.Popen(
            [*self.command, *where], stdout=subprocess.PIPE, text=True, env=environment(PYTHONPATH=Path.cwd())
        )
        assert self.process.stdout is not None
        self.url = json.loads(self.process.stdout.readline())["url"]

    def end(self) -> None:
        """End the registry; its database stays."""
        assert self.process is not None
        self.process.terminate()
        self.process.communicate(timeout=PATIENCE_SECONDS)

    def post(self, path: str, **body: Any) -> Any:
        answer = httpx.post(f"{self.url}/admin/{path}", json=body, timeout=PATIENCE_SECONDS, trust_env=False)
        assert answer.is_success, answer.text
        return answer.json()

    def local(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return run("reconcile", *arguments, **self.here.settings, COLUMNS="200")

    def elsewhere(self, client: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return run(*arguments, "--gateway", self.operator, "--client", self.clients[client])

    def report(self, done: "subprocess.CompletedProcess[str]", code: int) -> dict[str, Any]:
        """The one report that a command printed for machines, with this exit code."""
        assert done.returncode == code, done
        assert done.stderr == ""
        [report] = json.loads(done.stdout)
        return dict(report)


@pytest.fixture(scope="module")
def world(migrated: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The registry holds what it issued, and the books agree."""
    folder, settings = tmp_path_factory.mktemp("reconcile"), migrated.settings
    link = f"127.0.0.1:{free_port()}"
    (folder / "GWY01.jwks").write_text(run("keys", "show", **settings).stdout)
    migrated.server.create_database("mec01", "mec01")
    command = [sys.executable, "-m", "connectors.sandbox", "mechanism", "--code", "MEC01", "--answer", "reply"]
    command += ["--database", migrated.server.dsn("mec01", "mec01"), "--key", str(folder / "MEC01.pem")]
    command += ["--gateway-url", f"http://{link}", "--gateway-keys", str(folder / "GWY01.jwks")]
    with serving({**settings, "GATEWAY_LINK_LISTEN": link}) as (_, at):
        world = World(migrated, at["operator"], command)
        world.begin()
        try:
            (folder / "MEC01.jwks").write_text(httpx.get(f"{world.url}/keys", trust_env=False).text)
            linked = ["links", "add", "MEC01", "--kind", "mechanism", "--url", world.url]
            told(settings, *linked, "--keys", str(folder / "MEC01.jwks"))
            with psycopg.connect(migrated.server.dsn("gateway", "gateway_owner")) as database:
                database.execute("UPDATE link SET state = 'testing'")
            for name, *scopes in (("job", "reconciliation:run", "books:read"), ("reader", "books:read")):
                world.clients[name] = client(settings, folder, name, *scopes)
            assert world.post("activate")["receipted"]
            issued = {"activity": "PoA 10471", "party": "MMR", "vintage": 2021, "series": "MMR-A64", "gross": 1_000}
            world.post("issue", **issued, authorisation={"id": "MMR-SYNTHETIC-2026-1", "version": 1})
            until(lambda: told(settings, "books", "--json")["registries"])
            yield world
        finally:
            if world.process is not None and world.process.poll() is None:
                world.end()


def client(settings: dict[str, str], folder: Path, name: str, *scopes: str) -> str:
    """A machine client of a registry, or of all: what it is named as on the command line."""
    key = SoftwareKey.generate()
    key.save(folder / f"{name}.pem")
    (folder / f"{name}.jwks").write_text(json.dumps({"keys": [key.public_jwk()]}))
    wanted = [argument for scope in scopes for argument in ("--scope", scope)]
    added = told(settings, "clients", "add", name, "--all", *wanted, "--keys", str(folder / f"{name}.jwks"))
    return f"{added['id']}={folder}/{name}.pem"


@pytest.fixture
def working(world: World) -> Iterator[None]:
    """A worker of the gateway that runs elsewhere."""
    process = start("worker", **world.here.settings)
    try:
        yield
    finally:
        process.kill()
        process.communicate()


@dataclass
class Planted:
    """Units that are gone from the registry's books."""

    units: dict[str, Any]

    @property
    def serials(self) -> str:
        return f"MEC01/MMR-A64/{self.units['first']}-{self.units['last']}"


@pytest.fixture(scope="module")
def planted(world: World) -> Planted:
    """Seven units are lost, from the first test that asks for it until the last puts them right."""
    answer = httpx.get(f"{world.url}/admin/books?blocks=true", trust_env=False)
    block = next(one["block"] for one in answer.json()["blocks"] if one["account"] == "100-1")
    units = {"origin": block["origin"], "first": block["first"] + 10, "last": block["first"] + 16}
    world.post("books/lose", units=units)
    return Planted(units)


def test_books_that_agree_end_it_with_0(world: World) -> None:
    report = world.report(world.local("--link", "MEC01", *NOW, "--json"), 0)
    assert (report["run"]["link"], report["run"]["status"], report["found"], report["findings"]) == ("MEC01", 5, 0, [])
    [book] = report["books"]
    assert book["root"] == book["there"]
    said = world.local(*NOW)
    assert said.returncode == 0 and said.stderr == ""
    assert only_line(said.stdout).startswith("MEC01: the books agree (1 round trips, ")


def test_a_difference_ends_it_with_1_and_is_named_down_to_its_serials(world: World, planted: Planted) -> None:
    report = world.report(world.local("--link", "MEC01", "--full", *NOW, "--json"), 1)
    assert (report["run"]["status"], report["found"], report["run"]["whole"]) == (99, 1, True)
    [finding] = report["findings"]
    named = (finding["code"], finding["first"], finding["last"], finding["there"])
    assert named == (6302, planted.units["first"], planted.units["last"], None)
    said = world.local("--link", "MEC01", *NOW)
    assert said.returncode == 1
    assert f"MEC01 {planted.serials}: 6302 " in said.stdout and f"case {finding['case']}" in said.stdout


@pytest.mark.usefixtures("working")
def test_a_job_elsewhere_has_the_gateways_worker_do_it(world: World, planted: Planted) -> None:
    done = world.elsewhere("job", "reconcile", "--link", "MEC01", *NOW, "--json")
    report = world.report(done, 1)
    assert [one["first"] for one in report["findings"]] == [planted.units["first"]]
    for command in (("reconciliations", "list", "--json"), ("reconciliations", "show", report["run"]["id"], "--json")):
        here = told(world.here.settings, *command)
        assert json.loads(world.elsewhere("reader", *command).stdout) == here


def test_who_may_not_ask_is_told_so(world: World) -> None:
    done = world.elsewhere("reader", "reconcile", "--link", "MEC01", *NOW)
    assert (done.returncode, done.stdout) == (2, "")
    assert "[8001]" in only_line(done.stderr)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--link", "KOR01"], "[3001]"),
        (["--link", "../MEC01"], "[2001]"),
        (["--announce", "86401"], "[2001]"),
        (["--client", "job=key.pem"], "--client needs --gateway URL"),
        (["--gateway", "http://127.0.0.1:9"], "--gateway needs --client ID=KEYFILE"),
        (["--gateway", "http://127.0.0.1:9", "--client", "job=absent.pem"], "absent.pem"),
        (["--by", "nobody"], "[8001]"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_asked_for_ends_it_with_2_and_one_line(world: World, arguments: list[str], words: str) -> None:
    done = world.local(*arguments)
    assert (done.returncode, done.stdout) == (2, ""), done
    assert words in only_line(done.stderr) and done.stderr.startswith("gateway: ")


@pytest.mark.parametrize("arguments", [["--lnk", "MEC01"], ["--announce", "-1"]])
def test_an_option_that_is_none_ends_it_with_2(world: World, arguments: list[str]) -> None:
    done = world.local(*arguments)
    assert (done.returncode, done.stdout) == (2, "")


def test_a_database_that_is_not_there_ends_it_with_2(world: World) -> None:
    settings = world.here.settings | {"GATEWAY_DATABASE_URL": "postgresql://nobody@127.0.0.1:9/nothing"}
    done = run("reconcile", *NOW, **settings)
    assert (done.returncode, done.stdout) == (2, "")
    assert "database_url" in only_line(done.stderr).lower()


def test_runs_are_listed_and_shown_to_people(world: World, planted: Planted) -> None:
    report = world.report(world.local("--link", "MEC01", *NOW, "--json"), 1)
    run_id, settings = report["run"]["id"], world.here.settings
    listed = told(settings, "reconciliations", "list", "--link", "MEC01", "--json")["reconciliations"]
    ended = [one for one in listed if one["state"] == "ended"]
    assert ended[0] == report["run"]
    page = told(settings, "reconciliations", "list", "--limit", "2", "--json")
    before = ["--before", str(page["next"])] if page["next"] else []
    assert told(settings, "reconciliations", "list", *before, "--json")["reconciliations"]
    assert told(settings, "reconciliations", "show", run_id, "--json") == report
    table = run("reconciliations", "list", **settings, COLUMNS="200").stdout
    assert run_id in table and "(99)" in table
    shown = run("reconciliations", "show", run_id, **settings, COLUMNS="200").stdout
    for words in (report["books"][0]["root"], f"{planted.units['first']}–{planted.units['last']}", "6302"):
        assert words in shown
    assert told(settings, "reconciliations", "list", "--link", "KOR01", "--json")["reconciliations"] == []


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("show", "0195515b-9c00-7000-8000-000000000001"), "[3001]"),
        (("show", "no-id"), "[2001]"),
        (("list", "--link", "kor"), "[2001]"),
        (("list", "--before", "yesterday"), "[2001]"),
    ],
)
def test_runs_that_are_none_are_refused_in_one_line(world: World, arguments: tuple[str, ...], code: str) -> None:
    done = run("reconciliations", *arguments, **world.here.settings)
    assert (done.returncode, done.stdout) == (2, ""), done
    assert code in only_line(done.stderr) and done.stderr.startswith("gateway: ")


def test_the_report_is_a_page_that_fetches_nothing_and_escapes_everything(world: World, planted: Planted) -> None:
    mark = "<script>alert('x')</script>"
    units = {**planted.units, "first": planted.units["last"] + 1, "last": planted.units["last"] + 2}
    world.post("books/change", units=units, attributes={"activity": mark})
    done = world.local("--link", "MEC01", *NOW, "--json")
    world.post("books/change", units=units, attributes={"activity": "PoA 10471"})
    report = world.report(done, 1)
    assert sorted(one["code"] for one in report["findings"]) == [6302, 6303]
    token = run("token", "--gateway", world.operator, "--client", world.clients["reader"]).stdout.strip()
    url = f"{world.operator}/api/v1/reconciliations/{report['run']['id']}/report"
    page = httpx.get(url, headers={"authorization": f"Bearer {token}"}, trust_env=False)
    assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-") and "unsafe" not in policy
    assert mark not in page.text and "&lt;script&gt;" in page.text
    assert f"{planted.units['first']}–{planted.units['last']}" in page.text
    assert httpx.get(url, trust_env=False).status_code == 401


def test_a_registry_that_is_down_ends_it_with_2_and_the_run_goes_on_later(world: World, planted: Planted) -> None:
    world.end()
    try:
        done = world.local("--link", "MEC01", *NOW, "--patience", "8")
        assert done.returncode == 2
        assert "MEC01: not over: " in done.stdout and "no answer from MEC01" in done.stdout
        again = world.local("--link", "MEC01", *NOW, "--patience", "1")
        assert again.returncode == 2 and "MEC01: not over: " in again.stdout  # the same run
    finally:
        world.begin()
    # Without a name the run that is under way is taken up.
    [finding] = world.report(world.local("--json"), 1)["findings"]
    who, why = ["registrar", "second registrar"], "a fault of ours (synthetic)"
    wish = {"state": finding["here"], "case": finding["case"], "who": who, "why": why}
    world.post("books/correct", units=planted.units, **wish)
    assert world.report(world.local("--link", "MEC01", *NOW, "--json"), 0)["run"]["status"] == 6
