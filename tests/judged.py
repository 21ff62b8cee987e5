"""Proposals of many blocks, each a position of its own in the book, and the verdict on them alone. Synthetic units."""

from datetime import UTC, datetime
from functools import partial

from gateway.domain.proposals import MAX_BLOCKS, parse_proposal
from gateway.domain.transfers import Proposal
from gateway.transfers import judge
from gateway.transfers.judge import Judged
from tests.played import Course, block
from tests.stage import Stage

#: Positions that one notice announces beside what is deducted of them.
PART = MAX_BLOCKS // 2


async def of_positions(course: Course, number: int, series: str) -> Proposal:
    """A proposal of ``number`` blocks of two units, which are held apart: a serial lies between any two."""
    blocks = [block(3 * nr + 1, 3 * nr + 2, series=series) for nr in range(number)]
    for first in range(0, number, PART):
        heard = await course.issue(*blocks[first : first + PART])
        assert {item["state"] for item in heard.items} == {"recorded"}
    proposal = parse_proposal(course.proposal(*blocks))
    assert isinstance(proposal, Proposal)
    return proposal


async def verdict(stage: Stage, proposal: Proposal) -> Judged:
    """What the checks say of the proposal now; nothing is kept."""
    asked = [(str(proposal.transfer.source), proposal)]
    [found] = await stage.run(partial(judge.judge, proposals=asked, now=datetime.now(UTC), draw=True))
    return found
