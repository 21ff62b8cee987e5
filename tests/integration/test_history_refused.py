"""Pages that must not be taken: code, finding, alarm; nothing of them is kept but the evidence."""

import json
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest

from gateway.domain import wire
from gateway.history import page_store, reading
from tests import feeding
from tests.feeding import Scene, cursor, encoded, issuance, raw, record
from tests.integration.test_sandbox_play import ATTRIBUTES, Party
from tests.stage import Stage

Twist = Callable[[list[str], dict[str, Any]], tuple[list[str], dict[str, Any]]]


@pytest.fixture
async def scene(stage: Stage) -> AsyncIterator[Scene]:
    """Four records are pulled, four more wait at the source."""
    made = await feeding.scene(stage)
    made.source.add(*(text for first in (1, 11) for text in (record(first, first + 9), issuance(first, first + 9))))
    assert (await made.pull()).number == 4
    made.source.add(*(text for first in (21, 31) for text in (record(first, first + 9), issuance(first, first + 9))))
    yield made
    assert await stage.doctor() == []


def number_on(texts: list[str], said: dict[str, Any]) -> dict[str, Any]:
    """The body of a page whose chain is that of its records, whatever they are."""
    digest = feeding.base64.urlsafe_b64decode(said["after"]["digest"] + "=")
    for text in texts:
        digest = feeding.hashlib.sha256(digest + raw(text)).digest()
    until = {"number": said["after"]["number"] + len(texts), "digest": encoded(digest)}
    return {**said, "until": until}


def bringing(*texts: str) -> Twist:
    """A page of these records, soundly numbered."""
    return lambda _, said: (list(texts), number_on(list(texts), said))


def saying(**members: Any) -> Twist:
    return lambda texts, said: (texts, {**said, **members})


def swapped(texts: list[str], said: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
    return texts[::-1], said


def losing_one(texts: list[str], said: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
    return texts[1:], said


def losing_one_and_numbering_on(texts: list[str], said: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
    number = said["until"]["number"] - 1
    return texts[1:], {**said, "until": {**said["until"], "number": number}}


def overlapping(texts: list[str], said: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
    return [issuance(11, 20), *texts[1:]], said


OTHER = [record(101, 110), record(111, 120)]
FOREIGN = {**ATTRIBUTES, "first_transferring_party": "GHA"}
UNAUTHORISED = {**ATTRIBUTES, "authorisation": None}
TO_JAPAN = {"registry": "JPN01", "party": "JPN", "account": "100-1"}
HIDDEN = record(501, 510, to=TO_JAPAN)
BAD_PAGES: dict[str, tuple[Twist, int]] = {
    "out of order": (swapped, 8004),
    "without its first record": (losing_one, 8005),
    "without its first record, numbered as if it had it": (losing_one_and_numbering_on, 8004),
    "overlapping the one before": (overlapping, 8004),
    "overlapping it and numbered soundly": (bringing(issuance(11, 20), record(21, 30)), 8005),
    "of another place": (saying(after=cursor(OTHER, 2)), 8005),
    "of the beginning": (saying(after=cursor([], 0)), 8005),
    "of another link's feed": (saying(of="INT01"), 8005),
    "for another registry": (saying(**{"for": {"registry": "JPN01", "party": "KOR"}}), 8005),
    "for another Party": (saying(**{"for": {"registry": "KOR01", "party": "JPN"}}), 8005),
    "with another digest": (saying(until=cursor([*OTHER, *OTHER, "a", "b", "c", "d"], 8)), 8004),
    "empty with more to come": (lambda _, said: ([], number_on([], {**said, "more": True})), 8005),
    "with a number that is a text": (saying(until={"number": "8", "digest": encoded(bytes(32))}), 2001),
    "with a member too many": (saying(evidence=[]), 2001),
    "without more": (lambda texts, said: (texts, {k: v for k, v in said.items() if k != "more"}), 2001),
    "with more that is a number": (saying(more=1), 2001),
    "with a record of another kind": (bringing(json.dumps({"kind": "position"})), 2001),
    "with a record that is not canonical": (bringing(json.dumps(json.loads(record(21, 30)))), 2001),
    "with a record of no type": (bringing(record(21, 30, type="gift")), 2001),
    "with a reversed block": (bringing(record(30, 21)), 2007),
    "with a Party that is none": (bringing(record(21, 30, to={**TO_JAPAN, "party": "XXX"})), 2010),
    "with a registry that has no code": (bringing(record(21, 30, registry="the mechanism")), 2011),
    "with the registry of neither end": (bringing(record(21, 30, registry="INT01")), 2011),
    "with a year before there were units": (bringing(record(21, 30, year=2020)), 2001),
    "with a year that no period has": (bringing(record(21, 30, year=2200)), 2001),
    "with units that are not authorised": (bringing(record(21, 30, attributes=UNAUTHORISED)), 8001),
    "with units that the Party may not see": (bringing(HIDDEN), 8001),
    "with a history shown before what brings its units": (bringing(issuance(601, 610), record(601, 610)), 8001),
    "with a history of units next to those acquired": (bringing(record(601, 610), issuance(611, 620)), 8001),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_PAGES)
async def test_a_page_is_refused_whole(scene: Scene, name: str) -> None:
    twist, code = BAD_PAGES[name]
    scene.source.twist = twist
    assert f"a page is refused: {code}" in await scene.refused()
    assert {found for found, _ in await scene.findings()} == {code}
    assert await scene.alarms() == [code]
    [(kind, codes, kept)] = await scene.stage.rows(
        "SELECT e.kind, convert_from(r.record, 'UTF8')::jsonb -> 'codes', EXISTS (SELECT FROM message m"
        " WHERE m.message_id::text = convert_from(r.record, 'UTF8')::jsonb ->> 'message' AND m.direction = 'in')"
        " FROM log_entry e JOIN log_record r ON r.entry_id = e.id"
        " WHERE e.kind IN ('history.refused', 'history.changed')"
    )
    assert (kind, codes, kept) == ("history.refused", [code], True)
    scene.source.twist = None
    await scene.due()
    assert await scene.stage.history.turn()
    assert await scene.kept() == scene.source.feeds["KOR01"]
    assert await scene.feed("waiting, walk_number") == (None, None)


async def test_a_page_whose_jws_leaves_a_delivery_no_room_is_refused(scene: Scene) -> None:
    scene.source.twist = saying(log="x" * reading.MAX_JWS)
    assert "(8002)" in await scene.refused()
    assert (await scene.findings(), await scene.alarms()) == ([], [])
    scene.source.twist = None
    assert (await scene.pull()).number == 8


async def test_the_same_fault_is_noted_and_alarmed_once(scene: Scene) -> None:
    scene.source.twist = bringing(HIDDEN)
    for _ in range(3):
        await scene.refused()
    assert (len(await scene.findings()), len(await scene.alarms())) == (1, 1)


async def test_more_records_than_were_asked_for_are_refused(scene: Scene) -> None:
    many = [record(n, n) for n in range(1_000, 2_001)]
    scene.source.twist = bringing(*many)
    assert "a page is refused: 8002" in await scene.refused()


async def test_a_record_from_the_future_is_refused(scene: Scene) -> None:
    now = scene.stage.clock()
    late, early = (wire.time_to_wire(now + timedelta(seconds=s)) for s in (330, 240))
    scene.source.twist = bringing(record(21, 30, at=late))
    assert "a page is refused: 1009" in await scene.refused()
    scene.source.twist = bringing(record(21, 30, at=early))
    assert (await scene.pull()).number == 5


async def test_a_page_under_a_foreign_signature_changes_nothing_and_is_not_logged(scene: Scene) -> None:
    stranger = Party("MEC01")
    scene.source.otherwise.append(
        lambda message, body: scene.source.say(message, body, "history.page", [HIDDEN], by=stranger, body={})
    )
    entries = await scene.stage.count("log_entry WHERE kind NOT IN ('history.query')")
    assert "(1007)" in await scene.refused() or "(1004)" in str(await scene.feed("waiting"))
    assert await scene.stage.count("log_entry WHERE kind NOT IN ('history.query')") == entries
    assert [s.claimed_sender for s in scene.stage.gateway.inbox.strangers] == ["MEC01"]
    assert await scene.findings() == []


async def test_a_page_signed_by_another_registry_changes_nothing(scene: Scene) -> None:
    korea = scene.books.played.party
    scene.source.otherwise.append(
        lambda message, body: scene.source.say(message, body, "history.page", [HIDDEN], by=korea, body={})
    )
    assert "(3004)" in await scene.refused()


async def test_a_page_that_answers_another_query_changes_nothing(scene: Scene) -> None:
    asked, body = scene.source.heard[-1], b"another"
    scene.source.otherwise.append(lambda *_: scene.source.say(asked, body, "history.page", [HIDDEN], body={}))
    assert "(3004)" in await scene.refused()


async def test_what_is_no_page_changes_nothing(scene: Scene) -> None:
    scene.source.otherwise.append(
        lambda message, body: scene.source.say(message, body, "receipt", leaf=encoded(raw("")))
    )
    assert "answered history.query by receipt" in await scene.refused()
    scene.source.otherwise.append(scene.source.refusing(8001))
    assert "by refusal with 8001" in await scene.refused()


async def test_the_history_of_units_that_came_is_shown_whenever_it_is_about_them(scene: Scene) -> None:
    """In the page that brings them, in a later one, and in part."""
    await scene.pull()
    more = [record(601, 650), issuance(601, 700), issuance(1, 10, transaction="I-1b")]
    scene.source.add(*more)
    assert (await scene.pull()).number == 11
    hosted = {**ATTRIBUTES, "first_transferring_party": "KOR"}
    scene.source.add(record(801, 810, to=TO_JAPAN, attributes=hosted))
    assert (await scene.pull()).number == 12


async def test_records_that_contradict_each_other_are_kept_and_found(scene: Scene) -> None:
    await scene.pull()
    first, other = record(901, 910, transaction="T"), record(905, 920, transaction="T", purpose="IMP")
    scene.source.add(first, other)
    assert (await scene.pull()).number == 10
    [(code, detail)] = await scene.findings()
    assert code == 4010 and encoded(raw(first)) in detail and encoded(raw(other)) in detail
    assert await scene.alarms() == [4010]
    scene.source.add(record(905, 920, transaction="T", purpose="NDC", corrects=encoded(raw(other))))
    scene.source.add(record(921, 930, transaction="T"), record(905, 920, transaction="T2"))
    assert (await scene.pull()).number == 13
    assert len(await scene.findings()) == 2, "the correction contradicts the first one, which still stands"


async def test_a_correction_contradicts_nothing(scene: Scene) -> None:
    await scene.pull()
    wrong = record(901, 910, transaction="T")
    right = record(901, 910, transaction="T", purpose="IMP", corrects=encoded(raw(wrong)))
    scene.source.add(wrong, right, record(901, 910, transaction="T", purpose="OP", corrects=encoded(raw(right))))
    assert (await scene.pull()).number == 11
    assert await scene.findings() == []


async def test_a_correction_counts_where_it_is_of_the_same_units_and_the_same_transaction(scene: Scene) -> None:
    await scene.pull()
    wrong = record(901, 910, transaction="T")
    named = encoded(raw(wrong))
    elsewhere = [record(911, 920, transaction="T", corrects=named), record(901, 910, transaction="U", corrects=named)]
    scene.source.add(wrong, *elsewhere, record(905, 910, transaction="T", purpose="IMP"))
    await scene.pull()
    assert [code for code, _ in await scene.findings()] == [4010]


async def test_nobody_corrects_what_another_registry_alone_has_told(scene: Scene) -> None:
    await scene.pull()
    told, otherwise = record(901, 910, transaction="T"), record(901, 910, transaction="T", purpose="IMP")
    meddler = feeding.Source()
    await feeding.join(scene.stage, meddler, "INT01", "international", sections={"MMR99": "MMR"})
    scene.source.add(told)
    await scene.pull()
    meddler.add(record(901, 910, transaction="T", type="use", corrects=encoded(raw(told))))
    await scene.stage.history.pull("INT01", "KOR01")
    scene.source.add(otherwise)
    await scene.pull()
    [(code, detail)] = await scene.findings()
    assert code == 4010 and encoded(raw(told)) in detail and encoded(raw(otherwise)) in detail


async def test_what_is_read_for_a_page_does_not_grow_with_its_transaction(stage: Stage) -> None:
    """Of a thousand further records of one transaction none is compared with the five thousand before."""
    scene = await feeding.scene(stage)
    scene.source.add(*(record(10 * n + 1, 10 * n + 10, transaction="T") for n in range(5_000)))
    assert (await scene.pull()).number == 5_000
    await stage.rows("ANALYZE history_record; ANALYZE history_entry")
    scene.source.add(record(1_000_001, 1_000_010, transaction="T"), record(5, 14, transaction="T"))
    await scene.pull()
    [(_, detail)] = await scene.findings()
    assert encoded(raw(record(5, 14, transaction="T"))) in detail
    bounds = {":feed": "1", ":first": "5000", ":last": "5002"}
    statement = page_store.apart()
    for name, value in bounds.items():
        statement = statement.replace(name, value)
    [(plan,)] = await stage.rows(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}")
    assert rows_read(plan[0]["Plan"]) < 500


def rows_read(node: dict[str, Any]) -> int:
    """The rows that a plan and what is below it produced or threw away, as often as they were run."""
    told = ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Index Recheck", "Rows Removed by Join Filter")
    own = sum(node.get(name, 0) for name in told) * node["Actual Loops"]
    return int(own + sum(rows_read(below) for below in node.get("Plans", [])))


async def test_attributes_that_contradict_the_book_are_found(stage: Stage) -> None:
    scene = feeding.Scene(stage, feeding.Source(), feeding.Books())
    held = {"party": "MMR", "account": "100-1", "block": json.loads(record(1, 100))["block"]}
    await feeding.join(stage, scene.source, "MEC01", "mechanism", holdings=[held])
    await feeding.join(stage, scene.books, "KOR01", "party", "KOR")
    scene.source.add(record(81, 95, transaction="first", attributes=ATTRIBUTES))
    for changed in ({"vintage": 2022}, {"first_transferring_party": "GHA"}, {"activity": "PoA 1"}):
        other = ATTRIBUTES | changed
        scene.source.add(record(91, 110, transaction=str(changed), attributes=other))
    same = ATTRIBUTES | {"authorisation": {"id": "LATER", "version": 2}}
    scene.source.add(record(1, 50, transaction="fits", attributes=same), record(201, 210, attributes=FOREIGN))
    assert (await scene.pull()).number == 6
    found = await scene.findings()
    where = "the book has other attributes or identifiers of MEC01 MMR-A64 91-100"
    assert found == [(4010, where)] * 3
    named = await stage.rows("SELECT record FROM history_finding ORDER BY id")
    assert [bytes(name) for (name,) in named] == [raw(text) for text in scene.source.feeds["KOR01"][1:4]]
