"""What is deducted when A6.4ERs are issued: the share of proceeds for adaptation, and overall mitigation (OMGE).

5 % to the Adaptation Fund and at least 2 % cancelled (3/CMA.3 annex paras 67, 69 and 70); activities in least developed
countries and small island developing States are exempt from the former (decision on Article 6.4 of CMA 6). The texts
were not available to us, and how a part of a tonne is rounded is public nowhere: it is the gateway's setting.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from gateway.domain.actions import OpeningPosition
from gateway.domain.check_codes import Finding
from gateway.domain.identifiers import AccountType
from gateway.domain.nomenclature import UnitType
from gateway.domain.parties import EXEMPT_FROM_PROCEEDS

ADAPTATION_PERCENT = 5
OMGE_PERCENT = 2


class Rounding(StrEnum):
    """What becomes of a part of a tonne."""

    UP = "up"
    DOWN = "down"
    NEAREST = "nearest"


@dataclass(frozen=True, slots=True)
class Levies:
    """Tonnes deducted from an issuance, and what is left of it."""

    adaptation: int
    omge: int
    net: int


def due(gross: int, host: str, rounding: Rounding) -> Levies:
    """What is to be deducted from ``gross`` tonnes of a host Party's activity."""
    adaptation = 0 if host in EXEMPT_FROM_PROCEEDS else share(gross, ADAPTATION_PERCENT, rounding)
    omge = share(gross, OMGE_PERCENT, rounding)
    return Levies(adaptation, omge, gross - adaptation - omge)


def share(gross: int, percent: int, rounding: Rounding) -> int:
    """So many percent of ``gross``, in whole tonnes; a half is rounded up to the nearest."""
    whole, part = divmod(gross * percent, 100)
    if rounding is Rounding.UP:
        return whole + (part > 0)
    return whole + (part >= 50) if rounding is Rounding.NEAREST else whole


def issuance_findings(positions: Iterable[OpeningPosition], rounding: Rounding) -> list[Finding]:
    """Whether the deductions of an issuance of A6.4ERs are those due, for each activity and host in it.

    5121: nothing for adaptation, and the host is not exempt. 5120: another deduction than is due, a share of proceeds
    from an exempt host among them, so that what can be relayed is not the net quantity.
    """
    of: dict[tuple[str, str], list[OpeningPosition]] = {}
    for position in positions:
        given = position.block.attributes
        if given.unit_type is UnitType.A64ER:
            of.setdefault((given.first_transferring_party, given.activity), []).append(position)
    return [finding for (host, _), issued in of.items() for finding in _of_activity(issued, host, rounding)]


def _of_activity(issued: Sequence[OpeningPosition], host: str, rounding: Rounding) -> list[Finding]:
    units = tuple(position.block.range for position in issued)
    gross = _in(issued, *AccountType)
    owed = due(gross, host, rounding)
    taken = _in(issued, AccountType.SHARE_OF_PROCEEDS)
    if owed.adaptation and not taken:
        why = f"positions: no share of proceeds, and {host} is neither an LDC nor a SIDS"
        return [Finding(5121, units, why)]
    found = []
    if taken != owed.adaptation:
        why = f"{host} is exempt" if not owed.adaptation else f"{owed.adaptation} are due"
        found.append(Finding(5120, units, f"positions: {taken} of {gross} units as share of proceeds, and {why}"))
    cancelled = _in(issued, AccountType.CANCELLATION_OMGE)
    if cancelled < owed.omge:
        why = f"positions: {cancelled} of {gross} cancelled for OMGE, {owed.omge} are due"
        found.append(Finding(5120, units, why))
    return found


def _in(positions: Iterable[OpeningPosition], *types: AccountType) -> int:
    return sum(p.block.quantity for p in positions if p.account.type in types)
