"""What happens inside one registry beside issuance: use, cancellation, and telling the gateway what is held.

Stored with the change, an ``action.notice`` tells the gateway; ``link.activate`` brings the opening balance.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from . import books, clock, post, shapes, strictjson
from .database import Tx
from .envelope import Draft, Outgoing
from .registry import Registry
from .units import Declined, Holding

#: Holdings read at a time for the opening balance: one message's worth.
BALANCE_ROWS = shapes.MAX_ITEMS


async def move(
    tx: Tx,
    registry: Registry,
    kind: str,
    *,
    party: str,
    account: str,
    to_account: str,
    quantity: int,
    blocks: Sequence[Mapping[str, Any]],
    announce: bool,
) -> tuple[str, list[Holding]]:
    """Use or cancel free units (``kind`` "use" or "cancellation"); gives the action's id and the holdings."""
    group = books.account_type(to_account) // 100
    if group != {"use": 2, "cancellation": 3}[kind]:
        raise Declined(5141, f"account {to_account} is not one for {kind}")
    if books.account_type(account) // 100 not in (1, 4):
        raise Declined(4006, "the units are used or cancelled already")
    if blocks:
        taken = (await books.take_ranges(tx, party, account, [blocks]))[0]
    else:
        taken = (await books.take_quantities(tx, party, account, [quantity]))[0]
    await books.ensure_accounts(tx, [(party, to_account, kind)])
    moved = [replace(unit, account=to_account) for unit in taken]
    await books.put(tx, moved)
    action = f"A-{clock.uuid7()}"
    await books.write_journal(tx, [(kind, action, party, account, sum(unit.quantity for unit in moved))])
    if announce:
        members = {
            "party": party,
            "account": account,
            "to_account": to_account,
            "blocks": [unit.block() for unit in moved],
        }
        await _announce(tx, registry, action, kind, members)
    return action, moved


async def activate(tx: Tx, registry: Registry) -> tuple[list[Outgoing], int]:
    """Store ``link.activate`` with everything held here, in parts of 1,000 positions; gives the messages."""
    positions = [
        strictjson.dumps({"kind": "position", "party": h.party, "account": h.account, "block": h.block()})
        for h in _joined(await books.everything(tx))
    ]
    messages = []
    starts = range(0, max(len(positions), 1), BALANCE_ROWS)
    for part, start in enumerate(starts, 1):
        body = {"part": part, "of": len(starts)} if len(starts) > 1 else {}
        draft = Draft("link.activate", positions[start : start + BALANCE_ROWS], body)
        messages.append(await post.store(tx, registry, draft, owed=True))
    return messages, len(positions)


async def _announce(tx: Tx, registry: Registry, action: str, kind: str, members: Mapping[str, Any]) -> None:
    item = {
        "kind": "action",
        "action": action,
        "type": kind,
        "at": clock.now(),
        "registry": registry.books_of(members["party"]),
        **members,
    }
    await post.store(tx, registry, Draft("action.notice", [strictjson.dumps(item)]), owed=True)


def _joined(holdings: Sequence[Holding]) -> Iterator[Holding]:
    """Join neighbours that are alike, so that an opening balance has no more blocks than it needs."""
    last: Holding | None = None
    for holding in holdings:
        holding = replace(holding, locked_by=None)
        if (
            last is not None
            and replace(last, first=holding.first, last=holding.last) == holding
            and (last.last + 1 == holding.first)
        ):
            last = replace(last, last=holding.last)
            continue
        if last is not None:
            yield last
        last = holding
    if last is not None:
        yield last
