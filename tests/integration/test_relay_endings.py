"""Transfers that end otherwise than completed: rejected, withdrawn, out of time; the units stay and may go again.

Real registries at both ends, each side in both ways of answering; out of reach means that the gateway's address
of a registry leads nowhere, while the registry itself is well and speaks to the gateway.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests import handmade
from tests.deciding import decided
from tests.stage import AUTHORISATION, Stage

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: Nothing listens there.
NOWHERE = "http://127.0.0.1:1"


async def test_units_rejected_by_policy_stay_free_and_can_go_again(either: Stage) -> None:
    await either.issue(net=100, series="POLICY")
    mechanism, korea = either.registries["MEC01"], either.registries["KOR01"]
    await korea.change("policy", refuse_parties=["MMR"])
    [rejected] = await either.propose(100)
    assert (await mechanism.get("books"))["locked"] == 100
    assert await either.relay([rejected]) == ["rejected"]
    await korea.change("policy", refuse_parties=[])
    course = await either.transfer(rejected)
    assert codes(course["transfer"]["findings"]) == [5904]
    assert (course["transfer"]["outcome"], course["transfer"]["kyoto_status"]) == ("rejected", 6)
    assert await ended_at_both(either, rejected) == ("void", "void")
    assert codes(said(await korea.get(f"transfers/{rejected}"), "closed")["findings"]) == [5904]
    assert (await mechanism.get("books"))["locked"] == 0
    assert not any(b["claimed"] for b in course["blocks"])
    units = [{"origin": origin(b), "first": b["first"], "last": b["last"]} for b in course["blocks"]]
    again = await either.propose(100, blocks=units)
    assert await either.relay(again) == ["completed"]
    assert (await either.books())["conservation"] == "holds"


async def test_one_message_may_lead_to_different_ends(either: Stage) -> None:
    await either.issue(net=60, series="MIXED")
    korea = either.registries["KOR01"]
    await korea.post("accounts", party="KOR", account="100-5")
    await korea.change("accounts", party="KOR", account="100-5", open=False)
    wishes = [wish(account, quantity) for account, quantity in (("100-9", 10), ("100-5", 20), ("100-1", 30))]
    transfers = (await either.registries["MEC01"].post("transfers", transfers=wishes))["transfers"]
    assert await either.relay(transfers) == ["rejected", "rejected", "completed"]
    found = [codes((await either.transfer(t))["transfer"]["findings"]) for t in transfers]
    assert found == [[5902], [5906], []]
    assert [await ended_at_both(either, t) for t in transfers] == [("void", "void"), ("void", "void"), ("done", "done")]
    assert (await either.registries["MEC01"].get("books"))["locked"] == 0
    # So that the units rejected do not stay for the tests that follow.
    assert await either.relay(await either.propose(30)) == ["completed"]


async def test_an_account_closed_after_the_acceptance_sends_the_units_to_the_pending_account(either: Stage) -> None:
    await either.issue(net=70, series="PENDING")
    korea = either.registries["KOR01"]
    await korea.post("accounts", party="KOR", account="100-6")
    async with either.working():
        async with out_of_reach(either, "MEC01"):
            wishes = [wish("100-6", 70)]
            [transfer] = (await either.registries["MEC01"].post("transfers", transfers=wishes))["transfers"]
            await either.until(lambda: stands(either, transfer, "committing"))
            await korea.change("accounts", party="KOR", account="100-6", open=False)
        await either.until(lambda: settled(either, transfer))
    assert await either.states([transfer]) == ["completed"]
    assert codes((await either.transfer(transfer))["transfer"]["findings"]) == [5906]
    credited = said(await korea.get(f"transfers/{transfer}"), "credited")
    assert (credited["account"], codes(credited["findings"])) == ("110-1", [5906])
    assert await positions(either, "PENDING") == [("KOR01", "KOR", 110, 1, 70)]
    held = {(a["party"], a["account"]): a["quantity"] for a in (await korea.get("books"))["accounts"]}
    assert (held["KOR", "110-1"], held["KOR", "100-6"]) == (70, 0)


async def test_a_withdrawal_before_the_commit_ends_it_and_a_late_answer_changes_nothing(either: Stage) -> None:
    await either.issue(net=40, series="WITHDRAWN")
    mechanism, korea = either.registries["MEC01"], either.registries["KOR01"]
    await korea.change("policy", decide=False)
    [transfer] = await either.propose(40)
    async with either.working():
        await either.until(lambda: stands_at(either, "KOR01", transfer, "offered"))
        assert (await mechanism.post(f"transfers/{transfer}/withdraw"))["state"] == "void"
        await either.until(lambda: settled(either, transfer))
    assert await either.states([transfer]) == ["cancelled"]
    assert await ended_at_both(either, transfer) == ("void", "void")
    assert said(await korea.get(f"transfers/{transfer}"), "closed")["state"] == "cancelled"
    offer = await kept(either, transfer, "offer")
    late = {"kind": "answer", "transfer": transfer, "offer": handmade.play.sha(offer), "answer": "accepted"}
    item = handmade.play.text({**late, "findings": []})
    receipt = await handmade.say(either, handmade.signer(either, "KOR01"), "transfer.answer", [item])
    assert (receipt.items[0]["state"], codes(receipt.items[0]["findings"])) == ("cancelled", [3003])
    assert not await either.gateway.relay.turn()
    assert await either.states([transfer]) == ["cancelled"]
    await korea.change("policy", decide=True)
    assert await either.relay(await either.propose(40)) == ["completed"]


async def test_a_withdrawal_after_the_commit_yields_to_it(either: Stage) -> None:
    await either.issue(net=50, series="YIELDS")
    mechanism = either.registries["MEC01"]
    async with either.working():
        async with out_of_reach(either, "MEC01"):
            [transfer] = await either.propose(50)
            await either.until(lambda: stands(either, transfer, "committing"))
            assert (await mechanism.post(f"transfers/{transfer}/withdraw"))["state"] == "released"
        await either.until(lambda: settled(either, transfer))
    assert await either.states([transfer]) == ["completed"]
    assert await ended_at_both(either, transfer) == ("done", "done")
    assert await positions(either, "YIELDS") == [("KOR01", "KOR", 100, 1, 50)]


async def test_a_transfer_undecided_when_its_time_is_over_is_cancelled_on_both_sides(either: Stage) -> None:
    await either.issue(net=20, series="LATE")
    mechanism, korea = either.registries["MEC01"], either.registries["KOR01"]
    await korea.change("policy", decide=False)
    [transfer] = await either.propose(20)
    async with either.working():
        await either.until(lambda: stands_at(either, "KOR01", transfer, "offered"))
        assert await either.states([transfer]) == ["checked"]
        await let_a_day_pass(either, transfer)
        await either.until(lambda: settled(either, transfer))
    await korea.change("policy", decide=True)
    course = await either.transfer(transfer)
    assert (course["transfer"]["state"], codes(course["transfer"]["findings"])) == ("cancelled", [3005])
    assert await ended_at_both(either, transfer) == ("void", "void")
    assert codes(said(await mechanism.get(f"transfers/{transfer}"), "cancel")["findings"]) == [3005]
    assert codes(said(await korea.get(f"transfers/{transfer}"), "closed")["findings"]) == [3005]
    assert (await mechanism.get("books"))["locked"] == 0
    assert await either.relay(await either.propose(20)) == ["completed"]


async def test_an_acceptance_that_comes_when_the_end_is_decided_changes_nothing(either: Stage) -> None:
    await either.issue(net=25, series="DECIDED")
    korea = either.registries["KOR01"]
    await korea.change("policy", decide=False)
    [transfer] = await either.propose(25)
    async with either.working():
        await either.until(lambda: stands_at(either, "KOR01", transfer, "offered"))
        async with out_of_reach(either, "MEC01"):
            await let_a_day_pass(either, transfer)
            await either.until(lambda: stands(either, transfer, "ending"))
            await korea.change("policy", decide=True)
            await either.until(lambda: stands_at(either, "KOR01", transfer, "accepted"))
            await either.until(either.registries["KOR01"].owes_nothing)
            assert await either.states([transfer]) == ["ending"]
        await either.until(lambda: settled(either, transfer))
    assert await either.states([transfer]) == ["cancelled"]
    assert await ended_at_both(either, transfer) == ("void", "void")
    assert await either.relay(await either.propose(25)) == ["completed"]


async def test_no_time_limit_ends_what_is_committed(either: Stage) -> None:
    await either.issue(net=15, series="COMMITTED")
    async with either.working():
        async with out_of_reach(either, "MEC01"):
            [transfer] = await either.propose(15)
            await either.until(lambda: stands(either, transfer, "committing"))
            await let_a_day_pass(either, transfer)
            [[before]] = await either.rows(f"SELECT attempts FROM transfer WHERE id = '{transfer}'")
            await either.until(lambda: either.count(f"transfer WHERE id = '{transfer}' AND attempts > {before}"))
            assert await either.states([transfer]) == ["committing"]
        await either.until(lambda: settled(either, transfer))
    assert await either.states([transfer]) == ["completed"]
    assert await ended_at_both(either, transfer) == ("done", "done")


async def let_a_day_pass(stage: Stage, transfer: str) -> None:
    """For this transfer alone, because the clocks of the registries cannot be moved."""
    await stage.rows(f"UPDATE transfer SET deadline = deadline - interval '25 hours' WHERE id = '{transfer}'")


@asynccontextmanager
async def out_of_reach(stage: Stage, code: str) -> AsyncIterator[None]:
    """The gateway's address of a registry leads nowhere meanwhile."""
    await decided(stage, f"links/{code}", "PATCH", url=NOWHERE)
    try:
        yield
    finally:
        await decided(stage, f"links/{code}", "PATCH", url=stage.registries[code].link)


def wish(account: str, quantity: int) -> dict[str, Any]:
    to = {"registry": "KOR01", "party": "KOR", "account": account}
    return {"party": "MMR", "to": to, "quantity": quantity, "authorisation": AUTHORISATION}


def codes(findings: list[dict[str, Any]]) -> list[int]:
    return [finding["code"] for finding in findings]


def origin(block: dict[str, Any]) -> dict[str, str]:
    return {"registry": block["registry"], "series": block["series"]}


def said(transfer: dict[str, Any], step: str) -> dict[str, Any]:
    """A step as a registry keeps it."""
    [text] = [s["item"] for s in transfer["steps"] if s["step"] == step]
    return dict(json.loads(text))


async def kept(stage: Stage, transfer: str, step: str) -> str:
    """A step as the gateway keeps it."""
    found = await stage.rows(f"SELECT item FROM transfer_step WHERE transfer_id = '{transfer}' AND step = '{step}'")
    return str(found[0][0])


async def stands(stage: Stage, transfer: str, state: str) -> bool:
    return await stage.states([transfer]) == [state]


async def stands_at(stage: Stage, code: str, transfer: str, state: str) -> bool:
    listed = (await stage.registries[code].get("transfers"))["transfers"]
    return (transfer, state) in {(t["transfer"], t["state"]) for t in listed}


async def settled(stage: Stage, transfer: str) -> bool:
    return await stage.count(f"transfer WHERE id = '{transfer}' AND next_at IS NULL") == 1


async def ended_at_both(stage: Stage, transfer: str) -> tuple[str, str]:
    """The states of the transfer's rows at source and acquirer."""
    first, second = [(await stage.registries[c].get(f"transfers/{transfer}"))["state"] for c in ("MEC01", "KOR01")]
    return first, second


async def positions(stage: Stage, series: str) -> list[tuple[Any, ...]]:
    """Where the units of a series are now, by the book, but for those deducted when they were issued."""
    return await stage.rows(
        "SELECT p.registry, p.party, p.account_type, p.first, p.last FROM position p JOIN unit_series s"
        f" ON s.id = p.series_id WHERE s.series = '{series}' AND p.closed_by IS NULL"
        " AND p.account_type NOT IN (320, 410) ORDER BY p.first"
    )
