"""``openapi/operator.json`` is what the operator API serves.

``python -m tests.unit.test_operator_contract`` writes it anew.
"""

import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gateway import wiring
from gateway.settings import Settings
from gateway.web import operator

CONTRACT = Path(__file__).parents[2] / "openapi" / "operator.json"


def served() -> dict[str, Any]:
    """The contract of the application, which is made without any database."""
    key, token_key = (
        Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        for _ in range(2)
    )
    settings = Settings(database_url="postgresql://nobody@localhost/none", key=key, token_key=token_key)
    gateway = wiring.build(settings)
    endpoint = wiring.token_endpoint(settings, gateway)
    return operator.app(
        gateway.database, gateway.node, gateway.inbox, gateway.callers, wiring.EXECUTORS, endpoint
    ).openapi()


async def test_the_operator_api_is_the_one_published() -> None:
    assert json.loads(CONTRACT.read_text()) == served()


async def _written() -> str:
    return json.dumps(served(), indent=1) + "\n"


if __name__ == "__main__":
    import asyncio

    CONTRACT.write_text(asyncio.run(_written()))
