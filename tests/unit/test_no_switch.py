"""No setting, flag or variable turns a check off: what judges reads nothing but what is judged and the facts.

Method: the source of ``gateway.domain`` is read, its rules and settings are inspected.
"""

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType

import pytest

import gateway
from gateway.domain import authorisation_rules, checks, first_transfer_rules, levies, rules
from gateway.domain import identifiers as ids
from gateway.domain.actions import OpeningPosition
from gateway.domain.facts import Facts
from gateway.domain.levies import Rounding
from gateway.settings import Settings
from tests.proposing import MEC01, sound

GATEWAY = Path(gateway.__file__).parent
DOMAIN = sorted((GATEWAY / "domain").glob("*.py"))
#: Plain values and functions: no process, no environment, no file, no clock, no chance.
PURE = {
    *(
        "bisect",
        "collections",
        "dataclasses",
        "datetime",
        "enum",
        "hashlib",
        "importlib",
        "ipaddress",
        "itertools",
        "json",
        "operator",
        "re",
        "tomllib",
    ),
    *("types", "typing", "urllib"),
}
#: The one setting that a check takes: it moves the amount that is due, because no public text says how to round.
TAKEN = {"levy_rounding"}


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module is not None
            yield from (f"{node.module}.{name.name}" for name in node.names)


@pytest.mark.parametrize("path", DOMAIN, ids=lambda path: path.name)
def test_the_domain_reads_no_setting_and_no_environment(path: Path) -> None:
    foreign = [name for name in imported(path) if name.split(".")[0] not in PURE | {"gateway"}]
    outside = [name for name in imported(path) if re.match(r"gateway\.(?!domain\b|errors\b)", f"{name}.")]
    assert (foreign, outside) == ([], [])
    names = {node.id for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Name)}
    assert names & {"open", "exec", "eval", "__import__", "globals", "input"} == set()


def test_the_data_of_the_package_are_all_the_domain_reads() -> None:
    reading = [path.name for path in DOMAIN if "importlib.resources" in imported(path)]
    assert reading == ["check_codes.py", "editions.py"]


def test_a_verdict_is_of_a_proposal_and_its_facts_alone() -> None:
    for judge in (checks.check, *checks.GENERAL, *rules.RULES):
        parameters = inspect.signature(judge).parameters.values()
        assert len(parameters) == 2, judge
        assert all(p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters), judge


def test_every_check_that_is_written_is_applied() -> None:
    modules = (checks, rules, authorisation_rules, first_transfer_rules)
    written = {f for m in modules for name, f in vars(m).items() if re.search(r"_[45]\d{3}$", name)}
    assert all(isinstance(f, FunctionType) for f in written)
    assert written == {*checks.GENERAL, *rules.RULES}
    assert isinstance(checks.GENERAL, tuple) and isinstance(rules.RULES, tuple)


def test_no_setting_is_a_fact() -> None:
    assert Settings.model_fields.keys() & inspect.signature(Facts).parameters.keys() == set()
    about_checks = {n for n in Settings.model_fields if re.search("check|rule|skip|ignore|strict|levy|enforce", n)}
    assert about_checks == TAKEN


@pytest.mark.parametrize("rounding", Rounding)
def test_the_setting_that_a_check_takes_does_not_end_it(rounding: Rounding) -> None:
    account = ids.parse_account("100-1")
    whole = OpeningPosition(MEC01, ids.parse_party("MMR"), account, sound().blocks[0])
    assert [f.code for f in levies.issuance_findings([whole], rounding)] == [5120]
