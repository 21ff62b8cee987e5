"""The sandbox's own Merkle tree, tiles and notes against known values and against code written for the tests alone."""

import base64
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from connectors.sandbox import merkle, notes, tiles
from connectors.sandbox.notes import Checkpoint, Line, Signer, UnknownLog, Unproven, Verifier
from connectors.sandbox.strictjson import Malformed
from connectors.sandbox.tiles import Address, Tree
from tests import playedlog
from tests.playedlog import Log

#: Entries and roots of the Certificate Transparency reference implementations.
ENTRIES = [
    *("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"),
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
#: Consistency proofs of the same trees.
PROOFS = {
    (1, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
    (8, 8): [],
}
LEAVES = [merkle.leaf(bytes.fromhex(entry)) for entry in ENTRIES]
BIG = [merkle.leaf(str(n).encode()) for n in range(700)]


def grown(leaves: list[bytes]) -> Tree:
    tree = Tree(0)
    tree.append(leaves)
    return tree


@pytest.mark.parametrize("size", range(9))
def test_roots_are_those_of_the_reference(size: int) -> None:
    assert merkle.root(merkle.grow([], 0, LEAVES[:size])).hex() == ROOTS[size]
    assert grown(LEAVES[:size]).root().hex() == ROOTS[size]


@pytest.mark.parametrize(("old", "size"), PROOFS)
def test_proofs_are_those_of_the_reference(old: int, size: int) -> None:
    made = [tiles.hash_of(span, grown(LEAVES).tiles) for span in merkle.proof_spans(old, size)]
    assert [one.hex() for one in made] == PROOFS[old, size]
    assert merkle.consistent(old, bytes.fromhex(ROOTS[old]), size, bytes.fromhex(ROOTS[size]), made)


def test_a_tree_that_grows_in_parts_is_the_tree_that_grows_at_once() -> None:
    peaks, at = merkle.grow([], 0, BIG[:255]), 255
    for size in (256, 257, 511, 513, 700):
        peaks, at = merkle.grow(peaks, at, BIG[at:size]), size
        assert merkle.root(peaks) == playedlog.root(BIG[:size]) == grown(BIG[:size]).root()


def test_a_proof_leads_from_one_tree_to_the_other_and_to_none_else() -> None:
    tree = grown(BIG)
    sizes = [*range(1, 20), 255, 256, 257, 511, 512, 513, 699, 700]
    for old, size in [(old, size) for old in sizes for size in sizes if old <= size]:
        proof = [tiles.hash_of(span, tree.tiles) for span in merkle.proof_spans(old, size)]
        roots = playedlog.root(BIG[:old]), playedlog.root(BIG[:size])
        assert proof == playedlog.proof(BIG[:size], old)
        assert merkle.consistent(old, roots[0], size, roots[1], proof)
        assert not merkle.consistent(old, roots[0], size, BIG[0][::-1], proof)
        assert not merkle.consistent(old, roots[0], size, roots[1], [*proof, BIG[0]])
        assert not (proof and merkle.consistent(old, roots[0], size, roots[1], proof[:-1]))
        assert not (proof and merkle.consistent(old, roots[0], size, roots[1], [BIG[0][::-1], *proof[1:]]))
    assert not merkle.consistent(7, playedlog.root(BIG[:7]), 5, playedlog.root(BIG[:5]), [])


def test_from_nothing_no_proof_is_needed_and_none_is_taken() -> None:
    assert merkle.consistent(0, merkle.EMPTY, 5, playedlog.root(BIG[:5]), [])
    assert not merkle.consistent(0, merkle.EMPTY, 5, playedlog.root(BIG[:5]), [BIG[0]])


def test_a_tree_of_70_000_has_the_tiles_of_the_specification() -> None:
    assert [tiles.width_of(0, n, 70_000) for n in (0, 272, 273, 274)] == [256, 256, 112, 0]
    assert [tiles.width_of(1, n, 70_000) for n in (0, 1, 2)] == [256, 17, 0]
    assert [tiles.width_of(2, n, 70_000) for n in (0, 1)] == [1, 0]
    assert tiles.edge(70_000) == [(0, 273), (1, 1), (2, 0)]
    assert [a.path for a in tiles.needed(69_800, 70_000)] == ["0/272", "0/273.p/112"]
    assert tiles.needed(5, 5) == [] and tiles.needed(0, 256) == [Address(0, 0)]


@pytest.mark.parametrize("path", ["0/000", "1/x001/x234/067", "entries/001.p/7", "63/999", "0/x001/000.p/255"])
def test_an_address_is_read_as_it_is_written(path: str) -> None:
    address = tiles.parse(path)
    assert address is not None and address.path == path


@pytest.mark.parametrize(
    "path",
    [
        *("", "0", "0/", "0/0", "0/1000", "0/x000/001", "00/000", "64/000", "0/000.p/0", "0/000.p/256", "0/000.p/01"),
        *(
            "0/../000",
            "0/000/",
            "/0/000",
            "0/000.p/",
            "entries",
            "Entries/000",
            "0/x001/01",
            "0/-01",
            "0/\u0660\u0660\u0660",
        ),
        "0/" + "x999/" * 30 + "999",
    ],
)
def test_what_is_not_an_address_leads_nowhere(path: str) -> None:
    assert tiles.parse(path) is None


def test_the_example_of_the_note_specification_verifies() -> None:
    key = Verifier.of("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k")
    (line,) = notes.lines_of(
        "— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72"
        "IneyaQM=\n"
    )
    example = Checkpoint("", 0, b"", "This is an example message.\n", (line,), "")
    assert (key.name, key.key_id) == notes.line_of(line) and key.signed(example, line)
    other = Checkpoint("", 0, b"", "This is another message.\n", (line,), "")
    assert not key.signed(other, line)


def of(log: Log) -> Verifier:
    return Verifier.of(log.vkey)


def test_a_checkpoint_is_read_by_its_logs_key_alone() -> None:
    log, stranger = Log(), Log()
    log.fill(5)
    note = log.checkpoint().encode()
    read = notes.read(note, [of(log)])
    assert (read.origin, read.size, read.root) == (log.origin, 5, playedlog.root(log.leaves))
    assert read.note.encode() == note
    with pytest.raises(UnknownLog):
        notes.read(note, [of(Log(origin="elsewhere.invalid/log"))])
    with pytest.raises(Unproven):
        notes.read(note, [of(stranger)])
    # A line of a stranger is passed over; one that claims to be of a known key and is not spoils the note.
    more = note + stranger.checkpoint(0).rpartition("\n\n")[2].encode()
    assert notes.read(more, [of(log)]).size == 5
    with pytest.raises(Unproven):
        notes.read(more, [of(log), of(stranger)])


def test_a_line_of_ml_dsa_44_proves_a_checkpoint_as_well() -> None:
    log, key = Log(), MLDSA44PrivateKey.generate()
    log.fill(3)
    public = key.public_key().public_bytes_raw()
    name = log.origin.encode()
    told = bytes([len(name)]) + name
    signed = b"subtree/v1\n\0" + told + (7).to_bytes(8) + told + bytes(8) + (3).to_bytes(8) + playedlog.root(log.leaves)
    raw = playedlog.key_id(log.origin, 6, public) + (7).to_bytes(8) + key.sign(signed)
    note = log.checkpoint() + f"— {log.origin} {playedlog.b64(raw)}\n"
    quantum = Verifier.of(playedlog.vkey(log.origin, 6, public))
    assert notes.read(note.encode(), [quantum]).size == notes.read(note.encode(), [of(log), quantum]).size == 3
    timeless = raw[:4] + bytes(8) + raw[12:]
    for wrong in (raw[:-1] + bytes([raw[-1] ^ 1]), raw[:20], timeless):
        with pytest.raises(Unproven):
            notes.read((log.checkpoint() + f"— {log.origin} {playedlog.b64(wrong)}\n").encode(), [of(log), quantum])


def test_what_the_sandbox_signs_is_read_by_others() -> None:
    log = Log()
    signer = Signer("mec01.sandbox.invalid/log", log.key)
    note = signer.checkpoint(2, playedlog.root(BIG[:2]))
    assert playedlog.read(note, signer.verifier(notes.ED25519).vkey) == (2, playedlog.root(BIG[:2]))
    line = signer.cosign(notes.parse(note.encode()), 1_700_000_000)
    assert playedlog.cosigned_at(line, signer.verifier(notes.COSIGNATURE).vkey, note) == 1_700_000_000
    assert signer.verifier(notes.COSIGNATURE).signed(notes.parse(note.encode()), notes.lines_of(line)[0])


GOOD = "log.invalid/x\n5\n" + playedlog.b64(bytes(32)) + "\n\n— log.invalid/x " + playedlog.b64(bytes(68)) + "\n"


@pytest.mark.parametrize(
    "change",
    [
        ("\n5\n", "\n05\n"),
        ("\n5\n", "\n-5\n"),
        ("\n5\n", "\n9999999999999999999\n"),
        ("\n5\n", "\n\u0665\n"),
        ("\n5\n", "\n\n5\n"),
        ("log.invalid/x\n5", "\n5"),
        ("=\n\n—", "=\n—"),
        ("=\n\n—", "\n\n—"),
        ("AA=\n\n—", "AB=\n\n—"),
        ("— log", "- log"),
        ("— log.invalid/x ", "— log+invalid/x "),
        ("— log.invalid/x ", "— "),
        ("x\n5", "x\t\n5"),
        ("x\n5", "x\x00\n5"),
    ],
)
def test_what_is_not_a_checkpoint_is_refused(change: tuple[str, str]) -> None:
    assert notes.parse(GOOD.encode()).size == 5
    assert change[0] in GOOD
    with pytest.raises(Malformed):
        notes.parse(GOOD.replace(*change, 1).encode())


@pytest.mark.parametrize(
    "raw", [b"", b"\n\n", b"\xff\n\n\n", GOOD.encode()[:-1], GOOD.encode() * 3000, b"\n" * 200_000, b"x" * 200_000]
)
def test_bytes_of_no_note_are_refused(raw: bytes) -> None:
    with pytest.raises(Malformed):
        notes.parse(raw)


def _vkeys() -> list[Any]:
    name, key_id, encoded = Log().vkey.split("+", 2)
    short = base64.b64encode(base64.b64decode(encoded)[:-1]).decode()
    return [
        "",
        name,
        f"{name}+{key_id}",
        f"{name}+00000000+{encoded}",
        f"{name}+{key_id}+{short}",
        f"a b+{key_id}+{encoded}",
    ]


@pytest.mark.parametrize("vkey", _vkeys(), ids=range(6))
def test_what_is_not_a_vkey_is_refused(vkey: str) -> None:
    with pytest.raises(Malformed):
        Verifier.of(vkey)


def test_a_signature_line_needs_a_signature() -> None:
    with pytest.raises(Malformed):
        notes.lines_of(f"— log.invalid/x {playedlog.b64(bytes(4))}\n")
    assert notes.lines_of(f"— log.invalid/x {playedlog.b64(bytes(5))}\n") == [Line("log.invalid/x", bytes(4), bytes(1))]
