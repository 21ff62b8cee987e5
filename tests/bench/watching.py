"""Where the time goes: CPU seconds by process, and what watched processes tell of themselves."""

import json
import pstats
import re
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import psutil

from gateway import embedded
from tests.bench.network import Network

#: How often the CPU seconds are read, so that those of a backend that ends are not missed by much.
LOOK_SECONDS = 0.5
#: Functions of a profile, and statements, that are shown.
SHOWN = 30


@contextmanager
def cpu(network: Network) -> Iterator[dict[str, float]]:
    """CPU seconds used meanwhile: by each program, and by PostgreSQL's processes by what they serve."""
    used: dict[str, float] = {}
    first: dict[tuple[str, int], float] = {}
    last: dict[tuple[str, int], float] = {}
    over = threading.Event()

    def look() -> None:
        for name, process in _processes(network):
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            key = (name, process.pid)
            last[key] = times.user + times.system
            first.setdefault(key, last[key] if not watching else 0.0)

    def watch() -> None:
        while not over.wait(LOOK_SECONDS):
            look()

    watching = False
    look()
    watching = True
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield used
    finally:
        over.set()
        watcher.join()
        look()
        total: defaultdict[str, float] = defaultdict(float)
        for (name, pid), seconds in last.items():
            total[name] += seconds - first[name, pid]
        used |= {name: round(s, 2) for name, s in sorted(total.items(), key=lambda part: -part[1]) if s >= 0.01}


def _processes(network: Network) -> Iterator[tuple[str, psutil.Process]]:
    for name in network.children:
        yield name, network.process(name)
    for backend in psutil.Process(network.server.pid).children():
        try:
            what = serving(" ".join(backend.cmdline()))
        except psutil.Error:
            continue
        if what is not None:
            yield f"postgres {what}", backend


def serving(title: str) -> str | None:
    """What a process of PostgreSQL does, by its title: whom a backend serves, or its job. Nothing for our own look."""
    backend = re.match(r"postgres: (\S+) (\S+) \[local\]", title)
    if backend:
        return None if backend[1] == embedded.SUPERUSER else f"for {backend[2]}"
    return title.removeprefix("postgres: ").strip() or "about to start"


def told(folder: Path) -> dict[str, Any]:
    """What each watched process wrote as it ended, by name."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


def cpu_report(cpu_seconds: Mapping[str, Mapping[str, float]]) -> str:
    """CPU seconds of ordinary runs, as text."""
    parts = []
    for figure, used in cpu_seconds.items():
        lines = [f"{seconds:9.2f}  {name}" for name, seconds in used.items()]
        parts.append(
            "\n".join([f"# CPU seconds of a run of {figure}, {sum(used.values()):.2f} in all", "", *lines, ""])
        )
    return "\n".join(parts)


def report(folder: Path) -> str:
    """What watched processes tell, as text."""
    out = StringIO()
    for name, seen in told(folder).items():
        print(f"## {name}: commits and sends\n", file=out)
        for point, times in sorted(seen["passed"].items(), key=lambda part: -part[1]):
            print(f"{times:9d}  {point}", file=out)
        print(f"\n## {name}: statements, by the seconds waited for them\n", file=out)
        for text, (times, seconds) in sorted(seen["statements"].items(), key=lambda part: -part[1][1])[:SHOWN]:
            print(f"{seconds:9.2f} s {times:8d} ×  {text}", file=out)
        print(f"\n## {name}: functions\n", file=out)
        if (saved := folder / f"{name}.pstats").exists():
            statistics = pstats.Stats(str(saved), stream=out).strip_dirs()
            statistics.sort_stats("tottime").print_stats(SHOWN)
            statistics.sort_stats("cumulative").print_stats(SHOWN * 2)
    return out.getvalue()
