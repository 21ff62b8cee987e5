"""What may be wrong with cases, the flags on their units, and corrections of the book: made in a copy."""

#: The open case of a reconciliation that ``tests.spoiled`` has, and the closed one.
_OPEN, _CLOSED, _PARTYS = "'MEC01-1'", "'MEC01-2'", "'MMR-1'"

#: Name of the fault → the statements that make it, the checks that find something, and words of a finding.
FAULTS: dict[str, tuple[list[str], set[str], str]] = {
    "a flag without a case": (
        ["INSERT INTO flag (kind, series_id, first, last, opened_by)"
         " SELECT 'inconsistent', id, 3018, 3020, 1 FROM unit_series WHERE series = 'DRAWN'"],
        {"case flags"}, "units are flagged, and no open case has them (4009)",
    ),
    "a flag wider than its case": (
        ["UPDATE flag SET last = last + 1 WHERE kind = 'discrepancy' AND closed_by IS NULL"],
        {"case flags"}, "MARKED 3006-3006: units are flagged, and no open case has them (4008)",
    ),
    "units of a case that may move": (
        ["UPDATE flag SET closed_by = opened_by WHERE kind = 'inconsistent' AND closed_by IS NULL"],
        {"case flags"}, "units of a case are not flagged, and would move (4009)",
    ),
    "units of a case lost": (
        [f"DELETE FROM case_unit WHERE case_id = {_OPEN}"],
        {"cases", "case flags"}, "it is notified, and no units are in it",
    ),
    "a case that was never closed": (
        [f"UPDATE inconsistency_case SET state = 'notified', closed_at = NULL WHERE id = {_CLOSED}"],
        {"cases"}, "its row is notified, its steps lead to closed",
    ),
    "units in a case that is closed": (
        [f"UPDATE case_unit SET closed_by = NULL WHERE case_id = {_CLOSED}"],
        {"cases", "case flags"}, "it is closed, and 1 ranges of units are in it",
    ),
    "a step of a case lost": (
        [f"DELETE FROM case_event WHERE case_id = {_CLOSED} AND event = 'corrected'"],
        {"cases"}, "its row has version 3, its steps are [1, 3]",
    ),
    "a step of a case by another entry": (
        [f"UPDATE case_event SET entry_id = 1 WHERE case_id = {_PARTYS}"],
        {"cases"}, "step 1 is not in the log as it stands",
    ),
    "a correction that nobody made": (
        ["DELETE FROM case_correction"], {"positions"}, "its message is neither a notice nor a credit of them",
    ),
    "a correction to another place": (
        ["UPDATE case_correction SET account_type = 300"], {"positions"}, "not moved to MEC01 MMR 300",
    ),
    "a correction that brought units from elsewhere": (
        ["UPDATE case_correction SET from_registry = 'KOR01'"], {"conservation"}, "it should have",
    ),
}  # fmt: skip
