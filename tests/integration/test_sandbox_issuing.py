"""Issuance at sandbox registries: by gross or net quantity, one or ten thousand at a time, in any issuing kind.

The gateway is played here (see ``test_sandbox_play``).
"""

import itertools
import time
from pathlib import Path
from typing import Any

import psycopg

from tests.integration import test_sandbox_play as play
from tests.integration.test_sandbox_play import Gateway, Heard, registry

server, gateway = play.server, play.gateway

#: As many as the real issuances of the CDM registry, and no more than so many seconds for all of them.
REAL_ISSUANCES, SECONDS = 12_533, 30.0


def issuance(party: str = "MMR", **members: Any) -> dict[str, Any]:
    given = {"activity": "PoA 10471", "party": party, "vintage": 2021, "series": f"{party}-TEST"}
    return given | {"authorisation": play.AUTHORISATION} | members


async def test_net_is_what_the_smallest_gross_quantity_leaves(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01") as mechanism:
        for net, gross in ((57259, 58428), (1, 3), (93, 100), (94, 103)):
            sop = 0 if net == 57259 else 5
            made = await mechanism.admin("POST", "/issue", issuance(net=net, sop_percent=sop), 201)
            quantities = {h["account"]: h["block"]["last"] - h["block"]["first"] + 1 for h in made["holdings"]}
            assert quantities["100-1"] == net
            # Nothing smaller leaves as much.
            assert net not in [left(smaller, sop) for smaller in range(1, sum(quantities.values()))]
            assert sum(quantities.values()) == gross
        for wrong in (issuance(), issuance(net=1, gross=2)):
            await mechanism.admin("POST", "/issue", wrong, 422)
        nothing = issuance(net=1, omge_percent=50, sop_percent=50)
        assert (await mechanism.admin("POST", "/issue", nothing, 409))["code"] == 2009


def left(gross: int, sop: int) -> int:
    return gross - -(-gross * 2 // 100) - -(-gross * sop // 100)


async def test_shares_are_those_of_the_host_unless_said_otherwise(
    server: Any, gateway: Gateway, tmp_path: Path
) -> None:
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01") as mechanism:
        for party, given, parts in (
            ("MMR", {}, {"100-1": 980, "320-1": 20}),
            ("MDV", {}, {"100-1": 980, "320-1": 20}),
            ("THA", {}, {"100-1": 930, "410-1": 50, "320-1": 20}),
            ("THA", {"sop_percent": 0, "omge_percent": 0}, {"100-1": 1000}),
            ("MMR", {"sop_percent": 5}, {"100-1": 930, "410-1": 50, "320-1": 20}),
            ("THA", {"buffer_percent": 10}, {"100-1": 830, "410-1": 50, "320-1": 20, "420-1": 100}),
        ):
            made = await mechanism.admin("POST", "/issue", issuance(party, gross=1000, **given), 201)
            assert parts == {h["account"]: h["block"]["last"] - h["block"]["first"] + 1 for h in made["holdings"]}


async def test_units_below_the_units_belong_to_the_net_block_alone(
    server: Any, gateway: Gateway, tmp_path: Path
) -> None:
    below = {"registry": "GS", "first": "SYNTHETIC-1", "last": "SYNTHETIC-93"}
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01") as mechanism:
        wanted = issuance("THA", net=93, attributes={"underlying": below})
        made = await mechanism.admin("POST", "/issue", wanted, 201)
        shown = {h["account"]: h["block"]["attributes"].get("underlying") for h in made["holdings"]}
        assert shown == {"100-1": below, "410-1": None, "320-1": None}


async def test_other_kinds_issue_without_deductions_units_of_their_own(
    server: Any, gateway: Gateway, tmp_path: Path
) -> None:
    run = registry(server, gateway, tmp_path, "international", "INT01", sections=("THA", "GHA"))
    async with run as international:
        made = await international.admin("POST", "/issue", issuance("THA", gross=1009), 201)
        (block,) = [h["block"] for h in made["holdings"]]
        assert block["origin"] == {"registry": "THA99", "series": "THA-TEST"}
        assert (block["last"], block["attributes"]["unit_type"]) == (1009, "MO")
        authorised, notice = (await gateway.wait("action.notice"))[0].items
        assert (authorised["type"], authorised["registry"]) == ("authorisation", "THA99")
        assert (notice["registry"], notice["positions"][0]["party"], notice["synthetic"]) == ("THA99", "THA", True)
        assert (await international.admin("POST", "/issue", issuance("JPN", gross=1), 409))["code"] == 4011
        assert (await international.books())["issued"] == 1009
    async with registry(server, gateway, tmp_path, "services", "SRV01") as services:
        made = await services.admin("POST", "/issue", issuance("GHA", gross=11733, authorisation=None), 201)
        (block,) = [h["block"] for h in made["holdings"]]
        assert block["origin"]["registry"] == "SRV01"
        assert (block["attributes"]["unit_type"], block["attributes"]["authorisation"]) == ("MO", None)
    async with registry(server, gateway, tmp_path, "party", "KOR01") as party:
        await party.admin("POST", "/issue", issuance("KOR", gross=1), 409)
        await party.admin("POST", "/issuances", {"issuances": [issuance("KOR", gross=1)]}, 409)


async def test_many_issuances_are_one_transaction_and_few_messages(
    server: Any, gateway: Gateway, tmp_path: Path
) -> None:
    wanted = [issuance(("MMR", "THA")[n % 2], net=n + 1) for n in range(2500)]
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01") as mechanism:
        done = await mechanism.admin("POST", "/issuances", {"issuances": wanted}, 201)
        assert done == {"actions": 2500, "quantity": sum(range(1, 2501))}
        notices = await gateway.wait("action.notice", 3)
        # The authorisations of two Parties go before them.
        assert [len(m.texts) for m in sorted(notices, key=number)] == [1000, 1000, 502]
        actions = [item for message in sorted(notices, key=number) for item in message.items]
        assert [action["type"] for action in actions] == ["authorisation"] * 2 + ["issuance"] * 2500
        assert len({action["action"] for action in actions}) == 2502
        books = await mechanism.books()
        accounts = {(a["party"], a["account"]): a["quantity"] for a in books["accounts"]}
        assert accounts["MMR", "100-1"] + accounts["THA", "100-1"] == done["quantity"]
        assert without_a_gap(books["blocks"], "MMR-TEST") and without_a_gap(books["blocks"], "THA-TEST")
        # All or none, and each says alone whether it is told.
        wrong = issuance(gross=1, omge_percent=100)
        assert (await mechanism.admin("POST", "/issuances", {"issuances": [wanted[0], wrong]}, 409))["code"] == 2009
        assert (await mechanism.books())["issued"] == books["issued"]
        quiet = [issuance(gross=100, announce=False), issuance(gross=100)]
        await mechanism.admin("POST", "/issuances", {"issuances": quiet}, 201)
        assert len((await gateway.wait("action.notice", 4))[-1].texts) == 1
        for bad in ({"issuances": []}, {"issuances": [issuance(net=1)] * 10_001}):
            await mechanism.admin("POST", "/issuances", bad, 422)


def number(message: Heard) -> int:
    return int(message.payload["seq"])


def without_a_gap(blocks: list[dict[str, Any]], series: str) -> bool:
    ranges = sorted(
        (b["block"]["first"], b["block"]["last"]) for b in blocks if b["block"]["origin"]["series"] == series
    )
    return ranges[0][0] == 1 and all(a[1] + 1 == b[0] for a, b in itertools.pairwise(ranges))


async def test_as_many_issuances_as_the_real_ones_load_in_seconds(
    server: Any, gateway: Gateway, tmp_path: Path
) -> None:
    def of(n: int) -> dict[str, Any]:
        below = {"registry": "GS", "first": f"SYNTHETIC-{n}000001", "last": f"SYNTHETIC-{n}999999"}
        return issuance(net=n + 1, attributes={"underlying": below})

    run = registry(server, gateway, tmp_path, "mechanism", "MEC01", database="many")
    async with run as mechanism:
        begun = time.monotonic()
        for start in range(0, REAL_ISSUANCES, 10_000):
            part = [of(n) for n in range(start, min(start + 10_000, REAL_ISSUANCES))]
            await mechanism.admin("POST", "/issuances", {"issuances": part}, 201)
        assert time.monotonic() - begun < SECONDS
        messages = await gateway.wait("action.notice", 14)  # 10,001 and 2,533 items
        assert max(sum(len(i.get("positions", ())) for i in m.items) for m in messages) <= 3000
        assert max(len(m.raw) for m in messages) < 8 * 1024 * 1024
        assert sum(len(m.texts) for m in messages) == REAL_ISSUANCES + 1  # and the authorisation
    with psycopg.connect(server.dsn("many", "many")) as connection:
        assert connection.execute("SELECT count(*) FROM holding WHERE account = '100-1'").fetchone() == (
            REAL_ISSUANCES,
        )
