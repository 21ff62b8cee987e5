"""The acquirer's state table, held by a Party registry process: what it promises, and that it credits once.

The gateway and the source are played here (see ``test_sandbox_play``).
"""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.integration import test_sandbox_play as play
from tests.integration.test_sandbox_play import Gateway, Heard, Party, Sandbox, registry, sha, text, uuid7

server, gateway = play.server, play.gateway

SOURCE = {"registry": "MEC01", "party": "MMR", "account": "100-1"}
ORIGIN = {"registry": "MEC01", "series": "MMR-A64"}


def itmo(first: int, last: int) -> dict[str, str]:
    return {"first": f"CA0001-MMR99-MMR-{first}-2021", "last": f"CA0001-MMR99-MMR-{last}-2021"}


@dataclass
class Deal:
    """One transfer to Korea (or ``to`` another address), as far as it has come."""

    first: int
    last: int
    account: str = "100-1"
    to: dict[str, str] = field(default_factory=dict)
    source: dict[str, str] = field(default_factory=lambda: SOURCE)
    transfer: str = field(default_factory=lambda: f"MEC01-{uuid7()}")
    proposal: str = ""
    offer: str = ""
    answer: str = ""
    release: str = ""

    def __post_init__(self) -> None:
        block = {"origin": ORIGIN, "first": self.first, "last": self.last, "attributes": play.ATTRIBUTES}
        address = self.to or {"registry": "KOR01", "party": "KOR", "account": self.account}
        members = {"kind": "propose", "transfer": self.transfer, "transferring": self.source, "acquiring": address}
        members |= {"purpose": "NDC", "authorisation": play.AUTHORISATION, "blocks": [block]}
        self.proposal = text({**members, "quantity": self.last - self.first + 1})
        later = play.stamp(datetime.now(UTC) + timedelta(hours=1))
        members = {"kind": "offer", "transfer": self.transfer, "verdict": "passed", "findings": []}
        self.offer = text({**members, "proposal": sha(self.proposal), "answer_by": later})
        named = {
            "origin": ORIGIN,
            "first": self.first,
            "last": self.last,
            "itmo": itmo(self.first, self.last),
        }
        members = {"kind": "released", "transfer": self.transfer, "released_at": later, "itmo": [named]}
        commit = {"id": uuid7(), "sha256": sha("commit")}
        self.release = text({**members, "commit": commit, "first_transfer": True})

    def settle(self) -> str:
        hashes = {"proposal": sha(self.proposal), "answer": sha(self.answer), "release": sha(self.release)}
        return text({"kind": "settle", "transfer": self.transfer, **hashes})


def offers(source: Party, deals: list[Deal]) -> tuple[Any, ...]:
    proposals = [deal.proposal for deal in deals]
    compact = source.compose("GWY01", "transfer.propose", proposals)[0]
    return "transfer.offer", [deal.offer for deal in deals], {"evidence": [compact]}, proposals


def settles(source: Party, deals: list[Deal], answer_jws: str) -> tuple[Any, ...]:
    proposals, answers, releases = ([getattr(d, n) for d in deals] for n in ("proposal", "answer", "release"))
    proposed = source.compose("GWY01", "transfer.propose", proposals)[0]
    released = source.compose("GWY01", "transfer.released", releases)[0]
    body = {"evidence": [proposed, answer_jws, released]}
    return "transfer.settle", [deal.settle() for deal in deals], body, [*proposals, *answers, *releases]


async def accept(korea: Sandbox, source: Party, deals: list[Deal]) -> Heard:
    """Offer the deals and remember the answers; gives the message that holds them."""
    answer = await korea.send(*offers(source, deals))
    if answer.type == "receipt":
        answer = (await korea.gateway.wait("transfer.answer"))[-1]
    by_transfer = {item["transfer"]: item_text for item, item_text in zip(answer.items, answer.texts, strict=True)}
    for deal in deals:
        deal.answer = by_transfer[deal.transfer]
    return answer


def closed(deals: list[Deal], state: str) -> tuple[str, list[str]]:
    members = {"kind": "closed", "state": state, "findings": []}
    return "transfer.closed", [text({**members, "transfer": deal.transfer}) for deal in deals]


def korea_of(server: Any, gateway: Gateway, folder: Path, source: Party, **more: Any) -> Any:
    return registry(server, gateway, folder, "party", "KOR01", peers=(source,), **more)


async def test_settled_units_are_credited_once(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    source, deals = Party("MEC01"), [Deal(1, 10), Deal(11, 15)]
    async with korea_of(server, gateway, tmp_path, source) as korea:
        answer = await accept(korea, source, deals)
        assert [item["answer"] for item in answer.items] == ["accepted", "accepted"]
        assert answer.items[0]["offer"] == sha(deals[0].offer)
        assert (await korea.send(*offers(source, deals))).texts == answer.texts
        _, kind, raw = gateway.compose("KOR01", *settles(source, deals, answer.jws))
        credited = await korea.send_bytes(kind, raw)
        assert credited.type == "transfer.credited"
        assert [(i["account"], i["findings"]) for i in credited.items] == [("100-1", []), ("100-1", [])]
        # The same bytes, and the same transfers regrouped under other ids (R24): credited once.
        assert (await korea.send_bytes(kind, raw)).raw == credited.raw
        again = await korea.send(*settles(source, deals[:1], answer.jws))
        assert again.texts == credited.texts[:1]
        receipt = await korea.send(*closed(deals, "completed"))
        assert [item["state"] for item in receipt.items] == ["done", "done"]
        late = await korea.send(*settles(source, deals, answer.jws))
        assert late.texts == credited.texts
        books = await korea.books()
        assert (books["held"], books["moved_in"], books["alarms"]) == (15, 15, [])
        assert books["blocks"][0]["block"]["itmo"] == itmo(1, 10)


async def test_answers_by_own_message_after_a_receipt(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    source, deals = Party("MEC01"), [Deal(1, 10)]
    async with korea_of(server, gateway, tmp_path, source, answer="message") as korea:
        receipt = await korea.send(*offers(source, deals))
        assert (receipt.type, receipt.items[0]["state"]) == ("receipt", "offered")
        answer = (await gateway.wait("transfer.answer"))[0]
        deals[0].answer = answer.texts[0]
        settled = await korea.send(*settles(source, deals, answer.jws))
        assert (settled.type, settled.items[0]["state"]) == ("receipt", "credited")
        assert (await gateway.wait("transfer.credited"))[0].items[0]["transfer"] == deals[0].transfer
        assert (await korea.books())["held"] == 10


async def test_a_settle_is_enough_by_itself(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    source, deals = Party("MEC01", "ES256"), [Deal(1, 10)]
    async with korea_of(server, gateway, tmp_path, source) as korea:
        answer = await accept(korea, source, deals)
    # The same key on an empty database: everything is lost, and the settle carries what is needed (R20).
    async with korea_of(server, gateway, tmp_path, source) as korea:
        credited = await korea.send(*settles(source, deals, answer.jws))
        assert credited.type == "transfer.credited"
        books = await korea.books()
        assert books["held"] == 10
        assert [alarm["transfer"] for alarm in books["alarms"]] == [deals[0].transfer]
        assert (await korea.send(*offers(source, deals))).texts == [deals[0].answer]


async def test_a_settle_without_own_acceptance_or_release_credits_nothing(
    server: Any, gateway: Gateway, tmp_path: Path
) -> None:
    source, deals = Party("MEC01"), [Deal(1, 10)]
    async with korea_of(server, gateway, tmp_path, source) as korea:
        answer = await accept(korea, source, deals)
        kind, own, body, carried = settles(source, deals, answer.jws)
        forged = Party("KOR01").compose("GWY01", "transfer.answer", [deals[0].answer])[0]
        unreleased = Party("MEC01").compose("GWY01", "transfer.released", [deals[0].release])[0]
        proposed, _, released = body["evidence"]
        for evidence in ([proposed, forged, released], [proposed, answer.jws, unreleased]):
            receipt = await korea.send(kind, own, {"evidence": evidence}, carried)
            assert receipt.type == "receipt" and receipt.items[0]["findings"][0]["code"] == 3001
        assert (await korea.books())["held"] == 0
        assert (await korea.send(kind, own, body, carried)).type == "transfer.credited"


async def test_a_settle_with_another_proposal_than_the_accepted_one_credits_nothing(
    server: Any, gateway: Gateway, tmp_path: Path
) -> None:
    source, deal = Party("MEC01"), Deal(1, 10)
    async with korea_of(server, gateway, tmp_path, source) as korea:
        answer = await accept(korea, source, [deal])
        much = Deal(1, 1000, transfer=deal.transfer, answer=deal.answer)
        for _ in range(2):
            receipt = await korea.send(*settles(source, [much], answer.jws))
            assert (receipt.type, receipt.items[0]["state"]) == ("receipt", "accepted")
            assert receipt.items[0]["findings"] == [{"code": 3001, "detail": "not the proposal accepted here"}]
        books = await korea.books()
        assert books["held"] == 0
        assert [(a["transfer"], a["code"]) for a in books["alarms"]] == [(deal.transfer, 3001)]
        assert (await korea.send(*settles(source, [deal], answer.jws))).type == "transfer.credited"
        assert (await korea.books())["held"] == 10


async def test_without_a_record_the_offer_shown_ties_the_acceptance_to_its_proposal(
    server: Any, gateway: Gateway, tmp_path: Path
) -> None:
    source, deal = Party("MEC01"), Deal(1, 10)
    async with korea_of(server, gateway, tmp_path, source) as korea:
        answer = await accept(korea, source, [deal])
    # The same key on an empty database: only what the settle carries can be held against it.
    async with korea_of(server, gateway, tmp_path, source) as korea:
        offered = gateway.compose("KOR01", "transfer.offer", [deal.offer])[0]
        much = Deal(1, 1000, transfer=deal.transfer, answer=deal.answer)
        heard = [
            await korea.send(*_showing(offered, deal.offer, settles(source, [d], answer.jws))) for d in (much, deal)
        ]
        assert heard[0].items[0]["findings"] == [{"code": 3001, "detail": "not the proposal accepted here"}]
        assert [message.type for message in heard] == ["receipt", "transfer.credited"]
        assert (await korea.books())["held"] == 10


def _showing(jws: str, item: str, settle: tuple[Any, ...]) -> tuple[Any, ...]:
    """A settle that also carries this message with this item."""
    kind, own, body, carried = settle
    return kind, own, {"evidence": [*body["evidence"], jws]}, [*carried, item]


async def test_offers_are_rejected_with_a_code_each(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    source = Party("MEC01")
    deals = [Deal(1, 10), Deal(11, 20, "100-7"), Deal(21, 30, "110-1"), Deal(31, 40, "100-2")]
    async with korea_of(server, gateway, tmp_path, source) as korea:
        account = {"party": "KOR", "account": "100-2"}
        await korea.admin("POST", "/accounts", account, 201)
        await korea.admin("PATCH", "/accounts", {**account, "open": False}, 200)
        answer = await accept(korea, source, deals)
        assert [item["answer"] for item in answer.items] == ["accepted", *["rejected"] * 3]
        assert [[f["code"] for f in item["findings"]] for item in answer.items] == [
            [],
            [5902],
            [5903],
            [5906],
        ]
        await korea.admin("PATCH", "/policy", {"refuse_parties": ["MMR"]}, 200)
        refused = await accept(korea, source, [Deal(41, 50)])
        assert [f["code"] for f in refused.items[0]["findings"]] == [5904]


async def test_an_account_closed_after_the_promise_is_replaced_by_the_pending_one(
    server: Any, gateway: Gateway, tmp_path: Path
) -> None:
    source, deals = Party("MEC01"), [Deal(1, 10)]
    async with korea_of(server, gateway, tmp_path, source) as korea:
        answer = await accept(korea, source, deals)
        await korea.admin("PATCH", "/accounts", {"party": "KOR", "account": "100-1", "open": False}, 200)
        credited = (await korea.send(*settles(source, deals, answer.jws))).items[0]
        assert (credited["account"], credited["findings"]) == ("110-1", [{"code": 5906}])
        held = {a["account"]: a["quantity"] for a in (await korea.books())["accounts"]}
        assert held == {"100-1": 0, "110-1": 10}


async def test_a_closed_that_overtakes_its_offer_is_remembered(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    source, deals = Party("MEC01"), [Deal(1, 10), Deal(11, 20)]
    async with korea_of(server, gateway, tmp_path, source) as korea:
        answer = await accept(korea, source, deals[1:])
        kind, receipted = closed(deals, "cancelled")
        receipt = await korea.send(kind, receipted)
        assert [item["state"] for item in receipt.items] == ["void", "void"]
        late = await korea.send(*offers(source, deals))
        assert [item["answer"] for item in late.items] == ["closed-here", "closed-here"]
        # The settle of a transfer that was closed here: said so, with the gateway's own closing.
        settled = await korea.send(*settles(source, deals[1:], answer.jws))
        assert (settled.type, settled.items[0]["answer"]) == ("transfer.answer", "closed-here")
        assert settled.items[0]["offer"] == sha(deals[1].offer)
        assert settled.carried == receipted[1:]
        assert (await korea.books())["held"] == 0
        told = await korea.send("status.query", None, {"transfer": deals[0].transfer, "my_state": "checked"})
        assert told.payload["body"]["state"] == "void"
        assert told.items[0]["state"] == "cancelled"


async def test_a_credit_is_never_taken_back(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    source, deals = Party("MEC01"), [Deal(1, 10)]
    async with korea_of(server, gateway, tmp_path, source) as korea:
        answer = await accept(korea, source, deals)
        await korea.send(*settles(source, deals, answer.jws))
        receipt = await korea.send(*closed(deals, "cancelled"))
        assert (receipt.items[0]["state"], receipt.items[0]["findings"][0]["code"]) == ("credited", 3002)
        assert (await gateway.wait("transfer.credited"))[0].items[0]["transfer"] == deals[0].transfer
        books = await korea.books()
        assert books["held"] == 10 and len(books["alarms"]) == 1


async def test_units_that_are_here_already_hold_up_no_other_transfer(
    server: Any, gateway: Gateway, tmp_path: Path
) -> None:
    source = Party("MEC01")
    first, twice, other = Deal(1, 10), Deal(5, 6), Deal(11, 20)
    async with korea_of(server, gateway, tmp_path, source) as korea:
        answer = await accept(korea, source, [first, twice, other])
        await korea.send(*settles(source, [first], answer.jws))
        receipt = await korea.send(*settles(source, [twice, other], answer.jws))
        assert [item["state"] for item in receipt.items] == ["later", "credited"]
        assert receipt.items[0]["findings"][0]["code"] == 4007
        assert (await korea.books())["held"] == 20


async def test_undecided_offers_are_rejected_when_their_time_is_over(
    server: Any, gateway: Gateway, tmp_path: Path
) -> None:
    source, waiting, over = Party("MEC01"), Deal(1, 10), Deal(11, 20)
    over.offer = over.offer.replace(
        over.offer.split('"answer_by":"')[1][:24], play.stamp(datetime.now(UTC) - timedelta(seconds=1))
    )
    async with korea_of(server, gateway, tmp_path, source) as korea:
        await korea.admin("PATCH", "/policy", {"decide": False}, 200)
        receipt = await korea.send(*offers(source, [waiting, over]))
        assert [item["state"] for item in receipt.items] == ["offered", "offered"]
        answer = (await gateway.wait("transfer.answer"))[0].items
        assert [(a["transfer"], a["findings"][0]["code"]) for a in answer] == [(over.transfer, 3005)]
        await korea.admin("PATCH", "/policy", {"decide": True}, 200)
        answers = await gateway.wait("transfer.answer", 2)
        assert answers[1].items[0]["answer"] == "accepted"


async def test_credited_units_move_on_under_their_names(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    source, japan, deals = Party("MEC01"), Party("JPN01"), [Deal(1, 10)]
    run = registry(server, gateway, tmp_path, "party", "KOR01", peers=(source, japan))
    async with run as korea:
        answer = await accept(korea, source, deals)
        await korea.send(*settles(source, deals, answer.jws))
        to = {"registry": "JPN01", "party": "JPN", "account": "100-1"}
        wish = {"party": "KOR", "to": to, "quantity": 4}
        await korea.admin("POST", "/transfers", {"transfers": [wish]}, 201)
        message = (await gateway.wait("transfer.propose"))[0]
        proposed, item_text = message.items[0], message.texts[0]
        assert proposed["authorisation"] == play.AUTHORISATION
        assert proposed["blocks"][0]["itmo"] == itmo(7, 10)
        accepted = {"kind": "answer", "transfer": proposed["transfer"], "offer": sha("offer")}
        given = text({**accepted, "answer": "accepted", "findings": []})
        compact = japan.compose("GWY01", "transfer.answer", [given])[0]
        hashes = {"proposal": sha(item_text), "answer": sha(given)}
        order = text({"kind": "commit", "transfer": proposed["transfer"], **hashes})
        body = {"evidence": [message.jws, compact]}
        released = await korea.send("transfer.commit", [order], body, [item_text, given])
        assert (released.items[0]["first_transfer"], released.items[0]["itmo"]) == (False, [])
        books = await korea.books()
        assert (books["moved_in"], books["moved_out"], books["held"]) == (10, 4, 6)


async def test_concurrent_settles_of_one_transfer_credit_once(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    source, deals = Party("MEC01"), [Deal(1, 10), Deal(11, 20)]
    async with korea_of(server, gateway, tmp_path, source) as korea:
        answer = await accept(korea, source, deals)
        sent = [korea.send(*settles(source, batch, answer.jws)) for batch in [deals, deals[::-1]] * 4]
        credited = await asyncio.gather(*sent)
        assert {frozenset(message.texts) for message in credited} == {frozenset(credited[0].texts)}
        assert (await korea.books())["moved_in"] == 20


async def test_a_thousand_transfers_are_credited_by_one_message(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    source = Party("MEC01")
    async with korea_of(server, gateway, tmp_path, source) as korea:
        deals = [Deal(3 * n + 1, 3 * n + 3) for n in range(1000)]
        answer = await accept(korea, source, deals)
        credited = await korea.send(*settles(source, deals, answer.jws))
        assert (credited.type, len(credited.items)) == ("transfer.credited", 1000)
        assert (await korea.books())["moved_in"] == 3000
