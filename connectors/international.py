"""The international registry: a section of books per Party that keeps no registry of its own, and records of actions.

Behind its link stand as many registries as it has sections; which of them an address means is said by the
address, so the connector knows nothing of sections. It alone takes ``action.record``: what a Party's units did,
here or elsewhere, kept apart from what the sections hold.
"""

from connectors.http import Client
from connectors.link import LinkRegistry
from gateway.domain.registry import USUAL, RegistryKind


def connect(code: str, url: str, client: Client) -> LinkRegistry:
    """The connector to the international registry at ``url``."""
    return LinkRegistry(code, url, client, USUAL[RegistryKind.INTERNATIONAL])
