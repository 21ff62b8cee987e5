"""What a story of the demo is made of: lots of units that are issued, and moves of them from registry to registry."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

#: Every Party has one account with every registry it has units in.
ACCOUNT = "100-1"


class Arrow(StrEnum):
    """The ways between systems, as the figure has them; the last four are refused."""

    MECHANISM_TO_PARTY = "mechanism → Party registry"
    MECHANISM_TO_SECTION = "mechanism → section"
    SECTION_TO_PARTY = "section → Party registry"
    PARTY_TO_SECTION = "Party registry → section"
    PARTY_TO_PARTY = "Party registry → Party registry"
    SERVICES_TO_SECTION = "services → section"
    BACK_INTO_MECHANISM = "back into the mechanism"
    SECTION_TO_SECTION = "section → section"
    UNAUTHORISED = "services, not authorised"
    CONTRIBUTION = "mechanism, not authorised"


@dataclass(frozen=True, slots=True)
class Authorisation:
    """One version of a Party's authorisation; without ``purposes`` its registry makes a wide-open synthetic one."""

    id: str
    version: int = 1
    purposes: str = ""
    definition: str = ""

    def form(self) -> dict[str, Any]:
        """Write it as registries do."""
        return {"id": self.id, "version": self.version}

    def terms(self, party: str, approach: str) -> dict[str, Any]:
        """Write all that it says, as the registry is told."""
        return {
            **self.form(),
            "party": party,
            "kinds": ["cooperative approach", "ITMOs"],
            "date": "2026-01-01",
            "cooperative_approach": approach,
            "purposes": self.purposes,
            "first_transfer_definition": self.definition,
            "period": {"first": "2026-01-01", "last": None},
            "initial_report": "2026-01-01",
            "ndc_period": {"first": 2021, "last": 2030},
        }


@dataclass(frozen=True, slots=True)
class Lot:
    """Units issued together, a series of their own: by the registry ``origin`` behind ``link``, to ``party``.

    Their number is ``gross``, or ``net`` of what is deducted; one of the two is None.
    """

    link: str
    origin: str
    party: str
    series: str
    vintage: int
    activity: str
    authorisation: Authorisation | None
    gross: int | None = None
    net: int | None = None
    omge_percent: int = 0
    sop_percent: int = 0
    attributes: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def form(self) -> dict[str, Any]:
        """What the operator of the issuing registry fills in."""
        quantity = {"net": self.net} if self.gross is None else {"gross": self.gross}
        return {
            "activity": self.activity,
            "party": self.party,
            "series": self.series,
            "vintage": self.vintage,
            "authorisation": self.authorisation.form() if self.authorisation else None,
            "omge_percent": self.omge_percent,
            "sop_percent": self.sop_percent,
            "attributes": dict(self.attributes),
            **quantity,
        }


@dataclass(frozen=True, slots=True)
class Move:
    """A transfer to propose: so many units of each of these lots, from a Party's books to another's.

    ``link`` is who proposes it, ``registry`` the books the units are in; ``code`` is that of the refusal, where the
    gateway refuses.
    """

    arrow: Arrow
    link: str
    registry: str
    party: str
    to: str
    to_party: str
    parts: tuple[tuple[Lot, int], ...]
    purpose: str = "NDC"
    code: int | None = None
    #: What the proposal names where the units themselves are under no authorisation.
    claimed: Authorisation | None = None

    @property
    def quantity(self) -> int:
        """Units moved, in tonnes."""
        return sum(quantity for _, quantity in self.parts)

    @property
    def fresh(self) -> tuple[Lot, ...]:
        """The lots that have to be issued where the move begins."""
        return tuple(lot for lot, _ in self.parts if lot.origin == self.registry)

    def terms(self) -> dict[str, Any]:
        """What the proposal says beside its units: by this a transfer is known again."""
        authorisation = self.parts[0][0].authorisation or self.claimed
        return {
            "transferring": {"registry": self.registry, "party": self.party, "account": ACCOUNT},
            "acquiring": {"registry": self.to, "party": self.to_party, "account": ACCOUNT},
            "purpose": self.purpose,
            "quantity": self.quantity,
            "authorisation": authorisation.form() if authorisation else None,
        }
