"""A sandbox registry that follows the gateway's log: every leaf it was promised is there in time, or there is evidence.

Properties: a promise is kept by a published, proven tree alone; a minute without is a broken promise with the receipt
as it was signed; what was seen once cannot be changed or left out later (a fork is an alarm, with both checkpoints);
a log that is silent, garbled or slow stops nothing else. The gateway is played here (``test_sandbox_play``), and its
log by code of the tests alone (``tests/playedlog``), over HTTP.
"""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Request, Response
from joserfc import jws
from joserfc.jwk import KeySet

from tests import playedlog
from tests.integration import test_sandbox_play as play
from tests.integration.test_sandbox_play import Gateway, Sandbox, registry
from tests.integration.test_sandbox_source import issue
from tests.playedlog import Log

server = play.server

PATIENCE_SECONDS = 60.0
#: As far as nothing is overdue however slow the machine is, and further than a promise reaches.
SOON, LATE = 5, 61


async def until(holds: Callable[[], Awaitable[Any]]) -> Any:
    """Wait until ``holds`` gives something true, and give that; fails after a while."""
    deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
    while not (found := await holds()):
        assert asyncio.get_running_loop().time() < deadline, "waited in vain"
        await asyncio.sleep(0.05)
    return found


@dataclass
class Logging(Gateway):
    """The played gateway, with a log and a witness."""

    log: Log = field(default_factory=Log)
    #: Paths below ``/log`` that are answered otherwise; None is no answer until ``let_go``.
    instead: dict[str, Response | None] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    let_go: asyncio.Event = field(default_factory=asyncio.Event)
    #: What came to the witness, and how it answers: the body → a response.
    offered: list[bytes] = field(default_factory=list)
    witness: Callable[[bytes], Response] = lambda body: Response(status_code=404)

    async def serve(self, path: str) -> Response:
        self.asked.append(path)
        if path in self.instead:
            answer = self.instead[path]
            if answer is None:
                await self.let_go.wait()
            return answer or Response(status_code=503)
        if path == "checkpoint":
            return Response(self.log.shown, status_code=200 if self.log.shown else 404)
        tile = self.log.tile(path.removeprefix("tile/"))
        return Response(tile, status_code=200 if tile else 404)

    async def cosign(self, request: Request) -> Response:
        self.offered.append(await request.body())
        return self.witness(self.offered[-1])

    def pin(self, folder: Path) -> tuple[str, ...]:
        """Write the log's keys to a file, and give the options that pin them."""
        (folder / "GWY01.vkeys").write_text(f"{self.log.vkey}\n")
        return ("--gateway-log-keys", str(folder / "GWY01.vkeys"))

    def promised(self) -> list[bytes]:
        """The leaves promised in the receipts for what was heard, each once."""
        return [base64.urlsafe_b64decode(play.sha(raw) + "=") for raw in dict.fromkeys(m.raw for m in self.heard)]


@pytest.fixture
async def gateway() -> AsyncIterator[Logging]:
    played, app = Logging(), FastAPI()
    app.get("/log/{path:path}")(played.serve)
    app.post("/witness/add-checkpoint")(played.cosign)
    async with play.serving(played, app):
        yield played
        played.let_go.set()


async def promises(mechanism: Sandbox, **counts: int) -> dict[str, Any]:
    """Wait until there are so many promises of each state; gives them."""

    async def there() -> dict[str, Any] | None:
        shown: dict[str, Any] = await mechanism.admin("GET", "/promises")
        return shown if {"open": 0, "kept": 0, "broken": 0} | counts == shown["counts"] else None

    return dict(await until(there))


async def alarms(mechanism: Sandbox) -> list[int]:
    return [alarm["code"] for alarm in (await mechanism.admin("GET", "/books"))["alarms"]]


async def follow(mechanism: Sandbox) -> dict[str, Any]:
    return dict(await mechanism.admin("POST", "/follow"))


async def test_a_promise_is_kept_when_its_leaf_is_in_a_published_tree(
    server: Any, gateway: Logging, tmp_path: Path
) -> None:
    gateway.log.fill(300)
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01", more=gateway.pin(tmp_path)) as mechanism:
        await issue(mechanism)
        await mechanism.drained()
        (promised,) = (await promises(mechanism, open=1))["open"]
        assert promised["leaf"] == play.sha(gateway.heard[0].raw)
        assert await follow(mechanism) == {
            "size": 300,
            "root": playedlog.b64(playedlog.root(gateway.log.leaves)),
            "checkpoint": gateway.log.shown,
            "problem": "",
        }
        await promises(mechanism, open=1)
        # Published among others, across the edge of a tile; found without being told to look.
        gateway.log.fill(511)
        gateway.log.grow(*gateway.promised())
        gateway.log.fill(515)
        (kept,) = (await promises(mechanism, kept=1))["kept"]
        assert (kept["leaf"], kept["leaf_index"]) == (promised["leaf"], 511)
        assert "evidence" not in kept
        # A second look fetches the new leaves alone.
        gateway.asked.clear()
        gateway.log.fill(516)
        await follow(mechanism)
        assert gateway.asked == ["checkpoint", "tile/0/002.p/4"]
        assert await alarms(mechanism) == []


async def test_a_promise_not_kept_within_a_minute_is_broken_and_its_receipt_is_the_evidence(
    server: Any, gateway: Logging, tmp_path: Path
) -> None:
    gateway.log.fill(3)
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01", more=gateway.pin(tmp_path)) as mechanism:
        for _ in range(2):
            await issue(mechanism)
        await mechanism.drained()
        left_out, published = gateway.promised()
        await mechanism.admin("POST", "/clock", {"seconds": SOON})
        await follow(mechanism)
        await promises(mechanism, open=2)
        gateway.log.grow(published)
        await mechanism.admin("POST", "/clock", {"seconds": LATE})
        await follow(mechanism)
        (broken,) = (await promises(mechanism, kept=1, broken=1))["broken"]
        assert base64.urlsafe_b64decode(broken["leaf"] + "=") == left_out
        assert broken["why"] == "not in the tree of 4 leaves"
        # The evidence is the receipt as it was signed: it names the message that was sent, and the leaf.
        payload = _proven(gateway, broken["evidence"]["jws"])
        assert (payload["type"], payload["id"], payload["leaf"]) == ("receipt", broken["answer"], broken["leaf"])
        assert payload["in_reply_to"]["sha256"] == play.sha(gateway.heard[0].raw)
        assert payload["items"] == [play.sha(item) for item in broken["evidence"]["items"]]
        assert await alarms(mechanism) == [8005]
        # Too late is noted, and stays broken; who looks again alarms nobody again.
        gateway.log.grow(left_out)
        await follow(mechanism)
        (late,) = (await promises(mechanism, kept=1, broken=1))["broken"]
        assert (late["leaf_index"], late["judged_at"]) == (4, broken["judged_at"])
        assert await alarms(mechanism) == [8005]


def _proven(gateway: Logging, compact: str) -> dict[str, Any]:
    found = jws.deserialize_compact(compact, KeySet.import_key_set(gateway.jwks()), registry=play.REGISTRY)
    return dict(json.loads(found.payload or b""))


async def test_a_gateway_that_shows_no_log_breaks_its_promises(server: Any, gateway: Logging, tmp_path: Path) -> None:
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01", more=gateway.pin(tmp_path)) as mechanism:
        await issue(mechanism)
        await mechanism.drained()
        assert (await follow(mechanism))["problem"] == "404 for /log/checkpoint"
        await promises(mechanism, open=1)
        await mechanism.admin("POST", "/clock", {"seconds": LATE})
        (broken,) = (await promises(mechanism, broken=1))["broken"]
        assert broken["why"] == "not in the tree of 0 leaves: 404 for /log/checkpoint"
        assert await alarms(mechanism) == [8005]


async def test_a_leaf_may_be_published_before_the_answer_that_promises_it_arrives(
    server: Any, gateway: Logging, tmp_path: Path
) -> None:
    gateway.silent = True
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01", more=gateway.pin(tmp_path)) as mechanism:
        await issue(mechanism)
        await gateway.wait("action.notice")
        gateway.log.grow(*gateway.promised())
        assert (await follow(mechanism))["size"] == 1
        assert (await promises(mechanism))["open"] == []
        gateway.silent = False
        await mechanism.drained()
        await promises(mechanism, kept=1)


async def test_promises_outlive_the_process(server: Any, gateway: Logging, tmp_path: Path) -> None:
    database = f"sandbox_{play.uuid7().replace('-', '')}"
    gateway.log.fill(2)
    members: dict[str, Any] = {"more": gateway.pin(tmp_path), "database": database}
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01", **members) as mechanism:
        await issue(mechanism)
        await mechanism.drained()
        await promises(mechanism, open=1)
    gateway.log.grow(*gateway.promised())
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01", **members) as mechanism:
        await promises(mechanism, kept=1)


async def test_a_fork_is_noticed_and_both_checkpoints_are_kept(server: Any, gateway: Logging, tmp_path: Path) -> None:
    log = gateway.log
    log.fill(260)
    async with registry(server, gateway, tmp_path, "party", "KOR01", more=gateway.pin(tmp_path)) as korea:
        first = await follow(korea)
        honest = list(log.leaves)
        # An older checkpoint of the same tree is stale, and nothing worse.
        log.shown = log.checkpoint(200)
        assert await follow(korea) == first
        other = [*honest[:100], playedlog.leaf(b"another past"), *honest[101:]]
        shown = []
        for size in (300, 260, 250):  # a larger tree, the same size, a smaller one: each with another past
            log.leaves = other[:size]
            log.fill(size)
            shown.append(log.shown)
            for _ in range(2):
                seen = await follow(korea)
                assert (seen["size"], seen["checkpoint"]) == (260, first["checkpoint"])
                assert seen["problem"] == "the log shows another tree than before"
        forks = (await korea.admin("GET", "/log"))["forks"]
        assert [(fork["known"], fork["shown"]) for fork in forks] == [(first["checkpoint"], s) for s in shown[::-1]]
        assert await alarms(korea) == [8004] * 3
        # What is honest goes on from where it was.
        log.leaves = honest
        log.fill(270)
        assert (await follow(korea))["size"] == 270


WRONG = (
    *("another key", "a broken signature", "another origin", "no note", "far too much", "another page"),
    *("no tile", "half a tile", "a size beyond reason"),
)


async def _wrong(gateway: Logging, what: str) -> str:
    """Let the log show something wrong; gives what the registry says of it."""
    log, stranger = gateway.log, Log()
    stranger.leaves = log.leaves
    log.shown = log.checkpoint()
    *body, line, end = log.shown.split("\n")
    last = len(log.leaves) // 256
    unproven = f"not signed by a known key of {log.origin}"
    if what == "another key":
        log.shown = stranger.checkpoint()
    elif what == "a broken signature":
        raw = base64.b64decode(line.split(" ")[2])
        log.shown = "\n".join([*body, f"— {log.origin} {playedlog.b64(raw[:-1] + bytes([raw[-1] ^ 1]))}", end])
    elif what == "another origin":
        log.shown = Log(origin="elsewhere.invalid/log", leaves=log.leaves).checkpoint()
        return "no key of the log elsewhere.invalid/log is pinned"
    elif what == "no note":
        gateway.instead["checkpoint"] = Response(b"\xff\x00 nonsense")
        return "a note is UTF-8"
    elif what == "far too much":
        gateway.instead["checkpoint"] = Response(b"x" * 1_000_000)
        return "more than 131072 bytes from /log/checkpoint"
    elif what == "another page":
        gateway.instead["checkpoint"] = Response(status_code=302, headers={"location": "/keys"})
        return "302 for /log/checkpoint"
    elif what == "no tile":
        paths = (f"tile/0/{last:03}.p/4", f"tile/0/{last:03}")
        gateway.instead |= {path: Response(status_code=404) for path in paths}
        return f"404 for /log/{paths[1]}"
    elif what == "half a tile":
        gateway.instead[f"tile/0/{last - 1:03}"] = Response(b"x" * 100)
        return f"tile 0/{last - 1:03} has not 8192 bytes"
    elif what == "a size beyond reason":
        log.shown = log.checkpoint(2**62, playedlog.leaf(b""))
        return f"more new leaves than one look fetches: {2**62 - len(log.leaves) + 256}"
    return unproven


async def test_what_is_not_proven_is_not_believed(either: "Either") -> None:
    gateway, mechanism = either.gateway, either.mechanism
    for what in WRONG:
        known = len(gateway.log.leaves) - 256 if what != WRONG[0] else 0
        problem = await _wrong(gateway, what)
        seen = await follow(mechanism)
        assert (what, seen["size"], seen["problem"]) == (what, known, problem)
        shown = await mechanism.admin("GET", "/log")
        assert (shown["forks"], await alarms(mechanism)) == ([], [])
        # Nothing else suffers, and what is right is seen as soon as it is there.
        assert (await mechanism.send("time.query")).type == "time.answer"
        gateway.instead.clear()
        gateway.log.shown = gateway.log.checkpoint()
        seen = await follow(mechanism)
        assert (seen["size"], seen["problem"]) == (len(gateway.log.leaves), "")
        gateway.log.fill(len(gateway.log.leaves) + 256)


@dataclass
class Either:
    gateway: Logging
    mechanism: Sandbox


@pytest.fixture
async def either(server: Any, gateway: Logging, tmp_path: Path) -> AsyncIterator[Either]:
    """A registry that follows a log of 260 leaves and has not looked yet."""
    gateway.log.fill(260)
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01", more=gateway.pin(tmp_path)) as mechanism:
        yield Either(gateway, mechanism)


async def test_tiles_that_do_not_give_the_signed_root_are_a_fork(either: Either) -> None:
    either.gateway.instead["tile/0/000"] = Response(b"x" * 8192)
    seen = await follow(either.mechanism)
    assert (seen["size"], seen["problem"]) == (0, "the log shows another tree than before")
    (fork,) = (await either.mechanism.admin("GET", "/log"))["forks"]
    assert (fork["known"], fork["shown"]) == ("", either.gateway.log.shown)


async def test_a_partial_tile_that_was_given_up_is_read_from_the_full_one(either: Either) -> None:
    gateway = either.gateway
    gateway.instead["tile/0/001.p/4"] = Response(status_code=404)
    gateway.instead["tile/0/001"] = Response(b"".join(gateway.log.leaves[256:]) + b"\0" * (252 * 32))
    seen = await follow(either.mechanism)
    assert (seen["size"], seen["problem"]) == (260, "")


async def test_a_log_that_hangs_stops_nothing_else(either: Either) -> None:
    gateway, mechanism = either.gateway, either.mechanism
    gateway.instead["checkpoint"] = None
    await issue(mechanism)
    await mechanism.drained()
    looking = asyncio.create_task(follow(mechanism))
    await until(lambda: asyncio.sleep(0, "checkpoint" in gateway.asked))
    assert (await mechanism.send("time.query")).type == "time.answer"
    await issue(mechanism)
    await mechanism.drained()
    assert not looking.done()
    del gateway.instead["checkpoint"]
    gateway.log.grow(*gateway.promised())
    gateway.let_go.set()
    await looking
    await promises(mechanism, kept=2)


async def test_keys_that_are_not_there_yet_are_waited_for(server: Any, gateway: Logging, tmp_path: Path) -> None:
    gateway.log.fill(1)
    options = ("--gateway-log-keys", str(tmp_path / "GWY01.vkeys"))
    async with registry(server, gateway, tmp_path, "party", "KOR01", more=options) as korea:
        assert (await follow(korea))["problem"] == "the keys of GWY01's log are not at hand"
        (tmp_path / "GWY01.vkeys").write_text("this is no key\n")
        assert (await follow(korea))["problem"] == "not a vkey of a type known here"
        gateway.pin(tmp_path)
        assert (await follow(korea))["size"] == 1


async def test_without_keys_nothing_is_followed(server: Any, gateway: Logging, tmp_path: Path) -> None:
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01") as mechanism:
        await issue(mechanism)
        await mechanism.drained()
        await mechanism.admin("POST", "/follow", status=409)
        assert (await mechanism.admin("GET", "/promises"))["counts"] == {"open": 0, "kept": 0, "broken": 0}
        assert gateway.asked == []
