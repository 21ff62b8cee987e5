"""Brings the network of the demo up: database, gateway, registries, and the links between them.

Everything lies in one folder: the gateway's key and database, a database and a key for each registry, and the
public keys they pinned of each other. A folder that was used before is taken up where it was left. Raises
``GatewayError`` when a part does not start, or ends before it is told to, with what it said.
"""

import asyncio
import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import httpx

from gateway import db, embedded, migrations
from gateway.demo import KEY, processes
from gateway.doctor.scene import Own
from gateway.errors import GatewayError, Kind
from gateway.links import commands, store
from gateway.links.store import Link
from gateway.messages.outbox import Node
from gateway.signing.keys import SoftwareKey


@dataclass(frozen=True, slots=True)
class Member:
    """A registry of the demo: its code, kind, Party, and how it answers the gateway."""

    code: str
    kind: str
    party: str
    answer: str


#: The mechanism registry answers in the response; Korea's registry first receipts, then sends its own message.
MEMBERS = (Member("MEC01", "mechanism", "", "reply"), Member("KOR01", "party", "KOR", "message"))
#: Party registries take part under their Party; the mechanism registry keeps the books of every Party.
GATEWAY = "GWY01"
#: How often it is looked whether a process has ended.
POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Network:
    """Where everything listens."""

    link: str
    operator: str
    registries: dict[str, str]
    children: list[processes.Child]
    database: embedded.Server
    gateway: Own

    @contextmanager
    def killed(self, name: str) -> Iterator[None]:
        """Kill a process of the network (SIGKILL), as a machine's failure would, and start it again afterwards."""
        place = next(nr for nr, child in enumerate(self.children) if child.name == name)
        self.children[place].kill()
        yield
        self.children[place] = processes.start(name, self.children[place].arguments)

    def check(self, within_seconds: float = 0.0) -> None:
        """Raise INVARIANT, saying which, if a process of the network has ended, or does so ``within_seconds``."""
        deadline = time.monotonic() + within_seconds
        while True:
            for child in self.children:
                child.check()
            if os.waitid(os.P_PID, self.database.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                raise GatewayError(Kind.INVARIANT, f"PostgreSQL ended; see its log {self.database.home / 'log'}")
            if time.monotonic() >= deadline:
                return
            time.sleep(POLL_SECONDS)

    def stay(self) -> NoReturn:
        """Stay up until interrupted; raises INVARIANT when a process ends by itself."""
        while True:
            self.check(within_seconds=60)

    @contextmanager
    def client(self) -> Iterator[httpx.Client]:
        """A client of the network; where a request fails because a process ended, that is what is raised."""
        with httpx.Client(timeout=60, trust_env=False) as http:
            try:
                yield http
            except httpx.HTTPStatusError as error:
                self.check(within_seconds=1)
                detail = f"{error.request.url} answered {error.response.status_code}: {error.response.text[:300]}"
                raise GatewayError(Kind.INVARIANT, detail) from error
            except httpx.RequestError as error:
                self.check(within_seconds=1)
                raise GatewayError(Kind.INVARIANT, f"{error.request.url} does not answer: {error}") from error


@contextmanager
def passing_folder() -> Iterator[Path]:
    """A folder for a network nobody wants to keep; removed with its database, wherever that had to be."""
    with tempfile.TemporaryDirectory(prefix="gateway-demo-") as made:
        folder = Path(made)
        try:
            yield folder
        finally:
            if os.path.lexists(folder / "postgres"):
                embedded.remove(folder)


@contextmanager
def running(folder: Path) -> Iterator[Network]:
    """Run the network whose data lies in ``folder``; every process is stopped at the end."""
    with ExitStack() as stack:
        try:
            server = stack.enter_context(embedded.running(folder))
        except GatewayError as error:
            raise GatewayError(error.kind, f"cannot run a network in {folder}: {error.detail}") from error
        own = _prepare(folder, server)
        itself = ["--keep", str(folder)]
        children: list[processes.Child] = []
        stack.callback(_end, children)
        children += [processes.start(f"gateway {what}", ["gateway", what, *itself]) for what in ("serve", "worker")]
        addresses = children[0].ready()
        registries = {m.code: _registry(folder, server, m, addresses["link"]) for m in MEMBERS}
        children += registries.values()
        network = Network(
            link=addresses["link"],
            operator=addresses["operator"],
            registries={code: child.ready()["url"] for code, child in registries.items()},
            children=children,
            database=server,
            gateway=own,
        )
        _link(folder, network)
        yield network


def _prepare(folder: Path, server: embedded.Server) -> Own:
    """Databases, schema and keys, where they are missing; the gateway as it signs."""
    server.create_database("gateway", "gateway_owner")
    migrations.grant_app(server.dsn("gateway"), server.password("gateway_app"))
    migrations.apply(server.dsn("gateway", "gateway_owner"))
    for member in MEMBERS:
        server.create_database(member.code.lower(), member.code.lower())
    if not (folder / KEY).exists():
        SoftwareKey.generate().save(folder / KEY)
    key = SoftwareKey.load(folder / KEY)
    _jwks(folder, GATEWAY).write_text(json.dumps({"keys": [{**key.public_jwk(), "use": "sig"}]}))
    return Own(GATEWAY, key.public_jwk())


def _registry(folder: Path, server: embedded.Server, member: Member, link_url: str) -> processes.Child:
    code = member.code.lower()
    arguments = [
        "connectors.sandbox", member.kind, "--code", member.code, "--database", server.dsn(code, code),
        "--key", str(folder / f"{member.code}.pem"), "--gateway-url", link_url, "--gateway-code", GATEWAY,
        "--gateway-keys", str(_jwks(folder, GATEWAY)), "--answer", member.answer,
    ]  # fmt: skip
    if member.party:
        arguments += ["--party", member.party]
    for other in MEMBERS:
        if other is not member:
            arguments += ["--peer", f"{other.code}={_jwks(folder, other.code)}"]
    return processes.start(f"sandbox {member.code}", arguments)


def _end(children: Sequence[processes.Child]) -> None:
    """Let them end side by side, then wait for each."""
    for child in children:
        child.process.terminate()
    for child in children:
        child.stop()


def _link(folder: Path, network: Network) -> None:
    """Pin every registry's keys, register it at its address, and let it activate its link, where that is open."""
    with network.client() as http:
        for member in MEMBERS:
            keys = http.get(f"{network.registries[member.code]}/keys").raise_for_status().json()
            _jwks(folder, member.code).write_text(json.dumps(keys))
        states = asyncio.run(_register(folder, network))
        for code in (member.code for member in MEMBERS if states[member.code] == "requested"):
            answer = http.post(f"{network.registries[code]}/admin/activate").raise_for_status().json()
            if not answer["receipted"]:
                raise GatewayError(Kind.UNAVAILABLE, f"{code} got no receipt for its link.activate")


async def _register(folder: Path, network: Network) -> dict[str, str]:
    """Register the links that are not there, move those that are to their present addresses; their states."""
    node = Node(GATEWAY, SoftwareKey.load(folder / KEY), lambda: datetime.now(UTC))
    database = db.Database(network.database.dsn("gateway", "gateway_app"))

    async def work(tx: db.Tx) -> dict[str, str]:
        known = {link.code for link in await store.links(tx)}
        for member in MEMBERS:
            url = network.registries[member.code]
            if member.code in known:
                await commands.readdress(tx, node, member.code, url)
                continue
            link = Link(member.code, member.kind, url, "requested", 24, (member.code,))
            parties: dict[str, Any] = {member.code: member.party or None}
            jwks = json.loads(_jwks(folder, member.code).read_text())["keys"]
            await commands.register(tx, node, link, parties, jwks)
        return {link.code: link.state for link in await store.links(tx)}

    try:
        return await database.run(work, "links.register")
    finally:
        await database.close()


def _jwks(folder: Path, code: str) -> Path:
    return folder / f"{code}.jwks.json"
