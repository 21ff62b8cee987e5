"""Every test here is marked foreign, and skipped where the program cannot be built; CI installs what it takes."""

from pathlib import Path

import pytest

from tests.foreign import program


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    why = program.lacking()
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.foreign)
            item.add_marker(pytest.mark.skipif(bool(why), reason=why))


@pytest.fixture(scope="session")
def verifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program that verifies a log with nothing of ours."""
    return program.built(tmp_path_factory.mktemp("go"))
