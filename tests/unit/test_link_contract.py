"""Holds ``openapi/link.yaml`` against OpenAPI 3.1, its own examples and the closed set.

The document is all that a registry operator has, so it must be true by itself: every example validates and
its signatures verify with the key it shows, every schema is closed, every code that a check can give is
explained. Nothing of the gateway is imported but its tables of check codes and of kinds of link, so a fault in how
the gateway reads messages cannot hide here. Messages that others signed: ``test_link_vectors``.
"""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from openapi_spec_validator import OpenAPIV31SpecValidator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from connectors import KINDS
from gateway.domain.check_codes import CHECKS

ROOT = Path(__file__).parents[2]
DOCUMENT: dict[str, Any] = yaml.safe_load((ROOT / "openapi" / "link.yaml").read_text("utf-8"))
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]
REGISTRY: Registry[Any] = Registry().with_resource("urn:link", DRAFT202012.create_resource(DOCUMENT))

#: Message type → kind of its own items. The closed set of version 1: to extend it is a new version.
OWN_ITEM: dict[str, str | None] = {
    "link.activate": "position",
    "link.keys": None,
    "action.notice": "action",
    "action.record": "record",
    "transfer.request": "request",
    "transfer.propose": "propose",
    "transfer.offer": "offer",
    "transfer.answer": "answer",
    "transfer.commit": "commit",
    "transfer.released": "released",
    "transfer.voided": "voided",
    "transfer.cancel": "cancel",
    "transfer.settle": "settle",
    "transfer.credited": "credited",
    "transfer.closed": "closed",
    "receipt": "receipt",
    "refusal": None,
    "status.query": None,
    "status.answer": None,
    "time.query": None,
    "time.answer": None,
    "history.query": None,
    "history.page": "history",
    "history.deliver": None,
    "positions.query": None,
    "positions.answer": "position",
    "cut.query": None,
    "cut.answer": None,
    "reconciliation.result": "finding",
}
UNNUMBERED = {"status.query", "status.answer", "time.query", "time.answer"}
UNNUMBERED |= {"history.query", "history.page", "positions.query", "positions.answer", "cut.query", "cut.answer"}
NUMBERED = set(OWN_ITEM) - UNNUMBERED
EXPIRING = {"transfer.propose", "transfer.offer"} | set(OWN_ITEM) - NUMBERED
TRANSFER = "MEC01-0195515b-9c00-7000-8000-00000000000a"
UUID = "0195515b-9c00-7000-8000-000000000001"
HASH = "s8wEdbt4pQJgmIWOmIms9mbTEGLVE9MDMU7KMdNucvI"
TIME = "2026-03-01T12:00:00.000Z"
NAMED = {"id": UUID, "sha256": HASH}
JWS = f"{'e' * 40}.{'e' * 40}.{'e' * 86}"


def samples_of_items() -> dict[str, dict[str, Any]]:
    """One item of each kind (synthetic), with every optional member."""
    [block] = SCHEMAS["Block"]["examples"]
    source = {"registry": "MEC01", "party": "MMR", "account": "100-1"}
    wish = {
        **{"transferring": source, "acquiring": source | {"registry": "JPN01", "party": "JPN"}},
        **{"purpose": "NDC", "quantity": 57259, "blocks": [block], "request": UUID},
    }
    holding = {"party": "MMR", "account": "100-1", "block": block}
    piece = {name: block[name] for name in ("origin", "first", "last")}
    findings = [{"code": 5906, "blocks": [piece], "detail": "synthetic"}]
    step = {"transfer": TRANSFER}
    action = {"action": "a-1", "type": "issuance", "at": TIME, "registry": "MEC01"}
    recorded = {"action": f"{TRANSFER}/transfer", "type": "First transfer", "at": TIME, "registry": "MEC01"}
    recorded |= {name: wish[name] for name in ("transferring", "acquiring", "purpose", "quantity", "blocks")}
    items: dict[str, dict[str, Any]] = {
        "position": holding,
        "record": step | recorded | {"section": "MMR99", "party": "MMR", "authorisation": None},
        "action": action | {"positions": [holding], "synthetic": True},
        "request": wish,
        "propose": step | wish | {"authorisation": {"id": "MMR-2025-1", "version": 1}},
        "offer": step | {"proposal": HASH, "verdict": "passed", "findings": [], "answer_by": TIME},
        "answer": step | {"offer": HASH, "answer": "rejected", "findings": findings},
        "commit": step | {"proposal": HASH, "answer": HASH},
        "released": step
        | {
            "commit": NAMED,
            "released_at": TIME,
            "first_transfer": True,
            "itmo": [piece | {"itmo": block["itmo"]}],
        },
        "voided": step | {"findings": []},
        "cancel": step | {"outcome": "refused", "findings": findings},
        "settle": step | {"proposal": HASH, "answer": HASH, "release": HASH},
        "credited": step | {"settle": NAMED, "credited_at": TIME, "account": "110-1", "findings": findings},
        "closed": step | {"state": "completed", "findings": []},
        "receipt": step | {"item": HASH, "state": "committing", "findings": []},
        "history": {"registry": "MEC01", "transaction": TRANSFER, "type": "use", "at": TIME, "block": block}
        | {"from": source, "to": source, "first_transfer": False, "purpose": "NDC", "year": 2026, "corrects": HASH},
    }
    differs = {"case": "c-1", "registry": "KOR01", "code": 6302, "units": piece, "here": "{}", "there": None}
    items["finding"] = differs
    return {kind: {"kind": kind} | item for kind, item in items.items()}


def sample_payload(message_type: str) -> dict[str, Any]:
    """One payload of the type (synthetic), with every member the contract gives it."""
    asked = {"of": "MEC01", "for": {"registry": "KOR01", "party": "KOR"}}
    cursor = {"number": 1, "digest": HASH}
    cut = {"of": "KOR01", "cut": UUID}
    total = {"party": "KOR", "account_type": 100, "vintage": 2021, "quantity": 1}
    book = {"registry": "KOR01", "series": 1, "root": HASH, "totals": [total]}
    [block] = SCHEMAS["Block"]["examples"]
    select: dict[str, Any] = {
        "account": "100-1",
        "party": "KOR",
        "activity": "PoA 10471",
        "authorisation": "MMR-2025-1",
    }
    select |= {"vintage": 2021, "units": {name: block[name] for name in ("origin", "first", "last")}}
    select |= {"type": "use", "since": TIME, "until": TIME}
    logged = {"checkpoint": "mec01.example/log\n1\n", "leaves": [0], "salts": HASH}
    bodies: dict[str, dict[str, Any]] = {
        "link.keys": {**SCHEMAS["JwkSet"]["examples"][0], "not_before": TIME, "retire": {HASH: TIME}},
        "refusal": {"findings": [{"code": 9002}]},
        "status.query": {"transfer": TRANSFER, "my_state": "unknown-here", "message": NAMED},
        "status.answer": {"transfer": TRANSFER, "state": "void", "message": "not known", "evidence": [JWS]},
        "time.answer": {"time": TIME},
        "history.query": asked | {"after": cursor, "limit": 1000, "select": select},
        "history.page": asked | {"after": cursor, "until": cursor, "more": True, "log": logged, "evidence": [JWS]},
        "history.deliver": asked | {"after": cursor, "until": cursor, "evidence": [JWS]},
        "positions.query": asked | {"after": "1", "limit": 1000, "select": select},
        "positions.answer": asked | {"at": TIME, "next": "2"},
        "cut.query": cut | {"at": TIME},
        "cut.answer": cut
        | {"at": TIME, "state": "taken", "taken_at": TIME, "told": 1, "ranges": True, "books": [book]}
        | {"moving": "AA", "moving_more": False},
        "reconciliation.result": cut
        | {"status": 99, "findings": 1, "books": [{"registry": "KOR01", "root": HASH}], "evidence": [JWS]},
    }
    carrying = {"transfer.offer", "transfer.commit", "transfer.settle", "transfer.closed"}
    body = bodies.get(message_type, {"evidence": [JWS]} if message_type in carrying else {})
    members = {"v": 1, "id": UUID, "type": message_type, "from": "MEC01", "to": "GWY01", "sent_at": TIME}
    optional = {"seq": 1, "expires_at": TIME, "in_reply_to": NAMED, "leaf": HASH, "items": [HASH]}
    taken = {name: value for name, value in optional.items() if name in evaluated(f"Payload.{message_type}")}
    return members | taken | {"trace": f"00-{'0a' * 16}-{'0b' * 8}-01", "body": body}


def validator(name: str) -> Draft202012Validator:
    return Draft202012Validator({"$ref": f"urn:link#/components/schemas/{name}"}, registry=REGISTRY)


def errors(name: str, value: Any) -> list[ValidationError]:
    return list(validator(name).iter_errors(value))


def unpack(body: str) -> tuple[str, list[str]]:
    if body.startswith("{"):
        message = json.loads(body)
        assert errors("Message", message) == []
        return message["jws"], message["items"]
    return body, []


def part(jws: str, index: int) -> bytes:
    text = jws.split(".")[index]
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def decode(jws: str) -> dict[str, Any]:
    assert errors("CompactJws", jws) == []
    assert errors("ProtectedHeader", json.loads(part(jws, 0))) == []
    payload: dict[str, Any] = json.loads(part(jws, 1))
    return payload


def sha256(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


def takes_items(message_type: str) -> bool:
    return "items" in evaluated(f"Payload.{message_type}") if message_type in OWN_ITEM else False


def evaluated(name: str) -> set[str]:
    """The members a schema lists, those of its ``allOf`` included."""
    schema = SCHEMAS[name]
    inherited = [evaluated(branch["$ref"].rsplit("/", 1)[1]) for branch in schema.get("allOf", [])]
    return set(schema.get("properties", {})).union(*inherited)


def examples() -> Iterator[tuple[str, Any]]:
    for name, schema in SCHEMAS.items():
        for example in schema.get("examples", []):
            yield name, example


def closed(schema: dict[str, Any]) -> bool:
    """True when the schema admits no member it does not list."""
    if "$ref" in schema:
        return closed(SCHEMAS[schema["$ref"].rsplit("/", 1)[1]])
    if "oneOf" in schema:
        return all(closed(branch) for branch in schema["oneOf"])
    return schema.get("additionalProperties") is False or schema.get("unevaluatedProperties") is False


def test_document_is_openapi_3_1() -> None:
    OpenAPIV31SpecValidator(DOCUMENT).validate()
    assert DOCUMENT["openapi"].startswith("3.1.")


def test_every_schema_is_json_schema_2020_12() -> None:
    assert DOCUMENT["jsonSchemaDialect"] == Draft202012Validator.META_SCHEMA["$id"]
    for schema in SCHEMAS.values():
        Draft202012Validator.check_schema(schema)


def test_both_nodes_serve_the_same_two_paths_and_who_keeps_a_log_some_more() -> None:
    logs = {"/log/checkpoint", "/log/tile/{level}/{number}", "/log/keys", "/witness/add-checkpoint"}
    assert set(DOCUMENT["paths"]) == {"/messages", "/keys"} | logs
    assert set(DOCUMENT["paths"]["/messages"]) == {"post"}
    responses = DOCUMENT["paths"]["/messages"]["post"]["responses"]
    assert set(responses) == {"200", "400", "401", "408", "413", "415", "503"}


def test_message_types_and_item_kinds_are_the_closed_set() -> None:
    types, kinds = set(OWN_ITEM), {kind for kind in OWN_ITEM.values() if kind}
    assert named("Payload") == types
    assert named("Body") == types | {"empty", "evidence", "evidence.or.none"}
    assert named("Item") == kinds
    assert branches("Payload") == sorted(f"Payload.{message_type}" for message_type in types)
    assert branches("Item") == sorted(f"Item.{kind}" for kind in kinds)


def named(group: str) -> set[str]:
    return {name.partition(".")[2] for name in SCHEMAS if name.startswith(f"{group}.")}


def branches(name: str) -> list[str]:
    return sorted(branch["$ref"].removeprefix("#/components/schemas/") for branch in SCHEMAS[name]["oneOf"])


@pytest.mark.parametrize("message_type", OWN_ITEM)
def test_type_names_its_own_kind_and_carries_and_answers_of_the_set(message_type: str) -> None:
    link = SCHEMAS[f"Payload.{message_type}"].get("x-link", {})
    assert link.get("own") == OWN_ITEM[message_type]
    assert set(link.get("carries", [])) <= {kind for kind in OWN_ITEM.values() if kind}
    assert set(link.get("answers", [])) <= set(OWN_ITEM)
    assert ("evidence" in str(SCHEMAS[f"Body.{message_type}"])) is ("carries" in link)


def test_payloads_bodies_and_items_admit_no_unknown_member() -> None:
    names = [name for name in SCHEMAS if name.startswith(("Payload.", "Body.", "Item."))]
    assert [name for name in names if not closed(SCHEMAS[name])] == []


@pytest.mark.parametrize("message_type", OWN_ITEM)
def test_only_numbered_types_take_seq_and_only_expiring_types_take_expires_at(message_type: str) -> None:
    properties = evaluated(f"Payload.{message_type}")
    assert ("seq" in properties) is (message_type in NUMBERED)
    assert ("expires_at" in properties) is (message_type in EXPIRING)
    assert ("leaf" in properties) is (message_type in {"receipt", "refusal"})
    link = SCHEMAS[f"Payload.{message_type}"].get("x-link", {})
    assert ("items" in properties) is bool(link.keys() & {"own", "carries"})


@pytest.mark.parametrize("message_type", OWN_ITEM)
def test_payload_with_all_its_members_is_taken_and_one_more_is_refused(message_type: str) -> None:
    payload = sample_payload(message_type)
    assert errors(f"Payload.{message_type}", payload) == []
    assert errors("Payload", payload) == []
    for name in ("seq", "expires_at", "in_reply_to", "leaf", "items", "note"):
        if name not in payload:
            assert errors(f"Payload.{message_type}", payload | {name: HASH}) != []
    assert errors(f"Payload.{message_type}", payload | {"body": payload["body"] | {"note": ""}}) != []


@pytest.mark.parametrize("kind", sorted(samples_of_items()))
def test_item_with_all_its_members_is_taken_and_one_more_or_less_is_refused(kind: str) -> None:
    item = samples_of_items()[kind]
    assert errors(f"Item.{kind}", item) == []
    assert errors("Item", item) == []
    assert errors(f"Item.{kind}", item | {"note": ""}) != []
    optional = {
        "action": {"synthetic"},
        "request": {"blocks"},
        "propose": {"request"},
        "receipt": {"transfer"},
        "history": {"from", "to", "purpose", "year", "corrects"},
    }
    for name in item.keys() - optional.get(kind, set()):
        assert errors(f"Item.{kind}", {other: item[other] for other in item if other != name}) != []


@pytest.mark.parametrize("action", ["Use", "Cancellation"])
def test_record_of_a_use_names_both_accounts_and_no_transfer(action: str) -> None:
    relayed = samples_of_items()["record"]
    about = ("transfer", "transferring", "acquiring", "purpose")
    kept = {name: value for name, value in relayed.items() if name not in about}
    used = kept | {"type": action, "account": "100-1", "to_account": "200-1"}
    assert errors("Item.record", used) == []
    assert errors("Item.record", kept | {"account": "100-1", "to_account": "200-1"}) != []
    assert errors("Item.record", {name: used[name] for name in used if name != "to_account"}) != []
    for name in about:
        assert errors("Item.record", used | {name: relayed[name]}) != []
    assert errors("Item.record", relayed | {"authorisation": {"id": "MMR-2025-1", "version": 1}}) == []
    for length, wrong in ((0, True), (128, False), (129, True)):
        assert bool(errors("Item.record", relayed | {"action": "a" * length})) is wrong


def test_an_address_of_a_section_has_the_form_of_every_other() -> None:
    assert {SCHEMAS[name]["pattern"] for name in ("LinkCode", "RegistryCode")} == {"^[A-Z]{3}[0-9]{2}$"}
    kinds = re.findall(r"^\| `(\w+)` \(`([A-Z]{3}[0-9]{2})`\)", DOCUMENT["info"]["description"], re.MULTILINE)
    assert dict(kinds).keys() == KINDS.keys()


@pytest.mark.parametrize(("name", "example"), list(examples()))
def test_example_validates_against_its_schema(name: str, example: Any) -> None:
    assert errors(name, example) == []


def test_signed_examples_verify_with_the_key_shown() -> None:
    [jwk] = SCHEMAS["JwkSet"]["examples"][0]["keys"]
    key = Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(jwk["x"] + "="))
    thumbprint = sha256(f'{{"crv":"Ed25519","kty":"OKP","x":"{jwk["x"]}"}}')
    assert jwk["kid"] == thumbprint
    message = SCHEMAS["Message"]["examples"][0]
    for jws in (message["jws"], SCHEMAS["CompactJws"]["examples"][0]):
        key.verify(part(jws, 2), jws.rpartition(".")[0].encode())
        assert json.loads(part(jws, 0)) == SCHEMAS["ProtectedHeader"]["examples"][0]
        with pytest.raises(InvalidSignature):
            key.verify(part(jws, 2), jws.rpartition(".")[0].encode() + b"A")


def test_signed_examples_say_what_the_decoded_examples_say() -> None:
    message = SCHEMAS["Message"]["examples"][0]
    payload = decode(message["jws"])
    assert payload == SCHEMAS["Payload.transfer.voided"]["examples"][0]
    assert payload["items"] == [sha256(text) for text in message["items"]]
    assert [json.loads(text) for text in message["items"]] == SCHEMAS["Item.voided"]["examples"]
    assert decode(SCHEMAS["CompactJws"]["examples"][0]) == SCHEMAS["Payload.time.query"]["examples"][0]


def test_every_code_of_the_check_table_is_explained() -> None:
    rows = re.findall(r"^\| (\d{4}) \| (E|W|E/W) \| \S", SCHEMAS["Code"]["description"], re.MULTILINE)
    assert len({code for code, _ in rows}) == len(rows)
    explained = {int(code): severity for code, severity in rows}
    on_the_wire = {code: check for code, check in CHECKS.items() if code // 1000 in {1, 2, 3, 4, 5, 6, 8, 9}}
    assert explained.keys() == on_the_wire.keys()
    assert {c: check.severity for c, check in on_the_wire.items() if check.severity not in explained.get(c, "")} == {}


def test_document_speaks_of_itself_alone() -> None:
    text = (ROOT / "openapi" / "link.yaml").read_text("utf-8")
    addresses = set(re.findall(r"https?://[^/\s]+", text))
    assert addresses == {"https://json-schema.org", "https://registry.example", "https://c2sp.org):"}
    assert re.findall(r"shared/|\bissues?\b|\bsessions?\b", text) == []
