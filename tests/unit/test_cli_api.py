"""A command that serves its call in its own process: what goes wrong there is logged as a server logs it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from fastapi import FastAPI

from gateway import db
from gateway.cli import api
from gateway.errors import GatewayError, Kind
from gateway.signing.keys import SoftwareKey
from gateway.web import operator, problems


@pytest.fixture(autouse=True)
def _logging() -> Iterator[None]:
    yield
    structlog.reset_defaults()


async def _checked(_database: db.Database) -> None:
    """It is there."""


def _broken(*_parts: object, **_named: object) -> FastAPI:
    app = FastAPI()
    problems.install(app)

    @app.get("/")
    async def show() -> None:
        token = "-".join(("what", "nobody", "sees"))
        raise RuntimeError("broken" if token else "")

    return app


def test_a_fault_is_logged_without_the_values_it_was_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    SoftwareKey.generate().save(tmp_path / "key.pem")
    monkeypatch.setenv("GATEWAY_KEY_FILE", str(tmp_path / "key.pem"))
    monkeypatch.setenv("GATEWAY_DATABASE_URL", "postgresql://nobody@localhost/none")
    monkeypatch.setattr(db.Database, "check", _checked)
    monkeypatch.setattr(operator, "app", _broken)
    with pytest.raises(GatewayError) as raised:
        api.ask(api.Where(), "GET", "/")
    assert raised.value.kind is Kind.UNAVAILABLE
    said = capsys.readouterr()
    assert said.out == "", "what a command prints is what the API answers"
    [line] = said.err.splitlines()
    assert json.loads(line)["event"] == "internal-fault" and "broken" in json.loads(line)["exception"]
    assert "what-nobody-sees" not in line
