"""A message on its way in, and what a faulty receiver does with it.

``Arrival.go`` is the ordinary course: receive, answer. The functions below it are the faults only a receiver can
have; what they promise to have stored is committed before they answer.

Three of them sign: ``wrong-signature`` with a key nobody knows, ``anothers-signature`` with that of another registry
(``key_file``, its PEM), and ``answer-twice`` with its own: when the true answer is out, the opposite of every verdict
in it is said as well, by a message of its own (``lies.OPPOSITES``).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from starlette.background import BackgroundTask
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from . import acquirer, envelope, faults, inbox, keys, lies
from .envelope import Outgoing
from .faults import Behaviour, Fault, Faults
from .registry import Registry


class Cut(Response):
    """No answer: the connection the request came on is closed."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Cut the connection, and stay until the server has noticed, so that it misses no answer."""
        scope["cut"]()
        while (await receive())["type"] != "http.disconnect":
            pass


@dataclass(frozen=True)
class Arrival:
    """Bytes that came to ``POST /messages``."""

    registry: Registry
    content_type: str
    body: bytes

    @property
    def type(self) -> str:
        """The type the message claims to have; nothing is proven yet."""
        return envelope.claimed_type(self.content_type, self.body)

    async def go(self) -> Response:
        """Receive it and answer."""
        return _response(await self.answer())

    def lost(self) -> Response:
        """Give no answer."""
        return Cut()

    async def answer(self, handlers: Mapping[str, inbox.Handler] = inbox.HANDLERS) -> Outgoing:
        """Receive it, with the answer as a signed message."""
        return await inbox.receive(self.registry, self.content_type, self.body, handlers)


def problem(status: int, code: int, title: str, detail: str) -> JSONResponse:
    """Write an unsigned problem document (RFC 9457)."""
    members = {"type": "about:blank", "title": title, "status": status, "detail": detail, "code": code}
    headers = {"retry-after": "1"} if status == 503 else None
    return JSONResponse(members, status, headers, media_type="application/problem+json")


def _response(answer: Outgoing) -> Response:
    return Response(answer.body, media_type=answer.content_type)


async def _delay_reply(faults: Faults, fault: Fault, arrival: Arrival) -> Response:
    answer = await arrival.go()
    await faults.hold(fault.seconds)
    return answer


async def _refuse(faults: Faults, fault: Fault, arrival: Arrival) -> Response:
    # Signed, without a number: no verdict. Nothing is stored, the same bytes are judged when they come again (R23).
    return _response(await inbox.refuse(arrival.registry, arrival.content_type, arrival.body, fault.code))


async def _refuse_unsigned(faults: Faults, fault: Fault, arrival: Arrival) -> Response:
    return problem(503, fault.code, "unavailable", "a fault that was set: not now")


async def _garbage(faults: Faults, fault: Fault, arrival: Arrival) -> Response:
    answer = await arrival.go()
    return Response(b"a fault that was set: this is no message", media_type=answer.media_type)


async def _wrong_signature(faults: Faults, fault: Fault, arrival: Arrival) -> Response:
    return _response(envelope.signed_anew(await arrival.answer(), keys.make()))


async def _anothers_signature(faults: Faults, fault: Fault, arrival: Arrival) -> Response:
    return _response(envelope.signed_anew(await arrival.answer(), keys.load(Path(fault.key_file))))


async def _answer_twice(faults: Faults, fault: Fault, arrival: Arrival) -> Response:
    answer, registry = await arrival.answer(), arrival.registry

    async def contradict() -> None:
        await registry.database.run("admin.lies", lambda tx: lies.contradict(tx, registry, answer))

    response = _response(answer)
    response.background = BackgroundTask(contradict)
    return response


async def _by_message(faults: Faults, fault: Fault, arrival: Arrival) -> Response:
    return await replace(arrival, registry=replace(arrival.registry, at_once=False)).go()


async def _refuse_settle(faults: Faults, fault: Fault, arrival: Arrival) -> Response:
    return _response(await arrival.answer({**inbox.HANDLERS, "transfer.settle": acquirer.refuse}))


#: Every fault a message that comes in can meet.
FAULTS: Mapping[str, Behaviour] = {
    **faults.BOTH_WAYS,
    "delay-reply": _delay_reply,
    "refuse": _refuse,
    "refuse-unsigned": _refuse_unsigned,
    "garbage": _garbage,
    "wrong-signature": _wrong_signature,
    "anothers-signature": _anothers_signature,
    "answer-twice": _answer_twice,
    "by-message": _by_message,
    "refuse-settle": _refuse_settle,
}
