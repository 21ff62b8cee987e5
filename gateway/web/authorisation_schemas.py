"""What operators send and get of authorisations: closed shapes, as in ``schemas``."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class AuthorisationVersion(BaseModel):
    """A version with its terms as they were told: the members of ``AuthorisationTerms`` in the link contract.

    ``told_by`` is a link, or *operator of* a registry, a link or the gateway.
    """

    version: int
    terms: dict[str, Any] = Field(examples=[{"id": "MMR-SYNTHETIC-2026-1", "version": 1, "party": "MMR"}])
    told_by: str
    entry_id: int


class AuthorisationRevocation(BaseModel):
    """The end of an authorisation: no unit moves under it for the first time any more."""

    reason: str
    told_by: str
    at: datetime
    entry_id: int


class Authorisation(BaseModel):
    """An authorisation: all its versions, and what has moved, or is about to, under any of them.

    ``quantity`` is that of the version in force, in tonnes, and ``left`` what it leaves; null is no limit.
    """

    party: str
    id: str
    versions: list[AuthorisationVersion]
    revoked: AuthorisationRevocation | None
    quantity: int | None
    drawn: int
    left: int | None


class AuthorisationPage(BaseModel):
    """A page of authorisations, in order of Party and id; ``next`` continues after its last."""

    authorisations: list[Authorisation]
    next: str | None


class NewVersion(BaseModel):
    """A version to be told: its terms are those of ``AuthorisationTerms`` in the link contract, and read as such."""

    model_config = ConfigDict(extra="forbid", strict=True)

    terms: dict[str, Any] = Field(examples=[{"id": "MMR-SYNTHETIC-2026-1", "version": 1, "party": "MMR"}])


class Revocation(BaseModel):
    """Which version whoever revokes it knows, and why."""

    model_config = ConfigDict(extra="forbid", strict=True)

    version: int = Field(ge=1, le=2**53 - 1)
    reason: str = Field(min_length=1, max_length=256)


class Statement(BaseModel):
    """What a host Party stated of an Article 6.4 activity: that it authorises all, a part, none, or perhaps later."""

    id: int
    party: str
    activity: str
    says: str
    transitioned_from: str | None
    at: datetime
    told_by: str
    entry_id: int


class StatementPage(BaseModel):
    """A page of statements, newest first; ``next`` continues after its last."""

    statements: list[Statement]
    next: int | None
