"""Named places where this process can be made to die as by a power cut (SIGKILL of itself).

Every commit and every send passes a place declared here: ``Database.run`` and ``Sender.post`` need its name,
and a name that is not declared is an error before anything is committed or sent. A commit has a place before
and one after it, and so has a send. What passes is counted; nothing is armed until the operator says so, and a
restarted process has nothing armed.
"""

import os
import signal
from collections import Counter

#: Transactions. ``receive.<type>``: a message applied and its answer stored; after the commit it is not yet answered.
COMMITS = (
    "start.schema",
    "start.open",
    "start.history",
    "receive.transfer.request",
    "receive.transfer.offer",
    "receive.transfer.commit",
    "receive.transfer.cancel",
    "receive.transfer.settle",
    "receive.transfer.closed",
    "receive.action.record",
    "receive.action.notice",
    "receive.link.keys",
    "receive.status.query",
    "receive.time.query",
    "receive.history.query",
    "receive.history.deliver",
    "receive.positions.query",
    "receive.cut.query",
    "receive.reconciliation.result",
    "receive.refused",
    "outbox.turn",
    "duties.begin",
    "duties.decide",
    "duties.ask",
    "duties.heard",
    "admin.activate",
    "admin.transfers",
    "admin.withdraw",
    "admin.accounts",
    "admin.issue",
    "admin.issuances",
    "admin.use",
    "admin.cancel",
    "admin.actions",
    "admin.authorisations",
    "admin.policy",
    "admin.rotate",
    "admin.look",
    "admin.lies",
    "admin.books",
    "admin.backup",
    "admin.restore",
    "admin.synchronise",
    "history.place",
    "history.ask",
    "history.heard",
    "log.look",
    "log.follow",
    "log.entries",
    "log.checkpoint",
    "log.proof",
    "log.fed",
    "witness.checkpoint",
)
#: What leaves this process and is no message: questions for the gateway's keys and its log, and what its witness gets.
UNSIGNED_SENDS = ("send.keys", "send.log.checkpoint", "send.log.tile", "send.witness.checkpoint")
#: What leaves this process: messages by their type, and the rest.
SENDS = (
    "send.link.activate",
    "send.link.keys",
    "send.action.notice",
    "send.transfer.propose",
    "send.transfer.answer",
    "send.transfer.released",
    "send.transfer.voided",
    "send.transfer.credited",
    "send.status.query",
    "send.history.query",
    *UNSIGNED_SENDS,
)
POINTS = tuple(
    sorted(
        [f"{name}.{when}-commit" for name in COMMITS for when in ("before", "after")]
        + [f"{name}.{when}-send" for name in SENDS for when in ("before", "after")]
    )
)
_KNOWN = frozenset(POINTS)


class Undeclared(LookupError):
    """No place of this name is declared."""


class CrashPoints:
    """How often each place was passed, and where this process is to die."""

    def __init__(self) -> None:
        self.passed: Counter[str] = Counter()
        self._deadly: dict[str, int] = {}

    def arm(self, point: str, times: int) -> None:
        """Die at passing ``point`` for the ``times``-th time from now; raises ``Undeclared``."""
        _declared(point)
        self._deadly[point] = self.passed[point] + times

    def passing(self, point: str) -> None:
        """Count that ``point`` is passed, or die there; raises ``Undeclared``."""
        _declared(point)
        self.passed[point] += 1
        if self.passed[point] == self._deadly.get(point):
            os.kill(os.getpid(), signal.SIGKILL)


def _declared(point: str) -> None:
    if point not in _KNOWN:
        raise Undeclared(point)
