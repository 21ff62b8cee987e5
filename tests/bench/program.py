"""The gateway, or a sandbox registry, watched from inside: ``python -m tests.bench.program MODULE ARGUMENT…``.

Behaves as ``python -m MODULE ARGUMENT…``. As it ends it writes to the files that begin with ``BENCH_WATCH``:
``.json``, the commits and sends it passed by their names in ``crash`` (how often, and the last of them with their
times) and its statements (how often, and the seconds waited for them); and, where ``BENCH_PROFILE`` is set,
``.pstats``, what cProfile saw. Figures are never taken of a watched process.
"""

import cProfile
import json
import os
import re
import sys
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: The beginning of the files' names; whether cProfile runs.
WATCH, PROFILE = "BENCH_WATCH", "BENCH_PROFILE"
#: The points kept with their times: those of some hundred transfers one by one.
KEPT = 100_000

passed: Counter[str] = Counter()
course: deque[tuple[float, str]] = deque(maxlen=KEPT)
statements: defaultdict[str, list[float]] = defaultdict(lambda: [0, 0.0])


def _watch_points(module: str) -> None:
    """Note every commit and every send after it has happened."""
    if module == "gateway":
        from gateway import crash

        crash.passing = _noting(crash.passing)
    else:
        from connectors.sandbox.crash import CrashPoints

        CrashPoints.passing = _noting(CrashPoints.passing)  # type: ignore[method-assign]


def _noting(passing: Callable[..., None]) -> Callable[..., None]:
    def noted(*arguments: Any) -> None:
        passing(*arguments)
        point = str(arguments[-1])
        course.append((time.time(), point))
        name, _, moment = point.rpartition(".")
        passed[name] += moment.startswith("after")

    return noted


def _watch_statements(module: str) -> None:
    """Count statements and the time waited for each: SQLAlchemy's here, psycopg's own in a registry."""
    if module == "gateway":
        from sqlalchemy import event
        from sqlalchemy.engine import Engine

        @event.listens_for(Engine, "before_cursor_execute")
        def before(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
            connection.info["began"] = time.perf_counter()

        @event.listens_for(Engine, "after_cursor_execute")
        def after(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
            _count(statement, time.perf_counter() - connection.info["began"])

    else:
        from psycopg import AsyncCursor

        execute = AsyncCursor.execute

        async def timed(self: Any, query: Any, *arguments: Any, **members: Any) -> Any:
            began = time.perf_counter()
            try:
                return await execute(self, query, *arguments, **members)
            finally:
                _count(str(query), time.perf_counter() - began)

        AsyncCursor.execute = timed  # type: ignore[method-assign]


def _count(statement: str, seconds: float) -> None:
    kept = statements[re.sub(r"\s+", " ", statement).strip()[:200]]
    kept[0] += 1
    kept[1] += seconds


def main() -> None:
    """Run the program to its end, then write what was seen."""
    module, at = sys.argv[1], os.environ[WATCH]
    sys.argv = sys.argv[1:]
    _watch_points(module)
    _watch_statements(module)
    profile = cProfile.Profile() if os.environ.get(PROFILE) else None
    if module == "gateway":
        from gateway.cli import main as run
    else:
        from connectors.sandbox.__main__ import main as run
    try:
        if profile is not None:
            profile.enable()
        run()
    finally:
        if profile is not None:
            profile.disable()
            profile.dump_stats(f"{at}.pstats")
        seen = {"passed": passed, "course": list(course), "statements": statements}
        Path(f"{at}.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    main()
