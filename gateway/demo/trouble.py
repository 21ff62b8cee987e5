"""The trouble in the demo: the worst moment there is, on purpose.

The answer in which MEC01 says that it has debited is lost on its way, and then the worker is killed: the units have
left one registry, have not reached the other, and the gateway has not been told. Nobody does anything about it but
start the worker again.
"""

import time

import httpx

from gateway.demo.network import Network
from gateway.errors import GatewayError, Kind

#: How long the demo waits for the answer to be lost.
PATIENCE_SECONDS = 60.0
POLL_SECONDS = 0.02
#: How many answers are lost at most: the worker is killed at the first.
UNTIL_CLEARED = 1_000


def arm(http: httpx.Client, network: Network) -> None:
    """Let MEC01 lose its answers to commits, after it has carried them out, until ``strike`` ends that."""
    fault = {"fault": "lose-reply", "type": "transfer.commit", "times": UNTIL_CLEARED}
    http.post(f"{network.registries['MEC01']}/admin/faults", json=fault).raise_for_status()


def strike(http: httpx.Client, network: Network) -> int:
    """Wait until the answer is lost, kill the worker and start it again; the tonnes that were nowhere meanwhile."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    faults = f"{network.registries['MEC01']}/admin/faults"
    while not any(fault["fired"] for fault in http.get(faults).raise_for_status().json()["faults"]):
        network.check()
        if time.monotonic() > deadline:
            raise GatewayError(Kind.INVARIANT, f"no commit reached MEC01 in {PATIENCE_SECONDS:.0f} s")
        time.sleep(POLL_SECONDS)
    with network.killed("gateway worker"):
        http.delete(faults).raise_for_status()
        while not (nowhere := _nowhere(http, network)) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)  # MEC01 has begun to carry it out, and may still be at it
    return nowhere


def _nowhere(http: httpx.Client, network: Network) -> int:
    """Tonnes that have left MEC01 and not come to KOR01."""
    source, acquirer = (
        http.get(f"{network.registries[code]}/admin/books").raise_for_status().json() for code in ("MEC01", "KOR01")
    )
    return int(source["moved_out"] - acquirer["moved_in"])
