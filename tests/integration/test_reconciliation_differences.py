"""What is planted in a registry's own books is found, classified and locked: exactly that, and nothing else."""

import pytest

from gateway.reconciliation.view import Report
from tests import reconciling
from tests.reconciling import at_registry
from tests.stage import Stage


@pytest.fixture
async def relayed(linked: Stage) -> Stage:
    """Korea holds two blocks of which its registry tells."""
    await linked.issue(1_000)
    assert await linked.relay(await linked.propose(100, 50)) == ["completed"] * 2
    return linked


def said(report: Report) -> list[tuple[int, int, int]]:
    return [(one.code, one.first, one.last) for one in report.findings if one.case is not None]


async def holding(stage: Stage) -> tuple[int, int]:
    """The first block of Korea's registry."""
    [[first, last]] = await at_registry(stage, "KOR01", "SELECT first, last FROM holding ORDER BY first LIMIT 1")
    return first, last


async def found(stage: Stage) -> Report:
    report = await reconciling.reconcile(stage, "KOR01")
    assert report.run.status == 99 and all(one.case for one in report.findings)
    locked = "SELECT first, last FROM flag WHERE kind = 'discrepancy' AND closed_by IS NULL ORDER BY first"
    assert await stage.rows(locked) == [(one.first, one.last) for one in report.findings]
    assert await stage.doctor() == []
    return report


async def test_units_that_the_gateway_knows_nothing_of_are_missing_here(relayed: Stage) -> None:
    _, last = await holding(relayed)
    await at_registry(
        relayed, "KOR01", "INSERT INTO holding (series, first, last, party, account, attributes, itmo, itmo_offset,"
        " first_transferred) SELECT series, 900001, 900007, party, account, attributes, itmo, itmo_offset,"
        " first_transferred FROM holding WHERE last = %s", last,
    )  # fmt: skip
    assert said(await found(relayed)) == [(6301, 900_001, 900_007)]


async def test_units_that_are_credited_twice_exist_twice(relayed: Stage) -> None:
    [[free]] = await relayed.rows("SELECT max(last) - 4 FROM position WHERE registry = 'MEC01' AND closed_by IS NULL")
    await at_registry(
        relayed, "KOR01", "INSERT INTO holding (series, first, last, party, account, attributes, itmo, itmo_offset,"
        " first_transferred) SELECT series, %s, %s, party, account, attributes, itmo, itmo_offset, first_transferred"
        " FROM holding ORDER BY first LIMIT 1", free, free + 4,
    )  # fmt: skip
    report = await found(relayed)
    assert said(report) == [(4007, free, free + 4)]
    assert "MEC01" in report.findings[0].detail


async def test_part_of_a_block_in_another_account_is_found_down_to_its_serials(relayed: Stage) -> None:
    first, last = await holding(relayed)
    await at_registry(relayed, "KOR01", "INSERT INTO account (party, account, name) VALUES ('KOR', '300-9', 'planted')")
    await at_registry(
        relayed, "KOR01", "WITH gone AS (DELETE FROM holding WHERE first = %s RETURNING *)"
        " INSERT INTO holding (series, first, last, party, account, attributes, itmo, itmo_offset, first_transferred)"
        " SELECT g.series, part.first, part.last, g.party, part.account, g.attributes, g.itmo, g.itmo_offset,"
        " g.first_transferred FROM gone g, (VALUES (%s, %s, '300-9'), (%s, %s, '100-1')) AS part(first, last, account)",
        first, first, first + 2, first + 3, last,
    )  # fmt: skip
    assert said(await found(relayed)) == [(6304, first, first + 2)]


async def test_an_attribute_that_was_changed_is_found_on_all_its_units(relayed: Stage) -> None:
    first, last = await holding(relayed)
    await at_registry(
        relayed, "KOR01", "WITH other AS (INSERT INTO unit_attributes (digest, attributes)"
        " SELECT 'planted', jsonb_set(attributes, '{activity}', '\"Planted\"')"
        " FROM unit_attributes LIMIT 1 RETURNING id) UPDATE holding SET attributes = other.id FROM other"
        " WHERE first = %s", first,
    )  # fmt: skip
    assert said(await found(relayed)) == [(6303, first, last)]
