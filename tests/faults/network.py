"""A network of real processes on one PostgreSQL, in which any of them may be killed at any time.

One or two serves (each with a port of its own), any number of workers, and registries of every kind (``members``).
Databases are read behind the processes' backs, because these may be dead. A process that ends though nobody wished it
fails whatever waits at that moment, with what it said last. All units and accounts are synthetic.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psycopg

from gateway.audit import own_keys
from gateway.domain.addresses import LOOPBACK
from gateway.settings import Settings
from gateway.signing.keys import SoftwareKey
from gateway.signing.log_keys import LogKey
from tests import stage as staging
from tests.bearer import Bearer, introduced, persons
from tests.faults import linking, members
from tests.faults.members import MEMBERS, REGISTRIES, SECTIONS, SOURCES, USUAL
from tests.faults.postgres import Postgres
from tests.faults.processes import STOP_SECONDS, Part, free_port
from tests.faults.program import CLOCK
from tests.stage import ROOT

#: How long anything may take to come to rest after a fault: back-offs of some seconds, on a machine that is shared.
PATIENCE_SECONDS = 180.0
LOOK_SECONDS = 0.05
#: What a source owes nobody any more, by its own books.
AT_REST = "('done', 'void')"
#: How a command ends that was refused.
REFUSED = 2

T = TypeVar("T")


class Unavailable(Exception):
    """A registry cannot do it now: its books, or the gateway it must ask, are out of reach."""


class Refused(AssertionError):
    """A command was refused, for what it was given or for how things stand."""


@dataclass(repr=False)
class Network:
    """The parts, by name (serve, serve2, worker, worker2, MEC01, KOR01 …), and what can be seen of them."""

    postgres: Postgres
    folder: Path
    database: str
    http: httpx.AsyncClient
    parts: dict[str, Part] = field(default_factory=dict)
    #: By how many seconds the gateway's processes are ahead of real time.
    ahead: float = 0.0
    #: What an operator of the gateway shows at each call.
    bearer: Bearer = field(init=False)
    _connections: dict[str, psycopg.AsyncConnection[Any]] = field(default_factory=dict)
    _locks: dict[str, asyncio.Lock] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Part:
        return self.parts[name]

    async def start(self, name: str, armed: str = "") -> None:
        """Start a part (again) where it was, and wait until it answers."""
        self.parts[name].start(armed)
        await self.parts[name].ready()

    async def restart(self, name: str, armed: str = "") -> None:
        """Kill it and start it again."""
        self.parts[name].kill()
        await self.start(name, armed)

    @property
    def link_url(self) -> str:
        """Where messages are posted."""
        return self.parts["serve"].url

    def step_clock(self, seconds: float) -> None:
        """The gateway's processes are ahead of real time by so much from now on."""
        self.ahead = seconds
        new = self.folder / "clock.new"
        new.write_text(str(seconds))
        os.replace(new, self.folder / "clock")

    def now(self) -> datetime:
        """The time by the gateway's processes."""
        return datetime.now(UTC) + timedelta(seconds=self.ahead)

    # What the registries' operators do

    async def admin(self, code: str, method: str, path: str, **body: Any) -> dict[str, Any]:
        """Call a registry's operator side once."""
        url = f"{self.parts[code].url}/admin/{path}"
        answer = await self.http.request(method, url, **({"json": body} if method != "GET" else {}))
        if answer.status_code == 503:
            raise Unavailable(answer.text)
        assert answer.is_success, f"{method} {url}: {answer.status_code} {answer.text}"
        return dict(answer.json()) if answer.content else {}

    async def operator(self, method: str, path: str, **wanted: Any) -> httpx.Response:
        """Call the gateway's operator API once, as somebody who may do everything."""
        return await self.http.request(method, f"{self.operator_url}{path}", auth=self.bearer, **wanted)

    @property
    def operator_url(self) -> str:
        """Where operators call the gateway."""
        return f"http://{self.parts['serve'].environment[OPERATOR]}"

    @property
    def settings(self) -> Settings:
        """Those of the gateway's processes, as far as they are one gateway's."""
        return Settings(
            private_peers=LOOPBACK,
            database_url=self.postgres.server.dsn(self.database, "gateway_app"),
            key_file=self.folder / "gateway.pem",
            token_key_file=self.folder / "tokens.pem",
            log_key_file=self.folder / "log.pem",
        )

    async def propose(self, *quantities: int, together: bool = False, **changes: Any) -> list[str]:
        """Let MEC01 propose transfers of these quantities, each in a message of its own unless ``together``."""
        wish = {"party": "MMR", "to": members.address("KOR01")}
        wishes = [wish | {"quantity": q} | changes for q in quantities]
        body = {"transfers": wishes, "one_message_each": not together}
        return list((await self.admin("MEC01", "POST", "transfers", **body))["transfers"])

    async def insist(self, call: Callable[[], Awaitable[T]], what: str) -> T:
        """Call until whoever is called lives and can do it; what it gives."""
        got: list[T] = []

        async def done() -> bool:
            try:
                got.append(await call())
            except Unavailable:
                return False
            return True

        await self.until(done, what)
        return got[0]

    # What is in the databases

    async def rows(self, statement: str, of: str = "gateway") -> list[tuple[Any, ...]]:
        """What a statement gives in the database of the gateway (as its owner, or as ``postgres``) or a registry's."""
        async with self._locks.setdefault(of, asyncio.Lock()):
            try:
                return await self._fetch(statement, of)
            except psycopg.OperationalError:  # the connection did not survive what was done to the database
                return await self._fetch(statement, of)

    async def _fetch(self, statement: str, of: str) -> list[tuple[Any, ...]]:
        connection = self._connections.get(of)
        if connection is None or connection.closed:
            if of in ("gateway", "postgres"):
                dsn = self.postgres.server.dsn(self.database, "gateway_owner" if of == "gateway" else "postgres")
            else:
                dsn = self.postgres.server.dsn(self.books_of(of), self.books_of(of))
            connection = self._connections[of] = await psycopg.AsyncConnection.connect(dsn, autocommit=True)
        cursor = await connection.execute(statement)  # type: ignore[arg-type]
        return list(await cursor.fetchall()) if cursor.description else []

    def books_of(self, code: str) -> str:
        """The name of a registry's database."""
        return f"{code.lower()}_{self.database}"

    async def count(self, table: str, of: str = "gateway") -> int:
        """Rows of ``table`` (which may carry a WHERE)."""
        return int((await self.rows(f"SELECT count(*) FROM {table}", of))[0][0])

    async def states(self, transfers: Sequence[str]) -> list[str]:
        """The states of these transfers at the gateway, "absent" for one that has not arrived."""
        found = dict(await self.rows("SELECT id, state FROM transfer"))
        return [str(found.get(t, "absent")) for t in transfers]

    async def under_way(self) -> set[str]:
        """The transfers that somebody still has to do something about, by the gateway's rows and the sources'."""
        held = {t for (t,) in await self.rows("SELECT id FROM transfer WHERE state = 'attention'")}
        due = await self.rows("SELECT id FROM transfer WHERE next_at IS NOT NULL")
        open_there = f"SELECT transfer FROM transfer WHERE role = 'source' AND state NOT IN {AT_REST}"
        own = await asyncio.gather(*(self.rows(open_there, code) for code in SOURCES))
        return {t for rows in (due, *own) for (t,) in rows} - held

    async def at_rest(self) -> bool:
        """Whether every transfer is final (or with a person), everybody has been told, and nobody owes a message.

        What is owed to INT01 is every record that it has not answered.
        """
        if await self.count("owed") or await self.under_way():
            return False
        owed = "sent WHERE owed AND coalesce(expires_at > now(), true)"
        if any(await asyncio.gather(*(self.count(owed, code) for code in REGISTRIES))):
            return False
        return not await self.count("action_record WHERE answered_by IS NULL")

    # Waiting, and saying why it was in vain

    async def until(
        self, holds: Callable[[], Awaitable[Any]], what: str, *, patience_seconds: float = PATIENCE_SECONDS
    ) -> None:
        """Wait until ``holds`` gives something true; fails with an account of the whole network."""
        deadline = asyncio.get_running_loop().time() + patience_seconds
        while True:
            with suppress(httpx.TransportError, psycopg.OperationalError):  # somebody is dead at the moment
                if await holds():
                    return
            ended = [p.name for p in self.parts.values() if p.process is not None and p.ended() and not p.may_end]
            if ended or asyncio.get_running_loop().time() > deadline:
                why = f"ended by itself: {', '.join(ended)}" if ended else f"waited in vain until {what}"
                raise AssertionError(f"{why}\n{await self.account()}")
            await asyncio.sleep(LOOK_SECONDS)

    async def settle(self) -> None:
        """Wait until everything is at rest."""
        await self.until(self.at_rest, "everything is at rest")

    async def account(self) -> str:
        """Who lives, what everybody said last, and where the transfers are that are not at rest."""
        told = []
        for part in self.parts.values():
            how = "never started" if part.process is None else f"ended with {part.process.exitcode}"
            armed = f", armed with {part.armed}" if part.armed else ""
            told.append(f"{part.name}{armed}: {how if part.ended() else 'lives'}\n{part.last_words()}")
        try:
            told += [" | ".join(map(str, row)) for row in await self.rows(_OPEN)]
            for code in REGISTRIES:
                told += [f"{code}: {row}" for row in await self.rows(_OWN_OPEN, code)]
        except psycopg.OperationalError as error:
            told.append(f"the database cannot be read: {error}")
        return "\n".join(told)

    async def close(self) -> None:
        """End every process, and the connections."""
        await asyncio.gather(*(part.end(STOP_SECONDS) for part in self.parts.values()))
        for connection in self._connections.values():
            await connection.close()


OPERATOR = "GATEWAY_OPERATOR_LISTEN"
#: Who decides on what takes two.
PERSONS = ("one", "two")
_OPEN = """
SELECT id, state, version, 'attempts', attempts, 'next', next_at, 'leased', leased_until, waiting FROM transfer
WHERE next_at IS NOT NULL OR state = 'attention' ORDER BY created_at LIMIT 40
"""
_OWN_OPEN = f"SELECT transfer, role, state FROM transfer WHERE state NOT IN {AT_REST} LIMIT 40"


@asynccontextmanager
async def opened(
    postgres: Postgres, folder: Path, *, serves: int = 1, workers: int = 1, answers: Mapping[str, str] = USUAL
) -> AsyncIterator[Network]:
    """A network that runs, with all links active and units in every registry but CHE01."""
    async with AsyncExitStack() as stack:
        # No connection is kept: who was killed meanwhile must not be met on an old one.
        once = httpx.Limits(max_keepalive_connections=0)
        http = await stack.enter_async_context(httpx.AsyncClient(timeout=60, trust_env=False, limits=once))
        network = Network(postgres, folder, staging.fresh_database(postgres.server), http)
        stack.push_async_callback(network.close)
        key = SoftwareKey.generate()
        key.save(folder / "gateway.pem")
        SoftwareKey.generate().save(folder / "tokens.pem")
        log_key = LogKey.generate()
        log_key.save(folder / "log.pem")
        vkeys = [one.vkey for one in log_key.verifiers(own_keys.origin_of("GWY01"))]
        (folder / "GWY01.vkeys").write_text("\n".join(vkeys))
        linking.jwks_file(folder, "GWY01").write_text(json.dumps({"keys": [{**key.public_jwk(), "use": "sig"}]}))
        for nr in range(serves):
            _add_gateway(network, f"serve{nr + 1 if nr else ''}", "serve")
        for nr in range(workers):
            _add_gateway(network, f"worker{nr + 1 if nr else ''}", "worker")
        for nr, code in enumerate(REGISTRIES):
            _add_registry(network, code, answers[code], "serve2" if nr % 2 and serves > 1 else "serve")
        await asyncio.gather(*(network.start(name) for name in network.parts))
        network.bearer = await introduced(network.settings, ROOT, *persons(*PERSONS), clock=network.now)
        await linking.link(network, *REGISTRIES)
        await _stock(network)
        yield network


async def join(network: Network, code: str) -> None:
    """Another registry, which holds nothing."""
    _add_registry(network, code, MEMBERS[code].answer, "serve")
    await network.start(code)
    await linking.link(network, code)


async def _stock(network: Network) -> None:
    """Give each registry what it has to give away; those that issue nothing have it from MEC01."""
    issued = [network.admin(c, "POST", "issuances", issuances=wanted) for c, wanted in members.ISSUES.items()]
    opened = [network.admin("KOR01", "POST", "accounts", party="KOR", account=a) for a in members.KOREAN]
    await asyncio.gather(*issued, *opened)
    number = sum(map(len, members.ISSUES.values()))
    await network.until(lambda: network.rows(f"SELECT 1 FROM action OFFSET {number - 1}"), "all issuances are known")
    for account, quantity in members.KOREAN.items():
        await network.propose(quantity, to=members.address("KOR01", account))
    await network.settle()


def _add_gateway(network: Network, name: str, command: str) -> None:
    serving = command == "serve"
    link, operator = (f"127.0.0.1:{free_port()}" for _ in range(2)) if serving else ("", "")
    environment = {
        "GATEWAY_DATABASE_URL": network.postgres.server.dsn(network.database, "gateway_app"),
        "GATEWAY_KEY_FILE": str(network.folder / "gateway.pem"),
        "GATEWAY_TOKEN_KEY_FILE": str(network.folder / "tokens.pem"),
        "GATEWAY_LOG_KEY_FILE": str(network.folder / "log.pem"),
        "GATEWAY_PRIVATE_PEERS": LOOPBACK,
        CLOCK: str(network.folder / "clock"),
    }
    environment |= {"GATEWAY_LINK_LISTEN": link, OPERATOR: operator} if serving else {}
    log = network.folder / f"{name}.log"
    network.parts[name] = Part(name, ["tests.faults.program", command], log, environment, link)


def _add_registry(network: Network, code: str, answer: str, serve: str) -> None:
    member, folder = MEMBERS[code], network.folder
    server, books = network.postgres.server, network.books_of(code)
    server.create_database(books, books)
    address = f"127.0.0.1:{free_port()}"
    arguments = ["tests.faults.registry", member.kind, "--code", code, "--database", server.dsn(books, books)]
    arguments += ["--key", str(folder / f"{code}.pem"), "--gateway-url", network.parts[serve].url]
    arguments += ["--wire", "des"] if answer == members.OTHER_WIRE else ["--answer", answer]
    arguments += ["--gateway-keys", str(linking.jwks_file(folder, "GWY01")), "--listen", address]
    arguments += ["--party", member.party] if member.party else []
    arguments += ["--gateway-log-keys", str(folder / "GWY01.vkeys")] if code in linking.FOLLOWING else []
    arguments += ["--witness"] if code in linking.FOLLOWING and member.kind == "mechanism" else []
    for party in SECTIONS if member.kind == "international" else ():
        arguments += ["--section", party]
    for other in MEMBERS:
        arguments += ["--peer", f"{other}={linking.jwks_file(folder, other)}"] if other != code else []
    network.parts[code] = Part(code, arguments, folder / f"{code}.log", address=address)


async def run(network: Network, *arguments: str, armed: str = "", **settings: str) -> tuple[int, str]:
    """Run a command of the gateway to its end: its exit code, and what it said."""
    log = _log(network, arguments)
    environment = {**network.parts["serve"].environment, **settings}
    command = Part(arguments[0], ["tests.faults.program", *arguments], log, environment)
    command.start(armed)
    assert command.process is not None
    await asyncio.to_thread(command.process.join)
    assert command.process.exitcode is not None
    return command.process.exitcode, command.last_words()


async def decided(network: Network, *arguments: str) -> dict[str, Any]:
    """Run a command that takes two persons: one asks, another approves; what came of it."""
    asked = await told(network, *arguments, "--by", "one")
    approve = ["approvals", "approve", asked["id"], "--sha256", asked["sha256"], "--by", "two"]
    return dict((await told(network, *approve))["result"])


async def told(network: Network, *arguments: str) -> dict[str, Any]:
    """Run a command that succeeds, or raise what it was refused for; the JSON it prints."""
    ended, said = await run(network, *arguments)
    if ended == REFUSED:
        raise Refused(said)
    assert ended == 0, said
    return dict(json.loads(_log(network, arguments).read_text().splitlines()[-1]))


def _log(network: Network, arguments: Sequence[str]) -> Path:
    return network.folder / f"{'-'.join(arguments[:3])}.log".replace("/", "")
