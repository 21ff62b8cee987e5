"""Cuts of a sandbox registry's books, and what it tells of them; the gateway is played here.

What is told is taken apart by this file, and compared with the books the registry's operator sees.
"""

import base64
import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from gateway.domain import fingerprints
from tests.integration import test_sandbox_play as play
from tests.integration.test_sandbox_issuing import issuance
from tests.integration.test_sandbox_play import Gateway, Sandbox, registry, stamp, uuid7
from tests.integration.test_sandbox_source import issue, propose

server, gateway = play.server, play.gateway
WHOLE = bytes([0, 0, 0, 0])


def soon(seconds: float) -> str:
    return stamp(datetime.now(UTC) + timedelta(seconds=seconds))


def raw(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


async def cut(sandbox: Sandbox, name: str | None = None, at: str | None = None) -> dict[str, Any]:
    """Ask for a cut, now unless said otherwise; gives what is said of it."""
    body = {"of": sandbox.code, "cut": name or uuid7(), "at": at or soon(0)}
    answer = await sandbox.send("cut.query", body=body)
    assert answer.type == "cut.answer", answer.payload
    said = answer.payload["body"]
    assert (said["of"], said["cut"], said["at"]) == (body["of"], body["cut"], body["at"])
    return dict(said)


async def asked(
    sandbox: Sandbox, name: str, asked: bytes, series: list[str] | None = None, **more: Any
) -> dict[str, Any]:
    packed = base64.urlsafe_b64encode(asked).rstrip(b"=").decode()
    body = {"of": sandbox.code, "cut": name, "registry": sandbox.code, "series": series or [], "asked": packed}
    answer = await sandbox.send("positions.query", body={**body, **more})
    assert answer.type == "positions.answer", answer.payload
    return dict(answer.payload["body"])


def state(held: dict[str, Any]) -> str:
    block, itmo = held["block"], None
    if "itmo" in block:
        approach, section, host, serial, vintage = block["itmo"]["first"].split("-")
        itmo = (f"{approach}-{section}-{host}-{vintage}", int(serial) - block["first"])
    return fingerprints.state_text(held["party"], int(held["account"][:3]), block["attributes"], itmo)


async def runs_of(sandbox: Sandbox) -> dict[str, list[fingerprints.Run]]:
    """The runs of each series, by the books that the operator sees and the gateway's own reckoning."""
    pieces: dict[str, list[fingerprints.Run]] = {}
    for held in (await sandbox.admin("GET", "/books?blocks=1"))["blocks"]:
        origin = held["block"]["origin"]
        run = fingerprints.Run(held["block"]["first"], held["block"]["last"], fingerprints.hashed(state(held)))
        pieces.setdefault(f"{origin['registry']}/{origin['series']}", []).append(run)
    return {name: fingerprints.joined(sorted(found, key=lambda r: r.first)) for name, found in pieces.items()}


async def root_of(sandbox: Sandbox) -> str:
    entries = []
    for name, runs in (await runs_of(sandbox)).items():
        apex = fingerprints.apex(name, runs[0].first, runs[-1].last)
        entries.append(fingerprints.SeriesEntry(apex, fingerprints.content(apex, runs).summary))
    return base64.urlsafe_b64encode(fingerprints.directory("", entries).summary.digest).rstrip(b"=").decode()


async def test_a_cut_is_announced_then_taken_once(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01") as mechanism:
        name, at = uuid7(), soon(1)
        assert (await cut(mechanism, name, at))["state"] == "announced"
        refused = await mechanism.send("cut.query", body={"of": "MEC01", "cut": uuid7(), "at": soon(1)})
        assert [f["code"] for f in refused.payload["body"]["findings"]] == [6102]
        await mechanism.admin("POST", "/issue", issuance(series="MMR-1", net=1000), 201)
        await mechanism.admin("POST", "/clock", {"seconds": 2})
        taken = await cut(mechanism, name, at)
        assert taken["state"] == "taken" and taken["ranges"] and not taken["moving_more"]
        [book] = taken["books"]
        assert (book["registry"], book["series"], book["root"]) == ("MEC01", 1, await root_of(mechanism))
        sums = {(t["party"], t["account_type"]): t["quantity"] for t in book["totals"]}
        held: dict[tuple[str, int], int] = {}
        for account in (await mechanism.books())["accounts"]:
            if account["quantity"]:
                key = (account["party"], int(account["account"][:3]))
                held[key] = held.get(key, 0) + account["quantity"]
        assert sums == held
        await mechanism.admin("POST", "/issue", issuance(series="MMR-2", net=1000), 201)
        assert await cut(mechanism, name, at) == taken
        later = await cut(mechanism)
        assert later["books"][0]["series"] == 2 and later["told"] > taken["told"]
        assert later["books"][0]["root"] == await root_of(mechanism)


@pytest.mark.parametrize("seconds", [25 * 3600, -301])
async def test_a_moment_far_off_is_refused(server: Any, gateway: Gateway, tmp_path: Path, seconds: float) -> None:
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01") as mechanism:
        refused = await mechanism.send("cut.query", body={"of": "MEC01", "cut": uuid7(), "at": soon(seconds)})
        assert refused.type == "refusal"
        assert [f["code"] for f in refused.payload["body"]["findings"]] == [6101]


async def test_the_directory_and_the_runs_are_told(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01") as mechanism:
        await mechanism.admin("POST", "/issue", issuance(series="MMR-1", net=1000), 201)
        taken = await cut(mechanism)
        whole = bytes([1, 0, 14, 0, 0, 0])
        said = await asked(mechanism, taken["cut"], WHOLE + whole, ["MEC01/MMR-1"])
        assert (said["answered"], said["series"]) == (2, ["MEC01/MMR-1"])
        [runs] = (await runs_of(mechanism)).values()
        states = [raw(said["states"])[at : at + 32] for at in range(0, len(raw(said["states"])), 32)]
        assert set(states) == {run.state for run in runs}
        told = raw(said["told"])
        assert told[:2] == bytes([5, 1])
        hashes = [base64.urlsafe_b64encode(h).rstrip(b"=").decode() for h in states]
        texts = (await asked(mechanism, taken["cut"], b"", texts=hashes))["texts"]
        assert [hashlib.sha256(text.encode()).digest() for text in texts] == states
        other = {"of": "MEC01", "cut": uuid7(), "registry": "MEC01", "series": [], "asked": ""}
        refused = await mechanism.send("positions.query", body=other)
        assert [f["code"] for f in refused.payload["body"]["findings"]] == [6103]


async def test_a_result_is_kept_and_receipted_without_items(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01") as mechanism:
        await mechanism.admin("POST", "/issue", issuance(series="MMR-1", net=1000), 201)
        taken = await cut(mechanism)
        books = [{"registry": "MEC01", "root": taken["books"][0]["root"]}]
        body = {"of": "MEC01", "cut": taken["cut"], "status": 5, "findings": 0, "books": books, "evidence": []}
        receipt = await mechanism.send("reconciliation.result", body=body)
        assert (receipt.type, receipt.texts) == ("receipt", [])
        [kept] = (await mechanism.admin("GET", "/reconciliations"))["reconciliations"]
        assert (kept["cut"], kept["status"], kept["findings"]) == (taken["cut"], 5, [])


UNITS = {"origin": {"registry": "MEC01", "series": "MMR-1"}, "first": 11, "last": 20}
TWO = ["a synthetic administrator", "another one"]


async def fixed(sandbox: Sandbox, text: str | None, units: dict[str, Any] = UNITS, status: int = 201) -> Any:
    wish = {"units": units, "state": text, "case": "MEC01-1", "who": TWO, "why": "synthetic", "evidence": "none"}
    return await sandbox.admin("POST", "/books/correct", wish, status)


@pytest.mark.parametrize("fault", ["lose", "invent", "change", "move"])
async def test_a_planted_fault_shows_and_its_correction_undoes_it(
    server: Any, gateway: Gateway, tmp_path: Path, fault: str
) -> None:
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01") as mechanism:
        await mechanism.admin("POST", "/issue", issuance(series="MMR-1", net=1000), 201)
        before, books = await cut(mechanism), await mechanism.books()
        told = len(gateway.heard)
        held = next(b for b in books["blocks"] if b["block"]["first"] <= 11 and b["block"]["last"] >= 20)
        text: str | None = state(held)
        if fault == "invent":
            units = {"origin": {"registry": "MEC01", "series": "MMR-OTHER"}, "first": 5, "last": 9}
            block = {**held["block"], **units}
            await mechanism.admin("POST", "/books/invent", {"party": "MMR", "block": block}, 200)
            await mechanism.admin("POST", "/books/invent", {"party": "MMR", "block": block}, 409)
            text = None
        else:
            units = UNITS
            wish = {
                "lose": {},
                "change": {"attributes": {"vintage": 2022}},
                "move": {"party": "MMR", "account": "230-5"},
            }
            await mechanism.admin("POST", f"/books/{fault}", {"units": units, **wish[fault]}, 200)
        planted = await cut(mechanism)
        assert planted["books"][0]["root"] == await root_of(mechanism) != before["books"][0]["root"]
        assert planted["books"][0]["totals"] != before["books"][0]["totals"]
        await fixed(mechanism, text, units)
        clean = await cut(mechanism)
        assert clean["books"] == before["books"]
        await mechanism.books()
        [kept] = (await mechanism.admin("GET", "/corrections"))["corrections"]
        assert (kept["case"], kept["who"], kept["units"], kept["state"]) == ("MEC01-1", TWO, units, text)
        assert len(gateway.heard) == told and clean["told"] == before["told"]


async def test_one_person_alone_corrects_nothing(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    name = f"sandbox_{uuid7().replace('-', '')}"
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01", database=name) as mechanism:
        await mechanism.admin("POST", "/issue", issuance(series="MMR-1", net=1000), 201)
        wish = {"units": UNITS, "state": None, "case": "C", "why": "synthetic"}
        for who in (["one"], ["one", "One "], ["one", ""]):
            await mechanism.admin("POST", "/books/correct", {**wish, "who": who}, 422)
        for text in ("", "{}", "[]", '{"party":"MMR","account_type":100,"attributes":{},"itmo":null}'):
            await fixed(mechanism, text, status=409)
        assert (await mechanism.admin("GET", "/corrections"))["corrections"] == []
        await fixed(mechanism, None)
        for change in ("DELETE FROM correction", "TRUNCATE correction", "UPDATE correction SET why = 'other'"):
            with psycopg.connect(server.dsn(name, name)) as connection:
                with pytest.raises(psycopg.errors.RestrictViolation):
                    connection.execute(change)


async def test_what_is_locked_is_left_alone(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01") as mechanism:
        await issue(mechanism)
        before = await cut(mechanism)
        [proposed] = await propose(mechanism, [100])
        moving = await cut(mechanism)
        # A lock is no change of a state, and the transfer that holds it is in flight.
        assert moving["books"] == before["books"]
        assert raw(moving["moving"]) == b"MEC01" + bytes.fromhex(proposed.transfer[6:].replace("-", "")) + b"L"
        [locked] = [h["block"] for h in (await mechanism.books())["blocks"] if h["locked_by"]]
        units = {name: locked[name] for name in ("origin", "first", "last")}
        await mechanism.admin("POST", "/books/lose", {"units": units}, 409)
        await fixed(mechanism, None, units, 409)
        assert (await cut(mechanism))["books"] == before["books"]


async def test_who_tells_no_nodes_lists_the_positions_of_the_cut(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    more = ("--no-ranges",)
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01", more=more) as mechanism:
        for nr in range(3):
            await mechanism.admin("POST", "/issue", issuance(series=f"MMR-{nr}", net=100), 201)
        taken = await cut(mechanism)
        assert taken["ranges"] is False and all("root" not in book for book in taken["books"])
        held = (await mechanism.books())["blocks"]
        await mechanism.admin("POST", "/books/lose", {"units": {**UNITS, "first": 1, "last": 1}}, 200)
        body = {"of": "MEC01", "cut": taken["cut"], "registry": "MEC01", "limit": 2}
        listed, after = [], None
        while True:
            answer = await mechanism.send("positions.query", body={**body, **({"after": after} if after else {})})
            listed += answer.items
            assert 1 <= len(answer.items) <= 2
            after = answer.payload["body"].get("next")
            if after is None:
                break
        places = [(b["origin"]["series"], b["first"]) for b in (item["block"] for item in listed)]
        assert places == sorted(places)
        key = str
        assert sorted(({**i, "kind": 0} for i in listed), key=key) == sorted(
            ({"kind": 0, **{n: h[n] for n in ("party", "account", "block")}} for h in held), key=key
        )
        nodes = {"of": "MEC01", "cut": taken["cut"], "registry": "MEC01", "series": [], "asked": ""}
        refused = await mechanism.send("positions.query", body=nodes)
        assert [f["code"] for f in refused.payload["body"]["findings"]] == [6103]


async def test_each_section_has_a_book_of_its_own(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    async with registry(server, gateway, tmp_path, "international", "INT01", sections=("THA", "FJI")) as international:
        for party in ("THA", "FJI"):
            await international.admin("POST", "/issue", issuance(party, series=f"{party}-1", net=1000), 201)
        taken = await cut(international)
        assert [(b["registry"], b["series"]) for b in taken["books"]] == [("FJI99", 1), ("THA99", 1)]
        units = {"origin": {"registry": "THA99", "series": "THA-1"}, "first": 1, "last": 10}
        units["origin"] = (await international.books())["blocks"][-1]["block"]["origin"]
        await international.admin("POST", "/books/move", {"units": units, "party": "FJI", "account": "100-1"}, 200)
        moved = await cut(international)
        assert [(b["registry"], b["series"]) for b in moved["books"]] == [("FJI99", 2), ("THA99", 1)]
        assert all(b["root"] != c["root"] for b, c in zip(taken["books"], moved["books"], strict=True))
        foreign = {"of": "INT01", "cut": moved["cut"], "registry": "INT01", "series": [], "asked": ""}
        refused = await international.send("positions.query", body=foreign)
        assert [f["code"] for f in refused.payload["body"]["findings"]] == [8001]
