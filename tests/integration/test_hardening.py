"""What anybody on the network may send to either listener: bounded, read in one way only, and answered with its code.

Raw sockets, because a well-behaved client cannot send most of it.
"""

import asyncio
import itertools
import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

import pytest
import pytest_asyncio
from starlette import routing

from gateway.messages.inbox import STRANGERS_KEPT
from gateway.signing.envelope import MAX_BODY
from gateway.web import guard, protocol
from gateway.web.headers import HEADERS
from tests.handmade import signer
from tests.integration.test_sandbox_play import Party, text
from tests.refusals import JOSE, LINK_JSON, counts, effects, post
from tests.stage import ROOT, Stage

pytestmark = pytest.mark.asyncio(loop_scope="module")
OPERATOR, LINK = "operator", "link"
BOTH = pytest.mark.parametrize("listener", [OPERATOR, LINK])
POST = b"POST /messages HTTP/1.1\r\nhost: x\r\ncontent-type: application/jose\r\n"


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def _changes_nothing(shared: Stage) -> AsyncIterator[None]:
    before = await counts(shared)
    yield
    assert effects(before, await counts(shared)) == {}


async def connected(stage: Stage, listener: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    url = stage.operator_url if listener == OPERATOR else stage.link_url
    host, _, port = url.removeprefix("http://").rpartition(":")
    return await asyncio.open_connection(host, int(port))


async def said(stage: Stage, listener: str, *parts: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send these bytes; status, headers and all that comes until the gateway closes or has answered once."""
    reader, writer = await connected(stage, listener)
    async with asyncio.timeout(30):
        for part in parts:
            writer.write(part)
            with suppress(ConnectionError):
                await writer.drain()
        answer = await read(reader)
    writer.close()
    return answer


async def read(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
    headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
    return int(head[0].split()[1]), headers, await reader.readexactly(int(headers["content-length"]))


def is_problem(answer: tuple[int, dict[str, str], bytes], status: int) -> None:
    assert answer[0] == status, answer
    assert answer[1]["content-type"] == "application/problem+json"
    assert json.loads(answer[2])["code"] == 2001
    assert HEADERS.items() <= answer[1].items()


@BOTH
@pytest.mark.parametrize(
    "ambiguous",
    [
        b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
        b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
        b"content-length: 5\r\ncontent-length: 5\r\n\r\nhello",
        b"content-length: +5\r\n\r\nhello",
        b"content-length: 5, 5\r\n\r\nhello",
        b"transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"transfer-encoding: chunked\r\n\r\n-1\r\n\r\n",
        b"transfer-encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n",
        b"content-length : 5\r\n\r\nhello",
        b"x: a\r\n\tfolded: b\r\ncontent-length\t: 5\r\n\r\nhello",
        b"x: a\x00b\r\n\r\n",
        b"x: a\nauthorization: Bearer b\r\n\r\n",
    ],
)
async def test_what_may_be_read_in_two_ways_is_not_read_at_all(shared: Stage, listener: str, ambiguous: bytes) -> None:
    is_problem(await said(shared, listener, POST + ambiguous), 400)


@BOTH
@pytest.mark.parametrize("name", sorted(guard.ONCE - {b"content-length"}))
async def test_a_header_that_counts_comes_once(shared: Stage, listener: str, name: bytes) -> None:
    twice = b"".join(b"%s: %s\r\n" % (name, value) for value in (b"a", b"b"))
    head = b"POST /api/v1/transfers HTTP/1.1\r\n" + (b"host: x\r\n" if name != b"host" else b"")
    is_problem(await said(shared, listener, head + b"content-length: 0\r\n" + twice + b"\r\n"), 400)


async def test_a_header_behind_the_body_is_nobodys(shared: Stage) -> None:
    token = (await shared.authorization(ROOT)).encode()
    head = b"GET /api/v1/books HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n"
    assert (await said(shared, OPERATOR, head + b"authorization: " + token + b"\r\n\r\n0\r\n\r\n"))[0] == 200
    assert (await said(shared, OPERATOR, head + b"\r\n0\r\nauthorization: " + token + b"\r\n\r\n"))[0] == 401


@BOTH
async def test_a_head_without_end_is_cut_off(shared: Stage, listener: str) -> None:
    line = b"x-" + b"y" * 1000 + b": z\r\n"
    is_problem(await said(shared, listener, b"GET / HTTP/1.1\r\nhost: x\r\n", *[line] * 40), 431)
    is_problem(await said(shared, listener, b"GET /" + b"a" * (protocol.MAX_HEAD + 1000)), 431)


@BOTH
async def test_a_connection_that_never_says_what_it_wants_is_closed(
    shared: Stage, listener: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.3)
    for begun in (b"", b"GET / HT", b"GET / HTTP/1.1\r\nx: y\r\n"):
        is_problem(await said(shared, listener, begun), 408)
    reader, writer = await connected(shared, listener)
    writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
    assert (await read(reader))[0] in (200, 404)
    writer.write(b"GET /healthz HT")
    is_problem(await read(reader), 408)
    writer.close()


async def test_an_operators_body_is_bounded_in_length_and_time(shared: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    head = b"POST /api/v1/transfers HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    head += b"idempotency-key: k\r\nauthorization: " + (await shared.authorization(ROOT)).encode() + b"\r\n"
    piece = b"1000\r\n" + b" " * 4096 + b"\r\n"
    endless = [head + b"transfer-encoding: chunked\r\n\r\n", *[piece] * (guard.MAX_BODY // 4096 + 1)]
    is_problem(await said(shared, OPERATOR, *endless), 413)
    monkeypatch.setattr(guard, "READ_SECONDS", 0.3)
    is_problem(await said(shared, OPERATOR, head + b"content-length: 10\r\n\r\n{"), 408)
    monkeypatch.setattr(guard, "READ_SECONDS", 1.0)
    reader, writer = await connected(shared, OPERATOR)
    writer.write(head + b"content-length: 1000\r\n\r\n{")
    answer = asyncio.create_task(read(reader))
    async with asyncio.timeout(10):
        while not answer.done():
            writer.write(b" ")
            await asyncio.sleep(0.2)
    is_problem(await answer, 408)
    writer.close()


@BOTH
async def test_what_is_answered_before_it_ends_is_not_read_on(
    shared: Stage, listener: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "LINGER_SECONDS", 0.5)
    reader, writer = await connected(shared, listener)
    writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n")
    assert (await read(reader))[0] in (200, 404)
    await closed(reader, writer, b"x", every=0.1)


async def test_a_message_without_end_is_answered_and_cut_off(shared: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "LINGER_SECONDS", 0.5)
    reader, writer = await connected(shared, LINK)
    piece = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
    writer.write(POST + b"transfer-encoding: chunked\r\n\r\n" + piece * (MAX_BODY // 0x100000 + 1))
    is_problem(await read(reader), 413)
    await closed(reader, writer, piece, every=0.01)


@BOTH
async def test_empty_lines_are_no_request(shared: Stage, listener: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.5)
    reader, writer = await connected(shared, listener)
    writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
    assert (await read(reader))[0] in (200, 404)
    await closed(reader, writer, b"\r\n", every=0.1)


async def closed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, drip: bytes, *, every: float) -> None:
    """Go on sending ``drip``; the connection ends within seconds all the same."""
    with suppress(ConnectionError):
        async with asyncio.timeout(10):
            while not writer.is_closing():
                writer.write(drip)
                await writer.drain()
                await asyncio.sleep(every)
    writer.close()
    with suppress(ConnectionError):
        await reader.read()


@BOTH
async def test_every_answer_is_data_for_its_caller_alone(shared: Stage, listener: str) -> None:
    for path in (b"/healthz", b"/keys", b"/nothing", b"/api/v1/books"):
        _, headers, _ = await said(shared, listener, b"GET " + path + b" HTTP/1.1\r\nhost: x\r\n\r\n")
        assert HEADERS.items() <= headers.items(), path
        assert "server" not in headers


@BOTH
async def test_what_cannot_be_served_is_data_for_its_caller_alone_too(
    shared: Stage, listener: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(routing.Router, "__call__", broken)
    status, headers, body = await said(shared, listener, b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
    assert (status, json.loads(body)["code"]) == (500, 9999)
    assert HEADERS.items() <= headers.items()


@BOTH
async def test_nobody_is_upgraded_to_another_protocol(shared: Stage, listener: str) -> None:
    head = b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
    status, _, _ = await said(shared, listener, head + b"sec-websocket-key: a\r\nsec-websocket-version: 13\r\n\r\n")
    assert status in (200, 404)


async def test_ten_thousand_messages_of_nobody_leave_log_and_disk_as_they_were(shared: Stage) -> None:
    strangers = [Party(code) for code in ("MEC01", "KOR01", "ZZZ99")]
    good = signer(shared, "MEC01").compose("GWY01", "time.query", [])[2]
    torn = good[:-20] + good[-19:] + b"A"
    notice = text({"kind": "action"})

    def bodies() -> Iterator[tuple[str, bytes]]:
        for party in itertools.cycle(strangers):
            yield JOSE, party.compose("GWY01", "time.query", [])[2]
            yield LINK_JSON, party.compose("GWY01", "action.notice", [notice])[2]
            yield JOSE, torn
            yield JOSE, os.urandom(200)
            yield LINK_JSON, b'{"jws": "a.b.c", "items": ["{}"]}'

    before, size = await counts(shared), await _disk(shared)
    todo = itertools.islice(bodies(), 10_000)

    async def send_on() -> None:
        for kind, body in todo:
            answer = await post(shared, kind, body)
            assert answer.status_code in (400, 401), answer.text

    async with asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(send_on())
    assert await counts(shared) == before
    database, written = await _disk(shared)
    assert database == size[0]
    assert written - size[1] < 1_000_000, "what PostgreSQL writes by itself, not what came"
    assert len(shared.gateway.inbox.strangers) == STRANGERS_KEPT


async def _disk(stage: Stage) -> tuple[int, int]:
    """Bytes of the database, and how far the server has written its journal."""
    [[size, written]] = await stage.rows(
        "SELECT pg_database_size(current_database()), pg_current_wal_insert_lsn() - '0/0'::pg_lsn"
    )
    return int(size), int(written)
