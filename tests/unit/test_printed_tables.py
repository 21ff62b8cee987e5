"""What the program says of its own tables: complete, and without a database, settings or a key."""

import json
import sys

import pytest

from gateway import cli
from gateway.domain.check_codes import CHECKS
from gateway.domain.nomenclature import in_force


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GATEWAY_DATABASE_URL", raising=False)
    monkeypatch.delenv("GATEWAY_KEY_FILE", raising=False)
    monkeypatch.setenv("COLUMNS", "200")


def printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    monkeypatch.setattr(sys, "argv", ["gateway", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    return capsys.readouterr().out


def test_every_code_is_printed_with_its_source(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = json.loads(printed(monkeypatch, capsys, "checks", "--json"))
    assert [row["code"] for row in rows] == sorted(CHECKS)
    assert all(row["text"] == CHECKS[row["code"]].text and row["source"] for row in rows)
    table = printed(monkeypatch, capsys, "checks")
    assert all(str(code) in table for code in CHECKS)


def test_the_nomenclature_in_force_is_printed_with_its_date_source_and_lists(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = json.loads(printed(monkeypatch, capsys, "nomenclature", "--json"))
    assert (told["date"], told["source"]) == (in_force.date.isoformat(), in_force.source)
    assert told["sectors"] == [*in_force.sectors] and told["account_types"][2]["code"] == 200
    table = printed(monkeypatch, capsys, "nomenclature")
    assert all(value in table for value in (*in_force.sectors, *in_force.purposes, in_force.marks["CDM"]))
