"""What a reconciliation found: units that are not, to the gateway, what they are to the registry whose book it is."""

from dataclasses import dataclass

from gateway.domain.units import UnitRange


@dataclass(frozen=True, slots=True)
class Found:
    """Units of one book that differ, by a code of the check table (4007, 6301 to 6304, 6401, 6402).

    ``here`` and ``there`` are states (``domain.fingerprints.state_text``) in the gateway's book and in the registry's,
    None where the units are not in that book.
    """

    registry: str
    code: int
    units: UnitRange
    here: str | None
    there: str | None
    detail: str = ""
