"""The rules on issuance, use, cancellation and first transfer that a registry announces of its own units. Pure.

What is first transferred without being relayed is found here: units issued for other purposes than the NDC alone where
the authorisation says so, and units used or cancelled for such a purpose. It draws on the authorisation like a relay.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, time

from gateway.authorisations.store import Name
from gateway.domain import disposal_rules, first_transfer, integrity, levies
from gateway.domain.actions import Disposal, FirstTransfer, FirstTransferred, Issuance
from gateway.domain.authorisation_rules import outside
from gateway.domain.authorisations import Authorised
from gateway.domain.check_codes import Finding, merged
from gateway.domain.checks import passed
from gateway.domain.facts import Held
from gateway.domain.identifiers import AccountType
from gateway.domain.levies import Rounding
from gateway.domain.nomenclature import UnitType
from gateway.domain.units import Attributes, Block
from gateway.holdings.announced import Announced, Ruling
from gateway.holdings.book import Move

#: Statements while which an activity's units are issued without an authorisation.
_NOT_AUTHORISED = frozenset({"none", "later"})


class Drawn:
    """What is known of authorisations, and what the items of one message draw on them, one after the other."""

    def __init__(self, known: Mapping[Name, Authorised]) -> None:
        self.known = dict(known)
        self.by_action: dict[tuple[str, str, Name, int], int] = {}

    def of(self, attributes: Attributes) -> Authorised | None:
        """The authorisation that units are under, if it was told."""
        given = attributes.authorisation
        return None if given is None else self.known.get((attributes.first_transferring_party, given.id))

    def draw(self, one: Announced, known: Authorised, quantity: int) -> None:
        """Draw so many tonnes for an action."""
        terms = known.current
        name = terms.party, terms.id
        self.known[name] = replace(known, drawn=known.drawn + quantity)
        key = one.record.registry, one.record.action, name, terms.version
        self.by_action[key] = self.by_action.get(key, 0) + quantity


class _Fresh:
    """The units of one item that move under their authorisations for the first time."""

    def __init__(self) -> None:
        self._of: dict[int, tuple[Authorised, int]] = {}

    def add(self, known: Authorised, quantity: int) -> None:
        """Count so many tonnes to an authorisation."""
        before = self._of.get(id(known), (known, 0))[1]
        self._of[id(known)] = known, before + quantity

    def beyond(self) -> list[Finding]:
        """5107 for each authorisation of which more would be drawn than is left."""
        return [
            Finding(5107, (), f"{known.left} tonnes are left of the authorised quantity, {quantity} would be drawn")
            for known, quantity in self._of.values()
            if known.left is not None and quantity > known.left
        ]

    def draw(self, one: Announced, drawn: Drawn) -> None:
        """Draw all of it for the item."""
        for known, quantity in self._of.values():
            if quantity:
                drawn.draw(one, known, quantity)


def _unmoved(move: Move, pieces: Iterable[Held]) -> int:
    """Of the units of a move, those that never drew on their authorisation."""
    return sum(part.quantity for h in pieces if h.relied_on is None and (part := h.block.intersect(move.block)))


def rule(
    one: Announced,
    there: Sequence[Sequence[Held]],
    *,
    drawn: Drawn,
    stated: Mapping[tuple[str, str], str],
    rounding: Rounding | None,
) -> Ruling:
    """Judge an item that the book can take; ``rounding`` None where nothing is deducted at issuance."""
    value = one.value
    if isinstance(value, Issuance):
        return _issuance(one, value, drawn, stated, rounding)
    if isinstance(value, Disposal):
        return _disposal(one, value, there, drawn)
    return _first_transfer(one, value, there, drawn) if isinstance(value, FirstTransferred) else Ruling()


def _issuance(
    one: Announced,
    value: Issuance,
    drawn: Drawn,
    stated: Mapping[tuple[str, str], str],
    rounding: Rounding | None,
) -> Ruling:
    found = levies.issuance_findings(value.positions, rounding) if rounding is not None else []
    found += _unstated(value, stated)
    found += integrity.future_vintages_2013([move.block for move in one.moves], value.at.year)
    moves, fresh, first = list[Move](), _Fresh(), None
    for move in one.moves:
        known = drawn.of(move.block.attributes)
        kind = first_transfer.by_being_issued(known.current) if known is not None else None
        held = move.to is not None and move.to.account_type == AccountType.HOLDING
        if known is None or kind is None or not held:
            moves.append(move)
            continue
        if known.revoked:
            found.append(_revoked(move.block))
        found += outside(known.current, move.block, value.at.date())
        given = datetime.combine(known.current.given_on, time(), UTC)
        at = value.at if kind is FirstTransfer.ISSUANCE else given
        moves.append(replace(move, first_transferred_at=at, relied_on=known.current.version))
        fresh.add(known, move.block.quantity)
        first = kind
    found += fresh.beyond()
    if passed(found):
        fresh.draw(one, drawn)
    return Ruling(merged(found), tuple(moves), first)


def _unstated(value: Issuance, stated: Mapping[tuple[str, str], str]) -> list[Finding]:
    """A6.4ERs under an authorisation of an activity whose host states that it authorises none, or may do so later."""
    wrong = tuple(
        p.block.range
        for p in value.positions
        if p.block.attributes.unit_type is UnitType.A64ER
        and p.block.attributes.authorisation is not None
        and stated.get((p.block.attributes.first_transferring_party, p.block.attributes.activity)) in _NOT_AUTHORISED
    )
    return [Finding(5101, wrong, "the host Party states that these are not authorised")] if wrong else []


def _disposal(one: Announced, value: Disposal, there: Sequence[Sequence[Held]], drawn: Drawn) -> Ruling:
    moves, found, first, fresh = list[Move](), list[Finding](), None, _Fresh()
    for move, pieces in zip(one.moves, there, strict=True):
        known = drawn.of(move.block.attributes)
        found += disposal_rules.findings(value, move.block, pieces, known)
        unmoved = [h for h in pieces if not h.first_transferred]
        kind = disposal_rules.first_transfer_of(value, known) if unmoved and known is not None else None
        if known is None or kind is None:
            moves.append(move)
            continue
        first = kind
        moves.append(replace(move, first_transferred_at=value.at, relied_on=known.current.version))
        fresh.add(known, _unmoved(move, unmoved))
    found += fresh.beyond()
    if passed(found):
        fresh.draw(one, drawn)
    return Ruling(merged(found), tuple(moves), first)


def _first_transfer(one: Announced, value: FirstTransferred, there: Sequence[Sequence[Held]], drawn: Drawn) -> Ruling:
    moves, found, fresh = list[Move](), list[Finding](), _Fresh()
    for move, pieces in zip(one.moves, there, strict=True):
        known = drawn.of(move.block.attributes)
        if any(h.first_transferred for h in pieces):
            found.append(Finding(5132, (move.block.range,), "first transferred before"))
        if known is None:
            found.append(Finding(5102, (move.block.range,), "no authorisation of these units was told"))
            continue
        if first_transfer.defined(known.current) != value.subtype:
            found.append(Finding(5134, (move.block.range,), "the authorisation defines first transfer otherwise"))
        if known.revoked:
            found.append(_revoked(move.block))
        moves.append(replace(move, relied_on=known.current.version))
        fresh.add(known, _unmoved(move, pieces))
    found += fresh.beyond()
    if passed(found):
        fresh.draw(one, drawn)
    return Ruling(merged(found), tuple(moves), FirstTransfer(value.subtype))


def _revoked(block: Block) -> Finding:
    return Finding(5103, (block.range,), "the authorisation is revoked: no unit is first transferred under it any more")
