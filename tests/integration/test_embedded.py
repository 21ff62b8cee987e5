"""The embedded PostgreSQL: nothing of it outlives its caller, nobody else gets in, what was committed stays.

Each test runs real servers. Where a process has to die, or to be another user, it is a program of its own.
"""

import json
import os
import pwd
import signal
import stat
import subprocess
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from gateway import embedded
from gateway.errors import GatewayError, Kind

PROJECT = Path(__file__).parents[2]
AS_ROOT = os.geteuid() == 0
STRANGER = 47_113  # has no name and owns nothing
NOBODY = pwd.getpwnam("nobody").pw_uid  # root's server runs as this user, but not in its group

HOLDER = """
import json, sys
from pathlib import Path
from gateway import embedded
from gateway.errors import GatewayError
try:
    with embedded.running(Path(sys.argv[1])) as server:
        found = {"pid": server.pid, "dsn": server.dsn(), "socket": str(server.socket_dir)}
        print(json.dumps(found), flush=True)
        sys.stdin.read()
except GatewayError as error:
    print(json.dumps({"error": error.kind}), flush=True)
"""

INTRUDER = """
import json, os, socket, sys
os.setgroups([]); os.setgid(int(sys.argv[1])); os.setuid(int(sys.argv[1]))
outcome = {}
for name in sys.argv[3:]:
    try:
        open(os.path.join(sys.argv[2], name)).close()
        outcome[name] = "opened"
    except OSError as error:
        outcome[name] = type(error).__name__
try:
    socket.socket(socket.AF_UNIX).connect(os.path.join(sys.argv[2], "socket", ".s.PGSQL.5432"))
    outcome["socket"] = "connected"
except OSError as error:
    outcome["socket"] = type(error).__name__
print(json.dumps(outcome))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "kept"
    if os.path.lexists(tmp_path / "kept" / "postgres"):
        embedded.remove(tmp_path / "kept")


def hold(folder: Path, **options: object) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    command = [sys.executable, "-c", HOLDER, str(folder)]
    return subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options
    )  # type: ignore[call-overload]


def said(holder: "subprocess.Popen[str]") -> dict[str, str]:
    assert holder.stdout is not None
    answer: dict[str, str] = json.loads(holder.stdout.readline())
    return answer


def end(holder: "subprocess.Popen[str]") -> None:
    with holder:
        holder.communicate(timeout=60)


def family(pid: int) -> list[psutil.Process]:
    server = psutil.Process(pid)
    return [server, *server.children(recursive=True)]


def left_of(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Return the processes that still run 20 s later; waits no longer than the last of them."""
    _, alive = psutil.wait_procs(processes, timeout=20)
    return [p for p in alive if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def modes(folder: Path) -> dict[Path, tuple[int, int, int]]:
    found = {path: path.stat() for path in (folder, *folder.parents, Path(embedded.ROOT_DATA))}
    return {path: (s.st_mode, s.st_uid, s.st_gid) for path, s in found.items()}


def test_server_is_durable_private_and_gone_afterwards(folder: Path) -> None:
    with embedded.running(folder) as server:
        processes = family(server.pid)
        with psycopg.connect(server.dsn()) as connection:
            settings = dict(
                connection.execute(
                    "SELECT name, setting FROM pg_settings WHERE name = ANY(%s)",
                    [
                        [
                            "fsync",
                            "synchronous_commit",
                            "full_page_writes",
                            "listen_addresses",
                            "server_encoding",
                        ]
                    ],
                ).fetchall()
            )
            (major,) = connection.execute("SELECT current_setting('server_version_num')::int / 10000").fetchone() or (
                0,
            )
        listening = [c for p in processes for c in p.net_connections(kind="inet")]
    assert settings == {
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "listen_addresses": "",
        "server_encoding": "UTF8",
    }
    assert major == 18
    assert listening == []
    assert len(processes) > 3
    assert left_of(processes) == []
    assert embedded.attach(folder) is None


def test_killed_caller_leaves_no_process_and_committed_data_stays(folder: Path) -> None:
    holder = hold(folder)
    server = said(holder)
    with psycopg.connect(server["dsn"]) as connection:
        connection.execute("CREATE TABLE kept AS SELECT generate_series(1, 50000) AS n")
    processes = family(int(server["pid"]))
    holder.kill()
    holder.wait()
    # At once, while the killed caller's server may still be ending.
    with embedded.running(folder) as again, psycopg.connect(again.dsn()) as connection:
        assert connection.execute("SELECT count(*), sum(n) FROM kept").fetchone() == (50000, 1250025000)
    assert left_of(processes) == []
    end(holder)


def test_terminated_caller_leaves_no_process(folder: Path) -> None:
    holder = hold(folder)
    processes = family(int(said(holder)["pid"]))
    holder.send_signal(signal.SIGTERM)
    assert left_of(processes) == []
    end(holder)


def test_number_of_a_dead_server_given_to_another_process_does_not_stop_the_start(folder: Path) -> None:
    with embedded.running(folder) as first:
        stale = (first.home / "data" / "postmaster.pid").read_text().splitlines()
    with subprocess.Popen(["sleep", "600"], **({"user": "nobody"} if AS_ROOT else {})) as stranger:
        try:
            stale[0] = str(stranger.pid)
            (first.home / "data" / "postmaster.pid").write_text("\n".join(stale) + "\n")
            assert embedded.attach(folder) is None
            with embedded.running(folder) as second:
                assert second.pid != stranger.pid
        finally:
            stranger.kill()


def test_folders_are_private_and_no_other_folder_changes(folder: Path) -> None:
    before = modes(folder.parent)
    with embedded.running(folder) as server:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        for private in ("data", "socket", "passwords"):
            assert stat.S_IMODE((server.home / private).stat().st_mode) == 0o700, private
        assert stat.S_IMODE((server.home / "passwords" / "postgres").stat().st_mode) == 0o600
        assert stat.S_IMODE(server.home.stat().st_mode) == (0o710 if AS_ROOT else 0o700)
        assert server.home.parent == (Path(embedded.ROOT_DATA) if AS_ROOT else folder)
    assert modes(folder.parent) == before


@pytest.mark.skipif(not AS_ROOT, reason="only root can try it as another user")
@pytest.mark.parametrize("user", [STRANGER, NOBODY], ids=["a stranger", "nobody"])
def test_other_users_cannot_reach_the_server(folder: Path, user: int) -> None:
    with embedded.running(folder) as server:
        command = [
            sys.executable,
            "-c",
            INTRUDER,
            str(user),
            str(server.home),
            "passwords/postgres",
            "data/pg_hba.conf",
        ]
        outcome = json.loads(subprocess.check_output(command))
    assert outcome == dict.fromkeys(["passwords/postgres", "data/pg_hba.conf", "socket"], "PermissionError")


def test_connection_needs_the_password(folder: Path) -> None:
    with embedded.running(folder) as server:
        server.create_database("books", "books_owner")
        server.create_database("other", "other_owner")
        for wrong in ("passfile=/dev/null", f"password={server.password('other_owner')}"):
            with pytest.raises(psycopg.OperationalError, match="password"):
                psycopg.connect(f"host={server.socket_dir} dbname=books user=books_owner {wrong}")
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            psycopg.connect(server.dsn("other", "books_owner"))
        assert server.password("books_owner") not in server.dsn("books", "books_owner")
        server.create_database("books", "books_owner")
        with psycopg.connect(server.dsn("books", "books_owner")) as connection:
            assert connection.execute("SELECT current_user").fetchone() == ("books_owner",)


def test_second_opener_attaches_or_is_refused(folder: Path) -> None:
    assert embedded.attach(folder) is None
    holder = hold(folder)
    server = said(holder)
    attached = embedded.attach(folder)
    assert attached is not None
    assert attached.pid == int(server["pid"])
    with psycopg.connect(attached.dsn()) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    for refused in (lambda: embedded.running(folder).__enter__(), lambda: embedded.remove(folder)):
        with pytest.raises(GatewayError) as caught:
            refused()
        assert caught.value.kind is Kind.CONFLICT
    end(holder)


def test_of_two_first_openers_one_runs(folder: Path) -> None:
    holders = [hold(folder), hold(folder)]
    answers = [said(holder) for holder in holders]
    assert sorted(a.get("error", "runs") for a in answers) == [Kind.CONFLICT, "runs"]
    for holder in holders:
        end(holder)


def test_interrupted_initdb_is_done_again(folder: Path) -> None:
    with embedded.running(folder) as server:
        pass
    (server.home / "data").rename(server.home / "data.new")
    (server.home / "data.new" / "PG_VERSION").unlink()
    with embedded.running(folder) as server, psycopg.connect(server.dsn()) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_failed_start_shows_the_servers_own_words(folder: Path) -> None:
    with embedded.running(folder) as server:
        pass
    (server.home / "data" / "PG_VERSION").write_text("9\n")
    with (
        pytest.raises(GatewayError, match="initialized by PostgreSQL version 9") as caught,
        embedded.running(folder),
    ):
        pass
    assert caught.value.kind is Kind.UNAVAILABLE
    assert embedded.attach(folder) is None


def test_folder_that_others_can_enter_is_refused(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres").chmod(0o755)
    for refused in (lambda: embedded.running(tmp_path).__enter__(), lambda: embedded.remove(tmp_path)):
        with pytest.raises(GatewayError) as caught:
            refused()
        assert caught.value.kind is Kind.FORBIDDEN
    assert list((tmp_path / "postgres").iterdir()) == []


def test_start_outside_the_main_thread_is_refused(folder: Path) -> None:
    caught: list[BaseException] = []

    def start() -> None:
        try:
            embedded.running(folder).__enter__()
        except GatewayError as error:
            caught.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert [getattr(error, "kind", None) for error in caught] == [Kind.INVARIANT]


def ordinary_user() -> tuple[list[str], dict[str, str], dict[str, int]]:
    """Return an interpreter, an environment and an identity that are not root's; skip if there is none."""
    if not AS_ROOT:
        return [sys.executable], {**os.environ, "PYTHONPATH": str(PROJECT)}, {}
    identity = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    environment = {"PYTHONPATH": f"{PROJECT}:{sysconfig.get_path('purelib')}", "HOME": "/nonexistent"}
    # Root's own interpreter may lie where others cannot go; the system's of the same version serves as well.
    same = f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"
    for interpreter in (sys.executable, same):
        try:
            trial = subprocess.run(
                [interpreter, "-c", "import gateway.embedded"],
                env=environment,
                cwd="/",
                stderr=subprocess.DEVNULL,
                **identity,
            )
        except OSError:
            continue
        if trial.returncode == 0:
            return [interpreter], environment, identity
    pytest.skip("no interpreter that a user other than root can run")


@pytest.mark.parametrize("name", ["kept", "long-" + "x" * 120, "with, comma and 'quotes'"])
def test_ordinary_user_runs_it_wherever_the_folder_is(name: str) -> None:
    interpreter, environment, identity = ordinary_user()
    with tempfile.TemporaryDirectory() as own:
        if AS_ROOT:
            os.chown(own, NOBODY, NOBODY)
        command = [*interpreter, "-c", HOLDER, f"{own}/{name}"]
        holder = subprocess.Popen(
            command,
            env=environment,
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            **identity,
        )
        server = said(holder)
        processes = family(int(server["pid"]))
        with psycopg.connect(server["dsn"]) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        socket_dir = Path(server["socket"])
        assert stat.S_IMODE(socket_dir.stat().st_mode) == 0o700
        assert socket_dir.is_relative_to(own) == (name == "kept")
        assert {p.uids().real for p in processes} == {NOBODY if AS_ROOT else os.getuid()}
        end(holder)
        assert left_of(processes) == []
        assert socket_dir.exists() == (name == "kept")
