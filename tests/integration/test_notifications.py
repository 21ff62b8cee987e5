"""First transferring Parties are told of what becomes of their units in others' books: once each, and only they.

The registries are played, so every answer comes when the test lets it. What is told is held against the notice, never
against how the gateway makes it. All units are synthetic.
"""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from gateway.alarms import store as alarms
from gateway.domain.callers import EVERYTHING
from tests.integration.test_sandbox_play import ATTRIBUTES, stamp, uuid7
from tests.played import Played, join
from tests.recorded import International, items
from tests.stage import Stage


def units(host: str, first: int, last: int) -> dict[str, Any]:
    """Units first transferred by a host that issued them in its section; of Korea, issued in its registry."""
    registry = "KOR01" if host == "KOR" else f"{host}99"
    given = {"id": f"{host}-SYNTHETIC-1", "version": 1}
    attributes = ATTRIBUTES | {"first_transferring_party": host, "cooperative_approach": "CA9001", "vintage": 2022}
    made = {
        "origin": {"registry": registry, "series": f"{host}-MO"},
        "first": first,
        "last": last,
        "attributes": attributes | {"unit_type": "MO", "authorisation": given},
    }
    itmo = {end: f"CA9001-{host}99-{host}-{made[end]}-2022" for end in ("first", "last")}
    return made if host == "KOR" else made | {"itmo": itmo}


@pytest.fixture
async def korea(stage: Stage) -> AsyncIterator[Played]:
    """KOR01, which has brought 100 units of Thailand, of Ghana and of its own, and with which all ends well."""
    place = {"party": "KOR", "account": "100-1"}
    holdings = [{**place, "block": units(host, 1, 100)} for host in ("THA", "GHA", "KOR")]
    yield await join(stage, "KOR01", "party", "KOR", holdings=holdings)
    assert await stage.doctor() == []


async def sections(stage: Stage, *parties: str) -> International:
    return await International.joined(stage, {f"{party}99": party for party in parties})


def cancellation(*blocks: dict[str, Any], **members: Any) -> dict[str, Any]:
    """The item of a notice of KOR01, under a new action id."""
    heading = {"kind": "action", "action": uuid7(), "type": "cancellation", "at": stamp(datetime.now(UTC))}
    place = {"registry": "KOR01", "party": "KOR", "account": "100-1", "to_account": "300-1"}
    return heading | place | {"blocks": list(blocks)} | members


async def cancel(korea: Played, *blocks: dict[str, Any], **members: Any) -> dict[str, Any]:
    item = cancellation(*blocks, **members)
    heard = await korea.say("action.notice", [item])
    assert [i["state"] for i in heard.items] == ["recorded"], heard.items
    return item


async def noted(stage: Stage) -> list[tuple[Any, ...]]:
    """Every notification: whose, where it went, and what became of it."""
    return await stage.rows(
        "SELECT party, link, section, state FROM action_record WHERE kind = 'notification' ORDER BY id"
    )


async def told(registry: International) -> list[dict[str, Any]]:
    """The items of every notice that was stored for a registry."""
    return [item for sent in await registry.told("action.notice") for item in items(sent)]


async def test_the_host_is_told_in_the_words_of_the_registry_until_it_has_answered(korea: Played) -> None:
    stage = korea.stage
    international = await sections(stage, "THA")
    item = await cancel(korea, units("THA", 1, 4), units("THA", 11, 20), purpose="other", entity="KOR-SYNTHETIC-9")
    assert await noted(stage) == [("THA", None, None, "waiting")]
    before = await stage.books()
    await stage.gateway.relay.turn()
    assert await told(international) == [item]
    assert await noted(stage) == [("THA", "INT01", "THA99", "sent")]
    [sent] = await international.told("action.notice")
    await international.receipt(sent, "later")
    assert await international.owed() == [sent.message_id]
    await international.receipt(sent, "recorded")
    assert await international.owed() == []
    assert await noted(stage) == [("THA", "INT01", "THA99", "recorded")]
    assert await stage.books() == before  # to be told of units is not to have them
    await stage.gateway.relay.turn()
    assert len(await international.told("action.notice")) == 1


async def test_what_is_unanswered_is_sent_again_to_the_letter(korea: Played) -> None:
    stage = korea.stage
    international = await sections(stage, "THA")
    await cancel(korea, units("THA", 1, 4))
    for _ in range(3):
        await stage.gateway.relay.turn()
        stage.clock.ahead += timedelta(minutes=10)
    assert len(await international.told("action.notice")) == 1
    [(attempts,)] = await stage.rows("SELECT attempts FROM owed WHERE peer = 'INT01'")
    assert attempts == 3


async def test_use_is_told_as_well_with_its_year_and_period(korea: Played) -> None:
    stage = korea.stage
    international = await sections(stage, "THA")
    terms = {
        "id": "THA-SYNTHETIC-1", "version": 1, "party": "THA", "kinds": ["ITMOs"], "date": "2022-01-01",
        "cooperative_approach": "CA9001", "purposes": "NDC", "period": {"first": "2022-01-01", "last": None},
    }  # fmt: skip
    heading = {"kind": "action", "action": uuid7(), "type": "authorisation", "at": stamp(datetime.now(UTC))}
    heard = await international.played.say("action.notice", [heading | {"registry": "THA99", "authorisation": terms}])
    assert [i["state"] for i in heard.items] == ["recorded"], heard.items
    period = {"first": 2021, "last": 2030}
    used = await cancel(korea, units("THA", 1, 4), type="use", to_account="200-1", year=2025, ndc_period=period)
    await stage.gateway.relay.turn()
    assert await told(international) == [used]


async def test_use_and_cancellation_by_the_host_itself_notify_nobody(korea: Played) -> None:
    await sections(korea.stage, "THA", "KOR")
    await cancel(korea, units("KOR", 1, 4))
    assert await noted(korea.stage) == []


async def test_each_host_is_told_of_its_own_units_alone(korea: Played) -> None:
    stage = korea.stage
    international = await sections(stage, "THA", "GHA")
    mixed = [units("THA", 1, 4), units("KOR", 1, 4), units("GHA", 7, 9), units("THA", 6, 6)]
    item = await cancel(korea, *mixed)
    await stage.gateway.relay.turn()
    thai, ghanaian = {**item, "blocks": [mixed[0], mixed[3]]}, {**item, "blocks": [mixed[2]]}
    assert await told(international) == [thai, ghanaian]
    quantities = await stage.rows("SELECT party, section, quantity, block_count FROM action_record ORDER BY id")
    assert quantities == [("THA", "THA99", 5, 2), ("GHA", "GHA99", 3, 1)]


async def test_a_notice_that_is_repeated_or_refused_notifies_nobody_anew(korea: Played) -> None:
    item = await cancel(korea, units("THA", 1, 4))
    await korea.say("action.notice", [item])
    again = cancellation(units("THA", 3, 6))
    heard = await korea.say("action.notice", [again])
    assert [i["state"] for i in heard.items] == ["refused"]  # units 3 and 4 are gone
    assert len(await noted(korea.stage)) == 1


async def test_what_nobody_can_be_told_waits_until_somebody_keeps_the_partys_books(korea: Played) -> None:
    stage = korea.stage
    await cancel(korea, units("THA", 1, 4))
    await stage.gateway.relay.turn()
    assert await noted(stage) == [("THA", None, None, "waiting")]
    assert await stage.doctor() == []
    international = await sections(stage, "THA")
    await stage.gateway.relay.turn()
    assert len(await told(international)) == 1
    assert await noted(stage) == [("THA", "INT01", "THA99", "sent")]


async def test_a_partys_own_registry_is_told_rather_than_its_section_unless_its_link_is_closed(korea: Played) -> None:
    stage = korea.stage
    international = await sections(stage, "THA")
    thailand = International(await join(stage, "THA01", "party", "THA"))
    await cancel(korea, units("THA", 1, 1))
    await stage.gateway.relay.turn()
    assert (len(await told(thailand)), len(await told(international))) == (1, 0)
    await stage.rows("UPDATE link SET state = 'suspended' WHERE code = 'THA01'")
    await cancel(korea, units("THA", 2, 2))
    stage.clock.ahead += timedelta(minutes=2)  # nothing waits for company any longer
    await stage.gateway.relay.turn()
    assert [place for _, *place in await noted(stage)] == [["THA01", "THA01", "sent"], [None, None, "waiting"]]
    await stage.rows("UPDATE link SET state = 'closed' WHERE code = 'THA01'")
    await stage.gateway.relay.turn()
    assert [place for _, *place in await noted(stage)] == [["THA01", "THA01", "sent"], ["INT01", "THA99", "sent"]]


async def test_what_a_section_is_to_record_and_what_another_is_told_are_apart(korea: Played) -> None:
    stage = korea.stage
    international = await sections(stage, "THA", "KOR")
    item = await cancel(korea, units("THA", 1, 4))
    await stage.gateway.relay.turn()
    stage.clock.ahead += timedelta(seconds=2)
    await stage.gateway.relay.turn()
    [record] = [one for sent in await international.told() for one in items(sent)]
    assert (record["action"], record["section"]) == (f"KOR01/{item['action']}", "KOR99")
    assert await told(international) == [item]


async def test_a_refused_notification_keeps_its_reasons_and_raises_an_alarm(korea: Played) -> None:
    stage = korea.stage
    international = await sections(stage, "THA")
    item = await cancel(korea, units("THA", 1, 4))
    await stage.gateway.relay.turn()
    [sent] = await international.told("action.notice")
    await international.receipt(sent, "refused", code=4002, detail="no such Party")
    async with stage.gateway.database.reading() as tx:
        [alarm] = await alarms.listing(tx, EVERYTHING, link="INT01")
    name = f"KOR01/{item['action']}"
    assert (alarm.transfer, alarm.code) == (name, 4002)
    assert alarm.detail == f"INT01 refuses to be notified of {name}: no such Party"
    assert await international.owed() == []


async def test_operators_see_notifications_beside_records_or_alone(korea: Played) -> None:
    stage = korea.stage
    await sections(stage, "THA", "KOR")
    await cancel(korea, units("THA", 1, 4), units("GHA", 1, 2))
    await stage.gateway.relay.turn()
    every = (await stage.api.get("/api/v1/records")).json()
    assert sorted((r["kind"], r["party"], r["section"]) for r in every["records"]) == [
        ("notification", "GHA", None), ("notification", "THA", "THA99"), ("record", "KOR", "KOR99")
    ]  # fmt: skip
    only = (await stage.api.get("/api/v1/records?kind=notification")).json()
    assert only["records"] == [r for r in every["records"] if r["kind"] == "notification"]
    assert only["counts"] == {"waiting": 1, "sent": 1, "recorded": 0, "refused": 0}


async def test_where_a_notification_goes_is_written_once_and_with_the_message_that_says_it(korea: Played) -> None:
    stage = korea.stage
    await cancel(korea, units("THA", 1, 4))
    place, said = "link = 'INT01', section = 'THA99'", "message_id = gen_random_uuid(), state = 'sent'"
    both = f"{said}, {place}"
    for wrong in (place, said, f"{said}, link = 'INT01'", f"{both}, party = 'GHA'", f"{both}, kind = 'record'"):
        with pytest.raises(psycopg.Error):
            await stage.rows(f"UPDATE action_record SET {wrong}")
    await stage.rows(f"UPDATE action_record SET {both}", "gateway_app")
    for again in ("link = 'KOR01'", "section = 'GHA99'", said):
        with pytest.raises(psycopg.Error):
            await stage.rows(f"UPDATE action_record SET {again}", "gateway_app")
    await stage.rows("ALTER TABLE action_record DISABLE TRIGGER USER")  # the doctor looks at the end
    await stage.rows("UPDATE action_record SET message_id = NULL, state = 'waiting', link = NULL, section = NULL")


async def test_notifications_of_one_moment_travel_together_and_their_texts_are_no_longer_than_they_came(
    korea: Played,
) -> None:
    stage = korea.stage
    international = await sections(stage, "THA")
    sent = [cancellation(units("THA", n, n)) for n in range(1, 31)]
    await korea.say("action.notice", sent)
    await stage.gateway.relay.turn()
    [message] = await international.told("action.notice")
    texts = json.loads(message.body)["items"]
    assert items(message) == sent
    assert all(len(text) <= len(json.dumps(item)) for text, item in zip(texts, sent, strict=True))
