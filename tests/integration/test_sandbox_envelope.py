"""What the envelope of a sandbox registry refuses, and how: signed where it can be attributed."""

import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from joserfc import jws

from gateway import embedded
from tests.integration import test_sandbox_play as play
from tests.integration.test_sandbox_play import (
    REGISTRY,
    Gateway,
    Heard,
    Party,
    registry,
    sha,
    stamp,
    text,
    uuid7,
)

server, gateway = play.server, play.gateway


def cancel_item() -> str:
    return text({"kind": "cancel", "transfer": f"MEC01-{uuid7()}", "outcome": "cancelled", "findings": []})


def codes(answer: Heard) -> list[int]:
    assert answer.type == "refusal" and "seq" not in answer.payload
    return [found["code"] for found in answer.payload["body"]["findings"]]


async def test_same_bytes_get_the_same_answer_and_other_bytes_are_refused(
    server: embedded.Server, gateway: Gateway, tmp_path: Path
) -> None:
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01") as mechanism:
        _, kind, raw = gateway.compose("MEC01", "transfer.cancel", [cancel_item()])
        first = await mechanism.send_bytes(kind, raw)
        assert first.type == "transfer.voided"
        assert (await mechanism.send_bytes(kind, raw)).raw == first.raw
        reused = json.loads(base64.urlsafe_b64decode(first.jws.split(".")[1] + "=="))["in_reply_to"]["id"]
        _, kind, other = gateway.compose("MEC01", "transfer.cancel", [cancel_item()], id=reused)
        assert codes(await mechanism.send_bytes(kind, other)) == [2002]


async def test_wrong_messages_of_the_gateway_get_a_signed_refusal(
    server: embedded.Server, gateway: Gateway, tmp_path: Path
) -> None:
    soon = stamp(datetime.now(UTC) + timedelta(minutes=6))
    past = stamp(datetime.now(UTC) - timedelta(seconds=1))
    cancel = ("transfer.cancel", [cancel_item()])
    cases: list[tuple[int, tuple[Any, ...], dict[str, Any]]] = [
        (1001, cancel, {"v": 2}),
        (1008, cancel, {"to": "MEC02"}),
        (1010, ("transfer.propose", [cancel_item()]), {}),
        (1009, cancel, {"sent_at": soon}),
        (2001, cancel, {"sent_at": "2026-01-01T00:00:00Z"}),
        (2001, cancel, {"extra": 1}),
        (2001, cancel, {"seq": None}),
        (2001, cancel, {"expires_at": soon}),
        (2001, cancel, {"items": [sha("other")]}),
        (2001, cancel, {"body": {"more": 1}}),
        (2001, ("transfer.cancel", ['{"kind":"cancel","kind":"cancel"}']), {}),
        (2001, ("transfer.cancel", ['{"kind":"cancel","transfer":1.5}']), {}),
        (2001, ("transfer.cancel", [cancel_item(), text({"kind": "stray"})]), {}),
        (1009, ("time.query",), {"expires_at": past}),
    ]
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01") as mechanism:
        for code, arguments, members in cases:
            assert codes(await mechanism.send(*arguments, **members)) == [code], (arguments, members)
        assert (await mechanism.send("time.query")).type == "time.answer"
        assert (await mechanism.admin("GET", "/transfers"))["transfers"] == []


async def test_what_nobody_signed_gets_an_unsigned_problem(
    server: embedded.Server, gateway: Gateway, tmp_path: Path
) -> None:
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01") as mechanism:
        stranger, rotated = Party("EVE01"), Party("GWY01")
        compact, kind, raw = gateway.compose("MEC01", "time.query")
        head, payload, signature = compact.split(".")
        forged = f"{head}.{payload}.{signature[:-4]}AAAA".encode()
        extra = {"alg": "Ed25519", "kid": gateway.key.thumbprint(), "typ": "a6link+jws", "cty": "json"}
        loose = jws.serialize_compact(extra, "{}", gateway.key, registry=REGISTRY).encode()
        cases = [
            (400, 2001, kind, b"nonsense"),
            (400, 2001, kind, loose),
            (401, 1002, *stranger.compose("MEC01", "time.query")[1:]),
            (401, 1007, *rotated.compose("MEC01", "time.query")[1:]),
            (401, 1006, kind, forged),
            (415, 2001, "application/json", raw),
            (413, 2001, kind, b"a" * (8 * 1024 * 1024 + 1)),
        ]
        for status, code, content_type, sent in cases:
            response = await mechanism.post(content_type, sent)
            assert (response.status_code, response.json()["code"]) == (status, code)
            assert response.headers["content-type"] == "application/problem+json"
