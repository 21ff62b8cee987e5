"""HTTP as this gateway reads it: uvicorn's protocol with bounds on what comes before a request is one.

A request's head must arrive within ``HEAD_SECONDS`` and is at most ``MAX_HEAD`` bytes long, so that connections that
never say what they want take up neither memory nor places. A request that is answered before its end is read no
further, and its sender has ``LINGER_SECONDS`` to take the answer. What is not HTTP, or may be read in two ways (two
lengths, a length beside chunks), is answered 400 with a problem document and the connection is closed: behind a front
that reads it the other way, the rest would be taken for a request of somebody else.
"""

import asyncio
import json
from http import HTTPStatus

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.web.headers import HEADERS

#: How long the head of a request may take, in seconds: one packet from anybody who means it.
HEAD_SECONDS = 15.0
#: Longest head in bytes: a token and a trace fit many times.
MAX_HEAD = 32 * 1024
#: How long whoever was answered before they had said all may take to hear it, in seconds. What they go on sending is
#: thrown away: a connection closed at once would be reset by it, and the answer lost.
LINGER_SECONDS = 2.0


class Protocol(HttpToolsProtocol):
    """A connection."""

    _waiting: asyncio.TimerHandle | None = None
    #: Bytes of the head that is arriving; nothing while a body is.
    _head: int | None = 0
    _lingering = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first head."""
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what comes before a request is one, then read it."""
        if self._lingering:
            return
        if self._head is not None:
            self._head += len(data)
        super().data_received(data)
        if self._head is not None and self._head > MAX_HEAD:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"a head has at most {MAX_HEAD} bytes")

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._head = self._head or 0
        self._wait()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; one that comes after the body is nobody's, because whoever judges headers has done so."""
        if self._head is not None:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._head = None
        self._stop_waiting()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The body is there; what comes now is the next head."""
        super().on_message_complete()
        self._head = 0

    def on_response_complete(self) -> None:
        """The answer is there: wait for the next head, or for the end of a connection whose request has none."""
        last = not self.pipeline
        super().on_response_complete()
        if last and not self.transport.is_closing():
            self._linger() if self._head is None else self._wait()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP."""
        self._refuse(HTTPStatus.BAD_REQUEST, "this is not HTTP, or may be read in two ways")

    def _wait(self) -> None:
        self._stop_waiting()
        self._waiting = self.loop.call_later(HEAD_SECONDS, self._too_slow)

    def _linger(self) -> None:
        self._lingering = True
        self._stop_waiting()
        self.transport.write_eof()
        self._waiting = self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _too_slow(self) -> None:
        self._refuse(HTTPStatus.REQUEST_TIMEOUT, f"a head has to arrive within {HEAD_SECONDS:g} s")

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        self._stop_waiting()
        if self.transport.is_closing():
            return
        document = {"type": "about:blank", "title": status.phrase, "status": status, "detail": detail, "code": 2001}
        body = json.dumps(document).encode()
        headers = {"content-type": "application/problem+json", "content-length": len(body), "connection": "close"}
        lines = [f"HTTP/1.1 {status.value} {status.phrase}", *(f"{n}: {v}" for n, v in (headers | HEADERS).items())]
        self.transport.write("\r\n".join([*lines, "", ""]).encode() + body)
        self.transport.close()
