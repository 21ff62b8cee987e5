"""Four eyes: a person asks for an act, another person of the same registry approves it, and then it is done.

The act is one canonical text, and its hash is what the approver gives back: nobody approves what they have not seen.
An approval is bound to the registry of its act, waits at most a day, is decided once, and what it allows is done in the
transaction that decides. If the act cannot be done as things stand by then, the approval is *void* and says why: it
would be another act by the time it could, and is to be asked for again. So it is when who asked for it may not ask any
more: both persons are looked up again in that transaction, and stay what they are until it ends. A fault or an overload
leaves it open. Who asked, who decided, when and on what hash are entries of the log.

Raises ``GatewayError``: FORBIDDEN 8001 for a machine, for who asked for it, and for what may not be seen; NOT_FOUND
3001; CONFLICT 2004 for another hash, 3003 for what was decided before; UNAVAILABLE 9003 while too much waits.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

from gateway import db
from gateway.approvals import store
from gateway.approvals.store import Approval, Decision, State
from gateway.audit import log
from gateway.domain.callers import Caller, Scope
from gateway.errors import GatewayError, Kind
from gateway.messages.outbox import Node

#: How long a decision may take: a working day and the night after it. What is right today may not be next week.
WAITS = timedelta(hours=24)
#: The longest act: some keys, or a list of fields.
MAX_TEXT = 64 * 1024
#: How many acts of one registry may wait at a time, and how many that one person has asked for: persons read them all.
#: The gateway's own people have no such limit: nobody else may hold up the end of a halt, or of that registry's key.
MAX_OPEN, MAX_EACH = 1_000, 100
#: When to come again beyond that: persons have to decide first.
RETRY_AFTER_SECONDS = 60
#: The longest reason of a refusal.
MAX_REASON = 500
#: What a refusal of an act says of the state of things; anything else is of this moment or of this program.
_BY_STATE = frozenset({Kind.MALFORMED, Kind.FORBIDDEN, Kind.NOT_FOUND, Kind.CONFLICT, Kind.REJECTED, Kind.LIMIT})

Parameters = Mapping[str, Any]
#: Does an act in the name of (who asked for it, who approved it); what came of it, as JSON.
Executor = Callable[[db.Tx, Node, Parameters, tuple[str, str]], Awaitable[Parameters]]
#: Who somebody is, as a caller, or nobody once they are revoked; it MUST stay true until the transaction ends.
Standing = Callable[[db.Tx, str], Awaitable[Caller | None]]


@dataclass(frozen=True, slots=True)
class Executors:
    """What does each kind of act, and the scope it is asked for under; and who the persons are by then."""

    standing: Standing
    acts: Mapping[str, tuple[Scope, Executor]]


@dataclass(frozen=True, slots=True)
class Act:
    """What is to be done: its kind, the registry or link whose people decide (None: all of the gateway), and how."""

    kind: str
    registry: str | None
    parameters: Parameters

    @property
    def canonical(self) -> str:
        """The one text of this act: JSON with sorted keys and no spaces."""
        whole = {"v": 1, "act": self.kind, "registry": self.registry, "parameters": self.parameters}
        return json.dumps(whole, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


async def request(tx: db.Tx, node: Node, caller: Caller, act: Act) -> Approval:
    """Ask that another person approves ``act``; an act that waits already is given back as it is.

    The caller MUST have been found to be bound to the act's registry or link, and the act to be possible now.
    """
    require_person(caller)
    await expire(tx, node)
    text, now = act.canonical, node.clock()
    if len(text.encode()) > MAX_TEXT:
        raise GatewayError(Kind.LIMIT, f"what is to be approved has at most {MAX_TEXT} bytes", code=2001)
    await store.ask_alone(tx)
    waiting = await store.waiting(tx, text)
    if waiting is not None:
        return waiting
    if act.registry is not None and caller.sight.code is not None:
        await _require_room(tx, caller, act.registry)
    made = Approval.of(str(uuid4()), act.kind, act.registry, text, caller.id, now, now + WAITS)
    record = {"approval": made.id, "act": act.kind, "registry": act.registry, "sha256": made.sha256}
    entry = log.draft("approval.requested", now, {**record, **caller.named})
    [entry_id] = await log.append(tx, [entry])
    await store.insert(tx, made, entry_id)
    return made


async def _require_room(tx: db.Tx, caller: Caller, registry: str) -> None:
    of_registry, of_caller = await store.count_open(tx, registry, caller.id)
    if of_registry >= MAX_OPEN or of_caller >= MAX_EACH:
        context = {"retry_after_seconds": RETRY_AFTER_SECONDS}
        detail = "too many acts wait for a decision; decide on those first"
        raise GatewayError(Kind.UNAVAILABLE, detail, code=9003, context=context)


def require_person(caller: Caller) -> None:
    """Raise FORBIDDEN (8001) for a machine, and for whoever is nobody in particular."""
    if not caller.person:
        raise GatewayError(Kind.FORBIDDEN, "this takes two persons; a machine cannot be one of them", code=8001)


async def approve(tx: db.Tx, node: Node, caller: Caller, approval: str, sha256: str, executors: Executors) -> Approval:
    """Approve what was asked for, and do it; the approval as it is then: *approved*, or *void* or *expired*."""
    caller.require(Scope.APPROVALS_DECIDE)
    found = _undecided(await _lock(tx, node, caller, approval))
    if found.initiator == caller.id:
        raise GatewayError(Kind.FORBIDDEN, "nobody approves what they have asked for", code=8001)
    if found.sha256 != sha256:
        raise GatewayError(Kind.CONFLICT, "what waits here is another text than the one with that hash", code=2004)
    if found.state is State.EXPIRED:
        return await _decide(tx, node, found, Decision(State.EXPIRED, reason="nobody decided in time"))
    asked_under, act = executors.acts[found.kind]
    await _require_standing(tx, executors, caller.id, Scope.APPROVALS_DECIDE, found)
    try:
        async with tx.begin_nested():
            await _require_standing(tx, executors, found.initiator, asked_under, found)
            result = await act(tx, node, found.parameters, (found.initiator, caller.id))
    except GatewayError as error:
        if error.kind not in _BY_STATE:
            raise
        code = f" [{error.code}]" if error.code else ""
        return await _decide(tx, node, found, Decision(State.VOID, caller.id, f"{error.detail}{code}"), caller)
    return await _decide(tx, node, found, Decision(State.APPROVED, caller.id, result=dict(result)), caller)


async def decline(tx: db.Tx, node: Node, caller: Caller, approval: str, reason: str, executors: Executors) -> Approval:
    """Decline what was asked for, or, as who may still ask for it and did, take it back; nothing is done."""
    if not reason.strip() or len(reason) > MAX_REASON or not reason.isprintable():
        detail = f"a reason is a printable text of 1 to {MAX_REASON} characters"
        raise GatewayError(Kind.MALFORMED, detail, code=2014)
    found = await _lock(tx, node, caller, approval)
    if found.initiator != caller.id or executors.acts[found.kind][0] not in caller.scopes:
        caller.require(Scope.APPROVALS_DECIDE)
    _undecided(found)
    if found.state is State.EXPIRED:
        return await _decide(tx, node, found, Decision(State.EXPIRED, reason="nobody decided in time"))
    return await _decide(tx, node, found, Decision(State.DECLINED, caller.id, reason), caller)


async def expire(tx: db.Tx, node: Node) -> None:
    """Note of what nobody decided on in time that it has expired."""
    for found in await store.overdue(tx, node.clock()):
        await _decide(tx, node, found, Decision(State.EXPIRED, reason="nobody decided in time"))


async def show(tx: db.Tx | db.ReadTx, node: Node, caller: Caller, approval: str) -> Approval:
    """One approval that the caller may see; raises as ``Sight.absent`` says."""
    found = await store.find(tx, approval, node.clock())
    return _seen(caller, found, approval)


async def _lock(tx: db.Tx, node: Node, caller: Caller, approval: str) -> Approval:
    """The approval, locked, if this caller is a person who may see it."""
    if not caller.person:
        raise GatewayError(Kind.FORBIDDEN, "only persons decide", code=8001)
    return _seen(caller, await store.lock(tx, approval, node.clock()), approval)


def _undecided(found: Approval) -> Approval:
    if found.state not in (State.OPEN, State.EXPIRED) or found.decided_at is not None:
        raise GatewayError(Kind.CONFLICT, f"this was decided before: it is {found.state}", code=3003)
    return found


async def _require_standing(tx: db.Tx, executors: Executors, person: str, scope: Scope, found: Approval) -> None:
    """Raise FORBIDDEN (8001) unless this is a person, now, who may do this for the registry of the act."""
    now = await executors.standing(tx, person)
    if now is None or not now.person or scope not in now.scopes or now.sight.code not in (None, found.registry):
        raise GatewayError(Kind.FORBIDDEN, f"{person} may not do this any more", code=8001)


def _seen(caller: Caller, found: Approval | None, approval: str) -> Approval:
    if found is None or caller.sight.code not in (None, found.registry):  # of no registry: seen by all of the gateway
        raise caller.sight.absent(f"there is no approval {approval}", 3001)
    return found


async def _decide(tx: db.Tx, node: Node, found: Approval, decision: Decision, caller: Caller | None = None) -> Approval:
    now = node.clock()
    record = {"approval": found.id, "act": found.kind, "registry": found.registry, "sha256": found.sha256}
    who = caller.named if caller else {}
    why = {"reason": decision.reason} if decision.reason is not None else {}
    entry = log.draft(f"approval.{decision.state}", now, {**record, **who, **why})
    [entry_id] = await log.append(tx, [entry])
    return await store.decide(tx, found, decision, now, entry_id)
