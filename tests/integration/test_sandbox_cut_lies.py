"""A sandbox registry lies about a cut: each answer is really signed and has its shape, and nothing changes here."""

import base64
from pathlib import Path
from typing import Any

import pytest

from tests.integration import test_sandbox_play as play
from tests.integration.test_sandbox_cuts import WHOLE, asked, cut, raw, root_of
from tests.integration.test_sandbox_issuing import issuance
from tests.integration.test_sandbox_play import Gateway, registry

server, gateway = play.server, play.gateway

#: Lies that are told when the cut is taken, and the member of the answer that is not true.
ON_CUTS = {"root": "books", "moving": "moving", "totals": "books", "other-book": "books"}
ON_NODES = {
    "same": None,
    "other-nodes": "told",
    "nothing": "told",
    "as-you-say": "told",
    "endless": "told",
    "overlap": "told",
    "too-many": "told",
    "garbage": "told",
    "short": "told",
    "too-much": "answered",
    "other-registry": "registry",
    "other-cut": "cut",
}


async def test_a_cut_that_is_lied_about_is_as_it_was_when_the_lie_is_over(
    server: Any, gateway: Gateway, tmp_path: Path
) -> None:
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01") as mechanism:
        await mechanism.admin("POST", "/issue", issuance(series="MMR-1", net=1000), 201)
        true = await cut(mechanism)
        again = (mechanism, true["cut"], true["at"])
        for lie, member in ON_CUTS.items():
            await mechanism.admin("POST", "/cuts/lies", {"lie": lie, "times": 2, "skip": 1}, 201)
            assert await cut(*again) == true
            for _ in range(2):
                told = await cut(*again)
                assert {name for name in true if told[name] != true[name]} == {member}
            assert await cut(*again) == true
        assert true["books"][0]["root"] == await root_of(mechanism)


async def test_nodes_are_lied_about_and_the_contract_still_reads_the_answer(
    server: Any, gateway: Gateway, tmp_path: Path
) -> None:
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01") as mechanism:
        await mechanism.admin("POST", "/issue", issuance(series="MMR-1", net=1000), 201)
        taken = await cut(mechanism)
        question = (mechanism, taken["cut"], WHOLE + bytes([1, 0, 14, 0, 0, 0]), ["MEC01/MMR-1"])
        true = await asked(*question)
        for lie, member in ON_NODES.items():
            await mechanism.admin("POST", "/cuts/lies", {"lie": lie}, 201)
            told = await asked(*question)
            assert member is None or told[member] != true[member], lie
            assert await asked(*question) == true
            await mechanism.admin("DELETE", "/cuts/lies", None, 200)


async def test_the_same_is_said_of_whatever_is_asked(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01") as mechanism:
        await mechanism.admin("POST", "/issue", issuance(series="MMR-1", net=1000), 201)
        taken = await cut(mechanism)
        await mechanism.admin("POST", "/cuts/lies", {"lie": "same", "times": 10}, 201)
        first = await asked(mechanism, taken["cut"], WHOLE)
        for nr in range(3):
            assert await asked(mechanism, taken["cut"], bytes([1, 0, 1, nr, 0, 0]), ["MEC01/MMR-1"]) == first


async def test_what_is_endless_never_says_the_same_twice(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01") as mechanism:
        taken = await cut(mechanism)
        await mechanism.admin("POST", "/cuts/lies", {"lie": "endless", "times": 10}, 201)
        told = [raw((await asked(mechanism, taken["cut"], WHOLE))["told"]) for _ in range(2)]
        assert told[0][:3] == told[1][:3] == bytes([3, 255, 255]) and told[0] != told[1]


async def test_silence_comes_half_way(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01") as mechanism:
        taken = await cut(mechanism)
        fault = {"fault": "refuse", "type": "positions.query", "skip": 1, "times": 2}
        await mechanism.admin("POST", "/faults", fault, 201)
        await asked(mechanism, taken["cut"], WHOLE)
        packed = base64.urlsafe_b64encode(WHOLE).rstrip(b"=").decode()
        body = {"of": "MEC01", "cut": taken["cut"], "registry": "MEC01", "series": [], "asked": packed}
        for _ in range(2):
            refused = await mechanism.send("positions.query", body=body)
            assert [f["code"] for f in refused.payload["body"]["findings"]] == [9003]
        await asked(mechanism, taken["cut"], WHOLE)


@pytest.mark.parametrize("lie", ["listed-for-ever", "listed-twice", "listed-backwards"])
async def test_a_listing_is_lied_about(server: Any, gateway: Gateway, tmp_path: Path, lie: str) -> None:
    more = ("--no-ranges",)
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01", more=more) as mechanism:
        for nr in range(2):
            await mechanism.admin("POST", "/issue", issuance(series=f"MMR-{nr}", net=100), 201)
        taken = await cut(mechanism)
        body = {"of": "MEC01", "cut": taken["cut"], "registry": "MEC01", "limit": 100}
        true = await mechanism.send("positions.query", body=body)
        await mechanism.admin("POST", "/cuts/lies", {"lie": lie}, 201)
        told = await mechanism.send("positions.query", body=body)
        expected = {"listed-for-ever": true.items, "listed-backwards": true.items[::-1]}
        assert told.items == expected.get(
            lie, [one for item in true.items for one in (item, {**item, "account": "199-9"})]
        )
        assert ("next" in told.payload["body"]) == (lie == "listed-for-ever")
        assert (await mechanism.send("positions.query", body=body)).items == true.items


async def test_a_lie_that_nobody_knows_is_refused(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01") as mechanism:
        await mechanism.admin("POST", "/cuts/lies", {"lie": "white"}, 422)
