"""Asks a source registry to propose a transfer, and hears whether it will.

An operator's call makes one request, however often it is repeated under its idempotency key; the same key
with other content is a conflict. The request is a signed message with an id of its own, so the source
proposes at most once for it. Only the people of the registry that the units leave may ask, or of its link, and the
gateway's own administrators. Raises ``GatewayError``: MALFORMED with the code of what is wrong in the request,
FORBIDDEN 8001 for a registry that is not the caller's, NOT_FOUND 4001 for one without an active link, CONFLICT 2004
for a key reused, UNAVAILABLE 9002 while the gateway is halted.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from gateway import db
from gateway.domain import wire
from gateway.domain.callers import Caller
from gateway.domain.check_codes import Finding
from gateway.domain.identifiers import Address
from gateway.domain.registry import Capability
from gateway.domain.transfers import Purpose
from gateway.errors import GatewayError, Kind
from gateway.halts import commands as halts
from gateway.links import store as links
from gateway.messages import outbox
from gateway.messages.outbox import Draft, Node
from gateway.messages.receipts import dumps
from gateway.requests import store
from gateway.requests.store import Request
from gateway.signing.messages import new_message_id


@dataclass(frozen=True, slots=True)
class Wish:
    """What an operator wants moved: ``quantity`` whole tonnes, from one address to another."""

    transferring: Address
    acquiring: Address
    purpose: Purpose
    quantity: int


async def ask(tx: db.Tx, node: Node, wish: Wish, *, caller: Caller, idempotency_key: str) -> Request:
    """Make the request, or give back the one made under this key; the worker sends it."""
    if wish.quantity < 1:
        raise GatewayError(Kind.MALFORMED, "a quantity is a positive number of whole tonnes", code=2009)
    source = (await links.behind(tx, [wish.transferring.registry])).get(wish.transferring.registry)
    caller.require_for(wish.transferring.registry, source.code if source else None)
    content = {
        "transferring": wire.address_to_wire(wish.transferring),
        "acquiring": wire.address_to_wire(wish.acquiring),
        "purpose": wish.purpose.value,
        "quantity": wish.quantity,
    }
    digest = hashlib.sha256(dumps(content).encode()).digest()
    await store.serialise(tx, caller.id, idempotency_key)
    earlier = await store.find(tx, caller.id, idempotency_key)
    if earlier is not None:
        if earlier.sha256 != digest:
            raise GatewayError(Kind.CONFLICT, "this Idempotency-Key was used for another request", code=2004)
        return replace(earlier, waiting=caller.sight.why(earlier.waiting))
    await halts.require_none(tx)
    source = (await links.behind(tx, [wish.transferring.registry])).get(wish.transferring.registry)
    if source is None or source.state != "active" or Capability.TRANSFER_OUT not in source.capabilities:
        raise GatewayError(
            Kind.NOT_FOUND, f"no active link for transfers out of {wish.transferring.registry}", code=4001
        )
    request_id = new_message_id()
    item = dumps({"kind": "request", "request": request_id, **content})
    [stored] = await outbox.store(tx, node, [Draft(source.code, "transfer.request", items=[item])])
    request = Request(request_id, source.code, stored.message.id, "sent", [], digest, None, None)
    await store.insert(tx, request, caller.id, idempotency_key, node.clock())
    return request


async def answered(tx: db.Tx, message_id: str, state: str, findings: Sequence[Finding]) -> None:
    """Note what the source's receipt says of what was sent as ``message_id``, if that was a request."""
    if state in ("recorded", "refused"):
        await store.settle(tx, message_id, state, [wire.finding_to_wire(f) for f in findings])
