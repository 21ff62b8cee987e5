"""Blocks of units: inclusive serial ranges of one origin with the same attributes.

A unit is (originating registry, series, serial) for ever; a block is a run of them. An ITMO identifier is a
second name: a stem and one constant offset (ITMO serial = origin serial + offset), given once and inherited
by every part, as are all attributes. All operations are exact: what is taken and what is left add up to what
was there. A block with serials outside 1 to 2^53-1 cannot be made (2006), nor a reversed one (2007).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter

from gateway.domain.identifiers import MAX_SERIAL as MAX_SERIAL
from gateway.domain.identifiers import ItmoId, ItmoStem, PartyCode, RegistryCode
from gateway.domain.nomenclature import Metric, MitigationType, UnitType
from gateway.errors import GatewayError, Kind


@dataclass(frozen=True, slots=True, order=True)
class Origin:
    """Where serials were given: the registry that issued the units and its own series."""

    registry: RegistryCode
    series: str


@dataclass(frozen=True, slots=True, order=True)
class UnitRange:
    """Serials of one origin as somebody stated them, to be named in a finding; not checked."""

    origin: Origin
    first: int
    last: int

    @property
    def quantity(self) -> int:
        """Number of units, in whole tonnes for a GHG block."""
        return self.last - self.first + 1

    def intersect(self, other: "UnitRange") -> "UnitRange | None":
        """The serials both have, or None."""
        first, last = max(self.first, other.first), min(self.last, other.last)
        if first > last or self.origin != other.origin:
            return None
        return UnitRange(self.origin, first, last)


@dataclass(frozen=True, slots=True, order=True)
class AuthorisationRef:
    """One version of a Party's authorisation."""

    id: str
    version: int


@dataclass(frozen=True, slots=True)
class Underlying:
    """Units under the units (CER, GS, JCM): of the block as issued, so a part keeps its parent's."""

    registry: str
    first: str
    last: str


@dataclass(frozen=True, slots=True)
class Attributes:
    """What is true of every unit of a block from issuance on; never changed, inherited by every part."""

    unit_type: UnitType
    first_transferring_party: PartyCode
    vintage: int
    cooperative_approach: str
    metric: Metric
    mitigation_type: MitigationType
    sector: str
    activity_type: str
    activity: str
    authorisation: AuthorisationRef | None
    underlying: Underlying | None = None


@dataclass(frozen=True, slots=True, order=True)
class ItmoNaming:
    """The second name of a block's units: ITMO serial = origin serial + ``offset``, under one stem."""

    stem: ItmoStem
    offset: int


@dataclass(frozen=True, slots=True)
class Block:
    """Units ``first`` to ``last``, both included, of one origin."""

    origin: Origin
    first: int
    last: int
    attributes: Attributes
    itmo: ItmoNaming | None = None

    def __post_init__(self) -> None:
        if self.first < 1 or self.last < 1 or self.first > MAX_SERIAL or self.last > MAX_SERIAL:
            raise GatewayError(Kind.MALFORMED, "a serial lies outside 1 to 2^53-1", code=2006)
        if self.first > self.last:
            raise GatewayError(Kind.MALFORMED, "the first serial is larger than the last", code=2007)
        if self.itmo is not None:
            offset = self.itmo.offset
            if self.first + offset < 1 or self.last + offset > MAX_SERIAL:
                raise GatewayError(Kind.MALFORMED, "an ITMO serial lies outside 1 to 2^53-1", code=2006)

    @property
    def quantity(self) -> int:
        """Number of units, in whole tonnes for a GHG block."""
        return self.last - self.first + 1

    @property
    def range(self) -> UnitRange:
        """The serials alone."""
        return UnitRange(self.origin, self.first, self.last)

    @property
    def itmo_first(self) -> ItmoId | None:
        """Identifier of the first unit, None before first transfer."""
        return None if self.itmo is None else ItmoId(self.itmo.stem, self.first + self.itmo.offset)

    @property
    def itmo_last(self) -> ItmoId | None:
        """Identifier of the last unit, None before first transfer."""
        return None if self.itmo is None else ItmoId(self.itmo.stem, self.last + self.itmo.offset)

    def contains(self, other: "Block") -> bool:
        """Whether every unit of ``other`` is in this block."""
        return self.first <= other.first and other.last <= self.last and self.origin == other.origin

    def overlaps(self, other: "Block") -> bool:
        """Whether any unit is in both."""
        return self.first <= other.last and other.first <= self.last and self.origin == other.origin

    def part(self, first: int, last: int) -> "Block":
        """Units ``first`` to ``last`` of this block with everything it has; they MUST lie within it."""
        if not self.first <= first <= last <= self.last:
            raise GatewayError(Kind.INVARIANT, f"{first}-{last} is no part of {self.first}-{self.last}")
        return replace(self, first=first, last=last)

    def split_at(self, serial: int) -> tuple["Block", "Block"]:
        """Two blocks, the second beginning at ``serial``; both MUST have units."""
        return self.part(self.first, serial - 1), self.part(serial, self.last)

    def adjoins(self, other: "Block") -> bool:
        """Whether ``other`` begins where this block ends and agrees with it in everything else."""
        return (
            self.last + 1 == other.first
            and self.origin == other.origin
            and self.itmo == other.itmo
            and self.attributes == other.attributes
        )

    def join(self, other: "Block") -> "Block":
        """This block and the next as one; they MUST adjoin."""
        if not self.adjoins(other):
            raise GatewayError(Kind.INVARIANT, "only adjoining blocks of the same kind can be joined")
        return replace(self, last=other.last)

    def intersect(self, other: "Block") -> "Block | None":
        """The part of this block that ``other`` has too, or None."""
        if not self.overlaps(other):
            return None
        return self.part(max(self.first, other.first), min(self.last, other.last))

    def subtract(self, other: "Block") -> tuple["Block", ...]:
        """What is left of this block without the units of ``other``: no, one or two blocks."""
        if not self.overlaps(other):
            return (self,)
        rest = []
        if self.first < other.first:
            rest.append(self.part(self.first, other.first - 1))
        if other.last < self.last:
            rest.append(self.part(other.last + 1, self.last))
        return tuple(rest)

    def name(self, naming: ItmoNaming) -> "Block":
        """The same units with their ITMO identifiers, given once, at first transfer.

        Raises CONFLICT with code 5132 when they have identifiers already, MALFORMED with code 2006 when a
        serial would lie outside 1 to 2^53-1.
        """
        if self.itmo is not None:
            raise GatewayError(Kind.CONFLICT, "the units have ITMO identifiers already", code=5132)
        return replace(self, itmo=naming)


def total(blocks: Iterable[Block]) -> int:
    """Number of units in all blocks together, in whole tonnes for GHG blocks."""
    return sum(block.last - block.first + 1 for block in blocks)


def overlapping(blocks: Iterable[Block]) -> tuple[tuple[Block, Block], ...]:
    """Pairs of blocks that share units, in O(n log n).

    Every block that overlaps any other is a member of at least one pair; not every pair is listed (there can
    be n²/2), at most one per block.
    """
    return _overlapping((block.origin, block.first, block.last, block) for block in blocks)


def overlapping_names(blocks: Iterable[Block]) -> tuple[tuple[Block, Block], ...]:
    """Pairs of blocks that share ITMO identifiers; as ``overlapping``."""
    return _overlapping(
        (block.itmo.stem, block.first + block.itmo.offset, block.last + block.itmo.offset, block)
        for block in blocks
        if block.itmo is not None
    )


def coalesce(blocks: Iterable[Block]) -> tuple[Block, ...]:
    """The same units in as few blocks as possible, ordered by origin and serial."""
    joined: list[Block] = []
    for block in sorted(blocks, key=attrgetter("origin", "first")):
        if joined and joined[-1].adjoins(block):
            joined[-1] = joined[-1].join(block)
        else:
            joined.append(block)
    return tuple(joined)


def first_n(blocks: Sequence[Block], quantity: int) -> tuple[tuple[Block, ...], tuple[Block, ...]]:
    """Take exactly ``quantity`` units from the front: (what is taken, what the owner keeps).

    The last block taken is split where needed. Raises REJECTED with code 4018 when there are fewer units,
    MALFORMED with code 2009 when ``quantity`` is not positive.
    """
    if quantity < 1:
        raise GatewayError(Kind.MALFORMED, "a quantity is a positive number of units", code=2009)
    taken: list[Block] = []
    wanted = quantity
    for index, block in enumerate(blocks):
        if block.quantity < wanted:
            taken.append(block)
            wanted -= block.quantity
        elif block.quantity == wanted:
            return (*taken, block), tuple(blocks[index + 1 :])
        else:
            mine, rest = block.split_at(block.first + wanted)
            return (*taken, mine), (rest, *blocks[index + 1 :])
    raise GatewayError(Kind.REJECTED, f"{quantity} units wanted, {quantity - wanted} there", code=4018)


def _overlapping(
    spans: Iterable[tuple[Origin | ItmoStem, int, int, Block]],
) -> tuple[tuple[Block, Block], ...]:
    """Sweep by first serial, remembering the block that reaches furthest."""
    pairs: list[tuple[Block, Block]] = []
    line: Origin | ItmoStem | None = None
    reach = 0
    furthest: Block | None = None
    for name, first, last, block in sorted(spans, key=lambda span: span[:3]):
        if name != line:
            line, reach, furthest = name, 0, None
        if furthest is not None and first <= reach:
            pairs.append((furthest, block))
        if last > reach:
            reach, furthest = last, block
    return tuple(pairs)
