"""A sandbox registry is killed at every named place that a course of a transfer passes, and started again.

The property: whatever was under way, the course then comes to the same end, once. The method: one course is run to
learn which places it passes; for each of them a new registry dies there (SIGKILL of itself), is started again on its
database, and the course is taken up where it was. The gateway and the other registry are played here (see
``test_sandbox_play``).
"""

import ast
import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration import test_sandbox_play as play
from tests.integration.test_sandbox_acquirer import ORIGIN, Deal, closed, itmo, korea_of, offers
from tests.integration.test_sandbox_play import Gateway, Heard, Party, Sandbox, registry
from tests.integration.test_sandbox_source import KOREA, Proposed, commit, issue, simple

server, gateway = play.server, play.gateway

SANDBOX = play.ROOT / "connectors" / "sandbox"


@dataclass
class Course:
    """What the gateway of a course has signed so far: it sends the same bytes after a crash."""

    peer: Party
    sent: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    deals: list[Deal] = field(default_factory=lambda: [Deal(1, 10), Deal(11, 20)])

    async def post(self, sandbox: Sandbox, name: str, message: Callable[[], tuple[Any, ...]]) -> None:
        if name not in self.sent:
            self.sent[name] = sandbox.gateway.compose(sandbox.code, *message())[1:]
        await sandbox.send_bytes(*self.sent[name])


async def as_source(mechanism: Sandbox, course: Course) -> None:
    """Propose two transfers; one is committed and completed, the other cancelled."""
    gateway = mechanism.gateway
    listed = (await mechanism.admin("GET", "/transfers"))["transfers"]
    if not listed:
        wishes = [{"party": "MMR", "to": KOREA, "quantity": quantity} for quantity in (10, 5)]
        await mechanism.admin("POST", "/transfers", {"transfers": wishes}, 201)
    (message,) = await gateway.wait("transfer.propose")
    gone, stays = (
        Proposed(item["transfer"], text, message.jws) for item, text in zip(message.items, message.texts, strict=True)
    )
    await mechanism.admin("POST", "/ask", status=200)
    await course.post(mechanism, "commit", lambda: commit(course.peer, [gone]))
    await course.post(mechanism, "cancel", lambda: simple("cancel", [stays], outcome="cancelled"))
    await gateway.wait("transfer.released")
    await gateway.wait("transfer.voided")
    await course.post(mechanism, "closed", lambda: simple("closed", [gone], state="completed"))
    await mechanism.drained()


async def as_acquirer(korea: Sandbox, course: Course) -> None:
    """Accept two offers; one is settled and completed, the other closed."""
    gateway, deals = korea.gateway, course.deals
    await course.post(korea, "offer", lambda: offers(course.peer, deals))
    (answer,) = await gateway.wait("transfer.answer")
    given = {item["transfer"]: text for item, text in zip(answer.items, answer.texts, strict=True)}
    for deal in deals:
        deal.answer = given[deal.transfer]
    await course.post(korea, "settle", lambda: settled(course, answer))
    await gateway.wait("transfer.credited")
    await course.post(korea, "completed", lambda: closed(deals[:1], "completed"))
    await course.post(korea, "cancelled", lambda: closed(deals[1:], "cancelled"))
    await korea.drained()


def settled(course: Course, answer: Heard) -> tuple[Any, ...]:
    deal, source = course.deals[0], course.peer
    proposed, released = (
        source.compose("GWY01", kind, [item])[0]
        for kind, item in (("transfer.propose", deal.proposal), ("transfer.released", deal.release))
    )
    body = {"evidence": [proposed, answer.jws, released]}
    return "transfer.settle", [deal.settle()], body, [deal.proposal, deal.answer, deal.release]


async def dies(sandbox: Sandbox, course: Awaitable[None]) -> bool:
    """Run a course; say whether the process died before it came to its end."""
    running, death = asyncio.ensure_future(course), asyncio.ensure_future(sandbox.process.wait())
    await asyncio.wait({running, death}, return_when=asyncio.FIRST_COMPLETED)
    if running.done() and isinstance(running.exception(), httpx.TransportError):
        await asyncio.wait({death}, timeout=10)
    died = death.done()
    running.cancel()
    death.cancel()
    (ended, _) = await asyncio.gather(running, death, return_exceptions=True)
    if not died and isinstance(ended, BaseException):
        raise ended
    return died


#: Places that both courses pass although they are no part of them.
ASIDE = ("start.", "admin.look.", "admin.issue.", "duties.begin.")


async def points_of(sandbox: Sandbox, course: Awaitable[None]) -> list[str]:
    """Give the places a course passes."""
    before = (await sandbox.admin("GET", "/crash"))["passed"]
    await course
    passed = (await sandbox.admin("GET", "/crash"))["passed"]
    return sorted(p for p, n in passed.items() if n > before.get(p, 0) and not p.startswith(ASIDE))


SOURCE_POINTS = {
    *(f"{name}.{when}-commit" for when in ("before", "after") for name in (
        "admin.transfers", "duties.ask", "duties.heard", "outbox.turn",
        "receive.transfer.commit", "receive.transfer.cancel", "receive.transfer.closed",
    )),
    *(f"send.{name}.{when}-send" for when in ("before", "after") for name in (
        "transfer.propose", "transfer.released", "transfer.voided", "status.query",
    )),
}  # fmt: skip
ACQUIRER_POINTS = {
    *(f"{name}.{when}-commit" for when in ("before", "after") for name in (
        "duties.decide", "outbox.turn", "receive.transfer.offer", "receive.transfer.settle", "receive.transfer.closed",
    )),
    *(f"send.{name}.{when}-send" for when in ("before", "after") for name in (
        "transfer.answer", "transfer.credited",
    )),
}  # fmt: skip


async def test_a_source_dies_anywhere_and_debits_once(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    def run(database: str) -> Any:
        gateway.heard.clear()
        peers = (korea,)
        return registry(
            server, gateway, tmp_path, "mechanism", "MEC01", answer="message", peers=peers, database=database
        )

    korea = Party("KOR01")
    async with run("source_passes") as mechanism:
        await issue(mechanism)
        await mechanism.drained()
        points = await points_of(mechanism, as_source(mechanism, Course(korea)))
        assert SOURCE_POINTS <= set(points)
    for number, point in enumerate(sorted(SOURCE_POINTS)):
        course = Course(korea)
        async with run(f"source_{number}") as mechanism:
            await issue(mechanism)
            await mechanism.drained()
            await mechanism.admin("POST", "/crash", {"point": point}, 201)
            assert await dies(mechanism, as_source(mechanism, course)), point
            assert mechanism.process.returncode == -9
        heard = list(gateway.heard)
        async with run(f"source_{number}") as mechanism:
            gateway.heard += heard
            await as_source(mechanism, course)
            books = await mechanism.books()
            assert (books["moved_out"], books["locked"], books["alarms"]) == (10, 0, []), point
            released = {t for m in gateway.heard if m.type == "transfer.released" for t in m.texts}
            assert len(released) == 1, point


async def test_an_acquirer_dies_anywhere_and_credits_once(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    def run(database: str) -> Any:
        gateway.heard.clear()
        return korea_of(server, gateway, tmp_path, source, answer="message", database=database)

    source = Party("MEC01")
    async with run("acquirer_passes") as korea:
        points = await points_of(korea, as_acquirer(korea, Course(source)))
        assert ACQUIRER_POINTS <= set(points)
    for number, point in enumerate(sorted(ACQUIRER_POINTS)):
        course = Course(source)
        async with run(f"acquirer_{number}") as korea:
            await korea.admin("POST", "/crash", {"point": point}, 201)
            assert await dies(korea, as_acquirer(korea, course)), point
            assert korea.process.returncode == -9
        heard = list(gateway.heard)
        async with run(f"acquirer_{number}") as korea:
            gateway.heard += heard
            await as_acquirer(korea, course)
            books = await korea.books()
            assert (books["held"], books["moved_in"], books["alarms"]) == (10, 10, []), point
            assert books["blocks"][0]["block"]["itmo"] == itmo(1, 10)
            assert books["blocks"][0]["block"]["origin"] == ORIGIN
            credited = {t for m in gateway.heard if m.type == "transfer.credited" for t in m.texts}
            assert len(credited) == 1, point


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
