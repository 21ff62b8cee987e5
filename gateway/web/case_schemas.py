"""What operators send and get of cases: closed shapes, as in ``schemas``."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from gateway.reconciliation.case_store import Source, State
from gateway.web.schemas import Moment

_SENT = ConfigDict(extra="forbid", strict=True)
#: A version as whoever acts knows it.
_VERSION = Field(ge=1, le=2**31 - 1)


class CaseUnits(BaseModel):
    """Units of a case with their states in the gateway's book and in the registry's; null: they are not in it.

    ``left_by`` is the entry of the log by which they left the case; null: they are in it. ``proposed`` says what would
    make them equal; null where no reconciliation found them.
    """

    id: int
    origin_registry: str
    series: str
    first: int
    last: int
    here: str | None
    there: str | None
    detail: str
    opened_by: int
    left_by: int | None
    proposed: str | None


class CaseUnitsPage(BaseModel):
    """A page of the units that are or were in a case, in the order they came into it; ``next`` continues after it."""

    findings: list[CaseUnits]
    next: int | None


class CaseMovement(BaseModel):
    """What an entry of the log did to units of a case in the gateway's book: *opened* or *closed* a position there.

    ``message`` is the signed message of that entry, from ``peer``; null where it was none.
    """

    entry_id: int
    at: datetime
    kind: str
    message: str | None
    peer: str | None
    what: str
    origin_registry: str
    series: str
    first: int
    last: int
    registry: str
    party: str
    account_type: int


class CaseRecord(BaseModel):
    """A record of the history of units of a case, as it was pulled from the registry whose book the case is about.

    ``here_at`` and ``here_entry`` are of the same transaction in the gateway's log, null where it knows none. ``code``
    is 6403 where times or order are not the same there and here, and ``detail`` says which; null where they are.
    """

    sha256: str
    registry: str
    transaction: str
    type: str
    at: datetime
    origin_registry: str
    series: str
    first: int
    last: int
    here_at: datetime | None
    here_entry: int | None
    code: int | None
    detail: str


class CaseTrail(BaseModel):
    """What moved units of a case in the gateway's book, and what its registry told of them, each newest first.

    ``since`` is where it begins: where nothing else was asked for, at the cut by which the book was last found equal
    before the case was opened; null: with the first thing that is known.
    """

    since: datetime | None
    moved: list[CaseMovement]
    told: list[CaseRecord]


class CaseEvent(BaseModel):
    """A step of a case: who took it to which state, what they said, and the entry of the log."""

    version: int
    event: str
    state: State
    at: datetime
    by: str
    detail: str
    entry_id: int


class Case(BaseModel):
    """A case as it stands. ``findings`` are the ranges of units in it, ``quantity`` their units in tonnes.

    ``check_id`` is a code of the check table for what a reconciliation found, else an id of the secretariat's checks.
    ``proposed`` says what would end it.
    """

    id: str
    source: Source
    check_id: str
    registry: str | None
    link: str | None
    parties: list[str]
    effect: bool
    flag: str | None
    reconciliation: str | None
    detail: str
    proposed: str
    state: State
    version: int
    opened_at: datetime
    notified_at: datetime | None
    due: datetime | None
    responded_at: datetime | None
    response: str | None
    corrected_by: str | None
    closed_at: datetime | None
    findings: int
    quantity: int


class CaseCourse(BaseModel):
    """A case and its steps, the last 500."""

    case: Case
    events: list[CaseEvent]


class CasePage(BaseModel):
    """A page of cases, newest first; ``next`` continues after its last."""

    cases: list[Case]
    next: str | None


class NewCase(BaseModel):
    """An inconsistency as it is identified. ``units`` are ``BlockRange`` of the link contract.

    ``effect``: whether it may affect the emissions balance, so that its units do not move until it is closed.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    source: Source = Field(strict=False)
    check_id: str = Field(min_length=1, max_length=8, examples=["II03"])
    party: str = Field(max_length=3, examples=["KOR"])
    units: list[dict[str, Any]] = Field(
        max_length=3_000,
        examples=[[{"origin": {"registry": "MEC01", "series": "SYNTHETIC-1"}, "first": 1, "last": 10}]],
    )
    effect: bool
    detail: str = Field(min_length=1, max_length=500)
    due: Moment | None = Field(default=None, strict=False)


class Notification(BaseModel):
    """That those concerned were notified, and by when they are to respond."""

    model_config = _SENT

    version: int = _VERSION
    note: str = Field(min_length=1, max_length=500)
    due: Moment | None = Field(default=None, strict=False)


class Response(BaseModel):
    """What those concerned respond."""

    model_config = _SENT

    version: int = _VERSION
    response: str = Field(min_length=1, max_length=4_000)


class Corrected(BaseModel):
    """What has corrected it: a new version of a submission, or a completed transfer; one of the two."""

    model_config = _SENT

    version: int = _VERSION
    submission: str | None = Field(default=None, min_length=1, max_length=64)
    transfer: str | None = Field(default=None, min_length=1, max_length=64)


class BookCorrection(BaseModel):
    """Which findings are to be corrected in the gateway's book (none: all that are open), why and on what evidence."""

    model_config = _SENT

    version: int = _VERSION
    findings: list[int] = Field(default=[], max_length=300)
    reason: str = Field(min_length=1, max_length=500)
    evidence: str = Field(min_length=1, max_length=2_000)


class Closure(BaseModel):
    """Why a case is to be closed."""

    model_config = _SENT

    version: int = _VERSION
    reason: str = Field(min_length=1, max_length=500)
