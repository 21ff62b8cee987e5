"""Whatever registries announce, propose and end, in whatever order, the rules keep what they promise.

Method: random sequences of issuances, authorisations, changes, revocations, transfers, uses, cancellations and first
transfers of parts of blocks. The code under test decides each; the machine notes unit by unit what it let happen, and
holds that against the promises below. Scope: ``checks``, ``rulings``, ``succession``, with no database. Synthetic data.
"""

from collections import defaultdict
from dataclasses import replace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.domain import checks
from gateway.domain import identifiers as ids
from gateway.domain.actions import FirstTransfer, Towards
from gateway.domain.authorisations import PURPOSES, Definition
from gateway.domain.facts import Held
from gateway.domain.identifiers import AccountType, Standing
from gateway.domain.transfers import Proposal, Purpose
from gateway.domain.units import AuthorisationRef, Block, Origin
from tests.announcing import disposed, first_transferred, issued
from tests.positions import Positions, serials
from tests.proposing import JPN01, MEC01, MMR99, THA99, authorised, sound

NAMES = ("MMR-A6-1", "MMR-A6-2")
MMR = ids.parse_party("MMR")
KEPT_BY = {MEC01: "MMR", JPN01: "JPN", MMR99: "MMR", THA99: "THA"}
#: Actions after which an authorisation may be revoked, and units be issued twice: before, too much would be refused.
LATE = 12
UNIT = sound().blocks[1]
Unit = tuple[str, int]


@st.composite
def terms(draw: st.DrawFn) -> dict[str, Any]:
    """What a version says, as far as it decides here."""
    purposes = draw(st.sampled_from(["NDC", "OIMP", "NDC and OIMP"]))
    definition = None if purposes == "NDC" else draw(st.sampled_from(list(Definition)))
    listed = draw(st.sampled_from([frozenset[str](), frozenset({"JPN"}), frozenset({"JPN", "THA"})]))
    quantity = draw(st.sampled_from([None, 20, 40, 60]))
    return {
        "purposes": purposes, "definition": definition, "parties": listed, "quantity": quantity,
        "affects_first_transferred": draw(st.booleans()),
    }  # fmt: skip


class Rules(RuleBasedStateMachine):
    """What happened to each unit, as the rules let it happen."""

    def __init__(self) -> None:
        super().__init__()
        self.book = Positions()
        self.count = 0
        self.next_serial = dict.fromkeys(NAMES, 1)
        self.issued: set[Unit] = set()
        #: Units that moved under an authorisation, or are about to; those that are at their end, and where.
        self.under: dict[str, set[Unit]] = defaultdict(set)
        self.ended: dict[Unit, tuple[str, AccountType]] = {}
        #: The version under which each unit was first transferred.
        self.first: dict[Unit, int] = {}
        self.fresh: dict[str, set[Unit]] = {}

    def number(self) -> int:
        self.count += 1
        return self.count

    def named(self, block: Block) -> str:
        assert block.attributes.authorisation is not None
        return block.attributes.authorisation.id

    def part(self, data: st.DataObject) -> tuple[Held, Block]:
        """A position, and some of its units: mostly of one that is held and not claimed."""
        free = [
            h for h in self.book.pieces if h.account_type.standing is Standing.HELD and not self.book.claimed(h.block)
        ]
        held = data.draw(st.sampled_from(free * 4 + self.book.pieces))
        first = data.draw(st.integers(held.block.first, held.block.last))
        last = data.draw(st.integers(first, held.block.last))
        return held, held.block.part(first, last)

    def note_first(self, before: Positions, blocks: list[Block], *, at_once: bool = True) -> None:
        """Units that are first transferred now and were not before; under the version in force, none revoked."""
        was = _first_transferred(before, blocks)
        now = _first_transferred(self.book, blocks)
        assert was.items() <= now.items(), "a first transfer is undone, or has another version now"
        new = now.keys() - was.keys()
        assert not new & self.first.keys(), "first transferred twice"
        self.first |= {unit: now[unit] for unit in new}
        for block in blocks:
            known = before.known.get((MMR, self.named(block)))
            if known is not None and at_once and new & serials([block]):
                assert not known.revoked, "first transferred after the revocation"
                assert {now[u] for u in new & serials([block])} == {known.current.version}

    def before(self) -> Positions:
        return replace(self.book, pieces=list(self.book.pieces), known=dict(self.book.known))

    @initialize(first=terms(), second=terms(), quantity=st.integers(1, 60))
    def begin(self, first: dict[str, Any], second: dict[str, Any], quantity: int) -> None:
        for name, what in zip(NAMES, (first, second), strict=True):
            self.authorise_or_change(name, what)
            self.issue(name, quantity)

    @rule(name=st.sampled_from(NAMES), what=terms())
    def authorise_or_change(self, name: str, what: dict[str, Any]) -> None:
        known = self.book.known.get((MMR, name))
        version = len(known.versions) + 1 if known else 1
        self.book.authorise(authorised(id=name, version=version, **what).current)

    @precondition(lambda self: self.count >= LATE)
    @rule(name=st.sampled_from(NAMES))
    def revoke(self, name: str) -> None:
        self.book.revoke((MMR, name))

    @rule(name=st.sampled_from(NAMES), quantity=st.integers(1, 30))
    def issue(self, name: str, quantity: int, *, again: int = 0) -> None:
        first = max(self.next_serial[name] - again, 1)
        attributes = replace(UNIT.attributes, authorisation=AuthorisationRef(name, 1), underlying=None)
        block = Block(Origin(MEC01, name), first, first + quantity - 1, attributes)
        before = self.before()
        if checks.passed(self.book.notice(issued((block, AccountType.HOLDING), action=f"A-{self.number()}"))):
            assert not serials([block]) & self.issued, "issued twice"
            self.issued |= serials([block])
            self.next_serial[name] = max(self.next_serial[name], block.last + 1)
            self.note_first(before, [block])
            self.under[name] |= serials([block]) & self.first.keys()

    @precondition(lambda self: self.count >= LATE)
    @rule(name=st.sampled_from(NAMES), quantity=st.integers(1, 30))
    def issue_again(self, name: str, quantity: int) -> None:
        self.issue(name, quantity, again=quantity)

    @precondition(lambda self: self.book.pieces)
    @rule(data=st.data(), stale=st.sampled_from([0, 0, 0, 1]))
    def propose(self, data: st.DataObject, stale: int) -> None:
        held, block = self.part(data)
        known = self.book.known[MMR, self.named(block)]
        covered = sorted(PURPOSES[known.current.purposes])
        purpose = data.draw(st.sampled_from(covered * 4 + list(Purpose)))
        to = data.draw(st.sampled_from([r for r in KEPT_BY if r not in (held.registry, MEC01)] * 3 + list(KEPT_BY)))
        proposal = _proposal(held, block, to, purpose, self.number(), max(known.current.version - stale, 1))
        if checks.passed(self.book.propose(proposal)):
            units = serials([block])
            assert not units & self.ended.keys(), "used or cancelled, and moves"
            assert not any(units & serials(o.proposal.blocks) for o in self.others(proposal)), "claimed twice"
            self.fresh[str(proposal.transfer)] = units - self.under[self.named(block)]
            self.under[self.named(block)] |= units

    def others(self, proposal: Proposal) -> list[Any]:
        return [one for name, one in self.book.claims.items() if name != str(proposal.transfer)]

    @precondition(lambda self: self.book.claims)
    @rule(data=st.data())
    def complete(self, data: st.DataObject) -> None:
        transfer = data.draw(st.sampled_from(sorted(self.book.claims)))
        before = self.before()
        done = self.book.complete(transfer)
        del self.fresh[transfer]
        self.note_first(before, list(done.proposal.blocks), at_once=False)
        if done.first is None:
            assert _first_transferred(before, done.proposal.blocks) == _first_transferred(
                self.book, done.proposal.blocks
            )

    @precondition(lambda self: self.book.claims)
    @rule(data=st.data())
    def end_without_a_move(self, data: st.DataObject) -> None:
        transfer = data.draw(st.sampled_from(sorted(self.book.claims)))
        [block] = self.book.claims[transfer].proposal.blocks
        self.book.give_back(transfer)
        self.under[self.named(block)] -= self.fresh.pop(transfer)

    @precondition(lambda self: self.book.pieces)
    @rule(data=st.data(), purpose=st.sampled_from([Towards.NDC, Towards.IMP, Towards.OP, Towards.OMGE, Towards.OTHER]))
    def use_or_cancel(self, data: st.DataObject, purpose: Towards) -> None:
        held, block = self.part(data)
        item = disposed(block, purpose, held.party, registry=held.registry, action=f"A-{self.number()}")
        before = self.before()
        if checks.passed(self.book.notice(item)):
            assert not serials([block]) & self.ended.keys(), "used or cancelled twice"
            self.ended |= dict.fromkeys(serials([block]), (held.registry, item.to_account.type))
            self.note_first(before, [block])
            self.under[self.named(block)] |= serials([block]) & self.first.keys()
            if purpose is Towards.NDC and held.party != MMR:
                assert serials([block]) <= self.first.keys(), "used by another Party, and no ITMOs"

    @precondition(lambda self: self.book.pieces)
    @rule(data=st.data(), subtype=st.sampled_from([FirstTransfer(d) for d in ("Issuance", "Use or cancellation")]))
    def tell_a_first_transfer(self, data: st.DataObject, subtype: FirstTransfer) -> None:
        held, block = self.part(data)
        item = first_transferred(block, subtype, action=f"A-{self.number()}")
        before = self.before()
        if checks.passed(self.book.notice(replace(item, registry=held.registry))):
            assert not serials([block]) & self.ended.keys(), "used or cancelled, and first transferred"
            assert not serials([block]) & self.first.keys(), "first transferred twice"
            self.note_first(before, [block])
            assert serials([block]) <= self.first.keys()
            self.under[self.named(block)] |= serials([block])

    @invariant()
    def every_unit_is_in_one_place(self) -> None:
        assert sum(h.block.quantity for h in self.book.pieces) == len(self.issued)
        assert serials(h.block for h in self.book.pieces) == self.issued

    @invariant()
    def what_is_at_its_end_stays_there(self) -> None:
        gone = {
            unit: (str(h.registry), h.account_type)
            for h in self.book.pieces
            if h.account_type.standing is not Standing.HELD
            for unit in serials([h.block])
        }
        assert gone == self.ended

    @invariant()
    def no_more_is_drawn_than_is_authorised(self) -> None:
        for (_, name), known in self.book.known.items():
            assert known.drawn == len(self.under[name]), name
            assert known.current.quantity is None or known.drawn <= known.current.quantity, name

    @invariant()
    def each_unit_keeps_the_version_of_its_first_transfer(self) -> None:
        assert _first_transferred(self.book, [h.block for h in self.book.pieces]) == self.first


def _first_transferred(book: Positions, blocks: Any) -> dict[Unit, int]:
    """The units of these blocks that were first transferred, and under which version."""
    wanted = serials(blocks)
    return {
        unit: held.transferred_under
        for held in book.pieces
        if held.transferred_under is not None
        for unit in serials([held.block]) & wanted
    }


def _proposal(held: Held, block: Block, to: ids.RegistryCode, purpose: Purpose, number: int, version: int) -> Proposal:
    usual = sound()
    account = ids.Account(AccountType.HOLDING, 1)
    return replace(
        usual,
        transfer=ids.TransferId(_sender(held.registry), f"01920000-0000-7000-8000-{number:012x}"),
        transferring=ids.Address(held.registry, held.party, account),
        acquiring=ids.Address(to, ids.parse_party(KEPT_BY[to]), account),
        purpose=purpose,
        authorisation=replace(block.attributes.authorisation, version=version)
        if block.attributes.authorisation
        else None,
        quantity=block.quantity,
        blocks=(block,),
    )


def _sender(registry: ids.RegistryCode) -> ids.RegistryCode:
    return ids.parse_registry_code("INT01") if registry in (MMR99, THA99) else registry


TestRulesHold = Rules.TestCase
TestRulesHold.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
