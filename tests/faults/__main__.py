"""Crash points and faults together: ``python -m tests.faults [--minutes N]``, a table for people and one JSON.

Every crash point, alone and while each fault strikes every type of message once, and every point with each other
process killed at the moment of the death; then what is too long for ``make test`` (``long``): random kills for
minutes, many random operations, every race two hundred times. All of it takes about two hours on two cores. With
``--minutes`` the crash points alone are tried, and it stops by itself when the time is over; the order is such that
what was tried until then is spread evenly over everything, and what was left out is said. Exit code 0 only if
everything that was tried ended as it must.
"""

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from itertools import cycle
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.faults import campaign
from tests.faults import postgres as databases
from tests.faults.campaign import BOTH_WAYS, CASES, ELSEWHERE, RECEIVER, Trial
from tests.faults.members import REGISTRIES

PROCESSES = ("serve", "worker", *REGISTRIES)


def everything() -> list[Trial]:
    """All trials, in an order of which each beginning is an even sample of who dies and what happens meanwhile."""
    faults = [("in", f) for f in (*BOTH_WAYS, *RECEIVER)] + [("out", f) for f in BOTH_WAYS]
    trials = [Trial(case) for case in CASES]
    trials += [Trial(case, fault, direction) for case in CASES for direction, fault in faults]
    trials += [Trial(case, other=other) for case in CASES for other in PROCESSES if _may_die(case, other)]
    elsewhere = zip(ELSEWHERE, cycle(faults))
    trials += [Trial(case) for case in ELSEWHERE] + [Trial(case, fault, way) for case, (way, fault) in elsewhere]
    random.Random(len(trials)).shuffle(trials)  # noqa: S311 - always the same order
    groups = Counter((t.victim, _meanwhile(t)) for t in trials)
    seen: Counter[tuple[str, str]] = Counter()
    place = {}
    for trial in trials:
        group = (trial.victim, _meanwhile(trial))
        place[trial] = (seen[group] + 0.5) / groups[group]
        seen[group] += 1
    return sorted(trials, key=lambda trial: place[trial])


def _may_die(case: str, other: str) -> bool:
    victim, _, course = CASES[case]
    return other not in (victim, course.needs)


def main() -> None:
    """Run as much as there is time for, and tell what came of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--minutes", type=float, help="stop by itself after so long")
    wanted = parser.parse_args()
    began = time.monotonic()
    trials = everything()
    outcome: dict[Trial, str] = {}

    def told(trial: Trial, error: BaseException | None) -> None:
        outcome[trial] = "" if error is None else f"{type(error).__name__}: {error}"
        if error is not None:
            print(f"FAILED {trial}\n{outcome[trial]}", file=sys.stderr, flush=True)

    over = began + wanted.minutes * 60 if wanted.minutes else None
    with tempfile.TemporaryDirectory(prefix="gateway-faults-") as folder, databases.running(Path(folder)) as postgres:
        asyncio.run(campaign.run(postgres, Path(folder) / "networks", list(trials), told, over=over))
    long = None if wanted.minutes else _long()
    _show(trials, outcome, time.monotonic() - began, long)
    sys.exit(any(outcome.values()) or bool(long))


def _long() -> int:
    """Run the tests that are longer with ``FAULTS=long``; the exit code of pytest, which tells of them as it does."""
    named = [f"tests/faults/test_{name}.py" for name in ("chaos", "races", "resources", "zombies")]
    ran = [sys.executable, "-m", "pytest", "-q", *named, "tests/stateful"]
    return subprocess.run(ran, env=os.environ | {"FAULTS": "long"}, stdout=sys.stderr).returncode


def _show(trials: list[Trial], outcome: dict[Trial, str], seconds: float, long: int | None) -> None:
    """The table, then the JSON."""
    table = Table("who dies", "meanwhile", "tried", "failed", "left out")
    groups = Counter((t.victim, _meanwhile(t)) for t in trials)
    tried, failed = (Counter((t.victim, _meanwhile(t)) for t in ts) for ts in (outcome, _failed(outcome)))
    for group, number in sorted(groups.items()):
        table.add_row(*group, str(tried[group]), str(failed[group]), str(number - tried[group]))
    Console(stderr=True, markup=False, highlight=False).print(table)
    counts = {"trials": len(trials), "tried": len(outcome), "left_out": len(trials) - len(outcome)}
    named = [
        " ".join(filter(None, (t.case, t.direction if t.fault else "", t.fault, t.other))) for t in _failed(outcome)
    ]
    told = {"failed": len(named), "failures": named, "long_tests_ended_with": long, "seconds": round(seconds, 1)}
    print(json.dumps(counts | told, indent=1))


def _failed(outcome: dict[Trial, str]) -> list[Trial]:
    return [trial for trial, why in outcome.items() if why]


def _meanwhile(trial: Trial) -> str:
    if trial.other:
        return f"{trial.other} dies too"
    return f"{trial.fault} ({trial.direction})" if trial.fault else "nothing else"


if __name__ == "__main__":
    main()
