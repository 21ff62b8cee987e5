"""How the gateway reaches registries: one connector a kind, chosen here. A new kind is one file and one line.

A connector translates and nothing else: it fills the port ``gateway.domain.registry.Registry``, and turns every
failure of the network into one of the port's three outcomes. ``connectors.sandbox`` is no connector but the
registries to run against: a program of its own that shares no code with anything here.
"""

from collections.abc import Callable, Mapping

from connectors import international, mechanism, party, services
from connectors.http import Client
from gateway.domain.registry import Registry

#: Kind of registry → what makes its connector from the link code, the link address and the shared HTTP client.
KINDS: Mapping[str, Callable[[str, str, Client], Registry]] = {
    "mechanism": mechanism.connect,
    "international": international.connect,
    "party": party.connect,
    "services": services.connect,
}
