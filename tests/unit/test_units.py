"""No operation on blocks makes, loses or changes a unit.

Method: blocks are compared with the sets of units they stand for, over small random serials. Scope: the block
algebra of ``gateway.domain.units``; the synthetic attributes carry no meaning.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain import identifiers as ids
from gateway.domain import nomenclature, units
from gateway.domain.units import Attributes, Block, ItmoNaming, Origin
from gateway.errors import GatewayError

ORIGINS = [Origin(ids.parse_registry_code("MEC01"), series) for series in ("MMR-A64", "GHA-A64")]
STEM = ids.parse_itmo_stem("CA0001-MMR99-MMR-2021")
ATTRIBUTES = Attributes(
    unit_type=nomenclature.UnitType.A64ER,
    first_transferring_party=ids.parse_party("MMR"),
    vintage=2021,
    cooperative_approach="CA0001",
    metric=nomenclature.Metric.GHG,
    mitigation_type=nomenclature.MitigationType.REDUCTIONS,
    sector="Energy generation",
    activity_type="Energy Efficiency households",
    activity="PoA 10471",
    authorisation=units.AuthorisationRef("MMR-A6-1", 1),
)
NAMINGS = [None, ItmoNaming(STEM, 0), ItmoNaming(STEM, 100)]


@st.composite
def blocks(draw: st.DrawFn, namings: Iterable[ItmoNaming | None] = NAMINGS) -> Block:
    first = draw(st.integers(1, 40))
    attributes = replace(ATTRIBUTES, vintage=draw(st.sampled_from([2021, 2022])))
    naming = draw(st.sampled_from(list(namings)))
    return Block(draw(st.sampled_from(ORIGINS)), first, first + draw(st.integers(0, 15)), attributes, naming)


def members(*parts: Block) -> Counter[tuple[object, ...]]:
    """Every unit with everything that is true of it."""
    return Counter((b.origin, serial, b.attributes, b.itmo) for b in parts for serial in range(b.first, b.last + 1))


def serials(block: Block) -> set[tuple[Origin, int]]:
    return {(block.origin, serial) for serial in range(block.first, block.last + 1)}


@pytest.mark.parametrize(
    ("first", "last", "code"),
    [(0, 5, 2006), (-3, 5, 2006), (1, 2**53, 2006), (2**53, 2**53, 2006), (6, 5, 2007)],
)
def test_impossible_serials_make_no_block(first: int, last: int, code: int) -> None:
    with pytest.raises(GatewayError) as caught:
        Block(ORIGINS[0], first, last, ATTRIBUTES)
    assert caught.value.code == code


@pytest.mark.parametrize("offset", [-1, 2**53 - 10])
def test_impossible_itmo_serials_make_no_block(offset: int) -> None:
    with pytest.raises(GatewayError) as caught:
        Block(ORIGINS[0], 1, 10, ATTRIBUTES, ItmoNaming(STEM, offset))
    assert caught.value.code == 2006


def test_one_unit_at_the_far_end_is_a_block() -> None:
    assert Block(ORIGINS[0], ids.MAX_SERIAL, ids.MAX_SERIAL, ATTRIBUTES).quantity == 1


@given(blocks(), st.data())
def test_split_parts_inherit_everything_and_join_to_the_whole(block: Block, data: st.DataObject) -> None:
    if block.quantity == 1:
        with pytest.raises(GatewayError):
            block.split_at(block.first)
        return
    left, right = block.split_at(data.draw(st.integers(block.first + 1, block.last)))
    assert members(left, right) == members(block)
    assert left.join(right) == block


@given(blocks(), blocks())
def test_subtract_and_intersect_divide_a_block(one: Block, other: Block) -> None:
    shared = one.intersect(other)
    rest = one.subtract(other)
    assert one.overlaps(other) == bool(serials(one) & serials(other)) == (shared is not None)
    assert one.contains(other) == (serials(one) >= serials(other))
    assert members(*rest, *([shared] if shared else [])) == members(one)
    assert all(not part.overlaps(other) for part in rest)


@given(blocks(), blocks())
def test_only_adjoining_blocks_of_one_kind_join(one: Block, other: Block) -> None:
    alike = (one.origin, one.attributes, one.itmo) == (other.origin, other.attributes, other.itmo)
    if alike and one.last + 1 == other.first:
        assert members(one.join(other)) == members(one, other)
    else:
        with pytest.raises(GatewayError):
            one.join(other)


@given(st.lists(blocks(), max_size=12))
def test_overlapping_finds_every_block_that_shares_a_unit(many: list[Block]) -> None:
    many = [replace(b, attributes=replace(b.attributes, activity=str(i))) for i, b in enumerate(many)]
    pairs = units.overlapping(many)
    assert all(one.overlaps(other) and one is not other for one, other in pairs)
    found = {b.attributes.activity for pair in pairs for b in pair}
    assert found == {b.attributes.activity for b in many if any(b.overlaps(o) for o in many if o is not b)}


@given(st.lists(blocks(), max_size=12))
def test_overlapping_names_finds_one_identifier_given_twice(many: list[Block]) -> None:
    names = Counter(serial + b.itmo.offset for b in many if b.itmo for serial in range(b.first, b.last + 1))
    assert bool(units.overlapping_names(many)) == any(count > 1 for count in names.values())


@given(st.lists(blocks(), max_size=12))
def test_coalesce_keeps_every_unit_and_leaves_no_seam(many: list[Block]) -> None:
    fewer = units.coalesce(many)
    assert members(*fewer) == members(*many)
    assert units.total(fewer) == units.total(many)
    assert not any(one.adjoins(other) for one, other in pairwise(fewer))


@given(st.lists(blocks(), min_size=1, max_size=6), st.data())
def test_first_n_takes_exactly_n_from_the_front(many: list[Block], data: st.DataObject) -> None:
    wanted = data.draw(st.integers(1, units.total(many)))
    taken, kept = units.first_n(many, wanted)
    assert units.total(taken) == wanted
    assert members(*taken, *kept) == members(*many)
    assert len(taken) + len(kept) <= len(many) + 1
    assert taken[0].first == many[0].first


def test_first_n_never_takes_more_than_there_is() -> None:
    block = Block(ORIGINS[0], 1, 10, ATTRIBUTES)
    with pytest.raises(GatewayError) as caught:
        units.first_n([block], 11)
    assert caught.value.code == 4018
    with pytest.raises(GatewayError) as caught:
        units.first_n([block], 0)
    assert caught.value.code == 2009


def test_itmo_identifiers_are_given_once_and_inherited_by_every_part() -> None:
    block = Block(ORIGINS[0], 101, 200, ATTRIBUTES)
    assert block.itmo_first is None
    named = block.name(ItmoNaming(STEM, -100))
    assert (str(named.itmo_first), str(named.itmo_last)) == (
        "CA0001-MMR99-MMR-1-2021",
        "CA0001-MMR99-MMR-100-2021",
    )
    _, right = named.split_at(150)
    assert str(right.itmo_first) == "CA0001-MMR99-MMR-50-2021"
    with pytest.raises(GatewayError) as caught:
        right.name(ItmoNaming(STEM, 0))
    assert caught.value.code == 5132
