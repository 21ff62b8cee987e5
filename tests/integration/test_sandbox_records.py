"""Actions recorded in the international registry: kept once, apart from holdings, each judged alone.

The gateway is played here (see ``test_sandbox_play``). What a record says of units is taken as it is said; only
that no identifier means two units, and no unit bears two, is held against all other records.
"""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from joserfc.errors import JoseError

from tests.integration import test_sandbox_play as play
from tests.integration.test_sandbox_faults import fault, has_struck, until
from tests.integration.test_sandbox_issuing import issuance
from tests.integration.test_sandbox_play import Gateway, Heard, Sandbox, registry, text, uuid7
from tests.integration.test_sandbox_sections import address, international_of

server, gateway = play.server, play.gateway

AT = "2026-03-02T10:00:00.000Z"


def units(first: int, last: int, offset: int | None = 0, series: str = "MMR-A64", **changes: Any) -> dict[str, Any]:
    """A block of MEC01, with identifiers at an offset unless it is nothing."""
    origin = {"registry": "MEC01", "series": series}
    block = {"origin": origin, "first": first, "last": last, "attributes": play.ATTRIBUTES}
    if offset is not None:
        block["itmo"] = {"first": name(first + offset), "last": name(last + offset)}
    return block | changes


def name(serial: int) -> str:
    return f"CA0001-MMR99-MMR-{serial}-2021"


def record(*blocks: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The record of an acquisition by Thailand, under a new transfer."""
    transfer = f"MEC01-{uuid7()}"
    item = {"kind": "record", "action": f"{transfer}/acquisition", "type": "Acquisition", "at": AT}
    item |= {"section": "THA99", "party": "THA", "registry": "THA99", "transfer": transfer, "purpose": "NDC"}
    item |= {"transferring": address("MEC01", "MMR"), "acquiring": address("THA99")}
    size = sum(b["last"] - b["first"] + 1 for b in blocks)
    return item | {"authorisation": play.AUTHORISATION, "quantity": size, "blocks": list(blocks)} | changes


def disposal(*blocks: dict[str, Any], kind: str = "Use", **changes: Any) -> dict[str, Any]:
    """The record of a use by Ghana."""
    size = sum(b["last"] - b["first"] + 1 for b in blocks)
    item = {
        "kind": "record",
        "action": f"GHA99/A-{uuid7()}",
        "type": kind,
        "at": AT,
        "section": "GHA99",
        "party": "GHA",
    }
    item |= {"registry": "GHA99", "account": "100-1", "to_account": "200-1", "authorisation": None, "quantity": size}
    return item | {"blocks": list(blocks)} | changes


async def say(international: Sandbox, *items: dict[str, Any]) -> Heard:
    return await international.send("action.record", [text(item) for item in items])


async def said(international: Sandbox, *items: dict[str, Any]) -> list[Any]:
    """Record, and give ``recorded`` or the codes of the refusal, item by item."""
    receipt = await say(international, *items)
    assert receipt.type == "receipt" and all("transfer" not in i for i in receipt.items)
    assert [i["item"] for i in receipt.items] == [play.sha(text(item)) for item in items]
    codes = [[f["code"] for f in i["findings"]] for i in receipt.items]
    assert [i["state"] for i in receipt.items] == ["refused" if found else "recorded" for found in codes]
    for item, found in list(zip(items, codes, strict=True))[: play.CHECKED_ITEMS]:
        assert found or play.schema("Item.record").is_valid(item)
    return [found or "recorded" for found in codes]


async def kept(international: Sandbox, **query: Any) -> list[dict[str, Any]]:
    asked = "&".join(f"{n}={v}" for n, v in query.items())
    return list((await international.admin("GET", f"/records?{asked}"))["records"])


async def test_records_are_kept_apart_from_what_is_held(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    async with international_of(server, gateway, tmp_path, database="apart") as international:
        await international.admin("POST", "/issue", issuance("THA", gross=100), 201)
        await international.drained()
        before, holdings = await international.books(), stored(server, "apart")
        assert before["records"] == {"count": 0, "quantity": 0}
        acquired = record(units(1, 60))
        gone = record(units(61, 70), party="GHA", section="GHA99", type="Transfer", acquiring=address("KOR01"))
        gone |= {"action": f"{gone['transfer']}/transfer", "transferring": address("GHA99"), "registry": "GHA99"}
        used, cancelled = disposal(units(1, 5)), disposal(units(6, 8, None), kind="Cancellation", to_account="300-1")
        assert await said(international, acquired, gone, used, cancelled) == ["recorded"] * 4
        books = await international.books()
        assert books == before | {"records": {"count": 4, "quantity": 78}}
        assert stored(server, "apart") == holdings
        shown = await kept(international)
        assert [r["action"] for r in shown] == sorted(i["action"] for i in (acquired, gone, used, cancelled))
        by_action = {r["action"]: r for r in shown}
        for item in (acquired, gone, used, cancelled):
            members = {n: item[n] for n in ("action", "type", "section", "party", "quantity")}
            assert by_action[item["action"]] == members | {"item": text(item)}
        assert await kept(international, limit=1) == shown[:1]
        assert await kept(international, after=shown[0]["action"], limit=2) == shown[1:3]
        await international.admin("GET", "/records?limit=0", status=422)


def stored(server: Any, database: str) -> list[Any]:
    """Every row of the books."""
    with psycopg.connect(server.dsn(database, database)) as connection:
        return [connection.execute(f"TABLE {name}").fetchall() for name in ("holding", "journal", "crediting")]


async def test_the_same_action_is_recorded_once(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    async with international_of(server, gateway, tmp_path) as international:
        one, two, three = record(units(1, 10)), record(units(11, 20)), disposal(units(1, 5))
        _, kind, raw = gateway.compose("INT01", "action.record", [text(one), text(two)])
        receipt = await international.send_bytes(kind, raw)
        assert (await international.send_bytes(kind, raw)).raw == receipt.raw
        assert await said(international, two, three) == ["recorded"] * 2
        # Another text under a recorded action is refused alone, in whatever it differs.
        for other in ({"at": "2026-03-02T10:00:00.001Z"}, {"blocks": [units(1, 10, 5)]}, {"section": "JPN99"}):
            assert await said(international, one | other, record(units(21, 21))) == [[2004], "recorded"]
        again = record(units(31, 40))
        assert await said(international, again, again | {"purpose": "OP"}) == ["recorded", [2004]]
        assert await said(international, one, two, three, again) == ["recorded"] * 4
        assert (await international.books())["records"] == {"count": 7, "quantity": 38}


async def test_a_record_for_no_section_of_its_party_is_refused_alone(
    server: Any, gateway: Gateway, tmp_path: Path
) -> None:
    wrong = [
        {"section": "JPN99", "party": "JPN", "acquiring": address("JPN99")},
        {"section": "GHA99"},
        {"section": "INT01"},
        {"party": "GHA"},
        {"type": "Transfer"},
        {"acquiring": address("GHA99")},
    ]
    async with international_of(server, gateway, tmp_path) as international:
        items = [record(units(10 * n + 1, 10 * n + 10), **changes) for n, changes in enumerate(wrong)]
        right = record(units(1001, 1010))
        assert await said(international, *items, right) == [[4002]] * len(wrong) + ["recorded"]
        assert [r["action"] for r in await kept(international)] == [right["action"]]
        # What was refused has left nothing: its identifiers may be those of other units.
        assert await said(international, record(units(2001, 2060, -2000))) == ["recorded"]


async def test_an_identifier_means_one_unit(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    async with international_of(server, gateway, tmp_path) as international:
        assert await said(international, record(units(1, 100))) == ["recorded"]
        other = units(1, 10, series="THA-A64")
        over = units(201, 210, -150)
        # In a later message, in the same message, and in the same item.
        assert await said(international, record(other), record(over), record(units(101, 110))) == [
            [4007],
            [4007],
            "recorded",
        ]
        fresh, taken = record(units(1001, 1010)), record(units(1, 10, 1005, series="THA-A64"))
        assert await said(international, fresh, taken) == ["recorded", [4007]]
        twice = record(units(2001, 2010), units(3001, 3010, -1000))
        receipt = await say(international, twice, record(units(2001, 2010, 1000)))
        assert [i["state"] for i in receipt.items] == ["refused", "recorded"]
        (found,) = receipt.items[0]["findings"]
        named = {"origin": {"registry": "MEC01", "series": "MMR-A64"}, "first": 3001, "last": 3010}
        assert (found["code"], found["blocks"]) == (4007, [named])
        assert (await international.books())["records"]["count"] == 4


async def test_a_unit_bears_one_identifier(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    async with international_of(server, gateway, tmp_path) as international:
        assert await said(international, record(units(1, 100, 1000))) == ["recorded"]
        # Parts keep the offset, may reach beyond what is named, and need not show what they bear.
        parts = [record(units(41, 60, 1000)), disposal(units(91, 120, 1000)), disposal(units(1, 3, None))]
        assert await said(international, *parts) == ["recorded"] * 3
        otherwise = record(units(100, 100, 1001)), record(units(121, 130, 1000), units(1, 5, 2000))
        assert await said(international, *otherwise) == [[4010], [4010]]
        stem = {"first": "CA0002-MMR99-MMR-1001-2021", "last": "CA0002-MMR99-MMR-1010-2021"}
        assert await said(international, record(units(1, 10, itmo=stem))) == [[4010]]
        # Units that were in a refused record are free for their true names.
        assert await said(international, record(units(121, 130, 5000))) == ["recorded"]


async def test_what_a_record_gets_wrong_by_itself_is_refused_alone(
    server: Any, gateway: Gateway, tmp_path: Path
) -> None:
    unlike = {"first": name(1), "last": name(11)}
    another = {"first": name(1), "last": "CA0001-MMR99-MMR-10-2022"}
    items = {
        2006: record(units(1, 10, itmo={"first": "CA0001-MMR99-MMR-01-2021", "last": name(10)})),
        2007: record(units(1, 10, itmo=unlike)),
        2008: record(units(1, 10), units(10, 20)),
        2009: record(units(1, 10), quantity=9),
    }
    async with international_of(server, gateway, tmp_path) as international:
        right = record(units(1, 10))
        assert await said(international, *items.values(), right) == [*([code] for code in items), "recorded"]
        more = record(units(1, 10, itmo=another)), record(units(10, 1, None), quantity=10)
        assert await said(international, *more) == [[2007], [2007, 2009]]
        assert (await international.books())["records"]["count"] == 1


def without(item: dict[str, Any], member: str) -> dict[str, Any]:
    return {n: v for n, v in item.items() if n != member}


@pytest.mark.parametrize("wrong", [
    without(record(units(1, 10)), "at"), without(record(units(1, 10)), "transfer"), record(units(1, 10), note=""),
    disposal(units(1, 10), transfer=f"MEC01-{uuid7()}"), without(disposal(units(1, 10)), "to_account"),
    record(units(1, 10), account="100-1"), record(units(1, 10), type="Sale"), record(blocks=[], quantity=1),
    record(units(1, 10), action=""), record(units(1, 10), action="a" * 129), record(units(1, 10), action="a\nb"),
    record(units(1, 10), at="today"), record(units(1, 10, attributes={})), record(units(1, 10), kind="action"),
    record(units(1, 10), party="tha"), record(units(1, 10), authorisation={}),
], ids=lambda item: text(item)[:40])  # fmt: skip
async def test_what_is_no_record_refuses_the_message(international: Sandbox, wrong: dict[str, Any]) -> None:
    before = len(await kept(international))
    refusal = await say(international, record(units(1, 10)), wrong)
    assert (refusal.type, refusal.payload["body"]["findings"][0]["code"]) == ("refusal", 2001)
    assert "seq" not in refusal.payload
    assert len(await kept(international)) == before


async def test_the_limits_of_a_message(international: Sandbox) -> None:
    ok = record(*(units(n, n, 1_000_000) for n in range(1, 3001)), action="x" * 128)
    assert await said(international, ok) == ["recorded"]
    for items, code in (
        ([record(*(units(n, n) for n in range(1, 3002)))], 2005),
        ([record(*(units(n, n) for n in range(1, 2002))), record(*(units(n, n) for n in range(3001, 4001)))], 2005),
        ([record(units(1, 1)) for _ in range(1001)], 2001),
    ):
        refusal = await say(international, *items)
        assert (refusal.type, refusal.payload["body"]["findings"][0]["code"]) == ("refusal", code)
    thousand = [disposal(units(n, n, 2_000_000), action=f"Zürich 東京 {n}") for n in range(10_001, 11_001)]
    assert set(await said(international, *thousand)) == {"recorded"}


@pytest.fixture
async def international(server: Any, gateway: Gateway, tmp_path: Path) -> Any:
    async with international_of(server, gateway, tmp_path) as running:
        yield running


@pytest.mark.parametrize("kind", ["mechanism", "party", "services"])
async def test_only_the_international_registry_records(
    server: Any, gateway: Gateway, tmp_path: Path, kind: str
) -> None:
    async with registry(server, gateway, tmp_path, kind, "KOR01") as other:
        refusal = await other.send("action.record", [text(record(units(1, 10)))])
        assert (refusal.type, refusal.payload["body"]["findings"][0]["code"]) == ("refusal", 1010)
        assert await kept(other) == []
        assert "records" not in await other.books()


async def test_records_at_one_instant_are_each_kept_once(international: Sandbox) -> None:
    same, parts = record(units(1, 100)), [disposal(units(1, n)) for n in range(1, 8)]
    heard = await asyncio.gather(*(say(international, same, part) for part in parts))
    assert [[i["state"] for i in m.items] for m in heard] == [["recorded", "recorded"]] * 7
    # Of two that name the same units differently, one is kept.
    rivals = [record(units(1001, 1010, n)) for n in range(7)]
    heard = await asyncio.gather(*(say(international, rival) for rival in rivals))
    assert sorted(m.items[0]["state"] for m in heard) == ["recorded", *["refused"] * 6]
    assert (await international.books())["records"]["count"] == 9


@pytest.mark.parametrize("name", [
    "lose-reply", "lose-request", "delay", "repeat", "reorder", "delay-reply", "refuse", "refuse-unsigned", "garbage",
    "wrong-signature", "by-message", "answer-twice", "down",
])  # fmt: skip
async def test_records_that_meet_a_fault_are_kept_once(international: Sandbox, name: str) -> None:
    items = [text(record(units(1, 10))), text(disposal(units(1, 5)))]
    _, kind, raw = international.gateway.compose("INT01", "action.record", items)
    seconds = {"seconds": 0.3} if name in ("delay", "delay-reply", "down") else {}
    await fault(international, name, **({} if name == "down" else {"type": "action.record"}), **seconds)
    answered: Heard | None = None
    for _ in range(100):
        try:
            response = await international.post(kind, raw)
            answered = play.read(response.headers["content-type"], response.content, international.key_set)
            if answered.type == "receipt":
                break
        except (httpx.TransportError, ValueError, AssertionError, JoseError):
            await asyncio.sleep(0.02)
    assert answered is not None and [i["state"] for i in answered.items] == ["recorded", "recorded"]
    await until(lambda: has_struck(international))
    assert (await international.send_bytes(kind, raw)).raw == answered.raw
    assert (await international.books())["records"] == {"count": 2, "quantity": 15}
    assert (await international.books())["alarms"] == []


@pytest.mark.parametrize(("when", "stored"), [("before", 0), ("after", 1)])
async def test_records_survive_the_death_of_the_registry(
    server: Any, gateway: Gateway, tmp_path: Path, when: str, stored: int
) -> None:
    database = f"dying_{when}"
    _, kind, raw = gateway.compose("INT01", "action.record", [text(record(units(1, 10)))])
    async with international_of(server, gateway, tmp_path, database=database) as international:
        await international.admin("POST", "/crash", {"point": f"receive.action.record.{when}-commit"}, 201)
        with pytest.raises(httpx.TransportError):
            await international.post(kind, raw)
        assert await international.process.wait() == -9
    async with international_of(server, gateway, tmp_path, database=database) as international:
        assert (await international.books())["records"]["count"] == stored
        assert (await international.send_bytes(kind, raw)).items[0]["state"] == "recorded"
        assert (await international.books())["records"]["count"] == 1


async def test_a_backup_holds_the_records_of_its_time(international: Sandbox) -> None:
    before, after = record(units(1, 10)), record(units(11, 20))
    await say(international, before)
    await international.admin("POST", "/backup", status=200)
    await say(international, after)
    await international.admin("POST", "/restore", {"known": True}, 200)
    _, kind, raw = international.gateway.compose("INT01", "action.record", [text(before), text(after)])
    assert (await international.post(kind, raw)).status_code == 503
    await international.admin("POST", "/synchronise", {}, 200)
    assert [r["action"] for r in await kept(international)] == [before["action"]]
    published = (await international.client.get(f"{international.url}/keys")).json()
    international.key_set = play.KeySet.import_key_set(published)
    # Said again with the same texts: what is left is recorded, what was lost comes back.
    assert [i["state"] for i in (await international.send_bytes(kind, raw)).items] == ["recorded"] * 2
    assert len(await kept(international)) == 2
