"""From a ``propose`` item to a ``Proposal``.

The structure is the message's business: an item that is not of the protocol raises MALFORMED with 2001, 2003
(transfer id) or 2005 (number of blocks), and its message is refused. The data are the transfer's: an item
with faults in them becomes a ``FaultyProposal`` that names every one, so that this transfer is refused alone
while the others of its message pass.
"""

from dataclasses import dataclass

from gateway.domain import identifiers, integrity, wire
from gateway.domain.check_codes import Finding, merged
from gateway.domain.identifiers import TransferId
from gateway.domain.transfers import Proposal, Purpose
from gateway.errors import GatewayError, Kind

#: Most blocks in one message: the limit of the Kyoto data exchange standards per transaction.
MAX_BLOCKS = 3000

_PROPOSE = frozenset(
    {
        "kind",
        "transfer",
        "transferring",
        "acquiring",
        "purpose",
        "authorisation",
        "quantity",
        "blocks",
    }
)
_PURPOSES = {purpose.value: purpose for purpose in Purpose}


@dataclass(frozen=True, slots=True)
class FaultyProposal:
    """A proposal whose data cannot be used; ``findings`` holds at least one error of stage 2."""

    transfer: TransferId
    request: str | None
    findings: tuple[Finding, ...]


def parse_proposal(item: object) -> Proposal | FaultyProposal:
    """Read a ``propose`` item as ``json.loads`` gives it.

    Raises MALFORMED: 2001 for the structure, 2003 for the transfer id's syntax, 2005 for no blocks or more
    than 3000. Whether the transfer id is its sender's is ``checks.sender_2003``.
    """
    raw = wire.members(item, "propose", _PROPOSE, frozenset({"request", "entity"}))
    if raw["kind"] != "propose":
        raise wire.malformed("not a propose item")
    transfer = identifiers.parse_transfer_id(wire.text(raw["transfer"], "transfer"))
    request = identifiers.parse_uuid7(wire.text(raw["request"], "request")) if "request" in raw else None
    faults = wire.Faults()
    transferring = wire.read_address(raw["transferring"], faults)
    acquiring = wire.read_address(raw["acquiring"], faults)
    purpose = faults.attempt(parse_purpose, wire.text(raw["purpose"], "purpose"))
    authorisation = wire.read_authorisation(raw["authorisation"])
    entity = wire.text(raw["entity"], "entity") if "entity" in raw else None
    quantity = wire.whole(raw["quantity"], "quantity")
    listed = wire.array(raw["blocks"], "blocks")
    if not 1 <= len(listed) <= MAX_BLOCKS:
        raise GatewayError(Kind.MALFORMED, f"a transfer has 1 to {MAX_BLOCKS} blocks", code=2005)
    blocks = tuple(block for block in (wire.read_block(value, faults) for value in listed) if block is not None)
    faults.findings += faults.unlisted
    if faults.findings:
        known = [*faults.findings, *integrity.block_findings(blocks)]
        if len(blocks) == len(listed):
            known += integrity.quantity_2009(quantity, blocks)
        return FaultyProposal(transfer, request, merged(known))
    if transferring is None or acquiring is None or purpose is None:
        raise GatewayError(Kind.INVARIANT, "a part of a proposal is missing without a finding")
    return Proposal(transfer, request, transferring, acquiring, purpose, authorisation, quantity, blocks, entity)


def parse_purpose(text: str) -> Purpose:
    """Read a purpose; raises MALFORMED with code 2014."""
    purpose = _PURPOSES.get(text)
    if purpose is None:
        raise GatewayError(Kind.MALFORMED, f"no purpose {text[:16]!r}", code=2014)
    return purpose
