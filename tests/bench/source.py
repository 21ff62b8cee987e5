"""MEC01, played: signs issuances of any number of positions, and transfers out of any of them, all from memory.

    python -m tests.bench.source --code MEC01 --listen ADDRESS --gateway-url URL --gateway-keys FILE

The book is filled by signed messages only, so whoever wants many positions in it must sign many notices; a sandbox's
own books would cost more than the gateway that is measured. A position is a block of ten synthetic tonnes; a transfer
takes the first tonne left of a position chosen by chance, so that the whole book is touched and not its end. The
operator's side is that of a sandbox where the bench needs it.
"""

import argparse
import asyncio
import json
import random
import socket
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response
from httpx_aiohttp import HttpxAiohttpClient
from joserfc.jwk import KeySet

from tests.integration.test_sandbox_play import Heard, Party, read, sha, stamp, text, uuid7
from tests.played import block, naming
from tests.stage import AUTHORISATION

#: Tonnes of a position; the protocol's limits on blocks and on transfers in a message.
TONNES, MAX_BLOCKS, MAX_TRANSFERS = 10, 3_000, 1_000
#: Messages on their way at once: notices (each of megabytes), and proposals.
NOTICES_AT_ONCE, PROPOSALS_AT_ONCE = 2, 32


class Source:
    """The registry: its key, and of each position how many tonnes have left."""

    def __init__(self, code: str, gateway_url: str, gateway_keys: Path) -> None:
        self.party = Party(code)
        self._url = gateway_url
        self._keys = KeySet.import_key_set(json.loads(gateway_keys.read_text()))
        self._http = HttpxAiohttpClient(timeout=60)
        self._gone = bytearray()
        self._proposed: dict[str, dict[str, Any]] = {}
        self._released: set[str] = set()
        self._closed: set[str] = set()
        self._answers: dict[str, tuple[str, bytes]] = {}

    # What the bench asks for

    async def say(self, message_type: str, items: Sequence[dict[str, Any]]) -> None:
        """Send a message and require that nothing of it is refused; sent again while there is no room for it."""
        _, kind, body = self.party.compose("GWY01", message_type, [text(item) for item in items])
        while True:
            answer = await self._http.post(f"{self._url}/messages", content=body, headers={"content-type": kind})
            if answer.status_code != 503:
                break
            await asyncio.sleep(0.1)
        if answer.status_code != 200:
            raise RuntimeError(f"{message_type}: {answer.status_code} {answer.text[:500]}")
        said = read(answer.headers["content-type"], answer.content, self._keys)
        if said.type != "receipt" or any(item["findings"] for item in said.items):
            raise RuntimeError(f"{message_type} was answered by {said.type}: {said.texts[:3]} {said.payload['body']}")

    async def issue(self, positions: int) -> None:
        """Announce so many positions."""
        first = len(self._gone)
        starts = range(first, first + positions, MAX_BLOCKS)
        await _some_at_once(NOTICES_AT_ONCE, [self._notice(s, min(s + MAX_BLOCKS, first + positions)) for s in starts])
        self._gone.extend(bytes(positions))

    async def _notice(self, start: int, end: int) -> None:
        listed = [
            {"party": "MMR", "account": "100-1", "block": block(nr * TONNES + 1, (nr + 1) * TONNES)}
            for nr in range(start, end)
        ]
        item = {"kind": "action", "action": uuid7(), "type": "issuance", "at": stamp(datetime.now(UTC))}
        item |= {"registry": self.party.code, "positions": listed, "synthetic": True}
        await self.say("action.notice", [item])

    async def propose(self, wishes: Sequence[Mapping[str, Any]], *, each_alone: bool) -> list[str]:
        """Propose a tonne for each wish, each of another position."""
        items = []
        for nr, wish in zip(random.sample(range(len(self._gone)), len(wishes)), wishes, strict=True):
            serial = nr * TONNES + self._gone[nr] + 1
            self._gone[nr] += 1
            items.append(self._item(wish, block(serial, serial)))
        size = 1 if each_alone else MAX_TRANSFERS
        parts = [items[at : at + size] for at in range(0, len(items), size)]
        await _some_at_once(PROPOSALS_AT_ONCE, [self.say("transfer.propose", part) for part in parts])
        return [item["transfer"] for item in items]

    def _item(self, wish: Mapping[str, Any], units: dict[str, Any]) -> dict[str, Any]:
        transfer = f"{self.party.code}-{uuid7()}"
        self._proposed[transfer] = units
        return {
            "kind": "propose",
            "transfer": transfer,
            "transferring": {"registry": self.party.code, "party": "MMR", "account": "100-1"},
            "acquiring": wish["to"],
            "purpose": "NDC",
            "authorisation": AUTHORISATION,
            "quantity": 1,
            "blocks": [units],
        }

    def books(self) -> dict[str, Any]:
        """The totals, as a sandbox gives them."""
        issued, gone = len(self._gone) * TONNES, len(self._released)
        nothing = dict.fromkeys(("used", "cancelled", "moved_in"), 0)
        return {
            "issued": issued,
            "held": issued - gone,
            "moved_out": gone,
            **nothing,
            "alarms": [],
            "done": sorted(self._closed),
        }

    # What the gateway asks for

    def answer(self, content_type: str, body: bytes) -> tuple[str, bytes]:
        """Release what is committed, receipt what is closed; the same bytes get the same answer."""
        heard = read(content_type, body, self._keys)
        name = str(heard.payload["id"])
        if name not in self._answers:
            reply_to = {"id": name, "sha256": sha(body)}
            kind, items = self._released_by(heard) if heard.type == "transfer.commit" else self._receipted(heard)
            _, *made = self.party.compose("GWY01", kind, [text(item) for item in items], in_reply_to=reply_to)
            self._answers[name] = (str(made[0]), bytes(made[1]))
        return self._answers[name]

    def _released_by(self, heard: Heard) -> tuple[str, list[dict[str, Any]]]:
        commit = {"id": heard.payload["id"], "sha256": sha(heard.jws)}
        orders = [item["transfer"] for item in heard.items if item["kind"] == "commit"]
        self._released.update(orders)
        now = stamp(datetime.now(UTC))
        said = {"kind": "released", "commit": commit, "released_at": now, "first_transfer": True}
        return "transfer.released", [{**said, "transfer": t, "itmo": [naming(self._proposed[t])]} for t in orders]

    def _receipted(self, heard: Heard) -> tuple[str, list[dict[str, Any]]]:
        """A receipt: what is closed is done."""
        closed = [(t, item["transfer"]) for t, item in zip(heard.texts, heard.items, strict=True) if "state" in item]
        self._closed.update(transfer for _, transfer in closed)
        said = {"kind": "receipt", "state": "done", "findings": []}
        return "receipt", [{**said, "item": sha(t), "transfer": transfer} for t, transfer in closed]


async def _some_at_once(number: int, work: Sequence[Any]) -> None:
    room = asyncio.Semaphore(number)

    async def one(part: Any) -> None:
        async with room:
            await part

    async with asyncio.TaskGroup() as group:
        for part in work:
            group.create_task(one(part))


def build(source: Source) -> FastAPI:
    """Its HTTP side: the link endpoint, and the operator's."""
    app = FastAPI()

    @app.get("/keys")
    async def keys() -> dict[str, Any]:
        return source.party.jwks()

    @app.post("/messages")
    async def messages(request: Request) -> Response:
        kind, body = source.answer(request.headers["content-type"], await request.body())
        return Response(body, media_type=kind)

    @app.post("/admin/activate")
    async def activate() -> dict[str, bool]:
        await source.say("link.activate", [])
        return {"receipted": True}

    @app.post("/admin/issue")
    async def issue(request: Request) -> dict[str, Any]:
        await source.issue(int((await request.json())["positions"]))
        return source.books()

    @app.post("/admin/transfers")
    async def propose(request: Request) -> dict[str, list[str]]:
        wanted = await request.json()
        return {"transfers": await source.propose(wanted["transfers"], each_alone=wanted["one_message_each"])}

    @app.get("/admin/books")
    async def books() -> dict[str, Any]:
        return source.books()

    return app


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.source", description=__doc__)
    parser.add_argument("--code", required=True)
    parser.add_argument("--listen", required=True)
    parser.add_argument("--gateway-url", required=True)
    parser.add_argument("--gateway-keys", required=True, type=Path)
    options = parser.parse_args()
    source = Source(options.code, options.gateway_url, options.gateway_keys)
    host, _, port = options.listen.rpartition(":")
    listening = socket.create_server((host, int(port)))
    print(json.dumps({"url": f"http://{options.listen}"}), flush=True)
    uvicorn.Server(uvicorn.Config(build(source), log_level="warning", access_log=False)).run(sockets=[listening])


if __name__ == "__main__":
    main()
