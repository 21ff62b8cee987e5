"""What a registry keeps of other registries' history: delivered or asked for, proven, in order, each record once.

The gateway, and the registry whose feed it is, are played here (see ``test_sandbox_play``).
"""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from tests.integration import test_sandbox_play as play
from tests.integration.test_sandbox_history import START, Cursor, beyond, cursor, pull
from tests.integration.test_sandbox_log import until
from tests.integration.test_sandbox_play import Gateway, Heard, Party, Sandbox, registry, text, uuid7
from tests.integration.test_sandbox_restore import restore, synchronise
from tests.integration.test_sandbox_source import issue

server = play.server

KOREA = {"registry": "KOR01", "party": "KOR"}


def records(count: int, first: int = 1, **changes: Any) -> list[str]:
    """The texts of so many issuances, which are synthetic."""
    return [
        json.dumps(
            {
                **{"at": "2026-03-01T10:00:00.000Z", "first_transfer": False, "kind": "history", "registry": "MEC01"},
                **{"transaction": f"SYNTHETIC-{nr}", "type": "issuance"},
                "block": {
                    **{"origin": {"registry": "MEC01", "series": "MMR-A64"}, "first": nr, "last": nr},
                    "attributes": play.ATTRIBUTES,
                },
                "to": {"registry": "MEC01", "party": "MMR", "account": "100-1"},
                **changes,
            },
            sort_keys=True,
            separators=(",", ":"),
        )
        for nr in range(first, first + count)
    ]


@dataclass
class Page:
    """A page of a feed as its registry signed it for the gateway."""

    jws: str
    texts: list[str]
    body: dict[str, Any]

    def carried(self) -> dict[str, Any]:
        return {name: self.body[name] for name in ("of", "for", "after", "until")} | {"evidence": [self.jws]}


def page(
    source: Party, texts: list[str], after: Cursor = START, viewer: dict[str, str] = KOREA, **changes: Any
) -> Page:
    body = {"of": source.code, "for": viewer, "after": cursor(after), "until": cursor(beyond(after, texts))}
    body |= {"more": False, **changes}
    named = {"id": uuid7(), "sha256": play.sha("a question")}
    return Page(source.compose("GWY01", "history.page", texts, body, in_reply_to=named)[0], texts, body)


@dataclass
class Historian(Gateway):
    """The played gateway, which answers questions for history from these pages."""

    pages: list[Page] = field(default_factory=list)
    refuses: int = 0

    def answer(self, sender: str, message: Heard, named: dict[str, str]) -> tuple[str, str, bytes]:
        if message.type != "history.query":
            return super().answer(sender, message, named)
        if self.refuses:
            refusal = {"findings": [{"code": self.refuses, "detail": "as the test wants it"}]}
            return self.compose(sender, "refusal", [], refusal, in_reply_to=named, seq=None)
        asked = message.payload["body"]
        found = [one for one in self.pages if one.body["after"] == asked["after"]]
        if not found:
            body = {name: asked[name] for name in ("of", "for", "after")} | {"until": asked["after"], "more": False}
            return self.compose(sender, "history.page", [], body, in_reply_to=named)
        body = found[0].carried() | {"more": found[0] is not self.pages[-1]}
        return self.compose(sender, "history.page", [], body, found[0].texts, in_reply_to=named)


@pytest.fixture
async def gateway() -> AsyncIterator[Historian]:
    async with play.serving(Historian(), FastAPI()) as played:
        yield played  # type: ignore[misc]


async def deliver(korea: Sandbox, one: Page, **changes: Any) -> Heard:
    return await korea.send("history.deliver", [], one.carried() | changes, one.texts)


async def refused(korea: Sandbox, one: Page, **changes: Any) -> int:
    answer = await deliver(korea, one, **changes)
    assert answer.type == "refusal" and "seq" not in answer.payload
    return int(answer.payload["body"]["findings"][0]["code"])


async def told(korea: Sandbox, source: str = "MEC01", code: str = "KOR01") -> list[str]:
    shown = await korea.admin("GET", f"/history/told?source={source}&code={code}")
    assert [one["number"] for one in shown["records"]] == list(range(1, shown["end"]["number"] + 1))
    return [one["text"] for one in shown["records"]]


async def test_a_delivery_is_kept_once_and_receipted_every_time(
    server: Any, gateway: Historian, tmp_path: Path
) -> None:
    mec = Party("MEC01")
    async with registry(server, gateway, tmp_path, "party", "KOR01", peers=(mec,)) as korea:
        texts = records(5)
        first, second = page(mec, texts[:3]), page(mec, texts[3:], beyond(START, texts[:3]))
        books = await korea.books()
        for _ in range(2):
            receipt = await deliver(korea, first)
            assert (receipt.type, receipt.texts) == ("receipt", []) and receipt.payload["seq"] > 0
        _, kind, raw = gateway.compose("KOR01", "history.deliver", [], second.carried(), second.texts)
        assert (await korea.send_bytes(kind, raw)).raw == (await korea.send_bytes(kind, raw)).raw
        assert (await deliver(korea, first)).type == "receipt"
        assert await told(korea) == texts
        assert await korea.books() == books


async def test_what_is_not_the_true_page_is_refused_and_nothing_of_it_is_kept(
    server: Any, gateway: Historian, tmp_path: Path
) -> None:
    mec, stranger = Party("MEC01"), Party("MEC01")
    async with registry(server, gateway, tmp_path, "party", "KOR01", peers=(mec, Party("INT01"))) as korea:
        texts = records(4)
        true = page(mec, texts)
        assert await refused(korea, page(stranger, texts)) == 1006
        assert await refused(korea, true, of="INT01") == 1006
        assert await refused(korea, page(mec, texts, of="INT01"), of="MEC01") == 8001
        assert await refused(korea, page(mec, texts, viewer=KOREA | {"party": "THA"})) == 8001
        assert await refused(korea, true, **{"for": {"registry": "THA99", "party": "THA"}}) == 8001
        assert await refused(korea, page(mec, texts, until=cursor(beyond(START, texts[:3])))) == 8004
        assert await refused(korea, page(mec, texts, until=cursor((4, bytes(32))))) == 8004
        assert await refused(korea, true, until=cursor(beyond(START, texts[:3]))) == 2001
        assert await refused(korea, page(mec, records(1, colour="red"))) == 2001
        assert await refused(korea, page(mec, records(1, corrects="none"))) == 2001
        swapped = Page(true.jws, [texts[1], texts[0], *texts[2:]], true.body)
        assert await refused(korea, swapped) == 2001
        assert await told(korea) == []
        assert (await deliver(korea, true)).type == "receipt"
        # Another past than the one known, as long or longer, and properly signed.
        for other in (records(4, at="2026-03-02T10:00:00.000Z"), records(6, at="2026-03-02T10:00:00.000Z")):
            assert await refused(korea, page(mec, other)) == 8004
        assert await told(korea) == texts


async def test_a_page_that_reaches_over_what_is_known_brings_the_rest(
    server: Any, gateway: Historian, tmp_path: Path
) -> None:
    mec = Party("MEC01")
    async with registry(server, gateway, tmp_path, "party", "KOR01", peers=(mec,)) as korea:
        texts = records(5)
        await deliver(korea, page(mec, texts[:3]))
        await deliver(korea, page(mec, texts[1:], beyond(START, texts[:1])))
        assert await told(korea) == texts


async def test_a_gap_is_refused_and_what_is_lacking_is_asked_for(
    server: Any, gateway: Historian, tmp_path: Path
) -> None:
    mec = Party("MEC01")
    async with registry(server, gateway, tmp_path, "party", "KOR01", peers=(mec,)) as korea:
        texts = records(30)
        for a, b in pairwise([0, 7, 8, 20, 30]):
            gateway.pages.append(page(mec, texts[a:b], beyond(START, texts[:a])))
        await deliver(korea, gateway.pages[0])
        assert await refused(korea, gateway.pages[3]) == 8005
        await gateway.wait("history.query", 3)
        await everything(korea, texts)
        asked = [m.payload["body"] for m in await gateway.wait("history.query", 3)]
        assert [one["after"]["number"] for one in asked] == [7, 8, 20]
        assert all((one["of"], one["for"], one["limit"]) == ("MEC01", KOREA, 1000) for one in asked)
        assert (await deliver(korea, gateway.pages[3])).type == "receipt"


async def everything(korea: Sandbox, texts: list[str]) -> None:
    """Wait until all of these are told, and no more."""

    async def there() -> bool:
        return await told(korea) == texts

    await until(there)


async def test_who_may_not_have_what_is_lacking_calls_a_person(server: Any, gateway: Historian, tmp_path: Path) -> None:
    mec = Party("MEC01")
    gateway.refuses = 8003
    async with registry(server, gateway, tmp_path, "party", "KOR01", peers=(mec,)) as korea:
        texts = records(4)
        assert await refused(korea, page(mec, texts[2:], beyond(START, texts[:2]))) == 8005
        await gateway.wait("history.query")
        alarms = await until(lambda: _alarms(korea))
        assert [(a["transfer"], a["code"]) for a in alarms] == [("history of MEC01 for KOR01", 8003)]


async def _alarms(korea: Sandbox) -> list[dict[str, Any]]:
    return list((await korea.admin("GET", "/books"))["alarms"])


async def test_a_restored_registry_asks_for_the_history_it_has_forgotten(
    server: Any, gateway: Historian, tmp_path: Path
) -> None:
    mec = Party("MEC01")
    async with registry(server, gateway, tmp_path, "party", "KOR01", peers=(mec,)) as korea:
        texts = records(9)
        for a, b in ((0, 3), (3, 6), (6, 9)):
            gateway.pages.append(page(mec, texts[a:b], beyond(START, texts[:a])))
        await deliver(korea, gateway.pages[0])
        await korea.admin("POST", "/backup")
        await deliver(korea, gateway.pages[1])
        await deliver(korea, gateway.pages[2])
        await restore(korea, known=True)
        await synchronise(korea)
        await everything(korea, texts)
        # One that does not know that it fell back learns of it from the next delivery.
        await restore(korea, known=False)
        assert await told(korea) == texts[:3]
        assert await refused(korea, gateway.pages[2]) == 8005
        await everything(korea, texts)


async def test_both_ends_of_a_transfer_write_the_same_and_the_chain_is_whole_at_both(
    server: Any, gateway: Historian, tmp_path: Path
) -> None:
    beside = ("MEC01", "KOR01")
    async with (
        registry(server, gateway, tmp_path, "mechanism", "MEC01", beside=beside) as mechanism,
        registry(server, gateway, tmp_path, "party", "KOR01", beside=beside) as korea,
    ):
        for _ in range(2):
            await issue(mechanism, 100)
        await korea.admin("POST", "/accounts", {"party": "KOR", "account": "100-2"}, 201)
        # Of the first no block is whole, of the second there are two; the third comes to an account that has closed.
        await relay(mechanism, korea, [10, 100, 5], ["100-1", "100-1", "100-2"])
        seen = await pull(mechanism, "KOR")
        own = await pull(korea, "KOR")
        moved = [one for one in seen.texts if json.loads(one)["type"] == "transfer"]
        assert (len(moved), sorted(own.texts)) == (4, sorted(moved))
        assert {json.loads(one)["to"]["account"] for one in own.texts} == {"100-1", "100-2"}
        pending = [a for a in (await korea.books())["accounts"] if a["account"] == "110-1"]
        assert pending[0]["quantity"] == 5
        (jws,) = [seen.heard.jws]
        body = {n: seen.heard.payload["body"][n] for n in ("of", "for", "after", "until")} | {"evidence": [jws]}
        assert (await korea.send("history.deliver", [], body, seen.texts)).type == "receipt"
        assert await chain(korea, 1, 200) == [one for one in await chain(mechanism, 1, 200) if one in seen.texts]
        assert [json.loads(one)["type"] for one in await chain(korea, 190, 190)] == ["issuance", "transfer"]


async def chain(sandbox: Sandbox, first: int, last: int) -> list[str]:
    path = f"/history/units?origin=MEC01&series=MMR-A64&first={first}&last={last}"
    return list((await sandbox.admin("GET", path))["records"])


async def relay(mechanism: Sandbox, korea: Sandbox, quantities: list[int], accounts: list[str]) -> None:
    """Carry transfers from the one to the other as the gateway would; the account 100-2 closes on the way."""
    gateway = mechanism.gateway
    wishes = [
        {"party": "MMR", "to": KOREA | {"account": account}, "quantity": quantity}
        for quantity, account in zip(quantities, accounts, strict=True)
    ]
    await mechanism.admin("POST", "/transfers", {"transfers": wishes}, 201)
    (proposed,) = await gateway.wait("transfer.propose")
    transfers = [item["transfer"] for item in proposed.items]
    offers = [offer(transfer, one) for transfer, one in zip(transfers, proposed.texts, strict=True)]
    answered = await korea.send("transfer.offer", offers, {"evidence": [proposed.jws]}, proposed.texts)
    assert [item["answer"] for item in answered.items] == ["accepted"] * len(transfers)
    await korea.admin("PATCH", "/accounts", {"party": "KOR", "account": "100-2", "open": False})
    hashes = [
        {"transfer": t, "proposal": play.sha(p), "answer": play.sha(a)}
        for t, p, a in zip(transfers, proposed.texts, answered.texts, strict=True)
    ]
    commits = [text({"kind": "commit", **one}) for one in hashes]
    shown = [*proposed.texts, *answered.texts]
    evidence = [proposed.jws, answered.jws]
    released = await mechanism.send("transfer.commit", commits, {"evidence": evidence}, shown)
    assert released.type == "transfer.released"
    settles = [
        text({"kind": "settle", **one, "release": play.sha(r)}) for one, r in zip(hashes, released.texts, strict=True)
    ]
    evidence = [*evidence, released.jws]
    credited = await korea.send("transfer.settle", settles, {"evidence": evidence}, [*shown, *released.texts])
    assert credited.type == "transfer.credited"


def offer(transfer: str, proposal: str) -> str:
    by = play.stamp(play.datetime.now(play.UTC) + play.timedelta(hours=1))
    members = {"kind": "offer", "transfer": transfer, "verdict": "passed", "findings": [], "answer_by": by}
    return text({**members, "proposal": play.sha(proposal)})
