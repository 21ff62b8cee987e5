"""What happens inside one registry beside issuance: moves, first transfers, reversals; and telling what is held.

Stored with the change, an ``action.notice`` tells the gateway; ``link.activate`` brings the opening balance, and
after it go the authorisations that were not told yet.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from . import authorisations, books, clock, history, notices, post, shapes, strictjson
from .database import Tx
from .envelope import Draft, Outgoing
from .registry import Registry
from .units import Declined, Holding

#: Holdings read at a time for the opening balance: one message's worth.
BALANCE_ROWS = shapes.MAX_ITEMS
#: Account types units of each kind of move go to, and the code where they would not.
MOVES: Mapping[str, tuple[range, int]] = {
    "use": (range(200, 300), 5141),
    "cancellation": (range(300, 400), 5141),
    "adaptation": (range(410, 411), 5142),
}


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
    said: Mapping[str, Any],
    announce: bool,
) -> tuple[str, list[Holding]]:
    """Use, cancel or give to the Adaptation Fund (``kind``) free units; gives the action's id and the holdings.

    ``said`` are members that the action of this kind has besides. Raises ``Declined``.
    """
    types, code = MOVES[kind]
    if books.account_type(to_account) not in types:
        raise Declined(code, f"account {to_account} is not one for {kind}")
    if books.account_type(account) // 100 not in (1, 4):
        raise Declined(4006, "the units are used or cancelled already")
    taken = await _take(tx, party, account, quantity, blocks)
    await books.ensure_accounts(tx, [(party, to_account, kind)])
    moved = [replace(unit, account=to_account) for unit in taken]
    await books.put(tx, moved)
    members = {"party": party, "account": account, "to_account": to_account, **said}
    return await _happened(tx, registry, kind, account, members, moved, announce=announce), moved


async def transfer_first(
    tx: Tx,
    registry: Registry,
    subtype: str,
    party: str,
    account: str,
    quantity: int,
    blocks: Sequence[Mapping[str, Any]],
) -> tuple[str, list[Holding]]:
    """Transfer units first where they are; they get identifiers here, unless they have some or others name them.

    Whether they were first transferred before is not asked: the gateway judges it. Gives the action and the holdings.
    """
    taken = await _take(tx, party, account, quantity, blocks)
    names_here = [u.itmo is None and registry.names(u.attributes["first_transferring_party"], party) for u in taken]
    pairs = list(zip(taken, names_here, strict=True))
    moved = await books.name_holdings(tx, [unit for unit, here in pairs if here])
    moved += [replace(unit, first_transferred=True) for unit, here in pairs if not here]
    await books.put(tx, moved)
    members = {"party": party, "subtype": subtype}
    return await _happened(tx, registry, "first_transfer", account, members, moved), moved


async def reverse(
    tx: Tx, registry: Registry, party: str, blocks: Sequence[Mapping[str, Any]], *, resolved: bool
) -> str:
    """Tell of a reversal of removals, looked into or resolved; gives the action. No unit moves."""
    members = {"blocks": list(blocks), "resolved": resolved}
    told = notices.write("reversal", registry.books_of(party), notices.new_action(), members, len(blocks))
    await notices.tell(tx, registry, [told])
    return told.about


async def _take(tx: Tx, party: str, account: str, quantity: int, blocks: Sequence[Mapping[str, Any]]) -> list[Holding]:
    if blocks:
        return (await books.take_ranges(tx, party, account, [blocks]))[0]
    return (await books.take_quantities(tx, party, account, [quantity]))[0]


async def _happened(
    tx: Tx,
    registry: Registry,
    kind: str,
    account: str,
    members: Mapping[str, Any],
    units: Sequence[Holding],
    *,
    announce: bool = True,
) -> str:
    """Write the journal's line and the history of an action on units of one account, and tell it; gives the action."""
    action, party = notices.new_action(), members["party"]
    quantity = sum(unit.quantity for unit in units)
    await books.write_journal(tx, [(kind, action, party, account, quantity)])
    event = history.Event(registry.books_of(party), action, kind, clock.now())
    in_place = kind == "first_transfer"
    await history.write(
        tx,
        history.in_place(event, units, first_transfer=True) if in_place else history.of_move(event, members, units),
    )
    if announce:
        shown = {**members, "blocks": [unit.block() for unit in units]}
        await notices.tell(tx, registry, [notices.write(kind, event.registry, action, shown, len(units), event.at)])
    return action


async def activate(tx: Tx, registry: Registry) -> tuple[list[Outgoing], int]:
    """Store ``link.activate`` with everything held here, in parts of 1,000 positions, then untold authorisations.

    Gives the messages, and how many positions there are.
    """
    positions = [
        strictjson.dumps({"kind": "position", "party": h.party, "account": h.account, "block": h.block()})
        for h in _joined(await books.everything(tx))
    ]
    messages = []
    starts = range(0, max(len(positions), 1), BALANCE_ROWS)
    for part, start in enumerate(starts, 1):
        body = {"part": part, "of": len(starts)} if len(starts) > 1 else {}
        draft = Draft("link.activate", positions[start : start + BALANCE_ROWS], body)
        messages.append(await post.store(tx, registry, draft, owed=True, leads=True))
    messages += await notices.tell(tx, registry, [], await authorisations.take_all_untold(tx))
    return messages, len(positions)


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
