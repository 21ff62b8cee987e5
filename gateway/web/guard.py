"""What every request and every answer passes, whatever it is about: one reading of it, a bound, and safe headers.

A request that names one of ``ONCE`` twice is refused (400), because a front and this process might each believe another
one. A body, where it is not read within bounds of its own (``link``), has at most ``max_body`` bytes, counted as they
arrive, and is there ``READ_SECONDS`` after its head, however it drips: 413 and 408, and the connection is closed. Every
answer tells a browser to treat it as data of this origin alone, and nobody to keep it.
"""

import asyncio
from collections import Counter

from fastapi import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.errors import GatewayError, Kind
from gateway.web import problems
from gateway.web.headers import HEADERS

#: Longest body of an operator's request, in bytes: what is asked for is some addresses and a number.
MAX_BODY = 64 * 1024
#: How long it may take to arrive.
READ_SECONDS = 15.0
#: Headers that must not come twice.
ONCE = frozenset({b"authorization", b"content-length", b"content-type", b"host", b"idempotency-key"})
#: What every answer has where it does not say otherwise.
_ADDED = tuple((name.encode(), value.encode()) for name, value in HEADERS.items())


class Guard:
    """Stands before an application. Without ``max_body`` the application bounds bodies itself."""

    def __init__(self, app: ASGIApp, max_body: int | None = None) -> None:
        self._app = app
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                there = {name for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(h for h in _ADDED if h[0] not in there)]
            await send(message)

        counts = Counter(name for name, _ in scope["headers"])
        twice = sorted(name.decode() for name in ONCE if counts[name] > 1)
        if twice:
            refusal = problems.problem(GatewayError(Kind.MALFORMED, f"the header {twice[0]} comes twice", code=2001))
            await refusal(scope, receive, guarded)
            return
        await self._app(scope, receive if self._max_body is None else _bounded(receive, self._max_body), guarded)


def _bounded(receive: Receive, most: int) -> Receive:
    """The same body, as long as it is within its bounds."""
    seen, whole, deadline = 0, False, asyncio.get_running_loop().time() + READ_SECONDS
    closing = {"connection": "close"}

    async def bounded() -> Message:
        nonlocal seen, whole
        if whole:  # what follows is that the caller has gone, however long the answer takes
            return await receive()
        try:
            async with asyncio.timeout_at(deadline):
                message = await receive()
        except TimeoutError:
            raise HTTPException(408, "the body took too long to arrive", closing) from None
        seen += len(message.get("body", b""))
        whole = not message.get("more_body", False)
        if seen > most:
            raise HTTPException(413, f"a request has at most {most} bytes", closing)
        return message

    return bounded
