"""The bench of the log measures: a bench that no test runs stops working unseen. Its figures are nobody's here."""

from pathlib import Path

from tests.bench import tree


def test_what_the_log_takes_in_and_proves_is_measured(tmp_path: Path) -> None:
    found = tree.measured(tmp_path, 1, 1_000, 1_000, "ep")
    assert found["log.entries_per_run"] == 1_000
    assert found["log.entries_per_second"]["median"] > 0
    assert found["log.proof_p99_ms"] > 0 and found["log.leaves"] == 1_000
