"""Registries that a test plays, served over HTTP: one that keeps feeds of history, one that takes what is handed on.

Records, digests and pages are made here again from ``openapi/link.yaml`` alone; a ``Source`` can lie in any way. All
units are synthetic.
"""

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response

from gateway.audit import witness
from gateway.audit.witness_store import Watched
from tests import played, playedlog
from tests.integration.test_sandbox_play import ATTRIBUTES, Heard, Party, read, sha
from tests.played import Played
from tests.stage import Stage

ZEROS = bytes(32)
#: The usual viewer: Korea's own registry.
KOREA = {"registry": "KOR01", "party": "KOR"}


def canonical(value: dict[str, Any]) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def record(first: int, last: int, *, series: str = "MMR-A64", **members: Any) -> str:
    """A transfer of units of Myanmar's to Korea, unless ``members`` say otherwise (None leaves one out)."""
    attributes = members.pop("attributes", ATTRIBUTES)
    block = {"origin": {"registry": "MEC01", "series": series}, "first": first, "last": last, "attributes": attributes}
    value = {
        "kind": "history", "registry": "MEC01", "transaction": f"MEC01-{first}", "type": "transfer",
        "at": "2026-03-04T10:00:00.000Z", "block": block, "first_transfer": False,
        "from": {"registry": "MEC01", "party": "MMR", "account": "100-1"}, "to": {**KOREA, "account": "100-1"},
    } | members  # fmt: skip
    return canonical({name: member for name, member in value.items() if member is not None})


def issuance(first: int, last: int, **members: Any) -> str:
    """How units came to be, which Korea sees for having acquired them."""
    to = {"registry": "MEC01", "party": "MMR", "account": "100-1"}
    usual = {"type": "issuance", "transaction": f"I-{first}", "from": None, "to": to, "at": "2026-03-01T10:00:00.000Z"}
    return record(first, last, **(usual | members))


def raw(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def encoded(digest: bytes) -> str:
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def chain(texts: list[str]) -> list[bytes]:
    """The digest at 0, 1, 2, …"""
    digests = [ZEROS]
    for text in texts:
        digests.append(hashlib.sha256(digests[-1] + raw(text)).digest())
    return digests


def cursor(texts: list[str], number: int) -> dict[str, Any]:
    return {"number": number, "digest": encoded(chain(texts)[number])}


@asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[str]:
    """Serve ``app`` on loopback; its address."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", lifespan="off"))
    task = asyncio.create_task(server.serve())
    while not server.started:
        assert not task.done(), "it does not start"
        await asyncio.sleep(0.005)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await task


class Served:
    """A played registry that the gateway reaches. ``heard`` is what came; what it says to that, ``answer`` decides."""

    played: Played

    def __init__(self) -> None:
        self.heard: list[Heard] = []
        #: Whoever is to be answered otherwise than usual: the next answers, first first.
        self.otherwise: list[Callable[[Heard, bytes], Response]] = []
        #: What is waited for before an answer, to see what happens meanwhile.
        self.held: asyncio.Event | None = None
        self._came = asyncio.Event()

    async def receive(self, request: Request) -> Response:
        body = await request.body()
        message = read(request.headers["content-type"], body, self.played.gateway_keys)
        self.heard.append(message)
        self._came.set()
        if self.held is not None:
            await self.held.wait()
        return self.otherwise.pop(0)(message, body) if self.otherwise else self.answer(message, body)

    async def arrived(self, number: int) -> None:
        """Wait until so many messages have come."""
        while len(self.heard) < number:
            self._came.clear()
            await self._came.wait()

    def answer(self, message: Heard, body: bytes) -> Response:
        raise NotImplementedError

    def say(
        self,
        to: Heard,
        received: bytes,
        kind: str,
        own: list[str] | None = None,
        *,
        by: Party | None = None,
        **members: Any,
    ) -> Response:
        """Answer a message whose HTTP body this is; signed by another if the test wants it."""
        named = {"id": to.payload["id"], "sha256": sha(received)}
        _, content_type, said = (by or self.played.party).compose("GWY01", kind, own, in_reply_to=named, **members)
        return Response(said, media_type=content_type)

    def refusing(self, code: int) -> Callable[[Heard, bytes], Response]:
        """A refusal that is no verdict."""

        def refuse(message: Heard, body: bytes) -> Response:
            said = self.say(message, body, "refusal", body={"findings": [{"code": code}]}, leaf=sha(body), seq=None)
            self.played.party.seq -= 1
            return said

        return refuse

    def of(self, kind: str) -> list[Heard]:
        return [message for message in self.heard if message.type == kind]


class Source(Served):
    """A registry with feeds: their texts by the viewing registry, and the pages it makes of them.

    ``twist`` may change the records, the body and the signer of a page before it is signed. With ``log`` every record
    has an entry in a log of its own, which is served.
    """

    def __init__(self, *, log: playedlog.Log | None = None) -> None:
        super().__init__()
        self.feeds: dict[str, list[str]] = {"KOR01": []}
        self.log = log
        self.leaf_of: dict[str, tuple[int, bytes]] = {}
        self.twist: Callable[[list[str], dict[str, Any]], tuple[list[str], dict[str, Any]]] | None = None
        #: Records of a page at most.
        self.most = 1_000
        self.tiles = 0

    def add(self, *texts: str, to: str = "KOR01") -> None:
        self.feeds.setdefault(to, []).extend(texts)
        if self.log is not None:
            new = [text for text in texts if text not in self.leaf_of]
            for text in new:
                salt = raw(f"salt {len(self.leaf_of)}")
                self.leaf_of[text] = (len(self.log.leaves), salt)
                self.log.leaves.append(playedlog.leaf(self.entry(text, salt).encode()))
            self.log.grow()

    @staticmethod
    def entry(text: str, salt: bytes) -> str:
        digest = hashlib.sha256(salt + text.encode()).hexdigest()
        return canonical({"at": json.loads(text)["at"], "digest": digest, "kind": "history"})

    def answer(self, message: Heard, body: bytes) -> Response:
        if message.type == "history.query":
            return self.page(message, body)
        return self.say(message, body, "receipt", leaf=sha(body))

    def page(self, message: Heard, body: bytes) -> Response:
        """What is asked for, as it is, or twisted."""
        asked = message.payload["body"]
        texts = self.feeds.get(asked["for"]["registry"], [])
        number = asked["after"]["number"]
        if number > len(texts) or asked["after"] != cursor(texts, number):
            return self.refusing(8003)(message, body)
        shown = texts[number : number + min(self.most, asked["limit"])]
        until = number + len(shown)
        said = {
            **{"of": asked["of"], "for": asked["for"], "after": asked["after"]},
            **{"until": cursor(texts, until), "more": until < len(texts)},
        }
        if self.log is not None and shown:
            said["log"] = self.places(shown)
        if self.twist is not None:
            shown, said = self.twist(shown, said)
        return self.say(message, body, "history.page", shown, body=said)

    def places(self, texts: list[str]) -> dict[str, Any]:
        assert self.log is not None
        leaves = [self.leaf_of[text][0] for text in texts]
        salts = encoded(b"".join(self.leaf_of[text][1] for text in texts))
        return {"checkpoint": self.log.shown, "leaves": leaves, "salts": salts}

    def tile(self, level: int, path: str) -> bytes | None:
        """A tile of the log's tree as it is now."""
        assert self.log is not None
        self.tiles += 1
        name, _, width = path.partition(".p/")
        number, under = int(name.replace("x", "").replace("/", "")), 256**level
        nodes = [
            playedlog.root(self.log.leaves[at : at + under])
            for at in range(number * 256 * under, len(self.log.leaves) - under + 1, under)
        ][: int(width or 256)]
        return b"".join(nodes) if len(nodes) == int(width or 256) else None


class Books(Served):
    """A registry that takes what is handed on to it, and keeps the texts."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[str] = []

    def answer(self, message: Heard, body: bytes) -> Response:
        if message.type == "history.deliver":
            said = message.payload["body"]
            number = said["after"]["number"]
            if said["after"] != cursor(self.taken, min(number, len(self.taken))):
                return self.refusing(8005)(message, body)
            if number == len(self.taken):
                self.taken += message.texts
            assert said["until"] == cursor(self.taken, said["until"]["number"])
        return self.say(message, body, "receipt", leaf=sha(body))


@dataclass
class Scene:
    """A gateway between a source of history, MEC01 unless said otherwise, and Korea's books."""

    stage: Stage
    source: Source
    books: Books

    async def pull(self) -> Any:
        return await self.stage.history.pull(self.source.played.code, "KOR01")

    async def refused(self) -> str:
        """Pull what must not be taken: nothing of it is kept; why the feed waits."""
        before = await self.numbers()
        pulled = await self.pull()
        assert pulled.waiting is not None and await self.numbers() == before
        return str(pulled.waiting)

    async def numbers(self) -> tuple[int, ...]:
        tables = ("history_page", "history_record", "history_entry")
        return tuple([await self.stage.count(table) for table in tables])

    async def kept(self) -> list[str]:
        """The texts of Korea's feed, in order; its number and digest must be theirs."""
        found = await self.stage.rows(
            "SELECT r.item FROM history_entry e JOIN history_record r ON r.id = e.record_id"
            " JOIN history_feed f ON f.id = e.feed_id WHERE f.registry = 'KOR01' ORDER BY f.id, e.number"
        )
        texts = [str(text) for (text,) in found]
        feeds = await self.stage.rows("SELECT number, digest FROM history_feed WHERE registry = 'KOR01'")
        assert [(n, bytes(d)) for n, d in feeds] == [(len(texts), chain(texts)[-1])]
        return texts

    async def findings(self) -> list[tuple[int, str]]:
        return [(c, d) for c, d in await self.stage.rows("SELECT code, detail FROM history_finding ORDER BY id")]

    async def alarms(self) -> list[int]:
        return [code for (code,) in await self.stage.rows("SELECT code FROM alarm ORDER BY id")]

    async def feed(self, columns: str) -> tuple[Any, ...]:
        [row] = await self.stage.rows(f"SELECT {columns} FROM history_feed WHERE registry = 'KOR01'")
        return row

    async def due(self) -> None:
        """Let a feed that waits be tried again now."""
        await self.stage.rows("UPDATE history_feed SET next_at = now() - interval '1 hour'")


async def join(stage: Stage, served: Served, code: str, kind: str, party: str = "", **more: Any) -> None:
    """Serve a played registry until the stage ends, and open its link."""
    app = FastAPI()
    app.post("/messages")(served.receive)
    if isinstance(served, Source) and served.log is not None:
        app.get("/log/tile/{level}/{path:path}")(_serving_tiles(served))
    url = await stage.stack.enter_async_context(serving(app))
    served.played = await played.join(stage, code, kind, party, url=url, **more)
    if isinstance(served, Source) and served.log is not None:
        log = Watched(served.log.origin, code, (served.log.vkey,))
        await stage.run(lambda tx: witness.watch(tx, log, stage.clock()))


def _serving_tiles(source: Source) -> Callable[[int, str], Response]:
    def tile(level: int, path: str) -> Response:
        hashes = source.tile(level, path)
        return Response(hashes) if hashes is not None else Response(status_code=404)

    return tile


async def scene(stage: Stage, source: Source | None = None, books: Books | None = None) -> Scene:
    """MEC01 with its feeds and KOR01 with its books, both linked."""
    made = Scene(stage, source or Source(), books or Books())
    await join(stage, made.source, "MEC01", "mechanism")
    await join(stage, made.books, "KOR01", "party", "KOR")
    return made
