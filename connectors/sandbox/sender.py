"""The outbox: sends stored messages, the same bytes, until a receipt is stored.

One task per process. It reads what is owed and due, sends up to ``AT_ONCE`` messages at a time outside any
transaction, and writes the results of those that came back together. An answer counts only when it is
signed by the gateway and names the bytes that were sent; everything else is tried again (back-off 0.05 s
to 5 s, for ever, or until ``expires_at``). ``Sender._exchange`` is the one place where anything leaves, under
a name of ``crash``.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import httpx
from httpx_aiohttp import HttpxAiohttpClient

from . import clock, des, envelope, faults, promises, rotating, strictjson
from .database import Row, Tx
from .envelope import ANSWERS, Message, Refusal
from .keys import KeysMissing
from .registry import Registry
from .signature import Unattributable, digest
from .strictjson import Malformed

#: Messages on their way at one time.
AT_ONCE = 32
#: First and last pause between two attempts, in seconds.
FIRST_PAUSE, LAST_PAUSE = 0.05, 5.0
#: How long the gateway may take to answer; a batch of 1,000 takes well under a second.
TIMEOUT_SECONDS = 30.0
#: How long the outbox sleeps when nobody wakes it and nothing is due.
IDLE_SECONDS = 5.0

log = logging.getLogger(__name__)


class NoAnswer(Exception):
    """No signed answer came back: whether the message arrived is unknown."""


#: The gateway's answer, and the texts of its items.
Answer = tuple[Message, list[str]]


@dataclass(frozen=True)
class _Departure:
    """A message on its way out."""

    type: str
    send: Callable[[], Awaitable[Answer]]

    def go(self) -> Awaitable[Answer]:
        return self.send()

    def lost(self) -> Answer:
        raise NoAnswer("a fault that was set: lost on its way")


@dataclass(frozen=True)
class _Result:
    id: str
    type: str
    pause: float
    answer: Message | None
    texts: list[str]


class Sender:
    """Sends what a registry owes, and asks its questions."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._client = HttpxAiohttpClient(timeout=TIMEOUT_SECONDS)
        self._flying: dict[str, asyncio.Task[None]] = {}
        self._results: list[_Result] = []

    async def run(self) -> None:
        """Send until cancelled; what came back and was not written yet is forgotten, and is sent again."""
        self._results.clear()
        wake = self._registry.database.sender_wake
        try:
            while True:
                wake.clear()
                try:
                    pause = await self._turn()
                except Exception:
                    log.exception("the outbox could not be read")
                    pause = LAST_PAUSE
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(wake.wait(), pause)
        finally:
            for task in self._flying.values():
                task.cancel()
            await asyncio.gather(*self._flying.values(), return_exceptions=True)

    async def close(self) -> None:
        """Close the connections to the gateway."""
        await self._client.aclose()

    async def post(self, message_type: str, content_type: str, body: bytes) -> Answer:
        """Send bytes to the gateway; gives its proven answer to exactly these, or raises ``NoAnswer``."""
        departure = _Departure(message_type, lambda: self._post(message_type, content_type, body))
        return await faults.suffer(self._registry.faults, faults.BOTH_WAYS, "out", departure)

    async def _post(self, message_type: str, content_type: str, body: bytes) -> Answer:
        registry = self._registry
        sent, sent_type = (des.write(body), des.CONTENT_TYPE) if registry.wire == "des" else (body, content_type)
        try:
            response = await self._exchange(
                f"send.{message_type}", "POST", "/messages", content=sent, headers={"content-type": sent_type}
            )
            if response.status_code != 200:
                raise NoAnswer(f"{response.status_code}: {response.text[:500]}")
            received, received_type = response.content, response.headers.get("content-type", "")
            if registry.wire == "des":
                received_type, received = await asyncio.to_thread(des.read, received)
            answer = envelope.read(received_type, received, registry.gateway, registry.trust, ANSWERS)
            envelope.check_times(answer)
        except (httpx.HTTPError, Unattributable, Refusal, KeysMissing, Malformed) as error:
            raise NoAnswer(str(error) or type(error).__name__) from error
        if answer.payload["in_reply_to"]["sha256"] != digest(body):
            raise NoAnswer("the answer is to other bytes")
        return answer, envelope.texts_of(received_type, received)

    async def fetch_keys(self) -> dict[str, Any]:
        """Fetch the gateway's key set once, to pin it; raises ``NoAnswer``."""
        try:
            response = await self._exchange("send.keys", "GET", "/keys")
            response.raise_for_status()
            return dict(strictjson.loads(response.content))
        except (httpx.HTTPError, Malformed) as error:
            raise NoAnswer(str(error)) from error

    async def fetch(self, name: str, path: str, limit: int) -> bytes:
        """Get what the gateway serves to everyone, at most ``limit`` bytes; raises ``NoAnswer``."""
        response = await self._ask(name, "GET", path, limit)
        if response.status_code != 200:
            raise NoAnswer(f"{response.status_code} for {path}")
        return response.content

    async def submit(self, name: str, path: str, body: bytes, limit: int) -> tuple[int, bytes]:
        """Send what proves itself, and give the status and the answer, whatever it is; raises ``NoAnswer``."""
        response = await self._ask(name, "POST", path, limit, content=body)
        return response.status_code, response.content

    async def _ask(self, name: str, method: str, path: str, limit: int, **members: Any) -> httpx.Response:
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                response = await self._exchange(name, method, path, **members)
        except (httpx.HTTPError, TimeoutError) as error:
            raise NoAnswer(str(error) or type(error).__name__) from error
        if len(response.content) > limit:
            raise NoAnswer(f"more than {limit} bytes from {path}")
        return response

    async def _exchange(self, name: str, method: str, path: str, **members: Any) -> httpx.Response:
        if self._registry.faults.down:
            raise NoAnswer("a fault that was set: down")
        crash = self._registry.database.crash
        crash.passing(f"{name}.before-send")
        response = await self._client.request(method, f"{self._registry.gateway_url}{path}", **members)
        crash.passing(f"{name}.after-send")
        return response

    async def _turn(self) -> float:
        """Write what came back, start what is due; gives the seconds until the next message is due."""
        # Taken in one step: a message is either on its way or has a result, so none is started twice.
        results, busy = list(self._results), list(self._flying)
        following = self._registry.logs.pinned is not None
        due, pause = await self._registry.database.run("outbox.turn", lambda tx: _due(tx, results, busy, following))
        del self._results[: len(results)]
        if any(result.type == "link.keys" and result.answer is not None for result in results):
            await self._registry.database.run("admin.look", lambda tx: rotating.go_on(tx, self._registry))
        for row in due:
            self._flying[row["id"]] = asyncio.create_task(self._send(row))
        return pause

    async def _send(self, row: Row) -> None:
        pause = min(FIRST_PAUSE * 2 ** min(row["attempts"], 10), LAST_PAUSE)
        result = _Result(row["id"], row["type"], pause, None, [])
        try:
            answer, texts = await self.post(row["type"], row["content_type"], bytes(row["body"]))
            result = _Result(row["id"], row["type"], pause, answer, texts)
        except NoAnswer as error:
            log.info("message %s: no answer: %s", row["id"], error)
        finally:
            self._flying.pop(row["id"], None)
            self._results.append(result)
            self._registry.database.sender_wake.set()


def _settled(answer: Message) -> bool:
    """Say whether an answer ends the duty to repeat: a receipt, or a refusal that is a verdict."""
    if answer.type == "refusal":
        return "seq" in answer.payload
    return not any(item.value["state"] == "later" for item in answer.own)


async def _due(tx: Tx, results: list[_Result], busy: list[str], following: bool) -> tuple[list[Row], float]:
    """Write what came back, with what it promises where the gateway's log is followed; gives what to send now.

    A part of an opening balance waits for the parts before it, a notice for all that ``leads`` before it.
    """
    await _write(tx, results)
    for result in results if following else ():
        if result.answer is not None:
            await promises.remember(tx, result.answer, result.texts)
    due = await tx.rows(
        "SELECT id::text AS id, type, content_type, body, attempts FROM sent WHERE owed AND next_at <= now()"
        " AND (expires_at IS NULL OR expires_at > %s) AND NOT id = ANY(%s::uuid[])"
        " AND seq <= coalesce(CASE type"
        " WHEN 'link.activate' THEN (SELECT min(seq) FROM sent WHERE owed AND leads AND type = 'link.activate')"
        " WHEN 'action.notice' THEN (SELECT min(seq) FROM sent WHERE owed AND leads) END, seq) ORDER BY seq LIMIT %s",
        clock.present(),
        busy,
        max(AT_ONCE - len(busy), 0),
    )
    coming = await tx.one(
        "SELECT extract(epoch FROM min(next_at) - now())::float AS pause FROM sent WHERE owed AND next_at > now()"
    )
    pause = coming["pause"] if coming and coming["pause"] is not None else IDLE_SECONDS
    return due, float(min(max(pause, 0.01), IDLE_SECONDS))


async def _write(tx: Tx, results: list[_Result]) -> None:
    for result in results:
        answer = result.answer
        await tx.execute(
            "UPDATE sent SET owed = owed AND NOT %s, attempts = attempts + 1,"
            " next_at = now() + %s * interval '1 second', answer_jws = coalesce(%s, answer_jws),"
            " answer_items = coalesce(%s::text[], answer_items) WHERE id = %s",
            answer is not None and _settled(answer),
            result.pause,
            answer.jws if answer else None,
            result.texts if answer else None,
            result.id,
        )
