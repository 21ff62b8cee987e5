"""(k) What the checks cost the relay: batches with them, and with a worker whose table of checks is empty, in turns."""

from dataclasses import replace
from typing import Any

from tests.bench import figures
from tests.bench.arithmetic import spread
from tests.bench.network import Network

#: At least so much of the pace without checks is to be kept with them.
GOAL_RATIO = 0.75


def measured(running: Network, runs: int, transfers: int) -> dict[str, Any]:
    """Transfers a second of both, and how they compare run by run."""
    running.issue(100 * 2 * (runs + 1) * transfers)
    checked = running.programs["worker"]
    empty = replace(checked, module="tests.bench.unchecked")
    figures.together(running, figures.WARM_UP)
    found: dict[str, list[float]] = {"with": [], "without": []}
    for _ in range(runs):
        for name, program in (("with", checked), ("without", empty)):
            running.programs["worker"] = program
            running.restart("worker")
            found[name].append(figures.together(running, transfers).per_second)
    running.programs["worker"] = checked
    ratios = [one / other for one, other in zip(found["with"], found["without"], strict=True)]
    return {
        "checks.with_per_second": spread(found["with"]),
        "checks.without_per_second": spread(found["without"]),
        "checks.ratio": spread(ratios),
        "checks.goal_ratio": GOAL_RATIO,
    }
