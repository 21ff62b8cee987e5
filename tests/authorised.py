"""Synthetic authorisations told by played registries, and units issued under them."""

from datetime import UTC, datetime
from typing import Any

from tests.integration.test_sandbox_play import Heard, stamp, uuid7
from tests.played import TERMS, Course, Played


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
    """Let Myanmar have units, which must be recorded."""
    heard = await course.issue(*blocks)
    assert [item["state"] for item in heard.items] == ["recorded"], heard.items


def under(units: dict[str, Any], authorisation: dict[str, Any] | None) -> dict[str, Any]:
    """The same units, issued under another authorisation, or none."""
    return units | {"attributes": units["attributes"] | {"authorisation": authorisation}}
