"""A participating Party's own registry: units come in, and go on to other Parties' registries."""

from connectors.http import Client
from connectors.link import LinkRegistry
from gateway.domain.registry import USUAL, RegistryKind


def connect(code: str, url: str, client: Client) -> LinkRegistry:
    """The connector to a Party's registry at ``url``."""
    return LinkRegistry(code, url, client, USUAL[RegistryKind.PARTY])
