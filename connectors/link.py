"""The client side of the link protocol: posts the stored bytes to the registry's own endpoint.

For registries that speak the protocol themselves nothing needs translating. Whether the answer is signed by
whom it should be, and answers what was sent, is for the inbox to judge.
"""

from connectors.http import Client
from gateway.domain.identifiers import RegistryCode, parse_registry_code
from gateway.domain.registry import Capability, Outcome, OutgoingMessage


class LinkRegistry:
    """A registry that speaks the link protocol at ``url``."""

    def __init__(self, code: str, url: str, client: Client, capabilities: frozenset[Capability]) -> None:
        self._code = parse_registry_code(code)
        self._url = f"{url.rstrip('/')}/messages"
        self._client = client
        self._capabilities = capabilities

    @property
    def code(self) -> RegistryCode:
        """The registry's link code."""
        return self._code

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What this kind of registry offers."""
        return self._capabilities

    async def send(self, message: OutgoingMessage) -> Outcome:
        """Send the stored bytes once."""
        return await self._client.post(self._url, message.body, message.content_type)

    async def close(self) -> None:
        """Nothing to give back: the client is shared."""
