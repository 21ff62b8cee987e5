"""A registry, played over HTTP, that shows histories and holdings when it is asked: what a view and a comparison read.

It answers as the contract says unless a test tells it to refuse, to be silent, or to say something else. Synthetic.
"""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Request, Response

from tests.integration.test_sandbox_play import Gateway, Heard, read, serving, sha, text
from tests.played import Played
from tests.pulled import Chain


@dataclass
class Source(Gateway):
    """A played registry that listens; ``feeds`` and ``positions`` are what it shows to each registry."""

    played: Played = field(kw_only=True)
    feeds: dict[str, list[str]] = field(default_factory=dict)
    positions: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    #: Codes that every question is refused with; how an answer's body is changed before it is signed.
    refusing: list[int] = field(default_factory=list)
    changed: Callable[[dict[str, Any]], None] = lambda body: None
    #: The status of a response that is no answer, and its headers.
    failing: tuple[int, dict[str, str]] | None = None
    asked: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.code, self.alg, self.key, self.seq = self.played.code, "Ed25519", self.played.party.key, 0

    async def receive(self, request: Request) -> Response:
        raw = await request.body()
        message = read(request.headers["content-type"], raw, self.played.gateway_keys)
        self.asked.append(message.payload)
        if self.failing is not None:
            status, headers = self.failing
            return Response(status_code=status, headers=headers)
        named = {"id": message.payload["id"], "sha256": sha(raw)}
        codes = self.refusing or self._against(message)
        if codes:
            body = {"findings": [{"code": code} for code in codes]}
            _, kind, answer = self.compose("GWY01", "refusal", body=body, in_reply_to=named, seq=None)
        else:
            items, body = self._shown(message)
            self.changed(body)
            answering = {"history.query": "history.page", "positions.query": "positions.answer"}[message.type]
            _, kind, answer = self.compose("GWY01", answering, items, body, in_reply_to=named)
        return Response(answer, media_type=kind)

    def _against(self, message: Heard) -> list[int]:
        """The codes against a question: 8003 for a cursor that is none of the feed."""
        asked = message.payload["body"]
        if message.type != "history.query":
            return []
        feed, after = self.feeds[asked["for"]["registry"]], asked["after"]
        known = after["number"] <= len(feed) and Chain().beyond(feed[: after["number"]]).written == after
        return [] if known else [8003]

    def _shown(self, message: Heard) -> tuple[list[str], dict[str, Any]]:
        asked = message.payload["body"]
        head = {"of": asked["of"], "for": asked["for"]}
        if message.type == "positions.query":
            return self._held(asked, head)
        feed, after = self.feeds[asked["for"]["registry"]], asked["after"]["number"]
        where = Chain().beyond(feed[:after])
        part = feed[after : after + asked["limit"]]
        until = where.beyond(part)
        matching = [one for one in part if _matches(json.loads(one), asked.get("select", {}))]
        more = until.number < len(feed)
        return matching, {**head, "after": asked["after"], "until": until.written, "more": more}

    def _held(self, asked: dict[str, Any], head: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
        positions = [one for one in self.positions[asked["for"]["registry"]] if _matches(one, asked.get("select", {}))]
        begin = int(asked.get("after", "0"))
        part = positions[begin : begin + asked["limit"]]
        following = {"next": str(begin + len(part))} if begin + len(part) < len(positions) else {}
        return [text({"kind": "position", **one}) for one in part], {**head, "at": NOW, **following}


#: When the books of a played source looked as it shows them.
NOW = "2026-03-05T10:00:00.000Z"


def _matches(one: dict[str, Any], select: dict[str, Any]) -> bool:
    """Whether an item is what is selected, as far as these tests select."""
    units = select.get("units")
    overlaps = units is None or (one["block"]["first"] <= units["last"] and one["block"]["last"] >= units["first"])
    plain = {name: select[name] for name in ("type", "account") if name in select}
    return overlaps and all(one.get(name) == value for name, value in plain.items())


@asynccontextmanager
async def listening(played: Played) -> AsyncIterator[Source]:
    """Let a played registry be reached, where its link says from now on."""
    async with serving(Source(played=played), FastAPI()) as source:
        assert isinstance(source, Source)
        await played.stage.rows(f"UPDATE link SET url = '{source.url}' WHERE code = '{played.code}'")
        yield source
