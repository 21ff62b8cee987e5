"""The Merkle arithmetic against the definitions of RFC 6962 section 2.1 written down as they stand there."""

import hashlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.audit import merkle
from gateway.audit.merkle import Growth, Range

LEAVES = [merkle.leaf_hash(nr.to_bytes(4, "big")) for nr in range(1_100)]
SIZES = [*range(20), 31, 32, 33, 255, 256, 257, 511, 512, 513, 1_100]
some_size = st.integers(1, len(LEAVES))


def mth(leaves: Sequence[bytes]) -> bytes:
    """MTH of RFC 6962 section 2.1, over leaf hashes."""
    if len(leaves) < 2:
        return leaves[0] if leaves else hashlib.sha256(b"").digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(b"\x01" + mth(leaves[:split]) + mth(leaves[split:])).digest()


def hashed(span: Range) -> bytes:
    """The hash of a range out of its whole subtrees, as a reader of tiles makes it."""
    return merkle.fold([mth(LEAVES[n.nr << n.height : (n.nr + 1) << n.height]) for n in merkle.whole(span)])


@pytest.mark.parametrize("size", SIZES)
def test_a_tree_that_grew_in_steps_has_the_root_of_the_definition(size: int) -> None:
    for step in (1, 7, 256, 300):
        growth = Growth.of(0, {})
        for start in range(0, size, step):
            growth.add(LEAVES[start : min(size, start + step)])
            growth = Growth.of(growth.size, {level: b"".join(row) for level, row in growth.edge.items()})
        assert growth.root == mth(LEAVES[:size])


@given(st.data(), some_size)
def test_a_leaf_is_proved_where_it_is_and_nowhere_else(data: st.DataObject, size: int) -> None:
    index = data.draw(st.integers(0, size - 1))
    root, proof = mth(LEAVES[:size]), [hashed(span) for span in merkle.inclusion(index, size)]
    assert merkle.included(LEAVES[index], index, size, proof, root)
    other = data.draw(st.integers(0, size))
    assert other == index or not merkle.included(LEAVES[index], other, size, proof, root)
    assert not merkle.included(LEAVES[index], index, size, [*proof, root], root)
    assert not merkle.included(merkle.leaf_hash(b"another"), index, size, proof, root)
    assert not merkle.included(LEAVES[index], index, size, proof, merkle.leaf_hash(b"another"))


@given(st.data(), some_size)
def test_an_older_tree_is_proved_to_begin_a_newer_one_and_another_is_not(data: st.DataObject, size: int) -> None:
    old = data.draw(st.integers(0, size))
    before, after = mth(LEAVES[:old]), mth(LEAVES[:size])
    proof = [hashed(span) for span in merkle.consistency(old, size)]
    another = merkle.leaf_hash(b"another")
    assert merkle.consistent(old, size, proof, before, after)
    assert not merkle.consistent(old, size, proof, another, after)
    assert old == 0 or not merkle.consistent(old, size, proof, before, another)
    assert not merkle.consistent(old, size, [*proof, another], before, after)
    for at in range(len(proof)):
        assert not merkle.consistent(old, size, [*proof[:at], another, *proof[at + 1 :]], before, after)


@pytest.mark.parametrize("wrong", [(-1, 4), (4, 4), (0, 0), (0, 2**63)])
def test_no_proof_is_made_for_what_is_not_in_the_tree(wrong: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="is not in a tree"):
        merkle.inclusion(*wrong)
    assert not merkle.included(LEAVES[0], *wrong, [], LEAVES[0])
    with pytest.raises(ValueError, match="does not begin"):
        merkle.consistency(5, 4)
    assert not merkle.consistent(5, 4, [], LEAVES[0], LEAVES[0])


def test_the_tiles_of_70_000_leaves_are_those_of_the_specification() -> None:
    growth = Growth.of(0, {})
    growth.add([merkle.leaf_hash(b"x")] * 70_000)
    widths = {at: len(merkle.cut(hashes)) for at, hashes in growth.tiles.items()}
    assert len(widths) == 273 + 1 + 1 + 1 + 1
    assert {at: width for at, width in widths.items() if width < 256} == {(0, 273): 112, (1, 1): 17, (2, 0): 1}
    assert [merkle.path(1_234_067, 256), merkle.path(273, 112)] == ["x001/x234/067", "273.p/112"]


def test_what_a_tree_grew_by_are_the_tiles_it_had_not() -> None:
    growth = Growth.of(0, {})
    growth.add(LEAVES[:300])
    later = Growth.of(300, {0: growth.tiles[0, 1], 1: growth.tiles[1, 0]})
    later.add(LEAVES[300:1_100])
    assert sorted(later.tiles) == [(0, 1), (0, 2), (0, 3), (0, 4), (1, 0)]
    with pytest.raises(ValueError, match="last tiles"):
        Growth.of(301, {0: growth.tiles[0, 1], 1: growth.tiles[1, 0]})
