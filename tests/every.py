"""What a table of codes holds: for each code an input that raises it alone, and a near miss that raises none.

A ``Pair`` is tried where its table stands. What takes a database to try is ``Elsewhere``: the tests that try both
sides; they must be there and name the code.
"""

import ast
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).parent


@dataclass(frozen=True)
class Pair:
    """What gives the codes found: ``faulty`` the one code, ``near`` none."""

    faulty: Callable[[], Iterable[int]]
    near: Callable[[], Iterable[int]]


@dataclass(frozen=True, init=False)
class Elsewhere:
    """Tests by file and name, as ``integration/test_replay.py::test_an_id_comes_with_one_content``."""

    tests: tuple[str, ...]

    def __init__(self, *tests: str) -> None:
        object.__setattr__(self, "tests", tests)


Table = Mapping[int, Pair | Elsewhere]


def wrong(code: int, case: Pair | Elsewhere) -> list[str]:
    """What does not hold of a row, in words."""
    if isinstance(case, Elsewhere):
        return [f"{test} does not try {code}" for test in case.tests if not _tries(test, code)]
    faulty, near = set(case.faulty()), list(case.near())
    told = [] if faulty == {code} else [f"the faulty input of {code} raises {sorted(faulty)}"]
    return told + ([f"the near miss of {code} raises {near}"] if near else [])


def _tries(test: str, code: int) -> bool:
    """Whether the test is there, and its text, its parameters or a constant of its module that it uses has the code."""
    path, _, name = test.partition("::")
    text = (TESTS / path).read_text("utf-8")
    found = [
        n for n in ast.parse(text).body if isinstance(n, ast.AsyncFunctionDef | ast.FunctionDef) and n.name == name
    ]
    used = "".join(ast.get_source_segment(text, n) or "" for n in found)
    used += "".join(ast.get_source_segment(text, d) or "" for n in found for d in n.decorator_list)
    constants = re.findall(rf"^([A-Z_]+) = .*\b{code}\b", text, re.MULTILINE)
    return re.search(rf"\b{code}\b", used) is not None or any(constant in used for constant in constants)
