"""A thousand transfers in one message cost as many SQL statements as one."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event

from gateway import db
from tests import recorded
from tests.played import Course, Heard, block, naming
from tests.stage import Stage

MANY = 1_000
#: A link's rate is looked up again after some seconds, however much is said meanwhile.
BY_TIME = "SELECT messages_per_second FROM link"


@contextmanager
def heard(database: db.Database, note: Callable[[str, int], None]) -> Iterator[None]:
    """Before each statement ``note`` is told of it, and for how many parameter sets it is executed."""

    def before(_c: Any, _u: Any, statement: str, parameters: Any, _x: Any, many: bool) -> None:
        note(statement, len(parameters) if many else 1)

    engine = database._engine.sync_engine
    event.listen(engine, "before_cursor_execute", before)
    try:
        yield
    finally:
        event.remove(engine, "before_cursor_execute", before)


@contextmanager
def counted(stage: Stage) -> Iterator[list[str]]:
    """The statements the gateway sends meanwhile; one that is executed for many parameter sets counts as many."""
    seen: list[str] = []

    def note(statement: str, times: int) -> None:
        if not statement.startswith(BY_TIME):
            seen.extend([" ".join(statement.split())[:70]] * times)

    with heard(stage.gateway.database, note):
        yield seen


class Count:
    """Drives a course and counts the statements of each part of it."""

    def __init__(self, course: Course) -> None:
        self.course = course
        self.seen: dict[str, list[str]] = {}

    async def of(self, part: str, work: Awaitable[Heard | None], states: set[str] | None = None) -> None:
        with counted(self.course.stage) as seen:
            heard = await work
        self.seen[part] = seen
        if states is not None:
            assert heard is not None and {item["state"] for item in heard.items} == states


async def driven(course: Course, number: int, begin: int) -> dict[str, list[str]]:
    """Announce, transfer and refuse ``number`` blocks of two units each; the statements by part."""
    count = Count(course)
    blocks = [block(begin + 2 * n, begin + 2 * n + 1) for n in range(number)]
    items = [course.proposal(b) for b in blocks]
    transfers = [str(i["transfer"]) for i in items]
    again = [course.proposal(b) for b in blocks]
    await count.of("announcing", course.issue(*blocks), {"recorded"})
    await count.of("proposing", course.propose(*items), {"proposed"})
    await count.of("proposing what is claimed", course.propose(*again), {"ending"})
    await count.of("voiding", course.void([str(i["transfer"]) for i in again]), {"refused"})
    # What is due from earlier would be sent in the same turn, or not, as the seconds go by.
    await course.stage.rows("UPDATE transfer SET next_at = NULL WHERE state IN ('refused', 'completed')")
    await count.of("checking and offering", course.turn())
    await count.of("accepting", course.accept(transfers), {"accepted"})
    await count.of("committing", course.turn())
    named = {t: [naming(b)] for t, b in zip(transfers, blocks, strict=True)}
    await count.of("releasing", course.release(transfers, named), {"released"})
    await count.of("crediting", course.credit(transfers), {"completed"})
    await course.stage.rows("UPDATE transfer SET next_at = NULL WHERE state = 'completed'")
    await count.of("recording", course.turn())
    await course.stage.rows("DELETE FROM owed")
    return count.seen


@pytest.fixture
async def course(stage: Stage) -> AsyncIterator[Course]:
    course, _ = await recorded.begun(stage)  # both sides of each transfer are recorded
    yield course


async def test_a_thousand_transfers_cost_as_many_statements_as_one(course: Course) -> None:
    await driven(course, 1, 1)  # the first is told apart: series, attributes and stems are new
    one = await driven(course, 1, 1_001)
    many = await driven(course, MANY, 10_001)
    print("\nstatements for 1 and for 1,000 transfers:")
    for part in one:
        print(f"  {part}: {len(one[part])}, {len(many[part])}")
    assert {part: len(seen) for part, seen in many.items()} == {part: len(seen) for part, seen in one.items()}
    assert min(len(seen) for seen in one.values()) > 0
    moved = await course.stage.rows("SELECT count(*), sum(last - first + 1) FROM position WHERE registry = 'KOR01'")
    assert moved == [(MANY + 2, 2 * (MANY + 2))]
