"""The edges towards other machines hold when these are slow, silent or many, whichever side began to speak."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from connectors.http import LONGEST_RETRY_AFTER_SECONDS, PER_PEER, Client
from gateway.domain.addresses import LOOPBACK, Reach
from gateway.domain.registry import Accepted, Outcome, Rejected, Unknown
from gateway.errors import GatewayError, Kind
from gateway.signing.envelope import LINK_JSON
from gateway.web import link
from gateway.web import server as web_server
from tests.played import join
from tests.stage import Stage

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Sender:
    """A connection to the link on which a body has been announced; the gateway is reading it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of the answer."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().splitlines()
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        return int(head[0].split()[1]), headers, await self.reader.readexactly(int(headers["content-length"]))


@asynccontextmanager
async def sending(url: str, announced: int) -> AsyncIterator[Sender]:
    """Announce a body of so many bytes and wait until the gateway asks for it."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"POST /messages HTTP/1.1\r\nhost: x\r\ncontent-type: {LINK_JSON}\r\ncontent-length: {announced}\r\n"
    writer.write(f"{head}expect: 100-continue\r\n\r\n".encode())
    try:
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        yield Sender(reader, writer)
    finally:
        writer.close()


@asynccontextmanager
async def narrow(stage: Stage, *, seconds: float, held: int) -> AsyncIterator[str]:
    """The link of the stage's gateway at another address, with less patience and less room; its address."""
    sock = web_server.listen("127.0.0.1:0")
    application = link.app(
        stage.gateway.database, stage.gateway.inbox, stage.gateway.node, read_seconds=seconds, read_bytes=held
    )
    stop = asyncio.Event()
    serving = asyncio.create_task(web_server.run([(application, sock)], stop))
    try:
        yield web_server.url(sock)
    finally:
        stop.set()
        await serving


@asynccontextmanager
async def peer(handler: Handler) -> AsyncIterator[str]:
    """A peer that does with every connection what ``handler`` does; its address. Ends when all have left it."""
    served: set[asyncio.Future[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    def taken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.add(asyncio.ensure_future(serve(reader, writer)))

    async with await asyncio.start_server(taken, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/messages"
        await asyncio.gather(*served)


def answering(head: str, body: bytes = b"{}") -> Handler:
    """Answers one request."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 {head}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n".encode() + body)
        await reader.read()

    return answer


async def posted(url: str, seconds: float = 30.0) -> Outcome:
    client = Client(Reach.of(LOOPBACK), timeout_seconds=seconds)
    try:
        return await client.post(url, b"{}", LINK_JSON)
    finally:
        await client.close()


async def test_dripping_senders_keep_nobody_out(stage: Stage) -> None:
    async def drip(good_is_through: asyncio.Event, begun: asyncio.Semaphore) -> bool:
        async with sending(stage.link_url, 1000) as sender:
            answer = asyncio.create_task(sender.reader.read(1))
            sender.writer.write(b"{")
            begun.release()
            while not good_is_through.is_set():
                sender.writer.write(b" ")
                await asyncio.wait({answer}, timeout=0.1)
            unanswered = answer.cancel()
            await asyncio.wait({answer})
            return unanswered

    through, begun = asyncio.Event(), asyncio.Semaphore(0)
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        drips = [group.create_task(drip(through, begun)) for _ in range(link.AT_ONCE + 6)]
        for _ in drips:
            await begun.acquire()
        await join(stage, "MEC01", "mechanism")  # asserts a receipt
        through.set()
    assert [task.result() for task in drips] == [True] * len(drips), "they dripped all the while"


async def test_slow_and_many_bodies_are_refused_and_leave_room_for_others(stage: Stage) -> None:
    async def drip(sender: Sender) -> None:
        """Send on until the gateway has left: every read brings something, only the whole takes too long."""
        left = asyncio.create_task(sender.reader.read())
        while not left.done():
            sender.writer.write(b" ")
            await asyncio.wait({left}, timeout=0.02)
        with suppress(ConnectionError):  # a byte under way while it leaves is answered by a reset
            assert b" 408 " in await left

    async with asyncio.timeout(20), narrow(stage, seconds=0.3, held=link.READ_BYTES) as url:
        async with sending(url, 1000) as silent, sending(url, 1000) as dripping:
            silent.writer.write(b"{")
            await drip(dripping)
            status, headers, body = await silent.answer()
            assert (status, headers["content-type"]) == (408, "application/problem+json"), body
            assert await silent.reader.read() == b"", "the connection is closed"
    assert [s.fault for s in stage.gateway.inbox.strangers] == ["timed-out"] * 2

    async with asyncio.timeout(20), narrow(stage, seconds=60, held=10) as url:
        async with sending(url, 8) as one, sending(url, 8) as other:
            answers = {asyncio.create_task(s.answer()): s for s in (one, other)}
            for sender in (one, other):
                sender.writer.write(b"{" * 6)
            [refused], [waiting] = await asyncio.wait(answers, return_when=asyncio.FIRST_COMPLETED)
            status, headers, body = refused.result()
            assert (status, json.loads(body)["code"]) == (503, 9003)
            assert int(headers["retry-after"]) >= 1
            answers[waiting].writer.write(b"{" * 2)
            assert (await waiting)[0] == 400, "read to its end, and found to be no message"
        async with sending(url, 10) as third:
            third.writer.write(b"{" * 10)
            assert (await third.answer())[0] == 400, "all room was given back"


async def test_an_answer_that_drips_is_a_time_out() -> None:
    left = asyncio.Event()

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 200 OK\r\ncontent-type: {LINK_JSON}\r\ncontent-length: 40\r\n\r\n".encode())
        gone = asyncio.create_task(reader.read())
        for _ in range(40):  # 4 s in all
            writer.write(b" ")
            await asyncio.wait({gone}, timeout=0.1)
        await gone
        left.set()

    async with peer(drip) as url:
        outcome = await posted(url, seconds=1.0)
        assert isinstance(outcome, Unknown), outcome
        assert outcome.reason.startswith("time-out")
        async with asyncio.timeout(20):
            await left.wait()


@pytest.mark.parametrize(
    ("said", "obeyed"),
    [
        ("7", 7.0),
        ("301", LONGEST_RETRY_AFTER_SECONDS),
        ("9" * 400, LONGEST_RETRY_AFTER_SECONDS),
        ("-7", None),
        ("1e9", None),
        ("soon", None),
        ("Wed, 21 Oct 2099 07:28:00 GMT", None),
    ],
)
async def test_a_peer_asks_for_patience_within_bounds(said: str, obeyed: float | None) -> None:
    head = f"503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: {said}"
    async with peer(answering(head)) as url:
        outcome = await posted(url)
    assert isinstance(outcome, Rejected), outcome
    assert outcome.retry_after_seconds == obeyed


async def test_a_peer_that_hangs_leaves_connections_to_others() -> None:
    held, full = 0, asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal held
        held += 1
        if held == PER_PEER:
            full.set()
        await reader.read()

    good = answering(f"200 OK\r\ncontent-type: {LINK_JSON}")
    client = Client(Reach.of(LOOPBACK))
    async with asyncio.timeout(20), peer(hang) as silent, peer(good) as well:
        hanging = [asyncio.create_task(client.post(silent, b"{}", LINK_JSON)) for _ in range(100)]
        await full.wait()
        assert await client.post(well, b"{}", LINK_JSON) == Accepted(b"{}")
        assert held == PER_PEER
        assert not any(task.done() for task in hanging)
        for task in hanging:
            task.cancel()
        await asyncio.wait(hanging)
        await client.close()


@pytest.mark.parametrize("where", ["127.0.0.1:0", "unix:{}/link.sock"])
def test_one_address_has_one_listener_from_the_start(where: str, tmp_path: Path) -> None:
    with web_server.listen(where.format(tmp_path)) as first:
        taken = web_server.url(first).removeprefix("http://")
        with pytest.raises(GatewayError, match="cannot listen on") as refused:
            web_server.listen(taken)
        assert refused.value.kind is Kind.UNAVAILABLE
