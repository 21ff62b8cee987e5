"""The verdict on a proposal: data integrity, the facts of the book, the rules of Article 6 (stages 2, 4 and 5).

``check`` applies the stages in order, stops after the first with an error, and reports everything found up to
there. Stage 3 (sequence) is judged where messages meet the row's state, by the table of ``transfers``. One
pure function per code; what the book, the links and the calendar say comes in as ``Facts``, gathered
set-based by the caller. Whether an account exists, is open or restricted (4011 to 4014) is answered by the
registries: the gateway knows holdings by Party and account type, and account numbers are a registry's own
business. That a registry has no books of a Party at all is known here (4011, 4012).
"""

from collections.abc import Callable, Iterable, Sequence

from gateway.domain import integrity, rules
from gateway.domain.check_codes import CHECKS as CHECKS
from gateway.domain.check_codes import Finding as Finding
from gateway.domain.check_codes import Severity as Severity
from gateway.domain.check_codes import merged, severity
from gateway.domain.facts import Facts, Flag, Held, LinkState
from gateway.domain.identifiers import Address, LinkCode, RegistryCode, Standing, TransferId
from gateway.domain.transfers import Proposal
from gateway.domain.units import Block, UnitRange
from gateway.errors import invariant


def check(proposal: Proposal, facts: Facts) -> tuple[Finding, ...]:
    """Every finding of the first stage that has an error, after the warnings of the stages before it."""
    count = len(proposal.blocks)
    invariant(len(facts.pieces) == count and len(facts.claims) == count, "facts of another proposal")
    found: list[Finding] = []
    for stage in (_data_integrity, _general, _specific):
        found += stage(proposal, facts)
        if any(severity(finding.code) is Severity.ERROR for finding in found):
            break
    return merged(found)


def passed(findings: Iterable[Finding]) -> bool:
    """Whether the transfer may go on: no finding is an error."""
    return all(severity(finding.code) is Severity.WARNING for finding in findings)


def waits(findings: Iterable[Finding]) -> bool:
    """Whether nothing is wrong but that a reconciliation is in progress (4019), which the transfer waits for."""
    found = list(findings)
    return passed(found) and any(finding.code == 4019 for finding in found)


def _data_integrity(proposal: Proposal, facts: Facts) -> list[Finding]:
    return [
        *sender_2003(proposal.transfer, facts.sender),
        *integrity.quantity_2009(proposal.quantity, proposal.blocks),
        *integrity.block_findings(proposal.blocks),
        *integrity.future_vintages_2013(proposal.blocks, facts.today.year),
    ]


def _general(proposal: Proposal, facts: Facts) -> list[Finding]:
    return [finding for rule in GENERAL for finding in rule(proposal, facts)]


def _specific(proposal: Proposal, facts: Facts) -> list[Finding]:
    return [finding for rule in rules.RULES for finding in rule(proposal, facts)]


def sender_2003(transfer: TransferId, sender: LinkCode) -> list[Finding]:
    """A transfer id begins with its sender's code; MUST hold before a row is made, or ids can be taken."""
    if transfer.source == sender:
        return []
    return [Finding(2003, (), "the transfer id begins with another registry's code")]


def transferring_4001(proposal: Proposal, facts: Facts) -> list[Finding]:
    """The transferring registry is the sender's, known, and its link is active."""
    registry = proposal.transferring.registry
    known = facts.registries.get(registry)
    if known is not None and known.link != facts.sender:
        return [Finding(4001, (), f"{facts.sender} does not speak for {registry}")]
    return _link(4001, registry, facts)


def acquiring_4002(proposal: Proposal, facts: Facts) -> list[Finding]:
    """The acquiring registry is known, its link is active and may be used for transfers in."""
    registry = proposal.acquiring.registry
    known = facts.registries.get(registry)
    if known is not None and known.barred:
        return [Finding(4002, (), f"the link with {registry} is not to be used for transfers in")]
    return _link(4002, registry, facts)


def books_4011(proposal: Proposal, facts: Facts) -> list[Finding]:
    """The transferring registry keeps books of the transferring Party."""
    return _books(4011, proposal.transferring, facts)


def books_4012(proposal: Proposal, facts: Facts) -> list[Finding]:
    """The acquiring registry keeps books of the acquiring Party."""
    return _books(4012, proposal.acquiring, facts)


def known_4003(proposal: Proposal, facts: Facts) -> list[Finding]:
    """Every unit is in the book, wherever it is; names the serials that are nowhere."""
    missing = [
        gap for block, pieces in zip(proposal.blocks, facts.pieces, strict=True) for gap in _uncovered(block, pieces)
    ]
    return _finding(4003, missing, "not in the book")


def held_there_4004(proposal: Proposal, facts: Facts) -> list[Finding]:
    """Units held in the transferring registry are held under that Party and account type."""
    source = proposal.transferring

    def elsewhere(piece: Held) -> bool:
        place = (piece.party, piece.account_type)
        return (
            piece.registry == source.registry
            and piece.account_type.standing is Standing.HELD
            and place != (source.party, source.account.type)
        )

    return _finding(4004, _where(proposal, facts, elsewhere), "held under another Party or account type")


def unclaimed_4005(proposal: Proposal, facts: Facts) -> list[Finding]:
    """No other transfer claims a unit. Which one does is not the sender's business."""
    claimed = [
        shared
        for block, claims in zip(proposal.blocks, facts.claims, strict=True)
        for claim in claims
        if (shared := block.range.intersect(claim))
    ]
    return _finding(4005, claimed, "claimed by another transfer")


def live_4006(proposal: Proposal, facts: Facts) -> list[Finding]:
    """No unit is used or cancelled, in whichever registry."""

    def gone(piece: Held) -> bool:
        return piece.account_type.standing is not Standing.HELD

    return _finding(4006, _where(proposal, facts, gone), "used or cancelled")


def one_place_4007(proposal: Proposal, facts: Facts) -> list[Finding]:
    """No unit is in another registry. In which one is not the sender's business."""
    source = proposal.transferring.registry
    return _finding(4007, _where(proposal, facts, lambda piece: piece.registry != source), "in another registry")


def no_difference_4008(proposal: Proposal, facts: Facts) -> list[Finding]:
    """No difference that a reconciliation found is open on the units."""
    return _finding(4008, _flagged(proposal, facts, Flag.DISCREPANCY), "a reconciliation difference is open")


def consistent_4009(proposal: Proposal, facts: Facts) -> list[Finding]:
    """No finding of inconsistency that may affect the emissions balance is open on the units."""
    return _finding(4009, _flagged(proposal, facts, Flag.INCONSISTENT), "a finding of inconsistency is open")


def unchanged_4010(proposal: Proposal, facts: Facts) -> list[Finding]:
    """Attributes and ITMO identifiers are those of the book."""
    wrong = [
        shared
        for block, pieces in zip(proposal.blocks, facts.pieces, strict=True)
        for piece in pieces
        if piece.block.attributes != block.attributes or piece.block.itmo != block.itmo
        if (shared := block.range.intersect(piece.block.range))
    ]
    return _finding(4010, wrong, "attributes or ITMO identifiers differ from those known")


def account_type_4015(proposal: Proposal, facts: Facts) -> list[Finding]:
    """The acquiring account holds units; use and cancellation are actions of their own."""
    account = proposal.acquiring.account
    if account.type.standing is Standing.HELD:
        return []
    return [Finding(4015, (), f"an account of type {account.type.value} holds no units")]


def entity_4016(proposal: Proposal, facts: Facts) -> list[Finding]:
    """Where an entity acquires, an authorisation in force names it (Table 5 of the agreed electronic format)."""
    if proposal.entity is None or proposal.entity in facts.entities:
        return []
    return [Finding(4016, (), "no authorisation in force names the entity that acquires")]


def between_registries_4017(proposal: Proposal, facts: Facts) -> list[Finding]:
    """Source and acquirer are two systems; what stays inside one (section to section) is its own business."""
    ends = [proposal.transferring.registry, proposal.acquiring.registry]
    source, acquirer = (known.link if (known := facts.registries.get(r)) else r for r in ends)
    if source != acquirer:
        return []
    return [Finding(4017, (), f"both addresses are in {source}")]


def balance_4018(proposal: Proposal, facts: Facts) -> list[Finding]:
    """As many of these units are held at the transferring address as the quantity says."""
    source = proposal.transferring
    place = (source.registry, source.party, source.account.type)
    there = 0
    if source.account.type.standing is Standing.HELD:
        at_source = _where(proposal, facts, lambda piece: (piece.registry, piece.party, piece.account_type) == place)
        there = sum(units.quantity for units in at_source)
    if proposal.quantity <= there:
        return []
    return [Finding(4018, (), f"{there} of {proposal.quantity} units are held there")]


def not_reconciling_4019(proposal: Proposal, facts: Facts) -> list[Finding]:
    """Neither registry is being reconciled; else the transfer waits until that is over."""
    ends = (proposal.transferring.registry, proposal.acquiring.registry)
    busy = [r for r in ends if (known := facts.registries.get(r)) is not None and known.reconciling]
    return [Finding(4019, (), f"{registry} is being reconciled") for registry in busy]


def participating_4020(proposal: Proposal, facts: Facts) -> list[Finding]:
    """The requirements for taking part are not flagged as lapsed for either Party (2/CMA.3 annex para 4)."""
    lapsed = sorted({proposal.transferring.party, proposal.acquiring.party} & facts.lapsed)
    return [Finding(4020, (), f"the requirements for taking part are flagged as lapsed for {p}") for p in lapsed]


#: The checks of stage 4, in the order in which they are reported.
GENERAL: tuple[Callable[[Proposal, Facts], list[Finding]], ...] = (
    transferring_4001,
    acquiring_4002,
    books_4011,
    books_4012,
    known_4003,
    held_there_4004,
    unclaimed_4005,
    live_4006,
    one_place_4007,
    no_difference_4008,
    consistent_4009,
    unchanged_4010,
    account_type_4015,
    entity_4016,
    between_registries_4017,
    balance_4018,
    not_reconciling_4019,
    participating_4020,
)


def _link(code: int, registry: RegistryCode, facts: Facts) -> list[Finding]:
    known = facts.registries.get(registry)
    state = LinkState.UNKNOWN if known is None else known.state
    return [] if state is LinkState.ACTIVE else [Finding(code, (), f"the link with {registry} is {state}")]


def _books(code: int, address: Address, facts: Facts) -> list[Finding]:
    known = facts.registries.get(address.registry)
    if known is None or known.keeps(address.party):
        return []
    return [Finding(code, (), f"{address.registry} keeps no books of {address.party}")]


def _where(proposal: Proposal, facts: Facts, is_so: Callable[[Held], bool]) -> list[UnitRange]:
    """The proposed units of which the book says so."""
    return [
        shared
        for block, pieces in zip(proposal.blocks, facts.pieces, strict=True)
        for piece in pieces
        if is_so(piece) and (shared := block.range.intersect(piece.block.range))
    ]


def _flagged(proposal: Proposal, facts: Facts, flag: Flag) -> list[UnitRange]:
    """The proposed units that are marked so."""
    marked = facts.flagged.get(flag, ())
    return [shared for block in proposal.blocks for units in marked if (shared := block.range.intersect(units))]


def _uncovered(block: Block, pieces: Sequence[Held]) -> list[UnitRange]:
    """The serials of the block that no position has."""
    gaps: list[UnitRange] = []
    expected = block.first
    for piece in sorted((held.block for held in pieces if held.block.overlaps(block)), key=lambda b: b.first):
        if piece.first > expected:
            gaps.append(UnitRange(block.origin, expected, piece.first - 1))
        expected = max(expected, piece.last + 1)
    if expected <= block.last:
        gaps.append(UnitRange(block.origin, expected, block.last))
    return gaps


def _finding(code: int, ranges: Sequence[UnitRange], detail: str) -> list[Finding]:
    """One finding that names all these serials, or none."""
    return [Finding(code, tuple(ranges), detail)] if ranges else []
