"""The history that a sandbox registry keeps: who sees what, in which order, under which digest, and where in its log.

The gateway is played here (see ``test_sandbox_play``); digests, inclusion and the texts are checked by code of the
tests alone. What a registry keeps of other registries' history: ``test_sandbox_told_history``.
"""

import base64
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import playedlog
from tests.integration import test_sandbox_play as play
from tests.integration.test_sandbox_play import Gateway, Heard, Party, Sandbox, registry
from tests.integration.test_sandbox_source import commit, issue, propose

server, gateway = play.server, play.gateway

START = (0, bytes(32))
CODES = {"MMR": "MMR01", "KOR": "KOR01", "CHE": "CHE01", "THA": "THA99", "GHA": "GHA99"}
AUTHORISED = {
    **{"party": "MMR", "id": "AUTH-SYNTHETIC-9", "version": 1, "kinds": ["ITMOs"], "date": "2026-01-31"},
    **{"cooperative_approach": "CA0001", "purposes": "NDC", "period": {"first": "2026-01-31", "last": None}},
}
ORIGIN = {"registry": "MEC01", "series": "MMR-A64"}

Cursor = tuple[int, bytes]


@dataclass
class Page:
    """What a page said, after its digest was recomputed and its records were found in the registry's own log."""

    records: list[dict[str, Any]]
    texts: list[str]
    until: Cursor
    more: bool
    heard: Heard


def cursor(place: Cursor) -> dict[str, Any]:
    return {"number": place[0], "digest": base64.urlsafe_b64encode(place[1]).decode().rstrip("=")}


def place(written: dict[str, Any]) -> Cursor:
    return written["number"], base64.urlsafe_b64decode(written["digest"] + "=")


def beyond(after: Cursor, texts: list[str]) -> Cursor:
    number, digest = after
    for one in texts:
        number, digest = number + 1, hashlib.sha256(digest + hashlib.sha256(one.encode()).digest()).digest()
    return number, digest


async def ask(sandbox: Sandbox, party: str, after: Cursor = START, limit: int = 1000, **more: Any) -> Heard:
    body = {"of": sandbox.code, "for": {"registry": CODES[party], "party": party}, "after": cursor(after)}
    return await sandbox.send("history.query", [], body | {"limit": limit} | more)


async def pull(sandbox: Sandbox, party: str, after: Cursor = START, limit: int = 1000, **more: Any) -> Page:
    """Ask for a page, and prove it."""
    page = read(await ask(sandbox, party, after, limit, **more), after, whole="select" not in more)
    if "log" in page.heard.payload["body"]:
        await is_logged(sandbox, page)
    return page


def read(heard: Heard, after: Cursor, *, whole: bool = True) -> Page:
    assert heard.type == "history.page", heard.payload["body"]
    body = heard.payload["body"]
    until = place(body["until"])
    assert place(body["after"]) == after and "seq" not in heard.payload
    records = [json.loads(one) for one in heard.texts]
    for value, one in zip(records, heard.texts, strict=True):
        assert one == json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert until == beyond(after, heard.texts) or not whole
    return Page(records, heard.texts, until, body["more"], heard)


async def is_logged(sandbox: Sandbox, page: Page) -> None:
    """Find every record of a page under the root of the checkpoint it came with."""
    log = page.heard.payload["body"]["log"]
    salts = base64.urlsafe_b64decode(log["salts"] + "=" * (-len(log["salts"]) % 4))
    keys = (await sandbox.client.get(f"{sandbox.url}/log/keys")).json()["keys"]
    size, root = playedlog.read(log["checkpoint"], keys[0]["vkey"])
    leaves = await entries(sandbox, size)
    assert playedlog.root([playedlog.leaf(entry) for entry in leaves]) == root
    assert len(log["leaves"]) == len(page.texts) == len(salts) / 32
    for nr, (index, one) in enumerate(zip(log["leaves"], page.texts, strict=True)):
        digest = hashlib.sha256(salts[nr * 32 : nr * 32 + 32] + one.encode()).hexdigest()
        told = {"at": page.records[nr]["at"], "digest": digest, "kind": "history"}
        assert leaves[index].decode() == json.dumps(told, separators=(",", ":"))


async def entries(sandbox: Sandbox, size: int) -> list[bytes]:
    found: list[bytes] = []
    for number in range(-(-size // 256)):
        width = min(size - number * 256, 256)
        path = f"{number:03}" + (f".p/{width}" if width < 256 else "")
        found += playedlog.entries((await sandbox.client.get(f"{sandbox.url}/log/tile/entries/{path}")).content)
    return found


async def code(sandbox: Sandbox, party: str, *arguments: Any, **more: Any) -> int:
    """The code a question is refused with, by a message without a number."""
    refused = await ask(sandbox, party, *arguments, **more)
    assert refused.type == "refusal" and "seq" not in refused.payload
    return int(refused.payload["body"]["findings"][0]["code"])


def named(page: Page) -> list[tuple[str, int, int]]:
    return [(r["type"], r["block"]["first"], r["block"]["last"]) for r in page.records]


async def transferred(mechanism: Sandbox, korea: Party, quantities: list[int], **more: Any) -> list[dict[str, Any]]:
    """Release transfers to Korea; gives the items of the releases."""
    proposed = await propose(mechanism, quantities, **more)
    return (await mechanism.send(*commit(korea, proposed))).items


async def lie(sandbox: Sandbox, name: str, **members: Any) -> Any:
    return await sandbox.admin("POST", "/history/lies", {"lie": name, **members}, 201)


async def test_a_feed_goes_from_the_host_to_the_acquirer_and_back_to_issuance(
    server: Any, gateway: Gateway, tmp_path: Path
) -> None:
    korea = Party("KOR01")
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01", peers=(korea,)) as mechanism:
        await issue(mechanism, 100)
        host = await pull(mechanism, "MMR")
        assert named(host) == [("issuance", 1, 98), ("issuance", 99, 100)]
        assert [r["to"]["account"] for r in host.records] == ["100-1", "320-1"]
        assert not any("from" in r or r["first_transfer"] for r in host.records)
        (notice,) = [i for m in await gateway.wait("action.notice") for i in m.items if i["type"] == "issuance"]
        assert {(r["transaction"], r["at"], r["registry"]) for r in host.records} == {
            (notice["action"], notice["at"], "MEC01")
        }
        assert (await pull(mechanism, "KOR")).records == []
        (released,) = await transferred(mechanism, korea, [10])
        seen = await pull(mechanism, "KOR")
        # The acquisition first, then how the units came to be; nothing of the units deducted at issuance.
        assert named(seen) == [("transfer", 89, 98), ("issuance", 1, 98)]
        moved = seen.records[0]
        assert (moved["transaction"], moved["at"]) == (released["transfer"], released["released_at"])
        assert moved["first_transfer"] and moved["block"]["itmo"] == released["itmo"][0]["itmo"]
        assert (moved["from"]["party"], moved["to"]["registry"], moved["purpose"]) == ("MMR", "KOR01", "NDC")
        # More units of the same block: what is seen already is not told again. Both feeds hold the same texts.
        await transferred(mechanism, korea, [5])
        more = await pull(mechanism, "KOR", seen.until)
        assert named(more) == [("transfer", 84, 88)] and more.until[0] == 3
        both = await pull(mechanism, "MMR", host.until)
        assert both.texts == [seen.texts[0], more.texts[0]]
        assert (await pull(mechanism, "CHE")).until == START


async def test_what_happens_inside_a_registry_is_told_with_its_accounts(
    server: Any, gateway: Gateway, tmp_path: Path
) -> None:
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01") as mechanism:
        await issue(mechanism, 100)
        after = (await pull(mechanism, "MMR")).until
        of = {"party": "MMR", "quantity": 1}
        await mechanism.admin("POST", "/use", of | {"to_account": "200-1", "year": 2024}, 201)
        await mechanism.admin("POST", "/cancel", of | {"to_account": "310-1", "purpose": "OP"}, 201)
        await mechanism.admin("POST", "/adaptation", of | {"voluntary": True}, 201)
        await mechanism.admin("POST", "/first_transfers", of | {"subtype": "Authorization"}, 201)
        page = await pull(mechanism, "MMR", after)
        told = [(r["type"], r.get("from", {}).get("account"), r.get("to", {}).get("account")) for r in page.records]
        assert told == [
            ("use", "100-1", "200-1"),
            ("cancellation", "100-1", "310-1"),
            ("adaptation", "100-1", "410-1"),
            ("first_transfer", None, None),
        ]
        assert [(r.get("purpose"), r.get("year"), r["first_transfer"]) for r in page.records] == [
            ("NDC", 2024, False),
            ("OP", None, False),
            (None, None, False),
            (None, None, True),
        ]
        assert "itmo" in page.records[3]["block"]


async def test_units_without_an_authorisation_are_for_nobody_until_they_have_one(
    server: Any, gateway: Gateway, tmp_path: Path
) -> None:
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01") as mechanism:
        wanted = {"activity": "PoA 10471", "party": "MMR", "gross": 100, "vintage": 2021, "series": "MMR-A64"}
        await mechanism.admin("POST", "/issue", wanted | {"sop_percent": 0}, 201)
        await mechanism.admin("POST", "/cancel", {"party": "MMR", "to_account": "310-1", "quantity": 3}, 201)
        assert (await pull(mechanism, "MMR")).until == START
        units = [{"origin": ORIGIN, "first": 91, "last": 97}]
        await mechanism.admin("POST", "/authorisations", AUTHORISED | {"units": units}, 201)
        page = await pull(mechanism, "MMR")
        # The authorisation, and right after it what had happened to these units alone, under it now.
        assert named(page) == [
            ("authorisation", 91, 95),
            ("authorisation", 96, 97),
            ("issuance", 91, 95),
            ("issuance", 96, 97),
            ("cancellation", 96, 97),
        ]
        under = {"id": AUTHORISED["id"], "version": 1}
        assert [r["block"]["attributes"]["authorisation"] for r in page.records] == [under] * 5
        told = [i for m in await gateway.wait("action.notice", 3) for i in m.items if i["type"] == "authorisation"]
        assert page.records[0]["transaction"] == told[0]["action"] and page.records[0]["at"] == told[0]["at"]
        # Under another version nothing of it is told a second time.
        again = [{"origin": ORIGIN, "first": 91, "last": 93}]
        await mechanism.admin("POST", "/authorisations", AUTHORISED | {"version": 2, "units": again}, 201)
        assert named(await pull(mechanism, "MMR", page.until)) == [("authorisation", 91, 93)]


async def test_a_feed_is_read_in_pages_from_any_cursor(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    korea = Party("KOR01")
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01", peers=(korea,)) as mechanism:
        await issue(mechanism)
        await transferred(mechanism, korea, [1] * 25)
        whole = await pull(mechanism, "KOR")
        assert (len(whole.texts), whole.more) == (26, False)
        texts: list[str] = []
        after, more = START, True
        while more:
            page = await pull(mechanism, "KOR", after, 7)
            texts, after, more = texts + page.texts, page.until, page.more
            # Meanwhile the feed grows, and what was read stays where it was.
            assert (await pull(mechanism, "KOR", after, 1)).until[0] in (after[0], after[0] + 1)
        assert (texts, after) == (whole.texts, whole.until)
        empty = await pull(mechanism, "KOR", after)
        assert (empty.texts, empty.until, empty.more) == ([], after, False) and "items" not in empty.heard.payload


async def test_what_is_not_to_be_viewed_or_is_no_cursor_is_refused(
    server: Any, gateway: Gateway, tmp_path: Path
) -> None:
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01") as mechanism:
        await issue(mechanism, 100)
        page = await pull(mechanism, "MMR")
        assert await code(mechanism, "MMR", START, 1001) == 8002
        assert await code(mechanism, "MMR", (3, page.until[1])) == 8003
        assert await code(mechanism, "MMR", (1, page.until[1])) == 8003
        assert await code(mechanism, "MMR", (0, page.until[1])) == 8003
        assert await code(mechanism, "KOR", page.until) == 8003
        assert await code(mechanism, "MMR", of="INT01") == 8001
        await mechanism.admin("POST", "/history/viewers", {"shut": ["MMR"]})
        assert await code(mechanism, "MMR") == 8001
        positions = {"of": "MEC01", "for": {"registry": "MMR01", "party": "MMR"}, "limit": 1}
        refused = await mechanism.send("positions.query", [], positions)
        assert refused.payload["body"]["findings"][0]["code"] == 8001
        await mechanism.admin("POST", "/history/viewers", {"shut": []})
        assert (await pull(mechanism, "MMR")).texts == page.texts
        assert await code(mechanism, "MMR", START, 0) == 2001
        assert await code(mechanism, "MMR", (-1, bytes(32))) == 2001
        assert await code(mechanism, "MMR", select={"colour": "red"}) == 2001


async def test_a_view_selects_records_and_says_how_far_it_looked(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    korea = Party("KOR01")
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01", peers=(korea,)) as mechanism:
        await issue(mechanism, 100)
        await transferred(mechanism, korea, [3, 4])
        whole = await pull(mechanism, "MMR")
        at = whole.records[2]["at"]
        for select, numbers in (
            ({"type": "transfer"}, [2, 3]),
            ({"party": "KOR"}, [2, 3]),
            ({"account": "320-1"}, [1]),
            ({"account": "100-1", "type": "issuance"}, [0]),
            ({"units": {"origin": ORIGIN, "first": 98, "last": 99}}, [0, 1, 2]),
            ({"units": {"origin": ORIGIN | {"series": "OTHER"}, "first": 98, "last": 99}}, []),
            ({"activity": "PoA 10471", "vintage": 2021, "authorisation": "AUTH-SYNTHETIC-1"}, [0, 1, 2, 3]),
            ({"activity": "PoA 1"}, []),
            ({"vintage": 2022}, []),
            ({"authorisation": "AUTH-SYNTHETIC-2"}, []),
            ({"until": at}, [0, 1]),
            ({"since": at}, [2, 3]),
        ):
            page = await pull(mechanism, "MMR", select=select)
            assert page.texts == [whole.texts[n] for n in numbers], select
            assert (page.until, page.more) == (whole.until, False)
        page = await pull(mechanism, "MMR", limit=1, select={"type": "transfer"})
        assert (page.texts, page.until[0], page.more) == ([whole.texts[2]], 3, True)


async def test_tricks_are_played_on_the_next_page_alone(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01") as mechanism:
        for _ in range(3):
            await issue(mechanism, 100)
        whole = await pull(mechanism, "MMR")
        await lie(mechanism, "lose-page")
        lost = await ask(mechanism, "MMR")
        assert lost.texts == whole.texts[3:] and place(lost.payload["body"]["until"]) == whole.until
        await lie(mechanism, "reorder")
        swapped = await ask(mechanism, "MMR")
        assert swapped.texts == [whole.texts[5], *whole.texts[1:5], whole.texts[0]]
        assert place(swapped.payload["body"]["until"]) == whole.until
        first = await pull(mechanism, "MMR", limit=2)
        await lie(mechanism, "repeat")
        repeated = await ask(mechanism, "MMR", first.until, 2)
        assert (repeated.texts, place(repeated.payload["body"]["after"])) == (first.texts, START)
        await lie(mechanism, "expire")
        assert (await pull(mechanism, "MMR", limit=2)).texts == first.texts
        assert await code(mechanism, "MMR", first.until) == 8003
        assert (await pull(mechanism, "MMR")).texts == whole.texts
        await mechanism.admin("POST", "/history/lies", {"lie": "expire", "party": "MMR"}, 422)
        await mechanism.admin("POST", "/history/lies", {"lie": "nonsense"}, 422)


async def test_lies_about_history_are_told_in_the_feed_they_are_for(
    server: Any, gateway: Gateway, tmp_path: Path
) -> None:
    korea = Party("KOR01")
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01", peers=(korea,)) as mechanism:
        await mechanism.admin("POST", "/history/lies", {"lie": "correct", "party": "KOR"}, 409)
        await issue(mechanism, 100)
        await transferred(mechanism, korea, [10])
        before = await pull(mechanism, "KOR")
        host = await pull(mechanism, "MMR")
        await lie(mechanism, "correct", party="KOR", number=1)
        (corrected,) = (await pull(mechanism, "KOR", before.until)).records
        assert corrected == before.records[0] | {"purpose": "other", "corrects": play.sha(before.texts[0])}
        assert (await pull(mechanism, "MMR", host.until)).records == [corrected]
        for name in ("future", "contradict", "foreign"):
            await lie(mechanism, name, party="KOR")
        future, contradicting, foreign = (await pull(mechanism, "KOR")).records[3:]
        assert future["at"] > play.stamp(play.datetime.now(play.UTC) + play.timedelta(hours=23))
        assert contradicting["block"]["attributes"]["activity"] == "not PoA 10471"
        assert foreign["block"]["attributes"]["first_transferring_party"] == "FJI"
        assert "KOR" not in json.dumps(foreign)
        seen = await pull(mechanism, "KOR")
        await lie(mechanism, "truncate", party="KOR", count=2)
        assert await code(mechanism, "KOR", seen.until) == 8003
        assert (await pull(mechanism, "KOR")).texts == seen.texts[:4]


async def test_a_rewritten_past_breaks_every_cursor_behind_it(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    korea = Party("KOR01")
    async with registry(server, gateway, tmp_path, "services", "SRV01", peers=(korea,)) as services:
        await issue(services, 100)
        await transferred(services, korea, [10])
        before = await pull(services, "KOR")
        first = await pull(services, "KOR", limit=1)
        await lie(services, "rewrite", party="KOR", number=2, changes={"transaction": "OTHER"})
        after = await pull(services, "KOR")
        assert after.texts[0] == before.texts[0] and after.records[1]["transaction"] == "OTHER"
        assert await code(services, "KOR", before.until) == 8003
        assert (await pull(services, "KOR", first.until)).texts == after.texts[1:]
        # The host sees the same units' past, rewritten too.
        assert after.texts[1] in (await pull(services, "MMR")).texts
