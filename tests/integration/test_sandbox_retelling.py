"""What a sandbox registry says again to a gateway that has forgotten, and what it shows with it (R24, R26).

The property: whoever hears a statement again can find the gateway's own signature in it, whole and item by item. The
gateway and the other registry are played here (see ``test_sandbox_play``).
"""

import base64
import json
from pathlib import Path
from typing import Any

from tests.integration import test_sandbox_play as play
from tests.integration.test_sandbox_acquirer import Deal, accept, closed, korea_of, offers, settles
from tests.integration.test_sandbox_play import Gateway, Heard, Party, Sandbox, registry, sha
from tests.integration.test_sandbox_restore import shows
from tests.integration.test_sandbox_source import commit, issue, propose, simple, state

server, gateway = play.server, play.gateway


CREDIT = ("settle", "propose", "answer", "released")


def payload_of(compact: str) -> dict[str, Any]:
    part = compact.split(".")[1]
    payload: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return payload


def assert_shows(heard: Heard, *kinds: str) -> None:
    """Check that a statement carries exactly these messages, each with its one item, and nothing else."""
    shown = {payload_of(compact)["type"]: payload_of(compact)["items"] for compact in heard.evidence}
    assert list(shown) == [f"transfer.{kind}" for kind in kinds]
    carried = {json.loads(t)["kind"]: sha(t) for t in heard.carried}
    assert list(carried) == list(kinds)
    assert all(carried[kind] in shown[f"transfer.{kind}"] for kind in kinds)


async def ask(sandbox: Sandbox) -> int:
    return int((await sandbox.admin("POST", "/ask", status=200))["asked"])


async def test_a_release_said_again_shows_its_commit(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    korea = Party("KOR01")
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01", peers=(korea,)) as mechanism:
        await issue(mechanism)
        first, second = await propose(mechanism, [10, 5])
        compact, kind, raw = gateway.compose("MEC01", *commit(korea, [first, second]))
        released = await mechanism.send_bytes(kind, raw)
        assert (released.evidence, released.carried) == ([], [])
        # In answer to the very message it names nothing is added, in answer to any other all of it.
        assert (await mechanism.send_bytes(kind, raw)).raw == released.raw
        regrouped = await mechanism.send(*commit(korea, [second]))
        assert regrouped.texts == released.texts[1:]
        assert_shows(regrouped, "commit", "propose", "answer")
        assert regrouped.evidence[0] == compact
        assert_shows(
            await mechanism.send(*simple("cancel", [first], outcome="cancelled")), "commit", "propose", "answer"
        )


async def test_a_source_tells_a_forgetful_gateway_everything(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    korea = Party("KOR01")
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01", peers=(korea,)) as mechanism:
        await issue(mechanism)
        gone, locked, done = await propose(mechanism, [10, 5, 1])
        released = await mechanism.send(*commit(korea, [gone]))
        await mechanism.send(*commit(korea, [done]))
        await mechanism.send(*simple("closed", [done], state="completed"))
        await mechanism.drained()
        gateway.heard.clear()
        gateway.told = {"state": "not known here"}
        # Asked until it is told that a transfer is closed: what is done is not.
        assert await ask(mechanism) == 2
        await mechanism.drained()
        proposals = {i["transfer"]: m for m in await gateway.wait("transfer.propose", 2) for i in m.items}
        assert {t: m.texts for t, m in proposals.items()} == {p.transfer: [p.text] for p in (gone, locked)}
        (again,) = await gateway.wait("transfer.released")
        assert again.texts == released.texts
        assert_shows(again, "commit", "propose", "answer")


async def test_an_acquirer_tells_a_forgetful_gateway_everything(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    source, promised, held = Party("MEC01"), Deal(1, 10), Deal(11, 20)
    async with korea_of(server, gateway, tmp_path, source) as korea:
        answer = await accept(korea, source, [promised, held])
        credited = await korea.send(*settles(source, [held], answer.jws))
        gateway.told = {"state": "not known here"}
        assert await ask(korea) == 2
        (promise,) = await gateway.wait("transfer.answer")
        assert promise.texts == [promised.answer]
        assert_shows(promise, "offer", "propose")
        (credit,) = await gateway.wait("transfer.credited")
        assert credit.texts == credited.texts
        assert_shows(credit, "settle", "propose", "answer", "released")


async def test_an_answer_or_a_credit_said_again_shows_what_it_rests_on(
    server: Any, gateway: Gateway, tmp_path: Path
) -> None:
    source, deals = Party("MEC01"), [Deal(1, 10), Deal(11, 20)]
    async with korea_of(server, gateway, tmp_path, source) as korea:
        answer = await accept(korea, source, deals)
        assert answer.evidence == []
        again = await korea.send(*offers(source, deals[:1]))
        assert again.texts == answer.texts[:1]
        assert_shows(again, "offer", "propose")
        credited = await korea.send(*settles(source, deals, answer.jws))
        assert credited.evidence == []
        assert_shows(await korea.send(*settles(source, deals[1:], answer.jws)), *CREDIT)
        # A credit of units whose offer was never seen here rests on the settle all the same.
    async with korea_of(server, gateway, tmp_path, source) as korea:
        await korea.send(*settles(source, deals, answer.jws))
        assert_shows(await korea.send(*settles(source, deals[1:], answer.jws)), *CREDIT)


async def test_closed_here_shows_the_gateways_own_closing(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    source, deals = Party("MEC01"), [Deal(1, 10)]
    async with korea_of(server, gateway, tmp_path, source) as korea:
        answer = await accept(korea, source, deals)
        await korea.send(*closed(deals, "cancelled"))
        for message in (offers(source, deals), settles(source, deals, answer.jws)):
            told = await korea.send(*message)
            assert (told.type, told.items[0]["answer"]) == ("transfer.answer", "closed-here")
            assert_shows(told, "closed")
        assert (await korea.books())["held"] == 0


async def test_what_an_answer_shows_is_taken_as_received(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    korea = Party("KOR01")
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01", peers=(korea,)) as mechanism:
        await issue(mechanism)
        committed, ended, completed, waits = await propose(mechanism, [1, 2, 3, 4])
        await mechanism.send(*commit(korea, [completed]))
        order = commit(korea, [committed])
        shows(gateway, committed.transfer, "committing", order)
        shows(gateway, ended.transfer, "ending", simple("cancel", [ended], outcome="cancelled"))
        shows(gateway, completed.transfer, "completed", simple("closed", [completed], state="completed"))
        shows(gateway, waits.transfer, "attention", commit(korea, [waits]))
        assert await ask(mechanism) == 4
        states = [await state(mechanism, p) for p in (committed, ended, completed, waits)]
        assert states == ["released", "void", "done", "locked"]
        (released,) = await gateway.wait("transfer.released")
        # The commit itself may still come: it is no repetition with other bytes, and has no second effect.
        compact = gateway.told_of[committed.transfer][0]["evidence"][0]
        raw = play.text({"jws": compact, "items": [*order[1], *order[3]]}).encode()
        late = await mechanism.send_bytes("application/a6link+json", raw)
        assert late.texts == released.texts
        assert (await mechanism.books())["moved_out"] == 1 + 3


async def test_a_silent_gateway_is_asked_again_soon(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01") as mechanism:
        await issue(mechanism)
        (proposed,) = await propose(mechanism, [10])
        await mechanism.drained()
        gateway.silent = True
        await mechanism.admin("POST", "/ask", status=503)
        gateway.silent = False
        assert await ask(mechanism) == 1
        assert await state(mechanism, proposed) == "locked"


async def test_a_source_may_refuse_a_release_for_ever(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    korea = Party("KOR01")
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01", peers=(korea,)) as mechanism:
        await issue(mechanism)
        (proposed,) = await propose(mechanism, [10])
        await mechanism.admin("PATCH", "/policy", {"refuse_release": ["KOR"]}, 200)
        voided = await mechanism.send(*commit(korea, [proposed]))
        assert (voided.type, voided.items[0]["findings"][0]["code"]) == ("transfer.voided", 5904)
        await mechanism.admin("PATCH", "/policy", {"refuse_release": []}, 200)
        assert (await mechanism.send(*commit(korea, [proposed]))).texts == voided.texts
        books = await mechanism.books()
        assert (books["locked"], books["moved_out"]) == (0, 0)
