"""The envelope, held against messages that npm's ``jose`` signed and against every way to get one wrong."""

import base64
import dataclasses
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain import identifiers, notices, proposals
from gateway.domain.actions import Disposal, Issuance, OpeningPosition
from gateway.domain.transfers import Proposal
from gateway.domain.units import ItmoNaming, UnitRange
from gateway.errors import GatewayError, Kind
from gateway.signing import compact, envelope, messages, strict_json
from gateway.signing.envelope import EnvelopeError, Fault, Reference, VerifiedMessage
from gateway.signing.faults import RULES
from gateway.signing.keys import ALGORITHMS, SoftwareKey
from gateway.signing.trust import PeerKey, Revocation

VECTORS = Path(__file__).parent.parent / "vectors"
GOOD = [json.loads(path.read_text("utf-8")) for path in sorted((VECTORS / "good").glob("*.json"))]
BAD = [json.loads(path.read_text("utf-8")) for path in sorted((VECTORS / "bad").glob("*.json"))]

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
KEY = SoftwareKey.generate()
ITEMS = [f'{{"kind":"action","action":"synthetic-{n}","note":"Zürich 東京 \\" {n}"}}' for n in range(3)]


def ring(key: SoftwareKey = KEY, **window: Any) -> list[PeerKey]:
    window = {"not_before": NOW - timedelta(days=1)} | window
    return [PeerKey.from_jwk("MEC01", key.public_jwk(), **window)]


def signed(key: SoftwareKey = KEY, **changes: Any) -> envelope.SignedMessage:
    arguments: dict[str, Any] = {"sender": "MEC01", "receiver": "GWY01", "type": "action.notice", "seq": 1}
    arguments |= {"message_id": messages.new_message_id(), "sent_at": NOW, "body": {}}
    return envelope.sign(key, **(arguments | changes))


def received(body: bytes, keys: list[PeerKey] | None = None, now: datetime = NOW) -> VerifiedMessage:
    return envelope.verify(envelope.read(body), ring() if keys is None else keys, receiver="GWY01", now=now)


def name_of(vector: dict[str, Any]) -> str:
    return str(vector["name"])


def keys_of(listed: list[dict[str, Any]]) -> list[PeerKey]:
    keys = []
    for entry in listed:
        given = dict(entry)
        owner, jwk = given.pop("owner"), given.pop("jwk")
        reason = given.pop("revoked_reason", None)
        times = {name: messages.parse_time(value) for name, value in given.items()}
        revoked = Revocation(reason) if reason else None
        keys.append(PeerKey.from_jwk(owner, jwk, revoked_reason=revoked, **times))
    return keys


def body_of(vector: dict[str, Any]) -> bytes:
    if "body" in vector:
        return str(vector["body"]).encode()
    if "body_base64" in vector:
        return base64.b64decode(vector["body_base64"])
    made = vector["body_repeat"]
    times = made["times"]
    return str(made["text"] * times + made.get("then", "") + made.get("close", "") * times).encode()


def judged(vector: dict[str, Any]) -> VerifiedMessage:
    unverified = envelope.read(body_of(vector))
    now = messages.parse_time(vector["now"])
    return envelope.verify(unverified, keys_of(vector["keys"]), receiver=vector["receiver"], now=now)


@pytest.mark.parametrize("vector", GOOD, ids=name_of)
def test_message_signed_by_another_library_is_accepted(vector: dict[str, Any]) -> None:
    message = judged(vector)
    assert message.received == body_of(vector)
    assert message.sha256 == compact.digest(body_of(vector))
    assert message.jws_sha256 == compact.digest(message.jws)
    content = vector["content"]
    assert [item.sha256 for item in message.items] == content.get("items", [])
    assert list(message.evidence) == content.get("evidence", [])
    if "in_reply_to" in content:
        assert message.in_reply_to == Reference(**content["in_reply_to"])


def test_every_type_of_the_protocol_has_a_good_vector() -> None:
    assert {judged(vector).type for vector in GOOD} == messages.TYPES


@pytest.mark.parametrize("vector", BAD, ids=name_of)
def test_bad_message_is_refused_for_its_own_reason(vector: dict[str, Any]) -> None:
    with pytest.raises(EnvelopeError) as refusal:
        judged(vector)
    assert refusal.value.fault == vector["expect"]
    assert refusal.value.code == refusal.value.fault.code
    assert (refusal.value.origin is not None) is refusal.value.fault.attributable
    if refusal.value.origin:
        assert refusal.value.origin.sender == "MEC01"
        assert refusal.value.origin.sha256 == compact.digest(body_of(vector))
        assert messages.is_message_id(refusal.value.origin.message_id)


def test_every_fault_has_a_rule_and_a_bad_vector() -> None:
    assert set(RULES) == set(Fault)
    assert {Fault(vector["expect"]) for vector in BAD} == set(Fault)


def carrying() -> list[dict[str, Any]]:
    return [vector for vector in GOOD if vector["content"].get("evidence")]


@pytest.mark.parametrize("vector", carrying(), ids=name_of)
def test_carried_evidence_is_verified_with_its_own_senders_key(vector: dict[str, Any]) -> None:
    message, keys = judged(vector), keys_of(vector["keys"])
    at_hand = {item.sha256: item for item in message.items}
    for jws in message.evidence:
        carried = envelope.verify_carried(jws, at_hand, keys, at=NOW)
        assert carried.items or carried.type == "cut.answer"  # which has none
        assert [at_hand[item.sha256] for item in carried.items] == list(carried.items)
        withheld = envelope.verify_carried(jws, {}, keys, at=NOW)
        assert (withheld.items, withheld.listed) == ((), carried.listed)
        others = [key for key in keys if key.owner != carried.sender]
        with pytest.raises(EnvelopeError) as refusal:
            envelope.verify_carried(jws, at_hand, others, at=NOW)
        assert (refusal.value.fault, refusal.value.origin) == (Fault.UNKNOWN_SENDER, None)


def test_evidence_of_a_batch_shows_one_transfer_and_withholds_the_other() -> None:
    message = judged(next(vector for vector in GOOD if vector["name"] == "transfer-commit"))
    at_hand = {item.sha256: item for item in message.items}
    keys = keys_of(GOOD[0]["keys"])
    carried = [envelope.verify_carried(jws, at_hand, keys, at=NOW) for jws in message.evidence]
    assert [(one.type, len(one.items), len(one.listed)) for one in carried] == [
        ("transfer.propose", 1, 2),
        ("transfer.answer", 1, 2),
    ]


def names_in(message: VerifiedMessage) -> Iterator[tuple[str, str | None]]:
    """Every hash by which a message names something, with the id named beside it."""
    references = [message.body["message"]] if message.type == "status.query" else []
    for item in message.items:
        members = ("proposal", "offer", "release", "item", *(["answer"] if item.kind != "answer" else []))
        yield from ((item.value[name], None) for name in members if name in item.value)
        references += [item.value[name] for name in ("commit", "settle") if name in item.value]
    yield from ((reference["sha256"], reference["id"]) for reference in references)
    if message.in_reply_to:
        yield message.in_reply_to.sha256, message.in_reply_to.id


def test_good_vectors_are_one_story_in_which_everything_named_is_there() -> None:
    story = [judged(vector) for vector in GOOD]
    first = envelope.read(body_of(next(vector for vector in BAD if vector["name"] == "unknown-member")))
    there: set[tuple[str, str | None]] = {(item.sha256, None) for message in story for item in message.items}
    there |= {(sha256, message.id) for message in story for sha256 in (message.sha256, message.jws_sha256)}
    there |= {(compact.digest(first.received), first.signed.payload["id"])}
    named = [name for message in story for name in names_in(message)]
    assert len(named) > len(story)
    assert [name for name in named if name not in there] == []
    numbers = [(message.sender, message.receiver, message.seq) for message in story if message.seq]
    assert len(set(numbers)) == len(numbers)
    assert len({message.id for message in story}) == len(story)


def parsed(sender: str, item: dict[str, Any]) -> object:
    own: notices.Own = {identifiers.parse_registry_code(sender): None}
    match item["kind"]:
        case "propose":
            return proposals.parse_proposal(item)
        case "action":
            return notices.parse_action(item, own)
        case "position":
            return notices.parse_position(item, own)
    return [notices.parse_naming(entry) for entry in item["itmo"]]


#: Kind of a registry's item about units → what it becomes when nothing is wrong with it.
WITHOUT_FINDINGS = {
    "propose": Proposal,
    "action": Issuance | Disposal,
    "position": OpeningPosition,
    "released": list,
}


@pytest.mark.parametrize("kind", WITHOUT_FINDINGS)
def test_units_of_good_vectors_are_read_without_findings(kind: str) -> None:
    said = [(message.sender, item) for message in map(judged, GOOD) for item in message.items]
    ours = {"GWY01": "MEC01"}  # what the gateway carries here, the source has said
    read = [parsed(ours.get(sender, sender), item.value) for sender, item in said if item.kind == kind]
    assert read
    assert [one for one in read if not isinstance(one, WITHOUT_FINDINGS[kind])] == []
    for entry in (entry for one in read if isinstance(one, list) for entry in one):
        assert [type(part) for part in entry] == [UnitRange, ItmoNaming]


def test_evidence_stays_good_when_its_key_is_revoked_after_it_was_stored() -> None:
    message = signed(receiver="JPN01")
    revoked = ring(revoked_at=NOW, revoked_reason=Revocation.COMPROMISED)
    assert envelope.verify_carried(message.jws, {}, revoked, at=NOW - timedelta(seconds=1)).id == message.id
    with pytest.raises(EnvelopeError) as refusal:
        envelope.verify_carried(message.jws, {}, revoked, at=NOW)
    assert refusal.value.fault is Fault.KEY_REVOKED


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_what_is_signed_is_read_back_whole(alg: str) -> None:
    key = SoftwareKey.generate(alg)
    given = {
        "type": "receipt",
        "seq": None,
        "in_reply_to": Reference(messages.new_message_id(), compact.digest("x")),
        "leaf": compact.digest("leaf"),
        "trace": f"00-{'a' * 32}-{'b' * 16}-01",
        "body": {"note": "Ñ"},
        "items": ITEMS,
    }
    message = signed(key, **given)
    back = received(message.body, ring(key))
    assert {name: getattr(back, name) for name in given} | {"items": [item.text for item in back.items]} == given
    assert (back.jws, back.jws_sha256, back.sha256) == (message.jws, message.jws_sha256, message.sha256)
    assert (back.kid, back.sent_at, back.expires_at) == (key.kid, NOW, None)
    assert (message.content_type, envelope.read(message.body).content_type) == (envelope.LINK_JSON,) * 2


def test_same_arguments_give_the_same_bytes() -> None:
    message_id = messages.new_message_id()
    assert signed(message_id=message_id, items=ITEMS) == signed(message_id=message_id, items=ITEMS)


@pytest.mark.parametrize("changes", [
    {"type": "transfer.hurry"}, {"seq": None}, {"seq": 2**53}, {"message_id": "1"}, {"items": [ITEMS[0]] * 2},
    {"expires_at": NOW}, {"body": {"a": "\0"}},
], ids=str)  # fmt: skip
def test_nothing_a_receiver_would_refuse_is_signed(changes: dict[str, Any]) -> None:
    with pytest.raises(GatewayError) as refusal:
        signed(**changes)
    assert refusal.value.kind is Kind.INVARIANT


def test_message_above_the_limit_is_not_signed() -> None:
    with pytest.raises(GatewayError) as refusal:
        signed(body={"a": "x" * envelope.MAX_BODY})
    assert refusal.value.kind is Kind.LIMIT


def test_verified_message_cannot_be_made_without_verifying() -> None:
    message = received(signed().body)
    fields = {field.name: getattr(message, field.name) for field in dataclasses.fields(message)}
    with pytest.raises(GatewayError, match="made by verifying"):
        VerifiedMessage(**fields, proof=object())
    with pytest.raises((ValueError, TypeError)):
        dataclasses.replace(message, sender="JPN01")  # type: ignore[call-arg]


BARE = signed().body
FULL = signed(items=ITEMS, body={"evidence": []}).body
ES256_KEY = SoftwareKey.generate("ES256")
ES256_FULL = signed(ES256_KEY, items=ITEMS).body


SAMPLES = [(BARE, KEY), (FULL, KEY), (ES256_FULL, ES256_KEY)]


@pytest.mark.parametrize(("body", "key"), SAMPLES, ids=("bare", "with items", "ES256"))
def test_no_changed_byte_is_accepted(body: bytes, key: SoftwareKey) -> None:
    keys = ring(key)
    assert received(body, keys).received == body
    for position in range(len(body)):
        for mask in (0x01, 0x20, 0x80):
            changed = bytearray(body)
            changed[position] ^= mask
            with pytest.raises(EnvelopeError):
                received(bytes(changed), keys)


@given(st.data())
@settings(deadline=None, max_examples=300)
def test_no_cut_insertion_or_replacement_changes_what_is_said(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(FULL)))
    end = data.draw(st.integers(start, min(len(FULL), start + 8)))
    changed = FULL[:start] + data.draw(st.binary(max_size=8)) + FULL[end:]
    try:
        message = received(changed)
    except EnvelopeError:
        return
    # White space between the two members of the body is nobody's statement: the same is said.
    assert {"jws": message.jws, "items": [item.text for item in message.items]} == json.loads(FULL)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_bytes_make_reading_fail_otherwise_than_by_a_refusal(body: bytes) -> None:
    with pytest.raises(EnvelopeError):
        envelope.read(body)


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=9)
SCALARS = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | TEXTS


@given(st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner), max_leaves=9))
def test_strict_json_reads_what_it_writes_and_what_others_write(value: Any) -> None:
    assert strict_json.loads(strict_json.dumps(value)) == value
    assert strict_json.loads(json.dumps(value, indent=1)) == value


@pytest.mark.parametrize("text", [
    "[" * 8_000_000, '{"a":' * 1_500_000, '["\\\\",' * 100_000, '["\\"",' * 100_000, '["\\\\\\"",' * 17,
], ids=lambda text: text[:9])  # fmt: skip
def test_nesting_never_reaches_the_parsers_stack(text: str) -> None:
    with pytest.raises(EnvelopeError) as refusal:
        strict_json.loads(text)
    assert refusal.value.fault is Fault.TOO_DEEP


def test_sixteen_levels_and_the_largest_integer_are_read() -> None:
    inner = json.loads(f"{'[' * 14}{2**53 - 1}{']' * 14}")
    assert received(signed(body={"a": inner}, seq=2**53 - 1).body).body == {"a": inner}


def test_brackets_inside_strings_are_no_nesting() -> None:
    value = ["[" * 99, '"' + "{" * 99, "\\", '\\"' + "[" * 99, {'"[[\\': "]]"}]
    assert strict_json.loads(strict_json.dumps(value)) == value


def test_message_ids_are_version_7_and_rise() -> None:
    given_out = [messages.new_message_id() for _ in range(5000)]
    assert all(map(messages.is_message_id, given_out))
    assert given_out == sorted(set(given_out))
    milliseconds = int(given_out[-1].replace("-", "")[:12], 16)
    assert abs(milliseconds / 1000 - time.time()) < 60


def test_thousand_items_are_verified_by_one_signature() -> None:
    items = [f'{{"kind":"action","action":"synthetic-{n}"}}' for n in range(1000)]
    assert [item.text for item in received(signed(items=items).body).items] == items
