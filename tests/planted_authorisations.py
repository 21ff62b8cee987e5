"""What may be wrong with authorisations and with units that are marked where they are: made in a copy."""

#: The positions that an entry has opened of a series that ``tests.spoiled`` has.
_OF = "series_id = (SELECT id FROM unit_series WHERE series = '{series}') AND closed_by IS NULL"

#: Name of the fault → the statements that make it, the checks that find something, and words of a finding.
FAULTS: dict[str, tuple[list[str], set[str], str]] = {
    "more drawn than anything has": (
        ["UPDATE authorisation SET drawn = drawn + 1 WHERE name = 'DRAWN'"],
        {"drawn"}, "9 units are noted as drawn, 0 by transfers and 8 by actions were",
    ),
    "a drawing lost": (
        ["DELETE FROM drawing"], {"drawn"}, "8 units are noted as drawn, 0 by transfers and 0 by actions were",
    ),
    "what a transfer relies on lost": (
        ["DELETE FROM reliance WHERE transfer_id = {committing}"], {"drawn"}, "units are noted as drawn",
    ),
    "a version below what was drawn": (
        ["UPDATE authorisation_version SET terms = replace(terms, '\"quantity\": 50', '\"quantity\": 7')"
         " WHERE version = 2"],
        {"drawn", "told"}, "8 units were drawn, 7 are authorised",
    ),
    "a version lost": (
        ["DELETE FROM authorisation_version WHERE version = 1 AND authorisation_id ="
         " (SELECT id FROM authorisation WHERE name = 'DRAWN')"],
        {"drawn"}, "its versions are 2",
    ),
    "an end without giving back": (
        ["UPDATE reliance SET returned_by = NULL WHERE transfer_id = {cancelled}",
         "UPDATE authorisation SET drawn = drawn + 10 WHERE name = 'AUTH-SYNTHETIC-1'"],
        {"reliances"}, "it is cancelled, and has not given back 10 units",
    ),
    "given back by what moved": (
        ["UPDATE reliance SET returned_by = 1 WHERE transfer_id = {completed}",
         "UPDATE authorisation SET drawn = drawn - 10 WHERE name = 'AUTH-SYNTHETIC-1'"],
        {"reliances"}, "it is completed, and has given back 10 units",
    ),
    "given back before it moves": (
        ["UPDATE reliance SET returned_by = 1 WHERE transfer_id = {committing}",
         "UPDATE authorisation SET drawn = drawn - 10 WHERE name = 'AUTH-SYNTHETIC-1'"],
        {"reliances"}, "it is committing, and has given back 10 units",
    ),
    "given back by another entry": (
        ["UPDATE reliance SET returned_by = 1 WHERE transfer_id = {rejected}"],
        {"reliances"}, "and has given back by entry 1",
    ),
    "a version of another entry": (
        ["UPDATE authorisation_version SET entry_id = 1 WHERE version = 2"],
        {"told"}, "its version 2 was not told like this by MEC01",
    ),
    "a version that somebody else told": (
        ["UPDATE authorisation_version SET told_by = 'KOR01' WHERE version = 2"],
        {"told"}, "its version 2 was not told like this by KOR01",
    ),
    "terms that operators did not tell": (
        ["UPDATE authorisation_version SET terms = replace(terms, 'MMR', 'KOR') WHERE told_by LIKE 'operator of %'"],
        {"told"}, "was not told like this by operator of GWY01",
    ),
    "a revocation that nobody told": (
        ["UPDATE authorisation_revocation SET reason = 'another'"], {"told"}, "its revocation was not told like this",
    ),
    "units marked that nobody told of": (
        ["UPDATE action SET type = 'statement' WHERE type = 'first_transfer'"],
        {"positions", "first transfers here"},
        "it moved units, and its message is neither a notice nor a credit of them",
    ),
    "other units marked than were announced": (
        ["UPDATE action SET item = regexp_replace(item, '\"series\":\"MARKED\"', '\"series\":\"DRAWN\"')"
         " WHERE type = 'first_transfer'"],
        {"positions"}, "units not marked as announced",
    ),
    "units that moved while they got an authorisation": (
        [f"UPDATE position SET account_type = 110 WHERE first = 3003 AND {_OF.format(series='GRANTED')}"],
        {"positions"}, "other units moved with them",
    ),
}  # fmt: skip
