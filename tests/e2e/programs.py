"""Runs the command ``gateway`` as people do: a process, judged by what it prints, how it ends and what it leaves."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import psutil

GATEWAY = [sys.executable, "-m", "gateway"]
PATIENCE_SECONDS = 150.0

T = TypeVar("T")


def environment(**settings: str | Path) -> dict[str, str]:
    """Our own environment with these variables, and no ``GATEWAY_*`` but them."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    return {**others, **{name: str(value) for name, value in settings.items()}}


def run(*arguments: str | Path, **settings: str | Path) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end."""
    command = [*GATEWAY, *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, env=environment(**settings), check=False
    )


def start(*arguments: str | Path, **settings: str | Path) -> "subprocess.Popen[str]":
    """Start a command."""
    return subprocess.Popen(
        [*GATEWAY, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(**settings),
    )


def until(found: Callable[[], T]) -> T:
    """Look until ``found`` gives something true, and give that."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (there := found()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    return there


def family(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    """The process and all that descend from it, as far as they live."""
    try:
        parent = psutil.Process(process.pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def grown(process: "subprocess.Popen[str]", *words: str) -> list[psutil.Process]:
    """The process and its descendants, once each of ``words`` is among the arguments of one of them."""

    def whole() -> list[psutil.Process]:
        assert process.poll() is None, process.communicate()
        found = family(process)
        said = [argument for member in found for argument in arguments_of(member)]
        return found if set(words) <= set(said) else []

    return until(whole)


def survivors(processes: Iterable[psutil.Process], *, within_seconds: float = 10.0) -> list[psutil.Process]:
    """Those that still run after ``within_seconds``; comes back as soon as none does."""
    deadline = time.monotonic() + within_seconds
    while (left := [p for p in processes if _lives(p)]) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left


def _lives(process: psutil.Process) -> bool:
    try:
        # A zombie has ended: whoever inherited it has not been to collect it yet.
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def arguments_of(process: psutil.Process) -> list[str]:
    """What a process was started with; nothing while it becomes another program, or has ended."""
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:  # psutil's ZombieProcess is one
        return []


def only_line(text: str) -> str:
    """The one line of ``text``, which has no other."""
    [line] = text.splitlines()
    return line


def told(settings: Mapping[str, str], *arguments: str) -> Any:
    """What a command says in JSON."""
    done = run(*arguments, **settings)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def refused(settings: Mapping[str, str], *arguments: str) -> str:
    """The one line with which a command is refused."""
    done = run(*arguments, **settings)
    assert done.returncode == 2, done
    return only_line(done.stderr)
