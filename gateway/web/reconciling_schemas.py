"""What operators are shown of reconciliations. Roots are base64url of 32 bytes, times are UTC."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from gateway.reconciliation.commands import MOST_ANNOUNCED_SECONDS


class Wanted(BaseModel):
    """A reconciliation that is asked for: of one link, or of every link that the caller sees.

    The cut is announced ``announce_seconds`` ahead: as the gateway is set up where nothing is said, 0 by agreement with
    the registry. ``whole``: the gateway makes the fingerprints it keeps of the books anew from all their
    positions, says whether those kept were wrong, and then compares as usual.
    """

    model_config = ConfigDict(extra="forbid")

    link: str | None = Field(default=None, pattern="^[A-Z]{3}[0-9]{2}$", examples=["KOR01"])
    announce_seconds: int | None = Field(default=None, ge=0, le=MOST_ANNOUNCED_SECONDS)
    whole: bool = False


class Run(BaseModel):
    """A reconciliation: where it stands, and what it came to.

    ``status`` is that of the Kyoto log: 1 initiated, 2 validated, 3 totals differ, 98 only totals by account type do, 4
    blocks are compared, 5 the books agree, 6 they agree after correction, 7 they could not be compared, 99 differences
    are left to persons. ``asked_by`` is null for the schedule. ``size``:
    leaves of the log's tree that are in the gateway's own cut; ``told``: the last number the registry had given by its.
    """

    id: str
    link: str
    state: str
    status: int | None
    asked_by: str | None
    whole: bool
    cut: str | None
    cut_at: datetime | None
    taken_at: datetime | None
    size: int | None
    told: int | None
    round_trips: int
    bytes_sent: int
    bytes_received: int
    remarks: list[str]
    waiting: str | None
    begun_at: datetime | None
    ended_at: datetime | None
    next_at: datetime | None
    entry_id: int | None
    result: str | None


class RunPage(BaseModel):
    """Runs that have not ended, then the others, the last first; ``next`` is where a further page begins."""

    reconciliations: list[Run]
    next: datetime | None


class Total(BaseModel):
    """Whole tonnes of a Party in accounts of one type, of one vintage."""

    party: str
    account_type: int
    vintage: int
    quantity: int


class Book(BaseModel):
    """A book as it was compared. ``there`` is null for a registry that tells no root; ``codes`` 6201 or 6202 where the
    totals do not agree.
    """

    registry: str
    root: str
    there: str | None
    totals: list[Total]
    totals_there: list[Total]
    codes: list[int]


class Finding(BaseModel):
    """Units that differ: their states here and there, null where they are not in that book.

    ``explained_by`` the transfers that were moving them (none: they moved otherwise), or else their ``case``.
    """

    id: int
    registry: str
    code: int
    text: str
    origin_registry: str
    series: str
    first: int
    last: int
    here: str | None
    there: str | None
    detail: str
    explained_by: list[str] | None
    case: str | None


class Report(BaseModel):
    """A reconciliation down to serials: its books and findings that the caller sees, and how many these are."""

    run: Run
    books: list[Book]
    findings: list[Finding]
    found: int
    explained: int
    next: int | None
