"""What the checks know beside the proposal: the registries concerned, the book, other transfers' claims, the
authorisation relied on, what is flagged, the day.

Gathered set-based by the caller, for all proposals at once; plain values, so that a verdict depends on nothing else.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum

from gateway.domain.authorisations import Authorised
from gateway.domain.identifiers import AccountType, LinkCode, PartyCode, RegistryCode
from gateway.domain.registry import RegistryKind
from gateway.domain.units import Block, UnitRange


class LinkState(StrEnum):
    """What a proposal has to know about a link."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Books:
    """A registry: which link speaks for it, of what kind and in which state, and whose units it keeps.

    ``party`` is None where it keeps the books of every Party. The international registry is one link with a registry,
    its section, per Party. ``barred`` is a link over which no units come in though its kind of registry takes some.
    """

    link: LinkCode
    kind: RegistryKind
    state: LinkState
    party: PartyCode | None
    barred: bool = False
    reconciling: bool = False

    def keeps(self, party: PartyCode) -> bool:
        """Whether it has books of this Party."""
        return self.party is None or self.party == party


@dataclass(frozen=True, slots=True)
class Held:
    """A live position of the gateway's book; ``block`` may reach beyond the block it was found for.

    ``first_transferred`` says whether it was, with an ITMO identifier or without; ``relied_on`` is the version of its
    authorisation under which it was first transferred, or last moved before that (None: it never moved).
    """

    registry: RegistryCode
    party: PartyCode
    account_type: AccountType
    block: Block
    first_transferred: bool = False
    relied_on: int | None = None

    @property
    def transferred_under(self) -> int | None:
        """The version under which the units were first transferred; None: they never were.

        Of units first transferred before their registry was linked it is the one that they came with.
        """
        given = self.block.attributes.authorisation
        if not self.first_transferred or given is None:
            return None
        return given.version if self.relied_on is None else self.relied_on


class Flag(StrEnum):
    """Why units, or a Party, are marked."""

    #: A reconciliation found a difference that is open (4008).
    DISCREPANCY = "discrepancy"
    #: A finding of inconsistency that may affect the emissions balance is open (4009).
    INCONSISTENT = "inconsistent"
    #: A reversal of removals is not resolved (5124).
    REVERSAL = "reversal"


#: The check that each mark fails.
FLAG_CODES = {Flag.DISCREPANCY: 4008, Flag.INCONSISTENT: 4009, Flag.REVERSAL: 5124}


@dataclass(frozen=True, slots=True)
class Facts:
    """What the checks know beside the proposal.

    ``pieces[i]`` are all live positions that overlap ``proposal.blocks[i]``, wherever they are; ``claims[i]``
    the ranges of live claims of *other* transfers that overlap it. ``registries`` lacks what is not linked.
    ``authorisations`` are those of the name that the proposal gives, by the Party that gave each; ``entities`` those
    that any authorisation in force names; ``flagged`` the ranges marked; ``lapsed`` the Parties whose requirements for
    taking part are flagged as lapsed. ``today`` is the day (UTC).
    """

    sender: LinkCode
    registries: Mapping[RegistryCode, Books]
    pieces: Sequence[Sequence[Held]]
    claims: Sequence[Sequence[UnitRange]]
    today: date
    authorisations: Mapping[PartyCode, Authorised] = field(default_factory=dict)
    entities: frozenset[str] = frozenset()
    flagged: Mapping[Flag, Sequence[UnitRange]] = field(default_factory=dict)
    lapsed: frozenset[PartyCode] = frozenset()

    def held(self) -> Iterator[Held]:
        """Every position found, block by block."""
        return (piece for pieces in self.pieces for piece in pieces)
