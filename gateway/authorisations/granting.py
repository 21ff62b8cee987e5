"""Post-issuance authorisation: units that were issued without an authorisation get one (CMA 6, as summarised publicly).

Allowed only for mitigation contribution A6.4ERs that were never transferred and are still held where they were issued,
and only together with the share of proceeds and the OMGE units of their issuance, to which the host applies its
adjustments too. Everything else is refused with 5123, units that a transfer holds with 4005.
"""

from collections.abc import Sequence
from dataclasses import replace

from gateway import db
from gateway.domain.actions import AuthorisationTold
from gateway.domain.check_codes import Finding
from gateway.domain.facts import Held
from gateway.domain.identifiers import AccountType
from gateway.domain.units import AuthorisationRef, UnitRange
from gateway.holdings import actions, book, claims
from gateway.holdings.book import Move
from gateway.holdings.claims import Claim

#: Where units of an issuance that was never touched are.
UNTOUCHED = frozenset(
    {AccountType.HOLDING, AccountType.PENDING, AccountType.SHARE_OF_PROCEEDS, AccountType.REVERSAL_BUFFER,
     AccountType.CANCELLATION_OMGE}
)  # fmt: skip


async def grant(tx: db.Tx, value: AuthorisationTold, entry_id: int) -> list[Finding]:
    """Give the units of ``value`` its authorisation; what stands against it, and then nothing is changed."""
    await book.lock_series(tx, [u.origin for u in value.units], book.LEAVING)
    claimed = await claims.held_by_others(tx, [Claim("", units) for units in value.units])
    pieces = await book.held(tx, value.units)
    left_out = await actions.deducted_outside(tx, value.units)
    found = []
    for units, there, taken in zip(value.units, pieces, claimed, strict=True):
        if taken:
            found.append(Finding(4005, tuple(taken), "a transfer holds these units"))
        if why := _not_to_be_granted(units, there, value):
            found.append(Finding(5123, (units,), why))
    if left_out:
        found.append(Finding(5123, tuple(left_out), "taken at the same issuance, and not authorised with the others"))
    if not found:
        reference = AuthorisationRef(value.terms.id, value.terms.version)
        await book.move(tx, list(_moves(value.units, pieces, reference)), entry_id)
    return found


def _not_to_be_granted(units: UnitRange, there: Sequence[Held], value: AuthorisationTold) -> str:
    if sum(part.quantity for h in there if (part := h.block.range.intersect(units))) < units.quantity:
        return "not in the book"
    if any(h.registry != units.origin.registry or h.account_type not in UNTOUCHED for h in there):
        return "transferred, used or cancelled before"
    if any(h.block.attributes.authorisation is not None or h.first_transferred for h in there):
        return "under an authorisation already"
    if any(h.block.attributes.first_transferring_party != value.terms.party for h in there):
        return "hosted by another Party"
    return ""


def _moves(units: Sequence[UnitRange], pieces: Sequence[Sequence[Held]], given: AuthorisationRef) -> list[Move]:
    moves = []
    for wanted, there in zip(units, pieces, strict=True):
        for held in there:
            part = held.block.range.intersect(wanted)
            if part is not None:
                attributes = replace(held.block.attributes, authorisation=given)
                moves.append(Move(held.block.part(part.first, part.last), None, attributes=attributes))
    return moves
