"""(h) What a transfer costs with few positions in the book, and with many.

A network of its own, whose MEC01 is played (``source``): positions come into the book by signed notices only, and each
transfer takes a tonne out of a position chosen by chance among all.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench import figures, network, profiled, watching
from tests.bench.arithmetic import spread
from tests.bench.network import ACQUIRERS, SOURCE, Network

#: The small book every other is compared with.
FEW = 10_000
#: Positions one call of the played registry announces.
PART = 60_000
#: The most transfers of a run: each takes another position, also of the small book.
MOST = 5_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """The sizes of the book, the transfers of a run, the runs, and whether serve and worker are profiled beside."""

    sizes: Sequence[int]
    transfers: int
    runs: int
    profile: bool


def measured(folder: Path, wanted: Wanted, profiles: list[str]) -> dict[str, Any]:
    """Cost and load at each size, and the largest cost as a multiple of that with few positions."""
    with network.running(folder, (SOURCE._replace(played=True), *ACQUIRERS)) as running:
        found = []
        for size in sorted({FEW, *wanted.sizes}):
            found.append(_at(running, size, min(wanted.transfers, MOST), wanted.runs))
            if wanted.profile:
                profiles.append(f"# (h) with {size} positions, watched\n\n{_profile(running, wanted.transfers)}")
    few = found[0]
    for there in found:
        for name in ("ms_per_transfer", "cpu_ms_per_transfer"):
            there[f"{name}_ratio"] = round(there[name]["median"] / few[name]["median"], 3)
    return {
        "positions.cost_ratio": max(there["ms_per_transfer_ratio"] for there in found),
        "positions.cpu_cost_ratio": max(there["cpu_ms_per_transfer_ratio"] for there in found),
        "positions.loaded_per_second": median(there["loaded_per_second"] for there in found[1:] or found),
        "positions": found,
    }


def _at(running: Network, size: int, transfers: int, runs: int) -> dict[str, Any]:
    had = running.admin(SOURCE.code, "GET", "books")["issued"]
    began = time.monotonic()
    issued = had
    while (missing := size - issued // 10) > 0:
        issued = running.admin(SOURCE.code, "POST", "issue", positions=min(missing, PART))["issued"]
    loaded = (issued - had) / 10 / (time.monotonic() - began)
    _tidy(running)
    figures.together(running, figures.WARM_UP)
    taken, used = [], []
    for _ in range(runs):
        with watching.cpu(running) as cpu:
            run = figures.together(running, transfers)
        taken.append(1000 / run.per_second)
        used.append(cpu)
    return {
        "positions": running.value("SELECT count(*) FROM position WHERE closed_by IS NULL"),
        "loaded_per_second": round(loaded, 1),
        "database_bytes": running.value("SELECT pg_database_size('gateway')"),
        "transfers_per_run": transfers,
        "ms_per_transfer": spread(taken),
        "cpu_ms_per_transfer": spread([1000 * sum(cpu.values()) / transfers for cpu in used]),
        "cpu_seconds_of_the_last_run": used[-1],
    }


def _profile(running: Network, transfers: int) -> str:
    """What serve and worker tell of a run; the source keeps its positions, which are in its memory."""
    run = partial(figures.together, running, min(transfers, MOST))
    with profiled.watched(running, run, "serve", "worker", profiling=True) as told:
        return watching.report(told)


def _tidy(running: Network) -> None:
    """What autovacuum and the checkpointer would do with time: a book is not measured while it is being loaded."""
    with running.connected() as connection:
        connection.execute("VACUUM (ANALYZE)")
        connection.execute("CHECKPOINT")
