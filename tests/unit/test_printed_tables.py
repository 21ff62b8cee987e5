"""What the program says of its own tables: complete, and without a database, settings or a key."""

import json
import sys

import pytest

from gateway import cli
from gateway.domain.check_codes import CHECKS


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
