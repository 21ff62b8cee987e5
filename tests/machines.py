"""Machines that call a stage's operator API: registered over it, with keys of their own, asking as any would."""

import secrets
from dataclasses import dataclass
from typing import Any

import httpx

from gateway.signing import jwt
from gateway.signing.keys import SoftwareKey
from tests.stage import Stage

ISSUER = "urn:article6-gateway:GWY01"
FORM = {
    "grant_type": "client_credentials",
    "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
}


@dataclass
class Client:
    """A machine of the gateway, with its key."""

    stage: Stage
    id: str
    name: str
    key: SoftwareKey

    def claims(self, **changes: Any) -> dict[str, Any]:
        """What its assertion says now, with some of it changed (None: left out)."""
        now = int(self.stage.clock().timestamp())
        said = {
            "iss": self.id,
            "sub": self.id,
            "aud": ISSUER,
            "iat": now,
            "exp": now + 60,
            "jti": secrets.token_hex(8),
            **changes,
        }
        return {name: value for name, value in said.items() if value is not None}

    async def ask(self, assertion: str | None = None, **changes: str) -> httpx.Response:
        """Ask for a token."""
        shown = assertion if assertion is not None else jwt.sign(self.key, "JWT", self.claims())
        form = FORM | {"client_assertion": shown} | changes
        return await self.stage.http.post(f"{self.stage.operator_url}/token", data=form)

    async def token(self) -> str:
        """A token."""
        answer = await self.ask()
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])


async def books(stage: Stage, token: str) -> httpx.Response:
    """Call with a token that is good for the book."""
    return await stage.http.get(f"{stage.operator_url}/api/v1/books", headers={"authorization": f"Bearer {token}"})


async def made(stage: Stage, *scopes: str, alg: str = "Ed25519", **changes: Any) -> Client:
    """A new machine, bound to all."""
    key = SoftwareKey.generate(alg)
    wanted = {"name": f"client-{key.kid[:8].strip('-_')}", "registry": None, "scopes": list(scopes or ["books:read"])}
    answer = await stage.api.post("/api/v1/clients", json=wanted | {"keys": [key.public_jwk()]} | changes)
    assert answer.status_code == 201, answer.text
    return Client(stage, answer.json()["id"], wanted["name"], key)
