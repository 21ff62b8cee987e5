"""Every rule of the relay protocol has its tests, with it and without it, and is named where the code keeps it."""

import ast
import re
from pathlib import Path

import pytest

from tests.rules import without

HERE = Path(__file__).parent
PROJECT = HERE.parents[1]
WITHOUT = "without_it"
#: Rules that cannot be switched off, with the reason.
ALWAYS_ON = {"R25": "no adapter leads to a registry that does not recognise repetitions itself"}

#: Where each rule is kept: at the gateway, at the sandbox registries, or in both.
KEPT = {
    "R1": ("gateway/messages/outbox.py", "connectors/sandbox/post.py"),
    "R2": ("gateway/domain/transfers.py", "gateway/transfers/interventions.py"),
    "R3": ("gateway/transfers/store.py",),
    "R4": ("gateway/transfers/store.py",),
    "R5": ("gateway/domain/transfers.py", "gateway/transfers/commands.py"),
    "R6": ("gateway/domain/transfers.py", "gateway/transfers/relay.py"),
    "R7": ("gateway/domain/transfers.py",),
    "R8": ("gateway/transfers/statements.py",),
    "R9": ("gateway/transfers/statements.py",),
    "R10": ("gateway/transfers/hearing.py", "connectors/sandbox/transfers.py"),
    "R11": ("gateway/holdings/claims.py",),
    "R12": ("connectors/sandbox/source.py", "connectors/sandbox/inbox.py"),
    "R13": ("connectors/sandbox/source.py",),
    "R14": ("connectors/sandbox/books.py",),
    "R15": ("connectors/sandbox/backup.py", "connectors/sandbox/duties.py"),
    "R16": ("gateway/links/commands.py", "gateway/transfers/evidence.py", "connectors/sandbox/keys.py"),
    "R17": ("connectors/sandbox/status.py",),
    "R18": ("connectors/sandbox/acquirer.py",),
    "R19": ("connectors/sandbox/acquirer.py",),
    "R20": ("connectors/sandbox/acquirer.py",),
    "R21": ("connectors/sandbox/schema.py", "connectors/sandbox/acquirer.py"),
    "R22": ("gateway/signing/messages.py", "connectors/sandbox/envelope.py"),
    "R23": ("gateway/messages/store.py", "connectors/sandbox/inbox.py"),
    "R24": ("gateway/transfers/store.py", "connectors/sandbox/schema.py"),
    "R26": ("gateway/transfers/rebuilding.py", "connectors/sandbox/hearing.py"),
    "R27": ("gateway/migrations/versions/0001_first.py",),
}
RULES = [f"R{number}" for number in range(1, 28)]


def names() -> list[str]:
    """The names of all tests of this folder, and the ids of their parameters."""
    found = []
    for path in HERE.glob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.AsyncFunctionDef) and node.name.startswith("test_R"):
                ids = [n.value for d in node.decorator_list for n in ast.walk(d) if isinstance(n, ast.Constant)]
                found += [node.name, *(f"{node.name}_{WITHOUT}" for value in ids if value == WITHOUT)]
    return found


@pytest.mark.parametrize("rule", RULES)
def test_the_rule_has_tests_with_it_and_without_it(rule: str) -> None:
    own = [name for name in names() if name.startswith(f"test_R{int(rule[1:]):02}_")]
    off = [name for name in own if WITHOUT in name]
    assert set(own) - set(off)
    assert bool(off) != (rule in ALWAYS_ON)


def test_no_test_is_named_after_a_rule_that_is_none() -> None:
    assert {f"R{int(name[6:8])}" for name in names()} == set(RULES)


def test_every_registry_without_a_rule_is_played_by_some_test() -> None:
    texts = "".join(path.read_text("utf-8") for path in HERE.glob("test_*.py") if path != Path(__file__))
    assert [rule for rule in without.RULES if f'"{rule}"' not in texts] == []


@pytest.mark.parametrize("rule", RULES)
def test_the_rule_is_named_where_it_is_kept(rule: str) -> None:
    if rule in ALWAYS_ON:
        assert rule not in KEPT
        return
    named = re.compile(rf"\b{rule}\b")
    assert [path for path in KEPT[rule] if not named.search((PROJECT / path).read_text("utf-8"))] == []
