"""Proposals that the checks refuse: the source is told why, its units are free again, the acquirer hears nothing.

What a sandbox would not propose (units it does not hold, another Party's) is composed by hand and signed with its key;
the answers, the cancel and the word of the source that ends the transfer are the real ones.
"""

import copy
import json
from typing import Any

import pytest

from tests import handmade
from tests.handmade import play
from tests.stage import AUTHORISATION, Stage

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_units_the_book_does_not_know_are_refused_and_the_acquirer_never_hears_of_them(shared: Stage) -> None:
    await shared.issue(net=100, series="SECRET", announce=False)
    [transfer] = await shared.propose(100)
    shown = await refused(shared, transfer)
    assert shown["findings"] == [
        {"code": 4003, "blocks": [units("SECRET", 1, 100)], "detail": "not in the book"},
        {"code": 4018, "detail": "0 of 100 units are held there"},
    ]
    assert shown["outcome"] == "refused"
    await unheard_of(shared, "KOR01", transfer)
    books = await shared.registries["MEC01"].get("books")
    assert books["locked"] == 0
    told = (await shared.registries["MEC01"].get(f"transfers/{transfer}"))["steps"]
    assert {s["step"]: json.loads(s["item"]).get("findings") for s in told}["cancel"] == shown["findings"]
    # Used up, so that no later test is given units that cannot move.
    await shared.registries["MEC01"].post(
        "use", party="MMR", to_account="200-1", quantity=100, blocks=[units("SECRET", 1, 100)], announce=False
    )


async def test_an_acquiring_registry_that_is_not_linked_or_not_active_yet_is_refused(shared: Stage) -> None:
    await shared.issue(net=20, series="NOBODY")
    await shared.link("CHE01", "party", "CHE", activate=False)
    for code in ("DEU01", "CHE01"):
        [transfer] = await shared.propose(20, to=code)
        assert [f["code"] for f in (await refused(shared, transfer))["findings"]] == [4002]
    await unheard_of(shared, "CHE01", transfer)
    assert (await shared.registries["CHE01"].post("activate"))["receipted"]
    assert await shared.relay(await shared.propose(20, to="CHE01")) == ["completed"]


async def test_an_account_that_does_not_hold_units_is_refused(shared: Stage) -> None:
    await shared.issue(net=30, series="USED")
    for account in ("200-1", "300-1"):
        to = {"to": address("KOR01", "KOR") | {"account": account}}
        wish = {"party": "MMR", "quantity": 30, "authorisation": AUTHORISATION, **to}
        [transfer] = (await shared.registries["MEC01"].post("transfers", transfers=[wish]))["transfers"]
        assert [f["code"] for f in (await refused(shared, transfer))["findings"]] == [4015]
        await unheard_of(shared, "KOR01", transfer)
    assert await shared.relay(await shared.propose(30)) == ["completed"]


async def test_units_in_an_open_transfer_cannot_be_proposed_a_second_time(shared: Stage) -> None:
    await shared.issue(net=50, series="TWICE")
    first = await shared.propose(50)
    await shared.until(lambda: shared.count(f"transfer WHERE id = '{first[0]}'"))
    second = proposal(await block(shared, "TWICE"), 50)
    receipt = await propose(shared, second)
    assert (receipt["state"], [f["code"] for f in receipt["findings"]]) == ("ending", [4005])
    assert receipt["findings"][0]["blocks"] == [units("TWICE", 1, 50)]
    assert await shared.relay([*first, second["transfer"]]) == ["completed", "refused"]
    await unheard_of(shared, "KOR01", second["transfer"])
    assert (await shared.books())["conservation"] == "holds"


async def test_two_transfers_of_one_message_cannot_have_the_same_units(shared: Stage) -> None:
    await shared.issue(net=50, series="BOTH")
    held = await block(shared, "BOTH")
    parts = [{**held, "first": 1, "last": 30}, {**held, "first": 21, "last": 50}]
    values = [proposal(part, 30) for part in parts]
    receipts = await propose_all(shared, values)
    assert [r["state"] for r in receipts] == ["proposed", "ending"]
    assert [f["code"] for r in receipts for f in r["findings"]] == [4005]
    assert [f["code"] for f in (await refused(shared, values[1]["transfer"]))["findings"]] == [4005]
    # MEC01 itself knows nothing of the first: its word ends it before it would be asked to release.
    word = play.text({"kind": "voided", "transfer": values[0]["transfer"], "findings": []})
    answer = await handmade.say(shared, handmade.signer(shared, "MEC01"), "transfer.voided", [word])
    assert answer.items[0]["state"] == "cancelled"
    assert await shared.relay(await shared.propose(50)) == ["completed"]


async def test_what_differs_from_the_book_is_refused_with_its_code_and_only_that(shared: Stage) -> None:
    await shared.issue(net=70, series="DIFFERS")
    held = await block(shared, "DIFFERS")
    parts = iter([{**held, "first": first, "last": first + 9} for first in range(1, 70, 10)])
    named = {"first": "CA0001-MMR99-MMR-900051-2021", "last": "CA0001-MMR99-MMR-900060-2021"}
    forged = {
        (4010,): proposal(attribute(next(parts), activity="PoA 10472"), 10),
        (4004, 4018): proposal(next(parts), 10, transferring=address("MEC01", "THA")),
        (4001, 4011, 4007, 4017, 4018): proposal(next(parts), 10, transferring=address("KOR01", "MMR")),
        (4017,): proposal(next(parts), 10, acquiring=address("MEC01", "KOR")),
        (2009,): proposal(next(parts), 11),
        (4010, 0): proposal({**next(parts), "itmo": named}, 10),
        (2013,): proposal(attribute(next(parts), vintage=2020), 10),
        (4003, 4018): proposal({**held, "first": 171, "last": 180}, 10),
    }
    await propose_all(shared, [*forged.values()])
    for codes, value in forged.items():
        shown = await refused(shared, value["transfer"])
        assert [f["code"] for f in shown["findings"]] == [c for c in codes if c]
        await unheard_of(shared, "KOR01", value["transfer"])
    assert await shared.relay(await shared.propose(70)) == ["completed"]


async def refused(stage: Stage, transfer: str) -> dict[str, Any]:
    """Relay it; the transfer as it is shown once it is refused and the source has said that the units stay."""
    assert await stage.relay([transfer]) == ["refused"]
    course = await stage.transfer(transfer)
    assert not any(b["claimed"] for b in course["blocks"])
    assert (await stage.registries["MEC01"].get(f"transfers/{transfer}"))["state"] == "void"
    assert {m["step"] for m in course["messages"]} == {"propose", "cancel", "voided", "closed-source"}
    return dict(course["transfer"])


async def unheard_of(stage: Stage, code: str, transfer: str) -> None:
    registry = stage.registries[code]
    answer = await stage.http.get(f"{registry.url}/admin/transfers/{transfer}")
    assert answer.status_code == 404


def address(registry: str, party: str) -> dict[str, str]:
    return {"registry": registry, "party": party, "account": "100-1"}


def units(series: str, first: int, last: int) -> dict[str, Any]:
    return {"origin": {"registry": "MEC01", "series": series}, "first": first, "last": last}


async def block(stage: Stage, series: str) -> dict[str, Any]:
    """The one block of a series as MEC01 holds it for Myanmar."""
    listed = (await stage.registries["MEC01"].get("books?blocks=1"))["blocks"]
    there = [b["block"] for b in listed if b["account"] == "100-1"]
    [found] = [b for b in there if b["origin"]["series"] == series]
    return dict(found)


def attribute(block: dict[str, Any], **changes: Any) -> dict[str, Any]:
    changed = copy.deepcopy(block)
    changed["attributes"] |= changes
    return changed


def proposal(block: dict[str, Any], quantity: int, **changes: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "kind": "propose",
        "transfer": f"MEC01-{play.uuid7()}",
        "transferring": address("MEC01", "MMR"),
        "acquiring": address("KOR01", "KOR"),
        "purpose": "NDC",
        "authorisation": AUTHORISATION,
        "quantity": quantity,
        "blocks": [block],
    }
    return made | changes


async def propose_all(stage: Stage, values: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Propose by hand in MEC01's name, in one message; the items of the receipt."""
    items = [play.text(value) for value in values]
    answer = await handmade.say(stage, handmade.signer(stage, "MEC01"), "transfer.propose", items)
    assert answer.type == "receipt"
    return answer.items


async def propose(stage: Stage, value: dict[str, Any]) -> dict[str, Any]:
    [receipt] = await propose_all(stage, [value])
    return receipt
