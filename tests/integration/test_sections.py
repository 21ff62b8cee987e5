"""Sections of the international registry, as links are registered: which can be, and since when they are told."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway import db
from gateway.errors import GatewayError, Kind
from gateway.links import commands
from gateway.links.store import Link
from gateway.signing.keys import SoftwareKey
from tests.played import NOWHERE, Course, block
from tests.recorded import International
from tests.stage import Stage


@pytest.fixture
async def course(stage: Stage) -> AsyncIterator[Course]:
    course = await Course.begun(stage)
    await course.issue(block(1, 100))
    yield course
    assert await stage.doctor() == []


async def register(stage: Stage, code: str, **sections: str | None) -> None:
    link = Link(code, "international", NOWHERE, "requested", 24, tuple(sections))
    jwk = SoftwareKey.generate().public_jwk()
    await stage.run(lambda tx: commands.register(tx, stage.gateway.node, link, sections, [jwk]))


@pytest.mark.parametrize(
    ("sections", "kind", "words"),
    [
        ({}, Kind.MALFORMED, "keeps sections"),
        ({"INT02": "THA"}, Kind.MALFORMED, "its own code is none of them"),
        ({"THA99": "XYZ"}, Kind.MALFORMED, "not a Party code"),
        ({"THA99": None}, Kind.MALFORMED, "THA99 is no Party's"),
        ({"THA-9": "THA"}, Kind.MALFORMED, "link code"),
        ({"THA99": "THA", "THA98": "THA"}, Kind.MALFORMED, "THA would have two sections"),
        ({"GHA99": "GHA"}, Kind.CONFLICT, "the code GHA99 belongs to INT01 already"),
        ({"GHA98": "GHA"}, Kind.CONFLICT, "GHA has its section already: GHA99 of INT01"),
        ({"KOR01": "KOR"}, Kind.CONFLICT, "the code KOR01 belongs to KOR01 already"),
        ({"INT01": "THA"}, Kind.CONFLICT, "the code INT01 belongs to INT01 already"),
    ],
    ids=str,
)
async def test_sections_that_cannot_be_are_refused_and_nothing_is_registered(
    stage: Stage, sections: dict[str, str | None], kind: Kind, words: str
) -> None:
    await Course.begun(stage)
    await register(stage, "INT01", GHA99="GHA")
    before = await stage.rows("SELECT (SELECT count(*) FROM log_entry), (SELECT count(*) FROM link_registry)")
    with pytest.raises(GatewayError, match=words) as refused:
        await register(stage, "INT02", **sections)
    assert refused.value.kind is kind
    assert await stage.rows("SELECT (SELECT count(*) FROM log_entry), (SELECT count(*) FROM link_registry)") == before


async def test_a_registry_may_not_take_the_code_of_a_section(stage: Stage) -> None:
    await register(stage, "INT01", GHA99="GHA")
    link = Link("GHA99", "party", NOWHERE, "requested", 24, ("GHA99",))
    jwk = SoftwareKey.generate().public_jwk()
    with pytest.raises(GatewayError, match="the code GHA99 belongs to INT01 already"):
        await stage.run(lambda tx: commands.register(tx, stage.gateway.node, link, {"GHA99": "GHA"}, [jwk]))


async def test_two_registrations_at_one_instant_give_a_party_one_section(stage: Stage) -> None:
    made = await asyncio.gather(
        *(register(stage, f"INT0{nr}", **{f"THA9{nr}": "THA"}) for nr in range(1, 5)), return_exceptions=True
    )
    assert sum(done is None for done in made) == 1
    assert {str(error).partition(":")[0] for error in made if error} == {"THA has its section already"}
    assert await stage.count("link_registry WHERE party = 'THA'") == 1


async def test_a_registration_waits_for_actions_that_have_looked_for_sections(course: Course) -> None:
    """So their log entries are before that of the registration, and nobody misses a record of them."""
    stage = course.stage
    looked, over = asyncio.Event(), asyncio.Event()

    async def looks(tx: db.Tx) -> None:
        assert await db.rows(tx, "SELECT * FROM sections()") == []
        looked.set()
        await over.wait()

    under_way = asyncio.create_task(stage.run(looks))
    await looked.wait()
    [(last,)] = await stage.rows("SELECT max(id) FROM log_entry")
    registering = asyncio.create_task(International.joined(stage))
    await stage.until(lambda: _waiting(stage))
    over.set()
    await asyncio.gather(under_way, registering)
    assert await stage.count(f"link_registry WHERE registry = 'MMR99' AND since > {last}") == 1


async def test_an_action_waits_for_a_registration_under_way_and_is_recorded(course: Course) -> None:
    """Its log entry is after that of the registration, so its record would be missed."""
    stage = course.stage
    registered, over = asyncio.Event(), asyncio.Event()
    link = Link("INT01", "international", NOWHERE, "requested", 24, ("MMR99",))
    jwk = SoftwareKey.generate().public_jwk()

    async def registers(tx: db.Tx) -> None:
        await commands.register(tx, stage.gateway.node, link, {"MMR99": "MMR"}, [jwk])
        registered.set()
        await over.wait()

    registering = asyncio.create_task(stage.run(registers))
    await registered.wait()
    using = asyncio.create_task(course.use(block(1, 2)))
    await stage.until(lambda: _waiting(stage))
    over.set()
    await asyncio.gather(registering, using)
    [(since, used)] = await stage.rows(
        "SELECT since, (SELECT entry_id FROM action WHERE type = 'use') FROM link_registry WHERE registry = 'MMR99'"
    )
    assert since < used
    assert await stage.rows("SELECT type, section FROM action_record") == [("Use", "MMR99")]


async def _waiting(stage: Stage) -> int:
    return await stage.count("pg_locks WHERE locktype = 'advisory' AND NOT granted")
