"""How feeds keep: late commits, deaths, restores, sections, a long synthetic history; and what is held, page by page.

The gateway is played here; pages are proven as in ``test_sandbox_history``.
"""

from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from tests.integration import test_sandbox_play as play
from tests.integration.test_sandbox_history import CODES, ORIGIN, START, ask, code, named, pull, transferred
from tests.integration.test_sandbox_issuing import issuance
from tests.integration.test_sandbox_play import Gateway, Heard, Party, Sandbox, registry, uuid7
from tests.integration.test_sandbox_sections import international_of
from tests.integration.test_sandbox_source import issue

server, gateway = play.server, play.gateway


def database() -> str:
    return f"sandbox_{uuid7().replace('-', '')}"


async def test_a_record_that_commits_late_is_not_missed(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    name = database()
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01", database=name) as mechanism:
        await issue(mechanism, 100)
        first = await pull(mechanism, "MMR")
        with psycopg.connect(server.dsn(name, name)) as late:
            # Its number is given before those of the others, and it is seen after them.
            late.execute(
                "WITH w AS (INSERT INTO history (text, sha256, at, registry, series, first, last, authorised, host)"
                " SELECT t, sha256(convert_to(t, 'UTF8')), at, registry, series, first, last, true, host FROM"
                " (SELECT *, replace(text, 'issuance', 'authorisation') AS t FROM history LIMIT 1) AS h RETURNING id)"
                " INSERT INTO history_waiting SELECT 'MMR', id FROM w"
            )
            await issue(mechanism, 100)
            second = await pull(mechanism, "MMR", first.until)
            assert (second.until[0], [r["type"] for r in second.records]) == (4, ["issuance"] * 2)
        third = await pull(mechanism, "MMR", second.until)
        assert (third.until[0], [r["type"] for r in third.records]) == (5, ["authorisation"])
        assert (await pull(mechanism, "MMR")).texts == [*first.texts, *second.texts, *third.texts]


async def test_what_is_kept_cannot_be_changed(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    name = database()
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01", database=name) as mechanism:
        await issue(mechanism, 100)
        page = await pull(mechanism, "MMR")
        for table, member in (("history", "text"), ("feed_entry", "party"), ("told_history", "text")):
            for change in (f"DELETE FROM {table}", f"TRUNCATE {table}", f"UPDATE {table} SET {member} = 'other'"):
                with psycopg.connect(server.dsn(name, name)) as connection:
                    with pytest.raises(psycopg.errors.RestrictViolation):
                        connection.execute(change)
        assert (await pull(mechanism, "MMR")).texts == page.texts


async def test_a_death_while_records_get_their_places_leaves_each_in_one(
    server: Any, gateway: Gateway, tmp_path: Path
) -> None:
    name, after, texts = database(), START, []
    for moment in ("before", "after"):
        async with registry(server, gateway, tmp_path, "mechanism", "MEC01", database=name) as mechanism:
            await issue(mechanism, 100)
            await mechanism.drained()
            await mechanism.admin("POST", "/crash", {"point": f"history.place.{moment}-commit"}, 201)
            with pytest.raises(httpx.TransportError):
                await ask(mechanism, "MMR", after)
            assert await mechanism.process.wait() == -9
        async with registry(server, gateway, tmp_path, "mechanism", "MEC01", database=name) as mechanism:
            page = await pull(mechanism, "MMR", after)
            assert [kind for kind, _, _ in named(page)] == ["issuance"] * 2
            after, texts = page.until, [*texts, *page.texts]
    assert (after[0], len(set(texts))) == (4, 4)


async def test_a_restored_registry_has_the_feed_of_its_backup(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01") as mechanism:
        await issue(mechanism, 100)
        before = await pull(mechanism, "MMR")
        await mechanism.admin("POST", "/backup")
        await issue(mechanism, 100)
        forgotten = await pull(mechanism, "MMR")
        await mechanism.admin("POST", "/restore", {"known": False})
        assert await code(mechanism, "MMR", forgotten.until) == 8003
        assert (await pull(mechanism, "MMR")).texts == before.texts
        await issue(mechanism, 100)
        after = await pull(mechanism, "MMR", before.until)
        assert named(after) == named(await pull(mechanism, "MMR"))[2:] and after.until != forgotten.until


async def test_a_section_has_a_feed_and_its_records_name_it(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    async with international_of(server, gateway, tmp_path) as international:
        await international.admin("POST", "/issue", issuance("THA", gross=10), 201)
        page = await pull(international, "THA")
        (record,) = page.records
        assert (record["registry"], record["to"]["registry"], record["to"]["party"]) == ("THA99", "THA99", "THA")
        assert "log" not in page.heard.payload["body"]
        assert (await pull(international, "GHA")).texts == []


async def test_a_long_synthetic_history_is_made_once_and_proves_itself(
    server: Any, gateway: Gateway, tmp_path: Path
) -> None:
    name, members = database(), ("--history", "1200", "--history-of", "KOR")
    for _ in range(2):
        async with registry(server, gateway, tmp_path, "mechanism", "MEC01", database=name, more=members) as mechanism:
            first = await pull(mechanism, "KOR")
            second = await pull(mechanism, "KOR", first.until)
            assert (len(first.texts), first.more, len(second.texts), second.more) == (1000, True, 200, False)
            assert {r["block"]["origin"]["series"] for r in first.records} == {"SYNTHETIC-HISTORY"}
            for one in [*first.records[:2], *second.records[-2:]]:
                play.schema("Item.history").validate(one)
            assert (await mechanism.books())["issued"] == 0
            used = [r for r in first.records if r["type"] == "use"]
            assert len(used) == 500 and len({r["block"]["first"] for r in used}) == 500


async def test_a_page_ends_before_its_message_grows_too_long(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    async with registry(server, gateway, tmp_path, "services", "SRV01") as services:
        # A quotation mark is four bytes in a body: once written as JSON, once more inside a list of texts.
        long = {name: chr(34) * 250 for name in ("sector", "activity_type")}
        named = {"id": chr(34) * 250, "version": 1}
        wanted = issuance(gross=1, attributes=long, activity=chr(34) * 250, authorisation=named, announce=False)
        await services.admin("POST", "/issuances", {"issuances": [wanted] * 1000}, 201)
        texts, after, more = [], START, True
        while more:
            page = await pull(services, "MMR", after)
            assert len(page.heard.raw) < 4 * 1024 * 1024 and (len(page.texts) < 1000)
            texts, after, more = [*texts, *page.texts], page.until, page.more
        assert len(set(texts)) == 1000


async def held(sandbox: Sandbox, party: str, limit: int = 1000, **more: Any) -> Heard:
    body = {"of": sandbox.code, "for": {"registry": CODES[party], "party": party}, "limit": limit}
    answer = await sandbox.send("positions.query", [], body | more)
    assert answer.type == "positions.answer"
    return answer


async def test_positions_are_what_a_party_holds_and_what_others_hold_of_its_units(
    server: Any, gateway: Gateway, tmp_path: Path
) -> None:
    korea = Party("KOR01")
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01", peers=(korea,)) as mechanism:
        await issue(mechanism, 100)
        await mechanism.admin("POST", "/issue", issuance("THA", gross=50, series="THA-A64"), 201)
        await transferred(mechanism, korea, [8])
        await mechanism.admin("POST", "/use", {"party": "MMR", "to_account": "200-1", "quantity": 4}, 201)
        whole = await held(mechanism, "MMR")
        assert "next" not in whole.payload["body"]
        places = [(p["account"], p["block"]["first"], p["block"]["last"]) for p in whole.items]
        assert places == [("100-1", 1, 86), ("200-1", 87, 90), ("320-1", 99, 100)]
        assert {p["party"] for p in whole.items} == {"MMR"}
        texts, more = [], {}
        while True:
            page = await held(mechanism, "MMR", 1, **more)
            texts += page.texts
            if "next" not in page.payload["body"]:
                break
            more = {"after": page.payload["body"]["next"]}
        assert texts == whole.texts
        assert (await held(mechanism, "KOR")).texts == []
        for select, numbers in (
            ({"account": "200-1"}, [1]),
            ({"units": {"origin": ORIGIN, "first": 90, "last": 99}}, [1, 2]),
            ({"party": "THA"}, []),
            ({"vintage": 2021, "activity": "PoA 10471"}, [0, 1, 2]),
        ):
            assert (await held(mechanism, "MMR", select=select)).texts == [whole.texts[n] for n in numbers]
        asked = {"of": "MEC01", "for": {"registry": "MMR01", "party": "MMR"}, "limit": 1}
        for wrong, refusal in (({"limit": 1001}, 8002), ({"after": "elsewhere"}, 8003), ({"of": "INT01"}, 8001)):
            refused = await mechanism.send("positions.query", [], asked | wrong)
            assert [f["code"] for f in refused.payload["body"]["findings"]] == [refusal]
