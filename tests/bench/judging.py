"""(j) How long the verdict on a proposal of 3,000 blocks takes, each a position of its own.

In this process, with a gateway whose peers are played: what is timed is the transaction that gathers the facts and
applies the checks, with nothing received, kept or said around it. The goal is given beside it, not asserted.
"""

import asyncio
import time
from pathlib import Path
from typing import Any

from gateway import embedded
from gateway.domain.proposals import MAX_BLOCKS
from tests import judged
from tests import stage as staging
from tests.bench import gate
from tests.bench.arithmetic import spread
from tests.played import Course

GOAL_MS = 300


def measured(folder: Path, runs: int) -> dict[str, Any]:
    """Milliseconds of each run, after one that does not count."""
    with embedded.running(folder / "postgres") as server:
        staging.make_template(server)
        (home := folder / "stage").mkdir()
        taken = asyncio.run(_timed(server, home, runs))
    return {"judging.ms": spread(taken), "judging.blocks": MAX_BLOCKS, "judging.goal_ms": GOAL_MS}


async def _timed(server: embedded.Server, home: Path, runs: int) -> list[float]:
    taken = []
    async with staging.opened(server, home) as stage:
        proposal = await judged.of_positions(await Course.begun(stage), MAX_BLOCKS, "JUDGED")
        for _ in range(runs + 1):
            began = time.perf_counter()
            found = await judged.verdict(stage, proposal)
            taken.append(1_000 * (time.perf_counter() - began))
            if found.findings:
                raise gate.Failed(f"a proposal that is sound is not found so: {found.findings[0]}")
    return taken[1:]
