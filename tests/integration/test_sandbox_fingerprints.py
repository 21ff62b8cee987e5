"""What is kept of a sandbox registry's books to compare them: always what is computed from nothing.

The gateway is played; what the operator sees of the books is reckoned by the gateway's own definitions.
"""

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from tests.integration import test_sandbox_play as play
from tests.integration.test_sandbox_cuts import cut, root_of
from tests.integration.test_sandbox_issuing import issuance
from tests.integration.test_sandbox_play import Gateway, Party, Sandbox, registry, uuid7
from tests.integration.test_sandbox_source import commit, propose, simple

server, gateway = play.server, play.gateway

#: The account that units are moved to by hand, and back from.
ELSEWHERE = "230-7"
ALONE = {"omge_percent": 0, "sop_percent": 0}


async def act(mechanism: Sandbox, chance: random.Random, korea: Party) -> None:
    """Something that changes books, and what they say must not depend on."""
    held = [b for b in (await mechanism.admin("GET", "/books?blocks=1"))["blocks"] if not b["locked_by"]]
    free = [b for b in held if b["account"] == "100-1"]
    kind = chance.choice(["issue", "relay", "void", "cancel", "lose", "change", "move", "move"])
    if kind == "issue" or not free:
        wanted = issuance(series=f"MMR-{chance.randint(1, 3)}", net=chance.choice([1, 7, 40, 3000]))
        await mechanism.admin("POST", "/issue", wanted, 201)
    elif kind in ("relay", "void"):
        proposed = await propose(mechanism, [1, chance.randint(1, 2)])
        said = commit(korea, proposed) if kind == "relay" else simple("cancel", proposed, outcome="cancelled")
        await mechanism.send(*said)
    elif kind == "cancel":
        wish = {"party": "MMR", "account": "100-1", "to_account": "300-1", "quantity": 1}
        await mechanism.admin("POST", "/cancel", wish, 201)
    else:
        await by_hand(mechanism, chance, kind, chance.choice(held))


async def by_hand(mechanism: Sandbox, chance: random.Random, kind: str, held: dict[str, Any]) -> None:
    block = held["block"]
    first = chance.randint(block["first"], block["last"])
    last = min(block["last"], first + chance.choice([0, 0, 1, 16, 500]))
    wish: dict[str, Any] = {"units": {"origin": block["origin"], "first": first, "last": last}}
    if kind == "change":
        wish["attributes"] = {"activity": f"PoA {chance.randint(1, 3)}"}
    if kind == "move":
        wish |= {"party": "MMR", "account": ELSEWHERE if held["account"] == "100-1" else "100-1"}
    await mechanism.admin("POST", f"/books/{kind}", wish, 200)


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_after_any_changes_the_root_is_that_of_the_books(
    server: Any, gateway: Gateway, tmp_path: Path, seed: int
) -> None:
    chance, korea = random.Random(seed), Party("KOR01")  # noqa: S311 - no secret, and the same each time
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01", peers=(korea,)) as mechanism:
        await mechanism.admin("POST", "/issue", issuance(series="MMR-1", net=5000), 201)
        for _ in range(12):
            for _ in range(chance.randint(0, 8)):
                await act(mechanism, chance, korea)
            assert (await cut(mechanism))["books"][0]["root"] == await root_of(mechanism)


async def test_hundreds_of_runs_are_cut_up_and_joined_again(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01") as mechanism:
        await mechanism.admin("POST", "/issue", issuance(series="MMR-1", net=5000, **ALONE), 201)
        before = await cut(mechanism)
        origin = {"registry": "MEC01", "series": "MMR-1"}
        for account in (ELSEWHERE, "100-1"):
            moves = [
                {"units": {"origin": origin, "first": nr, "last": nr}, "party": "MMR", "account": account}
                for nr in range(1, 601, 3)
            ]
            for move in moves:
                await mechanism.admin("POST", "/books/move", move, 200)
            after = await cut(mechanism)
            assert after["books"][0]["root"] == await root_of(mechanism)
        # The holdings are two hundred still, and the units are as they were.
        assert len((await mechanism.books())["blocks"]) > 200
        assert after["books"] == before["books"]


async def test_a_cut_holds_what_had_been_told_and_nothing_else_while_units_are_issued(
    server: Any, gateway: Gateway, tmp_path: Path
) -> None:
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01") as mechanism:

        async def keep_issuing(nr: int) -> None:
            for _ in range(15):
                await mechanism.admin("POST", "/issue", issuance(series=f"MMR-{nr}", gross=10, **ALONE), 201)

        writing = asyncio.gather(*(keep_issuing(nr) for nr in range(4)))
        taken = []
        while not writing.done():
            taken.append(await cut(mechanism))
        await writing
        taken.append(await cut(mechanism))
        await mechanism.drained()
        issued = {
            m.payload["seq"]: sum(item["type"] == "issuance" for item in m.items)
            for m in gateway.heard
            if m.type == "action.notice"
        }
        for one in taken:
            told = sum(count for seq, count in issued.items() if seq <= one["told"])
            assert sum(total["quantity"] for total in one["books"][0]["totals"]) == 10 * told
        assert len(taken) > 2 and taken[-1]["books"][0]["root"] == await root_of(mechanism)


async def test_books_that_fall_back_are_compared_as_they_are(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01") as mechanism:
        await mechanism.admin("POST", "/issue", issuance(series="MMR-1", net=500), 201)
        before = await cut(mechanism)
        await mechanism.admin("POST", "/issue", issuance(series="MMR-2", net=500), 201)
        await mechanism.admin("POST", "/backup")
        await mechanism.admin("POST", "/issue", issuance(series="MMR-3", net=500), 201)
        forgotten = await cut(mechanism)
        await mechanism.admin("POST", "/restore", {"known": False}, 200)
        # The cut before is known again, the one taken since is not; what was touched before the backup still counts.
        assert (await cut(mechanism, before["cut"], before["at"])) == before
        body = {"of": "MEC01", "cut": forgotten["cut"], "registry": "MEC01", "series": [], "asked": ""}
        refused = await mechanism.send("positions.query", body=body)
        assert [f["code"] for f in refused.payload["body"]["findings"]] == [6103]
        after = await cut(mechanism)
        assert after["books"][0]["root"] == await root_of(mechanism) != before["books"][0]["root"]


async def test_books_from_before_cuts_were_taken_are_read_whole(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    name = f"sandbox_{uuid7().replace('-', '')}"
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01", database=name) as mechanism:
        await mechanism.admin("POST", "/issue", issuance(series="MMR-1", net=500), 201)
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01", database=name) as mechanism:
        assert (await cut(mechanism))["books"][0]["root"] == await root_of(mechanism)
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01", database=name) as mechanism:
        await mechanism.admin("POST", "/issue", issuance(series="MMR-1", net=500), 201)
        assert (await cut(mechanism))["books"][0]["root"] == await root_of(mechanism)
