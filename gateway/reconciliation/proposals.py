"""What would make a difference right, in words, for the units it is about. Pure.

Who would have to do what follows from the code and from the states in both books, so that two administrators begin with
the same sentence. It decides nothing, and is no longer than ``MOST``: what a registry wrote in a state is named, if it
is a state, and never repeated as it is.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from gateway.domain.units import UnitRange
from gateway.errors import GatewayError
from gateway.signing import strict_json

#: The longest proposal: a sentence of two lines.
MOST = 500
#: Attributes that a proposal names; of more it says how many there are.
_MOST_NAMED = 5
#: By code; ``here`` and ``there`` are the units' places in the book and at the registry.
_PROPOSED: Mapping[str, str] = MappingProxyType(
    {
        "4007": "{registry} takes {units} out of {there}; or who has them takes them out and two persons correct the "
        "gateway's book to {there}",
        "6301": "{registry} tells by which action {units} came to {there}; or takes them out of its books",
        "6302": "{registry} restores {units} to {here} (as the gateway's book), or tells the action that took them out",
        "6303": "{registry} changes {what} of {units} back, as the gateway's book has it; or two persons correct the "
        "book by its signed state",
        "6304": "{registry} moves {units} from {there} back to {here} (as the gateway's book), or tells the action "
        "that moved them",
        "6401": "{registry} ends or tells the transfer that still locks {units} there",
        "6402": "{registry} asks for what it has not heard of the transfer of {units}, and is told again",
    }
)


def proposed(check_id: str, registry: str, units: UnitRange, here: str | None, there: str | None) -> str | None:
    """What would make these units of a registry's book equal; None for what no reconciliation found."""
    form = _PROPOSED.get(check_id)
    if form is None:
        return None
    ours, theirs = _read(here), _read(there)
    named = f"{units.origin.registry}/{units.origin.series}/{units.first}-{units.last}"
    said = {"registry": registry, "units": named, "here": _place(ours), "there": _place(theirs)}
    return form.format(**said, what=_attributes(ours, theirs))[:MOST]


def _read(state: str | None) -> Mapping[str, Any]:
    try:
        said = strict_json.loads(state) if state is not None else None
    except GatewayError:
        return {}
    return said if isinstance(said, dict) else {}


def _place(state: Mapping[str, Any]) -> str:
    """Party and type of account; of what a registry wrote nothing but a Party's code and a number is repeated."""
    party, kind = state.get("party"), state.get("account_type")
    if isinstance(party, str) and len(party) == len("KOR") and party.isalpha() and type(kind) is int:
        return f"{party} {kind:03d}"[: len("KOR 100")]
    return "an account that cannot be read"


def _attributes(here: Mapping[str, Any], there: Mapping[str, Any]) -> str:
    """Names of the attributes that the gateway's book has otherwise."""
    ours, theirs = here.get("attributes"), there.get("attributes")
    if not isinstance(ours, dict) or not isinstance(theirs, dict):
        return "the attributes"
    other = sorted(name for name, value in ours.items() if theirs.get(name) != value)
    if here.get("itmo") != there.get("itmo"):
        other.append("itmo")
    if not other:
        return "the attributes"
    more = f" and {len(other) - _MOST_NAMED} more" if len(other) > _MOST_NAMED else ""
    return ", ".join(other[:_MOST_NAMED]) + more
