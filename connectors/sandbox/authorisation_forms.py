"""The forms of what a host Party decides: its authorisations, their end, its statements on activities.

Only types are held here, not lists of values and not which members belong together: what is wrong must be sendable.
"""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from .action_forms import Years
from .forms import Closed, PartyCode, Range, Serial


class Days(Closed):
    """Calendar days, both included; None is open."""

    first: str | None
    last: str | None


class Terms(Closed):
    """What an authorisation says, member by member as the wire contract has it (``AuthorisationTerms``)."""

    id: str = Field(min_length=1, max_length=256)
    version: Serial
    party: PartyCode
    kinds: list[str] | None = None
    date: str | None = None
    cooperative_approach: str | None = None
    purposes: str | None = None
    oimp: str | None = None
    first_transfer_definition: str | None = None
    period: Days | None = None
    use_period: Days | None = None
    vintages: Years | None = None
    quantity: int | None = None
    metric: str | None = None
    gwp: str | None = None
    non_ghg_metric: str | None = None
    sectors: list[str] | None = None
    activity_types: list[str] | None = None
    parties: list[str] | None = None
    entities: list[str] | None = None
    affects_first_transferred: bool | None = None
    terms: str | None = None
    documentation: str | None = None
    initial_report: str | None = None
    ndc_period: Years | None = None


class Authorise(Terms):
    """A version to authorise by; ``units`` are held here and get it after their issuance.

    ``force`` only says it, whatever is known and held here: another content under the same version, units of others.
    """

    units: list[Range] = Field(default_factory=list)
    announce: bool = True
    force: bool = False

    @model_validator(mode="after")
    def _of_something(self) -> Self:
        if self.force and not self.announce:
            raise ValueError("what is only said is announced")
        return self

    def stated(self) -> dict[str, Any]:
        """Give the terms as they were given."""
        return self.model_dump(include=set(Terms.model_fields), exclude_unset=True)


class Revoke(Closed):
    """The end of an authorisation."""

    party: PartyCode
    id: str = Field(min_length=1, max_length=256)
    version: Serial
    reason: str = Field(min_length=1, max_length=256)


class Statement(Closed):
    """What a host states of an activity (3/CMA.3 annex paragraph 42; its text was not available)."""

    party: PartyCode
    activity: str = Field(min_length=1, max_length=256)
    says: Literal["all", "part", "none", "later"]
    transitioned_from: str | None = None
