"""The fault channel of a sandbox registry: each fault once in each direction, and what it leaves behind.

The property: a fault changes what the other side sees, and never what is stored once. The gateway and the other
registry are played here (see ``test_sandbox_play``).
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc.errors import InvalidKeyIdError
from joserfc.jwk import KeySet

from tests.integration import test_sandbox_play as play
from tests.integration.test_sandbox_acquirer import Deal, accept, korea_of, settles
from tests.integration.test_sandbox_play import Gateway, Heard, Party, Sandbox, registry, sha
from tests.integration.test_sandbox_source import KOREA, Proposed, commit, issue, propose, simple, state

server, gateway = play.server, play.gateway


async def fault(sandbox: Sandbox, name: str, **members: Any) -> int:
    return int((await sandbox.admin("POST", "/faults", {"fault": name, **members}, 201))["id"])


async def struck(sandbox: Sandbox) -> list[tuple[int, int]]:
    return [(f["left"], f["fired"]) for f in (await sandbox.admin("GET", "/faults"))["faults"]]


async def has_struck(sandbox: Sandbox) -> bool:
    return all(not left for left, _ in await struck(sandbox))


async def is_in(mechanism: Sandbox, proposed: Proposed, expected: str) -> bool:
    return await state(mechanism, proposed) == expected


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    for _ in range(1000):
        if await holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it has not come about in ten seconds")


async def wish_for(mechanism: Sandbox, quantity: int) -> list[str]:
    wish = {"party": "MMR", "to": KOREA, "quantity": quantity}
    ids: list[str] = (await mechanism.admin("POST", "/transfers", {"transfers": [wish]}, 201))["transfers"]
    return ids


async def committed(mechanism: Sandbox, korea: Party) -> tuple[Proposed, str, bytes]:
    """Give a locked transfer, and the commit for it as it goes over the wire."""
    await issue(mechanism)
    (proposed,) = await propose(mechanism, [10])
    _, kind, raw = mechanism.gateway.compose("MEC01", *commit(korea, [proposed]))
    return proposed, kind, raw


async def test_a_lost_reply_leaves_the_effect_and_the_same_answer_waiting(
    server: Any, gateway: Gateway, tmp_path: Path
) -> None:
    korea = Party("KOR01")
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01", peers=(korea,)) as mechanism:
        proposed, kind, raw = await committed(mechanism, korea)
        await fault(mechanism, "lose-reply", type="transfer.commit")
        with pytest.raises(httpx.TransportError):
            await mechanism.post(kind, raw)
        assert await state(mechanism, proposed) == "released"
        assert (await mechanism.send_bytes(kind, raw)).type == "transfer.released"
        assert (await mechanism.books())["moved_out"] == 10
        assert await struck(mechanism) == [(0, 1)]


async def test_a_lost_request_leaves_nothing(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    korea = Party("KOR01")
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01", peers=(korea,)) as mechanism:
        proposed, kind, raw = await committed(mechanism, korea)
        await fault(mechanism, "lose-request", skip=1)
        assert (await mechanism.send("time.query")).type == "time.answer"
        with pytest.raises(httpx.TransportError):
            await mechanism.post(kind, raw)
        assert await state(mechanism, proposed) == "locked"
        assert (await mechanism.send_bytes(kind, raw)).type == "transfer.released"


async def test_what_is_delayed_comes_late(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01") as mechanism:
        for name in ("delay", "delay-reply"):
            await fault(mechanism, name, type="time.query", seconds=0.5)
            begun = time.monotonic()
            assert (await mechanism.send("time.query")).type == "time.answer"
            assert time.monotonic() - begun >= 0.5


async def test_a_delayed_reply_is_stored_before_the_delay(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    korea = Party("KOR01")
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01", peers=(korea,)) as mechanism:
        proposed, kind, raw = await committed(mechanism, korea)
        await fault(mechanism, "delay-reply", type="transfer.commit", seconds=60)
        answer = asyncio.create_task(mechanism.send_bytes(kind, raw))
        await until(lambda: is_in(mechanism, proposed, "released"))
        assert not answer.done()
        # Clearing the faults lets go of what they hold.
        assert await mechanism.admin("DELETE", "/faults", status=200) == {"faults": []}
        assert (await asyncio.wait_for(answer, 10)).type == "transfer.released"


async def test_a_repeated_message_has_one_effect_and_one_answer(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    korea = Party("KOR01")
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01", peers=(korea,)) as mechanism:
        _, kind, raw = await committed(mechanism, korea)
        await fault(mechanism, "repeat", type="transfer.commit")
        released = await mechanism.send_bytes(kind, raw)
        assert (await mechanism.send_bytes(kind, raw)).raw == released.raw
        assert (await mechanism.books())["moved_out"] == 10
        passed = (await mechanism.admin("GET", "/crash"))["passed"]
        assert passed["receive.transfer.commit.after-commit"] == 3


async def test_a_message_is_overtaken_by_the_next_one(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    korea = Party("KOR01")
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01", peers=(korea,)) as mechanism:
        proposed, kind, raw = await committed(mechanism, korea)
        await fault(mechanism, "reorder", type="transfer.commit")
        held = asyncio.create_task(mechanism.send_bytes(kind, raw))
        await until(lambda: has_struck(mechanism))
        assert (await mechanism.send(*simple("cancel", [proposed], outcome="cancelled"))).type == "transfer.voided"
        assert (await held).type == "transfer.voided"
        assert (await mechanism.books())["moved_out"] == 0


async def test_a_refusal_is_no_verdict(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    korea = Party("KOR01")
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01", peers=(korea,)) as mechanism:
        _, kind, raw = await committed(mechanism, korea)
        await fault(mechanism, "refuse", type="transfer.commit", code=9002)
        refusal = await mechanism.send_bytes(kind, raw)
        assert (refusal.type, "seq" in refusal.payload) == ("refusal", False)
        assert refusal.payload["body"]["findings"][0]["code"] == 9002
        await fault(mechanism, "refuse-unsigned", type="transfer.commit")
        problem = await mechanism.post(kind, raw)
        assert (problem.status_code, problem.headers["retry-after"], problem.json()["code"]) == (503, "1", 9003)
        assert problem.headers["content-type"] == "application/problem+json"
        # Nothing was stored of either (R23): the same bytes are carried out now.
        assert (await mechanism.send_bytes(kind, raw)).type == "transfer.released"


async def test_an_answer_that_proves_nothing_comes_after_the_effect(
    server: Any, gateway: Gateway, tmp_path: Path
) -> None:
    korea = Party("KOR01")
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01", peers=(korea,)) as mechanism:
        proposed, kind, raw = await committed(mechanism, korea)
        await fault(mechanism, "garbage", type="transfer.commit")
        garbage = await mechanism.post(kind, raw)
        assert (garbage.status_code, b"." in garbage.content) == (200, False)
        assert garbage.headers["content-type"].startswith("application/a6link+json")
        assert await state(mechanism, proposed) == "released"
        await fault(mechanism, "wrong-signature", type="transfer.commit")
        forged = await mechanism.post(kind, raw)
        with pytest.raises(InvalidKeyIdError):
            play.read(forged.headers["content-type"], forged.content, mechanism.key_set)
        assert json.loads(forged.content)["items"] == (await mechanism.send_bytes(kind, raw)).texts


async def test_one_answer_comes_by_message(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    korea = Party("KOR01")
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01", peers=(korea,)) as mechanism:
        _, kind, raw = await committed(mechanism, korea)
        await fault(mechanism, "by-message", type="transfer.commit")
        receipt = await mechanism.send_bytes(kind, raw)
        assert (receipt.type, receipt.items[0]["state"]) == ("receipt", "released")
        assert "in_reply_to" not in (await gateway.wait("transfer.released"))[0].payload


async def test_a_refused_settle_changes_nothing(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    source, deals = Party("MEC01"), [Deal(1, 10)]
    async with korea_of(server, gateway, tmp_path, source) as korea:
        answer = await accept(korea, source, deals)
        _, kind, raw = gateway.compose("KOR01", *settles(source, deals, answer.jws))
        await fault(korea, "refuse-settle", times=2)
        for _ in range(2):
            receipt = await korea.send_bytes(kind, raw)
            assert (receipt.type, receipt.items[0]["state"]) == ("receipt", "accepted")
            assert receipt.items[0]["findings"][0]["code"] == 3001
        assert (await korea.books())["held"] == 0
        assert (await korea.send_bytes(kind, raw)).type == "transfer.credited"


async def test_what_is_down_takes_nothing_and_sends_nothing_until_it_is_cleared(
    server: Any, gateway: Gateway, tmp_path: Path
) -> None:
    korea = Party("KOR01")
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01", peers=(korea,)) as mechanism:
        proposed, kind, raw = await committed(mechanism, korea)
        await mechanism.drained()
        gateway.heard.clear()
        await fault(mechanism, "down")
        for _ in range(3):
            with pytest.raises(httpx.TransportError):
                await mechanism.post(kind, raw)
        with pytest.raises(httpx.TransportError):
            await mechanism.client.get(f"{mechanism.url}/keys")
        await wish_for(mechanism, 1)
        await until(lambda: has_fired(mechanism, "down", 4))
        await mechanism.admin("POST", f"/transfers/{proposed.transfer}/withdraw", status=503)
        assert (gateway.heard, await state(mechanism, proposed)) == ([], "locked")
        await mechanism.admin("DELETE", "/faults", status=200)
        assert (await mechanism.send_bytes(kind, raw)).type == "transfer.released"
        assert len(await gateway.wait("transfer.propose")) == 1


async def has_fired(sandbox: Sandbox, name: str, times: int) -> bool:
    shown = (await sandbox.admin("GET", "/faults"))["faults"]
    return any(f["fault"] == name and f["fired"] >= times for f in shown)


async def test_what_is_down_for_a_time_comes_back_by_itself(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01") as mechanism:
        await fault(mechanism, "down", seconds=0.5)
        begun = time.monotonic()
        with pytest.raises(httpx.TransportError):
            await mechanism.send("time.query")
        await until(lambda: has_struck(mechanism))
        assert time.monotonic() - begun >= 0.4
        assert (await mechanism.send("time.query")).type == "time.answer"


async def test_an_answer_under_way_is_lost_when_the_registry_goes_down(
    server: Any, gateway: Gateway, tmp_path: Path
) -> None:
    korea = Party("KOR01")
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01", peers=(korea,)) as mechanism:
        proposed, kind, raw = await committed(mechanism, korea)
        await fault(mechanism, "delay-reply", type="transfer.commit", seconds=0.5)
        under_way = asyncio.create_task(mechanism.post(kind, raw))
        await until(lambda: is_in(mechanism, proposed, "released"))
        await fault(mechanism, "down")
        with pytest.raises(httpx.TransportError):
            await under_way


async def test_a_source_answers_and_says_the_opposite_too(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    korea = Party("KOR01")
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01", peers=(korea,)) as mechanism:
        await issue(mechanism)
        gone, ended = await propose(mechanism, [10, 5])
        await fault(mechanism, "answer-twice", times=2)
        released = await mechanism.send(*commit(korea, [gone]))
        assert released.type == "transfer.released"
        (denied,) = await gateway.wait("transfer.voided")
        assert [item["transfer"] for item in denied.items] == [gone.transfer]
        voided = await mechanism.send(*simple("cancel", [ended], outcome="cancelled"))
        assert voided.type == "transfer.voided"
        (invented,) = await gateway.wait("transfer.released")
        assert invented.items[0]["transfer"] == ended.transfer
        assert invented.items[0]["commit"]["sha256"] == sha("a message nobody sent")
        assert [await state(mechanism, p) for p in (gone, ended)] == ["released", "void"]
        assert (await mechanism.books())["moved_out"] == 10


@pytest.mark.parametrize("way", ["reply", "message"])
async def test_an_acquirer_answers_and_says_the_opposite_too(
    server: Any, gateway: Gateway, tmp_path: Path, way: str
) -> None:
    source, yes, no = Party("MEC01"), Deal(1, 10), Deal(11, 20, "100-7")
    async with korea_of(server, gateway, tmp_path, source, answer=way) as korea:
        await fault(korea, "answer-twice", times=3)
        answer = await accept(korea, source, [yes, no])
        given = {item["transfer"]: item["answer"] for item in answer.items}
        assert given == {yes.transfer: "accepted", no.transfer: "rejected"}
        told = await gateway.wait("transfer.answer", 2 if way == "reply" else 1)
        if way == "reply":
            assert {m.items[0]["transfer"]: m.items[0]["answer"] for m in told} == {
                yes.transfer: "rejected",
                no.transfer: "accepted",
            }
        await korea.drained()
        gateway.heard.clear()
        credited = await korea.send(*settles(source, [yes], answer.jws))
        assert credited.items[0].get("account", credited.items[0].get("state")) in ("100-1", "credited")
        (denied,) = await gateway.wait("transfer.answer")
        assert (denied.items[0]["answer"], denied.items[0]["offer"]) == ("closed-here", sha(yes.offer))
        assert (await korea.books())["held"] == 10


async def test_the_key_of_another_registry_signs_an_answer(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    korea = Party("KOR01")
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01", peers=(korea,)) as mechanism:
        proposed, kind, raw = await committed(mechanism, korea)
        pem = tmp_path / "KOR01.pem"
        pem.write_bytes(korea.key.as_pem(private=True))
        await fault(mechanism, "anothers-signature", type="transfer.commit", key_file=str(pem))
        forged = await mechanism.post(kind, raw)
        signed = play.read(forged.headers["content-type"], forged.content, KeySet.import_key_set(korea.jwks()))
        assert (signed.type, signed.payload["from"]) == ("transfer.released", "MEC01")
        assert await state(mechanism, proposed) == "released"
        assert (await mechanism.send_bytes(kind, raw)).texts == signed.texts


async def copies(gateway: Gateway, message_type: str, count: int) -> list[Heard]:
    """Wait until so many copies of one message have come."""
    for _ in range(1000):
        found = [m for m in gateway.heard if m.type == message_type]
        if len(found) >= count:
            return found
        await asyncio.sleep(0.01)
    raise AssertionError(f"{message_type} has not come {count} times")


async def test_what_is_lost_on_the_way_out_is_sent_again(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01") as mechanism:
        await issue(mechanism)
        await mechanism.drained()
        for name, sent in (("lose-reply", 2), ("lose-request", 1), ("repeat", 2)):
            gateway.heard.clear()
            await fault(mechanism, name, direction="out", type="transfer.propose")
            await propose(mechanism, [1])
            await mechanism.drained()
            found = await copies(gateway, "transfer.propose", sent)
            assert (len(found), len({m.raw for m in found})) == (sent, 1), name
        assert await struck(mechanism) == [(0, 1)] * 3


async def test_what_goes_out_is_late_or_overtaken(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01") as mechanism:
        await issue(mechanism)
        await mechanism.drained()
        await fault(mechanism, "delay", direction="out", type="transfer.propose", seconds=0.5)
        begun = time.monotonic()
        await propose(mechanism, [1])
        assert time.monotonic() - begun >= 0.5
        gateway.heard.clear()
        await mechanism.admin("DELETE", "/faults")
        await fault(mechanism, "reorder", direction="out", type="transfer.propose")
        ids = await wish_for(mechanism, 1)
        await until(lambda: has_struck(mechanism))
        ids += await wish_for(mechanism, 2)
        await mechanism.drained()
        assert [m.items[0]["transfer"] for m in gateway.heard if m.type == "transfer.propose"] == ids[::-1]


async def test_a_fault_that_cannot_be_is_refused(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01") as mechanism:
        for wrong in (
            {"fault": "earthquake"},
            {"fault": "garbage", "direction": "out"},
            {"fault": "delay", "type": "transfer.propose"},
            {"fault": "delay", "direction": "out", "type": "transfer.commit"},
            {"fault": "delay", "seconds": -1},
            {"fault": "delay", "times": 0},
            {"fault": "refuse-settle", "type": "transfer.offer"},
            {"fault": "delay", "extra": 1},
            {"fault": "delay", "direction": "both"},
            {"fault": "down", "direction": "in"},
            {"fault": "down", "type": "transfer.commit"},
            {"fault": "anothers-signature"},
            {"fault": "anothers-signature", "key_file": str(tmp_path / "nowhere.pem")},
            {"fault": "anothers-signature", "key_file": str(tmp_path / "GWY01.jwks")},
            {"fault": "wrong-signature", "key_file": str(tmp_path / "MEC01.pem")},
            {"fault": "answer-twice", "direction": "out"},
        ):
            await mechanism.admin("POST", "/faults", wrong, 422)
        assert (await mechanism.admin("GET", "/faults"))["faults"] == []
        one = await fault(mechanism, "lose-request", type="time.query")
        shown = {"id": one, "fault": "lose-request", "direction": "in", "type": "time.query", "left": 1, "fired": 0}
        assert (await mechanism.admin("GET", "/faults"))["faults"] == [shown]


async def test_a_clock_that_is_stepped_judges_and_signs_by_what_it_shows(
    server: Any, gateway: Gateway, tmp_path: Path
) -> None:
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01") as mechanism:
        for seconds, code in ((600, 1009), (-600, 1009), (0, None)):
            shown = await mechanism.admin("POST", "/clock", {"seconds": seconds}, 200)
            off = datetime.fromisoformat(shown["now"]) - datetime.now(UTC)
            assert abs(off.total_seconds() - seconds) < 60
            answer = await mechanism.send("time.query")
            sent_at = datetime.fromisoformat(answer.payload["sent_at"])
            assert abs((sent_at - datetime.now(UTC)).total_seconds() - seconds) < 60
            findings = answer.payload["body"].get("findings", [{"code": None}])
            assert findings[0]["code"] == code
        await mechanism.admin("POST", "/clock", {"seconds": 10**9}, 422)
