"""``--slow-peer``: what the other links still manage while one peer answers only after 20 seconds, each time.

The same transfers go to KOR01 with and without CHE01's slowness, in turn; CHE01 is given a few beside them, so that it
always has something to be slow about. The fault is the sandbox's ``delay-reply``.
"""

import time
from datetime import UTC, datetime
from statistics import median
from typing import Any

from tests.bench import figures, gate
from tests.bench.arithmetic import fall, spread
from tests.bench.network import KOREA, SOURCE, Member, Network

SLOW_SECONDS = 20
#: Transfers to the slow peer beside a run, each proposed alone: so few that doing them later speeds up nothing.
BESIDE_PERCENT, FEWEST_BESIDE = 1, 20
#: By how much the others may become slower.
MOST_FALL = 0.10
#: As many as a run can meet.
EVERY = 1_000_000

OTHER, SLOW = KOREA, Member("CHE01", "party", "CHE")
#: Without sections: what is recorded late would not be recorded while it is measured.
MEMBERS = (SOURCE, OTHER, SLOW)


def measured(network: Network, transfers: int, runs: int) -> dict[str, Any]:
    """Throughput of the other link with and without the slow peer, and by how much it falls."""
    kinds = {"batches": (transfers, False), "singles": (transfers // 5, True)}
    network.issue(4 * runs * 2 * transfers)
    found: dict[str, Any] = {}
    for name, (number, each_alone) in kinds.items():
        rates: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(runs):
            for slow in rates:
                rates[slow].append(_per_second(network, number, each_alone=each_alone, slow=slow))
        fallen = fall(median(rates[False]), median(rates[True]))
        found[f"slow_peer.{name}_fall"] = round(fallen, 4)
        found[f"slow_peer.{name}_per_second"] = {"without": spread(rates[False]), "with": spread(rates[True])}
    falls = [found[f"slow_peer.{name}_fall"] for name in kinds]
    return found | {"slow_peer.holds": max(falls) < MOST_FALL}


def _per_second(network: Network, number: int, *, each_alone: bool, slow: bool) -> float:
    """Transfers a second to the other peer; the slow one catches up afterwards, and the whole run must count."""
    began = datetime.now(UTC)
    beside = max(FEWEST_BESIDE, number * BESIDE_PERCENT // 100)
    if slow:
        fault = {"fault": "delay-reply", "seconds": SLOW_SECONDS, "times": EVERY}
        network.admin(SLOW.code, "POST", "faults", **fault)
    network.propose(figures.wishes(beside, [SLOW]), each_alone=True)
    network.propose(figures.wishes(number, [OTHER]), each_alone=each_alone)
    done = "SELECT count(*) FROM transfer WHERE created_at >= %s AND acquirer = %s AND state = 'completed'"
    network.until(lambda: network.value(done, began, OTHER.code) >= number, "the others are completed")
    ended = time.time()
    network.admin(SLOW.code, "DELETE", "faults")
    network.until(network.at_rest, "everybody is told")
    gate.require(network, number + beside, began, "a run beside a slow peer" if slow else "a run without a slow peer")
    first = "SELECT min(created_at) FROM transfer WHERE created_at >= %s AND acquirer = %s"
    return number / (ended - float(network.value(first, began, OTHER.code).timestamp()))
