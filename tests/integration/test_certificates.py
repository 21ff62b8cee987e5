"""A message that comes over another registry's connection is refused (1004), and taken over its own.

The place in front of the application that ends TLS is played: it says whose client certificate was shown.
"""

import asyncio
from typing import Any

import httpx
import pytest

from gateway.web import link
from tests.integration.test_bad_notices import issuance
from tests.integration.test_sandbox_play import Heard, read, text, uuid7
from tests.played import Course, block
from tests.refusals import counts, effects, is_refusal

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def post(course: Course, kind: str, body: bytes, certificate: str | None) -> Heard:
    """Post a message over a connection that showed this link's certificate."""
    gateway = course.stage.gateway
    app = link.app(gateway.database, gateway.inbox, gateway.node)

    async def front(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "state": {} if certificate is None else {link.CERTIFICATE: certificate}}, receive, send)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(front), base_url="http://gateway") as client:
        answer = await client.post("/messages", content=body, headers={"content-type": kind})
    assert answer.status_code == 200, answer.text
    return read(answer.headers["content-type"], answer.content, course.source.gateway_keys)


@pytest.mark.parametrize("message_type", ["action.notice", "transfer.propose", "time.query"])
async def test_a_message_is_taken_over_its_senders_connection_only(course: Course, message_type: str) -> None:
    units = block(1, 5, series=uuid7())
    items = {"action.notice": [issuance(units)], "transfer.propose": [course.proposal(units)]}.get(message_type, [])
    kind, body = course.source.compose(message_type, [text(item) for item in items], body={})
    before = await counts(course.stage)
    for certificate in ("KOR01", "JPN01"):
        await is_refusal(course.stage, await post(course, kind, body, certificate), body, 1004)
    assert effects(before, await counts(course.stage)) == {}
    # No verdict: the same bytes are taken over the right connection, and over one that shows nobody's certificate.
    first = await post(course, kind, body, "MEC01")
    assert first.type == ("time.answer" if message_type == "time.query" else "receipt")
    await is_refusal(course.stage, await post(course, kind, body, "KOR01"), body, 1004)
    again = await post(course, kind, body, None)
    assert again.raw == first.raw or message_type == "time.query"


async def test_of_messages_that_arrive_together_the_foreign_one_is_refused_alone(course: Course) -> None:
    made = [
        course.source.compose("transfer.propose", [text(course.proposal(block(1, 5, series=uuid7())))])
        for _ in range(6)
    ]
    shown = ["MEC01", "MEC01", "KOR01", "MEC01", "MEC01", "MEC01"]
    answers = await asyncio.gather(*(post(course, *m, s) for m, s in zip(made, shown, strict=True)))
    assert [a.type for a in answers] == ["receipt", "receipt", "refusal", "receipt", "receipt", "receipt"]
