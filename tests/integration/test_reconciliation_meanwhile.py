"""What happens while a run is judged, between any two of its statements, is explained as if it had happened before."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy.util import await_only

from gateway import db
from gateway.domain.identifiers import parse_registry_code
from gateway.domain.units import Origin, UnitRange
from gateway.reconciliation.classify import Differing
from tests.integration.test_reconciliation_bounds import STATE, judged
from tests.integration.test_set_based import heard
from tests.played import Course, block, naming
from tests.stage import Stage

ISSUED = Origin(parse_registry_code("MEC01"), "MMR-A64")


@contextmanager
def before_statement(database: db.Database, number: int, happens: Callable[[], Awaitable[Any]]) -> Iterator[list[str]]:
    """Let something happen before the ``number``-th statement of a database; all of its statements meanwhile."""
    seen: list[str] = []

    def note(statement: str, _times: int) -> None:
        seen.append(statement)
        if len(seen) == number:
            await_only(happens())

    with heard(database, note):
        yield seen


async def test_a_transfer_that_completes_while_a_run_is_judged_explains_its_units_all_the_same(stage: Stage) -> None:
    course = await Course.begun(stage)
    await course.issue(*(block(10 * nr + 1, 10 * nr + 10) for nr in range(50)))
    database = db.Database(stage.gateway.database.url)
    tried = 0
    while True:
        units = block(10 * tried + 1, 10 * tried + 10)
        item = course.proposal(units)
        [transfer] = await course.released(item, naming={str(item["transfer"]): [naming(units)]})
        await stage.transparency.sequencer.turn()
        fence = await stage.count("log_leaf")
        gone = Differing("MEC01", UnitRange(ISSUED, units["first"], units["last"]), STATE, None)
        with before_statement(database, tried + 1, lambda: course.credit([transfer])) as seen:  # noqa: B023
            verdict = await judged(database, "MEC01", gone, fence=fence)
        if len(seen) <= tried:
            break
        assert await stage.states([transfer]) == ["completed"]
        assert [one.explained_by for one in verdict.judged] == [(transfer,)], f"before {seen[tried]}"
        tried += 1
    assert tried > 5
    await database.close()
