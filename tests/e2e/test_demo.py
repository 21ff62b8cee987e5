"""``gateway demo`` as a newcomer meets it: what it shows, what it keeps, and that it leaves nothing running."""

import json
import shlex
import signal
import stat
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import pytest

from gateway import embedded
from gateway.errors import GatewayError
from tests.e2e.programs import arguments_of, family, grown, only_line, run, start, survivors, until

#: PoA 10471, then what arrives by all arrows together, each time it does.
ISSUED, CANCELLED, FIRST_MOVED = 58_428, 1_169, 57_259
MOVED = 222_458
#: Transfers, and of these the refused ones.
TRANSFERS, REFUSED = 28, 4
NOTHING = dict.fromkeys(("issued", "held", "in_transit", "used", "cancelled", "moved_in", "moved_out"), 0)
#: Which way, how many tonnes, and how it ends.
ARROWS = [
    ("mechanism → Party registry", "MEC01", "KOR01", 57_259, None),
    ("mechanism → section", "MEC01", "SWE99", 1_000, None),
    ("section → Party registry", "THA99", "CHE01", 1_916, None),
    ("section → Party registry", "THA99", "CHE01", 49_717, None),
    ("section → Party registry", "THA99", "JPN01", 1_009, None),
    ("section → Party registry", "MDV99", "JPN01", 433, None),
    ("section → Party registry", "PLW99", "JPN01", 194, None),
    ("section → Party registry", "MNG99", "JPN01", 86_564, None),
    ("services → section", "SRV01", "GHA99", 11_733, None),
    ("section → section", "THA99", "GHA99", 10, 4017),
    ("services, not authorised", "SRV01", "GHA99", 10, 5133),
    *[("mechanism → Party registry", "MEC01", "JPN01", 100, None)] * 3,
    ("mechanism, not authorised", "MEC01", "JPN01", 10, 5101),
    ("section → Party registry", "GHA99", "CHE01", 11_733, None),
    ("Party registry → section", "CHE01", "SWE99", 100, None),
    ("Party registry → Party registry", "KOR01", "JPN01", 500, None),
    ("back into the mechanism", "KOR01", "MEC01", 10, 5150),
]


def judge(told: dict[str, Any]) -> None:
    """What every demo that went well says."""
    assert told["transfers"] == {"total": TRANSFERS, "completed": TRANSFERS - REFUSED, "final": TRANSFERS}
    assert told["units"]["moved"] == MOVED
    assert told["conservation"] == "holds"
    assert told["doctor"]["fits"] is True and told["doctor"]["checks"] > 10
    log = told["log"]
    assert log["valid"] and log["evidence_valid"] and log["witnesses"] == 6 and log["entries"] > 200
    assert log["promises_kept"] > 0 and (log["promises_open"], log["promises_broken"]) == (0, 0)
    assert log["cosigned"] > 0 and log["transfer"] and log["evidence_checks"] > 10
    ways = [(way["arrow"], way["from"], way["to"], way["tonnes"], way["code"]) for way in told["arrows"]]
    assert ways == ARROWS
    assert {way["state"] for way in told["arrows"] if way["code"] is None} == {"completed"}
    assert {way["state"] for way in told["arrows"] if way["code"]} == {"refused"}
    # One action for each side of each completed transfer whose Party has a section: all but Switzerland and Japan.
    assert told["records"]["equal"] is True and told["records"]["recorded"] == 36
    rows = {row["registry"]: row for row in told["table"]}
    # Beside the first issuance 1,415 t issued to Kenya: 32 t are cancelled, 73 t are the share of proceeds, and 10 t
    # that nobody authorised stay.
    assert rows["MEC01"] == NOTHING | {
        "registry": "MEC01", "issued": ISSUED + 1_415, "held": 83, "cancelled": CANCELLED + 32,
        "moved_out": FIRST_MOVED + 1_300,
    }  # fmt: skip
    assert told["rules"]["issuance"] == {
        "host": "KEN", "gross": 1_076, "share_of_proceeds": 54, "omge": 22, "net": 1_000,
    }  # fmt: skip
    assert [(d["definition"], d["first_transfer"], d["tonnes"]) for d in told["rules"]["definitions"]] == [
        ("Authorisation", "Authorization", 100), ("Issuance", "Issuance", 100),
        ("Use or Cancellation", "Use or cancellation", 50),
    ]  # fmt: skip
    assert rows["KOR01"] == NOTHING | {
        "registry": "KOR01", "held": FIRST_MOVED - 500, "moved_in": FIRST_MOVED, "moved_out": 500
    }  # fmt: skip
    assert rows["SWE99"] == NOTHING | {"registry": "SWE99", "held": 1_100, "moved_in": 1_100}
    assert all(any(row[name] for name in NOTHING) for row in told["table"])


def database_of(temporary: Path) -> Path | None:
    """Where the database of a demo without ``--keep`` lies: elsewhere than its folder when root runs it."""
    return next((found.resolve() for found in temporary.glob("gateway-demo-*/postgres")), None)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@dataclass
class Demo:
    """A demo that was killed in the middle of the relay, and the one that took up its folder and stays up."""

    folder: Path
    left_by_the_killed: list[psutil.Process]
    process: "subprocess.Popen[str]"
    told: dict[str, Any]
    everyone: list[psutil.Process] = field(default_factory=list)

    def interrupt(self) -> int:
        """Ctrl-C, where that has not been yet; the exit code."""
        if self.process.poll() is None:
            self.everyone = family(self.process)
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(30)


def listed(demo: Demo) -> list[dict[str, Any]]:
    """Every transfer of the demo, as the command lists them for machines."""
    return list(json.loads(run("transfers", "list", "--json", "--keep", demo.folder).stdout)["transfers"])


def a_transfer_is_known(folder: Path) -> bool:
    with suppress(GatewayError, psycopg.Error):
        server = embedded.attach(folder)
        if server is not None:
            with psycopg.connect(server.dsn("gateway", "gateway_owner")) as connection:
                return connection.execute("SELECT 1 FROM transfer LIMIT 1").fetchone() is not None
    return False


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    parent = tmp_path_factory.mktemp("parent")
    parent.chmod(0o751)
    folder = parent / "kept"
    folder.mkdir(mode=0o755)
    killed = start("demo", "--exit", "--keep", folder)
    until(lambda: killed.poll() is not None or a_transfer_is_known(folder))
    everyone = family(killed)
    killed.kill()
    killed.communicate()
    left = survivors(everyone)
    assert len(everyone) >= 6, "it ended before it could be killed"
    process = start("demo", "--json", "--keep", folder)
    assert process.stdout is not None
    try:
        yield Demo(folder, left, process, json.loads(process.stdout.readline() or "{}"))
    finally:
        everyone = family(process)
        process.kill()
        process.communicate()
        survivors(everyone)
        embedded.remove(folder)


def test_the_first_issuance_moves_and_nothing_is_left_behind(tmp_path: Path) -> None:
    process = start("demo", "--exit", "--json", TMPDIR=tmp_path)
    database = until(lambda: database_of(tmp_path))
    everyone = grown(process, "serve", "worker", "mechanism", "international", "party", "services")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    told = json.loads(out)
    judge(told)
    # The worst moment was tried: everything debited, nothing credited, and nobody told.
    assert told["trouble"] == {"replies_lost": 1, "workers_killed": 1, "tonnes_nowhere": FIRST_MOVED}
    assert "synthetic" in out
    assert "Traceback" not in err
    assert survivors(everyone, within_seconds=0) == []
    assert list(tmp_path.iterdir()) == []
    assert not database.exists()


def test_sigkill_in_the_middle_of_the_relay_leaves_no_process(demo: Demo) -> None:
    assert demo.left_by_the_killed == []


def test_what_was_killed_midway_is_taken_up_and_completed_without_a_second_issuance(demo: Demo) -> None:
    judge(demo.told)


def test_a_second_demo_on_the_same_folder_is_refused_in_one_line(demo: Demo) -> None:
    second = run("demo", "--exit", "--json", "--keep", demo.folder)
    assert second.returncode == 2
    assert str(demo.folder) in only_line(second.stderr)
    assert second.stdout == ""


def test_kept_keys_are_their_owners_alone_and_no_folder_was_opened_or_closed(demo: Demo) -> None:
    keys = sorted(demo.folder.glob("*.pem"))
    systems = ["CHE01", "INT01", "JPN01", "KOR01", "MEC01", "SRV01"]
    callers = ["demo-administrator-1", "demo-administrator-2", "demo-client", "demo-operator-korea"]
    logs = ["log-MEC01", *(f"witness-{code}" for code in systems)]
    owners = [*systems, *callers, "gateway", "tokens", "log", *logs]
    assert [key.name for key in keys] == sorted(f"{owner}.pem" for owner in owners)
    assert {mode(key) for key in keys} == {0o600}
    assert mode(demo.folder) == 0o755
    assert mode(demo.folder.parent) == 0o751
    assert not mode((demo.folder / "postgres").resolve()) & 0o007


def test_commands_work_on_the_folder_of_a_running_demo(demo: Demo) -> None:
    transfers = listed(demo)
    assert sum(transfer["quantity"] for transfer in transfers if transfer["state"] == "completed") == MOVED
    first = next(transfer for transfer in transfers if transfer["acquiring"]["registry"] == "KOR01")
    shown = run("transfers", "show", first["id"], "--json", "--keep", demo.folder)
    course = json.loads(shown.stdout)
    assert course["transfer"] == first
    assert [event["state"] for event in course["events"]] == [
        "proposed", "checked", "accepted", "committing", "released", "completed"
    ]  # fmt: skip
    links = run("links", "list", "--json", "--keep", demo.folder)
    assert {(x["code"], x["state"]) for x in json.loads(links.stdout)} == {
        (code, "active") for code in ("MEC01", "INT01", "KOR01", "CHE01", "JPN01", "SRV01")
    }


def test_the_demo_says_how_to_get_a_token_and_it_is_good(demo: Demo) -> None:
    assert demo.process.stderr is not None
    said: dict[str, str] = {}
    while "commands" not in said:  # the last of what is listed
        line = demo.process.stderr.readline()
        assert line, "it ended"
        name, _, where = line.strip().partition("  ")
        said[name] = where.strip()
    token = run(*shlex.split(said["a token"])[1:])
    assert token.returncode == 0, token.stderr
    bearer = {"authorization": f"Bearer {token.stdout.strip()}"}
    assert httpx.get(said["book"], headers=bearer).json()["conservation"] == "holds"
    assert httpx.get(said["book"]).status_code == 401


def test_a_link_added_by_hand_does_not_disturb_the_demo(demo: Demo, tmp_path: Path) -> None:
    keys = tmp_path / "NOR01.jwks"
    keys.write_text(run("keys", "new", tmp_path / "NOR01.pem").stdout)
    added = run(
        "links", "add", "NOR01", "--kind", "party", "--party", "NOR", "--url", "http://127.0.0.1:9",
        "--keys", keys, "--keep", demo.folder,
    )  # fmt: skip
    assert json.loads(added.stdout)["state"] == "requested", added.stderr


def test_ctrl_c_ends_every_process(demo: Demo) -> None:
    assert demo.interrupt() == 0
    assert len(demo.everyone) >= 10
    assert survivors(demo.everyone, within_seconds=0) == []


def test_commands_work_on_the_folder_of_a_stopped_demo_and_the_table_fits_80_columns(demo: Demo) -> None:
    demo.interrupt()
    shown = run("transfers", "list", "--keep", demo.folder, COLUMNS="80")
    assert shown.stdout.count("completed") == demo.told["transfers"]["completed"], shown.stderr
    assert "…" not in shown.stdout
    transfer = next(t["id"] for t in listed(demo) if t["acquiring"]["registry"] == "KOR01")
    assert transfer in shown.stdout
    shown = run("transfers", "show", transfer, "--keep", demo.folder, COLUMNS="80")
    assert f"{transfer}  completed" in shown.stdout
    assert shown.stdout.count("→ KOR01") == 3
    assert "…" not in shown.stdout
    keys = run("keys", "show", "--keep", demo.folder)
    assert json.loads(keys.stdout) == json.loads((demo.folder / "GWY01.jwks.json").read_text())
    unknown = run("transfers", "show", transfer[:-1], "--keep", demo.folder)
    assert unknown.returncode == 2 and transfer[:-1] in only_line(unknown.stderr)


def test_a_finished_demo_is_shown_again_and_moves_nothing_twice(demo: Demo) -> None:
    demo.interrupt()
    again = run("demo", "--exit", "--json", "--keep", demo.folder)
    assert again.returncode == 0, again.stderr
    told = json.loads(again.stdout)
    judge(told)
    assert told["transfers"] == demo.told["transfers"]
    assert told["trouble"]["tonnes_nowhere"] == 0


def test_sigterm_during_the_start_ends_every_process_and_removes_what_was_not_to_be_kept(tmp_path: Path) -> None:
    process = start("demo", TMPDIR=tmp_path)
    database = until(lambda: database_of(tmp_path))
    everyone = grown(process, "mechanism", "party")  # now it waits for them to be ready
    process.terminate()
    _, err = process.communicate(timeout=30)
    assert process.returncode == 143
    assert "Traceback" not in err
    assert survivors(everyone, within_seconds=0) == []
    assert list(tmp_path.iterdir()) == []
    assert not database.exists()


def test_a_process_that_dies_ends_the_demo_with_one_line_that_names_it(tmp_path: Path) -> None:
    process = start("demo", "--json", TMPDIR=tmp_path)
    until(lambda: [child for child in family(process) if "services" in arguments_of(child)])[0].kill()
    out, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "sandbox SRV01" in only_line(err)
    assert out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_a_gateway_is_named_in_one_line(tmp_path: Path) -> None:
    listed = run("transfers", "list", "--keep", tmp_path)
    assert listed.returncode == 2
    assert str(tmp_path) in only_line(listed.stderr)
    assert list(tmp_path.iterdir()) == []
