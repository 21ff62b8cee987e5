"""The checks on use and cancellation that need the authorisation (the secretariat's II06 and STC02)."""

from collections.abc import Sequence

from gateway.domain import first_transfer
from gateway.domain.actions import ActionType, Disposal, FirstTransfer, Towards
from gateway.domain.authorisations import Authorised
from gateway.domain.check_codes import Finding
from gateway.domain.facts import Held
from gateway.domain.transfers import Purpose
from gateway.domain.units import Block

#: The purposes of authorisations among what units are used towards or cancelled for.
PURPOSE_OF = {Towards.NDC: Purpose.NDC, Towards.IMP: Purpose.IMP, Towards.OP: Purpose.OP}


def findings(value: Disposal, block: Block, pieces: Sequence[Held], known: Authorised | None) -> list[Finding]:
    """What is wrong with the use or cancellation of ``block``, which lies in ``pieces``.

    Use by the host itself towards its own NDC needs no authorisation: it is no international transfer.
    """
    host = block.attributes.first_transferring_party
    purpose = PURPOSE_OF.get(value.purpose)
    if purpose is None or (purpose is Purpose.NDC and value.party == host):
        return []
    if known is None:
        return [
            Finding(5140 if value.type is ActionType.USE else 5141, (block.range,), "not authorised, as far as told")
        ]
    found = [f for under in _versions(pieces) for f in _under(value, block, known, purpose, under)]
    if purpose is Purpose.NDC and not all(h.first_transferred for h in pieces):
        found.append(Finding(5133, (block.range,), "used towards another Party's NDC before first transfer"))
    return found


def _versions(pieces: Sequence[Held]) -> list[int | None]:
    """The versions under which the units were first transferred, each once."""
    return list(dict.fromkeys(h.transferred_under for h in pieces))


def _under(value: Disposal, block: Block, known: Authorised, purpose: Purpose, under: int | None) -> list[Finding]:
    """What is wrong with it for units first transferred under a version (None: that never were)."""
    found = []
    terms = known.governing(under)
    if not terms.covers(purpose):
        found.append(Finding(5110, (block.range,), f"not authorised for {purpose}"))
    if value.type is ActionType.USE and terms.parties and value.party not in terms.parties | {terms.party}:
        found.append(Finding(5140, (block.range,), f"{value.party} is not among the authorised Parties"))
    if value.entity is not None and terms.entities and value.entity not in terms.entities:
        found.append(Finding(5109, (block.range,), "the entity is not among those authorised"))
    if not terms.use_period.cover(value.at.date()):
        found.append(Finding(5111, (block.range,), "outside the authorised time of use"))
    if known.ended(under):
        found.append(Finding(5103, (block.range,), "the authorisation is revoked"))
    return found


def first_transfer_of(value: Disposal, known: Authorised) -> FirstTransfer | None:
    """What kind of first transfer the disposal is for units that never were."""
    return first_transfer.by_disposal(PURPOSE_OF.get(value.purpose), known.current)
