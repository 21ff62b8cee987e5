"""(v) How long ``gateway log verify`` takes for a whole log in a folder, and what memory it takes.

The command is timed as it is run, its start included; the log is exported before, with a checkpoint each thousandth
part, each of which is verified as well. The goal is given beside it, not asserted.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from gateway.audit import exporting
from tests.bench import gate
from tests.bench.arithmetic import spread
from tests.madelog import MadeLog

GOAL_SECONDS = 60
CHECKPOINTS = 1_000


def measured(folder: Path, runs: int, entries: int) -> dict[str, Any]:
    """Seconds of each run, and the most megabytes of any."""
    log = MadeLog(entries * nr // CHECKPOINTS for nr in range(1, CHECKPOINTS + 1))
    (folder / "vkeys").write_text("\n".join(log.vkeys))
    asyncio.run(exporting.export(log, folder / "log"))
    taken, held = zip(*(_run(folder, entries) for _ in range(runs)), strict=True)
    return {
        "log.verify_seconds": spread(list(taken)),
        "log.verify_entries": entries,
        "log.verify_rss_mb": round(max(held), 1),
        "log.verify_goal_seconds": GOAL_SECONDS,
    }


def _run(folder: Path, entries: int) -> tuple[float, float]:
    command = [sys.executable, "-m", "gateway", "log", "verify", folder / "log", "--key", folder / "vkeys", "--json"]
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    said = json.loads(process.stdout.read())
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if not said["valid"] or said["entries"] != entries or said["checkpoints"] != CHECKPOINTS:
        raise gate.Failed(f"a log that is sound is not found so: {said['faults'] or said}")
    return time.perf_counter() - began, used.ru_maxrss / 1024
