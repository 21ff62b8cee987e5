"""Settings, read once at the start from ``GATEWAY_*`` variables (or ``--keep DIR``), and handed down as arguments.

A wrong value stops the start with one line that names the variable. Every value has a default except what
cannot have one: the database and the key.
"""

from pathlib import Path

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from gateway.errors import GatewayError, Kind


class Settings(BaseSettings):
    """What a process needs to know of its surroundings."""

    model_config = SettingsConfigDict(env_prefix="GATEWAY_", frozen=True, extra="forbid")

    #: The gateway's link code.
    code: str = Field(default="GWY01", pattern=r"^[A-Z]{3}\d{2}$")
    #: Where ``gateway_app`` serves from, for example postgresql://gateway_app:…@host/gateway.
    database_url: str = Field(pattern=r"^postgres(ql)?(\+psycopg)?://")
    #: Where ``gateway_owner`` migrates; needed by ``gateway migrate`` only.
    owner_database_url: str | None = Field(default=None, pattern=r"^postgres(ql)?(\+psycopg)?://")
    #: The gateway's private key (PEM, PKCS #8), readable by its owner alone. Made by ``gateway keys new``.
    key_file: Path | None = None
    #: The same as text, where files are not to be had.
    key: str | None = Field(default=None, repr=False)
    #: Where registries post messages.
    link_listen: str = "127.0.0.1:8640"
    #: Where operators call the API: a loopback address or ``unix:PATH``, and no other.
    operator_listen: str = "127.0.0.1:8641"

    @field_validator("operator_listen")
    @classmethod
    def _only_here(cls, value: str) -> str:
        """Until people and machines can be told apart, nobody reaches the operator API from elsewhere."""
        host = value.rpartition(":")[0]
        if not value.startswith("unix:") and host not in ("127.0.0.1", "[::1]", "localhost"):
            raise ValueError("the operator API listens on a loopback address or a Unix socket only")
        return value

    @field_validator("link_listen", "operator_listen")
    @classmethod
    def _has_port(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        if not value.startswith("unix:") and not (host and port.isdecimal() and int(port) < 65536):
            raise ValueError("an address is HOST:PORT or unix:PATH")
        return value


def read() -> Settings:
    """Read the environment; raises MALFORMED with one line that names the wrong variable."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = "GATEWAY_" + "_".join(str(part) for part in first["loc"]).upper()
        raise GatewayError(Kind.MALFORMED, f"{name}: {first['msg']}") from None
