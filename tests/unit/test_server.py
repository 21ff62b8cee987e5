"""What listens: that an answer of several writes is not held back until the first is acknowledged."""

import asyncio
import socket

from gateway.web import server


async def test_what_is_answered_is_sent_at_once() -> None:
    accepted: asyncio.Queue[int] = asyncio.Queue()

    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = writer.get_extra_info("socket")
        await accepted.put(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    listening = server.listen("127.0.0.1:0")
    async with await asyncio.start_server(answer, sock=listening):
        _, writer = await asyncio.open_connection(*listening.getsockname())
        assert await asyncio.wait_for(accepted.get(), 10)
        writer.close()
