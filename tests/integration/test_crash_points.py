"""Every commit and every send passes a named point: compared with what PostgreSQL and the connectors really did.

That the process dies at each of them, and nothing is lost, is tried in ``tests/faults``.
"""

import ast
import asyncio
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import event

import gateway
from gateway import crash
from gateway.domain.registry import OutgoingMessage
from gateway.errors import GatewayError
from tests.stage import Stage

SOURCES = Path(gateway.__file__).parent


@pytest.mark.parametrize("wanted", ["nowhere", "lease", "lease.before-commit:0", "lease.before-commit:x", ""])
def test_a_point_that_is_none_is_refused(wanted: str) -> None:
    with pytest.raises(GatewayError, match="is not a point to crash at"):
        crash.arm(wanted)


def test_an_undeclared_point_is_a_fault_of_the_program() -> None:
    with pytest.raises(GatewayError, match="not a declared crash point"):
        crash.passing("lease.during-commit")


async def test_postgresql_sees_no_commit_and_a_registry_no_message_outside_a_point(
    linked: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, seen = linked, Counter[str]()
    await stage.issue(net=1_000)
    engine = stage.gateway.database._engine.sync_engine
    event.listen(engine, "commit", lambda connection: seen.update(["commit"]))
    for code in ("MEC01", "KOR01"):
        async with stage.gateway.database.reading() as tx:
            registry = await stage.gateway.registries.of(tx, code)
        assert registry is not None
        send = registry.send

        async def counted(message: OutgoingMessage, send: object = send) -> object:
            seen.update([f"send.{message.type}"])
            return await send(message)  # type: ignore[operator]

        monkeypatch.setattr(registry, "send", counted)
    before = crash.passed()
    assert await stage.relay(await stage.propose(300, 300)) == ["completed"] * 2
    wish = stage.propose(100)
    [withdrawn] = await wish
    await stage.registries["MEC01"].post(f"transfers/{withdrawn}/withdraw")
    await stage.relay([withdrawn])
    await asyncio.sleep(0)  # what a reply still has to do after its commit
    passed = crash.passed() - before
    commits = sum(n for point, n in passed.items() if point.endswith(".after-commit") and point[:5] != "ring.")
    assert seen["commit"] == commits > 10
    sends = {p.removesuffix(".before-send"): n for p, n in passed.items() if p.endswith(".before-send")}
    assert sends == {name: n for name, n in seen.items() if name != "commit"}
    assert {"send.transfer.offer", "send.transfer.commit", "send.transfer.settle", "send.transfer.closed"} <= set(sends)


def test_only_the_database_module_commits_and_only_the_relay_sends() -> None:
    """Alembic, which commits the schema, passes its own point."""
    places: dict[str, set[str]] = {"commit": set(), "begin": set(), "send": set()}
    for path in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in places:
                places[node.func.attr].add(str(path.relative_to(SOURCES)))
    assert places["commit"] == {"migrations/__init__.py"}  # the advisory lock's, which changes nothing
    assert places["begin"] == {"db.py", "transfers/relay.py", "worker.py"}  # a turn of the relay begins, too
    assert places["send"] == {"transfers/sending.py", "history/asking.py"}
