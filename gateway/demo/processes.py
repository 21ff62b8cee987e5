"""Starts our own programs as children that end with us, however we end.

A child is told by the kernel when its parent dies (PR_SET_PDEATHSIG), so that SIGKILL of the demo leaves no
process behind, and lives in a session of its own, so that Ctrl-C reaches it through us and in order.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

from gateway.errors import GatewayError, Kind

#: How long a child may take to say that it is ready: a slow first import on a busy machine.
READY_SECONDS = 60.0
#: How long it may take to end in order before it is killed.
STOP_SECONDS = 10.0
#: How many of its last lines are kept, to be shown when it ends by itself.
SHOWN_COMPLAINTS = 3

# Becomes the program. The parent may have died before the kernel was asked, so it is looked at afterwards.
_LAUNCHER = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() != int(sys.argv[1]):
    sys.exit("the process that starts this one is gone")
os.execv(sys.argv[2], sys.argv[2:])
"""


@dataclass(slots=True)
class Child:
    """A running program of ours, and the last lines it wrote to standard error."""

    name: str
    arguments: tuple[str, ...]
    process: subprocess.Popen[str]
    complaints: deque[str]
    listener: threading.Thread

    def ready(self) -> dict[str, str]:
        """The JSON line with which it says where it listens; raises INVARIANT when it ends or hangs instead."""
        return self.said(READY_SECONDS)

    def said(self, within_seconds: float) -> dict[str, Any]:
        """The JSON line it prints; raises INVARIANT when it ends or hangs instead."""
        assert self.process.stdout is not None
        hung = threading.Timer(within_seconds, self.process.kill)
        hung.daemon = True  # a signal may end us before it is cancelled
        try:
            hung.start()
            line = self.process.stdout.readline()
        finally:
            hung.cancel()
        if not line:
            self.process.wait(STOP_SECONDS)
            self.check()
        said: dict[str, Any] = json.loads(line)
        return said

    def check(self) -> None:
        """Raise INVARIANT, with the last it complained of, if it has ended: we did not tell it to."""
        code = self.process.poll()
        if code is not None:
            self.listener.join(STOP_SECONDS)
            how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            last = " | ".join(self.complaints)
            raise GatewayError(Kind.INVARIANT, f"{self.name} {how}: {last or 'it said nothing'}")

    def kill(self) -> None:
        """End it as a failing machine would, without a word."""
        self.process.kill()
        self.stop()

    def stop(self) -> None:
        """Ask it to end, and wait; kill it when it does not."""
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.listener.join()


@contextmanager
def undisturbed() -> Iterator[None]:
    """Put off what would end us until a child that was started is known to whoever must end it."""
    came: list[signal.Signals] = []
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {
        number: signal.signal(number, lambda number, _: came.append(signal.Signals(number))) for number in numbers
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in came:
            signal.raise_signal(number)


def start(name: str, arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> Child:
    """Start ``python -m arguments…``; what it complains of is kept, the last lines of it."""
    process = subprocess.Popen(
        [sys.executable, "-c", _LAUNCHER, str(os.getpid()), sys.executable, "-m", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, **(environment or {})},
    )
    complaints: deque[str] = deque(maxlen=SHOWN_COMPLAINTS)
    assert process.stderr is not None
    listener = threading.Thread(target=_collect, args=(process.stderr, complaints), daemon=True)
    listener.start()
    return Child(name, tuple(arguments), process, complaints, listener)


def _collect(stream: IO[str], lines: deque[str]) -> None:
    with stream:
        lines.extend(line.rstrip() for line in stream)
