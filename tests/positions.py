"""A book in memory for tests of rules: it keeps positions and claims, moves what it is told to, and decides nothing.

What may happen is asked of the code under test: ``checks`` for transfers, ``announced`` and ``rulings`` for notices,
``succession`` for versions. Positions are moved as ``holdings.book`` says of a ``Move``. Synthetic data.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date

from gateway.domain import authorisation_rules, checks, first_transfer_rules
from gateway.domain import identifiers as ids
from gateway.domain.actions import FirstTransfer
from gateway.domain.authorisations import Authorisation, Authorised, succession
from gateway.domain.check_codes import Finding
from gateway.domain.facts import Facts, Held
from gateway.domain.identifiers import AccountType
from gateway.domain.transfers import Proposal
from gateway.domain.units import Block, UnitRange, overlapping
from gateway.holdings.announced import Moving, faults_entering, faults_leaving
from gateway.holdings.book import Move, Place
from tests.announcing import AT, announce, drawn, ruled
from tests.proposing import REGISTRIES

TODAY = date(2026, 7, 1)


@dataclass
class Claimed:
    """A transfer on its way: what it relies on and draws, by Party, and what it makes of units that never moved."""

    proposal: Proposal
    versions: dict[ids.PartyCode, int]
    draws: dict[ids.PartyCode, int]
    first: FirstTransfer | None


@dataclass
class Positions:
    """Where units are, by whom they are claimed, and what is known of authorisations."""

    known: dict[tuple[str, str], Authorised] = field(default_factory=dict)
    pieces: list[Held] = field(default_factory=list)
    claims: dict[str, Claimed] = field(default_factory=dict)

    def there(self, block: Block) -> list[Held]:
        """The positions that overlap a block."""
        return [h for h in self.pieces if h.block.overlaps(block)]

    def claimed(self, block: Block) -> list[UnitRange]:
        """What transfers hold of a block."""
        blocks = (b for one in self.claims.values() for b in one.proposal.blocks)
        return [shared for b in blocks if (shared := block.range.intersect(b.range))]

    def authorise(self, terms: Authorisation) -> list[Finding]:
        """Take a version, or say what stands against it."""
        name = terms.party, terms.id
        before = self.known.get(name)
        found = succession(before, terms)
        if not found:
            versions = before.versions if before else ()
            self.known[name] = replace(before or Authorised((terms,)), versions=(*versions, terms))
        return found

    def revoke(self, name: tuple[str, str]) -> None:
        self.known[name] = replace(self.known[name], revoked=True)

    def notice(self, value: Moving) -> tuple[Finding, ...]:
        """Take what a registry announces, or say what stands against it."""
        one = announce(value)
        there = [self.there(m.block) for m in one.moves]
        found = [Finding(2008) for _ in overlapping([m.block for m in one.moves])]
        for move, pieces in zip(one.moves, there, strict=True):
            if one.enters:
                found += faults_entering(move.block, pieces)
            else:
                found += faults_leaving(one, move.block, pieces, self.claimed(move.block))
        if found:
            return tuple(found)
        draws = drawn(*self.known.values())
        ruling = ruled(value, there, draws)
        if checks.passed(ruling.findings):
            self.known = draws.known
            for move in ruling.moves if ruling.moves is not None else one.moves:
                self._enter(move) if one.enters else self._move(move)
        return ruling.findings

    def propose(self, proposal: Proposal) -> tuple[Finding, ...]:
        """Claim the units of a transfer that passes, which draws on its authorisations; or say what is found."""
        facts = self._facts(proposal)
        found = checks.check(proposal, facts)
        if not checks.passed(found):
            return found
        draws = authorisation_rules.drawn(proposal, facts)
        for party, quantity in draws.items():
            self._draw(proposal, party, quantity)
        versions = {party: known.current.version for party, known in facts.authorisations.items()}
        first = first_transfer_rules.classified(proposal, facts)
        self.claims[str(proposal.transfer)] = Claimed(proposal, versions, draws, first)
        return found

    def complete(self, transfer: str) -> Claimed:
        """The units of a claim arrive."""
        one = self.claims.pop(transfer)
        end, start = one.proposal.acquiring, one.proposal.transferring
        place = Place(end.registry, end.party, end.account.type.value)
        at = AT if one.first is not None else None
        for block in one.proposal.blocks:
            version = one.versions.get(block.attributes.first_transferring_party)
            self._move(Move(block, place, at, start.registry, version))
        return one

    def give_back(self, transfer: str) -> None:
        """A claim ends without its units having moved."""
        one = self.claims.pop(transfer)
        for party, quantity in one.draws.items():
            self._draw(one.proposal, party, -quantity)

    def _draw(self, proposal: Proposal, party: ids.PartyCode, quantity: int) -> None:
        assert proposal.authorisation is not None
        name = party, proposal.authorisation.id
        before = self.known[name]
        self.known[name] = replace(before, drawn=before.drawn + quantity)

    def _facts(self, proposal: Proposal) -> Facts:
        given = proposal.authorisation
        parties = {b.attributes.first_transferring_party for b in proposal.blocks}
        known = {p: self.known[p, given.id] for p in parties if given and (p, given.id) in self.known}
        return Facts(
            sender=REGISTRIES[proposal.transferring.registry].link,
            registries=REGISTRIES,
            pieces=[self.there(b) for b in proposal.blocks],
            claims=[self.claimed(b) for b in proposal.blocks],
            today=TODAY,
            authorisations=known,
        )

    def _enter(self, move: Move) -> None:
        assert move.to is not None
        self.pieces.append(_placed(move.block, move.to, move.first_transferred_at is not None, move.relied_on))

    def _move(self, move: Move) -> None:
        kept: list[Held] = []
        for held in self.pieces:
            part = held.block.intersect(move.block)
            if part is None or (move.out_of is not None and held.registry != move.out_of):
                kept.append(held)
                continue
            kept += [replace(held, block=rest) for rest in held.block.subtract(move.block)]
            kept.append(_moved(replace(held, block=part), move))
        self.pieces = kept


def _moved(held: Held, move: Move) -> Held:
    """A position as ``Move`` says: what was first transferred keeps that and its version."""
    transferred = held.first_transferred or move.first_transferred_at is not None
    options: Sequence[int | None] = (move.relied_on, held.relied_on)
    if held.first_transferred:
        options = (held.relied_on, move.relied_on)
    version = next((v for v in options if v is not None), None)
    place = move.to or Place(held.registry, held.party, held.account_type.value)
    return _placed(held.block, place, transferred, version)


def _placed(block: Block, place: Place, transferred: bool, version: int | None) -> Held:
    registry, party = ids.parse_registry_code(place.registry), ids.parse_party(place.party)
    return Held(registry, party, AccountType(place.account_type), block, transferred, version)


def serials(blocks: Iterable[Block]) -> set[tuple[str, int]]:
    """Each unit by series and serial."""
    return {(b.origin.series, serial) for b in blocks for serial in range(b.first, b.last + 1)}
