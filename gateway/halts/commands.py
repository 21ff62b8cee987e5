"""Halts the gateway, at once and by one administrator; two lift it.

While it is halted no proposal and no request is taken (9002), and what has no commit waits for the end of the halt or
of its time, whichever comes first. What is committed comes to its end: units that are on their way must arrive. Once
``halt`` has returned, no proposal is accepted and no commit stored by any process, because each has looked under a lock
that a halt holds alone. Raises CONFLICT 3002 for a second halt, and for lifting one that is over.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from gateway import db
from gateway.audit import log
from gateway.domain.callers import Caller
from gateway.errors import GatewayError, Kind
from gateway.halts import store
from gateway.halts.store import Halt
from gateway.messages.outbox import Node

#: The longest reason; it is told to every operator.
MAX_REASON = 500
#: When to come again: persons have to talk before they lift a halt.
RETRY_AFTER_SECONDS = 60
#: The act of lifting one, as persons approve it.
LIFT = "halt.lift"
Said = TypeVar("Said")
T = TypeVar("T")


async def halt(tx: db.Tx, node: Node, reason: str, by: Caller) -> Halt:
    """Halt the gateway, for a reason that is told to its operators."""
    if not reason.strip() or len(reason) > MAX_REASON or not reason.isprintable():
        detail = f"a reason is a printable text of 1 to {MAX_REASON} characters"
        raise GatewayError(Kind.MALFORMED, detail, code=2014)
    await store.halt_alone(tx)
    already = await store.now(tx)
    if already is not None:
        raise GatewayError(Kind.CONFLICT, f"the gateway is halted already: {already.reason}", code=3002)
    at = node.clock()
    [entry_id] = await log.append(tx, [log.draft("gateway.halted", at, {**by.named, "reason": reason})])
    return await store.insert(tx, reason, by.id, at, entry_id)


async def lift_wanted(tx: db.Tx | db.ReadTx) -> dict[str, Any]:
    """What is to be approved so that the present halt is lifted."""
    found = await store.now(tx)
    if found is None:
        raise _not_halted()
    return {"halt": found.id, "reason": found.reason}


async def lift(tx: db.Tx, node: Node, parameters: Mapping[str, Any], by: Sequence[str]) -> dict[str, Any]:
    """Lift the halt that was approved to be lifted, and no later one."""
    await store.halt_alone(tx)
    found = await store.now(tx)
    if found is None or found.id != parameters["halt"]:
        raise _not_halted()
    entry = log.draft("gateway.halt-lifted", node.clock(), {"by": list(by), "reason": found.reason})
    [entry_id] = await log.append(tx, [entry])
    await store.lift(tx, found.id, entry_id)
    return {"halt": found.id, "lifted": True}


async def require_none(tx: db.Tx) -> None:
    """Raise UNAVAILABLE 9002 while the gateway is halted; no halt begins before ``tx`` ends.

    Why it is halted is for operators, not for registries.
    """
    if await store.halted(tx) is not None:
        context = {"retry_after_seconds": RETRY_AFTER_SECONDS}
        detail = "the gateway takes nothing new at present"
        raise GatewayError(Kind.UNAVAILABLE, detail, code=9002, context=context)


def refusing(handler: Callable[[db.Tx, Node, Said], Awaitable[T]]) -> Callable[[db.Tx, Node, Said], Awaitable[T]]:
    """The same function, of a message or of several, which takes nothing while the gateway is halted: nothing is kept,
    and it may come again.
    """

    async def judged(tx: db.Tx, node: Node, said: Said) -> T:
        await require_none(tx)
        return await handler(tx, node, said)

    return judged


def _not_halted() -> GatewayError:
    return GatewayError(Kind.CONFLICT, "there is no such halt any more", code=3002)
