"""A sandbox registry as a witness of the gateway's log (C2SP tlog-witness): what it cosigns, and what it never does.

Property: of a log it cosigns one line of growing trees, whatever comes in whatever order; what is refused has the
status of the specification and changes nothing. The log is made by code of the tests alone (``tests/playedlog``).
"""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import playedlog
from tests.integration import test_sandbox_log, test_sandbox_play
from tests.integration.test_sandbox_log import Logging, alarms, follow
from tests.integration.test_sandbox_play import Sandbox, registry
from tests.playedlog import Log

server, gateway = test_sandbox_play.server, test_sandbox_log.gateway


@pytest.fixture
async def korea(server: Any, gateway: Logging, tmp_path: Path) -> AsyncIterator[Sandbox]:
    async with registry(server, gateway, tmp_path, "party", "KOR01", more=gateway.pin(tmp_path)) as sandbox:
        yield sandbox


async def add(witness: Sandbox, body: bytes) -> httpx.Response:
    return await witness.client.post(f"{witness.url}/witness/add-checkpoint", content=body)


async def key_of(witness: Sandbox) -> str:
    answer = await witness.client.get(f"{witness.url}/witness/keys")
    assert answer.headers["content-type"].startswith("text/plain")
    (vkey,) = answer.text.splitlines()
    return str(vkey)


async def last(witness: Sandbox) -> int:
    """The size last cosigned, as the witness itself says where the old size is not that."""
    seen = (await witness.admin("GET", "/log"))["witnessed"]
    return int(seen[0]["size"]) if seen else 0


async def test_a_log_that_grows_is_cosigned(korea: Sandbox, gateway: Logging) -> None:
    log, vkey = gateway.log, await key_of(korea)
    assert vkey.startswith("kor01.sandbox.invalid/witness+")
    before, old = int(time.time()), 0
    for size in (5, 5, 6, 8, 300, 512):
        log.fill(size)
        answer = await add(korea, log.added(old))
        assert (answer.status_code, await last(korea)) == (200, size)
        assert playedlog.cosigned_at(answer.text, vkey, log.checkpoint()) >= before
        old = size


async def test_a_log_may_begin_empty(korea: Sandbox, gateway: Logging) -> None:
    wrong = gateway.log.checkpoint(0, playedlog.leaf(b""))
    assert (await add(korea, gateway.log.added(0, wrong))).status_code == 422
    assert (await add(korea, gateway.log.added(0))).status_code == 200
    gateway.log.fill(2)
    assert (await add(korea, gateway.log.added(0))).status_code == 200


async def test_who_is_behind_or_ahead_is_told_the_size(korea: Sandbox, gateway: Logging) -> None:
    gateway.log.fill(8)
    assert (await add(korea, gateway.log.added(0))).status_code == 200
    gateway.log.fill(20)
    for old in (0, 5, 9, 20):
        answer = await add(korea, gateway.log.added(old))
        assert (answer.status_code, answer.text) == (409, "8\n")
        assert answer.headers["content-type"] == "text/x.tlog.size"
    assert (await add(korea, gateway.log.added(8))).status_code == 200
    # What was cosigned before is over; it is not cosigned again.
    assert (await add(korea, gateway.log.added(0, gateway.log.checkpoint(8)))).status_code == 409
    assert await last(korea) == 20


async def test_what_is_not_of_the_log_is_not_cosigned(korea: Sandbox, gateway: Logging) -> None:
    log = gateway.log
    log.fill(4)
    assert (await add(korea, log.added(0))).status_code == 200
    log.fill(9)
    stranger = Log(origin="elsewhere.invalid/log", leaves=log.leaves)
    assert (await add(korea, stranger.added(4))).status_code == 404
    forged = Log(leaves=log.leaves)
    assert (await add(korea, forged.added(4))).status_code == 403
    good = log.checkpoint()
    for wrong in (
        good.replace("\n9\n", "\n8\n"),
        good.replace(good.split(" ")[-1], Log(leaves=log.leaves).checkpoint().split(" ")[-1]),
    ):
        assert (await add(korea, log.added(4, wrong, by=playedlog.proof(log.leaves, 4)))).status_code == 403
    assert await last(korea) == 4


async def test_what_does_not_lead_on_is_not_cosigned(korea: Sandbox, gateway: Logging) -> None:
    log = gateway.log
    log.fill(6)
    assert (await add(korea, log.added(0, by=[log.leaves[0]]))).status_code == 422
    assert (await add(korea, log.added(0))).status_code == 200
    log.fill(11)
    proof = playedlog.proof(log.leaves, 6)
    assert len(proof) > 2
    for by in ([], proof[:-1], [*proof, proof[0]], proof[::-1], [log.leaves[0], *proof[1:]]):
        assert (await add(korea, log.added(6, by=by))).status_code == 422
    rewritten = Log(key=log.key, leaves=[playedlog.leaf(b"another past"), *log.leaves[1:]])
    assert (await add(korea, rewritten.added(6))).status_code == 422
    # Anybody may send a good checkpoint with a bad proof: that is no fork.
    assert ((await korea.admin("GET", "/log"))["forks"], await alarms(korea), await last(korea)) == ([], [], 6)
    assert (await add(korea, log.added(6))).status_code == 200


async def test_another_root_for_a_size_that_was_cosigned_is_a_fork(korea: Sandbox, gateway: Logging) -> None:
    log = gateway.log
    log.fill(6)
    assert (await add(korea, log.added(0))).status_code == 200
    split = log.checkpoint(6, playedlog.leaf(b"another"))
    for old, status in ((6, 422), (6, 422), (2, 409)):
        assert (await add(korea, log.added(old, split, by=[]))).status_code == status
    (fork,) = (await korea.admin("GET", "/log"))["forks"]
    assert (fork["known"], fork["shown"]) == (log.checkpoint(), split)
    assert await alarms(korea) == [8004]
    log.fill(7)
    assert (await add(korea, log.added(6))).status_code == 200


async def test_what_the_witness_is_shown_and_what_the_follower_sees_is_one_tree(
    korea: Sandbox, gateway: Logging
) -> None:
    log = gateway.log
    log.fill(6)
    await follow(korea)
    shown_to_witness = log.checkpoint(6, playedlog.leaf(b"another"))
    assert (await add(korea, log.added(0, shown_to_witness, by=[]))).status_code == 422
    # A head that the follower has not seen is cosigned; what it then sees must lead through it.
    ahead = log.checkpoint(8, playedlog.leaf(b"another"))
    assert (await add(korea, log.added(0, ahead, by=[]))).status_code == 200
    log.fill(10)
    assert (await follow(korea))["size"] == 6
    forks = (await korea.admin("GET", "/log"))["forks"]
    assert [(fork["known"], fork["shown"]) for fork in forks] == [
        (ahead, log.shown),
        (log.checkpoint(6), shown_to_witness),
    ]
    assert await alarms(korea) == [8004, 8004]


def _malformed(log: Log) -> list[bytes]:
    good = log.added(3).decode()
    line = good.split("\n")[1]
    return [
        b"",
        b"old 3\n",
        b"\xff" + good.encode(),
        good.replace("old 3", "old 03").encode(),
        good.replace("old 3", "old -3").encode(),
        good.replace("old 3", "old 99999999999999999999").encode(),
        good.replace("old 3", "new 3").encode(),
        good.replace("old 3", "old 8").encode(),
        good.replace(line, line[:-5]).encode(),
        good.replace(line, "AAAA").encode(),
        good.replace("old 3\n", "old 3\n" + f"{line}\n" * 63).encode(),
        good.replace("\n\n", "\n", 1).encode(),
        good.replace("\n7\n", "\n07\n").encode(),
        good.encode() + b"x" * 200_000,
    ]


async def test_what_is_malformed_is_refused(korea: Sandbox, gateway: Logging) -> None:
    gateway.log.fill(7)
    assert (await add(korea, gateway.log.added(0, gateway.log.checkpoint(3), by=[]))).status_code == 200
    for nr, body in enumerate(_malformed(gateway.log)):
        assert (nr, (await add(korea, body)).status_code, await last(korea)) == (nr, 400, 3)
    assert (await add(korea, gateway.log.added(3))).status_code == 200


async def test_of_two_that_come_at_once_one_is_the_last(korea: Sandbox, gateway: Logging) -> None:
    log, old = gateway.log, 0
    for _ in range(10):
        log.fill(old + 3)
        bodies = [log.added(old, log.checkpoint(size)) for size in (old + 2, old + 3, old + 3)]
        answers = await asyncio.gather(*(add(korea, body) for body in bodies))
        assert sorted(answer.status_code for answer in answers) == [200, 409, 409]
        won = next(body for body, answer in zip(bodies, answers, strict=True) if answer.status_code == 200)
        old = await last(korea)
        assert f"\n{old}\n".encode() in won
        assert {answer.text for answer in answers if answer.status_code == 409} == {f"{old}\n"}


async def test_a_witness_remembers_over_its_end_and_over_a_restore_of_the_books(
    server: Any, gateway: Logging, tmp_path: Path
) -> None:
    members: dict[str, Any] = {"more": gateway.pin(tmp_path), "database": "sandbox_that_is_a_witness"}
    gateway.log.fill(4)
    async with registry(server, gateway, tmp_path, "party", "KOR01", **members) as korea:
        vkey = await key_of(korea)
        await korea.admin("POST", "/backup")
        assert (await add(korea, gateway.log.added(0))).status_code == 200
        await korea.admin("POST", "/restore", {"known": False})
        assert (await add(korea, gateway.log.added(0))).text == "4\n"
    assert (tmp_path / "witness-KOR01.pem").stat().st_mode & 0o777 == 0o600
    async with registry(server, gateway, tmp_path, "party", "KOR01", **members) as korea:
        assert await key_of(korea) == vkey
        assert (await add(korea, gateway.log.added(0))).text == "4\n"


async def test_who_pins_no_log_witnesses_none(server: Any, gateway: Logging, tmp_path: Path) -> None:
    gateway.log.fill(4)
    async with registry(server, gateway, tmp_path, "party", "KOR01") as korea:
        assert (await add(korea, gateway.log.added(0))).status_code == 404
    options = ("--gateway-log-keys", str(tmp_path / "absent.vkeys"))
    async with registry(server, gateway, tmp_path, "party", "KOR01", more=options) as korea:
        assert (await add(korea, gateway.log.added(0))).status_code == 503
