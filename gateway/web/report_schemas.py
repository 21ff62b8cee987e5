"""What reports are shown as: actions of both Parties' views, and corresponding adjustments. Whole tonnes, UTC."""

from datetime import datetime

from pydantic import BaseModel


class Action(BaseModel):
    """An action of ``party``, as that Party reports it; the two sides of a transfer share ``movement`` and ``cause``.

    ``cause`` is the transfer, or the registry's action. Types and subtypes are those of the agreed electronic format.
    """

    movement: int
    type: str
    subtype: str | None
    at: datetime
    party: str
    registry: str
    counterparty: str | None
    counterparty_registry: str | None
    quantity: int
    cause: str
    purpose: str | None
    entity: str | None
    year: int | None
    first_transferring_party: str
    vintage: int
    metric: str
    cooperative_approach: str
    authorisation: str | None
    authorisation_version: int | None
    entry_id: int


class ActionPage(BaseModel):
    """A page of actions, newest first; ``next`` continues after its last."""

    actions: list[Action]
    next: int | None


class Quotient(BaseModel):
    """An exact quotient: ``text`` has three decimal places at most, ``remainder`` of ``by`` is what is left over."""

    text: str
    whole: int
    remainder: int
    by: int


class Cause(BaseModel):
    """A transfer or an action behind a figure, and how many units of it count there."""

    cause: str
    effect: str
    quantity: int


class AdjustmentYear(BaseModel):
    """One year of an account: what it adds (``annual``), all until its end, and what is applied by the method.

    ``behind`` are the causes of the figures, where they were asked for.
    """

    year: int
    first_transferred: int
    used: int
    annual: int
    cumulative: int
    applied: Quotient
    behind: list[Cause] | None


class AdjustmentAccount(BaseModel):
    """A Party's account of one metric. ``outside`` units were first transferred or used for other years than these."""

    party: str
    metric: str
    method: str
    years: list[AdjustmentYear]
    outside: int


class Adjustments(BaseModel):
    """The accounts that are seen; ``more``: there are more causes behind the figures than are listed."""

    accounts: list[AdjustmentAccount]
    more: bool
