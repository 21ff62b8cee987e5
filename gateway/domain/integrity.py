"""Data integrity (stage 2): what blocks say about themselves, without knowing anything else.

One function per code; each takes the blocks of one item and returns findings, empty when all is well. What a
single value can get wrong (syntax, controlled values, reversed serials) was found when it was read; here are
the rules between values. The secretariat's consistency checks II05 and II07 are 2017 and 2012.
"""

import re
from collections.abc import Callable, Iterable, Sequence

from gateway.domain import units
from gateway.domain.check_codes import Finding
from gateway.domain.identifiers import stem_cooperative_approach, stem_party, stem_vintage
from gateway.domain.nomenclature import FIRST_VINTAGE, Metric, UnitType
from gateway.domain.units import Block, Underlying, UnitRange

_DIGITS = re.compile(r"([0-9]+)")


def block_findings(blocks: Sequence[Block]) -> list[Finding]:
    """Every check here that needs the blocks alone (all but the year of 2013)."""
    rules: tuple[Callable[[Sequence[Block]], list[Finding]], ...] = (
        overlaps_2008,
        parties_2010,
        cooperative_approaches_2012,
        vintages_2013,
        metrics_2016,
        underlying_2017,
    )
    return [finding for rule in rules for finding in rule(blocks)]


def overlaps_2008(blocks: Sequence[Block]) -> list[Finding]:
    """No unit, and no ITMO identifier, is in two blocks."""
    serials = _members(units.overlapping(blocks))
    names = _members(units.overlapping_names(blocks))
    return _finding(2008, serials, "blocks overlap") + _finding(2008, names, "ITMO identifiers overlap")


def parties_2010(blocks: Sequence[Block]) -> list[Finding]:
    """The first transferring Party is field 3 of the ITMO identifiers."""
    wrong = (b for b in blocks if b.itmo and stem_party(b.itmo.stem) != b.attributes.first_transferring_party)
    return _finding(2010, wrong, "the ITMO identifiers name another first transferring Party")


def cooperative_approaches_2012(blocks: Sequence[Block]) -> list[Finding]:
    """The cooperative approach ID is field 1 of the ITMO identifiers."""
    wrong = (
        b for b in blocks if b.itmo and stem_cooperative_approach(b.itmo.stem) != b.attributes.cooperative_approach
    )
    return _finding(2012, wrong, "the ITMO identifiers begin with another cooperative approach ID")


def vintages_2013(blocks: Sequence[Block]) -> list[Finding]:
    """The vintage is 2021 or later and field 5 of the ITMO identifiers."""
    early = (b for b in blocks if b.attributes.vintage < FIRST_VINTAGE)
    other = (b for b in blocks if b.itmo and stem_vintage(b.itmo.stem) != b.attributes.vintage)
    return _finding(2013, early, "a vintage before 2021") + _finding(
        2013, other, "the ITMO identifiers end with another vintage"
    )


def future_vintages_2013(blocks: Sequence[Block], year: int) -> list[Finding]:
    """No vintage lies after the current ``year``."""
    late = (b for b in blocks if b.attributes.vintage > year)
    return _finding(2013, late, "a vintage in the future")


def metrics_2016(blocks: Sequence[Block]) -> list[Finding]:
    """A quantity is in one metric, and an A6.4ER is a tonne of CO2 equivalent.

    The secretariat's check II04 wants one metric over everything that is counted together: where both are there, the
    blocks in the other metric are named. A unit has no further metric fields (values of global warming potential, the
    name of the other metric): these are its authorisation's.
    """
    wrong = (b for b in blocks if b.attributes.unit_type is UnitType.A64ER and b.attributes.metric is not Metric.GHG)
    findings = _finding(2016, wrong, "an A6.4ER counts tonnes of CO2 equivalent")
    if len({b.attributes.metric for b in blocks}) > 1:
        other = (b for b in blocks if b.attributes.metric is not Metric.GHG)
        findings += _finding(2016, other, "one quantity in two metrics")
    return findings


def underlying_2017(blocks: Sequence[Block]) -> list[Finding]:
    """First and last underlying unit differ in one number only, and there are enough for the block."""
    wrong = []
    for block in blocks:
        underlying = block.attributes.underlying
        if underlying is not None and _underlying_quantity(underlying) < block.quantity:
            wrong.append(block)
    return _finding(2017, wrong, "the underlying units are not of one stem, or fewer than the units")


def quantity_2009(quantity: int, blocks: Sequence[Block]) -> list[Finding]:
    """The quantity is positive and the size of the blocks; 2005 sees to it that there are blocks."""
    there = units.total(blocks)
    if quantity == there and quantity > 0:
        return []
    return [Finding(2009, (), f"the blocks hold {there} units, the quantity says another number")]


def _underlying_quantity(underlying: Underlying) -> int:
    """Units from first to last; 0 when they differ in anything but one number. A part keeps its parent's."""
    first, last = _DIGITS.split(underlying.first), _DIGITS.split(underlying.last)
    if len(first) != len(last):
        return 0
    differing = [i for i, one in enumerate(first) if one != last[i]]
    if not differing:
        return 1
    # The numbers are the odd parts of a split at a captured group.
    if len(differing) > 1 or differing[0] % 2 == 0:
        return 0
    return int(last[differing[0]]) - int(first[differing[0]]) + 1


def _members(pairs: Iterable[tuple[Block, Block]]) -> list[Block]:
    """The blocks of the pairs, each once, in order of appearance."""
    return list(dict.fromkeys(block for pair in pairs for block in pair))


def _finding(code: int, blocks: Iterable[Block], detail: str) -> list[Finding]:
    """One finding that names all these blocks, or none."""
    ranges: tuple[UnitRange, ...] = tuple(block.range for block in blocks)
    return [Finding(code, ranges, detail)] if ranges else []
