"""A sandbox registry lies: really signed words that its own books do not bear out.

The property: a lie is a message like any other, repeated until receipted, and changes nothing here. The gateway and
the other registry are played here (see ``test_sandbox_play``).
"""

import json
from pathlib import Path
from typing import Any

from tests.integration import test_sandbox_play as play
from tests.integration.test_sandbox_acquirer import Deal, accept, korea_of, settles
from tests.integration.test_sandbox_play import Gateway, Heard, Party, Sandbox, registry, uuid7
from tests.integration.test_sandbox_source import commit, issue, propose, simple

server, gateway = play.server, play.gateway


#: Lies that change something that was said before.
NEED_A_WORD = [
    "release-again",
    "void-after-release",
    "change-answer",
    "credit-again",
    "credit-without-settle",
    "closed-after-credit",
]


async def lie(sandbox: Sandbox, name: str, transfer: str) -> Heard:
    """Have a lie told; gives it as the gateway heard it."""
    told = (await sandbox.admin("POST", "/lies", {"lie": name, "transfer": transfer}, 201))["message"]
    await sandbox.drained()
    (heard,) = [message for message in sandbox.gateway.heard if message.payload["id"] == told]
    assert [item["transfer"] for item in heard.items] == [transfer]
    return heard


async def everything(sandbox: Sandbox, transfer: str) -> tuple[Any, Any]:
    return await sandbox.books(), await sandbox.admin("GET", f"/transfers/{transfer}")


async def test_a_source_lies_about_its_releases(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    korea = Party("KOR01")
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01", peers=(korea,)) as mechanism:
        await issue(mechanism)
        gone, locked = await propose(mechanism, [10, 5])
        released = await mechanism.send(*commit(korea, [gone]))
        await mechanism.drained()
        before = [await everything(mechanism, p.transfer) for p in (gone, locked)]
        invented = (await lie(mechanism, "release-without-commit", locked.transfer)).items[0]
        assert invented["kind"] == "released" and invented["commit"] != released.items[0]["commit"]
        again = (await lie(mechanism, "release-again", gone.transfer)).items[0]
        assert again["commit"] == released.items[0]["commit"] and again != released.items[0]
        voided = await lie(mechanism, "void-after-release", gone.transfer)
        assert voided.type == "transfer.voided"
        assert [await everything(mechanism, p.transfer) for p in (gone, locked)] == before
        # What it says when it does not lie is what it always said.
        assert (await mechanism.send(*commit(korea, [gone]))).texts == released.texts


async def test_an_acquirer_lies_about_its_answers_and_credits(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    source, held, promised, refused = Party("MEC01"), Deal(1, 10), Deal(11, 20), Deal(21, 30, "100-7")
    async with korea_of(server, gateway, tmp_path, source) as korea:
        answer = await accept(korea, source, [held, promised, refused])
        credited = await korea.send(*settles(source, [held], answer.jws))
        await korea.drained()
        before = [await everything(korea, deal.transfer) for deal in (held, promised, refused)]
        assert (await lie(korea, "change-answer", promised.transfer)).items[0]["answer"] == "rejected"
        changed = (await lie(korea, "change-answer", refused.transfer)).items[0]
        assert (changed["answer"], changed["findings"]) == ("accepted", [])
        assert changed["offer"] == json.loads(refused.answer)["offer"]
        again = (await lie(korea, "credit-again", held.transfer)).items[0]
        assert again["settle"] == credited.items[0]["settle"] and again != credited.items[0]
        denied = (await lie(korea, "closed-after-credit", held.transfer)).items[0]
        assert (denied["answer"], denied["offer"]) == ("closed-here", json.loads(held.answer)["offer"])
        invented = (await lie(korea, "credit-without-settle", promised.transfer)).items[0]
        assert invented["settle"] != credited.items[0]["settle"]
        assert [await everything(korea, deal.transfer) for deal in (held, promised, refused)] == before


async def test_a_registry_speaks_of_what_is_not_its_own(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    async with korea_of(server, gateway, tmp_path, Party("MEC01")) as korea:
        foreign = f"MEC01-{uuid7()}"
        types = {"answer-foreign": "answer", "credit-foreign": "credited", "void-foreign": "voided"}
        for name, kind in types.items():
            assert (await lie(korea, name, foreign)).type == f"transfer.{kind}"
        await korea.admin("GET", f"/transfers/{foreign}", status=404)
        assert (await korea.books())["moved_in"] == 0


async def test_a_lie_that_cannot_be_told_is_refused(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01") as mechanism:
        await issue(mechanism)
        (proposed,) = await propose(mechanism, [10])
        await mechanism.send(*simple("cancel", [proposed], outcome="cancelled"))
        for name in NEED_A_WORD:
            wanted = {"lie": name, "transfer": proposed.transfer}
            assert (await mechanism.admin("POST", "/lies", wanted, 409))["code"] == 3001, name
        for name in ("answer-foreign", "credit-foreign", "void-foreign"):
            wanted = {"lie": name, "transfer": proposed.transfer}
            assert (await mechanism.admin("POST", "/lies", wanted, 409))["code"] == 3004, name
        for wrong in ({"lie": "the-truth", "transfer": proposed.transfer}, {"lie": "credit-again", "transfer": "T1"}):
            await mechanism.admin("POST", "/lies", wrong, 422)
