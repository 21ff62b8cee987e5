"""The command ``gateway`` as the fault tests run it: test mode is on, so that it may be told where to die.

    python -m tests.faults.program serve|worker|…

behaves exactly as ``gateway serve|worker|…``. If ``FAULTS_CLOCK`` names a file, its clock is real time plus the
seconds written there, read at each call, so that a test steps the clock of running processes.
"""

import os
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from gateway import cli, settings

#: Names the file with the seconds by which this process is ahead.
CLOCK = "FAULTS_CLOCK"


class SteppedClock:
    """Real time plus the seconds in a file; the file is read again when it has changed. No file: real time."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._seen = -1
        self._ahead = timedelta()

    def __call__(self) -> datetime:
        try:
            changed = self._file.stat().st_mtime_ns
            if changed != self._seen:
                self._ahead = timedelta(seconds=float(self._file.read_text()))
                self._seen = changed
        except FileNotFoundError:
            self._ahead = timedelta()
        return datetime.now(UTC) + self._ahead


def main() -> None:
    """Run a command in test mode."""
    settings.TEST_MODE = True
    if CLOCK in os.environ:
        from gateway import wiring

        wiring.build = partial(wiring.build, clock=SteppedClock(Path(os.environ[CLOCK])))
    cli.main()


if __name__ == "__main__":
    main()
