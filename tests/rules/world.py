"""The world of one rule: three registries, one gateway, and the hand that loses, delays and forgets between them.

The gateway takes single turns; what it has stored is delivered, late or again, by the test; faults are set at the
registries. A rule is switched off in the gateway's tables and functions (it runs in this process), and at a registry
by starting it again as a program that does not keep it (``without``). The same course is played with and without.
Every test has units of its own, ten of a series, and asks afterwards in which books they are.
"""

import asyncio
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from joserfc.jwk import KeySet

from gateway import db, wiring
from gateway.domain import transfers as domain
from gateway.domain.registry import Accepted, OutgoingMessage
from gateway.domain.transfers import Cell, Event, Outcome, Progress, State
from gateway.links import commands as links
from gateway.messages import outbox
from gateway.messages import store as messages
from gateway.messages.inbox import Inbound
from gateway.messages.outbox import Draft, Wait
from gateway.signing import compact
from gateway.signing.envelope import VerifiedMessage
from gateway.transfers import hearing, leases, store
from gateway.transfers.steps import Taken
from tests.integration.test_sandbox_play import Heard, read
from tests.stage import Registry, Stage

UNITS = 10
CODES = ("MEC01", "KOR01", "JPN01")
#: More often than any test sends anything.
ALWAYS = 1_000_000
#: The statements of the gateway, and the column that names the message each is in.
COLUMNS = {
    "offer": "offer_id",
    "commit": "commit_id",
    "cancel": "cancel_id",
    "settle": "settle_id",
    "closed-source": "closed_source_id",
    "closed-acquirer": "closed_acquirer_id",
}
#: The registry as a program, and the one that does not keep some rules.
SANDBOX, WITHOUT = "connectors.sandbox", "tests.rules.without"
_numbers = itertools.count(1)


def table(off: pytest.MonkeyPatch, cells: Mapping[tuple[State, Event], Cell]) -> None:
    """Give the gateway another transition table: its own with these cells changed."""
    off.setattr(domain, "TRANSITIONS", {**domain.TRANSITIONS, **cells})


def ending(
    off: pytest.MonkeyPatch, message_type: str, transfer: str, says_no: Callable[[VerifiedMessage], bool]
) -> None:
    """Give the gateway another handler: it ends the transfer when such a message seems to say no."""

    async def handler(tx: db.Tx, node: outbox.Node, inbound: Inbound) -> tuple[()]:
        row = (await store.lock(tx, [transfer]))[transfer]
        if says_no(inbound.message):
            cancelled = Progress(State.CANCELLED, Outcome.CANCELLED)
            await hearing.take(tx, node, inbound, [Taken(row, Event.OPERATOR_ENDED, cancelled)])
        return ()

    off.setitem(wiring.HANDLERS, message_type, handler)


def said_once(off: pytest.MonkeyPatch) -> None:
    """Give the gateway another way to wait: what has left once is done with, whatever came of it."""

    async def done(tx: db.Tx, ids: Sequence[str], wait: Wait) -> None:
        await db.execute(
            tx,
            "UPDATE transfer SET next_at = NULL, leased_until = NULL, leased_by = NULL, waiting = NULL, attempts = 0"
            " WHERE id = ANY(CAST(:ids AS text[])) AND leased_until = :until AND leased_by = :worker",
            {"ids": list(ids), "until": wait.lease.until, "worker": wait.lease.worker},
        )

    off.setattr(leases, "wait", done)


async def overwrite(stage: Stage, database: str, *statements: str) -> None:
    """Change a database past its triggers, in one transaction."""
    async with await psycopg.AsyncConnection.connect(stage.server.dsn(database)) as connection:
        await connection.execute("SET session_replication_role = replica")
        for statement in statements:
            await connection.execute(statement.encode())


@dataclass
class World:
    """The stage of a file, and one test's own series on it."""

    stage: Stage
    number: int = field(default_factory=lambda: next(_numbers))
    #: How the registries are started that keep every rule, of those that keep one less now.
    commands: dict[str, list[str]] = field(default_factory=dict)

    @property
    def series(self) -> str:
        """This test's units."""
        return f"RULE{self.number}"

    @property
    def authorisation(self) -> dict[str, Any]:
        """What this test's units are under."""
        return {"id": f"MMR-RULE-{self.number}", "version": 1}

    # What happens by itself

    async def issue(self) -> None:
        """Let MEC01 have this test's units; their identifiers are of no other test's kind."""
        named = {"cooperative_approach": f"CA{self.number:04}"}
        await self.stage.issue(net=UNITS, series=self.series, attributes=named, authorisation=self.authorisation)

    async def propose(self, to: str = "KOR01", source: str = "MEC01") -> str:
        """Propose all of this test's units; the transfer, which the gateway has."""
        block = {"origin": {"registry": "MEC01", "series": self.series}, "first": 1, "last": UNITS}
        asked = {"to": to, "source": source, "blocks": [block], "authorisation": self.authorisation}
        [transfer] = await self.stage.propose(UNITS, **asked)
        await self.stage.until(lambda: self.stage.count(f"transfer WHERE id = '{transfer}'"))
        return transfer

    async def at(self, state: str) -> str:
        """A new transfer of new units from MEC01 to KOR01, in this state."""
        await self.issue()
        return await self.on(await self.propose(), state)

    async def on(self, transfer: str, state: str) -> str:
        """Work, turn by turn, until the transfer is in this state."""
        for _ in range(8):
            if await self.state(transfer) == state:
                return transfer
            await self.turn(transfer)
        assert await self.state(transfer) == state
        return transfer

    async def committing(self) -> str:
        """A new transfer whose commit is stored, sent once, and lost."""
        await self.lose("MEC01", "transfer.commit")
        return await self.at("committing")

    async def turn(self, *transfers: str) -> bool:
        """One turn of the gateway's worker, before which these transfers have come due; whether anything was due."""
        if transfers:
            ids = ", ".join(f"'{t}'" for t in transfers)
            due = "next_at = now() - interval '1 s', leased_until = NULL, leased_by = NULL"
            await self.stage.rows(f"UPDATE transfer SET {due} WHERE id IN ({ids}) AND next_at IS NOT NULL")
        return await self.stage.gateway.relay.turn()

    async def a_day_later(self, transfer: str) -> None:
        """The time for reaching a commit is over, for this transfer alone."""
        await self.stage.rows(f"UPDATE transfer SET deadline = deadline - interval '25 hours' WHERE id = '{transfer}'")

    async def step(self, work: Callable[[db.Tx, store.Row], Any], transfer: str) -> Any:
        """Run something on a locked row in one transaction."""

        async def done(tx: db.Tx) -> Any:
            return await work(tx, (await store.lock(tx, [transfer]))[transfer])

        return await self.stage.run(done)

    async def without(self, rules: str, code: str) -> None:
        """Start a registry again as one that does not keep these rules (``without.RULES``); ``rest`` ends that."""
        registry = self.registry(code)
        await registry.stop()
        self.commands[code], at = registry.command, registry.command.index(SANDBOX)
        registry.command = [*registry.command[:at], WITHOUT, rules, *registry.command[at + 1 :]]
        await self.stage.restart(code)

    # What the network does

    def registry(self, code: str) -> Registry:
        return self.stage.registries[code]

    async def fault(self, at: str, fault: str, kind: str, **members: Any) -> None:
        """Set a fault that the next message of this type meets, on its way to a registry unless said otherwise."""
        await self.registry(at).post("faults", fault=fault, type=kind, **members)

    async def lose(self, at: str, kind: str, **members: Any) -> None:
        """Lose the next message of this type."""
        await self.fault(at, "lose-request", kind, **members)

    async def mend(self, code: str) -> None:
        """End all faults of a registry; what they held back goes on."""
        answer = await self.stage.http.delete(f"{self.registry(code).url}/admin/faults")
        assert answer.is_success

    async def stored(self, transfer: str, step: str) -> messages.Message:
        """A message of the gateway's as it is stored."""
        [(found,)] = await self.stage.rows(f"SELECT {COLUMNS[step]}::text FROM transfer WHERE id = '{transfer}'")
        async with self.stage.gateway.database.reading() as tx:
            [message] = await messages.outgoing(tx, [found])
        return message

    async def deliver(self, transfer: str, step: str) -> Heard:
        """A copy of what the gateway has sent arrives now; how it is answered (to the network, not to the gateway)."""
        return await self.arrive(await self.stored(transfer, step))

    async def arrive(self, message: messages.Message) -> Heard:
        answer = await self.stage.http.post(
            f"{self.registry(message.peer).url}/messages",
            content=message.body,
            headers={"content-type": message.content_type},
        )
        assert answer.status_code == 200, answer.text
        keys = KeySet.import_key_set(json.loads((self.stage.folder / f"{message.peer}.jwks").read_text()))
        return read(answer.headers["content-type"], answer.content, keys)

    async def ask(self, code: str, transfer: str, step: str) -> VerifiedMessage:
        """Let the gateway ask where a transfer stands, and whether what it said has come; it hears the answer."""
        gateway, said = self.stage.gateway, await self.stored(transfer, step)
        named = {"id": said.message_id, "sha256": compact.digest(messages.jws_of(said.body))}
        body = {"transfer": transfer, "my_state": await self.state(transfer), "message": named}
        expires = gateway.node.clock() + timedelta(seconds=300)

        async def query(tx: db.Tx) -> messages.Message:
            draft = Draft(code, "status.query", body=body, expires_at=expires, numbered=False)
            [stored] = await outbox.store(tx, gateway.node, [draft])
            return (await messages.outgoing(tx, [stored.message.id]))[0]

        asked = await self.stage.run(query)
        async with gateway.database.reading() as tx:
            registry = await gateway.registries.of(tx, code)
        assert registry is not None
        outcome = await registry.send(OutgoingMessage(asked.message_id, asked.type, asked.body, asked.content_type))
        assert isinstance(outcome, Accepted)
        return await gateway.inbox.absorb(outcome.body, asked)

    # Restores

    async def come_back(self, code: str, *, revoked: bool = True) -> None:
        """Restore a registry which knows it: a new key, which its peers trust from now on, the old one no more."""
        stage, now = self.stage, self.stage.clock()
        key = (await self.registry(code).post("restore", known=True))["key"]
        path = stage.folder / f"{code}.jwks"
        path.write_text(json.dumps({"keys": [*json.loads(path.read_text())["keys"], key]}))
        if revoked:
            await stage.run(lambda tx: links.restored(tx, code, [key], now=now))
        else:
            await stage.run(lambda tx: links.add_keys(tx, code, [key], now=now, not_before=now, not_after=None))

    async def synchronise(self, code: str, *transfers: str) -> list[str]:
        """A restored registry asks about these transfers and all that are open there; where these stand then."""
        states = (await self.registry(code).post("synchronise", transfers=list(transfers)))["states"]
        return [states[transfer] for transfer in transfers]

    # What is true afterwards

    async def state(self, transfer: str) -> str:
        [state] = await self.stage.states([transfer])
        return state

    async def stands(self, transfer: str, state: str) -> bool:
        return await self.state(transfer) == state

    async def stands_at(self, code: str, transfer: str, state: str) -> bool:
        return await self.state_at(code, transfer) == state

    async def state_at(self, code: str, transfer: str) -> str:
        """Where the transfer stands at a registry."""
        rows = await self.look(code, "SELECT state FROM transfer WHERE transfer = %s", transfer)
        return str(rows[0][0]) if rows else "unknown"

    async def look(self, code: str, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        name = f"{code.lower()}_{self.stage.database_name}"
        async with await psycopg.AsyncConnection.connect(self.stage.server.dsn(name)) as connection:
            return list(await (await connection.execute(statement.encode(), parameters)).fetchall())

    async def books(self) -> dict[str, int]:
        """In which registries' books this test's units are, and how many in each, but for those deducted at first."""
        units = "SELECT coalesce(sum(last - first + 1), 0)::int FROM holding h JOIN series s ON s.id = h.series"
        found = {
            code: (await self.look(code, f"{units} WHERE s.name = %s AND account <> '320-1'", self.series))[0][0]
            for code in CODES
        }
        return {code: quantity for code, quantity in found.items() if quantity}

    async def locked(self, transfer: str) -> int:
        """How many units MEC01 keeps locked for a transfer."""
        units = "SELECT coalesce(sum(last - first + 1), 0)::int FROM holding WHERE locked_by = %s"
        return int((await self.look("MEC01", units, transfer))[0][0])

    async def said(self, transfer: str) -> set[str]:
        """Every step of a transfer that the gateway keeps."""
        found = await self.stage.rows(f"SELECT step FROM transfer_step WHERE transfer_id = '{transfer}'")
        return {step for (step,) in found}

    async def alarms(self, transfer: str) -> list[str]:
        found = await self.stage.rows(f"SELECT detail FROM alarm WHERE transfer_id = '{transfer}' ORDER BY id")
        return [detail for (detail,) in found]

    async def alarms_at(self, code: str, transfer: str) -> list[str]:
        found = await self.look(code, "SELECT detail FROM alarm WHERE transfer = %s ORDER BY id", transfer)
        return [detail for (detail,) in found]

    async def doctor(self, *names: str) -> list[str]:
        """What the doctor finds wrong with a transfer (its name is left out), or with this test's series."""
        wanted = names or (self.series,)
        found = [line for line in await self.stage.doctor() if any(name in line for name in wanted)]
        return [line.replace(f"transfer {name}: ", "") for line in found for name in wanted if name in line]

    async def completes(self, transfer: str, to: str = "KOR01") -> None:
        """It does, the units are where they should be, and the doctor finds nothing wrong."""
        await self.on(transfer, "completed")
        while await self.turn(transfer):
            pass
        assert await self.books() == {to: UNITS}
        assert await self.doctor(transfer, self.series) == []

    async def rest(self) -> None:
        """Let nobody work on what this test leaves behind, and every registry keep every rule again."""
        await asyncio.gather(*map(self._at_rest, CODES))
        self.stage.clock.ahead = timedelta()
        at_rest = "next_at = NULL, leased_until = NULL, leased_by = NULL, waiting = NULL, attempts = 0"
        await self.stage.rows(f"UPDATE transfer SET {at_rest}")

    async def _at_rest(self, code: str) -> None:
        registry = self.registry(code)
        if code in self.commands:
            await registry.stop()
            registry.command = self.commands.pop(code)
        if registry.process.returncode is not None:
            await self.stage.restart(code)
        await self.mend(code)
        await overwrite(
            self.stage,
            f"{code.lower()}_{self.stage.database_name}",
            "UPDATE transfer SET ask_at = NULL, state = CASE state WHEN 'done' THEN 'done' ELSE 'void' END",
            "UPDATE holding SET locked_by = NULL",
            "UPDATE sent SET owed = false",
        )
        if await self.look(code, "SELECT FROM setting WHERE name = 'restored'"):
            await self.synchronise(code)
        await registry.post("clock", seconds=0)
        await registry.change("policy", decide=True, refuse_parties=[], refuse_release=[])
