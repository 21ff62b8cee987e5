"""What operators send and get of links: closed shapes, as in ``schemas``."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from gateway.links import store
from gateway.links.lifecycle import State
from gateway.signing.trust import Revocation
from gateway.web.schemas import Moment


class Link(BaseModel):
    """A link: what it may be used for, its limits (null is none) and how many alarms it has raised.

    ``time_limit_hours`` is how long its transfers may take to reach a commit; ``window`` is when in a day (UTC) its
    proposals are taken up.
    """

    code: str
    kind: str
    state: str
    url: str
    registries: list[str]
    capabilities: list[str]
    time_limit_hours: int
    messages_per_second: int | None
    blocks_per_day: int | None
    window: str | None
    alarms: int


class NewLink(BaseModel):
    """Register a system: ``parties`` names each registry behind it with its Party, if it is one Party's."""

    model_config = ConfigDict(extra="forbid", strict=True)

    code: str = Field(max_length=5, examples=["KOR01"])
    kind: str = Field(max_length=20, examples=["party"])
    url: str = Field(max_length=500)
    parties: dict[str, str | None] = Field(max_length=500)
    keys: list[dict[str, Any]] = Field(max_length=10)
    time_limit_hours: int = 24

    def link(self) -> store.Link:
        """The link as it is to be registered."""
        registries = tuple(self.parties)
        return store.Link(self.code, self.kind, self.url, State.REQUESTED, self.time_limit_hours, registries)


class RegisteredLink(BaseModel):
    """A link as it was registered, with the ids of its keys."""

    link: str
    state: str
    keys: list[str]


class LinkChange(BaseModel):
    """What is to be different of a link; what is not named stays as it is."""

    model_config = ConfigDict(extra="forbid", strict=True)

    url: str | None = None
    time_limit_hours: int | None = None
    capabilities: list[str] | None = None
    messages_per_second: int | None = None
    blocks_per_day: int | None = None
    window: str | None = Field(None, max_length=11, examples=["08:00-18:00"])


class LinkKey(BaseModel):
    """A key that vouches for a system, or did; good for ``not_before <= sent_at < not_after``."""

    kid: str
    alg: str
    not_before: datetime
    not_after: datetime | None
    revoked: str | None
    since: datetime | None


class NewKeys(BaseModel):
    """Public keys (JWK) and their window."""

    model_config = ConfigDict(extra="forbid")

    keys: list[dict[str, Any]] = Field(max_length=10)
    not_before: Moment | None = None
    not_after: Moment | None = None


class KeyRevocation(BaseModel):
    """Why a key counts no longer, and since when."""

    model_config = ConfigDict(extra="forbid")

    reason: Revocation
    since: Moment | None = None


class Restoration(BaseModel):
    """The new public keys (JWK) of a registry that came back, and when its backup was made."""

    model_config = ConfigDict(extra="forbid")

    keys: list[dict[str, Any]] = Field(max_length=10)
    since: Moment
