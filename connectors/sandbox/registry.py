"""What one registry process holds: who it is, whom it trusts, where its books are, how it answers."""

from dataclasses import dataclass, field

from .database import Database
from .faults import Faults
from .keys import OwnKey, Trust


@dataclass
class Registry:
    """One registry. ``at_once``: answers with the substance; otherwise receipts first, own message later."""

    code: str
    kind: str
    party: str
    gateway: str
    gateway_url: str
    at_once: bool
    trust: Trust
    database: Database
    faults: Faults = field(default_factory=Faults)

    @property
    def key(self) -> OwnKey:
        """The key this registry signs with."""
        return self.trust.own

    @property
    def names_units(self) -> bool:
        """Whether first transfers happen here: the mechanism registry gives the ITMO identifiers."""
        return self.kind == "mechanism"
