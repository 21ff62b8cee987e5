"""Cuts of a sandbox registry's books, and what it tells of them; the gateway is played here.

What is told is taken apart by this file, and compared with the books the registry's operator sees.
"""

import base64
import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from gateway.domain import fingerprints
from tests.integration import test_sandbox_play as play
from tests.integration.test_sandbox_issuing import issuance
from tests.integration.test_sandbox_play import Gateway, Heard, Sandbox, registry, stamp, uuid7

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
