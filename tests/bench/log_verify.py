"""(v) How long ``gateway log verify`` takes for a whole log in a folder.

The command is timed as it is run, its start included; the log is exported before, with a checkpoint each thousandth
part, each of which is verified as well. The goal is given beside it, not asserted.
"""

import asyncio
import json
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
    """Seconds of each run."""
    log = MadeLog(entries * nr // CHECKPOINTS for nr in range(1, CHECKPOINTS + 1))
    (folder / "vkeys").write_text("\n".join(log.vkeys))
    asyncio.run(exporting.export(log, folder / "log"))
    taken = [_seconds(folder, entries) for _ in range(runs)]
    return {
        "log.verify_seconds": spread(taken),
        "log.verify_entries": entries,
        "log.verify_goal_seconds": GOAL_SECONDS,
    }


def _seconds(folder: Path, entries: int) -> float:
    command = [sys.executable, "-m", "gateway", "log", "verify", folder / "log", "--key", folder / "vkeys", "--json"]
    began = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    taken = time.perf_counter() - began
    said = json.loads(done.stdout)
    if not said["valid"] or said["entries"] != entries or said["checkpoints"] != CHECKPOINTS:
        raise gate.Failed(f"a log that is sound is not found so: {said['faults'] or said}")
    return taken
