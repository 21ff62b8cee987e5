"""Real processes at fixed addresses: each can be killed, stopped, and started again where it was.

A process is the copy of one that has imported the programs already (``forkserver``), because importing is most of a
start and there are hundreds; it then runs its program in a session and with arguments and an environment of its own.
It ends with the tests however these end, and writes what it says to a log that is shown when something
fails. Its port lies outside the range that outgoing connections are given theirs from, so nobody takes it while its
owner is dead.
"""

import asyncio
import ctypes
import importlib
import multiprocessing
import os
import random
import secrets
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path

PROJECT = Path(__file__).parents[2]
#: How long a process may take until it answers, on a busy machine.
READY_SECONDS = 60.0
STOP_SECONDS = 15.0
LOWEST_PORT = 10_000
PR_SET_PDEATHSIG = 1

_COPIED = multiprocessing.get_context("forkserver")
_COPIED.set_forkserver_preload(
    [
        "tests.faults.program", "tests.faults.registry", "gateway.cli.processes", "gateway.cli.links",
        "gateway.cli.doctor", "gateway.wiring", "gateway.worker", "gateway.telemetry", "gateway.web.link",
        "gateway.web.operator",
    ]
)  # fmt: skip

_taken: set[int] = set()


def free_port() -> int:
    """A loopback port that stays free while nobody listens on it."""
    highest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0]) - 1
    while True:
        port = LOWEST_PORT + secrets.randbelow(highest - LOWEST_PORT)
        if port in _taken:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                _taken.add(port)
                return port


def become(arguments: Sequence[str], environment: Mapping[str, str], log: str) -> None:
    """Run ``python -m arguments…`` in this process, which is a fresh copy (a program is a module with ``main``)."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.setsid()
    os.chdir(PROJECT)
    written = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for standard in (1, 2):
        os.dup2(written, standard)
    os.environ.clear()
    os.environ.update(environment)
    random.seed()  # or all copies would throw the same dice
    sys.argv = list(arguments)
    importlib.import_module(arguments[0]).main()


@dataclass
class Part:
    """One process of a network. ``address`` is where it answers, nothing for one that listens nowhere."""

    name: str
    arguments: Sequence[str]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    address: str = ""
    armed: str = ""
    #: Whether its end is somebody's wish: a test killed it, or armed it to kill itself.
    may_end: bool = False
    process: BaseProcess | None = None
    #: The crash points it has died at in the present trial.
    deaths: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    @property
    def pid(self) -> int:
        assert self.process is not None and self.process.pid is not None, f"{self.name} was never started"
        return self.process.pid

    def start(self, armed: str = "") -> None:
        """Start it where it was; ``armed`` names the crash point at which it kills itself."""
        assert self.ended(), f"{self.name} runs already"
        self.armed, self.may_end = armed, bool(armed)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
        crash = {"GATEWAY_CRASH": armed, "FAULTS_CRASH": armed} if armed else {}
        environment = {**inherited, **self.environment, **crash}
        with self.log.open("a") as log:
            log.write(f"--- {self.name} starts{f', armed with {armed}' if armed else ''}\n")
        self.process = _COPIED.Process(target=become, args=(self.arguments, environment, str(self.log)), daemon=True)
        self.process.start()

    async def ready(self) -> None:
        """Return once it takes connections; fails when it ends instead."""
        host, _, port = self.address.rpartition(":")
        deadline = asyncio.get_running_loop().time() + READY_SECONDS
        while self.address and not self.ended():
            try:
                _, writer = await asyncio.open_connection(host, int(port))
                writer.close()
                return
            except OSError:
                assert asyncio.get_running_loop().time() < deadline, f"{self.name} does not answer: {self.last_words()}"
                await asyncio.sleep(0.02)

    def ended(self) -> bool:
        """Whether it has ended, by whatever cause."""
        return self.process is None or self.process.exitcode is not None

    def died(self) -> bool:
        """Whether it was ended by SIGKILL: at its crash point, or by a test."""
        return self.process is not None and self.process.exitcode == -signal.SIGKILL

    async def has_died(self) -> bool:
        """The same, to be waited for; a death at a crash point is remembered."""
        if self.died() and self.armed and self.armed not in self.deaths:
            self.deaths.append(self.armed)
        return self.died()

    def kill(self) -> None:
        """End it as a failing machine would."""
        self.may_end = True
        if self.process is not None:
            self.process.kill()
            self.process.join()

    def freeze(self) -> None:
        """Stop it in the middle of whatever it does; its connections stay open."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)

    def tell_to_end(self) -> None:
        """Ask it to end in order."""
        self.may_end = True
        if not self.ended():
            os.kill(self.pid, signal.SIGTERM)

    async def end(self, within_seconds: float) -> None:
        """Ask it to end in order, and kill it when it does not."""
        self.tell_to_end()
        if self.process is not None:
            await asyncio.to_thread(self.process.join, within_seconds)
        self.kill()

    def last_words(self, lines: int = 12) -> str:
        """The end of what it wrote."""
        said = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(line[:400] for line in said[-lines:])
