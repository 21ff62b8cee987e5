"""What is told of nodes is read as the contract writes it, and nothing else is.

Method: bytes made by hand and by ``tests.peer_books``, and those of a golden vector; each way of being wrong alone.
"""

import base64
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.fingerprints import NOTHING, Node, Run, Summary, hashed, of_runs
from gateway.errors import GatewayError
from gateway.reconciliation.packing import (
    MAX_PACKED,
    Asked,
    AsSaid,
    Children,
    Digest,
    Listed,
    Nothing,
    Runs,
    Told,
    read_told,
    write_asked,
)
from tests.peer_books import Book, read_asked

GOOD = Path(__file__).parents[1] / "vectors" / "good"
A, B = hashed("synthetic a"), hashed("synthetic b")
NAME = "MEC01/SYN"
NODE = Node(NAME, 1, 2)
SAID = (b"\x01" * 16, *[b""] * 15)
DIGEST = b"\x02" * 16
TOP = Node(NAME, 14, 0)


def body(vector: str) -> dict[str, object]:
    jws = json.loads((GOOD / f"{vector}.json").read_text())["body"]
    found = json.loads(unpacked(jws.split(".")[1]))["body"]
    assert isinstance(found, dict)
    return found


def unpacked(text: object) -> bytes:
    assert isinstance(text, str)
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def told(asked: Asked, packed: bytes, states: bytes = A + B, series: list[str] | None = None) -> Told:
    [found] = read_told([asked], [NAME] if series is None else series, packed, states)
    return found


def refused(asked: Asked, packed: bytes, states: bytes = A + B, series: list[str] | None = None) -> str:
    with pytest.raises(GatewayError) as raised:
        told(asked, packed, states, series)
    assert raised.value.code == 6901
    return raised.value.detail


def test_the_vector_of_an_answer_is_read() -> None:
    question, answer = body("positions-query-nodes"), body("positions-answer-nodes")
    asked = [Asked(""), Asked(Node("MEC01/TEST-MMR-A64", 14, 0))]
    assert write_asked(asked) == (question["series"], unpacked(question["asked"]))
    series, states = answer["series"], unpacked(answer["states"])
    assert isinstance(series, list)
    directory, node = read_told(asked, series, unpacked(answer["told"]), states)
    run = Run(1, 1_000, hashed(*answer["texts"]))  # type: ignore[misc]
    assert isinstance(node, Runs)
    assert isinstance(directory, Listed)
    assert [one.state for one in node.runs] == [states] == [run.state]
    told_of = dict((apex.series, (apex, part)) for apex, part in directory.series)
    summary = of_runs(node.runs)
    assert told_of["MEC01/TEST-MMR-A64"][1] == Digest(summary.count, summary.digest[:16])
    assert told_of["KOR01/TEST-KOR"][0] == Node("KOR01/TEST-KOR", 0, 2**53 - 1)


def test_what_is_asked_is_what_a_registry_reads() -> None:
    asked = [
        Asked(""),
        Asked("0f", SAID),
        Asked(NODE, (b"", *[DIGEST] * 15)),
        Asked(Node("MEC01/OTHER", 0, 2**53 - 1)),
    ]
    series, packed = write_asked(asked)
    assert series == [NAME, "MEC01/OTHER"]
    assert [(one.target, list(one.said or [b""] * 16)) for one in asked] == list(read_asked(series, packed))


@pytest.mark.parametrize(
    ("asked", "packed", "found"),
    [
        (Asked(NODE), b"\x00", Nothing()),
        (
            Asked(NODE),
            b"\x04\x03\x00\x01\x00\x00\x02\x01\x01\x01\x01",
            Runs((Run(32, 32, A), Run(33, 34, B), Run(36, 36, B))),
        ),
        (Asked(NODE, SAID), b"\x03\x00\x01\x01", Children((AsSaid(), *[Nothing()] * 15))),
        (
            Asked(NODE),
            b"\x03\x80\x00\x02\xac\x02" + DIGEST,
            Children((*[Nothing()] * 15, Digest(300, DIGEST))),
        ),
        (
            Asked(""),
            b"\x05\x01\x00\x01\x02\x04\x01\x00\x01\x00",
            Listed(((NODE, Runs((Run(32, 32, A),))),)),
        ),
        (Asked(TOP), b"\x04\x01\x01\xff\xff\xff\xff\xff\xff\xff\x0f\x00", Runs((Run(1, 2**53 - 1, A),))),
    ],
)
def test_what_the_contract_writes_is_read(asked: Asked, packed: bytes, found: Told) -> None:
    assert told(asked, packed) == found


@pytest.mark.parametrize(
    ("asked", "packed", "why"),
    [
        (Asked(NODE), b"\x01", "asked for is not told"),
        (Asked(NODE), b"\x02\x01" + DIGEST, "asked for is not told"),
        (Asked(NODE), b"\x06", "told as 6"),
        (Asked(NODE), b"\x05\x01\x00\x01\x02\x00", "told as 5"),
        (Asked(""), b"\x04\x01\x00\x01\x00", "told as 4"),
        (Asked(NODE), b"\x03\x00\x01\x01", "nothing was said"),
        (Asked(NODE, SAID), b"\x03\x00\x02\x01", "nothing was said"),
        (Asked(NODE, SAID), b"\x03\x00\x01\x00", "told as nothing"),
        (Asked(NODE), b"\x03\x00\x00", "none of them is there"),
        (Asked(NODE), b"\x03\x00\x01\x02\x00" + DIGEST, "nothing is counted"),
        (Asked(Node(NAME, 0, 9)), b"\x03\x00\x01\x02\x01" + DIGEST, "has no children"),
        (Asked("0" * 16), b"\x03\x00\x01\x02\x01" + DIGEST, "has no children"),
        (Asked(NODE), b"\x03\x00\x01\x03\x00\x01\x02\x01" + DIGEST, "has no children"),
        (Asked(NODE), b"\x04\x00", "0 runs are listed"),
        (Asked(NODE), b"\x04\x41" + b"\x00\x01\x00" * 65, "65 runs are listed"),
        (Asked(NODE), b"\x04\x01\x00\x11\x00", "does not lie in its node"),
        (Asked(NODE), b"\x04\x01\x10\x01\x00", "does not lie in its node"),
        (Asked(NODE), b"\x04\x01\x00\x00\x00", "does not lie in its node"),
        (Asked(Node(NAME, 1, 0)), b"\x04\x01\x00\x01\x00", "does not lie in its node"),
        (Asked(TOP), b"\x04\x01\x01\x80\x80\x80\x80\x80\x80\x80\x10\x00", "does not lie in its node"),
        (Asked(NODE), b"\x04\x02\x00\x01\x00\x00\x01\x00", "in one state"),
        (Asked(NODE), b"\x04\x01\x00\x01\x02", "a state that is not in the answer"),
        (Asked(""), b"\x05\x00", "0 series are listed"),
        (Asked(""), b"\x05\x01\x01\x01\x02\x02\x01" + DIGEST, "a series that is not in the answer"),
        (Asked(""), b"\x05\x02" + 2 * (b"\x00\x01\x02\x02\x01" + DIGEST), "told twice"),
        (Asked(hashed("MEC01/OTHER").hex()[:3]), b"\x05\x01\x00\x01\x02\x02\x01" + DIGEST, "another's prefix"),
        (Asked(""), b"\x05\x01\x00\x0f\x00\x02\x01" + DIGEST, "beyond the serials"),
        (Asked(""), b"\x05\x01\x00\x0e\x01\x02\x01" + DIGEST, "beyond the serials"),
        (Asked(""), b"\x05\x01\x00\x01\x02\x00", "told as nothing"),
        (Asked(""), b"\x05\x01\x00\x01\x02\x01", "nothing was said"),
        (Asked(NODE), b"\x04\x81\x00\x00\x01\x00", "longer than it is"),
        (Asked(NODE), b"\x04" + b"\x80" * 8 + b"\x01", "more than 8 bytes"),
        (Asked(NODE), b"\x00\x00", "left over"),
    ],
)
def test_what_is_not_of_the_contract_is_refused(asked: Asked, packed: bytes, why: str) -> None:
    assert why in refused(asked, packed)


@pytest.mark.parametrize("name", ["", "MEC01", "MEC01/", "mec01/SYN", "MEC01SYN", "MEC01/" + "S" * 257])
def test_a_series_that_is_not_named_as_series_are_is_refused(name: str) -> None:
    assert "not named" in refused(Asked(""), b"\x05\x01\x00\x01\x02\x02\x01" + DIGEST, series=[name])


def test_states_that_are_cut_off_and_more_than_a_message_holds_are_refused() -> None:
    assert "32 bytes" in refused(Asked(NODE), b"\x00", A[:-1])
    assert "may hold" in refused(Asked(NODE), bytes(MAX_PACKED + 1))


def test_an_answer_that_ends_anywhere_before_its_end_is_refused() -> None:
    book = Book.of({NAME: [Run(3 * nr + 1, 3 * nr + 2, A) for nr in range(200)]})
    asked = [Asked(""), Asked(Node(NAME, 3, 0), SAID), Asked(Node(NAME, 1, 0))]
    series, answered, packed, states = book.answer(*write_asked(asked))
    assert len(read_told(asked, series, packed, states)) == answered == 3
    for length in range(len(packed)):
        with pytest.raises(GatewayError, match=r".") as raised:
            read_told(asked, series, packed[:length], states)
        assert raised.value.code == 6901


@given(st.binary(max_size=60), st.sampled_from([Asked(""), Asked(NODE, SAID), Asked(TOP)]))
def test_whatever_bytes_are_told_they_are_read_or_refused(packed: bytes, asked: Asked) -> None:
    try:
        told(asked, packed)
    except GatewayError as refusal:
        assert refusal.code == 6901


def test_a_digest_fits_what_it_was_made_of_alone() -> None:
    summary = of_runs([Run(1, 2, A)])
    assert Digest(1, summary.digest[:16]).fits(summary)
    assert not Digest(2, summary.digest[:16]).fits(summary)
    assert not Digest(1, DIGEST).fits(summary)
    assert not Digest(1, bytes(16)).fits(Summary(0, NOTHING.digest))
