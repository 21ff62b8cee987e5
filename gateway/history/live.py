"""Views holdings and records in the registry that keeps them, without pulling: read through, and kept for seconds.

What is shown is the source's own word of a moment, and says so: which source, as of when, how old. Nothing is stored
but the question and its answer. The caller is of the registry that views, or of its Party's other books, or sees
everything; anybody else, and a pair of which nothing can be viewed, is refused alike (8001). Both links must be active
(1002, 1003) and be used for ``view`` (1010). A source that does not answer, or not as the protocol says, is UNAVAILABLE
(9001, 9002) with the reason.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from gateway import db
from gateway.domain import wire
from gateway.domain.callers import Sight
from gateway.domain.history import MAX_PAGE, START, Cursor, Record, Viewer, parse_record
from gateway.domain.identifiers import LinkCode, PartyCode, RegistryCode
from gateway.errors import GatewayError, Kind
from gateway.history import view_store
from gateway.history.asked import Asked, read_cursor, written_cursor
from gateway.history.questions import Questions
from gateway.history.view_store import Standing
from gateway.links.lifecycle import State
from gateway.signing import compact
from gateway.signing.envelope import VerifiedMessage
from gateway.signing.messages import is_hash

#: How long an answer is shown again: who reloads a page asks the source once.
FRESH_SECONDS = 10.0
#: Answers kept at most: of one page each, which as it is read may take five megabytes.
MAX_KEPT = 32
_HOLDINGS = (frozenset({"of", "for", "at"}), frozenset({"next"}))
_POSITION = frozenset({"kind", "party", "account", "block"})
_RECORDS = (frozenset({"of", "for", "after", "until", "more"}), frozenset({"log"}))

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a source showed: its items as it wrote them, as of when by its own clock, and how old that is by ours."""

    source: str
    registry: str
    party: str
    as_of: datetime
    age_seconds: float
    items: list[dict[str, Any]]
    next: str | None


@dataclass(frozen=True, slots=True)
class _Read:
    """What an answer says, and when it came (``time.monotonic``)."""

    as_of: datetime
    items: list[dict[str, Any]]
    next: str | None
    came: float


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a feed as it is at its source."""

    records: tuple[Record, ...]
    until: Cursor
    more: bool
    as_of: datetime


class Recent(Generic[T]):
    """Answers by question, each kept for some seconds from when it was asked for; who asks meanwhile waits for it."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._known: dict[Any, tuple[float, asyncio.Task[T]]] = {}

    async def get(self, key: Any, ask: Callable[[], Awaitable[T]]) -> T:
        """What was answered to ``key`` not long ago, or is answered now; a failure is not kept."""
        now = time.monotonic()
        self._forget()
        if key not in self._known:
            if len(self._known) >= MAX_KEPT:
                del self._known[next(iter(self._known))]
            self._known[key] = now + self._seconds, asyncio.create_task(_run(ask))
            asyncio.get_running_loop().call_later(self._seconds, self._forget)
        return await asyncio.shield(self._known[key][1])

    def _forget(self) -> None:
        """Drop what is old, and what failed."""
        now = time.monotonic()
        self._known = {k: v for k, v in self._known.items() if v[0] > now and not _failed(v[1])}


async def _run(ask: Callable[[], Awaitable[T]]) -> T:
    return await ask()


def _failed(task: "asyncio.Task[Any]") -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)


class Live:
    """What people of a registry look at elsewhere."""

    def __init__(self, database: db.Database, questions: Questions) -> None:
        self._db = database
        self._questions = questions
        self._recent: Recent[_Read] = Recent(FRESH_SECONDS)

    async def holdings(
        self,
        sight: Sight,
        source: str,
        registry: str,
        select: Mapping[str, Any] | None = None,
        *,
        after: str | None = None,
        limit: int = MAX_PAGE,
    ) -> Answer:
        """What the registry's Party holds in the source, and what of its units others hold there; in its order."""
        asked = await self.viewer(sight, source, registry)
        body = {**asked.written, "limit": limit}
        body |= {"after": after} if after is not None else {}
        return await self._shown(asked, "positions.query", body, select, _positions)

    async def records(
        self,
        sight: Sight,
        source: str,
        registry: str,
        select: Mapping[str, Any] | None = None,
        *,
        after: str | None = None,
        limit: int = MAX_PAGE,
    ) -> Answer:
        """The records that the source shows the registry, in the feed's order, from behind the cursor ``after`` on."""
        asked = await self.viewer(sight, source, registry)
        cursor = START if after is None else parse_cursor(after)
        body = {**asked.written, "after": written_cursor(cursor), "limit": limit}
        return await self._shown(asked, "history.query", body, select, _records)

    async def _shown(
        self,
        asked: Asked,
        type: str,
        body: dict[str, Any],
        select: Mapping[str, Any] | None,
        read: Callable[[Asked, VerifiedMessage], _Read],
    ) -> Answer:
        body |= {"select": dict(select)} if select else {}

        async def ask() -> _Read:
            answer = await self._questions.ask(asked.of, type, body)
            return understood(asked.of, lambda: read(asked, answer))

        said = await self._recent.get((type, compact.digest(repr(sorted(body.items())))), ask)
        age = max(0.0, time.monotonic() - said.came)
        viewer = asked.viewer
        return Answer(asked.of, viewer.registry, viewer.party, said.as_of, age, said.items, said.next)

    async def piece(self, asked: Asked, after: Cursor) -> Piece:
        """The part of a feed behind a cursor, asked for now; raises ``Refused`` as well, with 8003 for the cursor."""
        body = {**asked.written, "after": written_cursor(after), "limit": MAX_PAGE}
        answer = await self._questions.ask(asked.of, "history.query", body)
        return understood(asked.of, lambda: _piece(asked, after, answer))

    async def viewer(self, sight: Sight, source: str, registry: str) -> Asked:
        """Whose feed is viewed for whom, if it may be; raises as the module says."""
        async with self._db.reading() as tx:
            found = await view_store.standing(tx, sight, source, registry)
        if found is None:
            raise sight.absent("no such history can be viewed", 8001)
        _require_open(found, source)
        return Asked(LinkCode(source), Viewer(RegistryCode(LinkCode(registry)), PartyCode(found.party)))


def parse_cursor(text: str) -> Cursor:
    """Read NUMBER.DIGEST, as ``cursor_text`` writes it; raises MALFORMED with 8003."""
    number, _, digest = text.partition(".")
    if not (number.isascii() and number.isdecimal() and len(number) <= 16 and is_hash(digest)):
        raise GatewayError(Kind.MALFORMED, "a cursor is NUMBER.DIGEST", code=8003)
    return Cursor(int(number), compact.decode(digest))


def cursor_text(cursor: Cursor) -> str:
    """A cursor in one word."""
    return f"{cursor.number}.{compact.encode(cursor.digest)}"


def understood(source: str, read: Callable[[], T]) -> T:
    """What ``read`` makes of a source's answer; raises UNAVAILABLE 9002 for one that is not of the protocol."""
    try:
        return read()
    except GatewayError as error:
        detail = f"the answer of {source} cannot be read: {error.detail}"
        raise GatewayError(Kind.UNAVAILABLE, detail, code=9002) from error


def _require_open(found: Standing, source: str) -> None:
    for link, state, may in (
        (source, found.source_state, found.source_may),
        (found.viewer, found.viewer_state, found.viewer_may),
    ):
        if state != State.ACTIVE:
            code = 1003 if state in (State.SUSPENDED, State.CLOSED) else 1002
            raise GatewayError(Kind.FORBIDDEN, f"the link with {link} is {state}", code=code)
        if not may:
            raise GatewayError(Kind.FORBIDDEN, f"the link with {link} is not to be used for view", code=1010)


def _positions(asked: Asked, answer: VerifiedMessage) -> _Read:
    body = _body(asked, answer, "positions.answer", *_HOLDINGS)
    following = wire.text(body["next"], "next") if "next" in body else None
    for item in answer.items:
        raw, faults = wire.members(item.value, "position", _POSITION), wire.Faults()
        if raw["kind"] != "position" or wire.read_block(raw["block"], faults) is None:
            raise wire.malformed("not an item of kind position with a sound block")
    items = [{name: item.value[name] for name in ("party", "account", "block")} for item in answer.items]
    return _Read(wire.parse_time(body["at"]), items, following, time.monotonic())


def _records(asked: Asked, answer: VerifiedMessage) -> _Read:
    body = _body(asked, answer, "history.page", *_RECORDS)
    for item in answer.items:
        _record(item.text, item.sha256, item.value)
    until, more = read_cursor(body["until"]), _more(body)
    items = [{"sha256": item.sha256, "text": item.text, "said": item.value} for item in answer.items]
    return _Read(answer.sent_at, items, cursor_text(until) if more else None, time.monotonic())


def _piece(asked: Asked, after: Cursor, answer: VerifiedMessage) -> Piece:
    body = _body(asked, answer, "history.page", *_RECORDS)
    records = tuple(_record(item.text, item.sha256, item.value) for item in answer.items)
    until, more = read_cursor(body["until"]), _more(body)
    if read_cursor(body["after"]) != after or after.beyond(compact.decode(r.sha256) for r in records) != until:
        raise GatewayError(Kind.REJECTED, "the page does not lead from one cursor to the other", code=8005)
    if more and not records:
        raise GatewayError(Kind.REJECTED, "there are more records, and none of them is in the page", code=8005)
    return Piece(records, until, more, answer.sent_at)


def _body(
    asked: Asked, answer: VerifiedMessage, type: str, required: frozenset[str], optional: frozenset[str]
) -> dict[str, Any]:
    """The body of the answer that was to come; raises MALFORMED or REJECTED."""
    if answer.type != type:
        raise wire.malformed(f"{answer.type} is no answer to this")
    body = wire.members(answer.body, "body", required, optional)
    if Asked.read(body) != asked:
        raise GatewayError(Kind.REJECTED, "it is of another feed", code=8005)
    return body


def _more(body: Mapping[str, Any]) -> bool:
    if type(body["more"]) is not bool:
        raise wire.malformed("more is true or false")
    return bool(body["more"])


def _record(text: str, sha256: str, value: dict[str, Any]) -> Record:
    read = parse_record(text, sha256, value)
    if not isinstance(read, Record):
        raise GatewayError(Kind.REJECTED, f"a record is refused: {read[0].detail}", code=read[0].code)
    return read
