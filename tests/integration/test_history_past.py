"""A source whose past has changed, or that no longer knows our cursor, and one with a log of its own."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi import Response

from gateway.audit import witness
from gateway.audit.witness_store import Watched
from gateway.history import reading
from tests import feeding
from tests.feeding import Scene, Source, encoded, issuance, record
from tests.integration.test_sandbox_play import Heard
from tests.playedlog import Log
from tests.stage import Stage


@pytest.fixture
async def scene(stage: Stage) -> AsyncIterator[Scene]:
    """Six records are pulled, two at a time."""
    made = await feeding.scene(stage)
    made.source.most = 2
    made.source.add(*(text for first in (1, 11, 21) for text in (record(first, first + 9), issuance(first, first + 9))))
    assert (await made.pull()).number == 6
    yield made
    assert await stage.doctor() == []


def forgetful(scene: Scene, times: int) -> None:
    """The source says of our cursor that it is none of the feed, so often."""
    scene.source.otherwise += [scene.source.refusing(8003)] * times


def asked(scene: Scene, since: int) -> list[int]:
    return [q.payload["body"]["after"]["number"] for q in scene.source.of("history.query")[since:]]


async def is_stopped(scene: Scene, why: str) -> None:
    """The feed is stopped, its link suspended, an alarm raised, both pages are evidence, and nothing more is pulled."""
    stopped, waiting = await scene.feed("stopped, waiting")
    assert stopped and why in waiting
    assert await scene.stage.rows("SELECT state FROM link WHERE code = 'MEC01'") == [("suspended",)]
    assert await scene.alarms() == [8004]
    [(code, detail)] = await scene.findings()
    assert code == 8004 and why in detail
    [(shown, before)] = await scene.stage.rows(
        "SELECT EXISTS (SELECT FROM message m WHERE m.message_id::text = c.record ->> 'message'),"
        " EXISTS (SELECT FROM history_page p WHERE translate(encode(sha256(convert_to(p.jws, 'UTF8')), 'base64'),"
        " '+/=', '-_') = c.record ->> 'before')"
        " FROM (SELECT convert_from(r.record, 'UTF8')::jsonb AS record FROM log_record r"
        " JOIN log_entry e ON e.id = r.entry_id WHERE e.kind = 'history.changed') AS c"
    )
    assert (shown, before) == (True, True)
    await scene.due()
    await scene.stage.rows("UPDATE link SET state = 'active' WHERE code = 'MEC01'")
    before = len(scene.source.heard)
    assert not await scene.stage.history.turn()
    assert len(scene.source.heard) == before


async def test_a_cursor_that_is_forgotten_leads_to_a_comparison_from_the_beginning(scene: Scene) -> None:
    since = len(scene.source.of("history.query"))
    scene.source.add(record(31, 40))
    forgetful(scene, 1)
    assert (await scene.pull()).number == 7
    assert asked(scene, since) == [6, 0, 2, 4, 6]
    assert await scene.kept() == scene.source.feeds["KOR01"]
    assert await scene.stage.count("history_page") == 4


async def test_a_comparison_that_was_cut_off_goes_on(scene: Scene) -> None:
    since = len(scene.source.of("history.query"))
    forgetful(scene, 1)
    scene.source.otherwise += [scene.source.page, lambda *_: Response(status_code=500)]
    assert (await scene.pull()).waiting is not None
    assert await scene.feed("walk_number, number") == (2, 6)
    assert (await scene.pull()).waiting is None
    assert asked(scene, since) == [6, 0, 2, 2, 4, 6]


async def test_a_registry_that_never_knows_a_cursor_is_put_off_and_not_asked_for_ever(scene: Scene) -> None:
    since = len(scene.source.of("history.query"))
    forgetful(scene, 2)
    assert "8003" in await scene.refused()
    assert asked(scene, since) == [6, 0]


@pytest.mark.parametrize("number", [1, 4, 6])
async def test_a_rewritten_past_stops_the_feed(scene: Scene, number: int) -> None:
    scene.source.feeds["KOR01"][number - 1] = record(901, 910)
    scene.source.add(record(911, 920))
    assert (await scene.pull()).waiting is not None
    await is_stopped(scene, f"record {number} is another")


@pytest.mark.parametrize("left", [0, 1, 2, 5])
async def test_a_past_that_was_cut_short_stops_the_feed(scene: Scene, left: int) -> None:
    del scene.source.feeds["KOR01"][left:]
    assert (await scene.pull()).waiting is not None
    await is_stopped(scene, f"it has {left} records and had 6")


async def test_a_digest_that_does_not_hold_leads_to_a_comparison(scene: Scene) -> None:
    """The source goes on under our cursor, whatever its past is by now."""
    texts = scene.source.feeds["KOR01"]
    texts.append(record(31, 40))

    def rewritten(message: Heard, body: bytes) -> Response:
        texts[2] = record(901, 910)
        after = message.payload["body"]["after"]
        until = {"number": 7, "digest": encoded(feeding.chain(texts)[7])}
        said = {**message.payload["body"], "after": after, "until": until, "more": False}
        del said["limit"]
        return scene.source.say(message, body, "history.page", texts[6:], body=said)

    scene.source.otherwise.append(rewritten)
    assert "8004" in await scene.refused()
    await scene.due()
    assert await scene.stage.history.turn()
    stopped, waiting = await scene.feed("stopped, waiting")
    assert stopped and "record 3 is another" in waiting


async def test_a_digest_that_never_holds_leads_to_one_comparison(scene: Scene) -> None:
    since = len(scene.source.of("history.query"))
    scene.source.add(record(31, 40))

    def false_at_the_end(texts: list[str], said: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
        until = {**said["until"], "digest": encoded(bytes(32))}
        return texts, {**said, "until": until} if said["until"]["number"] > 6 else said

    scene.source.twist = false_at_the_end
    for _ in range(3):
        assert "8004" in await scene.refused()
    assert asked(scene, since) == [6, 0, 2, 4, 6, 6]
    scene.source.twist = None
    assert (await scene.pull()).number == 7
    scene.source.add(record(41, 50))
    scene.source.twist = false_at_the_end
    await scene.refused()
    assert await scene.feed("walk_number") == (0,), "a page that holds is behind what was compared"


@pytest.fixture
async def logged(stage: Stage) -> AsyncIterator[Scene]:
    """A source with a log of its own, in which 600 leaves of others come first."""
    log = Log("mec01.played.invalid/log")
    log.fill(600)
    made = await feeding.scene(stage, Source(log=log))
    yield made
    assert await stage.doctor() == []


async def test_every_record_is_found_in_the_log_and_no_tile_is_fetched_twice(logged: Scene) -> None:
    logged.source.most = 100
    logged.source.add(*(record(n, n) for n in range(1, 401)))
    assert (await logged.pull()).number == 400
    [size] = await logged.feed("log_size")
    assert size == 1_000 and logged.source.tiles <= 5, "the edges, the tiles of the records, and no more"
    logged.source.add(*(record(n, n) for n in range(401, 451)))
    assert (await logged.pull()).number == 450
    assert await logged.feed("log_size") == (1_050,)


async def refused_by_the_log(scene: Scene) -> None:
    assert "a page is refused: 8004" in await scene.refused()
    assert {code for code, _ in await scene.findings()} == {8004}
    assert await scene.feed("stopped") == (False,)


async def test_a_record_that_is_not_in_the_log_is_refused(logged: Scene) -> None:
    logged.source.add(record(1, 10), record(11, 20))
    text = logged.source.feeds["KOR01"][1]
    leaf, salt = logged.source.leaf_of[text]
    for place in ((leaf - 1, salt), (leaf, bytes(32)), (5, salt)):
        logged.source.leaf_of[text] = place
        await refused_by_the_log(logged)
        await logged.due()
    logged.source.leaf_of[text] = (leaf, salt)
    assert (await logged.pull()).number == 2


async def test_a_page_that_does_not_say_where_its_records_are_is_refused(logged: Scene) -> None:
    logged.source.add(record(1, 10))
    logged.source.twist = lambda texts, said: (texts, {k: v for k, v in said.items() if k != "log"})
    await refused_by_the_log(logged)


@pytest.mark.parametrize(
    "change", [{"leaves": [600, 601]}, {"leaves": [600_000]}, {"salts": encoded(bytes(31))}, {"checkpoint": "x\n\n"}]
)
async def test_places_that_cannot_be_are_refused(logged: Scene, change: dict[str, object]) -> None:
    logged.source.add(record(1, 10))
    logged.source.twist = lambda texts, said: (texts, {**said, "log": {**said["log"], **change}})
    assert "a page is refused" in await logged.refused()


async def test_a_checkpoint_of_another_key_is_refused(logged: Scene) -> None:
    logged.source.add(record(1, 10))
    assert logged.source.log is not None
    forged = Log(logged.source.log.origin, list(logged.source.log.leaves)).checkpoint()
    logged.source.twist = lambda texts, said: (texts, {**said, "log": {**said["log"], "checkpoint": forged}})
    await refused_by_the_log(logged)


async def test_tiles_that_are_not_under_the_root_are_refused(logged: Scene) -> None:
    logged.source.add(record(1, 10))
    assert logged.source.log is not None
    logged.source.log.leaves[3] = bytes(32)  # of a whole tile, after it was signed
    logged.source.twist = lambda texts, said: (texts, {**said, "log": {**said["log"], "leaves": [3]}})
    await refused_by_the_log(logged)
    logged.source.log.leaves[600] = bytes(32)  # of the last one
    await logged.due()
    await refused_by_the_log(logged)


async def test_a_log_that_cannot_be_reached_is_no_lie(logged: Scene) -> None:
    logged.source.add(record(1, 10))
    assert logged.source.log is not None
    leaves = list(logged.source.log.leaves)
    del logged.source.log.leaves[500:]
    await logged.refused()
    assert await logged.findings() == []
    logged.source.log.leaves[:] = leaves
    await logged.due()
    assert await logged.stage.history.turn()
    assert len(await logged.kept()) == 1


async def test_what_is_only_compared_is_not_proven_again(logged: Scene) -> None:
    logged.source.add(*(record(n, n) for n in range(1, 51)))
    await logged.pull()
    forgetful(logged, 1)
    tiles = logged.source.tiles
    assert (await logged.pull()).waiting is None
    assert logged.source.tiles == tiles


async def test_for_places_of_other_records_no_tile_is_fetched(logged: Scene) -> None:
    logged.source.add(record(1, 10))
    places = {"leaves": list(range(600)), "salts": encoded(bytes(32 * 600))}
    logged.source.twist = lambda texts, said: (texts, {**said, "log": {**said["log"], **places}})
    assert "a page is refused: 2001" in await logged.refused()
    assert logged.source.tiles == 0


async def test_a_log_that_takes_too_long_is_asked_again(logged: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "PROOF_SECONDS", 0)
    logged.source.add(record(1, 10))
    assert "did not show its tiles" in await logged.refused()
    monkeypatch.undo()
    assert (await logged.pull()).number == 1


async def test_a_second_log_of_a_link_is_none_that_contradicts_the_first(logged: Scene) -> None:
    logged.source.add(record(1, 10))
    assert (await logged.pull()).number == 1
    assert await logged.feed("log_origin, log_size") == ("mec01.played.invalid/log", 601)
    other = Log("mec01.played.invalid/log/2")
    other.fill(3)
    watched = Watched(other.origin, "MEC01", (other.vkey,))
    await logged.stage.run(lambda tx: witness.watch(tx, watched, logged.stage.clock()))
    logged.source.log = other
    logged.source.add(record(11, 20))
    pulled = await logged.pull()
    assert (pulled.number, pulled.waiting) == (2, None)
    assert await logged.feed("log_origin, log_size") == (other.origin, 4)


async def test_a_log_that_was_rewritten_stops_the_feed(logged: Scene) -> None:
    logged.source.add(record(1, 10))
    assert (await logged.pull()).number == 1
    assert logged.source.log is not None
    logged.source.log.leaves[7] = bytes(32)
    logged.source.add(record(11, 20))
    assert (await logged.pull()).waiting is not None
    await is_stopped(logged, "that does not go on from that of")


async def test_a_log_that_contradicts_what_we_cosigned_stops_the_feed(logged: Scene) -> None:
    other = Log("x", [bytes(32)] * 10)
    root = feeding.playedlog.root(other.leaves).hex()
    await logged.stage.rows(f"UPDATE witnessed_log SET size = 10, root = decode('{root}', 'hex'), note = 'synthetic'")
    logged.source.add(record(1, 10))
    assert (await logged.pull()).waiting is not None
    assert await logged.feed("stopped") == (True,)
    assert await logged.numbers() == (0, 0, 0)


async def test_an_older_checkpoint_of_the_same_log_will_do(logged: Scene) -> None:
    logged.source.add(record(1, 10), record(11, 20))
    assert logged.source.log is not None
    logged.source.most = 1
    early = logged.source.log.checkpoint(602)
    logged.source.log.fill(900)
    pages: list[int] = []

    def older(texts: list[str], said: dict[str, object]) -> tuple[list[str], dict[str, object]]:
        pages.append(1)
        if len(pages) == 2:
            said = {**said, "log": {**said["log"], "checkpoint": early}}  # type: ignore[dict-item]
        return texts, said

    logged.source.twist = older
    assert (await logged.pull()).number == 2
    assert await logged.feed("log_size") == (900,)
