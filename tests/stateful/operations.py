"""A gateway with two workers and two registries as processes, and everything a test may do to them.

Nothing here judges. An operation that is not possible now (a registry is down, there is nothing to act on) does
nothing, so that a course of operations means the same whatever the timing was. Processes and databases live as long
as the world; an example has units of a series of its own, and transfers whose ids come after its ``marker``.
"""

import asyncio
import json
import secrets
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg

from gateway import embedded, wiring
from gateway.domain.addresses import LOOPBACK
from gateway.errors import GatewayError, Kind
from gateway.links import commands
from gateway.settings import Settings
from gateway.transfers import view
from gateway.transfers.relay import Relay
from gateway.wiring import Gateway
from tests import stage as staging
from tests.deciding import approved, asked
from tests.stage import AUTHORISATION, Stage
from tests.stateful.books import ACQUIRER, SOURCE, Books, Reader

REGISTRIES = (SOURCE, ACQUIRER)
#: Units of an example, and what is proposed of them: three lots that are apart, and three that overlap them.
UNITS = 12
LOTS = ((1, 4), (5, 8), (9, 12), (3, 6), (1, 2), (7, 10))
#: How long an operation waits for what may be held back on purpose.
MOMENT_SECONDS = 0.4
#: How far the gateway's clock may be ahead: what it signs is refused beyond 300 s.
MOST_AHEAD = timedelta(seconds=240)


@dataclass(frozen=True)
class Letter:
    """A message as it went over the wire once."""

    direction: str
    peer: str
    type: str
    content_type: str
    body: bytes


@dataclass
class World:
    """The stage, a second worker, and what belongs to the example under way."""

    stage: Stage
    other: Gateway
    reader: Reader
    stack: AsyncExitStack
    is_spoiled: bool = False
    examples: int = 0
    series: str = ""
    marker: str = ""
    letters: dict[str, Letter] = field(default_factory=dict)
    #: When each registry made its backup in this example.
    backed_up: dict[str, str] = field(default_factory=dict)
    #: A registry that fell back, and has not asked yet.
    down: str = ""
    #: Crash points that may still be deadly.
    armed: dict[str, set[str]] = field(default_factory=dict)
    _renewed: bool = False
    _entries: int = 0

    @classmethod
    async def opened(cls, server: embedded.Server, folder: Path) -> "World":
        """MEC01 answers in the response, KOR01 by messages of its own."""
        stack = AsyncExitStack()
        stage = await stack.enter_async_context(staging.opened(server, folder))
        await stage.link(SOURCE, "mechanism")
        await stage.link(ACQUIRER, "party", "KOR", answer="message")
        database = server.dsn(stage.database_name, "gateway_app")
        other = wiring.build(
            Settings(private_peers=LOOPBACK, database_url=database, key_file=folder / "gateway.pem"), clock=stage.clock
        )
        stack.push_async_callback(other.close)
        reader = Reader(stage)
        stack.callback(reader.close)
        return cls(stage, other, reader, stack)

    async def close(self) -> None:
        """End the processes; sends under way are given up."""
        await asyncio.gather(*(self.clear(code) for code in REGISTRIES))
        await self.finish(10)
        await self.stack.aclose()

    async def begin(self) -> None:
        """Issue fresh units for an example."""
        self.series = f"EX-{secrets.token_hex(6)}"
        self.letters, self.backed_up = {}, {}
        self.down, self._renewed = "", False
        self.stage.clock.ahead = timedelta()
        [(self._entries,)] = await self.stage.rows("SELECT max(id) FROM log_entry")
        # A source that fell back unnoticed gives the same identifiers again, and must not to the next example's units.
        self.examples += 1
        self.reader.execute(SOURCE, "UPDATE itmo_series SET next_serial = %(n)s", {"n": self.examples * 10 * UNITS})
        milliseconds = f"{time.time_ns() // 1_000_000:012x}"
        self.marker = f"{SOURCE}-{milliseconds[:8]}-{milliseconds[8:]}-7000-8000-000000000000"
        await self.stage.issue(net=UNITS, series=self.series)

    def books(self) -> Books:
        """What the three nodes hold now."""
        return self.reader.books(self.marker, self.series)

    async def collect(self) -> None:
        """Keep a copy of every message that the gateway has stored since."""
        known = ", ".join(f"'{name}'" for name in self.letters) or "''"
        for message, *rest, body in await self.stage.rows(
            "SELECT message_id::text, direction, peer, type, content_type, body FROM message "
            f"WHERE entry_id > {self._entries} AND message_id::text NOT IN ({known}) ORDER BY entry_id"
        ):
            self.letters[message] = Letter(*rest, bytes(body))

    # -- the registries ---------------------------------------------------------------------------

    async def ask(self, code: str, method: str, path: str, body: Any = None) -> httpx.Response | None:
        """Call a registry as its operator; nothing when it is down, dies of it, or hangs on a fault."""
        url = f"{self.stage.registries[code].url}/admin/{path}"
        try:
            answer = await asyncio.wait_for(self.stage.http.request(method, url, json=body), 10)
        except (httpx.TransportError, TimeoutError):
            return None
        assert answer.status_code < 500 or answer.status_code == 503, answer.text
        return answer

    async def propose(self, lots: list[int], each_alone: bool) -> bool:
        """Let MEC01 propose these lots in one go; whether it could."""
        to = {"registry": ACQUIRER, "party": "KOR", "account": "100-1"}
        origin = {"registry": SOURCE, "series": self.series}
        wishes = [
            {
                "party": "MMR",
                "to": to,
                "quantity": last - first + 1,
                "authorisation": AUTHORISATION,
                "blocks": [{"origin": origin, "first": first, "last": last}],
            }
            for first, last in (LOTS[lot] for lot in lots)
        ]
        answer = await self.ask(SOURCE, "POST", "transfers", {"transfers": wishes, "one_message_each": each_alone})
        return answer is not None and answer.status_code == 201

    async def withdraw(self, transfer: str) -> None:
        """Let MEC01's operator withdraw a transfer."""
        await self.ask(SOURCE, "POST", f"transfers/{transfer}/withdraw")

    async def set_policy(self, code: str, **policy: Any) -> None:
        """Let a registry decide otherwise from now on."""
        await self.ask(code, "PATCH", "policy", policy)

    async def fault(self, code: str, **members: Any) -> None:
        """Set a fault."""
        answer = await self.ask(code, "POST", "faults", members)
        assert answer is None or answer.status_code == 201, answer.text

    async def clear(self, code: str) -> None:
        """Take all faults away, and let go of what they hold."""
        await self.ask(code, "DELETE", "faults")

    async def ask_waiting(self, code: str) -> None:
        """Let a registry ask about everything that is open there."""
        await self.ask(code, "POST", "ask")

    def is_up(self, code: str) -> bool:
        """Whether a registry's process lives."""
        return self.stage.registries[code].process.returncode is None

    async def kill(self, code: str) -> None:
        """End a process as a power cut would."""
        process = self.stage.registries[code].process
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def die_at(self, code: str, point: str, times: int = 1) -> None:
        """Let a process kill itself at one of its crash points."""
        self.armed.setdefault(code, set()).add(point)
        await self.ask(code, "POST", "crash", {"point": point, "n": times})

    async def start(self, code: str) -> None:
        """Start a process that has died."""
        if not self.is_up(code):
            self.armed.pop(code, None)
            await self.stage.restart(code)

    async def back_up(self, code: str) -> None:
        """Let a registry make a backup."""
        answer = await self.ask(code, "POST", "backup")
        if answer is not None and answer.is_success:
            self.backed_up[code] = answer.json()["at"]

    async def restore(self, code: str, *, known: bool) -> bool:
        """Let a registry fall back to its backup of this example; whether it has one, and did."""
        await self.start(code)
        if code not in self.backed_up:
            return False
        answer = await self.ask(code, "POST", "restore", {"known": known})
        if answer is None and not self.is_up(code):  # it died of it: before or after, its own mark says
            await self.start(code)
            answer = await self.ask(code, "POST", "restore", {"known": known})
        assert answer is not None and answer.is_success
        self.down = code if known else ""
        return True

    async def synchronise(self) -> bool:
        """Let a registry that was restored come back, with its new key; whether it serves again."""
        code = self.down
        if not code or not self.is_up(code):
            return False
        if not self._renewed:
            await self._renew(code)
        moment = datetime.fromisoformat(self.backed_up[code])
        async with self.stage.gateway.database.reading() as tx:
            named = [transfer for transfer, _ in await view.since(tx, code, moment)]
        answer = await self.ask(code, "POST", "synchronise", {"transfers": named})
        if answer is None or answer.status_code == 503:
            return False
        assert answer.is_success or answer.json()["code"] == 3002, answer.text  # 3002: it came back, and died
        self.down = ""
        return True

    async def _renew(self, code: str) -> None:
        """Tell the others of the new key: the gateway refuses the old one, a peer needs it for what was said before."""
        registry = self.stage.registries[code]
        [new] = (await self.stage.http.get(f"{registry.url}/keys")).json()["keys"]
        file = self.stage.folder / f"{code}.jwks"
        file.write_text(json.dumps({"keys": [*json.loads(file.read_text())["keys"], new]}))
        now = datetime.now(UTC)
        await self.stage.run(lambda tx: commands.restored(tx, code, [new], now=now))
        self._renewed = True

    # -- the gateway ------------------------------------------------------------------------------

    def relay(self, worker: int) -> Relay:
        """One of the two workers."""
        return (self.stage.gateway, self.other)[worker].relay

    async def turn(self, *workers: int) -> None:
        """Let workers take a turn, at the same time; what is held back goes on behind their backs."""
        await asyncio.gather(*(self._while_it_can(self.relay(worker).begin) for worker in workers))
        await self.finish(MOMENT_SECONDS)

    async def finish(self, seconds: float) -> None:
        """Let sends under way end, for so long."""
        for gateway in (self.stage.gateway, self.other):
            with suppress(TimeoutError):
                await asyncio.wait_for(gateway.relay.finish(), seconds)

    async def take_over(self, worker: int) -> None:
        """Let a worker free what the other has leased, as if that one were gone; it goes on all the same."""
        await self._while_it_can(self.relay(worker).take_over)

    async def _while_it_can(self, act: Callable[[], Awaitable[Any]]) -> None:
        try:
            await act()
        except GatewayError as error:
            if error.kind is not Kind.UNAVAILABLE:
                raise

    async def end(self, transfer: str) -> None:
        """Let an operator of the gateway end a transfer."""
        await self._intervene(transfer, "end", reason="a test")

    async def resume(self, transfer: str) -> None:
        """Let two persons decide that a transfer is asked about again."""
        first = await asked(self.stage, f"transfers/{transfer}/resume")
        assert first.status_code in (202, 404, 409, 503), first.text
        if first.status_code == 202:
            second = await approved(self.stage, first.json())
            assert second.status_code in (200, 409, 503), second.text

    async def _intervene(self, transfer: str, act: str, **members: str) -> None:
        url = f"/api/v1/transfers/{transfer}/{act}"
        answer = await self.stage.api.post(url, json=members)
        assert answer.status_code in (200, 404, 409, 503), answer.text

    async def pass_time(self, by: timedelta) -> None:
        """Let the rows grow old. The clocks stay: the registries' cannot be moved, and would refuse what is signed."""
        older = f"interval '{by.total_seconds()} s'"
        await self.stage.rows(
            f"UPDATE transfer SET next_at = next_at - {older}, leased_until = leased_until - {older}, "
            f"deadline = deadline - {older} WHERE id > '{self.marker}'"
        )
        for code in REGISTRIES:
            self.reader.execute(code, "UPDATE sent SET next_at = now() WHERE owed", {})

    def advance_clock(self, by: timedelta) -> None:
        """Put the gateway's clock ahead of the registries'."""
        self.stage.clock.ahead = min(self.stage.clock.ahead + by, MOST_AHEAD)

    async def copy(self, copying: Callable[[], Awaitable[None]]) -> None:
        """Copy the gateway's database to its backup, or back, between two of its transactions."""
        for _ in range(200):
            if self._transactions():
                await asyncio.sleep(0.02)
                continue
            await self.other.database.close()
            with suppress(psycopg.errors.ObjectInUse):  # somebody has come meanwhile
                return await copying()
        raise AssertionError("the database cannot be copied")

    def _transactions(self) -> int:
        """How many transactions the gateway is in the middle of."""
        statement = "SELECT pid FROM pg_stat_activity WHERE datname = %s AND state <> 'idle'"
        with psycopg.connect(self.stage.server.dsn()) as server:
            return server.execute(statement, [self.stage.database_name]).rowcount

    async def listen(self, seconds: float) -> None:
        """Let messages arrive, as long as any is on its way."""
        until = time.monotonic() + seconds
        while True:
            await asyncio.sleep(0.02)
            if time.monotonic() > until or not any(self.reader.owed(code) for code in REGISTRIES if self.is_up(code)):
                return

    async def deliver(self, letter: Letter, seconds: float = MOMENT_SECONDS) -> None:
        """Let an old message arrive once more, where it went before."""
        url = self.stage.link_url if letter.direction == "in" else self.stage.registries[letter.peer].url
        headers = {"content-type": letter.content_type}
        with suppress(httpx.TransportError, TimeoutError):
            post = self.stage.http.post(f"{url}/messages", content=letter.body, headers=headers)
            answer = await asyncio.wait_for(post, seconds)
            assert answer.status_code < 500 or answer.status_code == 503, answer.text
