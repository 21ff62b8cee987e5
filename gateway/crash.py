"""Named points at which a test may kill this process: before and after every commit, before and after every send.

What a crash can do to this program is decided between two of these points, so a test that dies at each of them
once has died everywhere. ``Database`` passes the points of a commit, the relay those of a send; each MUST give a
name that is declared here, and a test compares the commits PostgreSQL saw with the points passed. Nothing is armed
unless a program of the tests says so (``settings.TEST_MODE``); then the process kills itself with SIGKILL, at the
n-th passing, as hard as the machine's own failure would.
"""

import os
import signal
from collections import Counter
from itertools import product

from gateway.errors import GatewayError, Kind, invariant


def _named(prefix: str, names: str) -> tuple[str, ...]:
    return tuple(f"{prefix}.{name}" for name in names.split())


#: What ``gateway serve`` commits: messages applied (by type, ``other`` for what is refused before it is believed), what
#: operators call, and the workers' bell.
SERVING = (
    *_named("receive", "link.activate link.keys action.notice transfer.propose transfer.answer transfer.released"),
    *_named("receive", "transfer.voided transfer.credited status.query time.query history.query other"),
    *("start", "request", "end", "ring", "view", "call", "absorb.positions.answer", "reconcile.request"),
    *("token-key", "token", "access"),
    *("log-keys", "witness"),
)
#: What ``gateway worker`` commits: decisions, leases and what came back from a send.
WORKING = (
    *_named("decide", "end_overdue reopen delay check commit record"),
    *_named("absorb", "transfer.answer transfer.released transfer.voided transfer.credited receipt refusal"),
    *_named("absorb", "status.answer history.page other"),
    *_named("pull", "lease ask wait take-over"),
    *_named("reconcile", "lease begin ask mark cut take wait end take-over"),
    "absorb.cut.answer",
    *("put-off", "lease", "renew", "ask", "wait", "take-over", "sleep", "wake", "leave"),
    *("integrate", "publish", "cosign"),
)
#: What single commands commit, and ``gateway serve`` when it is asked over HTTP.
COMMANDS = (
    *("links.register", "halt", "migrate", "case"),
    *_named("approvals", "request approve decline"),
    *_named("keys", "announce retire revoke"),
    *_named("log", "add-key retire-key add-witness remove-witness watch"),
)
#: What ``gateway worker`` sends, by the type of the message.
SENDING = _named("send", "transfer.request transfer.offer transfer.commit transfer.cancel transfer.settle") + _named(
    "send", "transfer.closed status.query action.record action.notice link.keys history.query history.deliver"
)
SENDING += ("send.cut.query", "send.reconciliation.result")
#: What ``gateway serve`` sends, for who looks at a registry, and ``gateway worker``, to compare its books.
LOOKING = ("send.positions.query",)
COMMITS = (*SERVING, *WORKING, *COMMANDS)
#: Every point there is.
POINTS = tuple(
    f"{name}.{moment}-{act}"
    for names, act in ((COMMITS, "commit"), ((*SENDING, *LOOKING), "send"))
    for name, moment in product(names, ("before", "after"))
)

_KNOWN = frozenset(POINTS)
_passed: Counter[str] = Counter()
_armed: dict[str, int] = {}


def arm(wanted: str) -> None:
    """Die at ``point[:n]``, the n-th time it is passed from now on; raises MALFORMED for a point that is none."""
    point, _, times = wanted.partition(":")
    if point not in _KNOWN or (times and (not times.isdecimal() or int(times) < 1)):
        raise GatewayError(Kind.MALFORMED, f"{wanted!r} is not a point to crash at; there are {', '.join(POINTS)}")
    _armed[point] = _passed[point] + int(times or 1)


def passing(point: str) -> None:
    """Pass a point; the process ends here if a test wants it to."""
    invariant(point in _KNOWN, f"{point} is not a declared crash point")
    _passed[point] += 1
    if _passed[point] == _armed.get(point):
        os.kill(os.getpid(), signal.SIGKILL)


def passed() -> Counter[str]:
    """How often each point was passed."""
    return Counter(_passed)
