"""The network that is measured: PostgreSQL, a serve, a worker and registries, processes as ``gateway demo`` has them.

Addresses stay the same over a restart, so that processes can be replaced by watched ones (``program``). Databases are
read beside the processes, with plain connections that no pool of the gateway's knows of.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import psutil
import psycopg

from gateway import embedded, migrations
from gateway.demo import processes
from gateway.demo.processes import Child
from gateway.domain.addresses import LOOPBACK
from gateway.settings import Settings
from gateway.signing.keys import SoftwareKey
from gateway.signing.log_keys import LogKey
from tests.bearer import Bearer, introduced, persons
from tests.bench.program import WATCH
from tests.faults.processes import free_port
from tests.stage import AUTHORISATION, ROOT

GATEWAY = "GWY01"
#: How long anything that is waited for may take before the run is given up.
PATIENCE_SECONDS = 600.0


class Member(NamedTuple):
    """A registry of the network: its code, kind, Party (of several sections the one that acquires), how it answers."""

    code: str
    kind: str
    party: str
    answer: str = "reply"
    #: The Parties that have a section, where it is the international registry.
    sections: tuple[str, ...] = ()
    #: ``source`` instead of a sandbox: it has no database, and owes nothing once its operator's side has answered.
    played: bool = False

    @property
    def books(self) -> dict[str, str]:
        """The registries it speaks for, each with its Party (none: every Party's)."""
        return {f"{party}99": party for party in self.sections} or {self.code: self.party}

    @property
    def address(self) -> dict[str, str]:
        """Where units go that it acquires."""
        registry = next(name for name, party in self.books.items() if party == self.party)
        return {"registry": registry, "party": self.party, "account": "100-1"}


SOURCE = Member("MEC01", "mechanism", "")
KOREA = Member("KOR01", "party", "KOR")
#: Myanmar, which transfers, has a section too: every transfer is recorded there, and those to Thailand twice.
ACQUIRERS = (KOREA, Member("INT01", "international", "THA", sections=("THA", "MMR")))
MEMBERS = (SOURCE, *ACQUIRERS)


@dataclass(frozen=True, slots=True)
class Program:
    """How a process is started: always at the same address."""

    module: str
    arguments: tuple[str, ...]
    environment: dict[str, str]
    speaks: bool = True


@dataclass
class Network:
    """The processes by name (serve, worker, MEC01, …) and what can be seen and asked of them."""

    server: embedded.Server
    folder: Path
    members: Sequence[Member]
    http: httpx.Client
    #: What is shown to the gateway's operator API at each call.
    bearer: Bearer = field(init=False)
    urls: dict[str, str] = field(default_factory=dict)
    programs: dict[str, Program] = field(default_factory=dict)
    children: dict[str, Child] = field(default_factory=dict)
    _connections: dict[str, psycopg.Connection[Any]] = field(default_factory=dict)

    # Processes

    def start(self, *names: str, watched: Path | None = None) -> None:
        """Start these, and wait until they answer; ``watched``: they write what they did to this folder as they end."""
        for name in names:
            program = self.programs[name]
            inside = ["tests.bench.program", program.module] if watched else [program.module]
            environment = {**program.environment, **({WATCH: str(watched / name)} if watched else {})}
            self.children[name] = processes.start(name, [*inside, *program.arguments], environment)
        for name in names:
            if self.programs[name].speaks:
                self.children[name].ready()

    def restart(self, *names: str, watched: Path | None = None) -> None:
        """End these (every process, where none is named) in order and start them again where they were."""
        self.stop(*names)
        self.start(*(names or self.programs), watched=watched)

    def stop(self, *names: str) -> None:
        """End these, or every process, in order, side by side."""
        ending = [self.children.pop(name) for name in names or tuple(self.children)]
        for child in ending:
            child.process.terminate()
        for child in ending:
            child.stop()

    def process(self, name: str) -> psutil.Process:
        """A process as the system sees it."""
        return psutil.Process(self.children[name].process.pid)

    # What operators do

    def admin(self, code: str, method: str, path: str, **body: Any) -> dict[str, Any]:
        """Call a registry's operator side."""
        wanted = {"json": body} if method != "GET" else {}
        answer = self.http.request(method, f"{self.urls[code]}/admin/{path}", **wanted)
        if not answer.is_success:
            raise RuntimeError(f"{method} {path} of {code}: {answer.status_code} {answer.text[:500]}")
        return dict(answer.json()) if answer.content else {}

    def books(self) -> dict[str, Any]:
        """The totals of the gateway's book."""
        answer = self.http.get(f"{self.urls['operator']}/api/v1/books", auth=self.bearer).raise_for_status()
        return dict(answer.json())

    def issue(self, net: int) -> None:
        """Let MEC01 issue to Myanmar, and wait until the gateway has heard of it."""
        wanted = {"activity": "PoA 10471", "party": "MMR", "net": net, "vintage": 2021, "series": "MMR-A64"}
        wanted |= {"authorisation": AUTHORISATION}
        action = self.admin(SOURCE.code, "POST", "issue", **wanted)["action"]
        self.until(lambda: self.value("SELECT count(*) FROM action WHERE action = %s", action), "the issuance is known")

    def propose(self, wishes: Sequence[dict[str, Any]], *, each_alone: bool = False) -> list[str]:
        """Let MEC01 propose these transfers, in full messages or each in one of its own; their ids."""
        ids: list[str] = []
        for nr in range(0, len(wishes), 10_000):
            body = {"transfers": wishes[nr : nr + 10_000], "one_message_each": each_alone}
            ids += self.admin(SOURCE.code, "POST", "transfers", **body)["transfers"]
        return ids

    # What is in the databases

    def rows(self, statement: str, *values: Any, of: str = "gateway") -> list[tuple[Any, ...]]:
        """What a query gives in the gateway's database, or in a registry's (named by its code in lower case)."""
        if of not in self._connections:
            self._connections[of] = self.connected(of)
        return self._connections[of].execute(statement, values).fetchall()  # type: ignore[arg-type]

    def connected(self, of: str = "gateway") -> psycopg.Connection[Any]:
        """A connection of the caller's own, beside those of the processes."""
        return psycopg.connect(self.server.dsn(of), autocommit=True)

    def value(self, statement: str, *values: Any, of: str = "gateway") -> Any:
        """The first column of the first row."""
        return self.rows(statement, *values, of=of)[0][0]

    def at_rest(self) -> bool:
        """Whether nobody owes anybody anything."""
        if self.value(_DUE):
            return False
        owed = "SELECT EXISTS (SELECT FROM sent WHERE owed AND coalesce(expires_at > now(), true))"
        return not any(self.value(owed, of=m.code.lower()) for m in self.members if not m.played)

    def until(self, holds: Callable[[], Any], what: str, look_seconds: float = 0.02) -> None:
        """Wait until something is true; raises when a process has ended, or after too long."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not holds():
            for child in self.children.values():
                child.check()
            if time.monotonic() > deadline:
                raise RuntimeError(f"waited {PATIENCE_SECONDS:.0f} s in vain until {what}")
            time.sleep(look_seconds)


_DUE = """
SELECT EXISTS (SELECT FROM transfer WHERE next_at IS NOT NULL) OR EXISTS (SELECT FROM owed)
    OR EXISTS (SELECT FROM action_record WHERE message_id IS NULL)
"""


@contextmanager
def running(folder: Path, members: Sequence[Member] = MEMBERS) -> Iterator[Network]:
    """A network that runs, with every link active."""
    with ExitStack() as stack:
        stack.callback(lambda: os.path.lexists(folder / "postgres") and embedded.remove(folder))
        server = stack.enter_context(embedded.running(folder))
        http = stack.enter_context(httpx.Client(timeout=PATIENCE_SECONDS, trust_env=False))
        network = Network(server, folder, members, http)
        stack.callback(lambda: [c.close() for c in network._connections.values()])
        stack.callback(network.stop)
        _prepare(network)
        network.start(*network.programs)
        for member in members:
            _link(network, member)
        yield network


def _prepare(network: Network) -> None:
    """Databases, keys and programs."""
    server, folder = network.server, network.folder
    server.create_database("gateway", "gateway_owner")
    migrations.grant_app(server.dsn("gateway"), server.password("gateway_app"))
    migrations.apply(server.dsn("gateway", "gateway_owner"))
    key = SoftwareKey.generate()
    key.save(folder / "gateway.pem")
    _jwks(folder, GATEWAY).write_text(json.dumps({"keys": [{**key.public_jwk(), "use": "sig"}]}))
    link, operator = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    network.urls |= {"link": f"http://{link}", "operator": f"http://{operator}"}
    SoftwareKey.generate().save(folder / "tokens.pem")
    LogKey.generate().save(folder / "log.pem")
    url, key_file, token_key_file = server.dsn("gateway", "gateway_app"), folder / "gateway.pem", folder / "tokens.pem"
    known = Settings(database_url=url, key_file=key_file, token_key_file=token_key_file)
    network.bearer = asyncio.run(introduced(known, ROOT, *persons("one", "two")))
    settings = {
        "GATEWAY_DATABASE_URL": url,
        "GATEWAY_KEY_FILE": str(key_file),
        "GATEWAY_TOKEN_KEY_FILE": str(token_key_file),
        "GATEWAY_LOG_KEY_FILE": str(folder / "log.pem"),
        "GATEWAY_PRIVATE_PEERS": LOOPBACK,
        "GATEWAY_LINK_LISTEN": link,
        "GATEWAY_OPERATOR_LISTEN": operator,
    }
    network.programs["serve"] = Program("gateway", ("serve",), settings)
    network.programs["worker"] = Program("gateway", ("worker",), settings, speaks=False)
    for member in network.members:
        address = f"127.0.0.1:{free_port()}"
        network.urls[member.code] = f"http://{address}"
        network.programs[member.code] = _registry(network, member, address)


def _registry(network: Network, member: Member, address: str) -> Program:
    folder, name = network.folder, member.code.lower()
    arguments = ["--code", member.code, "--listen", address, "--gateway-url", network.urls["link"]]
    arguments += ["--gateway-keys", str(_jwks(folder, GATEWAY))]
    if member.played:
        return Program("tests.bench.source", tuple(arguments), {})
    network.server.create_database(name, name)
    arguments = [member.kind, *arguments, "--database", network.server.dsn(name, name), "--answer", member.answer]
    arguments += ["--key", str(folder / f"{member.code}.pem")]
    arguments += ["--party", member.party] if member.kind == "party" else []
    for party in member.sections:
        arguments += ["--section", party]
    for other in network.members:
        arguments += ["--peer", f"{other.code}={_jwks(folder, other.code)}"] if other is not member else []
    return Program("connectors.sandbox", tuple(arguments), {})


def _link(network: Network, member: Member) -> None:
    """Pin the registry's keys, register it as an operator would, and let it activate its link."""
    pinned = _jwks(network.folder, member.code)
    pinned.write_text(network.http.get(f"{network.urls[member.code]}/keys").raise_for_status().text)
    command = ["links", "add", member.code, "--kind", member.kind, "--url", network.urls[member.code]]
    command += ["--keys", str(pinned), *(["--party", member.party] if member.kind == "party" else [])]
    for registry, party in member.books.items() if member.sections else ():
        command += ["--section", f"{registry}={party}"]
    environment = {**os.environ, **network.programs["serve"].environment}
    _run(environment, *command)
    asked = json.loads(_run(environment, "links", "test", member.code, "--by", "one"))
    approve = ["approvals", "approve", asked["id"], "--sha256", asked["sha256"], "--by", "two"]
    _run(environment, *approve)
    if not network.admin(member.code, "POST", "activate")["receipted"]:
        raise RuntimeError(f"{member.code} got no receipt for its link.activate")


def _run(environment: Mapping[str, str], *command: str) -> bytes:
    """Run a command of the gateway; what it prints."""
    return subprocess.run(
        [sys.executable, "-m", "gateway", *command], check=True, env=environment, stdout=subprocess.PIPE
    ).stdout


def _jwks(folder: Path, code: str) -> Path:
    return folder / f"{code}.jwks"
