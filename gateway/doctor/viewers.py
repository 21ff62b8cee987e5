"""The check of who sees transfers: nobody who should is left out, and nobody else is let in."""

import json
from collections.abc import Iterable
from typing import Any

from gateway.doctor.report import Remark, finding


def viewers(found: Any, _scene: object) -> Iterable[Remark]:
    """A transfer is seen by its sides and, from their first transfer on, by the Party whose units they are."""
    seen, sides = set(found.viewers or ()), {side for side in found.sides or () if side}
    if not found.there:
        yield finding(f"it is to be seen by {_listed(seen)}, and is not there", transfer=found.id)
        return
    named, unnamed = _parties(found.proposed)
    first = _object(found.released).get("first_transfer") is True
    missing = sides | (unnamed if first else set()) | (named if found.offered else set())
    if missing - seen:
        yield finding(f"it is not seen by {_listed(missing - seen)}, whom it concerns", transfer=found.id)
    if found.proposed is not None and seen - sides - named - unnamed:
        what = f"it is seen by {_listed(seen - sides - named - unnamed)}, whom it does not concern"
        yield finding(what, transfer=found.id)


def _parties(proposed: str | None) -> tuple[set[str], set[str]]:
    """The first transferring Parties of the units that were proposed, of those with ITMO identifiers and without."""
    named, unnamed = set[str](), set[str]()
    blocks = _object(proposed).get("blocks")
    for block in blocks if isinstance(blocks, list) else ():
        if isinstance(block, dict) and isinstance(block.get("attributes"), dict):
            party = str(block["attributes"].get("first_transferring_party"))
            (named if "itmo" in block else unnamed).add(party)
    return named, unnamed


def _object(text: str | None) -> dict[str, Any]:
    """What a statement says; nothing where it is not of the protocol, which other checks say."""
    try:
        value = json.loads(text or "")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _listed(codes: set[str]) -> str:
    return ", ".join(sorted(codes))
