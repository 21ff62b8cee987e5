"""The port: what the gateway needs of a registry, whatever it speaks.

A connector fills it. A send ends in one of three ways, and a connector MUST NOT turn one into another:
``Accepted`` and ``Rejected`` are words of the registry, ``Unknown`` is the absence of one. Unknown is settled
by sending the same bytes again or by asking, never by assuming. ``send`` therefore raises nothing for what
happens on the network; an exception out of it is a fault of the program.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Protocol, TypeAlias

from gateway.domain.identifiers import RegistryCode


class RegistryKind(StrEnum):
    """What kind of registry a link leads to."""

    #: The Article 6.4 mechanism registry: A6.4ERs are issued there and leave it.
    MECHANISM = "mechanism"
    #: The international registry: a section of books for each Party that keeps or records its ITMOs there.
    INTERNATIONAL = "international"
    #: A participating Party's own registry.
    PARTY = "party"
    #: The additional registry services: units there become ITMOs on authorisation and first transfer.
    SERVICES = "services"


class Capability(StrEnum):
    """What a link may be used for. A voluntary link can have ``view`` alone."""

    VIEW = "view"
    TRANSFER_IN = "transfer_in"
    TRANSFER_OUT = "transfer_out"
    RECORD = "record"
    RECONCILE = "reconcile"


_ALL = frozenset(Capability)
#: What a registry of each kind can do: nothing returns to one that issues, and one alone takes records of actions.
USUAL: Mapping[RegistryKind, frozenset[Capability]] = MappingProxyType(
    {
        RegistryKind.MECHANISM: _ALL - {Capability.TRANSFER_IN, Capability.RECORD},
        RegistryKind.INTERNATIONAL: _ALL,
        RegistryKind.PARTY: _ALL - {Capability.RECORD},
        RegistryKind.SERVICES: _ALL - {Capability.TRANSFER_IN, Capability.RECORD},
    }
)


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    """A stored, signed message: ``body`` is exactly what was signed and is sent as it is, every time."""

    id: str
    type: str
    body: bytes
    content_type: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """The registry answered; ``body`` is its answer, byte for byte, not yet verified."""

    body: bytes


@dataclass(frozen=True, slots=True)
class Rejected:
    """The registry refused to take the message; nothing happened there because of this attempt."""

    detail: str
    retry_after_seconds: float | None


@dataclass(frozen=True, slots=True)
class Unknown:
    """No answer that says whether the message arrived: time-out, lost connection, unreadable reply."""

    reason: str


Outcome: TypeAlias = Accepted | Rejected | Unknown


@dataclass(frozen=True, slots=True)
class Encoding:
    """Another way to write a message for HTTP, for registries that speak to the gateway so.

    ``most`` is the largest document in bytes. ``decode`` gives the message it carries, to the byte, and that message's
    content type; ``encode`` writes one. Both raise MALFORMED or LIMIT (2001), and say nothing of who signed.
    """

    most: int
    decode: Callable[[bytes], tuple[bytes, str]]
    encode: Callable[[bytes], bytes]


class Registry(Protocol):
    """One linked registry."""

    @property
    def code(self) -> RegistryCode:
        """The registry's link code."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What this connector can do; the link's own configuration may allow less."""

    async def send(self, message: OutgoingMessage) -> Outcome:
        """Send the stored bytes once and say how it ended. Repeating is the caller's decision."""

    async def close(self) -> None:
        """Give back connections. Idempotent."""
