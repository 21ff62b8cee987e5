"""Applies ``action.notice``: what registries announce of authorisations, and of their own units under the rules.

What moves no unit comes first, so that a message may tell an authorisation and then issue under it. Each item is judged
alone: recorded, or refused with its codes while the others pass; one repeated under its action id with the same text is
answered as recorded, with another text refused (2004). Raises ``GatewayError`` with 2001 or 2005, before anything is
written, for items that are not of the protocol.
"""

from collections.abc import Sequence
from functools import partial

from gateway import db
from gateway.authorisations import rulings, statements, store, telling
from gateway.authorisations.store import Name
from gateway.domain import wire
from gateway.domain.actions import Disposal, FirstTransferred, Issuance
from gateway.domain.levies import Rounding
from gateway.domain.notices import parse_action
from gateway.domain.proposals import MAX_BLOCKS
from gateway.domain.registry import RegistryKind
from gateway.errors import GatewayError, Kind
from gateway.holdings import notices, registries
from gateway.holdings.announced import Announced, announced
from gateway.messages.inbox import Inbound
from gateway.messages.outbox import Node
from gateway.messages.receipts import ItemReceipt


async def notice(tx: db.Tx, _node: Node, inbound: Inbound, *, rounding: Rounding) -> Sequence[ItemReceipt]:
    """Apply the items of a notice; a receipt for each, in order."""
    wire.nothing(inbound.message.body)
    items = notices.items_of(inbound, "action")
    own = await registries.of_link(tx, inbound.message.sender)
    read = [(item, parse_action(item.value, own)) for item in items]
    listed = (item.value.get(name, ()) for item in items for name in ("positions", "blocks", "units"))
    if sum(map(len, listed)) > MAX_BLOCKS:
        raise GatewayError(Kind.LIMIT, f"a message has at most {MAX_BLOCKS} blocks", code=2005)
    refused = {item.sha256: value for item, value in read if isinstance(value, tuple)}
    moving = [(item, v) for item, v in read if isinstance(v, Issuance | Disposal | FirstTransferred)]
    told = [(item, v) for item, v in read if not isinstance(v, tuple | Issuance | Disposal | FirstTransferred)]
    receipts = await telling.take(tx, inbound, told)
    if moving or refused:
        sound = [announced(item, value) for item, value in moving]
        flags = {i.sha256: v.flags for i, v in moving if not isinstance(v, FirstTransferred)}
        known = await store.known(tx, _names(sound), alone=True)
        activities = {(m.block.attributes.first_transferring_party, m.block.attributes.activity)
                      for a in sound if a.enters for m in a.moves}  # fmt: skip
        stated = await statements.latest(tx, activities)
        levied = await registries.kind_of(tx, inbound.message.sender) == RegistryKind.MECHANISM
        drawn = rulings.Drawn(known)
        judge = partial(rulings.rule, drawn=drawn, stated=stated, rounding=rounding if levied else None)
        receipts |= await notices.apply(tx, inbound, sound, refused, flags, judge)
        await store.draw(tx, drawn.by_action)
    return [receipts[item.sha256] for item in items]


def _names(sound: Sequence[Announced]) -> set[Name]:
    """The authorisations that the units of these items are under."""
    attributes = (move.block.attributes for one in sound for move in one.moves)
    return {(a.first_transferring_party, a.authorisation.id) for a in attributes if a.authorisation is not None}
