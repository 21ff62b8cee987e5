"""Whatever a file holds, verifying it ends with a report: no crash, bounded work, never "valid" for what is damaged.

Hypothesis changes a real bundle: its bytes, its parts (taken out, doubled, exchanged, replaced by any JSON), its size
and its depth. ``FAULTS=long`` tries many more.
"""

import copy
import json
import os
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.evidence import form
from gateway.evidence.verify import Report, verify
from tests.evidence import KEPT

BYTES = KEPT.read_bytes()
VALUE: dict[str, Any] = json.loads(BYTES)
EXAMPLES = settings(max_examples=5_000 if os.environ.get("FAULTS") == "long" else 300, deadline=None)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=10), inner, max_size=6),
    max_leaves=40,
)


def judged(data: bytes) -> Report:
    """The report on what is no bundle, or a damaged one: not valid, and it says where."""
    report = verify(data)
    assert report.valid == (not report.faults)
    assert all(fault.place and fault.detail for fault in report.faults)
    assert json.dumps(report.as_dict())
    return report


def means(data: bytes) -> Any:
    """What a text says to a lenient reader; itself where it says nothing."""
    try:
        return json.loads(data)
    except ValueError:
        return data


@EXAMPLES
@given(st.lists(st.tuples(st.integers(0, len(BYTES) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_bytes_that_are_changed(changes: list[tuple[int, int]]) -> None:
    data = bytearray(BYTES)
    for index, byte in changes:
        data[index] = byte
    report = judged(bytes(data))
    assert not report.valid or means(bytes(data)) == VALUE


@EXAMPLES
@given(st.integers(0, len(BYTES)), st.integers(0, len(BYTES)), st.binary(max_size=40))
def test_pieces_that_are_cut_out_and_put_in(start: int, end: int, piece: bytes) -> None:
    data = BYTES[: min(start, end)] + piece + BYTES[max(start, end) :]
    assert not judged(data).valid or means(data) == VALUE


@EXAMPLES
@given(st.binary(max_size=2_000))
def test_files_of_anything(data: bytes) -> None:
    assert not judged(data).valid


@EXAMPLES
@given(ANY_JSON)
def test_any_json(value: Any) -> None:
    assert not judged(json.dumps(value).encode()).valid


@EXAMPLES
@given(st.randoms(use_true_random=False), ANY_JSON)
def test_parts_that_are_replaced_doubled_exchanged_or_gone(chance: random.Random, value: Any) -> None:
    made = copy.deepcopy(VALUE)
    for _ in range(chance.randint(1, 3)):
        holder = made
        while isinstance(holder, dict | list) and holder:
            step = chance.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
            part = holder[step]
            if not isinstance(part, dict | list) or not part or chance.random() < 0.3:
                change(chance, holder, step, value)
                break
            holder = part
    data = json.dumps(made).encode()
    report = judged(data)
    assert not report.valid or same(made)


def change(chance: random.Random, holder: Any, step: Any, value: Any) -> None:
    """Change one part in one of the ways."""
    other = chance.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
    match chance.randrange(4):
        case 0:
            holder[step] = copy.deepcopy(value)  # its own copy: a later change may put the value into itself
        case 1:
            del holder[step]
        case 2:
            holder[step], holder[other] = holder[other], holder[step]
        case _ if isinstance(holder, list):
            holder.insert(step, copy.deepcopy(holder[other]))
        case _:
            holder[f"{step}x"] = holder[step]


def same(made: dict[str, Any]) -> bool:
    """Whether a bundle says the same: of items and keys the order means nothing."""

    def read(bundle: dict[str, Any]) -> Any:
        log = {**bundle["log"], "keys": sorted(bundle["log"]["keys"])}
        keys = sorted(bundle["keys"], key=json.dumps)
        return {**bundle, "log": log, "keys": keys, "items": sorted(bundle["items"])}

    return bool(read(made) == read(VALUE))


#: Each as large as a file may be, or as deep as one can be written.
HUGE = {
    "lists in lists": lambda: b"[" * (form.MAX_BYTES // 2) + b"]" * (form.MAX_BYTES // 2),
    "lists beside lists": lambda: b"[" + b"[]," * (form.MAX_BYTES // 3 - 2) + b"1]",
    "objects in objects": lambda: b'{"a":' * 1_000_000 + b"1" + b"}" * 1_000_000,
    "strings": lambda: b"[" + b'"",' * (form.MAX_BYTES // 3 - 2) + b"1]",
    "numbers": lambda: b"[" + b"1," * (form.MAX_BYTES // 2 - 2) + b"1]",
    "one number": lambda: b"1" * form.MAX_BYTES,
    "one string": lambda: b'"' + b"x" * (form.MAX_BYTES - 2) + b'"',
    "back strokes": lambda: b'"' + b"\\" * (form.MAX_BYTES - 2) + b'"',
    "spaces": lambda: b" " * form.MAX_BYTES,
    "more than there may be": lambda: b" " * (form.MAX_BYTES + 1),
    "entries": lambda: json.dumps({**VALUE, "entries": VALUE["entries"] * 100}).encode(),
    "members": lambda: json.dumps({**VALUE, **{f"x{nr}": nr for nr in range(150_000)}}).encode(),
    "items": lambda: json.dumps({**VALUE, "items": [f'{{"kind":"{nr}"}}' for nr in range(150_000)]}).encode(),
    "deep items": lambda: json.dumps({**VALUE, "items": ["[" * 1_000_000]}).encode(),
    "deep leaves": lambda: replaced(leaf='{"kind":' + "[" * 90 + "]" * 90 + "}"),
    "deep records": lambda: replaced(record="[" * 1_000_000 + "]" * 1_000_000),
    "large notes": lambda: json.dumps({**VALUE, "log": {**VALUE["log"], "checkpoint": "x\n\n" * 5_000_000}}).encode(),
    "large keys": lambda: json.dumps({**VALUE, "log": {**VALUE["log"], "keys": ["x" * 30_000_000]}}).encode(),
}


def replaced(**members: Any) -> bytes:
    first, *others = VALUE["entries"]
    return json.dumps({**VALUE, "entries": [{**first, **members}, *others]}).encode()


@pytest.mark.parametrize("name", HUGE)
def test_huge_and_deep_files_are_refused(name: str) -> None:
    assert not judged(HUGE[name]()).valid
