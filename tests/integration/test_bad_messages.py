"""What is no message, or none that a registered key vouches for, or whose envelope is wrong: refused, without effect.

Messages are composed with joserfc alone.
"""

import asyncio
import json
import os
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from structlog.testing import capture_logs

from gateway.errors import GatewayError
from tests.integration.test_sandbox_play import Party, stamp, text, uuid7
from tests.played import Course, block, levied
from tests.refusals import (
    JOSE,
    LINK_JSON,
    counts,
    effects,
    is_problem,
    post,
    refused,
    sign,
    strangers,
    unvouched,
)
from tests.stage import Stage

pytestmark = pytest.mark.asyncio(loop_scope="module")
TOO_LONG = 8 * 1024 * 1024 + 1


def notice(**members: Any) -> dict[str, Any]:
    """An issuance of MEC01 that would be recorded."""
    positions = levied(block(1, 10, series=uuid7()))
    item = {"kind": "action", "action": uuid7(), "type": "issuance", "registry": "MEC01"}
    return {**item, "at": stamp(datetime.now(UTC)), "positions": positions, **members}


def payload(sender: str = "MEC01", **members: Any) -> dict[str, Any]:
    """A whole payload of a notice without items, with a number nobody else uses."""
    said = {"v": 1, "id": uuid7(), "seq": 9, "type": "action.notice", "from": sender, "to": "GWY01"}
    return {**said, "sent_at": stamp(datetime.now(UTC)), "body": {}, **members}


@pytest.mark.parametrize("kind", [JOSE, LINK_JSON])
@pytest.mark.parametrize(
    "body",
    [
        b"", b" ", b"<!doctype html><title>Welcome</title>", bytes(range(256)), b"\x1f\x8b\x08\x00", b"{}", b"[]",
        b"null", b"{", b'"text"', b'{"jws": "", "items": []}', b'{"jws": 1, "items": ["{}"]}',
        b'{"jws": "a.b.c", "items": ["{}"]}', b"..", b"a.b.c", b"\xff\xfe", b"[" * 100_000,
        b'{"a":' * 100_000, b'{"jws": NaN}', b'{"jws": "\\ud800"}',
    ],
    ids=range(20),
)  # fmt: skip
async def test_what_is_no_message_gets_a_problem_and_leaves_no_trace(course: Course, kind: str, body: bytes) -> None:
    document = await unvouched(course.stage, kind, body, 400, 2001)
    assert document["title"] == "Malformed"


async def test_random_bytes_are_never_an_internal_fault(course: Course) -> None:
    before = await counts(course.stage)
    good = course.source.compose("action.notice", [text(notice())])[1]
    for _ in range(60):
        at = int.from_bytes(os.urandom(2), "big") % len(good)
        torn = good[:at] + os.urandom(3) + good[at + 3 :]
        answer = await post(course.stage, LINK_JSON, torn)
        if answer.status_code != 200:
            assert answer.status_code in (400, 401)
            is_problem(answer, answer.status_code, answer.json()["code"])
    # A byte changed in an item is refused by a signed word: the signature over the list of items is good.
    assert effects(before, await counts(course.stage)) == {}


@pytest.mark.parametrize("kind", [None, "", "application/json", "text/plain", "multipart/form-data; boundary=x"])
async def test_other_content_types_are_not_read(course: Course, kind: str | None) -> None:
    await unvouched(course.stage, kind, course.source.compose("action.notice", [text(notice())])[1], 415, 2001)


async def test_a_content_type_that_does_not_fit_the_body_is_refused(course: Course) -> None:
    with_items = course.source.compose("action.notice", [text(notice())])[1]
    bare = course.source.compose("action.notice", [])[1]
    for kind, body in ((JOSE, with_items), (LINK_JSON, bare)):
        document = await unvouched(course.stage, kind, body, 400, 2001)
        assert document["reason"] == "wrong-envelope"


async def test_only_a_key_registered_for_its_sender_vouches(course: Course) -> None:
    stage, source = course.stage, course.source.party
    nobody, other = Party("JPN01"), course.acquirer.party
    good = sign(source, payload())
    head, middle, signature = good.split(".")
    damaged = "A" if signature[0] != "A" else "B"
    cases = {
        "unknown-sender": (sign(nobody, payload("JPN01")), 401, 1002),
        "unknown-kid": (sign(Party("MEC01"), payload()), 401, 1007),
        "wrong key": (sign(Party("MEC01"), payload(), kid=source.key.thumbprint()), 401, 1006),
        "another's key": (sign(other, payload()), 401, 1007),
        "another's name": (sign(source, payload("KOR01")), 401, 1007),
        "damaged": (f"{head}.{middle}.{damaged}{signature[1:]}", 401, 1006),
        "other payload": (".".join((head, sign(source, payload()).split(".")[1], signature)), 401, 1006),
        "no signature": (f"{head}.{middle}.", 401, 1006),
        "of the gateway": (sign(source, payload("GWY01")), 401, 1002),
        "before the key": (sign(source, payload(sent_at="2020-01-01T00:00:00.000Z")), 401, 1007),
    }
    for name, (jws, status, code) in cases.items():
        document = await unvouched(stage, JOSE, jws.encode(), status, code)
        assert document["reason"] == name or name not in ("unknown-sender", "unknown-kid")
    claimed = [s["claimed_sender"] for s in (await strangers(stage))[-len(cases) :]]
    assert claimed == ["JPN01", "MEC01", "MEC01", "MEC01", "KOR01", "MEC01", "MEC01", "MEC01", "GWY01", "MEC01"]


async def test_a_payload_that_may_be_read_in_two_ways_is_not_read(course: Course) -> None:
    whole = text(payload())
    bad = {
        "twice": whole[:-1] + ',"v":1}',
        "twice, spelled otherwise": whole[:-1] + ',"\\u0076":1}',
        "NaN": whole[:-1] + ',"trace":NaN}',
        "infinity": whole[:-1] + ',"trace":1e999}',
        "beyond 2^53": whole.replace('"seq":9', '"seq":9007199254740992'),
        "deep": whole.replace('"body":{}', '"body":' + '{"a":' * 17 + "1" + "}" * 17),
        "NUL": whole[:-1] + ',"trace":"\\u0000"}',
        "lone surrogate": whole[:-1] + ',"trace":"\\udc00"}',
        "control character": whole[:-1] + ',"trace":"\x01"}',
        "a list": f"[{whole}]",
        "cut off": whole[:-1],
        "from a number": whole.replace('"from":"MEC01"', '"from":1'),
        "from nobody": whole.replace('"from":"MEC01"', '"from":"MEC01\\n"'),
        "id of another version": text(payload(id="00000000-0000-4000-8000-000000000000")),
    }
    for said in bad.values():
        await unvouched(course.stage, JOSE, sign(course.source.party, said).encode(), 400, 2001)


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"v": 2}, 1001), ({"v": True}, 1001), ({"v": "1"}, 1001), ({"to": "GWY02"}, 1008), ({"to": "MEC01"}, 1008),
        ({"to": 1}, 2001), ({"type": "transfer.undo"}, 2001), ({"type": 1}, 2001), ({"sent_at": 1}, 2001),
        ({"seq": 0}, 2001), ({"seq": -1}, 2001), ({"seq": True}, 2001), ({"seq": 1.0}, 2001), ({"seq": "1"}, 2001),
        ({"seq": None}, 2001),
        ({"sent_at": "2026-02-30T00:00:00.000Z"}, 2001), ({"sent_at": "2026-01-01T00:00:00Z"}, 2001),
        ({"body": []}, 2001), ({"body": None}, 2001), ({"body": {"note": "x"}}, 2001),
        ({"body": {"evidence": []}}, 2001),
        ({"body": {"evidence": [1]}}, 2001), ({"body": {"evidence": ["a.b.c"]}}, 2001),
        ({"more": 1}, 2001), ({"leaf": "x"}, 2001), ({"trace": "x"}, 2001),
        ({"items": []}, 2001), ({"items": ["A" * 43]}, 2001), ({"expires_at": "2099-01-01T00:00:00.000Z"}, 2001),
        ({"in_reply_to": "x"}, 2001), ({"in_reply_to": {"id": "x", "sha256": "A" * 43}}, 2001),
    ],
    ids=str,
)  # fmt: skip
async def test_a_wrong_envelope_is_refused_by_a_signed_word(course: Course, members: dict[str, Any], code: int) -> None:
    said = {n: v for n, v in payload(**members).items() if v is not None}
    await refused(course.source, JOSE, sign(course.source.party, said).encode(), code)


async def test_items_must_be_those_that_were_signed(course: Course) -> None:
    one, two = text(notice()), text(notice())
    whole = json.loads(course.source.compose("action.notice", [one, two])[1])
    tampered = one.replace('"last":10', '"last":11')
    assert tampered != one
    for items in ([tampered, two], [one], [two, one], [one, two, text(notice())], [one, one], [one + " ", two]):
        await refused(course.source, LINK_JSON, text({**whole, "items": items}).encode(), 2001)
    for bad in (
        '{"kind":"action","kind":"action"}', '{"kind":"action","a":NaN}', '{"kind":"action","a":"\\u0000"}',
        '{"kind":"action","a":"\\ud800"}', '{"kind":"action","a":"\x07"}', '{"kind":"action","a":9007199254740992}',
        '{"kind":"action","a":' + "[" * 16 + "]" * 16 + "}", '{"kind":1}', "{}", "[]", "", "null",
        '{"kind":"action"} x',
    ):  # fmt: skip
        await refused(course.source, *course.source.compose("action.notice", [bad]), 2001)
    # None of these was a verdict on the message: its own bytes are taken.
    assert [i["state"] for i in (await course.source.post(LINK_JSON, text(whole).encode())).items] == ["recorded"] * 2


async def test_what_registries_do_not_send_is_refused_by_its_type(course: Course) -> None:
    transfer = f"MEC01-{uuid7()}"
    commit = {"kind": "commit", "transfer": transfer, "proposal": "A" * 43, "answer": "A" * 43}
    later = stamp(datetime.now(UTC) + timedelta(minutes=1))
    named = {"id": uuid7(), "sha256": "A" * 43}
    receipt = {"kind": "receipt", "item": "A" * 43, "state": "done", "findings": [], "transfer": transfer}
    voided = {"kind": "voided", "transfer": transfer, "findings": []}
    cases: list[tuple[str, list[str], dict[str, Any]]] = [
        *((f"transfer.{t}", [text(commit)], {}) for t in ("request", "commit", "cancel", "settle", "closed")),
        ("transfer.offer", [text(commit)], {"expires_at": later}),
        ("receipt", [text(receipt)], {"in_reply_to": named}),
        ("refusal", [], {"in_reply_to": named, "body": {"findings": []}}),
        ("transfer.voided", [text(voided)], {"in_reply_to": named}),
        ("status.answer", [], {"in_reply_to": named, "expires_at": later}),
        ("time.answer", [], {"in_reply_to": named, "expires_at": later, "seq": None}),
    ]
    for message_type, items, members in cases:
        await refused(course.source, *course.source.compose(message_type, items, **members), 1010)


async def test_queries_that_ask_nothing_are_refused(course: Course) -> None:
    transfer = f"MEC01-{uuid7()}"
    whole = {"transfer": transfer, "my_state": "locked"}
    bad: list[tuple[str, dict[str, Any], int]] = [
        ("status.query", {}, 2001), ("status.query", {"transfer": transfer}, 2001),
        ("status.query", {**whole, "more": 1}, 2001), ("status.query", {**whole, "my_state": 1}, 2001),
        ("status.query", {**whole, "my_state": ""}, 2001),
        ("status.query", {**whole, "transfer": None}, 2001), ("status.query", {**whole, "transfer": "x"}, 2003),
        ("status.query", {**whole, "message": {}}, 2001),
        ("status.query", {**whole, "message": {"id": "x", "sha256": "A" * 43}}, 2001),
        ("status.query", {**whole, "message": {"id": uuid7(), "sha256": 1}}, 2001),
        ("status.query", {**whole, "evidence": []}, 2001),
        ("time.query", {"now": 1}, 2001),
    ]  # fmt: skip
    for message_type, body, code in bad:
        await refused(course.source, *course.source.compose(message_type, [], body=body), code)
    item = text({"kind": "voided", "transfer": transfer, "findings": []})
    for message_type, body in (("time.query", {}), ("status.query", whole)):
        await refused(course.source, *course.source.compose(message_type, [item], body=body), 2001)
        await refused(course.source, *course.source.compose(message_type, [], body=body, seq=1), 2001)
        await refused(course.source, *course.source.compose(message_type, [], body=body, expires_at=None), 2001)


async def test_other_paths_and_methods_get_a_problem(course: Course) -> None:
    before = await counts(course.stage)
    url, http = course.stage.link_url, course.stage.http
    for method in ("GET", "PUT", "DELETE", "PATCH", "OPTIONS"):
        answer = await http.request(method, f"{url}/messages")
        is_problem(answer, 405, 2001)
        assert answer.headers["allow"] == "POST"
    is_problem(await http.post(f"{url}/keys"), 405, 2001)
    for path in ("", "/", "/message", "/messages/1", "/api/v1/transfers", "/docs", "/openapi.json"):
        is_problem(await http.get(f"{url}{path}"), 404, 2001)
    assert await counts(course.stage) == before


async def exchange(stage: Stage, head: str, parts: list[bytes]) -> bytes:
    """Write a request as it stands, with no end of our own; what comes back until the other side has answered."""
    address = urlsplit(stage.link_url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(f"POST /messages HTTP/1.1\r\nhost: gateway\r\ncontent-type: {JOSE}\r\n{head}\r\n\r\n".encode())
    for part in parts:
        writer.write(part)
        await writer.drain()
    answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
    writer.close()
    return answer


async def test_a_body_beyond_the_limit_is_refused_before_its_end(course: Course) -> None:
    before = await counts(course.stage)
    chunk = b"10000\r\n" + b"A" * 0x10000 + b"\r\n"
    # 8 MiB and 64 KiB of a body that has no last chunk: only a receiver that does not wait for the end can answer.
    chunked = await exchange(course.stage, "transfer-encoding: chunked", [chunk] * 129)
    assert chunked.startswith(b"HTTP/1.1 413 ")
    # The same when its length is announced, and only a byte beyond the limit of 9 MiB has been sent.
    announced = await exchange(course.stage, f"content-length: {9 * 1024 * 1024}", [b"A" * TOO_LONG])
    assert announced.startswith(b"HTTP/1.1 413 ")
    is_problem(await post(course.stage, JOSE, b"A" * TOO_LONG), 413, 2001)
    await unvouched(course.stage, JOSE, b"A" * (TOO_LONG - 1), 400, 2001)
    assert await counts(course.stage) == before


async def test_a_sender_that_leaves_before_the_end_is_no_internal_fault(course: Course) -> None:
    before = await counts(course.stage)
    address = urlsplit(course.stage.link_url)
    with capture_logs() as logs:
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        body = course.source.compose("action.notice", [])[1]
        head = f"POST /messages HTTP/1.1\r\nhost: gateway\r\ncontent-type: {JOSE}\r\n"
        writer.write(f"{head}content-length: {len(body) + 1}\r\n\r\n".encode() + body)
        writer.write_eof()
        answer = await asyncio.wait_for(reader.read(), 20)
        writer.close()
    assert not answer.startswith(b"HTTP/1.1 5") and not answer.startswith(b"HTTP/1.1 2")
    assert [entry for entry in logs if entry["log_level"] == "error"] == []
    short = await exchange(course.stage, f"content-length: {len(body) - 9}", [body])
    assert short.startswith(b"HTTP/1.1 4")
    assert await counts(course.stage) == before


async def test_strangers_are_remembered_up_to_a_limit_only(course: Course) -> None:
    before = await counts(course.stage)
    for number in range(1_010):
        with pytest.raises(GatewayError):
            await course.stage.gateway.inbox.receive(b"flood" * (number % 3), JOSE)
    assert len(await strangers(course.stage)) == 1_000
    assert await counts(course.stage) == before
