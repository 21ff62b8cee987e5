"""The commands as an installation runs them: real processes, ``GATEWAY_*`` variables, a PostgreSQL of its own."""

import asyncio
import json
import re
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from gateway import embedded, migrations
from gateway.domain.addresses import LOOPBACK
from gateway.settings import Settings
from gateway.signing.keys import SoftwareKey
from gateway.signing.log_keys import LogKey
from tests.bearer import introduced, persons
from tests.e2e.programs import PATIENCE_SECONDS, only_line, run, start, until

ANYWHERE = "127.0.0.1:0"


@dataclass(frozen=True)
class Installation:
    """A database server, a key, and the settings of a gateway on them."""

    folder: Path
    server: embedded.Server
    settings: dict[str, str]


@pytest.fixture(scope="module")
def installation() -> Iterator[Installation]:
    """As an administrator leaves it: the roles, the database and a key are there, the schema is not."""
    with tempfile.TemporaryDirectory(prefix="gateway-tests-") as made, ExitStack() as stack:
        folder = Path(made)
        stack.callback(embedded.remove, folder)
        server = stack.enter_context(embedded.running(folder))
        yield Installation(folder, server, prepared(folder, server))


def prepared(folder: Path, server: embedded.Server) -> dict[str, str]:
    """Roles, database and key; the settings that name them."""
    server.create_database("gateway", "gateway_owner")
    migrations.grant_app(server.dsn("gateway"), server.password("gateway_app"))
    for name in ("key.pem", "tokens.pem"):
        SoftwareKey.generate().save(folder / name)
    LogKey.generate().save(folder / "log.pem")
    return {
        "GATEWAY_DATABASE_URL": server.dsn("gateway", "gateway_app"),
        "GATEWAY_OWNER_DATABASE_URL": server.dsn("gateway", "gateway_owner"),
        "GATEWAY_KEY_FILE": str(folder / "key.pem"),
        "GATEWAY_TOKEN_KEY_FILE": str(folder / "tokens.pem"),
        "GATEWAY_LOG_KEY_FILE": str(folder / "log.pem"),
        "GATEWAY_PRIVATE_PEERS": LOOPBACK,
        "GATEWAY_LINK_LISTEN": ANYWHERE,
        "GATEWAY_OPERATOR_LISTEN": ANYWHERE,
    }


@pytest.fixture(scope="module")
def migrated(installation: Installation) -> Installation:
    for _ in range(2):
        done = run("migrate", **installation.settings)
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
    return installation


def known(there: Installation, *names: str) -> None:
    """Register persons of these names, who may do everything."""
    settings = Settings(
        database_url=there.settings["GATEWAY_DATABASE_URL"],
        key_file=there.folder / "key.pem",
        token_key_file=there.folder / "tokens.pem",
    )
    asyncio.run(introduced(settings, *persons(*names)))


@contextmanager
def serving(settings: Mapping[str, str]) -> Iterator[tuple["subprocess.Popen[str]", dict[str, str]]]:
    """A ``gateway serve`` that is ready, and its addresses; killed if it still runs at the end."""
    process = start("serve", **settings)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        yield process, json.loads(line)
    finally:
        process.kill()
        process.communicate()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_key_is_its_owners_alone_and_never_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    made = run("keys", "new", file, "--algorithm", "ES256")
    [jwk] = json.loads(made.stdout)["keys"]
    assert jwk["alg"] == "ES256" and "d" not in jwk
    assert mode(file) == 0o600
    before = file.read_bytes()
    again = run("keys", "new", file)
    assert again.returncode == 2 and str(file) in only_line(again.stderr)
    assert file.read_bytes() == before
    assert run("keys", "new", tmp_path / "no" / "key.pem").returncode == 3
    assert run("keys", "new", tmp_path / "rsa.pem", "--algorithm", "RS256").returncode == 2
    assert list(tmp_path.iterdir()) == [file]


def test_the_key_in_use_is_shown_from_its_file_and_from_the_environment(installation: Installation) -> None:
    of_file = run("keys", "show", **installation.settings)
    text = (installation.folder / "key.pem").read_text()
    of_text = run("keys", "show", GATEWAY_DATABASE_URL="postgresql:///unused", GATEWAY_KEY=text)
    assert of_file.stdout == of_text.stdout
    assert json.loads(of_text.stdout)["keys"][0]["kid"]


def test_making_a_key_loads_neither_database_nor_web_server() -> None:
    program = (
        "import sys, gateway.cli.keys; print(*(m for m in ('sqlalchemy', 'fastapi', 'httpx') if m in sys.modules))"
    )
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == ""


def wrong_starts(at: Installation, taken: str) -> dict[str, tuple[list[str], dict[str, str], str]]:
    """Name → the command, what is changed about its settings, and what its one line must say."""
    database, folder = at.settings["GATEWAY_DATABASE_URL"], at.folder
    passfile, open_key, plain = folder / "wrong-password", folder / "open.pem", folder / "plain"
    corrupt = folder / "corrupt.pem"
    corrupt.touch(0o600)
    corrupt.write_bytes((folder / "tokens.pem").read_bytes()[:50])
    passfile.touch(0o600)
    passfile.write_text("*:*:*:*:wrong\n")
    open_key.write_bytes((folder / "key.pem").read_bytes())
    open_key.chmod(0o644)
    plain.write_text("not a socket")
    denied = re.sub(r"passfile=[^&]*", f"passfile={passfile}", database)
    said = "GATEWAY_DATABASE_URL: connection failed"
    return {
        "code": (["worker"], {"GATEWAY_CODE": "gwy1"}, "GATEWAY_CODE: "),
        "all addresses": (["serve"], {"GATEWAY_OPERATOR_LISTEN": "0.0.0.0:8641"}, "GATEWAY_OPERATOR_LISTEN: "),
        "port in use": (["serve"], {"GATEWAY_LINK_LISTEN": taken}, f"GATEWAY_LINK_LISTEN: cannot listen on {taken}"),
        "not a socket": (["serve"], {"GATEWAY_OPERATOR_LISTEN": f"unix:{plain}"}, "GATEWAY_OPERATOR_LISTEN: "),
        "key readable by others": (["serve"], {"GATEWAY_KEY_FILE": str(open_key)}, "GATEWAY_KEY_FILE: "),
        "token key lost": (["serve"], {"GATEWAY_TOKEN_KEY_FILE": str(folder / "lost")}, "GATEWAY_TOKEN_KEY_FILE: "),
        "token key corrupt": (["serve"], {"GATEWAY_TOKEN_KEY_FILE": str(corrupt)}, "GATEWAY_TOKEN_KEY_FILE: "),
        "one key for both": (
            ["serve"],
            {"GATEWAY_TOKEN_KEY_FILE": str(folder / "key.pem")},
            "GATEWAY_TOKEN_KEY_FILE: ",
        ),
        "no port": (["worker"], {"GATEWAY_DATABASE_URL": "postgresql://host:x/gateway"}, "GATEWAY_DATABASE_URL: "),
        "unknown database": (["worker"], {"GATEWAY_DATABASE_URL": database.replace("/gateway?", "/absent?")}, said),
        "wrong password": (["transfers", "list"], {"GATEWAY_DATABASE_URL": denied}, said),
        "no schema": (["serve"], {"GATEWAY_DATABASE_URL": database.replace("/gateway?", "/bare?")}, "gateway migrate"),
        "no owner": (["migrate"], {"GATEWAY_OWNER_DATABASE_URL": denied}, "GATEWAY_OWNER_DATABASE_URL: "),
    }


def test_a_wrong_setting_stops_the_start_with_one_line_that_names_it(installation: Installation) -> None:
    server = installation.server
    server.create_database("bare", "gateway_owner")
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute("GRANT CONNECT ON DATABASE bare TO gateway_app")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        wrong = wrong_starts(installation, f"127.0.0.1:{taken.getsockname()[1]}")
        started = {
            name: start(*command, **{**installation.settings, **changed})
            for name, (command, changed, _) in wrong.items()
        }
        for name, process in started.items():
            out, err = process.communicate(timeout=PATIENCE_SECONDS)
            assert process.returncode in (2, 3), (name, err)
            assert len(err.splitlines()) == 1 and wrong[name][2] in err, (name, err)
            assert out == "", name
    assert (installation.folder / "plain").read_text() == "not a socket"


def test_a_server_answers_and_sigterm_ends_it(migrated: Installation) -> None:
    # Several hosts, as for a server with a standby: the first of them is not there.
    address = migrated.settings["GATEWAY_DATABASE_URL"].replace("host=", "host=/absent,")
    with serving({**migrated.settings, "GATEWAY_DATABASE_URL": address}) as (process, at):
        assert httpx.get(f"{at['operator']}/healthz").json() == {"status": "ok"}
        assert httpx.get(f"{at['operator']}/readyz").json() == {"status": "ready"}
        refused = httpx.get(f"{at['operator']}/api/v1/transfers")
        assert (refused.status_code, refused.json()["code"]) == (401, 8001)
        assert refused.headers["www-authenticate"] == "Bearer"
        [served] = httpx.get(f"{at['link']}/keys").json()["keys"]
        assert served["kid"] == SoftwareKey.load(migrated.folder / "key.pem").kid
        process.terminate()
        assert process.wait(15) == 0


def test_operators_are_served_on_a_unix_socket_that_is_its_owners_alone(migrated: Installation) -> None:
    path = migrated.folder / "operator.sock"
    settings = {**migrated.settings, "GATEWAY_OPERATOR_LISTEN": f"unix:{path}"}
    with serving(settings) as (killed, _):
        killed.kill()
        killed.wait()
    assert path.is_socket()  # left behind, and taken over by the next
    with serving(settings) as (process, at):
        assert at["operator"] == f"unix:{path}"
        assert mode(path) == 0o600
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(path))) as http:
            assert http.get("http://operator/readyz").json() == {"status": "ready"}
            second = run("serve", **settings)
            assert second.returncode == 3 and "GATEWAY_OPERATOR_LISTEN: " in only_line(second.stderr)
            assert http.get("http://operator/healthz").json() == {"status": "ok"}
        process.send_signal(signal.SIGINT)
        assert process.wait(15) == 0


def test_links_are_registered_once_and_listed(migrated: Installation, tmp_path: Path) -> None:
    key, jwks = SoftwareKey.generate(), tmp_path / "KOR01.jwks"
    jwks.write_text(json.dumps({"keys": [key.public_jwk()]}))
    arguments = ["links", "add", "KOR01", "--kind", "party", "--party", "KOR", "--url", "http://127.0.0.1:9", "--keys"]
    added = run(*arguments, jwks, **migrated.settings)
    assert json.loads(added.stdout) == {"link": "KOR01", "state": "requested", "keys": [key.kid]}
    again = run(*arguments, jwks, **migrated.settings)
    assert again.returncode == 2 and "KOR01" in only_line(again.stderr)
    broken = tmp_path / "broken"
    broken.write_text('{"keys": 1}')
    refused = run(*arguments, broken, **migrated.settings)
    assert refused.returncode == 2 and str(broken) in only_line(refused.stderr)
    listed = run("links", "list", "--json", **migrated.settings)
    assert json.loads(listed.stdout) == [
            {"code": "KOR01", "kind": "party", "state": "requested", "registries": ["KOR01"],
             "url": "http://127.0.0.1:9", "time_limit_hours": 24,
             "capabilities": ["view", "transfer_in", "transfer_out", "reconcile"],
             "messages_per_second": None, "blocks_per_day": None, "window": None, "alarms": 0}
        ]  # fmt: skip


def test_the_international_registry_is_registered_with_a_section_for_each_party(
    migrated: Installation, tmp_path: Path
) -> None:
    jwks = tmp_path / "INT01.jwks"
    jwks.write_text(json.dumps({"keys": [SoftwareKey.generate().public_jwk()]}))
    arguments = ["links", "add", "INT01", "--url", "http://127.0.0.1:9", "--keys", jwks, "--kind"]
    wrong = {
        ("party", "--party", "THA", "--section", "THA99=THA"): "--section is for the international",
        ("international",): "--section REGISTRY=PARTY",
        ("international", "--party", "THA", "--section", "THA99=THA"): "--section REGISTRY=PARTY",
        ("international", "--section", "THA99"): "THA99 is not REGISTRY=PARTY",
        ("international", "--section", "THA99=THA", "--section", "THA99=GHA"): "each registry once",
        ("international", "--section", "THA99=THA", "--section", "THA98=THA"): "THA would have two sections",
        ("international", "--section", "XXX99=XXX"): "not a Party code",
    }
    for given, words in wrong.items():
        refused = run(*arguments, *given, **migrated.settings)
        assert (refused.returncode, refused.stdout) == (2, "") and words in only_line(refused.stderr), given
    sections = ["--section", "THA99=THA", "--section", "GHA99=GHA"]
    added = run(*arguments, "international", *sections, **migrated.settings)
    assert added.returncode == 0, added.stderr
    told = json.loads(run("records", "--json", **migrated.settings).stdout)
    assert told == {"records": [], "counts": {"waiting": 0, "sent": 0, "recorded": 0, "refused": 0}, "next": None}
    shown = run("records", "--state", "refused", **migrated.settings)
    assert shown.returncode == 0 and "0 waiting, 0 sent, 0 recorded, 0 refused" in shown.stdout


def test_keys_of_a_link_are_added_listed_and_revoked(migrated: Installation, tmp_path: Path) -> None:
    def key_set(name: str, *keys: SoftwareKey) -> Path:
        (tmp_path / name).write_text(json.dumps({"keys": [key.public_jwk() for key in keys]}))
        return tmp_path / name

    def links(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
        return run("links", *arguments, **migrated.settings)

    known(migrated, "one", "two")
    first, second = SoftwareKey.generate(), SoftwareKey.generate("ES256")
    made = ["--kind", "party", "--url", "http://127.0.0.1:9/[/KOR01]", "--keys", key_set("first", first)]
    assert links("add", "JPN01", *made).returncode == 0
    window = ["--not-before", "2026-03-01T12:00:00+01:00", "--not-after", "2027-03-01T00:00Z"]

    def decided(*arguments: str | Path) -> dict[str, Any]:
        asked = json.loads(links(*arguments, "--by", "one").stdout)
        approve = ["approvals", "approve", asked["id"], "--sha256", asked["sha256"], "--by", "two"]
        done = run(*approve, **migrated.settings)
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout)["result"])

    added = decided("keys", "add", "JPN01", "--keys", key_set("second", second), *window)
    assert added == {"link": "JPN01", "keys": [second.kid]}
    for name in ("first", "second"):
        again = links("keys", "add", "JPN01", "--keys", tmp_path / name, "--by", "one")
        assert again.returncode == 2 and "JPN01" in only_line(again.stderr)
    revoke = ["keys", "revoke", "JPN01", first.kid, "--reason", "compromised"]
    naive = links(*revoke, "--since", "2026-03-01T12:00:00")
    assert naive.returncode == 2 and "2026-03-01T12:00:00" in only_line(naive.stderr)
    revoked = decided(*revoke, "--since", "2026-03-02T00:00Z")
    nothing_else: dict[str, Any] = {"also": [], "reopened": {}}
    assert revoked == {"link": "JPN01", "key": first.kid, "revoked": "compromised", **nothing_else}
    again = links(*revoke, "--by", "one")
    assert again.returncode == 2 and first.kid in only_line(again.stderr)
    found = {key.pop("kid"): key for key in json.loads(links("keys", "list", "JPN01", "--json").stdout)["keys"]}
    assert found[second.kid] == {
        **{"alg": "ES256", "not_before": "2026-03-01T11:00:00Z", "not_after": "2027-03-01T00:00:00Z"},
        **{"revoked": None, "since": None},
    }
    assert (found[first.kid]["revoked"], found[first.kid]["since"]) == ("compromised", "2026-03-02T00:00:00Z")
    for shown, text in ((links("keys", "list", "JPN01"), "compromised"), (links("list"), "[/KOR01]")):
        assert shown.returncode == 0 and text in shown.stdout, shown.stderr


def test_processes_outlive_the_database_and_end_in_order_without_it() -> None:
    with tempfile.TemporaryDirectory(prefix="gateway-tests-") as made, ExitStack() as stack:
        folder = Path(made)
        stack.callback(embedded.remove, folder)
        with embedded.running(folder) as server:
            settings = prepared(folder, server)
            migrations.apply(server.dsn("gateway", "gateway_owner"))
            worker = start("worker", **settings)
            stack.callback(worker.kill)
            serve, at = stack.enter_context(serving(settings))
            assert httpx.get(f"{at['operator']}/readyz").status_code == 200
            with psycopg.connect(server.dsn("gateway", "gateway_owner")) as connection:
                until(lambda: connection.execute("SELECT 1 FROM worker").fetchone())
        away = httpx.get(f"{at['operator']}/readyz")
        assert away.status_code == 503 and away.headers["retry-after"]
        assert away.headers["content-type"] == "application/problem+json" and away.json()["code"] == 9002
        assert httpx.get(f"{at['operator']}/healthz").status_code == 200
        with embedded.running(folder):
            until(lambda: httpx.get(f"{at['operator']}/readyz").status_code == 200)
        for process in (serve, worker):
            assert process.poll() is None
            process.terminate()
        assert [serve.wait(15), worker.wait(15)] == [0, 0]
        complaints = worker.communicate()[1]
        assert "turn-failed" in complaints and "Traceback" not in complaints
