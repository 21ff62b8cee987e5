"""Pulling a history: page by page, verified, resumable, one pull of a feed at a time."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from fastapi import Response

from gateway import db
from gateway.errors import GatewayError
from gateway.history import deliver, pull
from gateway.history.pull import Pulls
from gateway.messages.outbox import Node
from tests import feeding
from tests.feeding import Scene, issuance, record
from tests.integration.test_database import none
from tests.integration.test_sandbox_play import Heard
from tests.stage import Stage


@pytest.fixture
async def scene(stage: Stage) -> AsyncIterator[Scene]:
    made = await feeding.scene(stage)
    yield made
    assert await stage.doctor() == []


def history(number: int, start: int = 1) -> list[str]:
    """Transfers to Korea of ten units each, each followed by how the units came to be."""
    firsts = range(start, start + 10 * number, 10)
    return [text for first in firsts for text in (record(first, first + 9), issuance(first, first + 9))]


async def test_a_feed_is_pulled_to_its_end_page_by_page(scene: Scene) -> None:
    scene.source.add(*history(1_250))
    pulled = await scene.pull()
    assert (pulled.number, pulled.waiting) == (2_500, None)
    assert await scene.kept() == scene.source.feeds["KOR01"]
    assert [q.payload["body"]["after"]["number"] for q in scene.source.of("history.query")] == [0, 1_000, 2_000]
    assert await scene.feed("attempts, waiting, leased_by, answered") == (0, None, None, 0)


async def test_an_empty_pull_is_one_round_trip(scene: Scene) -> None:
    scene.source.add(*history(2))
    await scene.pull()
    before = len(scene.source.heard)
    assert (await scene.pull()).number == 4
    assert len(scene.source.heard) == before + 1


async def test_a_page_is_kept_without_the_texts_of_its_records_a_second_time(scene: Scene) -> None:
    scene.source.add(*history(50))
    await scene.pull()
    [(body, content_type, jws)] = await scene.stage.rows(
        "SELECT convert_from(m.body, 'UTF8'), m.content_type, p.jws FROM history_page p"
        " JOIN message m ON m.entry_id = p.entry_id"
    )
    assert (body, content_type) == (jws, "application/jose")


async def test_a_worker_pulls_what_is_due_and_rests_for_as_long_as_it_is_told_to(scene: Scene) -> None:
    scene.source.add(*history(1))
    assert await scene.stage.history.turn()
    assert len(await scene.kept()) == 2
    await scene.stage.gateway.relay.turn()
    assert not await scene.stage.history.turn()
    [rests] = await scene.feed("extract(epoch FROM next_at - pulled_at)::int")
    assert rests == 15 * 60


async def test_of_two_pulls_of_one_feed_one_runs(scene: Scene) -> None:
    scene.source.add(*history(3))
    scene.source.held = asyncio.Event()
    first = asyncio.create_task(scene.pull())
    await scene.source.arrived(1)
    other = Pulls(scene.stage.history._means)
    with pytest.raises(GatewayError, match="being pulled"):
        await other.pull("MEC01", "KOR01")
    assert not await other.turn()
    scene.source.held.set()
    assert (await first).number == 6
    assert len(scene.source.of("history.query")) == 1


@pytest.mark.parametrize("pages", [0, 1, 2])
async def test_a_pull_that_is_cut_off_goes_on_where_it_was(scene: Scene, pages: int) -> None:
    scene.source.most = 2
    scene.source.add(*history(4))
    cut = asyncio.Event()

    def told(number: int) -> None:
        if number == 2 * pages:
            scene.source.held = cut

    if pages == 0:
        scene.source.held = cut
    pulling = asyncio.create_task(scene.stage.history.pull("MEC01", "KOR01", told))
    await scene.source.arrived(pages + 1)
    pulling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pulling
    scene.source.held = None
    cut.set()
    gone = f"pg_stat_activity WHERE application_name = '{scene.stage.history.shift.worker_id}'"
    await scene.stage.until(lambda: none(scene.stage, gone))
    assert len(await scene.kept()) == 2 * pages
    assert await Pulls(scene.stage.history._means).turn()  # whose lease it was is gone
    assert await scene.kept() == scene.source.feeds["KOR01"]
    asked = [q.payload["body"]["after"]["number"] for q in scene.source.of("history.query")]
    assert asked == [*range(0, 2 * pages + 2, 2), *range(2 * pages, 8, 2)]


async def test_a_page_that_comes_after_another_took_over_is_not_kept(scene: Scene) -> None:
    scene.source.add(*history(2))
    scene.source.held = asyncio.Event()
    slow = asyncio.create_task(scene.pull())
    await scene.source.arrived(1)
    await scene.stage.rows("UPDATE history_feed SET leased_by = 'another'")
    scene.source.held.set()
    assert (await slow).waiting == "another worker pulls it"
    assert await scene.numbers() == (0, 0, 0)
    await scene.stage.rows("UPDATE history_feed SET leased_by = NULL, leased_until = NULL")


@pytest.mark.parametrize("times", [1, db.CONFLICT_TRIES])
async def test_a_page_that_the_database_takes_back_is_taken_again(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """Once, or so often that the feed is put off."""
    scene.source.most = 2
    scene.source.add(*history(2))
    going_on, tries = deliver.go_on, 0

    async def deadlocked(tx: db.Tx, node: Node, feed_id: int | None = None) -> int:
        nonlocal tries
        tries += 1
        if tries <= times:
            await db.execute(tx, "DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '40P01'; END $$")
        return await going_on(tx, node, feed_id)

    monkeypatch.setattr(deliver, "go_on", deadlocked)
    pulled = await scene.pull()
    assert pulled.number == len(await scene.kept()) == (4 if times == 1 else 0)
    assert (pulled.waiting is None) == (times == 1)


async def test_retry_after_is_honoured(scene: Scene) -> None:
    scene.source.add(*history(1))
    problem = Response('{"title": "busy"}', 503, media_type="application/problem+json", headers={"retry-after": "120"})
    scene.source.otherwise.append(lambda *_: problem)
    assert "busy" in await scene.refused()
    [wait] = await scene.feed("extract(epoch FROM next_at)::float8")
    assert 100 < wait - scene.stage.clock().timestamp() <= 120
    assert not await scene.stage.history.turn()
    assert (await scene.pull()).number == 2


async def test_waits_double_up_to_five_minutes(scene: Scene) -> None:
    waits = []
    scene.stage.clock.stands_at = scene.stage.clock()
    for _ in range(11):
        scene.source.otherwise.append(lambda *_: Response(status_code=500))
        await scene.pull()
        [wait] = await scene.feed("extract(epoch FROM next_at)::float8")
        waits.append(round(wait - scene.stage.clock().timestamp()))
    assert waits[:4] == [1, 2, 4, 8] and waits[-1] == 300


async def test_what_is_called_for_meanwhile_is_pulled_again(scene: Scene) -> None:
    scene.source.add(*history(1))
    await scene.pull()

    def late(message: Heard, body: bytes) -> Response:
        said = scene.source.page(message, body)
        scene.source.add(*history(1, 100))
        return said

    await scene.stage.rows("UPDATE history_call SET called = called + 1")
    scene.source.otherwise.append(late)
    assert await scene.stage.history.turn()
    await scene.stage.rows("UPDATE history_call SET called = called + 1")
    assert await scene.stage.history.turn()
    assert len(await scene.kept()) == 4


async def test_without_view_on_either_link_nothing_is_pulled(scene: Scene) -> None:
    for code in ("MEC01", "KOR01"):
        await scene.stage.rows(f"UPDATE link SET capabilities = '{{transfer_out}}' WHERE code = '{code}'")
        assert not await scene.stage.history.turn()
        with pytest.raises(GatewayError, match="not open for viewing"):
            await scene.pull()
        await scene.stage.rows(f"UPDATE link SET capabilities = '{{view}}' WHERE code = '{code}'")
    assert (await scene.pull()).number == 0


def asked_for(source: feeding.Source) -> list[str]:
    return [q.payload["body"]["for"]["registry"] for q in source.of("history.query")]


async def test_one_source_leaves_room_for_others(scene: Scene) -> None:
    for code in ("JPN01", "CHE01"):
        await feeding.join(scene.stage, feeding.Books(), code, "party", code[:3])
    other = feeding.Source()
    await feeding.join(scene.stage, other, "MEC02", "mechanism")
    scene.source.held = asyncio.Event()
    turn = asyncio.create_task(scene.stage.history.turn())
    await scene.source.arrived(2)
    await other.arrived(2)
    assert (len(scene.source.heard), len(other.heard)) == (2, 2)
    scene.source.held.set()
    assert await turn
    assert sorted(asked_for(scene.source)) == sorted(asked_for(other)) == ["CHE01", "JPN01", "KOR01"]


async def test_a_long_feed_goes_behind_others_that_are_due(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pull, "PAGES_AT_A_TIME", 2)
    monkeypatch.setattr(pull, "AT_ONCE", 1)
    await feeding.join(scene.stage, feeding.Books(), "JPN01", "party", "JPN")
    scene.source.most = 2
    scene.source.add(*history(5))
    await scene.stage.rows(
        "UPDATE history_feed SET next_at = now() - interval '1 hour' WHERE registry = 'KOR01';"
        " UPDATE history_call SET called = 7 WHERE feed_id = (SELECT id FROM history_feed WHERE registry = 'KOR01')"
    )
    assert await scene.stage.history.turn()
    assert asked_for(scene.source) == ["KOR01", "KOR01", "JPN01", "KOR01", "KOR01", "KOR01"]
    assert await scene.kept() == scene.source.feeds["KOR01"]


async def test_a_feed_that_is_under_way_is_not_begun_again_when_its_lease_is_over(scene: Scene) -> None:
    scene.source.add(*history(1))
    scene.source.held = asyncio.Event()
    pulls = scene.stage.history
    assert await pulls._begin()
    await scene.source.arrived(1)
    await scene.stage.rows("UPDATE history_feed SET leased_until = now() - interval '1 hour'")
    assert not await pulls._begin()
    scene.source.held.set()
    await pulls.shift.finish()
    assert len(scene.source.heard) == 1 and len(await scene.kept()) == 2


@pytest.mark.parametrize("change", ["state = 'suspended'", "capabilities = '{transfer_in}'"])
async def test_a_pull_ends_when_the_link_it_is_for_is_no_longer_open(scene: Scene, change: str) -> None:
    scene.source.most = 2
    scene.source.add(*history(3))
    scene.source.held = asyncio.Event()
    pulling = asyncio.create_task(scene.pull())
    await scene.source.arrived(1)
    await scene.stage.rows(f"UPDATE link SET {change} WHERE code = 'KOR01'")
    scene.source.held.set()
    pulled = await pulling
    assert (pulled.number, pulled.waiting) == (2, "its links are no longer open for it")
    assert len(scene.source.heard) == 1 and await scene.feed("leased_by") == (None,)
    await scene.stage.rows("UPDATE link SET state = 'active', capabilities = '{view}' WHERE code = 'KOR01'")
    assert (await scene.pull()).number == 6


async def test_a_feed_that_nobody_ever_called_for_rests(scene: Scene) -> None:
    scene.source.add(*history(1))
    await scene.stage.rows("DELETE FROM history_call")
    assert await scene.stage.history.turn()
    assert (len(await scene.kept()), await scene.feed("leased_by, answered")) == (2, (None, 0))


async def test_a_suspended_source_is_not_asked(scene: Scene) -> None:
    await scene.stage.rows("UPDATE link SET state = 'suspended' WHERE code = 'MEC01'")
    assert not await scene.stage.history.turn()
    assert scene.source.heard == []


async def test_every_party_registry_and_every_section_pulls_from_both_sources(scene: Scene) -> None:
    sections: dict[str, str | None] = {"MMR99": "MMR", "KOR99": "KOR"}
    await feeding.join(scene.stage, feeding.Source(), "INT01", "international", sections=sections)
    await scene.stage.history.turn()
    feeds = await scene.stage.rows("SELECT link, registry, party FROM history_feed ORDER BY 1, 2")
    viewers = [("KOR01", "KOR"), ("KOR99", "KOR"), ("MMR99", "MMR")]
    assert feeds == [(link, *viewer) for link in ("INT01", "MEC01") for viewer in viewers]
