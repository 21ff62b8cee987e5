"""The additional registry services: units that become ITMOs when, authorised, they are first transferred out.

Nothing comes in here: the services issue and hold mitigation outcomes, and what leaves goes to a section of the
international registry or to a Party's own registry and stays there.
"""

from connectors.http import Client
from connectors.link import LinkRegistry
from gateway.domain.registry import USUAL, RegistryKind


def connect(code: str, url: str, client: Client) -> LinkRegistry:
    """The connector to the registry services at ``url``."""
    return LinkRegistry(code, url, client, USUAL[RegistryKind.SERVICES])
