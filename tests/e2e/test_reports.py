"""``gateway actions`` and ``gateway adjustments``, for people and machines. The rows are planted and synthetic."""

import json
from typing import Any

import psycopg
import pytest

from tests.e2e.programs import only_line, run
from tests.e2e.test_cli import Installation, installation, migrated  # noqa: F401 - fixtures

TRANSFER, USE = "MEC01-0195515b-9c00-7000-8000-00000000000a", "KOR01/use-1"
PLANTED = f"""
INSERT INTO unit_movement (cause, part, type, subtype, at, party, registry, acquiring_party, acquiring_registry,
  acquired_at, purpose, year, first_transferring_party, vintage, metric, cooperative_approach, first_transfer,
  first_transferred, quantity, entry_id)
VALUES
 ('{TRANSFER}', 1, 'First transfer', 'First transfer to another Party', '2026-01-05T10:00:00Z', 'MMR', 'MEC01', 'KOR',
  'KOR01', '2026-01-06T10:00:00Z', 'NDC', NULL, 'MMR', 2021, 'GHG', 'CA0001', true, true, 1000, 1),
 ('{USE}', 1, 'Use', NULL, '2026-02-05T10:00:00Z', 'KOR', 'KOR01', NULL, NULL, NULL, 'NDC', 2025, 'MMR', 2021, 'GHG',
  'CA0001', false, true, 400, 1)
"""


@pytest.fixture(scope="module")
def reported(migrated: Installation) -> Installation:  # noqa: F811
    with psycopg.connect(migrated.server.dsn("gateway", "gateway_owner")) as database:
        database.execute(PLANTED.encode())
    return migrated


def told(there: Installation, *arguments: str) -> Any:
    done = run(*arguments, "--json", **there.settings)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def shown(there: Installation, *arguments: str) -> str:
    done = run(*arguments, **there.settings, COLUMNS="120")
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_actions_of_both_parties_are_listed(reported: Installation) -> None:
    found = told(reported, "actions")["actions"]
    assert [(a["party"], a["type"], a["cause"]) for a in found] == [
        ("KOR", "Use", USE), ("MMR", "First transfer", TRANSFER), ("KOR", "Acquisition", TRANSFER)
    ]  # fmt: skip
    assert told(reported, "actions", "--party", "MMR")["actions"] == found[1:2]
    assert told(reported, "actions", "--year", "2025")["actions"] == []
    page = shown(reported, "actions", "--limit", "1")
    assert USE in page and "more: --before" in page
    assert "First transfer: First transfer to another Party" in shown(reported, "actions")


def test_adjustments_are_shown_by_each_method_down_to_what_is_behind_them(reported: Installation) -> None:
    [account] = told(reported, "adjustments", "--party", "MMR", "--last", "2023", "--method", "averaging")["accounts"]
    assert [y["applied"]["text"] for y in account["years"]] == ["1000", "500", "333.333"]
    text = shown(reported, "adjustments", "--party", "MMR", "--last", "2023", "--method", "averaging")
    assert "MMR, GHG, averaging" in text and "333.333 (rest 1/3)" in text
    explained = shown(reported, "adjustments", "--last", "2025", "--explain")
    assert TRANSFER in explained and USE in explained and "-400" in explained
    assert "400 units count in other years" in shown(reported, "adjustments", "--party", "KOR", "--last", "2024")
    assert "nothing is first transferred or used" in shown(reported, "adjustments", "--party", "JPN")
    wrong = run("adjustments", "--party", "XX", **reported.settings)
    assert wrong.returncode == 2 and "Party" in only_line(wrong.stderr)
