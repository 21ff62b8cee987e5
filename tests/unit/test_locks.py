"""Advisory locks are numbers: one that two slices use makes each wait for the other, and may lock both for good."""

import re
from collections import defaultdict
from pathlib import Path

GATEWAY = Path(__file__).parents[2] / "gateway"
LOCK = re.compile(r"pg_advisory_xact_lock(?:_shared)?\((\d+),")


def test_every_lock_is_one_modules() -> None:
    users: dict[str, set[str]] = defaultdict(set)
    for file in GATEWAY.rglob("*.py"):
        if "migrations" not in file.parts:  # whose triggers take the locks of the stores
            for number in LOCK.findall(file.read_text(encoding="utf-8")):
                users[number].add(str(file.relative_to(GATEWAY)))
    assert users
    assert {number: files for number, files in users.items() if len(files) > 1} == {}
