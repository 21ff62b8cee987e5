"""``openapi/operator.json`` and ``openapi/audit.json`` are what the operators' address serves to these and to auditors.

``python -m tests.unit.test_operator_contract`` writes them anew.
"""

import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gateway import wiring
from gateway.settings import Settings
from gateway.web import audit, operator

OPENAPI = Path(__file__).parents[2] / "openapi"


def served() -> dict[str, dict[str, Any]]:
    """The contracts of the application, which is made without any database, by file."""
    key, token_key = (
        Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        for _ in range(2)
    )
    settings = Settings(database_url="postgresql://nobody@localhost/none", key=key, token_key=token_key)
    gateway = wiring.build(settings)
    endpoint = wiring.token_endpoint(settings, gateway)
    parts = gateway.database, gateway.node, gateway.inbox, gateway.callers
    app = operator.app(*parts, wiring.EXECUTORS, endpoint, live=gateway.live)
    return {"operator.json": app.openapi(), "audit.json": audit.document(gateway.database)}


async def test_the_apis_are_the_ones_published() -> None:
    assert {name: json.loads((OPENAPI / name).read_text()) for name in ("operator.json", "audit.json")} == served()


async def _write() -> None:
    for name, contract in served().items():
        (OPENAPI / name).write_text(json.dumps(contract, indent=1) + "\n")


if __name__ == "__main__":
    import asyncio

    asyncio.run(_write())
