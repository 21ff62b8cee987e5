"""Serves the applications until told to stop: one listener faces registries, another operators.

Listening sockets are made here, so that a port in use or an address that is not ours stops the start with
one clear line, and so that a Unix socket is its owner's alone.
"""

import asyncio
import errno
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from gateway.errors import GatewayError, Kind
from gateway.web.protocol import Protocol

#: Connections that may wait to be taken, such as those made while the start is not over.
BACKLOG = 1024


class _Server(uvicorn.Server):
    """A uvicorn server that leaves signals to the process it runs in."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def listen(address: str) -> socket.socket:
    """A socket that listens at HOST:PORT or unix:PATH; raises UNAVAILABLE when it cannot be had.

    It listens at once: only that, not being bound, makes the address ours alone.
    """
    try:
        if address.startswith("unix:"):
            return _listen_unix(Path(address.removeprefix("unix:")))
        host, _, port = address.rpartition(":")
        host = host.strip("[]")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return _listening(family, (host, int(port)))
    except OSError as error:
        raise GatewayError(Kind.UNAVAILABLE, f"cannot listen on {address}: {error.strerror or error}") from error


def url(sock: socket.socket) -> str:
    """The address of a listening socket as a client writes it."""
    if sock.family == socket.AF_UNIX:
        return f"unix:{sock.getsockname()}"
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def run(served: Sequence[tuple[FastAPI, socket.socket]], stop: asyncio.Event) -> None:
    """Serve each application on its socket until ``stop`` is set."""
    servers = [_server(app) for app, _ in served]

    async def stopping() -> None:
        await stop.wait()
        for server in servers:
            server.should_exit = True

    async with asyncio.TaskGroup() as group:
        group.create_task(stopping())
        for server, (_, sock) in zip(servers, served, strict=True):
            group.create_task(server.serve(sockets=[sock]))


def _server(app: FastAPI) -> _Server:
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=5,
        server_header=False,
        http=Protocol,
        ws="none",
    )
    return _Server(config)


def _listening(family: int, address: tuple[str, int] | str) -> socket.socket:
    # asyncio sends at once (TCP_NODELAY) only on what says that it is TCP; or each answer waits 40 ms for an ACK.
    sock = socket.socket(family, socket.SOCK_STREAM, 0 if family == socket.AF_UNIX else socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def _listen_unix(path: Path) -> socket.socket:
    if path.is_socket():
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            if probe.connect_ex(str(path)) == 0:
                raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        path.unlink()  # left behind: nobody listens on it any more
    mask = os.umask(0o177)
    try:
        return _listening(socket.AF_UNIX, str(path))
    finally:
        os.umask(mask)
