"""The verdict on a proposal of as many blocks as there may be takes as many statements as that on one block."""

from gateway.domain.proposals import MAX_BLOCKS
from tests import judged
from tests.integration.test_set_based import counted
from tests.played import Course
from tests.stage import Stage

MOST_STATEMENTS = 12


async def test_three_thousand_blocks_are_judged_in_a_few_statements_for_all_of_them(stage: Stage) -> None:
    course = await Course.begun(stage)
    seen = {}
    for number in (1, MAX_BLOCKS):
        proposal = await judged.of_positions(course, number, f"JUDGED-{number}")
        with counted(stage) as statements:
            found = await judged.verdict(stage, proposal)
        assert found.findings == ()
        assert [reliance.drawn for reliance in found.reliances] == [2 * number]
        seen[number] = statements
    assert seen[MAX_BLOCKS] == seen[1]
    assert 0 < len(seen[1]) <= MOST_STATEMENTS
