"""Synthetic authorisations, told by a played registry: their terms as they are on the wire, and the notices."""

from datetime import UTC, datetime
from typing import Any

from tests.integration.test_sandbox_play import AUTHORISATION, Heard, stamp, uuid7
from tests.played import Played

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
