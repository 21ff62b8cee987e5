"""Sections of the international registry, and units of the registry services, as sandbox processes keep them.

An address names a section and its own Party; whoever speaks for it signs under the international registry's code.
The gateway is played here: ``relay`` takes real registries' transfers from one to the other, word by word.
"""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.integration import test_sandbox_play as play
from tests.integration.test_sandbox_acquirer import Deal, accept, closed, offers, settles
from tests.integration.test_sandbox_issuing import issuance
from tests.integration.test_sandbox_play import Gateway, Heard, Party, Sandbox, registry, sha, text
from tests.integration.test_sandbox_source import Proposed, simple

server, gateway = play.server, play.gateway

SECTIONS = ("THA", "GHA", "MNG")


def address(code: str, party: str = "", account: str = "100-1") -> dict[str, str]:
    return {"registry": code, "party": party or code[:3], "account": account}


def international_of(server: Any, gateway: Gateway, folder: Path, **more: Any) -> Any:
    return registry(server, gateway, folder, "international", "INT01", sections=SECTIONS, **more)


async def propose(source: Sandbox, wish: dict[str, Any], status: int = 201) -> Any:
    """Let a registry propose one transfer: what was proposed, or the problem document."""
    made = await source.admin("POST", "/transfers", {"transfers": [wish]}, status)
    if status != 201:
        return made
    (transfer,) = made["transfers"]
    for _ in range(1000):
        for message in source.gateway.heard:
            for item, item_text in zip(message.items, message.texts, strict=True):
                if message.type == "transfer.propose" and item["transfer"] == transfer:
                    return Proposed(transfer, item_text, message.jws)
        await asyncio.sleep(0.01)
    raise AssertionError("the proposal has not come")


@dataclass
class Relayed:
    """What the two registries said of a transfer."""

    proposed: Proposed
    answer: Heard
    released: Heard
    credited: Heard


async def relay(source: Sandbox, acquirer: Sandbox, wish: dict[str, Any]) -> Relayed:
    """Take a transfer from one registry to the other, as the gateway does."""
    proposed = await propose(source, wish)
    transfer, named = proposed.transfer, {"transfer": proposed.transfer, "proposal": sha(proposed.text)}
    by = play.stamp(datetime.now(UTC) + timedelta(hours=1))
    offer = text({"kind": "offer", **named, "verdict": "passed", "findings": [], "answer_by": by})
    evidence, items = [proposed.jws], [proposed.text]
    answer = await acquirer.send("transfer.offer", [offer], {"evidence": evidence}, items)
    assert answer.items[0].get("answer") == "accepted", answer.items
    evidence, items = [*evidence, answer.jws], [*items, *answer.texts]
    named["answer"] = sha(answer.texts[0])
    released = await source.send("transfer.commit", [text({"kind": "commit", **named})], {"evidence": evidence}, items)
    assert released.type == "transfer.released", released.items
    evidence, items = [*evidence, released.jws], [*items, *released.texts]
    settle = text({"kind": "settle", **named, "release": sha(released.texts[0])})
    credited = await acquirer.send("transfer.settle", [settle], {"evidence": evidence}, items)
    assert credited.type == "transfer.credited", credited.items
    for registry_ in (source, acquirer):
        receipt = await registry_.send(*simple("closed", [proposed], state="completed"))
        assert receipt.items[0]["state"] == "done"
    assert transfer.startswith(f"{source.code}-")
    return Relayed(proposed, answer, released, credited)


def blocks_of(books: dict[str, Any], party: str) -> list[dict[str, Any]]:
    return [held["block"] for held in books["blocks"] if held["party"] == party]


async def test_a_section_is_opened_for_each_party_and_for_no_other(
    server: Any, gateway: Gateway, tmp_path: Path
) -> None:
    async with international_of(server, gateway, tmp_path) as international:
        accounts = (await international.books())["accounts"]
        shown = [(a["party"], a["account"]) for a in accounts]
        assert shown == [(p, a) for p in sorted(SECTIONS) for a in ("100-1", "110-1")]
        await international.admin("POST", "/accounts", {"party": "THA", "account": "100-2"}, 201)
        wrong = {"party": "JPN", "account": "100-2"}
        assert (await international.admin("POST", "/accounts", wrong, 409))["code"] == 4011
        assert (await propose(international, {"party": "JPN", "to": address("KOR01"), "quantity": 1}, 409))[
            "code"
        ] == 4011


@pytest.mark.parametrize("arguments", [
    ("international", ()), ("party", ("THA",)), ("mechanism", ("THA",)), ("international", ("tha",)), ("island", ()),
    ("international", ("THA",), "KOR"),
])  # fmt: skip
async def test_only_the_international_registry_has_sections(tmp_path: Path, arguments: tuple[Any, ...]) -> None:
    kind, sections, *party = arguments
    own = party or (["KOR"] if kind == "party" else [])
    asked = ["--code", "INT01", "--database", "-", "--key", str(tmp_path / "key"), "--gateway-keys", "-"]
    asked += ["--gateway-url", "http://127.0.0.1:9", *(f"--party={p}" for p in own)]
    asked += [f"--section={section}" for section in sections]
    process = await asyncio.create_subprocess_exec(
        play.sys.executable, "-m", "connectors.sandbox", kind, *asked, stderr=asyncio.subprocess.PIPE, cwd=play.ROOT
    )
    _, said = await process.communicate()
    assert process.returncode == 2 and b"error:" in said


async def test_units_of_a_section_are_proposed_and_told_under_its_code(
    server: Any, gateway: Gateway, tmp_path: Path
) -> None:
    async with international_of(server, gateway, tmp_path) as international:
        await international.admin("POST", "/issue", issuance("THA", gross=100), 201)
        proposed = await propose(international, {"party": "THA", "to": address("CHE01"), "quantity": 60})
        item = play.json.loads(proposed.text)
        assert (item["transfer"][:6], item["transferring"]) == ("INT01-", address("THA99"))
        move = {"party": "THA", "to_account": "300-1", "quantity": 10}
        await international.admin("POST", "/cancel", move, 201)
        told = [item for m in await gateway.wait("action.notice", 2) for item in m.items]
        assert {notice["type"] for notice in told} == {"authorisation", "issuance", "cancellation"}
        assert {notice["registry"] for notice in told} == {"THA99"}
        request = {"kind": "request", "request": play.uuid7(), "acquiring": address("CHE01"), "purpose": "NDC"}
        for source, quantity, state in ((address("THA99"), 5, "recorded"), (address("THA99", "GHA"), 5, "refused")):
            wanted = text({**request, "request": play.uuid7(), "transferring": source, "quantity": quantity})
            assert (await international.send("transfer.request", [wanted])).items[0]["state"] == state
        # From one section to another is the international registry's own business; the gateway refuses it (4017).
        await propose(international, {"party": "THA", "to": address("GHA99"), "quantity": 1})


@pytest.mark.parametrize(("to", "code"), [
    (address("THA99", "GHA"), 5902), (address("JPN99"), 5902), (address("INT01", "THA"), 5902),
    (address("GHA99", account="100-7"), 5902), (address("GHA99", account="200-1"), 5902),
], ids=str)  # fmt: skip
async def test_what_is_not_for_a_section_here_is_rejected(
    server: Any, gateway: Gateway, tmp_path: Path, to: dict[str, str], code: int
) -> None:
    source, deal, right = Party("MEC01"), Deal(1, 10, to=to), Deal(11, 20, to=address("GHA99"))
    async with international_of(server, gateway, tmp_path, peers=(source,)) as international:
        answer = await international.send(*offers(source, [deal, right]))
        assert [item["answer"] for item in answer.items] == ["rejected", "accepted"]
        assert answer.items[0]["findings"][0]["code"] == code
        right.answer = answer.texts[1]
        credited = await international.send(*settles(source, [right], answer.jws))
        assert credited.type == "transfer.credited"
        books = await international.books()
        assert [(held["party"], held["account"]) for held in books["blocks"]] == [("GHA", "100-1")]


async def test_a_settle_for_another_section_than_its_partys_credits_nothing(
    server: Any, gateway: Gateway, tmp_path: Path
) -> None:
    source, deal = Party("MEC01"), Deal(1, 10, to=address("GHA99"))
    async with international_of(server, gateway, tmp_path, peers=(source,)) as international:
        answer = await accept(international, source, [deal])
        other = Deal(1, 10, transfer=deal.transfer, answer=deal.answer, to=address("THA99", "GHA"))
        receipt = await international.send(*settles(source, [other], answer.jws))
        assert (receipt.type, receipt.items[0]["findings"][0]["code"]) == ("receipt", 3001)
        assert (await international.books())["held"] == 0
        assert (await international.send(*settles(source, [deal], answer.jws))).type == "transfer.credited"
        assert (await international.send(*closed([deal], "completed"))).items[0]["state"] == "done"


async def test_only_the_link_that_speaks_for_a_section_proposes_its_units(
    server: Any, gateway: Gateway, tmp_path: Path
) -> None:
    run = registry(server, gateway, tmp_path, "party", "CHE01", peers=(Party("MEC01"), Party("INT01")))
    async with run as switzerland:
        for link, source, state in (
            ("INT01", address("THA99"), "accepted"),
            ("INT01", address("MEC01", "THA"), "later"),
            ("INT01", address("THA99", "GHA"), "later"),
            ("MEC01", address("THA99"), "later"),
        ):
            party = Party(link)
            party.write_keys(tmp_path)
            deal = Deal(1, 10, to=address("CHE01"), source=source, transfer=f"{link}-{play.uuid7()}")
            answer = await switzerland.send(*offers(party, [deal]))
            assert answer.items[0].get("answer", answer.items[0].get("state")) == state


async def test_names_given_once_stay_through_splits_and_moves(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    run = international_of(server, gateway, tmp_path, beside=("CHE01",))
    party = registry(server, gateway, tmp_path, "party", "CHE01", beside=("INT01",))
    async with run as international, party as switzerland:
        await international.admin("POST", "/issue", issuance("THA", gross=100), 201)
        one = {"party": "THA", "to": address("CHE01"), "quantity": 60}
        first = (await relay(international, switzerland, one)).released.items[0]
        origin = {"registry": "THA99", "series": "THA-TEST"}
        named = {"first": "CA0002-THA99-THA-1-2021", "last": "CA0002-THA99-THA-60-2021"}
        assert first["first_transfer"] and first["itmo"] == [
            {"origin": origin, "first": 41, "last": 100, "itmo": named}
        ]
        # Half of them goes back into another section, a part of that is used, a part goes on again.
        back = {"party": "CHE", "to": address("GHA99"), "quantity": 30}
        second = (await relay(switzerland, international, back)).released.items[0]
        assert (second["first_transfer"], second["itmo"]) == (False, [])
        await international.admin("POST", "/use", {"party": "GHA", "to_account": "200-1", "quantity": 5}, 201)
        again = {"party": "GHA", "to": address("CHE01"), "quantity": 7}
        third = (await relay(international, switzerland, again)).released.items[0]
        assert (third["first_transfer"], third["itmo"]) == (False, [])
        ours, theirs = await international.books(), await switzerland.books()
        for block in [*blocks_of(ours, "GHA"), *blocks_of(theirs, "CHE")]:
            shown = {"first": f"CA0002-THA99-THA-{block['first'] - 40}-2021"}
            shown["last"] = f"CA0002-THA99-THA-{block['last'] - 40}-2021"
            assert block["itmo"] == shown
        assert [("itmo" in block) for block in blocks_of(ours, "THA")] == [False]
        assert (ours["issued"], ours["moved_out"], ours["moved_in"], ours["used"]) == (100, 67, 30, 5)


async def test_units_of_the_services_are_named_by_leaving_them(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    run = registry(server, gateway, tmp_path, "services", "SRV01", beside=("INT01",))
    async with run as services, international_of(server, gateway, tmp_path, beside=("SRV01", "CHE01")) as sections:
        await services.admin("POST", "/issue", issuance("GHA", gross=50), 201)
        home = {"party": "GHA", "to": address("GHA99"), "quantity": 20, "purpose": "OP"}
        first = (await relay(services, sections, home)).released.items[0]
        assert first["first_transfer"]
        assert first["itmo"][0]["itmo"] == {"first": "CA0003-GHA99-GHA-1-2021", "last": "CA0003-GHA99-GHA-20-2021"}
        party = registry(server, gateway, tmp_path, "party", "CHE01", beside=("INT01",))
        async with party as switzerland:
            on = {"party": "GHA", "to": address("CHE01"), "quantity": 8}
            second = (await relay(sections, switzerland, on)).released.items[0]
            assert (second["first_transfer"], second["itmo"]) == (False, [])
            (block,) = blocks_of(await switzerland.books(), "CHE")
            assert block["itmo"] == {"first": "CA0003-GHA99-GHA-13-2021", "last": "CA0003-GHA99-GHA-20-2021"}


async def test_units_without_an_authorisation_can_be_proposed_under_one(
    server: Any, gateway: Gateway, tmp_path: Path
) -> None:
    async with registry(server, gateway, tmp_path, "services", "SRV01") as services:
        await services.admin("POST", "/issue", issuance("GHA", gross=50, authorisation=None), 201)
        wish = {"party": "GHA", "to": address("GHA99"), "quantity": 10}
        assert (await propose(services, wish, 409))["code"] == 5101
        proposed = await propose(services, {**wish, "authorisation": play.AUTHORISATION})
        (block,) = play.json.loads(proposed.text)["blocks"]
        assert block["attributes"]["authorisation"] is None
