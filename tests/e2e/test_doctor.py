"""``gateway doctor`` on the data that a demo keeps: what it prints, how it ends, and that it writes nothing."""

import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from gateway import embedded
from tests.e2e.programs import only_line, run


@pytest.fixture(scope="module")
def kept() -> Iterator[Path]:
    """The folder of a demo that has ended."""
    with tempfile.TemporaryDirectory(prefix="gateway-tests-") as made:
        folder = Path(made) / "kept"
        done = run("demo", "--exit", "--json", "--keep", folder)
        assert done.returncode == 0, done.stderr
        yield folder
        embedded.remove(folder)


def doctor(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    return run("doctor", *arguments, COLUMNS="80")


def spoil(folder: Path, *statements: str) -> None:
    """Change what nobody but the superuser can change."""
    with embedded.running(folder) as server, psycopg.connect(server.dsn("gateway"), autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        for statement in statements:
            connection.execute(statement.encode())


def test_a_kept_demo_fits_and_every_check_looked_at_something(kept: Path) -> None:
    told = json.loads(doctor("--json", "--keep", kept).stdout)
    assert told["fits"] is True
    examined = {check["name"]: check["examined"] for check in told["checks"]}
    # What is owed may have been receipted before everything was stopped, or not.
    unseen = {"requests", "case flags"}
    assert {name for name, number in examined.items() if not number} - {"owed"} == unseen
    assert [check["findings"] for check in told["checks"]] == [[]] * len(examined)
    shown = doctor("--keep", kept)
    assert shown.returncode == 0, shown.stderr
    assert "everything fits" in shown.stdout and "commit and cancel" in shown.stdout
    assert max(len(line) for line in shown.stdout.splitlines() if not line.startswith("note: ")) <= 80


def test_what_does_not_fit_is_named_and_ends_the_command_with_1(kept: Path) -> None:
    spoil(kept, "UPDATE transfer SET version = version + 1")
    try:
        shown, told = doctor("--keep", kept), doctor("--json", "--keep", kept)
    finally:
        spoil(kept, "UPDATE transfer SET version = version - 1")
    assert (shown.returncode, told.returncode) == (1, 1)
    report = json.loads(told.stdout)
    [course] = [check for check in report["checks"] if check["findings"]]
    assert course["name"] == "course" and course["found"] == course["examined"] > 0
    assert report["fits"] is False
    first = course["findings"][0]
    assert f"course: transfer {first['transfer']}: {first['what']}" in shown.stdout
    assert "something does not fit" in shown.stdout and shown.stderr == ""
    assert doctor("--keep", kept).returncode == 0


def test_a_single_walk_is_examined_alone_and_no_check_is_named_in_vain(kept: Path) -> None:
    told = json.loads(doctor("--json", "--keep", kept, "--only", "messages", "--only", "own keys").stdout)
    assert [check["name"] for check in told["checks"]] == ["messages", "own keys", "statements", "receipts"]
    assert told["fits"] is True and all(check["examined"] for check in told["checks"])
    unknown = doctor("--keep", kept, "--only", "letters")
    assert unknown.returncode == 2 and "'letters'" in only_line(unknown.stderr) and "receipts" in unknown.stderr


def test_without_the_key_what_we_signed_is_examined_all_the_same(kept: Path) -> None:
    with embedded.running(kept) as server:
        done = run("doctor", GATEWAY_DATABASE_URL=server.dsn("gateway", "gateway_app"))
    assert done.returncode == 0, done.stderr
    assert "own keys" in done.stdout and "not examined" not in done.stdout


def test_no_database_ends_it_with_3_and_no_gateway_with_2(tmp_path: Path) -> None:
    away = run("doctor", GATEWAY_DATABASE_URL="postgresql://gateway_app@127.0.0.1:9/gateway")
    assert away.returncode == 3 and "GATEWAY_DATABASE_URL" in only_line(away.stderr)
    absent = doctor("--keep", tmp_path)
    assert absent.returncode == 2 and str(tmp_path) in only_line(absent.stderr)
