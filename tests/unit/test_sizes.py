"""No file and no function is longer than a reader holds in mind; split by meaning, not by layer."""

import ast
import statistics
from pathlib import Path

PROJECT = Path(__file__).parents[2]
FILE_LINES = 400
MEDIAN_FILE_LINES = 150
FUNCTION_LINES = 70


def sources(*folders: str) -> list[Path]:
    found = [path for folder in folders for path in (PROJECT / folder).rglob("*.py")]
    return [path for path in found if "node_modules" not in path.parts]


def length(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_no_file_is_longer_than_400_lines() -> None:
    files = sources("gateway", "connectors", "tests")
    assert files
    assert {str(f.relative_to(PROJECT)): length(f) for f in files if length(f) > FILE_LINES} == {}


def test_half_of_the_files_have_at_most_150_lines() -> None:
    assert statistics.median(length(f) for f in sources("gateway", "connectors")) <= MEDIAN_FILE_LINES


def test_no_function_is_longer_than_70_lines() -> None:
    functions = [
        (
            f"{path.relative_to(PROJECT)}:{node.lineno} {node.name}",
            (node.end_lineno or node.lineno) - node.lineno + 1,
        )
        for path in sources("gateway", "connectors", "tests")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert functions
    assert {name: lines for name, lines in functions if lines > FUNCTION_LINES} == {}
