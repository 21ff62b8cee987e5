"""A bundle that is damaged anywhere is not valid, and the report names the place.

Method: in a real bundle each string in turn has one byte changed (the first, the middle, the last), each number is
another, and each part is left out, doubled or put elsewhere. Scope: the bundle kept in ``tests/vectors/evidence``.
"""

import copy
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.evidence.form import NOTICE, SYNTHETIC
from gateway.evidence.verify import Report, verify
from tests.evidence import KEPT

KEEPS: dict[str, Any] = json.loads(KEPT.read_text())
#: One step of a place as reports write it.
_STEP = re.compile(r"([a-z_0-9]+)|\[([0-9]+)\]")

Path = tuple[str | int, ...]


def parts(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every part of a JSON value with its path, the value itself first."""
    yield path, value
    listed = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, part in listed:
        yield from parts(part, (*path, step))


STRINGS = [path for path, value in parts(KEEPS) if isinstance(value, str)]
NUMBERS = [path for path, value in parts(KEEPS) if isinstance(value, int)]
PARTS = [path for path, _ in parts(KEEPS) if path]


def written(path: Path) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


def replaced(path: Path, value: Any) -> dict[str, Any]:
    made = copy.deepcopy(KEEPS)
    at(made, path[:-1])[path[-1]] = value
    return made


def at(value: Any, path: Path) -> Any:
    for step in path:
        value = value[step]
    return value


def report(value: Any) -> Report:
    return verify(json.dumps(value, ensure_ascii=False).encode())


def flipped(text: str, index: int) -> str:
    """The text with one byte changed, to another one that JSON and UTF-8 can hold."""
    return text[:index] + ("B" if text[index] == "A" else "A") + text[index + 1 :]


def test_the_bundle_itself_is_valid() -> None:
    assert report(KEEPS).valid


@pytest.mark.parametrize("path", STRINGS, ids=map(written, STRINGS))
def test_a_byte_that_is_changed_is_found(path: Path) -> None:
    text = at(KEEPS, path)
    for index in {0, len(text) // 2, len(text) - 1}:
        found = report(replaced(path, flipped(text, index)))
        assert not found.valid, index
        assert any(covers(fault.place, path) for fault in found.faults), (index, found.faults)


def covers(place: str, path: Path) -> bool:
    """Whether a place is the path, holds it or is in it, or is of what the path's part is about."""
    named: Path = tuple(word or int(number) for word, number in _STEP.findall(place))
    both = min(len(named), len(path))
    return named[:both] == path[:both] or about(named, path)


def about(named: Path, path: Path) -> bool:
    """Facts about the whole are found wrong at the part they are about."""
    abouts = {
        "gateway": {"keys", "messages"},
        "transfer": {"items"},
        "state": {"state", "timeline"},
        "items": {"items", "messages"},
    }
    return str(named[0]) in abouts.get(str(path[0]), set())


@pytest.mark.parametrize("path", NUMBERS, ids=map(written, NUMBERS))
def test_a_number_that_is_changed_is_found(path: Path) -> None:
    for number in (at(KEEPS, path) + 1, at(KEEPS, path) - 1, 0 if at(KEEPS, path) else 7, 2**53 - 1, 2**53, -1, True):
        found = report(replaced(path, number))
        assert not found.valid and found.faults, number


@pytest.mark.parametrize("path", PARTS, ids=map(written, PARTS))
def test_a_part_that_is_missing_or_another_is_found(path: Path) -> None:
    made = copy.deepcopy(KEEPS)
    del at(made, path[:-1])[path[-1]]
    assert not report(made).valid, "missing"
    for other in (None, [], {}, "", 1.5, [[]], {"x": 1}, at(KEEPS, path[:-1])):
        if other != at(KEEPS, path):
            found = report(replaced(path, other))
            assert not found.valid and found.faults, other


LISTS = [path for path, value in parts(KEEPS) if isinstance(value, list) and value]


@pytest.mark.parametrize("path", LISTS, ids=map(written, LISTS))
def test_what_stands_there_twice_or_in_another_order_is_found(path: Path) -> None:
    listed = at(KEEPS, path)
    assert not report(replaced(path, [*listed, listed[0]])).valid
    if len(listed) > 1 and path not in (("items",), ("keys",), ("log", "keys")):  # whose order means nothing
        assert not report(replaced(path, listed[::-1])).valid


def test_a_member_that_is_no_part_of_a_bundle_is_found() -> None:
    for path in [p for p, value in parts(KEEPS) if isinstance(value, dict)]:
        made = copy.deepcopy(KEEPS)
        at(made, path)["x"] = "y"
        found = report(made)
        assert not found.valid and found.faults


def test_a_proof_of_another_bundle_is_named_by_its_place() -> None:
    proofs = [entry["proof"] for entry in KEEPS["entries"]]
    found = report(replaced(("entries", 3, "proof"), proofs[7]))
    assert [fault.place for fault in found.faults] == ["entries[3].proof"]


def test_a_demonstration_is_marked_by_one_text_alone() -> None:
    marked = {name: value for name, value in KEEPS.items() if name != "synthetic"}
    assert report({**marked, "synthetic": SYNTHETIC}).valid
    assert not report({**marked, "synthetic": NOTICE}).valid
