"""What was pulled is handed on in order, until it is receipted; and answered when a registry asks for it."""

from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
from fastapi import Response

from gateway.errors import GatewayError, Kind
from gateway.history import deliver as handing_on
from gateway.history.deliver_store import Undelivered
from gateway.history.page_store import StoredPage
from gateway.messages.outbox import Draft
from tests import feeding
from tests.feeding import KOREA, Scene, chain, cursor, encoded, issuance, record
from tests.integration.test_sandbox_play import Heard, sha
from tests.played import Course, block
from tests.stage import Stage


@pytest.fixture
async def scene(stage: Stage) -> AsyncIterator[Scene]:
    """Six records in three pages at the source."""
    made = await feeding.scene(stage)
    made.source.most = 2
    made.source.add(*(text for first in (1, 11, 21) for text in (record(first, first + 9), issuance(first, first + 9))))
    yield made
    assert await stage.doctor() == []


async def deliver(scene: Scene) -> None:
    """Let the relay send whatever it owes, at once."""
    for _ in range(10):
        await scene.stage.rows("UPDATE owed SET next_at = now() - interval '1 hour'")
        if not await scene.stage.gateway.relay.turn():
            return


async def handed_on(scene: Scene) -> tuple[Any, ...]:
    return await scene.feed("delivered, delivering IS NOT NULL")


async def test_pages_are_handed_on_in_order_with_their_evidence(scene: Scene) -> None:
    await scene.pull()
    assert await handed_on(scene) == (0, True)
    await deliver(scene)
    assert scene.books.taken == scene.source.feeds["KOR01"]
    assert await handed_on(scene) == (6, False)
    pages = [jws for (jws,) in await scene.stage.rows("SELECT jws FROM history_page ORDER BY last")]
    assert [m.evidence for m in scene.books.of("history.deliver")] == [[jws] for jws in pages]
    assert await scene.stage.count("owed") == 0


async def test_a_delivery_without_an_answer_is_repeated_to_the_letter(scene: Scene) -> None:
    await scene.pull()
    lost = Response(status_code=500)
    scene.books.otherwise += [lambda *_: lost] * 2
    await deliver(scene)
    first, second, third, *_ = scene.books.of("history.deliver")
    assert first.raw == second.raw == third.raw
    assert scene.books.taken == scene.source.feeds["KOR01"]


async def test_a_receipt_that_was_lost_does_not_hand_on_twice(scene: Scene) -> None:
    await scene.pull()

    def takes_and_is_silent(message: Heard, body: bytes) -> Response:
        scene.books.answer(message, body)
        return Response(status_code=500)

    scene.books.otherwise.append(takes_and_is_silent)
    await deliver(scene)
    assert scene.books.taken == scene.source.feeds["KOR01"]
    assert await handed_on(scene) == (6, False)


async def test_a_gap_is_an_alarm_once_and_is_closed_by_asking(scene: Scene) -> None:
    await scene.pull()
    await deliver(scene)
    scene.books.taken = scene.books.taken[:3]
    scene.source.add(record(31, 40))
    await scene.pull()
    for _ in range(2):
        await scene.stage.rows("UPDATE owed SET next_at = now() - interval '1 hour'")
        await scene.stage.gateway.relay.turn()
    assert await scene.alarms() == [8005]
    assert await handed_on(scene) == (6, True)
    while len(scene.books.taken) < 7:
        answer = await ask(scene, cursor(scene.books.taken, len(scene.books.taken)))
        scene.books.taken += answer.texts
    await deliver(scene)
    assert (scene.books.taken, await handed_on(scene)) == (scene.source.feeds["KOR01"], (7, False))


async def test_a_verdict_against_a_delivery_ends_what_is_handed_on(scene: Scene) -> None:
    await scene.pull()
    body = {"findings": [{"code": 8004, "detail": "synthetic"}]}
    scene.books.otherwise.append(lambda m, raw: scene.books.say(m, raw, "refusal", body=body, leaf=sha(raw)))
    await deliver(scene)
    assert await scene.alarms() == [8004]
    assert await scene.stage.count("owed") == 0 and await handed_on(scene) == (0, True)
    assert len(scene.books.of("history.deliver")) == 1


@pytest.mark.parametrize("earlier", [0, 2])
async def test_a_page_of_which_no_message_can_be_made_holds_up_nothing_else(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, earlier: int
) -> None:
    """Whether its pull begins to hand it on, or the receipt of the page before does."""
    japan = feeding.Books()
    await feeding.join(scene.stage, japan, "JPN01", "party", "JPN")
    scene.source.add(record(31, 40, to={"registry": "JPN01", "party": "JPN", "account": "100-1"}), to="JPN01")
    made = handing_on._draft

    def draft(feed: Undelivered, page: StoredPage) -> Draft:
        if (feed.peer, page.after.number) == ("KOR01", earlier):
            raise GatewayError(Kind.LIMIT, "synthetic")
        return made(feed, page)

    monkeypatch.setattr(handing_on, "_draft", draft)
    assert await scene.stage.history.turn()
    await deliver(scene)
    assert (len(await scene.kept()), len(scene.books.taken), len(japan.taken)) == (6, earlier, 1)
    assert await handed_on(scene) == (earlier, True)
    assert await scene.alarms() == [3006]
    assert not await scene.stage.history.turn()


async def test_nothing_is_handed_on_over_a_link_that_may_not_view(scene: Scene) -> None:
    await scene.pull()
    await deliver(scene)
    scene.source.add(record(31, 40))
    await scene.stage.rows("UPDATE link SET capabilities = '{transfer_in}' WHERE code = 'KOR01'")
    assert not await scene.stage.history.turn()
    await scene.stage.rows("UPDATE link SET capabilities = '{view}' WHERE code = 'KOR01'")
    await scene.due()
    assert await scene.stage.history.turn()
    await deliver(scene)
    assert len(scene.books.taken) == 7


async def ask(scene: Scene, behind: dict[str, Any], **changes: Any) -> Heard:
    """Korea asks for what was pulled for it."""
    body = {"of": "MEC01", "for": KOREA, "after": behind, "limit": 1_000} | changes
    return await scene.books.played.post(*scene.books.played.compose("history.query", [], body=body))


async def test_a_registry_reads_its_feed_again_page_by_page(scene: Scene) -> None:
    await scene.pull()
    texts = scene.source.feeds["KOR01"]
    read: list[str] = []
    more = True
    while more:
        answer = await ask(scene, cursor(read, len(read)))
        assert answer.type == "history.page" and len(answer.texts) == 2 and len(answer.evidence) == 1
        assert answer.payload["body"]["after"] == cursor(read, len(read))
        read += answer.texts
        assert answer.payload["body"]["until"] == cursor(read, len(read))
        more = answer.payload["body"]["more"]
    assert read == texts
    last = await ask(scene, cursor(texts, 6))
    assert (last.texts, last.payload["body"]["more"], last.evidence) == ([], False, [])


async def test_a_page_in_answer_is_kept_without_its_texts(scene: Scene) -> None:
    """Who asks again and again does not fill the disk with what is kept already."""
    await scene.pull()
    assert (await ask(scene, cursor([], 0))).texts
    kept = await scene.stage.rows(
        "SELECT content_type, body, sha256 FROM message WHERE type = 'history.page' AND direction = 'out'"
    )
    [(content_type, body, sha256)] = kept
    assert content_type == "application/jose" and encoded(bytes(sha256)) == sha(bytes(body))
    assert bytes(body).count(b".") == 2, "the JWS alone"


async def test_a_page_may_be_read_in_parts(scene: Scene) -> None:
    await scene.pull()
    texts = scene.source.feeds["KOR01"]
    for number in range(6):
        answer = await ask(scene, cursor(texts, number), limit=1)
        assert answer.texts == [texts[number]] and answer.payload["body"]["more"] == (number < 5)
        assert answer.payload["body"]["until"] == cursor(texts, number + 1)


async def test_a_cursor_that_is_none_is_refused(scene: Scene) -> None:
    await scene.pull()
    texts = scene.source.feeds["KOR01"]
    other = encoded(bytes(32))
    for after in ({"number": 7, "digest": other}, *({"number": n, "digest": other} for n in (1, 2, 5, 6))):
        assert refusal(await ask(scene, after)) == 8003
    assert refusal(await ask(scene, {"number": 0, "digest": encoded(chain(texts)[1])})) == 8003


async def test_what_is_not_the_askers_is_refused_whether_or_not_it_is_there(scene: Scene) -> None:
    await scene.pull()
    start = cursor([], 0)
    for viewer in ({"registry": "KOR01", "party": "JPN"}, {"registry": "JPN01", "party": "JPN"}):
        assert refusal(await ask(scene, start, **{"for": viewer})) == 8001
    assert refusal(await ask(scene, start, of="INT01")) == 8001
    body = {"of": "MEC01", "for": KOREA, "after": start, "limit": 10}
    theirs = scene.source.played
    assert refusal(await theirs.post(*theirs.compose("history.query", [], body=body))) == 8001


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"limit": 1_001}, 8002),
        ({"limit": 0}, 2001),
        ({"select": {"vintage": 2021}}, 2001),
        ({"more": True}, 2001),
        ({"after": {"number": -1, "digest": encoded(bytes(32))}}, 2001),
        ({"for": {"registry": "KOR01", "party": "XXX"}}, 2010),
        ({"of": "x"}, 2011),
    ],
)
async def test_a_query_that_is_none_is_refused(scene: Scene, changes: dict[str, Any], code: int) -> None:
    assert refusal(await ask(scene, cursor([], 0), **changes)) == code


async def test_without_view_a_registry_asks_in_vain(scene: Scene) -> None:
    await scene.stage.rows("UPDATE link SET capabilities = '{transfer_in}' WHERE code = 'KOR01'")
    assert refusal(await ask(scene, cursor([], 0))) == 1010


def refusal(heard: Heard) -> int:
    assert heard.type == "refusal" and "seq" not in heard.payload
    [finding] = heard.payload["body"]["findings"]
    return int(finding["code"])


async def called(scene: Scene) -> dict[tuple[str, str], int]:
    found = await scene.stage.rows(
        "SELECT f.link, f.registry, c.called FROM history_call c JOIN history_feed f ON f.id = c.feed_id"
    )
    return {(link, registry): called for link, registry, called in found}


async def test_completed_transfers_and_notices_call_for_pulls_and_wait_for_nobody(stage: Stage) -> None:
    course = await Course.begun(stage)
    await stage.history.turn()
    scene = Scene(stage, feeding.Source(), feeding.Books())
    before = (await called(scene))["MEC01", "KOR01"]
    await course.issue(block(1, 100))
    assert (await called(scene))["MEC01", "KOR01"] == before, "these are Myanmar's, and Korea has none of them"
    await course.complete(course.proposal(block(1, 10)), course.proposal(block(11, 20)))
    assert (await called(scene))["MEC01", "KOR01"] == before + 1, "one message completes both"
    await stage.rows("UPDATE history_feed SET next_at = now() + interval '1 hour'")
    assert await stage.history.turn() is False, "nobody answers, and a feed that waits is not pulled at once"


async def test_a_call_passes_over_a_feed_that_another_is_calling_for(stage: Stage) -> None:
    course = await Course.begun(stage)
    await stage.history.turn()
    scene = Scene(stage, feeding.Source(), feeding.Books())
    await course.issue(block(1, 100))
    before = (await called(scene))["MEC01", "KOR01"]
    dsn = stage.server.dsn(stage.database_name)
    async with await psycopg.AsyncConnection.connect(dsn) as other:
        await other.execute("SELECT FROM history_call FOR UPDATE")
        await course.complete(course.proposal(block(1, 10)))
    assert (await called(scene))["MEC01", "KOR01"] == before
