"""A program that shares no code with this one, and knows only the schema, comes to the same verdicts on bundles."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests import foreign_evidence
from tests.evidence import KEPT
from tests.forging import Forgery
from tests.unit.test_evidence_damage import STRINGS, at, flipped, replaced, written
from tests.unit.test_evidence_lies import LIES

PROGRAM = Path(foreign_evidence.__file__)
#: Texts for people, of which the schema says that they are no evidence.
UNREAD = {"format", "notice", "timeline"}
EVIDENCE = [path for path in STRINGS if path[0] not in UNREAD]


def test_it_shares_no_code_with_the_gateway() -> None:
    imported = {
        name.partition(".")[0]
        for node in ast.walk(ast.parse(PROGRAM.read_text()))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or "."]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported - set(sys.stdlib_module_names) == {"cryptography", "joserfc"}


def test_it_accepts_a_real_bundle_and_says_what_is_wrong_with_a_damaged_one(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.json"
    damaged.write_text(json.dumps(replaced(("entries", 0, "salt"), "A" * 43)))
    ran = [
        subprocess.run([sys.executable, PROGRAM, file], capture_output=True, text=True, check=False)
        for file in (KEPT, damaged)
    ]
    assert [(one.returncode, one.stdout) for one in ran] == [(0, "valid\n"), (1, "check 4: entry 0\n")]


@pytest.mark.parametrize("path", EVIDENCE, ids=map(written, EVIDENCE))
def test_it_refuses_a_byte_that_is_changed(path: tuple[str | int, ...]) -> None:
    text = at(json.loads(KEPT.read_text()), path)
    for index in {0, len(text) // 2, len(text) - 1}:
        made = json.dumps(replaced(path, flipped(text, index)))
        assert foreign_evidence.verify(made.encode()) is not None, index


def test_it_accepts_a_forgery_without_a_lie_because_it_knows_no_keys() -> None:
    assert foreign_evidence.verify(json.dumps(Forgery().made()).encode()) is None


@pytest.mark.parametrize("name", LIES)
def test_it_finds_every_lie(name: str) -> None:
    assert foreign_evidence.verify(json.dumps(Forgery(LIES[name][0]).made()).encode()) is not None
