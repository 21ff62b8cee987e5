"""Another wire than the link protocol, between the real gateway and real registries, where it is in trouble.

Its undisturbed courses are those of ``test_relay*`` and ``test_arrows``, which run over both wires. What the gateway
signed is held against the contract at the end: it is the same over either.
"""

from collections.abc import AsyncIterator
from datetime import timedelta
from itertools import product

import pytest
import pytest_asyncio

from connectors import des
from gateway import embedded
from tests import contract, handmade
from tests import stage as staging
from tests.integration.test_sandbox_play import Party, text
from tests.stage import Stage

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: What is sent in the course of a transfer: who receives it, and whether that is a registry ("in" there).
ORDERS = {"transfer.offer": "KOR01", "transfer.commit": "MEC01", "transfer.settle": "KOR01", "transfer.closed": "MEC01"}
WORDS = {"transfer.propose": "MEC01", "transfer.answer": "KOR01", "transfer.released": "MEC01"}
TROUBLE = list(product(("lose-reply", "lose-request", "repeat"), [*ORDERS, *WORDS]))
A_WHILE = timedelta(seconds=20)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def other(postgres: embedded.Server, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """MEC01 and KOR01 on the other wire, where both logs are witnessed; JPN01 speaks the link protocol."""
    async with staging.opened(postgres, tmp_path_factory.mktemp("other")) as stage:
        await stage.link("MEC01", "mechanism", wire="des", follows=True)
        await stage.link("KOR01", "party", "KOR", wire="des")
        await stage.link("JPN01", "party", "JPN")
        yield stage
        assert await stage.doctor() == []
        assert (await stage.books())["conservation"] == "holds"
        await contract.sent_as_agreed(stage)


@pytest.mark.parametrize(("fault", "message_type"), TROUBLE)
async def test_what_is_lost_or_repeated_moves_units_once(other: Stage, fault: str, message_type: str) -> None:
    await other.issue(net=10, series=f"LOST-{fault}-{message_type}")
    korea = other.registries["KOR01"]
    before = (await korea.get("books"))["moved_in"]
    direction, code = ("in", ORDERS[message_type]) if message_type in ORDERS else ("out", WORDS[message_type])
    struck = other.registries[code]
    await struck.post("faults", fault=fault, direction=direction, type=message_type, times=1)
    [transfer] = await other.propose(10)
    assert await other.relay([transfer]) == ["completed"]
    [fired] = (await struck.get("faults"))["faults"]
    assert fired["fired"] == 1
    await struck.http.delete(f"{struck.url}/admin/faults")
    assert (await korea.get("books"))["moved_in"] == before + 10


async def test_units_go_on_from_one_wire_to_the_other_and_back(other: Stage) -> None:
    await other.issue(net=10, series="ONWARD")
    assert await other.relay(await other.propose(10)) == ["completed"]
    units = {"origin": {"registry": "MEC01", "series": "ONWARD"}, "first": 1, "last": 10}
    for source, to in (("KOR01", "JPN01"), ("JPN01", "KOR01")):
        moved = await other.propose(10, source=source, to=to, blocks=[units])
        assert await other.relay(moved) == ["completed"]


async def test_what_is_answered_with_garbage_stays_due(other: Stage) -> None:
    await other.issue(net=10, series="GARBAGE")
    await other.registries["KOR01"].post("faults", fault="garbage", type="transfer.offer", times=1)
    [transfer] = await other.propose(10)
    await other.until(lambda: other.count(f"transfer WHERE id = '{transfer}'"))
    while await other.gateway.relay.turn():
        pass
    waiting = (await other.transfer(transfer))["transfer"]["waiting"]
    assert waiting.startswith("no answer from KOR01 to transfer.offer: not of the wire")
    other.clock.ahead += A_WHILE
    assert await other.relay([transfer]) == ["completed"]


async def test_a_registry_whose_word_never_arrives_is_asked_and_heard(other: Stage) -> None:
    await other.issue(net=10, series="ASKED")
    korea = other.registries["KOR01"]
    await korea.post("faults", fault="lose-request", direction="out", type="transfer.credited", times=1_000)
    [transfer] = await other.propose(10)
    await other.until(lambda: other.count(f"transfer WHERE id = '{transfer}'"))
    for _ in range(40):
        await other.gateway.relay.turn()
        other.clock.ahead += timedelta(seconds=5)
        if await other.states([transfer]) == ["completed"]:
            break
    assert await other.states([transfer]) == ["completed"]
    assert await other.count("message WHERE type = 'status.query'") > 0
    await korea.http.delete(f"{korea.url}/admin/faults")


async def test_logs_are_witnessed_as_over_the_link_protocol(other: Stage) -> None:
    async def cosigned() -> bool:
        await other.transparency.turn()
        return bool(await other.count("log_cosignature") and await other.count("witnessed_log WHERE size > 0"))

    await other.until(cosigned)


async def test_a_registry_on_the_other_wire_takes_nothing_else(other: Stage) -> None:
    korea = other.registries["KOR01"]
    assert korea.link != korea.url
    _, kind, body = Party("GWY01").compose("KOR01", "time.query")
    assert (await other.http.post(f"{korea.url}/messages", content=body)).status_code == 404
    answer = await other.http.post(f"{korea.link}/messages", content=body, headers={"content-type": kind})
    assert (answer.status_code, answer.json()["code"]) == (415, 2001)


async def _said(stage: Stage, document: bytes, kind: str = des.CONTENT_TYPE) -> tuple[int, int]:
    """Post a document to the gateway; status and code of the problem it is answered with."""
    for registry in stage.registries.values():  # whatever was lost before is said again, sooner or later
        await stage.until(registry.owes_nothing)
    before = (await stage.count("log_entry"), await stage.count("message"), len(stage.gateway.inbox.strangers))
    answer = await stage.http.post(f"{stage.link_url}/messages", content=document, headers={"content-type": kind})
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    assert before[:2] == (await stage.count("log_entry"), await stage.count("message"))
    assert len(stage.gateway.inbox.strangers) == before[2] + 1
    return answer.status_code, answer.json()["code"]


async def test_a_document_that_is_none_changes_nothing_and_is_remembered(other: Stage) -> None:
    _, _, body = handmade.signer(other, "MEC01").compose("GWY01", "action.notice", [text({"kind": "action"})])
    document = des.encode(body)
    assert await _said(other, document.replace(b"<from>MEC01<", b"<from>JPN01<")) == (400, 2001)
    assert await _said(other, document.replace(b"acceptITLNotice", b"acceptProposal")) == (400, 2001)
    assert await _said(other, b'<!DOCTYPE a [<!ENTITY b "c">]>' + document) == (400, 2001)
    assert await _said(other, document, "text/xml") == (415, 2001)
    assert await _said(other, body) == (400, 2001)
    assert await _said(other, document + b" " * des.MAX_DOCUMENT) == (413, 2001)


async def test_who_signs_is_judged_over_either_wire(other: Stage) -> None:
    party = Party("MEC01")
    _, _, body = party.compose("GWY01", "time.query")
    assert await _said(other, des.encode(body)) == (401, 1007)
    _, _, body = handmade.signer(other, "MEC01").compose("GWY01", "time.query")
    document = des.encode(body)
    value = document.split(b"<value>")[1][:10]
    assert await _said(other, document.replace(value, value[::-1])) == (401, 1006)


async def test_a_message_for_another_is_refused_in_a_signed_document(other: Stage) -> None:
    _, _, body = handmade.signer(other, "MEC01").compose("INT01", "time.query")
    kind = {"content-type": des.CONTENT_TYPE}
    answer = await other.http.post(f"{other.link_url}/messages", content=des.encode(body), headers=kind)
    assert (answer.status_code, answer.headers["content-type"]) == (200, des.CONTENT_TYPE)
    assert "<resultIdentifier>0</resultIdentifier><responseCode>1008</responseCode>" in answer.text.replace("\n", "")
    assert des.decode(answer.content, des.ANSWERS)[0].count(b".") == 2
