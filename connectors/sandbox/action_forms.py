"""The forms of actions inside one registry: use, cancellation, adaptation, first transfer, reversal."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from .forms import AccountNumber, Closed, PartyCode, Range, Serial


class Years(Closed):
    """Calendar years, both included."""

    first: int
    last: int


class Move(Closed):
    """Units to move inside this registry: ``blocks``, or ``quantity`` of any free units."""

    party: PartyCode
    account: AccountNumber = "100-1"
    to_account: AccountNumber
    quantity: Serial
    blocks: list[Range] = Field(default_factory=list)
    announce: bool = True

    def said(self) -> dict[str, Any]:
        """Give the members of the action that it has only where they are given."""
        return {}


class Use(Move):
    """Units to use; year and period are those of the NDC they are used towards."""

    year: int | None = None
    ndc_period: Years | None = None
    entity: str | None = None

    def said(self) -> dict[str, Any]:
        """Give what was given."""
        return self.model_dump(include={"year", "ndc_period", "entity"}, exclude_none=True)


class Cancel(Move):
    """Units to cancel."""

    purpose: Literal["OP", "OMGE", "other"] | None = None
    entity: str | None = None

    def said(self) -> dict[str, Any]:
        """Give what was given."""
        return self.model_dump(include={"purpose", "entity"}, exclude_none=True)


class Adaptation(Move):
    """Units to transfer to the Adaptation Fund."""

    to_account: AccountNumber = "410-1"
    voluntary: bool

    def said(self) -> dict[str, Any]:
        """Say whether it is voluntary."""
        return {"voluntary": self.voluntary}


class FirstTransfer(Closed):
    """Units to transfer first where they are: ``blocks``, or ``quantity`` of any free units."""

    party: PartyCode
    account: AccountNumber = "100-1"
    subtype: Literal["Authorization", "Issuance", "Use or cancellation"]
    quantity: Serial | None = None
    blocks: list[Range] = Field(default_factory=list)

    @model_validator(mode="after")
    def _of_one_quantity(self) -> Self:
        if (self.quantity is None) == (not self.blocks):
            raise ValueError("exactly one of quantity and blocks")
        return self


class Reversal(Closed):
    """A reversal of removals of a host, looked into or resolved."""

    party: PartyCode
    blocks: list[Range] = Field(min_length=1)
    resolved: bool
