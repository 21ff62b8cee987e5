"""A registry that tells its history wrongly, the gateway that pulls it, and the books that it is for: all real.

What a page may get wrong in every detail is ``test_history_refused``, with a played source. All units are synthetic.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway.history import verify
from gateway.messages import store as messages
from gateway.signing import compact
from tests.deciding import decided
from tests.integration.test_history_end_to_end import at_source, in_its_books, told
from tests.integration.test_recovery import come_back
from tests.stage import Stage


@pytest.fixture
async def korea(stage: Stage) -> Stage:
    """A hundred units issued and, ten by ten, on their way or gone to Korea; the history of it pulled and told."""
    await stage.link("MEC01", "mechanism", follows=True)
    await stage.link("KOR01", "party", "KOR")
    await stage.issue(net=100)
    assert set(await stage.relay(await stage.propose(*[10] * 5))) == {"completed"}
    await told(stage)
    return stage


async def lie(stage: Stage, name: str, **more: Any) -> None:
    await stage.registries["MEC01"].post("history/lies", lie=name, **more)


async def moved_on(stage: Stage) -> None:
    """Something more happens, and is to be pulled."""
    assert await stage.relay(await stage.propose(10)) == ["completed"]
    await told(stage)


#: What a registry does wrong with one page, and the code of it.
TRICKS = {"lose-page": 8005, "repeat": 8005, "reorder": 8004}
LIES = {"future": 1009, "foreign": 8001}


@pytest.mark.parametrize(("trick", "code"), TRICKS.items())
async def test_a_page_that_is_wrong_is_refused_and_the_next_one_is_taken(korea: Stage, trick: str, code: int) -> None:
    await korea.history.turn()
    await lie(korea, trick)
    assert set(await korea.relay(await korea.propose(5, 5))) == {"completed"}
    before = await korea.count("history_entry")
    await korea.history.turn()
    assert await korea.rows("SELECT DISTINCT code FROM history_finding") == [(code,)]
    assert await korea.count("history_entry") == before
    await korea.rows("UPDATE history_feed SET next_at = now()")
    await told(korea)
    assert await in_its_books(korea, "MEC01", "KOR01") == await at_source(korea, "MEC01", "KOR01")


@pytest.mark.parametrize(("told_lie", "code"), LIES.items())
async def test_a_record_that_cannot_be_takes_its_page_with_it(korea: Stage, told_lie: str, code: int) -> None:
    before = await korea.count("history_entry")
    await lie(korea, told_lie, party="KOR")
    await korea.rows("UPDATE history_feed SET next_at = now()")
    await korea.history.turn()
    assert await korea.rows("SELECT DISTINCT code FROM history_finding") == [(code,)]
    assert await korea.count("history_entry") == before
    assert await korea.count(f"alarm WHERE code = {code}") == 1


async def test_a_contradiction_and_a_correction_are_kept_and_told_apart(korea: Stage) -> None:
    await lie(korea, "correct", party="KOR", number=1)
    await korea.rows("UPDATE history_feed SET next_at = now()")
    await told(korea)
    assert await korea.count("history_finding") == 0
    await lie(korea, "contradict", party="KOR", number=1)
    await korea.rows("UPDATE history_feed SET next_at = now()")
    await told(korea)
    assert await korea.rows("SELECT DISTINCT code FROM history_finding") == [(4010,)]
    assert await in_its_books(korea, "MEC01", "KOR01") == await at_source(korea, "MEC01", "KOR01")


@pytest.mark.parametrize("past", ["rewrite", "truncate"])
async def test_a_past_that_has_changed_is_detected_kept_and_stops(korea: Stage, past: str) -> None:
    known = await korea.count("history_entry")
    await lie(korea, past, party="KOR", number=3)
    await korea.rows("UPDATE history_feed SET next_at = now()")
    await told(korea)
    assert await korea.rows("SELECT stopped FROM history_feed WHERE registry = 'KOR01'") == [(True,)]
    assert await korea.rows("SELECT state FROM link WHERE code = 'MEC01'") == [("suspended",)]
    assert (8004,) in await korea.rows("SELECT DISTINCT code FROM history_finding")
    assert await korea.count("log_entry WHERE kind = 'history.changed'") == 1
    assert await korea.count("history_entry") == known
    assert (await verify.verify(korea.gateway.database)).valid


async def test_a_past_that_is_as_it_was_again_goes_on_once_two_persons_say_so(korea: Stage) -> None:
    mechanism = korea.registries["MEC01"]
    await mechanism.post("backup")
    await lie(korea, "rewrite", party="KOR", number=3)
    await korea.rows("UPDATE history_feed SET next_at = now()")
    await told(korea)
    await decided(korea, "links/MEC01/reactivate")
    await told(korea)
    assert await korea.rows("SELECT stopped FROM history_feed WHERE registry = 'KOR01'") == [(True,)], "still another"
    await mechanism.post("restore", known=False)
    await decided(korea, "links/MEC01/reactivate")
    await moved_on(korea)
    assert await korea.rows("SELECT stopped FROM history_feed WHERE registry = 'KOR01'") == [(False,)]
    assert await in_its_books(korea, "MEC01", "KOR01") == await at_source(korea, "MEC01", "KOR01")


async def test_an_expired_cursor_leads_to_the_whole_again_and_nothing_twice(korea: Stage) -> None:
    await lie(korea, "expire")
    known = await korea.count("history_entry")
    await moved_on(korea)
    assert await korea.count("history_entry") == known + 1
    assert await in_its_books(korea, "MEC01", "KOR01") == await at_source(korea, "MEC01", "KOR01")


@pytest.mark.parametrize(("code", "refused"), [("MEC01", 1010), ("KOR01", 4002)])
async def test_a_link_that_may_only_view_views_and_transfers_nothing(korea: Stage, code: str, refused: int) -> None:
    await korea.rows(f"UPDATE link SET capabilities = '{{view}}' WHERE code = '{code}'")
    [transfer] = await korea.propose(10)
    if code == "KOR01":
        assert await korea.relay([transfer]) == ["refused"]
        findings = (await korea.transfer(transfer))["transfer"]["findings"]
        assert [f["code"] for f in findings] == [refused]
    else:
        assert await refusal(korea) == [refused]
    asked = "source=MEC01&registry=KOR01"
    assert (await korea.api.get(f"/api/v1/history/live/holdings?{asked}")).is_success
    await lie(korea, "correct", party="KOR", number=1)
    await korea.rows("UPDATE history_feed SET next_at = now()")
    await told(korea)
    assert await in_its_books(korea, "MEC01", "KOR01") == await at_source(korea, "MEC01", "KOR01")


async def refusal(stage: Stage) -> list[int]:
    """The codes of the one refusal that was answered."""
    await stage.until(lambda: stage.count("message WHERE type = 'refusal' AND direction = 'out'"))
    [(body,), *_] = await stage.rows("SELECT body FROM message WHERE type = 'refusal' AND direction = 'out'")
    return [f["code"] for f in compact.read(messages.jws_of(bytes(body))).payload["body"]["findings"]]


@pytest.mark.parametrize("code", ["MEC01", "KOR01"])
async def test_a_registry_that_comes_back_from_a_backup_has_the_same_history_again(korea: Stage, code: str) -> None:
    """A source that does again what it had done writes the same records; books that lost records ask for them."""
    since = datetime.now(UTC) - timedelta(minutes=1)
    await korea.registries[code].post("backup")
    await moved_on(korea)
    before = await at_source(korea, "MEC01", "KOR01")
    assert set((await come_back(korea, code, since)).values()) == {"done"}
    await korea.rows("UPDATE history_feed SET next_at = now()")
    await told(korea)
    assert await at_source(korea, "MEC01", "KOR01") == before

    async def equal() -> bool:
        return await in_its_books(korea, "MEC01", "KOR01") == before

    await korea.until(equal)  # the books ask by themselves
    assert await korea.rows("SELECT DISTINCT stopped FROM history_feed") == [(False,)]
