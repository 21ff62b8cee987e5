"""What the gateway calls, judged at each connection by what an address leads to: nothing is sent where it may not.

A name that leads inward is ``localhost``; who listens there sees who comes. Addresses as text: ``test_addresses``.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from connectors.http import Client
from gateway import wiring
from gateway.domain.addresses import LOOPBACK, PUBLIC, Reach
from gateway.domain.registry import Outcome, Rejected, Unknown
from gateway.errors import GatewayError, Kind
from gateway.links import changing, commands
from gateway.links.store import Link
from gateway.settings import Settings
from gateway.signing.envelope import LINK_JSON
from tests.integration.test_sandbox_play import Party
from tests.played import Course, block, join
from tests.stage import Stage

UNSPECIFIED = "0.0.0.0"  # noqa: S104 - to be refused
NOT_LOOPBACK = Reach.of("10.0.0.0/8")


@asynccontextmanager
async def inside() -> AsyncIterator[tuple[int, list[bytes]]]:
    """Something on this machine that answers everybody; its port, and what each said first."""
    heard: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readline())
        writer.write(b"HTTP/1.1 404 Not Found\r\ncontent-type: application/problem+json\r\ncontent-length: 2\r\n\r\n{}")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1], heard


async def sent(reach: Reach, url: str) -> Outcome:
    client = Client(reach, timeout_seconds=10)
    try:
        return await client.post(url, b"{}", LINK_JSON)
    finally:
        await client.close()


@pytest.mark.parametrize("reach", [PUBLIC, NOT_LOOPBACK], ids=["public", "another network"])
@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433", "0x7f000001", "127.1", UNSPECIFIED]
)
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_nothing_is_sent_where_it_may_not(scheme: str, host: str, reach: Reach) -> None:
    async with inside() as (port, heard):
        outcome = await sent(reach, f"{scheme}://{host}:{port}/messages")
    assert isinstance(outcome, Unknown)
    assert heard == []


async def test_why_nothing_was_sent_is_said() -> None:
    async with inside() as (port, _):
        for host in ("localhost", "127.0.0.1"):
            outcome = await sent(PUBLIC, f"http://{host}:{port}")
            assert isinstance(outcome, Unknown)
            assert "127.0.0.1 is not called by plain HTTP: GATEWAY_PRIVATE_PEERS does not name it" in outcome.reason


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"])
async def test_a_named_network_is_called(host: str) -> None:
    async with inside() as (port, heard):
        assert isinstance(await sent(Reach.of(LOOPBACK), f"http://{host}:{port}/messages"), Rejected)
    assert heard == [b"POST /messages HTTP/1.1\r\n"]


async def test_redirects_are_not_followed_not_even_to_where_it_may_call() -> None:
    async def elsewhere(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        location = f"location: http://127.0.0.1:{port}/messages"
        writer.write(f"HTTP/1.1 307 Temporary Redirect\r\n{location}\r\ncontent-length: 0\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    async with inside() as (port, heard), await asyncio.start_server(elsewhere, "127.0.0.1", 0) as server:
        outcome = await sent(Reach.of(LOOPBACK), f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/messages")
    assert outcome == Unknown("status 307 with no content type")
    assert heard == []


async def test_what_is_due_where_it_may_not_be_sent_stays_due_and_says_why(stage: Stage) -> None:
    course = await Course.begun(stage)
    await course.issue(block(1, 10))
    item = course.proposal(block(1, 4))
    await course.propose(item)
    dsn = stage.server.dsn(stage.database_name, "gateway_app")
    other = wiring.build(Settings(database_url=dsn, key_file=stage.folder / "gateway.pem"), clock=stage.clock)
    await other.relay.turn()
    await other.close()
    [(state, why)] = await stage.rows("SELECT state, waiting FROM transfer")
    assert state == "checked"
    assert "no answer from KOR01 to transfer.offer" in why
    assert "GATEWAY_PRIVATE_PEERS" in why
    await course.accept([str(item["transfer"])])
    assert await stage.states([str(item["transfer"])]) == ["accepted"]


@pytest.mark.parametrize(
    "url", ["https://169.254.169.254", "https://user@registry.example", "ftp://registry.example", "http://8.8.8.8"]
)
async def test_a_link_with_such_an_address_is_neither_registered_nor_moved(stage: Stage, url: str) -> None:
    await join(stage, "MEC01", "mechanism")
    entries = await stage.count("log_entry")
    link, jwks = Link("KOR01", "party", url, "requested", 24, ("KOR01",)), Party("KOR01").jwks()["keys"]
    node = stage.gateway.node
    for work in (
        lambda tx: commands.register(tx, node, link, {"KOR01": "KOR"}, jwks),
        lambda tx: changing.change_wanted(tx, node, "MEC01", {"url": url}),
    ):
        with pytest.raises(GatewayError, match=r"^url: ") as raised:
            await stage.run(work)  # type: ignore[arg-type]
        assert raised.value.kind is Kind.MALFORMED
    assert await stage.count("log_entry") == entries
