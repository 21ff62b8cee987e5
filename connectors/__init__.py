"""How the gateway reaches registries: one connector a kind, chosen here. A new kind is one file and one line.

A connector translates and nothing else: it fills the port ``gateway.domain.registry.Registry``, and turns every
failure of the network into one of the port's three outcomes. Which wire a registry speaks is seen in its address: at
``…/des`` it is the one of ``des``, anywhere else the link protocol. What it speaks to the gateway is seen in the
content type of what it sends (``ENCODINGS``). ``connectors.sandbox`` is no connector but the registries to run against:
a program of its own that shares no code with anything here.
"""

from collections.abc import Callable, Mapping

from connectors import des, international, mechanism, party, services
from connectors.http import Client
from gateway.domain.registry import USUAL, Encoding, Registry, RegistryKind

#: Makes a connector from the link code, the link address and the shared HTTP client.
Connect = Callable[[str, str, Client], Registry]


def _by_address(kind: RegistryKind, otherwise: Connect) -> Connect:
    def connect(code: str, url: str, client: Client) -> Registry:
        return des.DesRegistry(code, url, client, USUAL[kind]) if des.speaks(url) else otherwise(code, url, client)

    return connect


#: Kind of registry → what makes its connector.
KINDS: Mapping[str, Connect] = {
    kind.value: _by_address(kind, otherwise)
    for kind, otherwise in (
        (RegistryKind.MECHANISM, mechanism.connect),
        (RegistryKind.INTERNATIONAL, international.connect),
        (RegistryKind.PARTY, party.connect),
        (RegistryKind.SERVICES, services.connect),
    )
}

#: Content type → how messages are written in it, beside the two of the link protocol.
ENCODINGS: Mapping[str, Encoding] = {des.CONTENT_TYPE: des.ENCODING}
