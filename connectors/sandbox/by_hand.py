"""What is done to the books by hand, with no word to anybody: differences that are planted, and corrections.

The planted ones are synthetic, for tests and the demonstration: units vanish, appear, change or move as no message
ever said. No journal line, no history and no notice tells of them, as it is where a database was edited. A correction
is as much an edit, and so it names its case, its reason and the two people who agreed; it is kept for ever. What is
locked by a transfer is left alone (4005).
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from . import books, clock, shapes, strictjson
from .books import plain
from .database import Tx
from .registry import Registry
from .strictjson import Malformed
from .units import Declined, Holding, itmo_range

Units = Mapping[str, Any]


async def lose(tx: Tx, units: Units) -> int:
    """Let units vanish; gives how many. Raises ``Declined`` 4003 or 4005."""
    return _quantity(await books.take_anywhere(tx, [units]))


async def invent(tx: Tx, registry: Registry, party: str, account: str, block: Units) -> int:
    """Put the units of a block into an account, whoever has them; raises ``Declined`` 4007 if they are here."""
    registry.books_of(party)
    if await books.present(tx, [("by hand", block)]):
        raise Declined(4007, "the units, or their identifiers, are here already")
    return await _put(tx, party, account, block)


async def change(tx: Tx, units: Units, changes: Mapping[str, Any]) -> int:
    """Change attributes of units; raises ``Declined`` 4003 or 4005, or 2001 for what would be none."""
    changed = await books.relabel(tx, await books.take_anywhere(tx, [units]), changes)
    if not all(shapes.is_attributes(holding.attributes) for holding in changed):
        raise Declined(2001, "not the attributes of units")
    await books.put(tx, changed)
    return _quantity(changed)


async def move(tx: Tx, registry: Registry, units: Units, party: str, account: str) -> int:
    """Put units into another account, of whatever type and Party; raises ``Declined`` 4003 or 4005."""
    registry.books_of(party)
    await books.ensure_accounts(tx, [(party, account, "by hand")])
    moved = [replace(one, party=party, account=account) for one in await books.take_anywhere(tx, [units])]
    await books.put(tx, moved)
    return _quantity(moved)


async def correct(tx: Tx, registry: Registry, wish: Mapping[str, Any]) -> dict[str, Any]:
    """Put units right, and keep who agreed to it and why.

    Raises ``Declined``: 2001 or 2006 for a state that is none, 4005 for locked units, 4007 for identifiers that other
    units have.
    """
    units, state = wish["units"], read(wish["state"])
    before = await books.take_present(tx, units)
    if state is not None:
        registry.books_of(state["party"])
        account = await _account(tx, state, before)
        block = {**units, "attributes": state["attributes"], **_named(units, state["itmo"])}
        if await books.present(tx, [("by hand", block)]):
            raise Declined(4007, "the identifiers are those of other units here")
        await _put(tx, state["party"], account, block)
    await tx.execute(
        'INSERT INTO correction ("case", units, state, who, why, evidence)'
        " VALUES (%s, %s::jsonb, %s, %s::text[], %s, %s)",
        wish["case"],
        plain(units),
        wish["state"],
        wish["who"],
        wish["why"],
        wish["evidence"],
    )
    return {"case": wish["case"], "before": [piece.block() for piece in before], "state": wish["state"]}


async def corrections(tx: Tx) -> list[dict[str, Any]]:
    """Give the corrections, the last one first."""
    found = await tx.rows('SELECT "case", units, state, who, why, evidence, at FROM correction ORDER BY id DESC')
    return [{**row, "at": clock.stamp(row["at"])} for row in found]


def read(text: str | None) -> dict[str, Any] | None:
    """Read the text of a state; raises ``Declined`` (2001)."""
    try:
        state = None if text is None else strictjson.loads(text)
    except Malformed as error:
        raise Declined(2001, "not the text of a state") from error
    if state is None or _is_state(state):
        return state
    raise Declined(2001, "not the text of a state")


def _is_state(state: Any) -> bool:
    if not (isinstance(state, dict) and state.keys() == {"party", "account_type", "attributes", "itmo"}):
        return False
    account_type, itmo = state["account_type"], state["itmo"]
    named = itmo is None or (
        isinstance(itmo, dict)
        and itmo.keys() == {"stem", "offset"}
        and type(itmo["offset"]) is int
        and isinstance(itmo["stem"], str)
        and shapes.is_itmo(_stem(itmo["stem"]).format(1))
    )
    is_type = type(account_type) is int and 100 <= account_type <= 999
    return named and is_type and shapes.is_party(state["party"]) and shapes.is_attributes(state["attributes"])


def _stem(text: str) -> str:
    """Give a stem, which a state names without the serial, with a place for it."""
    before, _, vintage = text.replace("{", "").replace("}", "").rpartition("-")
    return f"{before}-{{}}-{vintage}"


def _named(units: Units, itmo: Mapping[str, Any] | None) -> dict[str, Any]:
    if itmo is None:
        return {}
    first, last = units["first"] + itmo["offset"], units["last"] + itmo["offset"]
    if not 1 <= first <= last <= strictjson.MAX_INTEGER:
        raise Declined(2006, "the offset leads to no identifiers")
    return {"itmo": itmo_range(_stem(itmo["stem"]), first, last)}


async def _account(tx: Tx, state: Mapping[str, Any], before: list[Holding]) -> str:
    """Give the account that units are to be in: the one they are in, if it is right, or the first of its type."""
    party, account_type = state["party"], state["account_type"]
    right = [p.account for p in before if p.party == party and books.account_type(p.account) == account_type]
    if right:
        return right[0]
    found = await tx.one(
        "SELECT account FROM account WHERE party = %s AND left(account, 3) = %s"
        " ORDER BY length(account), account LIMIT 1",
        party,
        str(account_type),
    )
    return str(found["account"]) if found else f"{account_type}-1"


async def _put(tx: Tx, party: str, account: str, block: Units) -> int:
    await books.ensure_accounts(tx, [(party, account, "by hand")])
    made = await books.adopt(tx, [(party, account, block)])
    await books.put(tx, made)
    return _quantity(made)


def _quantity(holdings: list[Holding]) -> int:
    return sum(holding.quantity for holding in holdings)
