"""Establishes links: an operator registers a system and its keys; the system's own signed word makes it active.

``register`` writes a link in state *requested*. ``activate`` handles the registry's ``link.activate``, which
brings the opening balance of its holdings into the book and takes the link to *active*, once; if any position
of the balance cannot be taken, none is and the link stays requested. A message of any type over a link that
is not active is refused by ``require_open`` (1002, 1003), but what is committed drains over a suspended link.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from gateway import db
from gateway.audit import log
from gateway.domain.check_codes import Finding
from gateway.domain.identifiers import parse_link_code, parse_party, parse_registry_code
from gateway.errors import GatewayError, Kind
from gateway.holdings import notices
from gateway.links import store
from gateway.links.store import Link
from gateway.messages.inbox import Inbound
from gateway.messages.outbox import Node
from gateway.messages.receipts import ItemReceipt
from gateway.signing.trust import PeerKey

#: What may still pass over a suspended link: everything from the acceptance on, so that nothing stays half done, and
#: what a registry asks to find out where it stands.
DRAINS = frozenset(
    {"transfer.answer", "transfer.released", "transfer.voided", "transfer.credited", "receipt", "refusal"}
    | {"status.query", "time.query"}
)
T = TypeVar("T")
Applied = Callable[[db.Tx, Node, Inbound], Awaitable[T]]


async def register(
    tx: db.Tx, node: Node, link: Link, parties: Mapping[str, str | None], jwks: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Register a system: its code, kind, address, registries (with their Parties) and public keys; the key ids.

    Raises MALFORMED for a code or key that is none, CONFLICT when the link exists.
    """
    parse_link_code(link.code)
    for registry in link.registries:
        parse_registry_code(registry)
    for party in filter(None, parties.values()):
        parse_party(party)
    if await store.state(tx, link.code) is not None:
        raise GatewayError(Kind.CONFLICT, f"a link with {link.code} is registered already")
    now = node.clock()
    keys = [PeerKey.from_jwk(link.code, jwk, not_before=now) for jwk in jwks]
    if not keys:
        raise GatewayError(Kind.MALFORMED, f"the key set of {link.code} is empty")
    record = {"link": link.code, "kind": link.kind, "url": link.url, "keys": [k.kid for k in keys]}
    [entry_id] = await log.append(tx, [log.draft("link.registered", now, record)])
    await store.add(tx, link, dict(parties), entry_id)
    await store.add_keys(tx, [(key, dict(jwk)) for key, jwk in zip(keys, jwks, strict=True)], entry_id)
    return [key.kid for key in keys]


async def readdress(tx: db.Tx, node: Node, code: str, url: str) -> None:
    """Note where a registered system is reached now; its keys, not its address, are what is trusted."""
    row = await store.find(tx, code)
    if row is None:
        raise GatewayError(Kind.NOT_FOUND, f"no link with {code} is registered")
    if row.url != url:
        [entry_id] = await log.append(tx, [log.draft("link.readdressed", node.clock(), {"link": code, "url": url})])
        await store.readdress(tx, code, url, entry_id)


async def activate(tx: db.Tx, node: Node, inbound: Inbound) -> Sequence[ItemReceipt]:
    """``link.activate``: the registry opens the link with the balance of its holdings, once."""
    sender = inbound.message.sender
    state = await store.state(tx, sender)
    if state in ("suspended", "closed"):
        raise _not_open(state)
    if state != "requested":
        raise GatewayError(Kind.CONFLICT, "the link was activated before", code=3002)
    async with tx.begin_nested() as savepoint:
        receipts = await notices.opening(tx, inbound)
        if any(receipt.findings for receipt in receipts):
            await savepoint.rollback()
            return [
                ItemReceipt(
                    r.item,
                    "refused",
                    r.findings or (Finding(3006, detail="another item of the balance is refused"),),
                )
                for r in receipts
            ]
    await store.move(tx, sender, before="requested", after="active", entry_id=inbound.entry_id)
    return receipts


def require_open(handlers: Mapping[str, Applied[T]]) -> dict[str, Applied[T]]:
    """The same functions behind the state of the sender's link: 1002 before it is active, 1003 once it no longer is."""

    def behind(kind: str, handler: Applied[T]) -> Applied[T]:
        async def judged(tx: db.Tx, node: Node, inbound: Inbound) -> T:
            state = await store.state(tx, inbound.message.sender)
            if state != "active" and not (state in ("suspended", "closed") and kind in DRAINS):
                raise _not_open(state)
            return await handler(tx, node, inbound)

        return judged

    return {kind: behind(kind, handler) for kind, handler in handlers.items()}


def _not_open(state: str | None) -> GatewayError:
    """The refusal for the state of a link: no verdict on the message, because a link may become active (again)."""
    return GatewayError(Kind.FORBIDDEN, f"the link is {state}", code=1002 if state in (None, "requested") else 1003)
