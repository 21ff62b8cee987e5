"""The named places at which a sandbox registry can be killed: all there are, and told over HTTP.

That it comes back from each of them with nothing lost or doubled is tried in ``tests/faults/test_crash_points.py``.
"""

import ast
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration import test_sandbox_play as play
from tests.integration.test_sandbox_play import Gateway, registry

server, gateway = play.server, play.gateway

SANDBOX = play.ROOT / "connectors" / "sandbox"


async def test_it_dies_at_the_passing_it_was_told(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01") as mechanism:
        shown = await mechanism.admin("GET", "/crash")
        assert "receive.transfer.commit.after-commit" in shown["points"]
        assert set(shown["passed"]) <= set(shown["points"])
        for wrong in ({"point": "nowhere"}, {"point": "receive.transfer.commit"}, {"point": TIME, "n": 0}, {}):
            await mechanism.admin("POST", "/crash", wrong, 422)
        await mechanism.admin("POST", "/crash", {"point": TIME, "n": 2}, 201)
        assert (await mechanism.send("time.query")).type == "time.answer"
        assert (await mechanism.admin("GET", "/crash"))["passed"][TIME] == 1
        with pytest.raises(httpx.TransportError):
            await mechanism.send("time.query")
        assert await mechanism.process.wait() == -9


TIME = "receive.time.query.after-commit"


def test_nothing_is_committed_or_sent_outside_a_named_place() -> None:
    """The one commit and the one request of the program both stand between two places."""
    calls: dict[str, list[str]] = {"commit": [], "request": [], "connection": [], "post": [], "get": []}
    for path in sorted(SANDBOX.glob("*.py")):
        for function in (n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.AsyncFunctionDef)):
            for call in (
                n for n in ast.walk(function) if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)
            ):
                owner = ast.unparse(call.func.value)
                if owner.endswith(("connection", "_pool", "_client")) and call.func.attr in calls:
                    calls[call.func.attr].append(f"{path.name}:{function.name}")
    assert calls == {
        "commit": ["database.py:_attempt"],
        "connection": ["database.py:_attempt"],
        "request": ["sender.py:_exchange"],
        "post": [],
        "get": [],
    }
    for name, function, when in (("database.py", "_attempt", "commit"), ("sender.py", "_exchange", "send")):
        tree = ast.parse((SANDBOX / name).read_text())
        (body,) = [ast.unparse(n) for n in ast.walk(tree) if isinstance(n, ast.AsyncFunctionDef) and n.name == function]
        lines = [line.strip() for line in body.splitlines()]
        before, after = (
            next(i for i, line in enumerate(lines) if line.endswith(f".passing(f'{{name}}.{moment}-{when}')"))
            for moment in ("before", "after")
        )
        assert after == before + 2, "exactly the commit or the send stands between"
