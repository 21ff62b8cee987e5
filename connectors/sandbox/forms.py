"""What the operator's side is given, as forms: closed, typed, with the shapes of the wire contract."""

from collections.abc import Collection
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from . import shapes

#: Transfers, or issuances, one call may ask for: ten full messages.
MAX_TRANSFERS = MAX_ISSUANCES = 10_000


def shaped(holds: shapes.Check, what: str) -> AfterValidator:
    """Make the check of a form's member out of one of the wire contract's."""

    def check(value: str) -> str:
        if not holds(value):
            raise ValueError(f"not {what}")
        return value

    return AfterValidator(check)


def named(names: Collection[str], what: str) -> AfterValidator:
    """Make the check of a form's member that is one of a table's names."""
    return shaped(lambda value: value in names, what)


LinkCode = Annotated[str, shaped(shapes.is_link_code, "a registry code")]
TransferId = Annotated[str, shaped(shapes.is_transfer, "a transfer id")]
PartyCode = Annotated[str, shaped(shapes.is_party, "a Party code")]
AccountNumber = Annotated[str, shaped(shapes.is_account, "an account")]
Series = Annotated[str, shaped(shapes.is_series, "a series")]
Serial = Annotated[int, Field(ge=1, le=shapes.MAX_INTEGER)]


class Closed(BaseModel):
    """A form without members nobody named."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Origin(Closed):
    """The registry and series a unit was issued in."""

    registry: LinkCode
    series: Series


class Range(Closed):
    """Particular units."""

    origin: Origin
    first: Serial
    last: Serial


class Authorisation(Closed):
    """The authorisation units move under."""

    id: str = Field(min_length=1, max_length=500)
    version: Serial


class Address(Closed):
    """Where units go."""

    registry: LinkCode
    party: PartyCode
    account: AccountNumber


class Account(Closed):
    """An account to open, or to change."""

    party: PartyCode
    account: AccountNumber
    name: str = "synthetic"
    open: bool = True


class Issue(Closed):
    """An issuance; ``attributes`` replace single ones of the synthetic default.

    Either ``gross``, or ``net``: the smallest gross quantity that leaves it. Deductions that are not given are
    those usual at the kind of registry for the host; removals may put a share into the reversal risk buffer.
    """

    activity: str
    party: PartyCode
    gross: Serial | None = None
    net: Serial | None = None
    vintage: int
    series: Series
    omge_percent: int | None = Field(default=None, ge=0, le=100)
    sop_percent: int | None = Field(default=None, ge=0, le=100)
    buffer_percent: int | None = Field(default=None, ge=0, le=100)
    account: AccountNumber = "100-1"
    authorisation: Authorisation | None = None
    attributes: dict[str, Any] = Field(default_factory=dict)
    announce: bool = True

    @model_validator(mode="after")
    def _of_one_quantity(self) -> Self:
        if (self.gross is None) == (self.net is None):
            raise ValueError("exactly one of gross and net")
        return self


class Issuances(Closed):
    """Issuances to make together."""

    issuances: list[Issue] = Field(min_length=1, max_length=MAX_ISSUANCES)


class TransferWish(Closed):
    """A transfer to propose: ``blocks``, or ``quantity`` of any free units.

    ``unchecked`` lies: whatever is there is proposed, out of any account, authorised or not.
    """

    party: PartyCode
    account: AccountNumber = "100-1"
    to: Address
    quantity: Serial
    blocks: list[Range] = Field(default_factory=list)
    purpose: Literal["NDC", "IMP", "OP"] = "NDC"
    authorisation: Authorisation | None = None
    unchecked: bool = False


class Transfers(Closed):
    """Transfers to propose together, or each in a message of its own."""

    transfers: list[TransferWish] = Field(min_length=1, max_length=MAX_TRANSFERS)
    one_message_each: bool = False


class Correction(Closed):
    """Units to be put right by hand, as two people agreed.

    ``state`` is the text of the state that all of them are to be in; null takes them out of the books.
    """

    units: Range
    state: str | None = Field(max_length=8192)
    case: str = Field(min_length=1, max_length=64)
    who: list[Annotated[str, Field(min_length=1, max_length=200)]] = Field(min_length=2, max_length=2)
    why: str = Field(min_length=1, max_length=2000)
    evidence: str = Field(default="", max_length=8192)

    @model_validator(mode="after")
    def _by_two(self) -> Self:
        if len({name.strip().casefold() for name in self.who}) < 2:
            raise ValueError("two different people have to agree")
        return self


class Policy(Closed):
    """What the registry accepts, and releases."""

    decide: bool | None = None
    refuse_parties: list[PartyCode] | None = None
    refuse_release: list[PartyCode] | None = None
