"""Asks a registry: stores a query in the transaction of its caller, sends it outside of any.

Queries have no number and change nothing, so they are not repeated: what was not answered is asked anew.
"""

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any

from gateway import crash, db
from gateway.domain.registry import Outcome, OutgoingMessage, Registry
from gateway.messages import outbox
from gateway.messages import store as messages
from gateway.messages.outbox import Draft, Node

#: How long a query, or the answer to one, may be read as the present.
ANSWER_LIFE = timedelta(seconds=300)

#: The connector to a link, or nothing when no connector is of its kind.
RegistryOf = Callable[[db.Tx | db.ReadTx, str], Awaitable[Registry | None]]


async def query(tx: db.Tx, node: Node, peer: str, kind: str, body: Mapping[str, Any]) -> messages.Message:
    """Sign and store a query; the caller sends it after the commit."""
    draft = Draft(peer, kind, body=dict(body), expires_at=node.clock() + ANSWER_LIFE, numbered=False)
    [stored] = await outbox.store(tx, node, [draft])
    [message] = await messages.outgoing(tx, [stored.message.id])
    return message


async def post(registry: Registry, stored: messages.Message) -> Outcome:
    """Send a stored query once."""
    crash.passing(f"send.{stored.type}.before-send")
    outcome = await registry.send(OutgoingMessage(stored.message_id, stored.type, stored.body, stored.content_type))
    crash.passing(f"send.{stored.type}.after-send")
    return outcome
