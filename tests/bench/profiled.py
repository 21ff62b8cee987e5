"""Runs with watched processes: where the time goes, and what one transfer consists of. Their times are no figures."""

import os
import statistics
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.bench import figures, reference, watching
from tests.bench.arithmetic import bare_ms
from tests.bench.network import Network
from tests.bench.program import PROFILE

#: Transfers alone, over which commits and round trips are counted.
COUNTED = 20
#: The largest body of the bare round trip: messages of a run of batches are larger than any of one transfer.
LARGEST = 4_000
#: Where the course of one begins, and where it ends.
BEGIN, END = "receive.transfer.propose.after-commit", "transfer.credited.after-commit"
#: The commits a transfer consists of, at the gateway and at the registries; whatever else is committed on the way
#: (leases, naps, decisions on nothing) only keeps house and is none of the bare sum.
STEPS = ("decide.check", "decide.commit", "absorb.", "receive.")

#: What was passed, in order: when, by which process, which point.
Course = list[tuple[float, str, str]]


def profile(network: Network, only: Sequence[str], transfers: int) -> str:
    """The profile of one run of each figure, as text."""
    parts = []
    for name, run in {"a": figures.together, "b": figures.singles}.items():
        if name in only:
            with watched(network, lambda run=run: run(network, transfers), profiling=True) as folder:  # type: ignore[misc]
                parts.append(f"# ({name}) over {transfers} transfers, watched\n\n{watching.report(folder)}")
    return "\n".join(parts)


def bare(network: Network) -> dict[str, Any]:
    """What one transfer alone consists of, and how long that takes when there is nothing else to it."""
    commit_ms = reference.commit_ms(network.server)
    bytes_each = "SELECT avg(octet_length(body))::int FROM message WHERE direction = 'out' AND type = ANY(%s)"
    size = min(network.value(bytes_each, list(figures.SAID[:4])), LARGEST)
    round_trip_ms = reference.round_trip_ms(size)
    with watched(network, lambda: figures.alone(network, COUNTED)) as folder:
        courses = list(split(merged(folder)))
    trips, steps, other = counted(courses)
    own, more = sum(steps.values()), sum(other.values())
    said = f"{sum(trips.values())} signed round trips of {size} bytes × {round_trip_ms:.2f} ms"
    return {
        "ms": round(bare_ms(sum(trips.values()), own, round_trip_ms, commit_ms), 2),
        "arithmetic": f"{said} + {own} commits × {commit_ms:.2f} ms",
        "ms_with_other_commits": round(bare_ms(sum(trips.values()), own + more, round_trip_ms, commit_ms), 2),
        "round_trips": trips,
        "commits": steps,
        "other_commits": other,
        "course": [f"{(at - courses[-1][0][0]) * 1000:7.1f} ms {who} {what}" for at, who, what in courses[-1]],
    }


def merged(folder: Path) -> Course:
    """What all watched processes passed, in the order in which it happened."""
    told = watching.told(folder)
    return sorted((at, name, point) for name, seen in told.items() for at, point in seen["course"])


def split(course: Course) -> Iterator[Course]:
    """The courses of single transfers: from the proposal stored to the crediting heard."""
    begun: Course = []
    for passed in course:
        if passed[2] == BEGIN:
            begun = [passed]
        elif begun:
            begun.append(passed)
            if passed[1] in ("serve", "worker") and passed[2].endswith(END):
                yield begun
                begun = []


def counted(courses: Sequence[Course]) -> tuple[dict[str, int], dict[str, int], dict[str, int]]:
    """Of a course (the median of several): the gateway's round trips, the commits of its steps, all other commits.

    A step is taken once; what was committed under its name beside that decided nothing.
    """
    after = [Counter(point for _, who, point in course[1:] if _counts(who, point)) for course in courses]
    each = {point: int(statistics.median(c[point] for c in after)) for point in sorted(set().union(*after))}
    trips = {p.removesuffix(".after-send"): n for p, n in each.items() if p.endswith(".after-send") and n}
    commits = {p.removesuffix(".after-commit"): n for p, n in each.items() if p.endswith(".after-commit") and n}
    steps = {name: 1 for name in commits if name.startswith(STEPS)}
    other = {name: n - steps.get(name, 0) for name, n in commits.items() if n > steps.get(name, 0)}
    return trips, steps, other


def _counts(who: str, point: str) -> bool:
    """Whether a point is an end of a commit, or of a send of the gateway's: others' are the same exchange, or later."""
    return point.endswith(".after-commit") or (point.endswith(".after-send") and who == "worker")


@contextmanager
def watched(network: Network, work: Callable[[], Any], *names: str, profiling: bool = False) -> Iterator[Path]:
    """Do ``work`` with these processes (or all) watched; gives the folder in which they wrote what they saw."""
    with tempfile.TemporaryDirectory(prefix="gateway-watch-") as made:
        os.environ |= {PROFILE: "1"} if profiling else {}
        try:
            network.restart(*names, watched=Path(made))
        finally:
            os.environ.pop(PROFILE, None)
        work()
        network.restart(*names)
        yield Path(made)
