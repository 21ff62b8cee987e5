"""Holds ``openapi/link.yaml`` against the golden vectors: every message as another JOSE library signed it.

Good messages, bodies and items conform; every type has one; faults of a payload's own members are seen by the
schemas. How the gateway reads them is ``test_envelope``.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema.exceptions import ValidationError

from tests.unit import test_link_contract as contract
from tests.unit.test_link_contract import OWN_ITEM, ROOT, SCHEMAS, decode, errors, part, sha256, unpack

GOOD = sorted((ROOT / "tests" / "vectors" / "good").glob("*.json"))
BAD = sorted((ROOT / "tests" / "vectors" / "bad").glob("*.json"))
#: Faults of a payload's members that JSON Schema can see.
VISIBLE_FAULTS = {
    *("bad-hash", "bad-reference", "bad-trace", "expiry-forbidden", "expiry-missing", "missing-member"),
    *("seq-forbidden", "unknown-member", "wrong-version"),
}


def member_errors(payload: dict[str, Any]) -> list[ValidationError]:
    """The faults of the envelope's own members; what the type says of body and items is left out."""
    members = {"items": [sha256("")]} | payload
    if "body" in payload:
        members["body"] = {}
    if not contract.takes_items(payload.get("type", "")):
        del members["items"]
    name = f"Payload.{payload['type']}" if "type" in payload else "Envelope"
    return [error for error in errors(name, members) if list(error.absolute_path)[:1] != ["body"]]


def content_errors(payload: dict[str, Any], texts: list[str]) -> list[ValidationError]:
    found = errors(f"Payload.{payload['type']}", payload)
    for text in texts:
        item = json.loads(text)
        found += errors(f"Item.{item['kind']}", item)
    return found


def body_of(path: Path) -> str:
    return str(json.loads(path.read_text("utf-8"))["body"])


def test_examples_taken_from_golden_vectors_equal_them() -> None:
    vectors = {path.stem: body_of(path) for path in GOOD}
    assert SCHEMAS["CompactJws"]["examples"] == [vectors["time-query"]]
    assert SCHEMAS["Message"]["examples"] == [json.loads(vectors["transfer-voided"])]
    assert SCHEMAS["Payload.link.keys"]["examples"] == [decode(vectors["link-keys"])]
    assert SCHEMAS["Payload.refusal"]["examples"] == [decode(vectors["refusal-unnumbered"])]
    [used] = unpack(vectors["action-notice-use"])[1]
    assert SCHEMAS["Block"]["examples"] == json.loads(used)["blocks"]


def test_every_message_type_has_a_good_vector() -> None:
    assert {decode(unpack(body_of(path))[0])["type"] for path in GOOD} == set(OWN_ITEM)


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_good_vector_validates_with_body_and_items(path: Path) -> None:
    jws, texts = unpack(body_of(path))
    payload = decode(jws)
    assert content_errors(payload, texts) == []
    assert payload.get("items", []) == [sha256(text) for text in texts]


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_items_of_a_good_vector_are_its_own_then_those_of_its_evidence(path: Path) -> None:
    jws, texts = unpack(body_of(path))
    payload = decode(jws)
    link = SCHEMAS[f"Payload.{payload['type']}"].get("x-link", {})
    kinds = [json.loads(text)["kind"] for text in texts]
    own = kinds.count(link.get("own"))
    assert kinds[:own] == [link.get("own")] * own
    assert set(kinds[own:]) <= set(link.get("carries", []))
    carried = [decode(jws) for jws in payload["body"].get("evidence", [])]
    assert {OWN_ITEM[message["type"]] for message in carried} - {None} == set(kinds[own:])
    assert {sha256(text) for text in texts[own:]} <= {name for one in carried for name in one.get("items", [])}


def visible(path: Path) -> bool:
    return bool(json.loads(path.read_text("utf-8"))["expect"] in VISIBLE_FAULTS)


@pytest.mark.parametrize("path", [path for path in BAD if visible(path)], ids=lambda path: path.stem)
def test_member_faults_of_bad_vectors_are_seen_by_the_schemas(path: Path) -> None:
    jws, _ = unpack(body_of(path))
    assert member_errors(json.loads(part(jws, 1))) != []
