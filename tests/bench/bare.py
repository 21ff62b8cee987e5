"""A server that verifies what is signed and signs its answer, and does nothing else: the bare round trip.

``python -m tests.bench.bare`` prints its URL as JSON; a client leaves its key at ``/keys`` and posts to ``/messages``.
"""

import json
import socket
from datetime import UTC, datetime
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response

from gateway.signing import compact
from gateway.signing.keys import SoftwareKey
from gateway.signing.trust import PeerKey


class Signed:
    """A key, and compact JWS made with it."""

    def __init__(self) -> None:
        self._key = SoftwareKey.generate()
        self.jwk = self._key.public_jwk()

    def sign(self, text: str) -> str:
        data = compact.header_and_payload(self._key.alg, self._key.kid, json.dumps({"text": text}))
        return f"{data}.{compact.encode(self._key.sign(data.encode()))}"

    @staticmethod
    def verify(jwk: dict[str, Any], text: str) -> dict[str, Any]:
        read = compact.read(text)
        key = PeerKey.from_jwk("MEC01", jwk, not_before=datetime(2020, 1, 1, tzinfo=UTC))
        if not key.verifies(read.signing_input, read.signature):
            raise ValueError("the signature is not good")
        return read.payload


def main() -> None:
    """Serve until told to stop."""
    app, ours, theirs = FastAPI(), Signed(), {}

    @app.post("/keys")
    async def keys(request: Request) -> dict[str, str]:
        theirs.update(await request.json())
        return ours.jwk

    @app.post("/messages")
    async def messages(request: Request) -> Response:
        payload = Signed.verify(theirs, (await request.body()).decode())
        return Response(ours.sign(str(payload["text"])[:500]))

    listening = socket.create_server(("127.0.0.1", 0))
    print(json.dumps({"url": f"http://127.0.0.1:{listening.getsockname()[1]}"}), flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run(sockets=[listening])


if __name__ == "__main__":
    main()
