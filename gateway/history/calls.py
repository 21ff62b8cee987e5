"""Calls for pulls at once, in the transaction of what there is to be pulled.

A completed transfer is in the history of both its registries, and what a registry tells of its own units is in its
feeds. One statement for any number of transfers; it waits for nobody (``call_store``), and a call that is lost with its
transaction is made up for by the schedule.
"""

from collections.abc import Iterator, Sequence

from gateway import db
from gateway.domain.transfers import State
from gateway.history import call_store, store
from gateway.messages.inbox import Handler, Inbound
from gateway.messages.outbox import Node
from gateway.messages.receipts import ItemReceipt

#: Members of an item of a notice that name a Party.
_NAMING = ("party", "first_transferring_party")


def after_opening(handler: Handler) -> Handler:
    """What receives ``link.activate``; the feeds there are from then on get rows, so that each can be called for."""

    async def heard(tx: db.Tx, node: Node, inbound: Inbound) -> Sequence[ItemReceipt]:
        receipts = await handler(tx, node, inbound)
        await store.ensure(tx, inbound.at)
        return receipts

    return heard


def after_transfers(handler: Handler) -> Handler:
    """What receives ``transfer.credited``; of the transfers it completes the history is called for."""

    async def heard(tx: db.Tx, node: Node, inbound: Inbound) -> Sequence[ItemReceipt]:
        receipts = await handler(tx, node, inbound)
        completed = [r.transfer for r in receipts if r.transfer is not None and r.state == State.COMPLETED]
        if completed:
            await call_store.call_for_transfers(tx, completed)
        return receipts

    return heard


def after_notices(handler: Handler) -> Handler:
    """What receives ``action.notice``; the feeds of its sender for the Parties that it names are called for."""

    async def heard(tx: db.Tx, node: Node, inbound: Inbound) -> Sequence[ItemReceipt]:
        receipts = await handler(tx, node, inbound)
        named = {party for item in inbound.message.items for party in _parties(item.value)}
        await call_store.call_for_parties(tx, inbound.message.sender, sorted(named))
        return receipts

    return heard


def _parties(told: object) -> Iterator[str]:
    """The Parties that an item names, as those of an account or as hosts of units."""
    if isinstance(told, dict):
        yield from (told[name] for name in _NAMING if isinstance(told.get(name), str))
        told = list(told.values())
    for part in told if isinstance(told, list) else ():
        yield from _parties(part)


def both(first: Handler, second: Handler) -> Handler:
    """What receives a message that two slices listen to; the receipts are the first one's."""

    async def heard(tx: db.Tx, node: Node, inbound: Inbound) -> Sequence[ItemReceipt]:
        receipts = await first(tx, node, inbound)
        await second(tx, node, inbound)
        return receipts

    return heard
