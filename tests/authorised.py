"""Synthetic authorisations told by played registries, and units issued under them with the deductions due."""

from datetime import UTC, datetime
from typing import Any

from tests.integration.test_sandbox_play import AUTHORISATION, Heard, stamp, uuid7
from tests.played import Course, Played, block, quantity

#: Terms under which the units of ``tests.played`` move: by Myanmar, for every purpose.
TERMS: dict[str, Any] = {
    **AUTHORISATION,
    "party": "MMR",
    "kinds": ["ITMOs"],
    "date": "2026-01-01",
    "cooperative_approach": "CA0001",
    "purposes": "NDC and OIMP",
    "first_transfer_definition": "Use or Cancellation",
    "period": {"first": None, "last": None},
    "initial_report": "2025-12-31",
}


def terms(**changes: Any) -> dict[str, Any]:
    """The terms with other members; those that are None are left out."""
    return {name: value for name, value in (TERMS | changes).items() if value is not None}


def action(registry: str, kind: str, **members: Any) -> dict[str, Any]:
    """The item of a notice of ``registry``'s, under a new action id."""
    at = stamp(datetime.now(UTC))
    return {"kind": "action", "action": uuid7(), "type": kind, "at": at, "registry": registry, **members}


async def told(by: Played, *versions: dict[str, Any]) -> Heard:
    """Let a registry tell versions of authorisations; each is recorded."""
    heard = await by.say("action.notice", [action(by.code, "authorisation", authorisation=one) for one in versions])
    assert [item["state"] for item in heard.items] == ["recorded"] * len(versions), heard.items
    return heard


async def issued(course: Course, *blocks: dict[str, Any]) -> None:
    """Announce the issuance of ``blocks`` to Myanmar, with what is cancelled for OMGE in a series of its own.

    Myanmar is exempt from the share of proceeds.
    """
    omge = block(1, quantity(list(blocks)) // 40 + 1, f"OMGE-{uuid7()}")
    places = [*(("100-1", one) for one in blocks), ("320-1", omge)]
    positions = [{"party": "MMR", "account": account, "block": units} for account, units in places]
    heard = await course.notice("issuance", positions=positions, synthetic=True)
    assert [item["state"] for item in heard.items] == ["recorded"], heard.items


def under(units: dict[str, Any], authorisation: dict[str, Any] | None) -> dict[str, Any]:
    """The same units, issued under another authorisation, or none."""
    return units | {"attributes": units["attributes"] | {"authorisation": authorisation}}
