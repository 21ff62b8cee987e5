"""``gateway evidence`` as commands: a file is verified without a database, network or setting, and says what was."""

import json
from pathlib import Path

import pytest

from gateway.evidence import rules
from tests.e2e.programs import only_line, run
from tests.evidence import KEPT
from tests.publishing import ORIGIN, Signer

BUNDLE = json.loads(KEPT.read_text())
LOG_KEYS, [WITNESS] = BUNDLE["log"]["keys"], BUNDLE["log"]["witnesses"]


def test_a_bundle_is_verified_and_every_check_is_told() -> None:
    done = run("evidence", "verify", KEPT)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == f"{BUNDLE['transfer']} completed, as the log of GWY01 has it"
    assert lines[-1] == "valid"
    for check, line in zip(rules.CHECKS, lines[1:-1], strict=True):
        assert line.startswith(f"{check.number:>2} passed   {check.title}") and line.endswith(f"[{check.source}]")
    assert "keys are the bundle's own word: pin them with --log-key" in done.stdout


def test_pinned_keys_and_witnesses_are_asked_of(tmp_path: Path) -> None:
    file = tmp_path / "GWY01.vkeys"
    file.write_text("# the log of GWY01\n" + "\n".join(LOG_KEYS) + "\n")
    pinned = run("evidence", "verify", KEPT, "--log-key", file, "--witness", WITNESS, "--json")
    assert pinned.returncode == 0, pinned.stdout
    said = json.loads(pinned.stdout)
    assert said["valid"] and said["transfer"] == BUNDLE["transfer"]
    assert said["checks"][1]["remark"].startswith("under keys you gave; cosigned by mec01")
    by_key = run("evidence", "verify", KEPT, "--log-key", LOG_KEYS[0])
    assert by_key.returncode == 0
    for option, key in (("--log-key", Signer(ORIGIN, 1)), ("--witness", Signer("x.invalid/witness", 4))):
        other = run("evidence", "verify", KEPT, option, key.verifier.vkey)
        assert other.returncode == 1 and "log.checkpoint: " in other.stdout, other.stdout
    assert run("evidence", "verify", KEPT, "--quorum", "2").returncode == 1


def test_a_damaged_bundle_is_not_valid_and_its_place_is_named(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.json"
    damaged.write_text(KEPT.read_text().replace(BUNDLE["entries"][4]["salt"], "A" * 43))
    done = run("evidence", "verify", damaged)
    assert done.returncode == 1
    assert "entries[4]: its leaf does not stand for this record and salt" in done.stdout
    assert done.stdout.splitlines()[-1] == "not valid" and " 5 not made " in done.stdout
    told = json.loads(run("evidence", "verify", damaged, "--json").stdout)
    assert [check["result"] for check in told["checks"][:5]] == ["passed", "passed", "passed", "failed", "not made"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("absent.json",),
        (KEPT, "--log-key", "absent.vkeys"),
        (KEPT, "--log-key", "a+b+c"),
        (KEPT, "--witness", Path(__file__)),
        (KEPT, "--log-key", "/dev/null"),
    ],
    ids=str,
)
def test_what_cannot_be_read_is_said_in_one_line(arguments: tuple[str | Path, ...]) -> None:
    done = run("evidence", "verify", *arguments)
    assert done.returncode == 2 and done.stdout == ""
    assert only_line(done.stderr).startswith("gateway: ")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": "article6-evidence-1"}'])
def test_a_file_that_is_no_bundle_is_not_valid(tmp_path: Path, content: str) -> None:
    file = tmp_path / "none.json"
    file.write_text(content)
    done = run("evidence", "verify", file)
    assert done.returncode == 1 and done.stderr == "" and done.stdout.splitlines()[-1] == "not valid"
