"""Issuance, one or ten thousand at a time: the same few statements over arrays, in one transaction.

It deducts the share for overall mitigation (OMGE, cancelled in 320-1), the share of proceeds for adaptation (SOP,
held in 410-1) and what removals put into the reversal risk buffer (held in 420-1), each rounded up: 58,428 gross at
2 % and exempt from SOP gives 1,169 cancelled and 57,259 net. Serials are synthetic and run through net, SOP, OMGE,
buffer; units under the units are those of the net block alone. The
``action.notice`` that tells the gateway is stored with the change, and names what was issued ``synthetic``; the
authorisations it rests on go before it in the same message, once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import authorisations, books, clock, first_transfers, history, notices, shapes
from .authorisations import Ref, Terms
from .batches import Written
from .database import Tx, columns
from .registry import Registry
from .shares import Shares
from .strictjson import MAX_INTEGER
from .units import Declined, Holding

#: Where the deductions at issuance go.
OMGE_ACCOUNT = "320-1"
SOP_ACCOUNT = "410-1"
BUFFER_ACCOUNT = "420-1"


@dataclass(frozen=True)
class Issuance:
    """Units to issue: ``gross`` of them, deductions not yet taken."""

    attributes: Mapping[str, Any]
    series: str
    account: str
    gross: int
    shares: Shares
    announce: bool

    @property
    def party(self) -> str:
        """The Party in whose books they come into being: the host."""
        return str(self.attributes["first_transferring_party"])

    @property
    def net(self) -> int:
        """What is left."""
        return self.gross - sum(self.shares.of(self.gross))


def gross_for(net: int, shares: Shares) -> int:
    """Give the smallest gross quantity that leaves ``net``; raises ``Declined`` (2009) where none does.

    The first one tried leaves no more than that, less cannot do, and one unit more adds at most one to what is left.
    """
    kept = 100 - shares.omge - shares.sop - shares.buffer
    if kept < 1:
        raise Declined(2009, "nothing would be left after the deductions")
    gross = -(-net * 100 // kept)
    while gross - sum(shares.of(gross)) != net:
        gross += 1
    return gross


async def issue(tx: Tx, registry: Registry, wanted: Sequence[Issuance]) -> list[tuple[str, list[Holding]]]:
    """Issue to holding accounts, deductions taken; gives each action's id and its holdings.

    Raises ``Declined`` for all or none.
    """
    for one in wanted:
        _check(one)
    owners = [registry.books_of(one.party) for one in wanted]
    terms = await authorisations.ensure(tx, registry, [one.attributes for one in wanted])
    firsts = await _next_serials(tx, wanted, owners)
    blocks = [_blocks(one, owner, first) for one, owner, first in zip(wanted, owners, firsts, strict=True)]
    adopted = [block for group in blocks for block in group]
    await books.ensure_accounts(tx, [(party, number, "synthetic") for party, number, _ in adopted])
    holdings = await _named(tx, await books.adopt(tx, adopted), terms)
    await books.put(tx, holdings)
    left = iter(holdings)
    issued = [(notices.new_action(), [next(left) for _ in group]) for group in blocks]
    await _write(tx, issued)
    at = clock.now()
    events = [history.Event(owner, action, "issuance", at) for owner, (action, _) in zip(owners, issued, strict=True)]
    pairs = list(zip(events, (group for _, group in issued), strict=True))
    await history.write(tx, [record for made in pairs for record in history.of_issuance(*made)])
    told = [_notice(*made) for one, made in zip(wanted, pairs, strict=True) if one.announce]
    await _announce(tx, registry, [one for one in wanted if one.announce], told)
    return issued


def _check(wanted: Issuance) -> None:
    if not shapes.is_attributes(wanted.attributes) or not shapes.is_series(wanted.series):
        raise Declined(2014, "not a complete set of unit attributes, or not a series")
    if wanted.net < 1:
        raise Declined(2009, "nothing would be left after the deductions")


def _blocks(wanted: Issuance, owner: str, first: int) -> list[tuple[str, str, Mapping[str, Any]]]:
    (omge, sop, buffer), given = wanted.shares.of(wanted.gross), wanted.attributes
    without = {name: value for name, value in given.items() if name != "underlying"}
    parts = [(wanted.account, wanted.net, given), (SOP_ACCOUNT, sop, without), (OMGE_ACCOUNT, omge, without)]
    parts.append((BUFFER_ACCOUNT, buffer, without))
    origin = {"registry": owner, "series": wanted.series}
    blocks: list[tuple[str, str, Mapping[str, Any]]] = []
    for account, quantity, attributes in parts:
        block = {"origin": origin, "first": first, "last": first + quantity - 1, "attributes": attributes}
        if quantity:
            blocks.append((wanted.party, account, block))
        first += quantity
    return blocks


async def _next_serials(tx: Tx, wanted: Sequence[Issuance], owners: Sequence[str]) -> list[int]:
    """Reserve serials, series by series; gives the first of each issuance."""
    total: dict[tuple[str, str], int] = {}
    for one, owner in zip(wanted, owners, strict=True):
        total[owner, one.series] = total.get((owner, one.series), 0) + one.gross
    if max(total.values()) >= MAX_INTEGER:
        raise Declined(2006, "a series has no more than 2^53-1 serials")
    found = await tx.rows(
        "INSERT INTO series (registry, name, next_serial)"
        " SELECT r, n, 1 + q FROM unnest(%s::text[], %s::text[], %s::bigint[]) AS w (r, n, q)"
        " ON CONFLICT (registry, name) DO UPDATE SET next_serial = series.next_serial + EXCLUDED.next_serial - 1"
        " RETURNING registry, name, next_serial",
        *columns([(*series, quantity) for series, quantity in sorted(total.items())], 3),
    )
    free = {(row["registry"], row["name"]): row["next_serial"] - total[row["registry"], row["name"]] for row in found}
    if any(first + total[series] - 1 > MAX_INTEGER for series, first in free.items()):
        raise Declined(2006, "a series has no more than 2^53-1 serials")
    firsts = []
    for one, owner in zip(wanted, owners, strict=True):
        firsts.append(free[owner, one.series])
        free[owner, one.series] += one.gross
    return firsts


async def _named(tx: Tx, holdings: Sequence[Holding], terms: Mapping[Ref, Terms]) -> list[Holding]:
    """Give identifiers to the units, those deducted too, that are first transferred by being issued."""
    itmos = iter(await books.name_holdings(tx, [h for h in holdings if _issued_as_itmo(h, terms)]))
    return [next(itmos) if _issued_as_itmo(holding, terms) else holding for holding in holdings]


def _issued_as_itmo(holding: Holding, terms: Mapping[Ref, Terms]) -> bool:
    ref = authorisations.ref_of(holding.attributes)
    return ref is not None and first_transfers.by_issuance(terms[ref])


async def _write(tx: Tx, issued: Sequence[tuple[str, list[Holding]]]) -> None:
    held = [(action, h) for action, holdings in issued for h in holdings]
    lines = [("issuance", action, h.party, h.account, h.quantity) for action, h in held]
    lines += [("cancellation", action, h.party, h.account, h.quantity) for action, h in held if _is_cancelled(h)]
    await books.write_journal(tx, lines)


def _is_cancelled(holding: Holding) -> bool:
    return holding.account == OMGE_ACCOUNT


def _notice(event: history.Event, holdings: Sequence[Holding]) -> Written:
    positions = [{"party": h.party, "account": h.account, "block": h.block()} for h in holdings]
    members = {"positions": positions, "synthetic": True}
    return notices.write("issuance", event.registry, event.transaction, members, len(holdings), event.at)


async def _announce(tx: Tx, registry: Registry, announced: Sequence[Issuance], told: Sequence[Written]) -> None:
    """Tell of issuances, and first of the authorisations they are under and the gateway was not told of."""
    refs = [authorisations.ref_of(one.attributes) for one in announced]
    untold = await authorisations.take_untold(tx, {ref[:2] for ref in refs if ref})
    await notices.tell(tx, registry, told, untold)
