"""A gateway in this process, on a fresh PostgreSQL database, with real registries as processes around it.

The gateway's own parts are at hand (its relay can be made to take single turns, its statements counted, its
clock set), and everything between it and the registries goes over HTTP. All units and accounts are synthetic.
"""

import asyncio
import json
import secrets
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psycopg
from psycopg import sql

from gateway import db, embedded, migrations, wiring
from gateway import worker as relay_worker
from gateway.access.tokens import Authority
from gateway.audit import cosigning, witness
from gateway.audit.transparency import Transparency
from gateway.audit.witness_store import Watched, Witness
from gateway.doctor.examination import examine
from gateway.doctor.scene import Own
from gateway.domain.addresses import LOOPBACK
from gateway.domain.callers import EVERYTHING, Caller, Scope
from gateway.links.store import Link
from gateway.reconciliation.runs import Reconciliations
from gateway.settings import Settings
from gateway.signing import notes
from gateway.signing.keys import SoftwareKey
from gateway.signing.log_keys import LogKey
from gateway.web import link, operator
from gateway.web import server as web_server
from gateway.wiring import Gateway, Pulls
from tests import deciding
from tests.bearer import Cast

AUTHORISATION = {"id": "MMR-SYNTHETIC-2026-1", "version": 1}
PATIENCE_SECONDS = 60.0

T = TypeVar("T")


def make_template(server: embedded.Server) -> None:
    """Migrate the database every test's own is copied from."""
    server.create_database("gateway", "gateway_owner")
    migrations.grant_app(server.dsn("gateway"), server.password("gateway_app"))
    migrations.apply(server.dsn("gateway", "gateway_owner"))


def fresh_database(server: embedded.Server, template: str = "gateway") -> str:
    """A new migrated database, or a copy of one that nobody is connected to; its name."""
    name = f"gateway_{secrets.token_hex(4)}"
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        made = sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER gateway_owner").format(
            sql.Identifier(name), sql.Identifier(template)
        )
        connection.execute(made)
        connection.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO gateway_app").format(sql.Identifier(name)))
    return name


@dataclass
class Clock:
    """The gateway's clock: real time (or one moment, when it stands), moved by ``ahead``."""

    ahead: timedelta = timedelta()
    stands_at: datetime | None = None

    def __call__(self) -> datetime:
        return (self.stands_at or datetime.now(UTC)) + self.ahead


@dataclass
class Registry:
    """A sandbox registry as a process."""

    code: str
    url: str
    process: asyncio.subprocess.Process
    http: httpx.AsyncClient
    command: list[str]

    @property
    def link(self) -> str:
        """Where its link begins: another wire than the link protocol has a path of its own."""
        return f"{self.url}/des" if "des" in self.command else self.url

    async def post(self, path: str, **body: Any) -> dict[str, Any]:
        return await self._called("POST", path, json=body)

    async def change(self, path: str, **body: Any) -> dict[str, Any]:
        return await self._called("PATCH", path, json=body)

    async def get(self, path: str) -> dict[str, Any]:
        return await self._called("GET", path)

    async def _called(self, method: str, path: str, **content: Any) -> dict[str, Any]:
        answer = await self.http.request(method, f"{self.url}/admin/{path}", **content)
        assert answer.is_success, answer.text
        return dict(answer.json())

    async def owes_nothing(self) -> bool:
        """Whether everything it had to say has been heard."""
        return not (await self.get("books"))["outbox"]

    async def stop(self) -> None:
        """End the process; its database and its key stay."""
        await _stop(self.process)


#: An administrator of the gateway who may do everything.
ROOT = Caller("root", person=True, sight=EVERYTHING, scopes=frozenset(Scope))


@dataclass
class Stage:
    """The gateway, its addresses and the registries that are linked with it."""

    folder: Path
    server: embedded.Server
    database_name: str
    gateway: Gateway
    transparency: Transparency
    clock: Clock
    link_url: str
    operator_url: str
    http: httpx.AsyncClient
    stack: AsyncExitStack
    callers: Cast
    #: The operator API, called by an administrator of the gateway.
    api: httpx.AsyncClient = field(init=False)
    history: Pulls = field(init=False)
    reconciliation: Reconciliations = field(init=False)
    registries: dict[str, Registry] = field(default_factory=dict)

    async def authorization(self, caller: Caller) -> str:
        """What ``caller`` shows at the operator API; good for some minutes."""
        return (await self.callers.bearer(caller)).header

    async def calling(self, caller: Caller) -> httpx.AsyncClient:
        """A client of the operator API that calls in the name of ``caller``."""
        bearer = await self.callers.bearer(caller)
        client = httpx.AsyncClient(base_url=self.operator_url, auth=bearer, timeout=60, trust_env=False)
        return await self.stack.enter_async_context(client)

    async def run(self, work: Callable[[db.Tx], Awaitable[T]]) -> T:
        """Run a test's own work in a transaction of the gateway's; the name of its commit does not matter."""
        return await self.gateway.database.run(work, "request")

    async def doctor(self) -> list[str]:
        """What the doctor finds wrong in the gateway's database."""
        report = await examine(self.gateway.database, Own.of(self.gateway.node), self.clock())
        return [f"{name}: {remark}" for name, remark in report.findings]

    async def back_up(self) -> None:
        """Copy the gateway's database as it stands; no worker may run."""
        await self._copy(self.database_name, f"{self.database_name}_backup")

    async def fall_back(self) -> None:
        """Put the copy in the place of the gateway's database, which loses all that came after it."""
        await self._copy(f"{self.database_name}_backup", self.database_name)

    async def _copy(self, source: str, target: str) -> None:
        """The copy of a database to which nobody may be connected: who comes in just then is told to come again."""
        await self.gateway.database.disconnect()
        names = {"source": sql.Identifier(source), "target": sql.Identifier(target)}
        ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
        with psycopg.connect(self.server.dsn(), autocommit=True) as server:
            server.execute(sql.SQL("DROP DATABASE IF EXISTS {target} WITH (FORCE)").format(**names))
            server.execute(sql.SQL("ALTER DATABASE {source} ALLOW_CONNECTIONS false").format(**names))
            try:
                server.execute(ended, [source])
                server.execute(
                    sql.SQL("CREATE DATABASE {target} TEMPLATE {source} OWNER gateway_owner").format(**names)
                )
            finally:
                server.execute(sql.SQL("ALTER DATABASE {source} ALLOW_CONNECTIONS true").format(**names))
            server.execute(sql.SQL("GRANT CONNECT ON DATABASE {target} TO gateway_app").format(**names))
        await self.gateway.database.disconnect()

    async def link(
        self,
        code: str,
        kind: str,
        party: str = "",
        *,
        answer: str = "reply",
        activate: bool = True,
        sections: Sequence[str] = (),
        follows: bool = False,
        wire: str = "link",
        more: Sequence[str] = (),
    ) -> Registry:
        """Start a registry, pin its keys, register it and let it activate its link; ``sections`` names Parties.

        One that ``follows`` looks whether the gateway's log keeps its promises, cosigns it, and has its own cosigned.
        """
        registry = await self._start(code, kind, party, answer, sections, follows, wire, more)
        keys = (await self.http.get(f"{registry.link}/keys")).json()
        (self.folder / f"{code}.jwks").write_text(json.dumps(keys))
        books: dict[str, str | None] = {f"{one}99": one for one in sections} or {code: party or None}
        made = Link(code, kind, registry.link, "requested", 24, tuple(books))
        await self.run(lambda tx: deciding.establish(tx, self.gateway.node, made, books, keys["keys"]))
        if follows:
            await self._witness(registry, kind)
        if activate:
            assert (await registry.post("activate"))["receipted"]
        self.registries[code] = registry
        return registry

    async def _witness(self, registry: Registry, kind: str) -> None:
        """Let each cosign the other's log, where it has one."""
        [key] = notes.read_keys((await self.http.get(f"{registry.link}/witness/keys")).text)
        now, witness_of = self.clock(), Witness(key.name, key.vkey, registry.code)
        await self.run(lambda tx: cosigning.add(tx, witness_of, now))
        if kind == "mechanism":
            shown = (await self.http.get(f"{registry.link}/log/keys")).json()
            log = Watched(shown["origin"], registry.code, tuple(one["vkey"] for one in shown["keys"]))
            await self.run(lambda tx: witness.watch(tx, log, now))

    async def _start(
        self,
        code: str,
        kind: str,
        party: str,
        answer: str,
        sections: Sequence[str],
        follows: bool = False,
        wire: str = "link",
        more: Sequence[str] = (),
    ) -> Registry:
        name = f"{code.lower()}_{self.database_name}"
        self.server.create_database(name, name)
        arguments = ["--code", code, "--database", self.server.dsn(name, name), "--answer", answer, "--wire", wire]
        arguments += ["--key", str(self.folder / f"{code}.pem"), "--gateway-url", self.link_url]
        arguments += ["--gateway-keys", str(self.folder / "GWY01.jwks")]
        arguments += ["--party", party] if party else []
        arguments += ["--gateway-log-keys", str(self.folder / "GWY01.vkeys")] if follows else []
        arguments += ["--witness"] if follows and kind == "mechanism" else []
        arguments += [argument for one in sections for argument in ("--section", one)]
        arguments += more
        for other in ("MEC01", "KOR01", "JPN01", "CHE01", "INT01", "SRV01"):
            if other != code:
                arguments += ["--peer", f"{other}={self.folder / other}.jwks"]
        command = [sys.executable, "-m", "connectors.sandbox", kind, *arguments]
        process, url = await self._run(command)
        return Registry(code, url, process, self.http, command)

    async def restart(self, code: str) -> None:
        """Start a registry again that was stopped, where it was and with what it had."""
        registry = self.registries[code]
        registry.process, url = await self._run([*registry.command, "--listen", registry.url.removeprefix("http://")])
        assert url == registry.url

    async def _run(self, command: list[str]) -> tuple[asyncio.subprocess.Process, str]:
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        self.stack.push_async_callback(_stop, process)
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), PATIENCE_SECONDS)
        return process, json.loads(line)["url"]

    async def issue(self, gross: int = 10_000, *, net: int | None = None, **changes: Any) -> int:
        """Let MEC01 issue to Myanmar and announce it; the units left in the holding account, ``net`` where given."""
        wanted = {"activity": "PoA 10471", "party": "MMR", "vintage": 2021, "series": "MMR-A64"}
        wanted |= {"gross": gross} if net is None else {"net": net}
        wanted |= {"authorisation": AUTHORISATION} | changes
        made = await self.registries["MEC01"].post("issue", **wanted)
        if wanted.get("announce", True):
            await self.until(lambda: self.count(f"action WHERE action = '{made['action']}'"))
        return sum(h["block"]["last"] - h["block"]["first"] + 1 for h in made["holdings"] if h["account"] == "100-1")

    async def propose(self, *quantities: int, to: str = "KOR01", source: str = "MEC01", **changes: Any) -> list[str]:
        """Let a registry propose transfers of these quantities; their ids."""
        party, sender = to[:3], "MMR" if source == "MEC01" else source[:3]
        wish = {"party": sender, "to": {"registry": to, "party": party, "account": "100-1"}}
        wishes = [wish | {"quantity": q, "authorisation": AUTHORISATION} | changes for q in quantities]
        return list((await self.registries[source].post("transfers", transfers=wishes))["transfers"])

    async def transfer(self, transfer: str) -> dict[str, Any]:
        """One transfer as the operator API shows it."""
        answer = await self.api.get(f"/api/v1/transfers/{transfer}")
        assert answer.is_success, answer.text
        return dict(answer.json())

    async def published(self, code: str) -> list[dict[str, Any]]:
        """The public keys a registry shows."""
        return list((await self.http.get(f"{self.registries[code].link}/keys")).json()["keys"])

    async def states(self, transfers: list[str]) -> list[str]:
        """The states of these transfers, "absent" for one that has not arrived."""
        found = dict(await self.rows("SELECT id, state FROM transfer"))
        return [str(found.get(t, "absent")) for t in transfers]

    async def books(self) -> dict[str, Any]:
        """The gateway's book per registry, with ``conservation``."""
        return dict((await self.api.get("/api/v1/books")).json())

    async def count(self, table: str) -> int:
        """Rows of ``table`` (which may carry a WHERE)."""
        return int((await self.rows(f"SELECT count(*) FROM {table}"))[0][0])

    async def rows(self, statement: str, role: str = "gateway_owner") -> list[tuple[Any, ...]]:
        """What a statement of a test's own gives, run as ``role``."""
        dsn = self.server.dsn(self.database_name, role)
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
            cursor = await connection.execute(statement)  # type: ignore[arg-type]
            return list(await cursor.fetchall()) if cursor.description else []

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Run a worker meanwhile."""
        stop = asyncio.Event()
        task = asyncio.create_task(relay_worker.run(self.gateway.relay, self.gateway.database, stop))
        try:
            yield
        finally:
            stop.set()
            await task

    async def until(self, holds: Callable[[], Awaitable[Any]]) -> None:
        """Wait until ``holds`` gives something true; fails after a while."""
        deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        while not await holds():
            assert asyncio.get_running_loop().time() < deadline, "waited in vain"
            await asyncio.sleep(0.05)

    async def relay(self, transfers: list[str], *, told: bool = True) -> list[str]:
        """Work until the transfers are final (and every side has been told); their states."""
        final = {"completed", "refused", "rejected", "cancelled"}

        async def settled() -> bool:
            if not set(await self.states(transfers)) <= final:
                return False
            owing = {row[0] for row in await self.rows("SELECT id FROM transfer WHERE next_at IS NOT NULL")}
            return not told or not owing & set(transfers)

        async with self.working():
            await self.until(settled)
        return await self.states(transfers)


@asynccontextmanager
async def opened(server: embedded.Server, folder: Path) -> AsyncIterator[Stage]:
    """A gateway that serves on loopback, with nobody linked yet and no worker running."""
    async with AsyncExitStack() as stack:
        name = fresh_database(server)
        key = SoftwareKey.generate()
        key.save(folder / "gateway.pem")
        (folder / "GWY01.jwks").write_text(json.dumps({"keys": [{**key.public_jwk(), "use": "sig"}]}))
        clock = Clock()
        tokens = SoftwareKey.generate()
        tokens.save(folder / "tokens.pem")
        LogKey.generate().save(folder / "log.pem")
        settings = Settings(
            database_url=server.dsn(name, "gateway_app"),
            key_file=folder / "gateway.pem",
            token_key_file=folder / "tokens.pem",
            log_key_file=folder / "log.pem",
            private_peers=LOOPBACK,
        )
        gateway = wiring.build(settings, clock=clock)
        transparency = wiring.transparent(settings, gateway)
        vkeys = [verifier.vkey for verifier in transparency.own.key.verifiers(transparency.own.origin)]
        (folder / "GWY01.vkeys").write_text("\n".join(vkeys))
        await transparency.start()
        stack.push_async_callback(gateway.close)
        sockets = [web_server.listen("127.0.0.1:0") for _ in range(2)]
        endpoint = wiring.token_endpoint(settings, gateway)
        await endpoint.register()
        cast = Cast(gateway, Authority(settings.issuer_name, tokens))
        parts = (gateway.database, gateway.node, gateway.inbox, gateway.callers, wiring.EXECUTORS, endpoint)
        facing_operators = operator.app(*parts, live=gateway.live)
        application = link.app(gateway.database, gateway.inbox, gateway.node, transparency, wiring.ENCODINGS)
        edges, stop = list(zip((application, facing_operators), sockets, strict=True)), asyncio.Event()
        serving = asyncio.create_task(web_server.run(edges, stop))
        stack.push_async_callback(_end, serving, stop)
        http = await stack.enter_async_context(httpx.AsyncClient(timeout=60, trust_env=False))
        facing = [web_server.url(sock) for sock in sockets]
        stage = Stage(folder, server, name, gateway, transparency, clock, *facing, http, stack, cast)
        stage.api, stage.history = await stage.calling(ROOT), gateway.pulls
        stage.reconciliation = gateway.reconciliations
        yield stage


async def _end(serving: "asyncio.Task[None]", stop: asyncio.Event) -> None:
    stop.set()
    await serving


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
    await process.wait()
