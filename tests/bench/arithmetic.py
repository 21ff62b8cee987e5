"""What is made of what was timed: medians with their spread, percentiles, ratios. Plain functions, no clock."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any


def spread(values: Sequence[float], digits: int = 4) -> dict[str, Any]:
    """The median of the runs, the lowest and the highest, and each."""
    return {
        "median": round(statistics.median(values), digits),
        "lowest": round(min(values), digits),
        "highest": round(max(values), digits),
        "runs": [round(value, digits) for value in values],
    }


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least ``percent`` of the values do not exceed (nearest rank)."""
    if not values or not 0 < percent <= 100:
        raise ValueError("a percentile is of some values, above 0 and up to 100")
    return sorted(values)[math.ceil(percent / 100 * len(values)) - 1]


def carried(messages: Mapping[str, int], transfers: Mapping[str, int]) -> dict[str, Any]:
    """By type, messages and the transfers they carried; over all of them, how many one message carried."""
    total, held = sum(messages.values()), sum(transfers.values())
    return {
        "transfers_per_message": round(held / total, 2) if total else 0.0,
        "messages": total,
        "carried": held,
        "types": {name: {"messages": messages[name], "carried": transfers.get(name, 0)} for name in sorted(messages)},
    }


def bare_ms(round_trips: int, commits: int, round_trip_ms: float, commit_ms: float) -> float:
    """What one transfer would take if it were its round trips and its commits, one after another, and nothing else."""
    return round_trips * round_trip_ms + commits * commit_ms


def deviation(values: Sequence[float]) -> float:
    """How far, as a share of their median, the farthest of the values lies from it."""
    middle = statistics.median(values)
    return max(abs(value - middle) for value in values) / middle


def fall(before: float, after: float) -> float:
    """By what share ``after`` is less than ``before``; nothing where it is more."""
    return max(0.0, 1 - after / before)
