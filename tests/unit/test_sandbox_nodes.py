"""The sandbox's own nodes, directory and answers about them: against the golden vectors, and against the gateway's.

Two programs that share no code must say the same of one book; what is kept through changes must be what is computed
from nothing.
"""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.sandbox import nodes, states, told_nodes
from connectors.sandbox.directory import Directory, Entry
from connectors.sandbox.nodes import Inner, Key, Leaf, Run, Tree
from connectors.sandbox.strictjson import Malformed
from connectors.sandbox.told_nodes import Content, Node, Telling
from gateway.domain import fingerprints

GOOD = Path(__file__).parents[1] / "vectors" / "good"
NAME = "MEC01/TEST"

Units = dict[int, int]


def payload(name: str) -> dict[str, Any]:
    body = json.loads((GOOD / f"{name}.json").read_text())["body"]
    part = body.split(".")[1]
    read: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return dict(read["body"])


def raw(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def state(number: int) -> bytes:
    return hashlib.sha256(b"state %d" % number).digest()


def runs_of(units: Units) -> list[Run]:
    return nodes.joined(Run(serial, serial, state(number)) for serial, number in sorted(units.items()))


def theirs(runs: list[Run]) -> list[fingerprints.Run]:
    return [fingerprints.Run(*run) for run in runs]


def told_by(book: dict[str, list[Run]], asked: bytes, series: list[str]) -> tuple[int, bytes, list[str], list[bytes]]:
    """What is told of a book that is held in memory; nodes are looked up in the gateway's own reckoning."""
    entries = []
    for name, runs in book.items():
        apex = nodes.smallest(runs[0].first, runs[-1].last)
        whole = fingerprints.content(fingerprints.Node(name, *apex), theirs(runs)).summary
        entries.append(Entry(name, apex, whole.count, whole.digest))
    telling = Telling(told_nodes.read(asked, series), Directory(entries))
    while wanted := telling.wanted():
        telling.see({node: content_of(node, book.get(node.series, [])) for node in wanted})
    return telling.pack()


def content_of(node: Node, runs: list[Run]) -> Content:
    found = fingerprints.content(fingerprints.Node(node.series, *node.key), theirs(runs))
    own = [Run(run.first, run.last, run.state) for run in found.runs]
    return Content(found.summary.count, own, [(child.count, child.digest) for child in found.children])


def golden_book() -> dict[str, list[Run]]:
    """What KOR01 holds in the golden story: units of Myanmar's, which were transferred, and one of its own."""
    held = json.loads(payload("positions-answer-nodes")["texts"][0])
    before, vintage = held["itmo"]["stem"].rsplit("-", 1)
    named = (f"{before}-{{}}-{vintage}", held["itmo"]["offset"])
    transferred = states.text_of(held["party"], held["account_type"], held["attributes"], *named)
    assert transferred == payload("positions-answer-nodes")["texts"][0]
    [position] = [
        json.loads(t) for t in json.loads(json.loads((GOOD / "link-activate.json").read_text())["body"])["items"]
    ]
    block = position["block"]
    own = states.text_of(position["party"], int(position["account"][:3]), block["attributes"], None, None)
    return {
        "MEC01/TEST-MMR-A64": [Run(1, 50_000, hashlib.sha256(transferred.encode()).digest())],
        "KOR01/TEST-KOR": [Run(block["first"], block["last"], hashlib.sha256(own.encode()).digest())],
    }


def test_the_root_and_what_is_told_of_the_golden_book_are_the_golden_ones() -> None:
    asked, answered, taken = (
        payload(name) for name in ("positions-query-nodes", "positions-answer-nodes", "cut-answer")
    )
    book = golden_book()
    entries = []
    for name, runs in book.items():
        built = Tree({}).built(runs)
        assert built is not None
        entries.append(Entry(name, built[0], built[1].count, built[1].digest))
    assert Directory(entries).root == raw(taken["books"][0]["root"])
    told = told_by(book, raw(asked["asked"]), asked["series"])
    assert told == (answered["answered"], raw(answered["told"]), answered["series"], [raw(answered["states"])])


units = st.dictionaries(
    st.one_of(st.integers(1, 400), st.integers(1, 2**53 - 1), st.integers(70_000, 70_500)),
    st.integers(0, 2),
    max_size=300,
)


@given(st.lists(units, min_size=1, max_size=6), st.data())
def test_kept_nodes_are_those_computed_from_nothing(changes: list[Units], data: st.DataObject) -> None:
    kept: dict[Key, Leaf | Inner] = {}
    apex: Any = None
    now: Units = {}
    for put in changes:
        gone = data.draw(st.sets(st.sampled_from(sorted(now)), max_size=len(now))) if now else set()
        touched = nodes.merged((serial, serial) for serial in [*put, *gone])
        now = {serial: number for serial, number in now.items() if serial not in gone} | put
        if not touched:
            continue
        runs = runs_of(now)
        pieces = [piece for first, last in touched for piece in nodes.clipped(runs, first, last)]
        shown: dict[Key, Leaf | Inner] = {}
        while True:
            tree = Tree(shown)
            grown = tree.grown(apex, touched, pieces)
            if not tree.missing:
                break
            # Only what was asked for is shown: it asks for what it needs, and for nothing that is not there.
            shown |= {key: kept[key] for key in tree.missing}
        apex = grown
        kept = {k: n for k, n in {**kept, **tree.changed}.items() if n is not None}
        fresh = Tree({})
        assert fresh.built(runs) == apex
        assert {k: n for k, n in fresh.changed.items() if n is not None} == kept
        if apex is not None:
            known = fingerprints.content(fingerprints.Node(NAME, *apex[0]), theirs(runs)).summary
            assert (apex[1].count, apex[1].digest) == (known.count, known.digest)
            assert fingerprints.apex(NAME, runs[0].first, runs[-1].last) == fingerprints.Node(NAME, *apex[0])


@given(units)
def test_a_kept_node_is_read_as_it_was_written(held: Units) -> None:
    tree = Tree({})
    tree.built(runs_of(held))
    for node in tree.changed.values():
        if isinstance(node, Leaf):
            assert nodes.leaf_of(node.packed()) == node
        elif node is not None:
            assert nodes.inner_of(node.packed()) == node


@pytest.mark.parametrize("count", [0, 1, 64, 65, 700])
def test_the_directory_is_the_gateways(count: int) -> None:
    entries = [Entry(f"MEC01/S{nr}", Key(2, nr), nr + 1, state(nr)) for nr in range(count)]
    known = [
        fingerprints.SeriesEntry(fingerprints.Node(e.name, *e.apex), fingerprints.Summary(e.count, e.digest))
        for e in entries
    ]
    directory = Directory(entries)
    for prefix in ("", "0", "a", "7f"):
        summary = fingerprints.directory(prefix, known).summary
        assert directory.said(prefix) == (summary.count, summary.digest)
    assert directory.root == directory.said("")[1]


def _asked(*places: tuple[Any, dict[int, bytes]]) -> bytes:
    packed = b""
    for place, known in places:
        packed += bytes([0, len(place), *(int(c, 16) for c in place)]) if isinstance(place, str) else b"\1" + place
        packed += sum(1 << which for which in known).to_bytes(2)
        packed += b"".join(digest[:16] for _, digest in sorted(known.items()))
    return packed


def test_children_that_are_as_the_asker_said_are_told_in_one_byte() -> None:
    runs = [Run(serial, serial, state(serial % 2)) for serial in range(1, 401)]
    whole = content_of(Node(NAME, Key(3, 0)), runs)
    known = {which: digest for which, (count, digest) in enumerate(whole.children) if count}
    place = bytes([0, 3, 0])
    assert sorted(known) == [0, 1]
    same = told_by({NAME: runs}, _asked((place, known)), [NAME])
    assert same == (1, bytes([3, 0, 3, 1, 1]), [], [])
    # The second child has 145 runs: it is told by its children, and these, few as they are, by their runs.
    _, other, _, hashes = told_by({NAME: runs}, _asked((place, known | {1: bytes(16)})), [NAME])
    assert other[:5] == bytes([3, 0, 3, 1, 3])
    assert hashes == []


def test_nodes_with_many_runs_are_widened_while_they_are_few() -> None:
    runs = [Run(serial, serial, state(serial % 2)) for serial in range(1, 401)]
    _, told, names, hashes = told_by({NAME: runs}, _asked(("", {})), [])
    # The apex of 400 runs is opened, its two children of 255 and 145 runs as well, their children have 16 at most.
    assert told[:7] == bytes([5, 1, 0, 3, 0, 3, 0]) and told[7:8] == bytes([3])
    assert (names, hashes) == ([NAME], [])
    assert told.count(bytes([2, 16])) >= 20


@pytest.mark.parametrize(
    "packed",
    [b"\2", b"\0", b"\0\x11" + bytes(19), b"\0\1\x10\0\0", b"\1\1\0\0\0\0", b"\1\0\x0f\0\0\0", b"\1\0\x0e\1\0\0",
     b"\1\0\0" + b"\xff" * 8 + b"\0\0\0", b"\0\0\0\1" + bytes(15)],
)  # fmt: skip
def test_bytes_that_are_no_question_are_refused(packed: bytes) -> None:
    with pytest.raises(Malformed):
        told_nodes.read(packed, [NAME])


def test_more_than_4096_nodes_are_refused() -> None:
    one = _asked(("", {}))
    assert len(told_nodes.read(one * 4096, [])) == 4096
    with pytest.raises(Malformed):
        told_nodes.read(one * 4097, [])


def test_an_answer_that_is_full_says_how_much_it_answers() -> None:
    book = {f"MEC01/S{nr}": [Run(1, 1, state(nr))] for nr in range(64)}
    count, told, names, _ = told_by(book, _asked(("", {})) * 4096, [])
    assert 1 <= count < 4096 and len(names) == 64
    assert 1024 * 1024 < len(told) < 4 * 1024 * 1024
