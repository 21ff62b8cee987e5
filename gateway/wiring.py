"""The composition root: reads the settings, chooses the connectors, and puts the parts of a process together.

The only module that knows that connectors exist. Everything is handed down as arguments from here; nothing
else reads the environment.
"""

from collections import ChainMap
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial

import connectors
from connectors.c2sp import Other
from connectors.http import Client
from gateway import db
from gateway.access import commands as people
from gateway.access import store as access
from gateway.access.callers import Registered
from gateway.access.endpoint import Endpoint
from gateway.access.tokens import Authority
from gateway.alarms import store as alarms
from gateway.alarms.store import Alarm
from gateway.approvals.commands import Executor, Executors, Parameters
from gateway.audit import transparency
from gateway.audit.cosigning import Cosigning, Reply
from gateway.audit.own_keys import Identity
from gateway.audit.proofs import Tiles
from gateway.audit.sequencing import Sequencer
from gateway.audit.transparency import Transparency
from gateway.audit.witness_store import Watched
from gateway.authorisations import commands as authorisations
from gateway.authorisations import notices
from gateway.domain import moments
from gateway.domain.addresses import Reach
from gateway.domain.callers import EVERYTHING, Caller, Scope, Sight
from gateway.domain.levies import Rounding
from gateway.domain.registry import Registry
from gateway.errors import GatewayError, Kind
from gateway.halts import commands as halts
from gateway.history import answers, calls, deliver, questions
from gateway.history import store as feeds
from gateway.history.live import Live
from gateway.history.pull import Pulls
from gateway.history.questions import Questions
from gateway.history.reading import Means
from gateway.keys import commands as keys
from gateway.links import changing, key_store, rotation
from gateway.links import commands as links
from gateway.links import store as linked
from gateway.links.lifecycle import State, Step
from gateway.links.pace import Pace
from gateway.messages.inbox import Handler, Inbox, Query, Together
from gateway.messages.outbox import Node
from gateway.reconciliation import corrections, ending, inconsistencies
from gateway.reconciliation import run as reconciling
from gateway.reconciliation.runs import Reconciliations
from gateway.settings import Settings, log_signer, named, signer, token_signer
from gateway.signing.trust import Revocation
from gateway.transfers import commands, interventions, leases, queries, view
from gateway.transfers.relay import Relay

#: Message type → what receives it. A type that is neither here nor in ``told`` is refused (1010).
HANDLERS: dict[str, Handler] = {
    "link.activate": calls.after_opening(links.activate),
    **links.require_open(
        {
            "link.keys": rotation.announced,
            "transfer.propose": halts.refusing(commands.propose),
            "transfer.answer": commands.answer,
            "transfer.released": commands.released,
            "transfer.voided": commands.voided,
            "transfer.credited": calls.after_transfers(commands.credited),
            "receipt": calls.both(calls.both(commands.receipt, deliver.receipted), ending.receipted),
            "refusal": calls.both(calls.both(commands.refusal, deliver.refused), ending.refused),
            "status.answer": commands.status_answer,
            "history.page": questions.heard,
            "positions.answer": questions.heard,
            "cut.answer": questions.heard,
        }
    ),
}


def told(rounding: Rounding) -> dict[str, Handler]:
    """What receives notices, which are judged by how a part of a tonne is rounded."""
    notice = calls.after_notices(partial(notices.notice, rounding=rounding))
    return links.require_open({"action.notice": notice})


#: What receives several small messages of one sender together.
TOGETHER: dict[str, Together] = links.require_open_together(
    {"transfer.propose": halts.refusing(commands.propose_together)}
)
QUERIES: dict[str, Query] = links.require_open(
    {"status.query": queries.status, "time.query": queries.clock, "history.query": answers.history}
)


async def _step(step: Step, tx: db.Tx, node: Node, act: Parameters, by: tuple[str, str]) -> Parameters:
    taken = await changing.take_step(tx, node, step, act, by)
    if step is Step.REACTIVATE:
        await feeds.reopen(tx, act["link"], node.clock())
    return taken


async def _change(tx: db.Tx, node: Node, act: Parameters, by: tuple[str, str]) -> Parameters:
    changed = await changing.change(tx, node, act, by)
    if "window" in changed:
        await leases.wake_delayed(tx, act["link"], node.clock())
    return changed


async def _resume(tx: db.Tx, node: Node, act: Parameters, by: tuple[str, str]) -> Parameters:
    done = await interventions.resume(tx, node, act["transfer"], act["version"], by=by)
    return {"transfer": done.transfer, "state": done.state.value}


async def _add_keys(tx: db.Tx, node: Node, act: Parameters, by: tuple[str, str]) -> Parameters:
    now, until = node.clock(), _moment(act["not_after"])
    begins = _moment(act["not_before"]) or now
    kids = await links.add_keys(tx, act["link"], act["keys"], now=now, not_before=begins, not_after=until, by=by)
    return {"link": act["link"], "keys": kids}


async def _revoke_key(tx: db.Tx, node: Node, act: Parameters, by: tuple[str, str]) -> Parameters:
    code, kid, reason = act["link"], act["key"], Revocation(act["reason"])
    fall = await links.revoke_key(tx, code, kid, reason, now=node.clock(), since=_moment(act["since"]), by=by)
    return {"link": code, "key": kid, "revoked": reason.value, **fall.written}


async def _restored(tx: db.Tx, node: Node, act: Parameters, by: tuple[str, str]) -> Parameters:
    code, since = act["link"], moments.read(act["since"])
    kids = await links.restored(tx, code, act["keys"], now=node.clock(), by=by)
    found = [{"transfer": transfer, "state": state} for transfer, state in await view.since(tx, code, since)]
    return {"link": code, "keys": kids, "transfers": found}


async def _add_person(tx: db.Tx, node: Node, act: Parameters, by: tuple[str, str]) -> Parameters:
    made, kids = await people.add(tx, node, _both(act, by), people.wanted_person(act))
    return {"id": made.id, "name": made.name, "registry": made.registry, "keys": kids}


async def _add_keys_of_person(tx: db.Tx, node: Node, act: Parameters, by: tuple[str, str]) -> Parameters:
    name, keys, until = act["name"], act["keys"], _moment(act["not_after"])
    made, kids = await people.add_keys(tx, node, _both(act, by), name, keys, person=True, not_after=until)
    return {"id": made.id, "name": made.name, "registry": made.registry, "keys": kids}


def _both(act: Parameters, by: tuple[str, str]) -> Caller:
    """Two administrators of the registry that an act is about, who were both found to be that."""
    return Caller(" and ".join(by), person=True, sight=Sight(act["registry"]), scopes=frozenset({Scope.ACCESS_ADMIN}))


async def _lift(tx: db.Tx, node: Node, act: Parameters, by: tuple[str, str]) -> Parameters:
    lifted = await halts.lift(tx, node, act, by)
    await leases.wake_halted(tx, node.clock())
    return lifted


def _moment(written: str | None) -> datetime | None:
    return moments.read(written) if written else None


#: Scope that it is asked for under → kind of act → what does it once two persons have decided on it. An act that is not
#: here cannot be asked for.
_ACTS: dict[Scope, dict[str, Executor]] = {
    Scope.TRANSFERS_REQUEST: {
        interventions.RESUME: _resume,
        authorisations.TELL: authorisations.tell,
        authorisations.REVOKE: authorisations.revoke,
    },
    Scope.LINKS_ADMIN: {
        **{f"link.{step}": partial(_step, step) for step in Step},
        "link.change": _change,
        "link.keys-add": _add_keys,
        "link.key-revoke": _revoke_key,
        "link.restored": _restored,
    },
    Scope.ACCESS_ADMIN: {"person.add": _add_person, "person.keys-add": _add_keys_of_person},
    Scope.GATEWAY_HALT: {halts.LIFT: _lift},
    Scope.RECONCILIATION_RUN: {
        corrections.CORRECT: corrections.correct,
        inconsistencies.CLOSE: inconsistencies.close,
    },
}
EXECUTORS = Executors(
    access.standing, {kind: (scope, does) for scope, acts in _ACTS.items() for kind, does in acts.items()}
)

#: Content type → how registries that do not speak the link protocol write its messages.
ENCODINGS = connectors.ENCODINGS


@dataclass(frozen=True, slots=True)
class Gateway:
    """The parts of a gateway process."""

    database: db.Database
    node: Node
    inbox: Inbox
    relay: Relay
    pulls: Pulls
    reconciliations: Reconciliations
    registries: "Registries"
    callers: Registered
    live: Live

    async def start(self) -> None:
        """Let this process sign with its key; raises CONFLICT when it may not."""
        await self.database.run(lambda tx: keys.start(tx, self.node), "start")

    async def close(self) -> None:
        """Close every connection."""
        await self.registries.close()
        await self.database.close()


class Local:
    """Whoever has the database's password: the gateway's own administrator, or a registered person they act for."""

    def __init__(self, database: db.Database, by: str | None) -> None:
        self._database = database
        self._by = by

    async def of(self, token: str) -> Caller:
        """The one caller there is; raises UNAUTHENTICATED for who is no registered person, CONFLICT for several."""
        if self._by is None:
            return Caller("local", person=False, sight=EVERYTHING, scopes=frozenset(Scope), at_hand=True)
        async with self._database.reading() as tx:
            found = [one for one in await access.by_name(tx, self._by) if one.person]
        if not found:
            raise GatewayError(Kind.UNAUTHENTICATED, f"no person {self._by!r} is registered, or no longer", code=8001)
        if len(found) > 1:
            known = ", ".join(f"{one.id} of {one.sight.code or 'all'}" for one in found)
            raise GatewayError(
                Kind.CONFLICT, f"several are named {self._by!r}; say which by the id: {known}", code=2004
            )
        return replace(found[0], at_hand=True)


class Registries:
    """The connectors in use, one for each link at its present address."""

    def __init__(self, reach: Reach) -> None:
        self._client = Client(reach)
        self._known: dict[tuple[str, str, str], Registry] = {}

    async def of(self, tx: db.Tx | db.ReadTx, code: str) -> Registry | None:
        """The connector to the link ``code``, or nothing when no connector is of its kind."""
        row = await linked.find(tx, code)
        make = connectors.KINDS.get(row.kind) if row else None
        if row is None or make is None:
            return None
        address = (code, row.kind, row.url)
        if address not in self._known:
            self._known[address] = make(code, row.url, self._client)
        return self._known[address]

    @property
    def other(self) -> Other:
        """Other logs and witnesses."""
        return Other(self._client)

    async def close(self) -> None:
        """Close every connection."""
        for registry in self._known.values():
            await registry.close()
        await self._client.close()


def utc_now() -> datetime:
    """The clock of a process: aware, UTC."""
    return datetime.now(UTC)


def build(settings: Settings, clock: Callable[[], datetime] = utc_now) -> Gateway:
    """Put a gateway together; raises MALFORMED when there is no key to sign with."""
    with named("database_url"):
        database = db.Database(settings.database_url)
    node = Node(settings.code, signer(settings), clock, settings.reach, timedelta(days=settings.case_days))
    inbox = Inbox(
        database,
        node,
        key_store.keys,
        ChainMap(told(settings.levy_rounding), HANDLERS),
        QUERIES,
        TOGETHER,
        Pace().admits,
    )
    registries = Registries(settings.reach)
    callers = Registered(database, settings.issuer_name, clock)
    means = Means(
        database,
        node,
        inbox,
        registries.of,
        partial(_tiles_of, registries.other),
        partial(_distrust, node.clock),
        timedelta(minutes=settings.history_minutes),
    )
    relay = Relay(database, node, inbox, registries.of)
    live = Live(database, Questions(database, node, inbox, registries.of))
    comparing = reconciling.Means(
        database,
        node,
        Questions(database, node, inbox, registries.of, "reconcile.ask"),
        timedelta(hours=settings.reconcile_hours),
        timedelta(minutes=settings.announce_minutes),
    )
    runs = Reconciliations(comparing)
    return Gateway(database, node, inbox, relay, Pulls(means), runs, registries, callers, live)


def token_endpoint(settings: Settings, gateway: Gateway) -> Endpoint:
    """What gives tokens in this process; raises MALFORMED when there is no key to sign them with."""
    authority = Authority(settings.issuer_name, token_signer(settings))
    return Endpoint(gateway.database, gateway.node, authority)


def identity(settings: Settings) -> Identity:
    """Under which names and with which keys the log is kept; raises MALFORMED when there are no keys."""
    return Identity(settings.log_name, settings.witness_name, log_signer(settings))


def transparent(settings: Settings, gateway: Gateway) -> Transparency:
    """What a process does for the log; raises MALFORMED when there are no keys to sign it with."""
    own, other, clock = identity(settings), gateway.registries.other, gateway.node.clock

    async def post(url: str, body: bytes) -> Reply:
        return Reply(*await other.post(url, body))

    async def told(tx: db.Tx, link: str, entry_id: int, detail: str) -> None:
        await _distrust(clock, tx, link, "log", entry_id, detail)

    sequencer = Sequencer(gateway.database, own.origin, own.key, clock)
    cosigning = Cosigning(gateway.database, own.origin, post, other.get, clock)
    return Transparency(gateway.database, own, clock, sequencer, cosigning, partial(_tiles_of, other), told)


def _tiles_of(other: Other, log: Watched, size: int) -> Tiles:
    return other.tiles(log.at, lambda level, nr: transparency.written(level, nr, size))


async def _distrust(clock: Callable[[], datetime], tx: db.Tx, link: str, what: str, entry_id: int, detail: str) -> None:
    """Begin nothing more with a registry whose log, or history, has another past; until two persons say otherwise."""
    await linked.lock(tx, link)
    if await linked.state(tx, link) == State.ACTIVE:
        await linked.move(tx, link, [State.ACTIVE], State.SUSPENDED, entry_id)
    code = 3002 if what == "log" else 8004
    await alarms.sound(tx, [Alarm(link, what, code, detail, entry_id)], clock())
