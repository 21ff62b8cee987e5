"""What is shown of the gateway's keys is of those in sight, and no more than a page."""

import pytest

from gateway.domain.callers import Caller, Scope, Sight
from gateway.keys import store, view
from tests.integration.test_own_keys import announce, listed
from tests.played import Course
from tests.stage import Stage


async def test_the_oldest_of_what_is_owed_to_those_in_sight_is_listed(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(view, "MAX_OWED", 2)
    await Course.begun(stage)
    for _ in range(3):
        await announce(stage)
    latest = "(SELECT message_id FROM owed WHERE peer = 'KOR01' ORDER BY message_id DESC LIMIT 1)"
    await stage.rows(f"DELETE FROM owed WHERE peer = 'KOR01' AND message_id <> {latest}")
    theirs = [str(m) for (m,) in await stage.rows("SELECT message_id FROM owed WHERE peer = 'MEC01' ORDER BY 1")]
    korea = await stage.calling(Caller("k", True, Sight("KOR01"), frozenset({Scope.LINKS_READ})))
    for api, peers, more in ((stage.api, ["MEC01", "MEC01"], True), (korea, ["KOR01"], False)):
        found = (await api.get("/api/v1/keys")).json()
        assert found["more"] is more
        assert [debt["peer"] for key in found["keys"] for debt in key["owes"]] == peers
    owed = [d.message_id for row in (await listed(stage)).values() for d in row.owes]
    assert owed == theirs[:2]


async def test_of_the_log_only_what_concerns_the_keys_of_a_link_and_ours_is_read(stage: Stage) -> None:
    await Course.begun(stage)
    await stage.gateway.start()
    async with stage.gateway.database.reading() as tx:
        found = await store.events(tx, ["KOR01"])
        every = await store.events(tx)
    assert [event.record.get("link") for event in found] == ["KOR01", None]
    assert [event.record.get("link") for event in every] == ["MEC01", "KOR01", None]
