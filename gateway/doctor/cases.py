"""Checks of cases: each stands where its steps led, and nothing is held by a flag without one."""

from collections.abc import Iterable
from typing import Any

from gateway.doctor.report import Remark, finding, note
from gateway.doctor.scene import Scene

_CODES = {"discrepancy": 4008, "inconsistent": 4009}


def cases(found: Any, scene: Scene) -> Iterable[Remark]:
    """A case stands where its steps led, each is in the log, and units are in it until it is closed, not longer."""
    if found.versions != list(range(1, found.version + 1)):
        yield finding(f"its row has version {found.version}, its steps are {found.versions}", case=found.id)
    if found.led_to != found.state:
        yield finding(f"its row is {found.state}, its steps lead to {found.led_to}", case=found.id)
    for version in found.unlogged:
        yield finding(f"step {version} is not in the log as it stands", case=found.id)
    if found.state == "closed" and found.units:
        yield finding(f"it is closed, and {found.units} ranges of units are in it", case=found.id)
    if found.state != "closed" and found.source == "reconciliation" and not found.units:
        yield finding(f"it is {found.state}, and no units are in it", case=found.id)
    if found.state in ("open", "notified") and found.due < scene.now:
        yield note(f"nobody has responded by {found.due:%Y-%m-%d}", case=found.id)


def case_flags(found: Any, _scene: Scene) -> Iterable[Remark]:
    """Units are held back by a difference (4008) or an inconsistency (4009) exactly while an open case has them."""
    code = _CODES[found.kind]
    if found.unflagged is not None:
        units = f"{found.registry} {found.series} {found.unflagged}"
        yield finding(f"units of a case are not flagged, and would move ({code})", units=units)
    if found.loose is not None:
        units = f"{found.registry} {found.series} {found.loose}"
        yield finding(f"units are flagged, and no open case has them ({code})", units=units)
