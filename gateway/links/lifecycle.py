"""How far a link has come and what it may be used for: states, capabilities and limits. Plain values, no I/O.

    requested ─test→ testing ─its own balance→ active ⇄ suspended
        └───────────────┴──────────────────────┴────close────→ closed

A link is tested, suspended, reactivated and closed by persons, and made active by nobody but the registry itself. What
persons may change of it is a field of ``CHANGEABLE``; a change names what each field was, so that two changes that
were asked for beside each other do not undo one another. Raises MALFORMED 2014 for a value that is none.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from enum import StrEnum
from typing import Any

from gateway.domain.registry import USUAL, Capability, RegistryKind
from gateway.errors import GatewayError, Kind

#: The longest time limit of a transfer: acceptance may take a ministry more than a week, but not without end.
MAX_HOURS = 240
#: The highest limits that can be set: what one process could receive at most, and a day of that.
MAX_PER_SECOND, MAX_PER_DAY = 10_000, 1_000_000_000
MAX_URL = 500


class State(StrEnum):
    """What is received over a link."""

    #: Registered with its keys. Nothing is received (1002).
    REQUESTED = "requested"
    #: The registry proves that it is heard and understood: questions for the time, and its opening balance (else 1002).
    TESTING = "testing"
    #: Everything that its capabilities allow.
    ACTIVE = "active"
    #: What was begun comes to its end, nothing begins (1003).
    SUSPENDED = "suspended"
    #: As suspended, for good.
    CLOSED = "closed"


class Step(StrEnum):
    """What persons do to a link."""

    TEST = "test"
    SUSPEND = "suspend"
    REACTIVATE = "reactivate"
    CLOSE = "close"


#: Step → the states it leads from, and the one it leads to.
STEPS: Mapping[Step, tuple[frozenset[State], State]] = {
    Step.TEST: (frozenset({State.REQUESTED}), State.TESTING),
    Step.SUSPEND: (frozenset({State.ACTIVE}), State.SUSPENDED),
    Step.REACTIVATE: (frozenset({State.SUSPENDED}), State.ACTIVE),
    Step.CLOSE: (frozenset(State) - {State.CLOSED}, State.CLOSED),
}


#: What the people of a link decide on by themselves: what closes it, and its own keys. What opens it or lifts a limit
#: is the gateway's to decide, because it is what the gateway is protected by.
THEIRS = frozenset({Step.SUSPEND.value, Step.CLOSE.value, "keys-add", "key-revoke", "restored"})


def decided_by(what: str, code: str) -> str | None:
    """The link whose people decide on this act of it, or nothing: the gateway's own administrators."""
    return code if what in THEIRS else None


@dataclass(frozen=True, slots=True)
class Window:
    """When in a day proposals are taken up, from minute ``opens`` until before minute ``closes`` (UTC)."""

    opens: int
    closes: int

    def opening(self, now: datetime) -> datetime | None:
        """When it opens next; nothing while it is open. ``now`` is UTC."""
        minute = now.hour * 60 + now.minute
        inside = self.opens <= minute < self.closes
        if self.opens > self.closes:  # over midnight
            inside = minute >= self.opens or minute < self.closes
        if inside:
            return None
        today = now.replace(hour=self.opens // 60, minute=self.opens % 60, second=0, microsecond=0)
        return today if today > now else today + timedelta(days=1)

    def __str__(self) -> str:
        ends = (time(minute // 60, minute % 60) for minute in (self.opens, self.closes))
        return "-".join(end.strftime("%H:%M") for end in ends)

    @classmethod
    def parse(cls, text: str) -> "Window":
        """Read ``HH:MM-HH:MM``."""
        try:
            opens, closes = (time.fromisoformat(end) for end in text.split("-"))
        except ValueError:
            raise _no("window", f"{text!r} is not HH:MM-HH:MM (UTC)") from None
        minutes = [end.hour * 60 + end.minute for end in (opens, closes)]
        if str(made := cls(*minutes)) != text or opens == closes:
            raise _no("window", f"{text!r} is not HH:MM-HH:MM (UTC), with two different ends")
        return made


def usual(kind: str) -> frozenset[Capability]:
    """What a registry of this kind can do, and a link with it may be used for when nothing else is said."""
    return USUAL[RegistryKind(kind)]


def sound(kind: str, field: str, value: Any) -> Any:
    """``value`` as it is kept, if a link with a registry of this kind may have it; raises MALFORMED with the field."""
    if field not in CHANGEABLE:
        raise _no(field, f"cannot be changed; there are {', '.join(CHANGEABLE)}")
    return CHANGEABLE[field](kind, value)


def _no(field: str, why: str) -> GatewayError:
    return GatewayError(Kind.MALFORMED, f"{field}: {why}", code=2014)


def _number(field: str, most: int, *, optional: bool = True) -> Callable[[str, Any], int | None]:
    def read(_kind: str, value: Any) -> int | None:
        if value is None and optional:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
            raise _no(field, f"{value!r} is not a whole number from 1 to {most}")
        return value

    return read


def _capabilities(kind: str, value: Any) -> list[str]:
    if not isinstance(value, Iterable) or isinstance(value, str):
        raise _no("capabilities", "is a list")
    named = {str(one) for one in value}
    if unknown := sorted(named - set(Capability)):
        raise _no("capabilities", f"there is none called {unknown[0]!r}; there are {', '.join(Capability)}")
    if beyond := sorted(named - usual(kind)):
        raise _no("capabilities", f"a {kind} registry cannot {beyond[0]}")
    return [one.value for one in Capability if one in named]


def _window(_kind: str, value: Any) -> str | None:
    return None if value is None else str(Window.parse(str(value)))


def _url(_kind: str, value: Any) -> str:
    text = str(value)
    if not text.startswith(("http://", "https://")) or not text.isprintable() or len(text) > MAX_URL:
        raise _no("url", f"is an http or https address of at most {MAX_URL} characters")
    return text


#: Field of a link that persons may change → what reads it for a kind of registry.
CHANGEABLE: Mapping[str, Callable[[str, Any], Any]] = {
    "url": _url,
    "time_limit_hours": _number("time_limit_hours", MAX_HOURS, optional=False),
    "capabilities": _capabilities,
    "messages_per_second": _number("messages_per_second", MAX_PER_SECOND),
    "blocks_per_day": _number("blocks_per_day", MAX_PER_DAY),
    "window": _window,
}
