"""Lets transfers happen and times them: (a) in full messages, (b) each proposed alone, (c) one on an idle network.

Every run begins and ends at rest and passes the gate before its figure is given. Times of (a) and (b) run from the
moment the gateway stored the first proposal until this process has seen the last transfer completed in the gateway's
database; times of (c) are between the two events in that database, because looking would be a part of them.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import cycle, islice
from typing import Any

from tests.bench import gate
from tests.bench.arithmetic import carried
from tests.bench.network import ACQUIRERS, Member, Network
from tests.stage import AUTHORISATION

#: How often it is looked whether a run is over, far from its end and near it: looking costs what is measured.
FAR_SECONDS, NEAR_SECONDS, NEAR = 0.25, 0.02, 0.9
#: So few transfers are counted for nothing.
FEW = 100
#: Transfers before the first run that counts: connections, plans and caches are not what is measured.
WARM_UP = 500
#: What the gateway says to a peer of its own accord: the messages that transfers share.
SAID = ("transfer.offer", "transfer.commit", "transfer.cancel", "transfer.settle", "transfer.closed", "action.record")


def wishes(number: int, acquirers: Sequence[Member] = ACQUIRERS) -> list[dict[str, Any]]:
    """So many transfers of a tonne, to these registries in turn."""
    to = cycle(a.address for a in acquirers)
    rest = {"party": "MMR", "quantity": 1, "authorisation": AUTHORISATION}
    return [{"to": address, **rest} for address in islice(to, number)]


@dataclass(frozen=True, slots=True)
class Run:
    """A run that counts."""

    transfers: int
    #: From the first proposal stored to the last transfer completed; until everybody was told.
    seconds: float
    told_seconds: float
    outgoing: dict[str, Any]

    @property
    def per_second(self) -> float:
        return self.transfers / self.seconds


def together(network: Network, number: int) -> Run:
    """(a) Transfers proposed in full messages."""
    return _run(network, number, each_alone=False)


def singles(network: Network, number: int) -> Run:
    """(b) Transfers each proposed in a message of its own, as many at once as the source's sender sends."""
    return _run(network, number, each_alone=True)


def _run(network: Network, number: int, *, each_alone: bool) -> Run:
    since = datetime.now(UTC)
    network.propose(wishes(number), each_alone=each_alone)
    ended = until_over(network, number, since)
    network.until(network.at_rest, "everybody is told")
    told = time.time()
    gate.require(network, number, since, "a run of singles" if each_alone else "a run of batches")
    began = network.value("SELECT min(created_at) FROM transfer WHERE created_at >= %s", since).timestamp()
    return Run(number, ended - began, told - began, _outgoing(network, since))


def until_over(network: Network, number: int, since: datetime) -> float:
    """Wait until so many transfers have come in since then and none is open; the time (of ``time.time``).

    How they have ended is for the gate to say.
    """

    def over() -> bool:
        return bool(network.value(_ARRIVED, since) >= number and not network.value(_OPEN))

    far = FAR_SECONDS if number > FEW else NEAR_SECONDS
    network.until(lambda: network.value(_COMPLETED, since) >= NEAR * number or over(), "most are completed", far)
    network.until(over, "all are over", NEAR_SECONDS)
    return time.time()


_ARRIVED = "SELECT count(*) FROM transfer WHERE created_at >= %s"
_COMPLETED = f"{_ARRIVED} AND state = 'completed'"
#: Cheaper than to count: the index of what is due has the few rows that are still open.
_OPEN = """
SELECT EXISTS (SELECT FROM transfer WHERE next_at IS NOT NULL
               AND state = ANY ('{proposed,delayed,checked,accepted,committing,released,ending}'))
"""


_OUTGOING = """
SELECT m.type, count(*), sum((SELECT count(*) FROM transfer_step s WHERE s.entry_id = m.entry_id)
                           + (SELECT count(*) FROM action_record r WHERE r.message_id = m.message_id))
FROM message m WHERE m.direction = 'out' AND m.at >= %s AND m.type = ANY(%s) GROUP BY m.type
"""


def _outgoing(network: Network, since: datetime) -> dict[str, Any]:
    """What the gateway said since then, by type: messages, and the transfers these carried."""
    found = network.rows(_OUTGOING, since, list(SAID))
    return carried({name: n for name, n, _ in found}, {name: int(n) for name, _, n in found})


_COURSE_MS = """
SELECT extract(epoch FROM e.at - t.created_at)::float * 1000 FROM transfer t
JOIN transfer_event e ON e.transfer_id = t.id AND e.state = 'completed' AND e.event = 'credited'
WHERE t.created_at >= %s ORDER BY t.created_at
"""


def alone(network: Network, number: int) -> list[float]:
    """(c) One transfer on an idle network, so often; milliseconds from its proposal stored to its completion."""
    began = datetime.now(UTC)
    for nr in range(number):
        since = datetime.now(UTC)
        network.propose(wishes(1, ACQUIRERS[nr % len(ACQUIRERS) :]))
        until_over(network, 1, since)
        network.until(network.at_rest, "everybody is told")
    gate.require(network, number, began, "a run of transfers alone")
    return [ms for (ms,) in network.rows(_COURSE_MS, began)]
