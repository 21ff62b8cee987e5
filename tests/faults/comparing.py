"""What leads to the points of a reconciliation at a registry: a cut is asked for, a result told, books put right."""

from datetime import UTC, datetime
from typing import Any

from tests.faults.historic import insist
from tests.faults.network import Network
from tests.handmade import play

CUT = {"of": "MEC01", "cut": "019cbb4b-4c00-7000-8000-000000000001"}
#: Two people agree that a unit that was never there is not there: no book changes.
CORRECTED: dict[str, Any] = {
    "units": {"origin": {"registry": "MEC01", "series": "NOBODY-SYNTHETIC"}, "first": 1, "last": 1},
    "state": None,
    "case": "MEC01-SYNTHETIC",
    "who": ["one", "another"],
    "why": "synthetic",
}


async def cut(network: Network) -> None:
    """Somebody with the gateway's key asks MEC01 for a cut, at once."""
    at = play.stamp(datetime.now(UTC))
    await insist(network, "MEC01", "cut.query", {**CUT, "at": at}, [])


async def tell(network: Network) -> None:
    """Somebody with the gateway's key tells MEC01 that a cut could not be compared."""
    result = {"status": 7, "findings": 0, "books": [], "evidence": []}
    await insist(network, "MEC01", "reconciliation.result", CUT | result, [])
