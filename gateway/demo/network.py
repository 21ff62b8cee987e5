"""Brings the network of the demo up: database, gateway, registries, and the links between them.

Everything lies in one folder: the gateway's key and database, a database and a key for each registry, and the
public keys they pinned of each other. A folder that was used before is taken up where it was left. Raises
``GatewayError`` when a part does not start, or ends before it is told to, with what it said.
"""

import json
import os
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import httpx

from gateway import embedded, migrations
from gateway.audit import own_keys
from gateway.demo import KEY, LOG_KEY, TOKEN_KEY, linking, people, processes
from gateway.demo.members import GATEWAY, Member
from gateway.doctor.scene import Own
from gateway.errors import GatewayError, Kind
from gateway.signing.keys import SoftwareKey
from gateway.signing.log_keys import LogKey
from gateway.web.client import Tokens

#: In a kept folder, the name of the story it holds; and that of the one it holds where there is no such file.
STORY, DEFAULT_STORY = "story", "arrows"
#: How often it is looked whether a process has ended.
POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Network:
    """Where everything lies and listens."""

    folder: Path
    link: str
    operator: str
    #: Link code → where that registry is operated.
    registries: dict[str, str]
    members: tuple[Member, ...]
    children: list[processes.Child]
    database: embedded.Server
    gateway: Own
    #: Name → id of those who may call it.
    callers: dict[str, str]

    @property
    def machine_key(self) -> Path:
        """The private key of that machine."""
        return people.key_file(self.folder, people.CLIENT)

    def tokens(self) -> Tokens:
        """What that machine shows at each call of the operator API."""
        return Tokens(self.operator, self.callers[people.CLIENT], SoftwareKey.load(self.machine_key))

    @contextmanager
    def killed(self, name: str) -> Iterator[None]:
        """Kill a process of the network (SIGKILL), as a machine's failure would, and start it again afterwards."""
        place = next(nr for nr, child in enumerate(self.children) if child.name == name)
        self.children[place].kill()
        yield
        with processes.undisturbed():
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
def running(folder: Path, members: Sequence[Member], story: str, *, kept: bool) -> Iterator[Network]:
    """Run the network of these members, whose data lies in ``folder``; every process is stopped at the end.

    Where the folder is not ``kept`` they are killed: nobody will look at what they leave. Raises CONFLICT when the
    folder holds another story than this, or another process runs it.
    """
    with ExitStack() as stack:
        try:
            server = stack.enter_context(embedded.running(folder))
        except GatewayError as error:
            raise GatewayError(error.kind, f"cannot run a network in {folder}: {error.detail}") from error
        _claim(folder, story)
        own = _prepare(folder, server)
        itself = ["--keep", str(folder)]
        children: list[processes.Child] = []
        stack.callback(_end if kept else _kill, children, server)
        for what in ("serve", "worker"):
            with processes.undisturbed():
                children.append(processes.start(f"gateway {what}", ["gateway", what, *itself]))
        _make_databases(server, members)  # meanwhile, and
        callers = people.introduce(folder, server.dsn("gateway", "gateway_app"))
        addresses = children[0].ready()
        for member in members:
            with processes.undisturbed():
                children.append(_registry(folder, server, member, members, addresses["link"]))
        network = Network(
            folder=folder,
            link=addresses["link"],
            operator=addresses["operator"],
            registries={m.code: child.ready()["url"] for m, child in zip(members, children[2:], strict=True)},
            members=tuple(members),
            children=children,
            database=server,
            gateway=own,
            callers=callers,
        )
        with network.client() as http:
            linking.establish(http, folder, members, network.registries, server.dsn("gateway", "gateway_app"))
        yield network


def _claim(folder: Path, story: str) -> None:
    """Note which story the folder holds; in one that was made before stories had names, it is the default's."""
    note = folder / STORY
    held = note.read_text().strip() if note.exists() else DEFAULT_STORY if (folder / KEY).exists() else story
    if held != story:
        raise GatewayError(Kind.CONFLICT, f"{folder} holds another story ({held[:14]}): keep this one elsewhere")
    note.write_text(f"{story}\n")


def _prepare(folder: Path, server: embedded.Server) -> Own:
    """The gateway's database, schema and keys, where they are missing; the gateway as it signs."""
    server.create_database("gateway", "gateway_owner")
    migrations.grant_app(server.dsn("gateway"), server.password("gateway_app"))
    migrations.apply(server.dsn("gateway", "gateway_owner"))
    for file in (folder / KEY, folder / TOKEN_KEY):
        if not file.exists():
            SoftwareKey.generate(demo=True).save(file)
    if not (folder / LOG_KEY).exists():
        LogKey.generate(demo=True).save(folder / LOG_KEY)
    key = SoftwareKey.load(folder / KEY)
    linking.jwks(folder, GATEWAY).write_text(json.dumps({"keys": [{**key.public_jwk(), "use": "sig"}]}))
    verifiers = LogKey.load(folder / LOG_KEY).verifiers(own_keys.origin_of(GATEWAY))
    linking.vkeys(folder, GATEWAY, "log").write_text("".join(f"{one.vkey}\n" for one in verifiers))
    return Own(GATEWAY, key.public_jwk())


def _make_databases(server: embedded.Server, members: Sequence[Member]) -> None:
    """A database of its own for every registry, side by side: each waits for the disk."""
    names = [member.code.lower() for member in members]
    with ThreadPoolExecutor(len(names)) as side_by_side:
        list(side_by_side.map(server.create_database, names, names))


def _registry(
    folder: Path, server: embedded.Server, member: Member, members: Sequence[Member], link_url: str
) -> processes.Child:
    code = member.code.lower()
    arguments = [
        "connectors.sandbox", member.kind, "--code", member.code, "--database", server.dsn(code, code),
        "--key", str(folder / f"{member.code}.pem"), "--gateway-url", link_url, "--gateway-code", GATEWAY,
        "--gateway-keys", str(linking.jwks(folder, GATEWAY)), "--answer", member.answer,
        "--gateway-log-keys", str(linking.vkeys(folder, GATEWAY, "log")),
    ]  # fmt: skip
    if member.keeps_log:
        arguments.append("--witness")
    if member.party:
        arguments += ["--party", member.party]
    for party in member.sections:
        arguments += ["--section", party]
    for other in members:
        if other is not member:
            arguments += ["--peer", f"{other.code}={linking.jwks(folder, other.code)}"]
    return processes.start(f"sandbox {member.code}", arguments)


def _end(children: Sequence[processes.Child], _server: embedded.Server) -> None:
    """Let them end side by side, then wait for each; the database follows."""
    for child in children:
        child.process.terminate()
    for child in children:
        child.stop()


def _kill(children: Sequence[processes.Child], server: embedded.Server) -> None:
    """End them at once, the database without a checkpoint."""
    for child in children:
        child.process.kill()
    for child in children:
        child.stop()
    with suppress(ProcessLookupError):
        os.kill(server.pid, signal.SIGQUIT)
