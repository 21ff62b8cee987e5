"""``gateway evidence`` as commands: a file is verified without a database, network or setting, and says what was."""

import base64
import json
from hashlib import sha256
from pathlib import Path

import pytest

from gateway.evidence import rules
from tests import foreign_evidence
from tests.e2e.programs import only_line, run
from tests.evidence import KEPT
from tests.forging import Forgery
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


def test_keys_of_another_kind_than_the_option_says_are_refused() -> None:
    for option, key, of in (("--witness", LOG_KEYS[0], "a witness"), ("--log-key", WITNESS, "a log")):
        done = run("evidence", "verify", KEPT, option, key)
        assert (done.returncode, done.stdout) == (2, "")
        assert only_line(done.stderr).startswith(f"gateway: {option} {key[:64]}: not a key of {of}")


def test_a_bundle_without_one_kind_of_signature_is_not_valid_for_who_knows_both(tmp_path: Path) -> None:
    [_, post_quantum] = LOG_KEYS
    name, key_id, _ = post_quantum.split("+", 2)
    line = next(text for text in BUNDLE["log"]["checkpoint"].splitlines() if key_line(text) == (name, key_id))
    stripped = tmp_path / "stripped.json"
    log = json.dumps({**BUNDLE["log"], "keys": LOG_KEYS[:1], "earlier": []}).replace(json.dumps(line + "\n")[1:-1], "")
    entries = [{**entry, "witnessed_at": BUNDLE["entries"][-1]["witnessed_at"]} for entry in BUNDLE["entries"]]
    stripped.write_text(json.dumps({**BUNDLE, "log": json.loads(log), "entries": entries}))
    assert run("evidence", "verify", stripped).returncode == 0
    done = run("evidence", "verify", stripped, "--log-key", LOG_KEYS[0], "--log-key", post_quantum)
    assert done.returncode == 1 and f"it has no ML-DSA-44 signature of {name}" in done.stdout


def key_line(text: str) -> tuple[str, str] | None:
    """Whose line of a note a text is: the key's name and id."""
    if not text.startswith("— "):
        return None
    _, name, blob = text.split(" ")
    return name, base64.b64decode(blob)[:4].hex()


def test_a_transfer_under_way_is_told_as_the_least_it_came_to(tmp_path: Path) -> None:
    cut = Forgery(without=tuple(range(2, len(BUNDLE["messages"]))))
    cut.bundle["state"] = "proposed"
    cut.bundle["keys"] = [key for key in cut.bundle["keys"] if key["owner"] != "KOR01"]
    file = tmp_path / "cut.json"
    file.write_text(json.dumps(cut.made()))
    done = run("evidence", "verify", file)
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[0] == f"{BUNDLE['transfer']} at least proposed, as the log of GWY01 has it"
    assert "at least this far: later statements and revocations may have been left out" in done.stdout


@pytest.mark.parametrize("nr", [0, 7, len(BUNDLE["entries"]) - 1])
def test_a_proof_of_one_entry_is_what_others_verify(tmp_path: Path, nr: int) -> None:
    """Read as c2sp.org/tlog-proof says, and computed by a program that shares no code with ours."""
    index = BUNDLE["entries"][nr]["index"]
    done = run("evidence", "proof", KEPT, str(index))
    assert (done.returncode, done.stderr) == (0, "")
    head, _, note = done.stdout.partition("\n\n")
    version, said, *hashes = head.split("\n")
    assert (version, said) == ("c2sp.org/tlog-proof@v1", f"index {index}")
    leaf = run("evidence", "proof", KEPT, str(index), "--leaf").stdout
    assert leaf == BUNDLE["entries"][nr]["leaf"]  # nothing after it: it is what was hashed
    read = foreign_evidence.Note(note, LOG_KEYS, [WITNESS], "checkpoint")
    hashed = sha256(b"\0" + leaf.encode()).digest()
    assert foreign_evidence.root_of(index, read.size, hashed, [base64.b64decode(h) for h in hashes]) == read.root
    assert read.times  # a witness's line is in it
    file = tmp_path / "entry.tlog-proof"
    written = run("evidence", "proof", KEPT, str(index), "-o", file)
    assert (written.returncode, written.stdout) == (0, "") and file.read_text() == done.stdout


def test_a_proof_is_refused_where_there_is_none(tmp_path: Path) -> None:
    damaged, absent = tmp_path / "damaged.json", tmp_path / "no" / "x"
    damaged.write_text(KEPT.read_text().replace(BUNDLE["entries"][4]["salt"], "A" * 43))
    index = str(BUNDLE["entries"][4]["index"])
    for arguments, code, why in (
        ((KEPT, str(BUNDLE["entries"][-1]["index"] + 1)), 2, "has no entry of this index"),
        ((KEPT, "-1"), 2, ""),
        ((KEPT, "x"), 2, ""),
        ((damaged, index), 2, "is not valid: entries[4]: its leaf does not stand for this record and salt"),
        ((tmp_path / "absent.json", index), 2, "No such file"),
        ((KEPT, index, "-o", absent), 3, "No such file or directory"),
    ):
        done = run("evidence", "proof", *arguments)
        assert (done.returncode, done.stdout) == (code, ""), arguments
        assert why in done.stderr and "Traceback" not in done.stderr
    assert not absent.exists()


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
