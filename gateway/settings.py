"""Settings, read once at the start from ``GATEWAY_*`` variables (or ``--keep DIR``), and handed down as arguments.

A wrong value stops the start with one line that names the variable, and so does a variable that looks like a
misspelt setting. Other ``GATEWAY_*`` variables are left alone: Kubernetes puts ``GATEWAY_SERVICE_HOST`` and the
like into every process near a service named *gateway*. Every setting has a default except what cannot have one:
the database and the key.
"""

import difflib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from gateway import crash
from gateway.audit import own_keys
from gateway.domain.addresses import Reach, is_loopback
from gateway.domain.levies import Rounding
from gateway.errors import GatewayError, Kind
from gateway.signing.keys import SoftwareKey
from gateway.signing.log_keys import LogKey

PREFIX = "GATEWAY_"
#: How alike (0 to 1) an unknown variable and a setting are when the one is taken for the other, misspelt.
MISSPELT = 0.8

#: Whether ``GATEWAY_CRASH`` is listened to. No setting turns this on: only a program of the tests writes it, before it
#: runs a command, so that no environment makes a gateway in service kill itself.
TEST_MODE = False

_ADDRESS = r"^postgres(ql)?(\+psycopg)?://"


class Settings(BaseModel):
    """What a process needs to know of its surroundings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: The gateway's link code.
    code: str = Field(default="GWY01", pattern=r"^[A-Z]{3}[0-9]{2}$")
    #: Where ``gateway_app`` serves from, for example postgresql://gateway_app:…@host/gateway.
    database_url: str = Field(repr=False, pattern=_ADDRESS)
    #: Where ``gateway_owner`` migrates; needed by ``gateway migrate`` only.
    owner_database_url: str | None = Field(default=None, repr=False, pattern=_ADDRESS)
    #: What becomes of a part of a tonne when the share of proceeds and OMGE are deducted: no public text says.
    levy_rounding: Rounding = Rounding.UP
    #: How often a history is looked at that nothing was heard of, in minutes.
    history_minutes: float = Field(default=15, gt=0, le=1440)
    #: How often the books of a link are reconciled when nobody asks, in hours.
    reconcile_hours: float = Field(default=24, gt=0, le=8784)
    #: How long ahead the moment of a cut is announced, in minutes.
    announce_minutes: float = Field(default=15, ge=0, le=1440)
    #: How long those concerned have to respond to a case, in days; a difference that is open longer is an alarm.
    case_days: int = Field(default=14, ge=1, le=366)
    #: The gateway's private key (PEM, PKCS #8), readable by its owner alone. Made by ``gateway keys new``.
    key_file: Path | None = None
    #: The same as text, where files are not to be had.
    key: str | None = Field(default=None, repr=False)
    #: The key that access tokens are signed with (as ``key_file``, and another than that); ``serve`` needs it.
    token_key_file: Path | None = None
    #: The same as text.
    token_key: str | None = Field(default=None, repr=False)
    #: The keys of the log (as ``key_file``; made by ``gateway keys log new``); ``serve`` and ``worker`` need them.
    log_key_file: Path | None = None
    #: The same as text.
    log_key: str | None = Field(default=None, repr=False)
    #: What the log is called, for ever: an address without scheme, by C2SP. Default: from the code.
    log_origin: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9./-]{0,199}$")
    #: How many witnesses must have signed a checkpoint for it to count as witnessed.
    witness_quorum: int = Field(default=1, ge=1, le=16)
    #: Who gives the tokens, as they name it: an https address without query, or a URN. Default: from the code.
    issuer: str | None = Field(default=None, pattern=r"^(https://[^\s?#]*[^\s?#/]|urn:[a-z0-9-]+:\S+)$")
    #: The keys are a demo's, and so is all else: served on this machine only.
    demo: bool = False
    #: A front that speaks TLS stands before whatever is listened on: without one, that is this machine's alone.
    behind_tls: bool = False
    #: Where registries post messages.
    link_listen: str = "127.0.0.1:8640"
    #: Where operators call the API.
    operator_listen: str = "127.0.0.1:8641"
    #: Private networks in which linked registries may be (10.1.0.0/16,fd00::/8); all others are public, by HTTPS.
    private_peers: str = ""

    @property
    def announce_seconds(self) -> int:
        """How long ahead a cut is announced, in whole seconds."""
        return round(60 * self.announce_minutes)

    @property
    def reach(self) -> Reach:
        """Which addresses may be called."""
        return Reach.of(self.private_peers)

    @field_validator("private_peers")
    @classmethod
    def _private(cls, value: str) -> str:
        Reach.of(value)
        return value

    @property
    def log_name(self) -> str:
        """The origin of the log, which is the name of its keys."""
        return self.log_origin or own_keys.origin_of(self.code)

    @property
    def witness_name(self) -> str:
        """The name under which other logs are cosigned."""
        return own_keys.witness_of(self.log_name)

    @property
    def issuer_name(self) -> str:
        """Who gives the tokens."""
        return self.issuer or f"urn:article6-gateway:{self.code}"

    @field_validator("link_listen", "operator_listen")
    @classmethod
    def _is_safe(cls, value: str, given: ValidationInfo) -> str:
        """What others can reach is reached through TLS, and is no demo and nothing that is being debugged."""
        host, _, port = value.rpartition(":")
        if value.startswith("unix:"):
            usable = len(value) > len("unix:")
        else:
            usable = bool(host) and port.isdecimal() and int(port) < 65536
        if not usable:
            raise ValueError("an address is HOST:PORT or unix:PATH")
        if value.startswith("unix:") or is_loopback(host):
            return value
        if given.data.get("demo"):
            raise ValueError("a demo is served on a loopback address or a Unix socket only")
        if not given.data.get("behind_tls"):
            raise ValueError("plain HTTP is served on a loopback address or a Unix socket only; see GATEWAY_BEHIND_TLS")
        if sys.flags.dev_mode or "PYTHONASYNCIODEBUG" in os.environ:
            raise ValueError("what is being debugged is served on a loopback address or a Unix socket only")
        return value


class _Environment(Settings, BaseSettings):
    """The same, read from the variables."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")


def read() -> Settings:
    """Read the environment; raises MALFORMED with one line that names the wrong variable."""
    known = [name.upper() for name in Settings.model_fields]
    for given in (name.removeprefix(PREFIX) for name in os.environ if name.startswith(PREFIX)):
        meant = difflib.get_close_matches(given, known, 1, MISSPELT)
        if meant and given not in known:
            raise GatewayError(Kind.MALFORMED, f"{PREFIX}{given}: no such setting; {PREFIX}{meant[0]} is one")
    try:
        return _Environment()
    except ValidationError as error:
        first = error.errors()[0]
        name = PREFIX + "_".join(str(part) for part in first["loc"]).upper()
        wrong = "is not set" if first["type"] == "missing" else first["msg"].removeprefix("Value error, ")
        raise GatewayError(Kind.MALFORMED, f"{name}: {wrong}") from None


def signer(settings: Settings) -> SoftwareKey:
    """The gateway's key, from its file or from the environment; raises MALFORMED when there is none to sign with."""
    return _key(settings, settings.key, settings.key_file, "key", "messages")


def token_signer(settings: Settings) -> SoftwareKey:
    """The key that access tokens are signed with; raises MALFORMED when there is none, or it is the messages' key."""
    key = _key(settings, settings.token_key, settings.token_key_file, "token_key", "access tokens")
    if key.kid == signer(settings).kid:
        setting = "token_key" if settings.token_key is not None else "token_key_file"
        with named(setting):
            raise GatewayError(Kind.MALFORMED, "messages are signed with this key; tokens need another")
    return key


def log_signer(settings: Settings) -> LogKey:
    """The keys that checkpoints are signed with; raises MALFORMED when there are none."""
    if settings.log_key is not None:
        with named("log_key"):
            return _serious(LogKey.from_environment(settings.log_key), settings)
    with named("log_key_file"):
        if settings.log_key_file is not None:
            return _serious(LogKey.load(settings.log_key_file), settings)
        raise GatewayError(Kind.MALFORMED, "keys are needed to sign the log with; 'gateway keys log new' makes them")


def _key(settings: Settings, text: str | None, file: Path | None, setting: str, signed: str) -> SoftwareKey:
    """The key that is given as text or as a file, never one that was made because there was none."""
    if text is not None:
        with named(setting):
            return _serious(SoftwareKey.from_environment(text), settings)
    with named(f"{setting}_file"):
        if file is not None:
            return _serious(SoftwareKey.load(file), settings)
        detail = f"a key is needed to sign {signed} with; make one with 'gateway keys new'"
        raise GatewayError(Kind.MALFORMED, detail)


AnyKey = TypeVar("AnyKey", SoftwareKey, LogKey)


def _serious(key: AnyKey, settings: Settings) -> AnyKey:
    """The key; raises UNTRUSTED for a demo's outside of it."""
    if key.demo and not settings.demo:
        raise GatewayError(Kind.UNTRUSTED, "a demo's key signs for synthetic units only; 'gateway keys new' makes one")
    return key


def arm_crash() -> None:
    """Arm the crash point that ``GATEWAY_CRASH`` names; raises MALFORMED in a program that is not a test's."""
    if not TEST_MODE:
        raise GatewayError(Kind.MALFORMED, f"{PREFIX}CRASH: only a program of the tests can be told to crash")
    with named("crash"):
        crash.arm(os.environ[f"{PREFIX}CRASH"])


@contextmanager
def named(setting: str) -> Iterator[None]:
    """Name the setting of ``Settings`` behind an error that is raised meanwhile."""
    try:
        yield
    except GatewayError as error:
        detail = f"{PREFIX}{setting.upper()}: {error.detail}"
        raise GatewayError(error.kind, detail, code=error.code, context=error.context) from error
