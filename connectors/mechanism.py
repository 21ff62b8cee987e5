"""The Article 6.4 mechanism registry: authorised A6.4ERs leave it, their history is viewed, nothing returns.

Its own interface is not public (the secretariat's communication standards could not be read), so this kind
speaks the link protocol; a translation to the real interface takes its place here.
"""

from connectors.http import Client
from connectors.link import LinkRegistry
from gateway.domain.registry import USUAL, RegistryKind


def connect(code: str, url: str, client: Client) -> LinkRegistry:
    """The connector to the mechanism registry at ``url``."""
    return LinkRegistry(code, url, client, USUAL[RegistryKind.MECHANISM])
