"""A sandbox registry as a process, with a gateway played by this file.

Nothing of the sandbox is imported, and what it says is checked against ``openapi/link.yaml``. Messages are
composed and read here with joserfc alone, so both sides of the wire contract are written twice. PostgreSQL is
real and shared by the tests of a file; each registry has a database of its own. All units and accounts are synthetic.
"""

import asyncio
import base64
import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
import yaml
from fastapi import FastAPI, Request, Response
from joserfc import jws
from joserfc.jwk import ECKey, KeySet, OKPKey
from jsonschema import Draft202012Validator

from gateway import embedded

REGISTRY = jws.JWSRegistry(algorithms=["Ed25519", "ES256"])
REGISTRY.max_payload_length = 8 * 1024 * 1024
ASKING = ("status.query", "time.query", "history.query", "positions.query", "cut.query")
UNNUMBERED = {*ASKING, "status.answer", "time.answer", "history.page", "positions.answer", "cut.answer"}
EXPIRING = {"transfer.offer", "transfer.propose", *UNNUMBERED}
STATED = {"answer", "released", "voided", "credited"}
ROOT = Path(__file__).parents[2]
CONTRACT = yaml.safe_load((ROOT / "openapi" / "link.yaml").read_text())
# A thousand items are alike; checking each would be most of what a test does.
CHECKED_ITEMS = 20
AUTHORISATION = {"id": "AUTH-SYNTHETIC-1", "version": 1}


@cache
def schema(name: str) -> Draft202012Validator:
    reference = {"$ref": f"#/components/schemas/{name}", "components": CONTRACT["components"]}
    return Draft202012Validator(reference)


def sha(data: str | bytes) -> str:
    raw = hashlib.sha256(data.encode() if isinstance(data, str) else data).digest()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def uuid7() -> str:
    value = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 7 << 76
    text = f"{value & ~(3 << 62) | 2 << 62:032x}"
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def stamp(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


@dataclass
class Heard:
    """A message as it was received: proven against the sender's keys when it was read."""

    jws: str
    payload: dict[str, Any]
    texts: list[str]
    raw: bytes
    #: Items of earlier messages that a statement said again shows, and those messages are in ``evidence``.
    carried: list[str] = field(default_factory=list)

    @property
    def evidence(self) -> list[str]:
        return list(self.payload["body"].get("evidence", []))

    @property
    def type(self) -> str:
        return str(self.payload["type"])

    @property
    def items(self) -> list[dict[str, Any]]:
        return [json.loads(t) for t in self.texts]


class Party:
    """A signer: the gateway, or a registry that this file plays to make evidence."""

    def __init__(self, code: str, alg: str = "Ed25519") -> None:
        self.code, self.alg = code, alg
        made = OKPKey.generate_key("Ed25519") if alg == "Ed25519" else ECKey.generate_key("P-256")
        self.key: OKPKey | ECKey = made
        self.seq = 0

    def jwks(self) -> dict[str, Any]:
        members = dict(self.key.as_dict(private=False))
        return {"keys": [{**members, "alg": self.alg, "kid": self.key.thumbprint(), "use": "sig"}]}

    def write_keys(self, folder: Path) -> Path:
        path = folder / f"{self.code}.jwks"
        path.write_text(json.dumps(self.jwks()))
        return path

    def compose(
        self,
        receiver: str,
        message_type: str,
        own: list[str] | None = None,
        body: dict[str, Any] | None = None,
        carried: list[str] | None = None,
        in_reply_to: dict[str, str] | None = None,
        **changes: Any,
    ) -> tuple[str, str, bytes]:
        """Give the JWS, the content type and the body; ``changes`` replace payload members (None drops)."""
        now = datetime.now(UTC)
        texts = [*(own or []), *(carried or [])]
        payload: dict[str, Any] = {
            "v": 1,
            "id": uuid7(),
            "type": message_type,
            "from": self.code,
            "to": receiver,
            "sent_at": stamp(now),
            "body": body or {},
        }
        if message_type not in UNNUMBERED:
            self.seq += 1
            payload["seq"] = self.seq
        if message_type in EXPIRING:
            payload["expires_at"] = stamp(now + timedelta(seconds=300))
        if in_reply_to:
            payload["in_reply_to"] = in_reply_to
        if texts:
            payload["items"] = [sha(t) for t in texts]
        payload = {name: value for name, value in (payload | changes).items() if value is not None}
        header = {"alg": self.alg, "kid": self.key.thumbprint(), "typ": "a6link+jws"}
        compact = jws.serialize_compact(header, text(payload), self.key, registry=REGISTRY)
        if texts:
            return compact, "application/a6link+json", text({"jws": compact, "items": texts}).encode()
        return compact, "application/jose", compact.encode()


ATTRIBUTES = {
    "unit_type": "A6.4ER",
    "first_transferring_party": "MMR",
    "vintage": 2021,
    "cooperative_approach": "CA0001",
    "metric": "GHG",
    "mitigation_type": "Emission reductions",
    "sector": "Energy generation",
    "activity_type": "Energy Efficiency households",
    "activity": "PoA 10471",
    "authorisation": AUTHORISATION,
}


def read(content_type: str, raw: bytes, keys: KeySet) -> Heard:
    """Read a registry's message; fails the test on anything the contract does not allow."""
    texts: list[str] = []
    compact = raw.decode()
    if content_type.startswith("application/a6link+json"):
        wrapper = json.loads(raw)
        assert wrapper.keys() == {"jws", "items"}
        compact, texts = wrapper["jws"], wrapper["items"]
    found = jws.deserialize_compact(compact, keys, registry=REGISTRY)
    assert found.headers().keys() == {"alg", "kid", "typ"}
    payload = json.loads(found.payload or b"")
    schema(f"Payload.{payload['type']}").validate(payload)
    for item_text in texts[:CHECKED_ITEMS]:
        item = json.loads(item_text)
        schema(f"Item.{item['kind']}").validate(item)
    assert payload.get("items", []) == [sha(t) for t in texts]
    assert ("expires_at" in payload) == (payload["type"] in EXPIRING)
    kind = payload["type"].removeprefix("transfer.")
    own = [t for t in texts if kind not in STATED or json.loads(t)["kind"] == kind]
    assert texts[: len(own)] == own
    return Heard(compact, payload, own, raw, texts[len(own) :])


@dataclass
class Gateway(Party):
    """Plays the gateway: receives what registries send, receipts it unless told to be silent."""

    code: str = "GWY01"
    heard: list[Heard] = field(default_factory=list)
    silent: bool = False
    told: dict[str, Any] = field(default_factory=lambda: {"state": "accepted"})
    told_carried: list[str] = field(default_factory=list)
    #: What is answered about particular transfers: the body and the items carried.
    told_of: dict[str, tuple[dict[str, Any], list[str]]] = field(default_factory=dict)
    keys: dict[str, KeySet] = field(default_factory=dict)
    url: str = ""

    def __post_init__(self) -> None:
        Party.__init__(self, self.code)

    async def receive(self, request: Request) -> Response:
        raw = await request.body()
        wrapper = json.loads(raw)["jws"] if raw.startswith(b"{") else raw.decode()
        part = wrapper.split(".")[1]
        sender = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))["from"]
        message = read(request.headers["content-type"], raw, self.keys[sender])
        self.heard.append(message)
        if self.silent:
            return Response(status_code=503)
        _, kind, answer = self.answer(sender, message, {"id": message.payload["id"], "sha256": sha(raw)})
        return Response(answer, media_type=kind)

    def answer(self, sender: str, message: Heard, named: dict[str, str]) -> tuple[str, str, bytes]:
        if message.type == "status.query":
            transfer = message.payload["body"]["transfer"]
            told, carried = self.told_of.get(transfer, (self.told, self.told_carried))
            body = {"transfer": transfer, "evidence": [], **told}
            return self.compose(sender, "status.answer", body=body, carried=carried, in_reply_to=named)
        states = [text({"kind": "receipt", "item": sha(t), "state": "proposed", "findings": []}) for t in message.texts]
        return self.compose(sender, "receipt", states, in_reply_to=named, leaf=sha(message.raw))

    async def wait(self, message_type: str, count: int = 1) -> list[Heard]:
        """Wait until ``count`` different messages of a type have come; fails after ten seconds."""
        for _ in range(1000):
            found = {m.payload["id"]: m for m in self.heard if m.type == message_type}
            if len(found) >= count:
                return list(found.values())
            await asyncio.sleep(0.01)
        raise AssertionError(f"{message_type} has not come {count} times: {[m.type for m in self.heard]}")


@dataclass
class Sandbox:
    """A running registry process and the two ways to speak to it."""

    code: str
    url: str
    gateway: Gateway
    client: httpx.AsyncClient
    process: asyncio.subprocess.Process
    key_set: KeySet

    async def send(self, *arguments: Any, **members: Any) -> Heard:
        _, kind, raw = self.gateway.compose(self.code, *arguments, **members)
        return await self.send_bytes(kind, raw)

    async def send_bytes(self, kind: str, raw: bytes) -> Heard:
        response = await self.post(kind, raw)
        assert response.status_code == 200, response.text
        answer = read(response.headers["content-type"], response.content, self.key_set)
        assert answer.payload["in_reply_to"]["sha256"] == sha(raw)
        return answer

    async def post(self, kind: str, raw: bytes) -> httpx.Response:
        return await self.client.post(f"{self.url}/messages", content=raw, headers={"content-type": kind})

    async def admin(self, method: str, path: str, body: Any = None, status: int | None = None) -> Any:
        response = await self.client.request(method, f"{self.url}/admin{path}", json=body)
        assert response.status_code == (status or response.status_code)
        assert status or response.is_success, response.text
        return response.json()

    async def drained(self) -> None:
        """Wait until nothing is owed any more; fails after ten seconds."""
        for _ in range(1000):
            if not (await self.admin("GET", "/books"))["outbox"]:
                return
            await asyncio.sleep(0.01)
        raise AssertionError("messages are still owed")

    async def books(self) -> dict[str, Any]:
        books: dict[str, Any] = await self.admin("GET", "/books?blocks=1")
        inside = books["held"] + books["used"] + books["cancelled"]
        assert books["issued"] + books["moved_in"] == inside + books["moved_out"]
        return books


@pytest.fixture(scope="module")
def server() -> Iterator[embedded.Server]:
    with tempfile.TemporaryDirectory() as folder:
        with embedded.running(Path(folder)) as running:
            yield running
        embedded.remove(Path(folder))


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    async with serving(Gateway(), FastAPI()) as played:
        yield played


@asynccontextmanager
async def serving(played: Gateway, app: FastAPI) -> AsyncIterator[Gateway]:
    """Let a played gateway be reached, with whatever else ``app`` serves."""
    app.post("/messages")(played.receive)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", lifespan="off"))
    task = asyncio.create_task(server.serve())
    for _ in range(1000):
        if server.started:
            break
        await asyncio.sleep(0.005)
    played.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    yield played
    server.should_exit = True
    await task


@asynccontextmanager
async def registry(
    server: embedded.Server,
    gateway: Gateway,
    folder: Path,
    kind: str,
    code: str,
    *,
    answer: str = "reply",
    peers: tuple[Party, ...] = (),
    beside: tuple[str, ...] = (),
    sections: tuple[str, ...] = (),
    database: str | None = None,
    more: tuple[str, ...] = (),
) -> AsyncIterator[Sandbox]:
    """Run one registry on a new database (or on ``database``, left by an earlier one).

    ``peers`` are played, ``beside`` are the codes of others that run in the same folder.
    """
    name = database or f"sandbox_{uuid7().replace('-', '')}"
    server.create_database(name, name)
    arguments = [kind, "--code", code, "--database", server.dsn(name, name), "--key"]
    arguments += [str(folder / f"{code}.pem"), "--gateway-url", gateway.url]
    arguments += ["--gateway-keys", str(gateway.write_keys(folder)), "--answer", answer]
    arguments += [] if sections else ["--party", "KOR" if kind == "mechanism" else code[:3]]
    for section in sections:
        arguments += ["--section", section]
    for peer in peers:
        arguments += ["--peer", f"{peer.code}={peer.write_keys(folder)}"]
    for other in beside:
        arguments += ["--peer", f"{other}={folder / other}.jwks"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "connectors.sandbox", *arguments, *more, stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    assert process.stdout is not None
    url = json.loads(await process.stdout.readline())["url"]
    async with httpx.AsyncClient(timeout=30) as client:
        published = (await client.get(f"{url}/keys")).json()
        (folder / f"{code}.jwks").write_text(json.dumps(published))
        keys = KeySet.import_key_set(published)
        gateway.keys[code] = keys
        try:
            yield Sandbox(code, url, gateway, client, process, keys)
        finally:
            if process.returncode is None:
                process.terminate()
                assert await asyncio.wait_for(process.wait(), 20) == 0
