"""``gateway demo --blocks FILE``: real unit blocks, each relayed whole, and files that are refused at once.

The real file is read where it lies (``A6_DATA``); the same is tried with a file of its shape that is made here.
"""

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest

from gateway import embedded
from tests.e2e.programs import only_line, run, start, survivors, until
from tests.e2e.test_demo import a_transfer_is_known, family
from tests.realblocks import REAL, REAL_BLOCKS, REAL_UNITS, needs_real_file, rows, text

#: How long the real file may take on a machine that does other things too.
REAL_SECONDS = 600.0
MADE = 700


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A synthetic file of the real one's shape."""
    path = tmp_path / "blocks.csv"
    path.write_text(text(rows(MADE)))
    return path


def units(count: int) -> int:
    return sum(int(row["quantity"]) for row in rows(count))


def judge(told: dict[str, Any], transfers: int, moved: int) -> None:
    """What every such demo that went well says."""
    assert told["transfers"] == {"total": transfers, "completed": transfers, "final": transfers}
    assert told["units"]["moved"] == moved
    assert told["conservation"] == "holds"
    assert told["doctor"]["fits"] is True
    assert "synthetic" in told["synthetic"]
    assert {(way["from"], way["to"], way["state"]) for way in told["arrows"]} == {
        ("MEC01", to, "completed") for to in ("CHE01", "JPN01", "KOR01")
    }
    assert sum(way["transfers"] for way in told["arrows"]) == transfers
    assert sum(way["tonnes"] for way in told["arrows"]) == moved
    assert {row["registry"]: row["moved_in"] for row in told["table"] if row["registry"] != "MEC01"} == {
        way["to"]: way["tonnes"] for way in told["arrows"]
    }


def test_blocks_of_a_made_file_are_each_relayed_whole_and_never_to_their_host(made: Path, tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    done = run("demo", "--exit", "--json", "--keep", folder, "--blocks", made)
    assert done.returncode == 0, done.stderr
    judge(json.loads(done.stdout), MADE, units(MADE))
    with embedded.running(folder) as server, psycopg.connect(server.dsn("gateway", "gateway_owner")) as gateway:
        moved = gateway.execute(
            "SELECT t.transferring_party, t.quantity, a.attributes ->> 'underlying', count(*) OVER (PARTITION BY t.id)"
            " FROM transfer t JOIN claim c ON c.transfer_id = t.id JOIN position p ON p.series_id = c.series_id"
            " AND p.first = c.first AND p.last = c.last AND p.closed_by IS NULL"
            " JOIN unit_attributes a ON a.id = p.attributes_id WHERE t.transferring_party <> t.acquiring_party"
        ).fetchall()
    embedded.remove(folder)
    assert len(moved) == MADE
    assert {number for *_, number in moved} == {1}
    found = sorted((quantity, json.loads(underlying)["last"]) for _, quantity, underlying, _ in moved)
    assert found == sorted(
        (int(r["quantity"]), f"{r['party_alpha2']}-{r['unit_type']}-{r['serial_end']}") for r in rows(MADE)
    )


@needs_real_file
def test_the_real_blocks_are_each_relayed_whole() -> None:
    process = start("demo", "--exit", "--json", "--blocks", REAL)
    out, err = process.communicate(timeout=REAL_SECONDS)
    assert process.returncode == 0, err
    judge(json.loads(out), REAL_BLOCKS, REAL_UNITS)


def test_what_was_killed_midway_is_taken_up_and_nothing_moves_twice(made: Path, tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    killed = start("demo", "--exit", "--keep", folder, "--blocks", made)
    until(lambda: killed.poll() is not None or a_transfer_is_known(folder))
    everyone = family(killed)
    killed.kill()
    killed.communicate()
    assert survivors(everyone) == []
    again = run("demo", "--exit", "--json", "--keep", folder, "--blocks", made)
    assert again.returncode == 0, again.stderr
    judge(json.loads(again.stdout), MADE, units(MADE))
    # Found in the folder of shared data, too, where it is not here.
    shared = run("demo", "--exit", "--json", "--keep", folder, "--blocks", made.name, A6_DATA=made.parent)
    judge(json.loads(shared.stdout), MADE, units(MADE))
    other = run("demo", "--exit", "--json", "--keep", folder)
    assert other.returncode == 2 and "another story" in only_line(other.stderr)
    embedded.remove(folder)


def test_a_wrong_line_is_named_and_nothing_is_started(made: Path, tmp_path: Path) -> None:
    lines = rows(MADE)
    lines[5]["quantity"] = "0"
    lines[9]["party_alpha2"] = "XX"
    made.write_text(text(lines))
    folder = tmp_path / "kept"
    refused = run("demo", "--exit", "--json", "--keep", folder, "--blocks", made)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "line 7: quantity" in only_line(refused.stderr) and "line 11: party_alpha2" in refused.stderr
    assert not folder.exists()
    absent = run("demo", "--blocks", tmp_path / "none.csv")
    assert absent.returncode == 2 and "none.csv" in only_line(absent.stderr)
