"""What a view selects: records, or positions, that match all members of ``select``."""

from collections.abc import Mapping
from typing import Any


def holds(select: Mapping[str, Any], record: Mapping[str, Any]) -> bool:
    """Say whether a record is selected."""
    ends = [record[name] for name in ("from", "to") if name in record]
    return (
        _of_units(select, record["block"])
        and ("account" not in select or any(end["account"] == select["account"] for end in ends))
        and ("party" not in select or any(end["party"] == select["party"] for end in ends))
        and select.get("type", record["type"]) == record["type"]
        # Times are written in one way, so that their order is that of their texts.
        and select.get("since", record["at"]) <= record["at"]
        and ("until" not in select or record["at"] < select["until"])
    )


def is_held(select: Mapping[str, Any], position: Mapping[str, Any]) -> bool:
    """Say whether a position is selected; what is said of records alone says nothing here."""
    return _of_units(select, position["block"]) and all(
        select.get(name, position[name]) == position[name] for name in ("account", "party")
    )


def _of_units(select: Mapping[str, Any], block: Mapping[str, Any]) -> bool:
    attributes = block["attributes"]
    under = attributes["authorisation"]
    units = select.get("units")
    return (
        select.get("activity", attributes["activity"]) == attributes["activity"]
        and select.get("vintage", attributes["vintage"]) == attributes["vintage"]
        and ("authorisation" not in select or (under is not None and under["id"] == select["authorisation"]))
        and (units is None or _meet(units, block))
    )


def _meet(units: Mapping[str, Any], block: Mapping[str, Any]) -> bool:
    apart = units["last"] < block["first"] or block["last"] < units["first"]
    return bool(units["origin"] == block["origin"]) and not apart
