"""``--memory``: what serve and worker hold in memory while very many transfers go through them."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.bench import figures
from tests.bench.arithmetic import deviation
from tests.bench.network import Network

#: Transfers that are relayed, those of them that are proposed alone, and those before which nothing is judged.
TRANSFERS, SINGLES_PERCENT, WARM_UP_PERCENT = 100_000, 10, 20
#: Transfers of a run; between two runs everything comes to rest.
RUN = 10_000
LOOK_SECONDS = 1.0
#: How far any sample may lie from the median of them all.
FLAT = 0.10
WATCHED = ("serve", "worker")

#: Transfers completed, and the resident megabytes of each watched process.
Sample = tuple[int, dict[str, float]]


def measured(network: Network, transfers: int) -> dict[str, Any]:
    """The samples, and how far they are from flat after the warm-up."""
    size = min(RUN, transfers)
    samples: list[Sample] = []
    network.issue(2 * transfers)
    with _sampling(network, samples):
        for _ in range(0, transfers, size):
            alone = size * SINGLES_PERCENT // 100
            figures.together(network, size - alone)
            figures.singles(network, alone)
    judged = [held for done, held in samples if done >= transfers * WARM_UP_PERCENT // 100]
    worst = {name: deviation([held[name] for held in judged]) for name in WATCHED}
    return {
        "memory.transfers": transfers,
        "memory.deviation": {name: round(value, 4) for name, value in worst.items()},
        "memory.flat": all(value <= FLAT for value in worst.values()),
        "memory.samples": [
            {"transfers": done, **{n: round(mb, 1) for n, mb in held.items()}} for done, held in samples
        ],
    }


@contextmanager
def _sampling(network: Network, samples: list[Sample]) -> Iterator[None]:
    """Take samples meanwhile, over a connection of its own."""
    over = threading.Event()

    def sample() -> None:
        with network.connected() as connection:
            while not over.wait(LOOK_SECONDS):
                [(done,)] = connection.execute("SELECT count(*) FROM transfer WHERE state = 'completed'").fetchall()
                held = {name: network.process(name).memory_info().rss / 1e6 for name in WATCHED}
                samples.append((int(done), held))

    sampler = threading.Thread(target=sample, daemon=True)
    sampler.start()
    try:
        yield
    finally:
        over.set()
        sampler.join()
