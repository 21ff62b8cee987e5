"""What a gateway has to do with what is wrong: say so in the right form, and change nothing.

What no registered key vouches for gets a problem document, leaves every table as it was, and is in the ring of
strangers. What a registered key has signed gets a signed refusal, which names the bytes it answers and promises
the leaf of an entry of the log; beside messages and log nothing changes.
"""

import base64
import json
from dataclasses import dataclass
from typing import Any

import httpx
from joserfc import jws

from gateway import db
from tests.integration.test_sandbox_play import REGISTRY, Heard, Party, sha, text
from tests.played import Played
from tests.stage import Stage

JOSE = "application/jose"
LINK_JSON = "application/a6link+json"
#: What a refusal may not touch, beside the log and the messages.
EFFECTS = ("transfer", "transfer_step", "transfer_event", "claim", "position", "action", "unit_series", "link")
TABLES = (*EFFECTS, "message", "log_entry", "replay_key")


async def counts(stage: Stage) -> dict[str, int]:
    """How many rows each table has; of positions, claims and links also how they stand."""
    parts = ", ".join(f"(SELECT count(*) FROM {table})" for table in TABLES)
    live = (
        ", (SELECT count(*) FROM position WHERE closed_by IS NULL)"
        ", (SELECT count(*) FROM claim WHERE released_by IS NULL)"
        ", (SELECT coalesce(sum(version), 0) FROM transfer), (SELECT count(*) FROM link WHERE state = 'active')"
    )
    async with stage.gateway.database.reading() as tx:
        row = await db.one(tx, f"SELECT {parts}{live}")
    assert row is not None
    names = (*TABLES, "live positions", "live claims", "steps of transfers", "active links")
    return {name: int(number) for name, number in zip(names, row, strict=True)}


def effects(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    """What changed beside messages, log and replay store."""
    return {n: after[n] - before[n] for n in before if n not in TABLES or n in EFFECTS if after[n] != before[n]}


def sign(party: Party, payload: str | dict[str, Any], **header: Any) -> str:
    """The compact JWS of any payload, under the party's key; ``header`` replaces header members."""
    members = {"alg": party.alg, "kid": party.key.thumbprint(), "typ": "a6link+jws"} | header
    content = payload if isinstance(payload, str) else text(payload)
    return jws.serialize_compact(members, content, party.key, registry=REGISTRY)


def payload_of(body: bytes) -> dict[str, Any]:
    """What a message says."""
    compact = json.loads(body)["jws"] if body[:1] == b"{" else body.decode()
    part = compact.split(".")[1]
    return dict(json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))))


async def post(stage: Stage, kind: str | None, body: bytes) -> httpx.Response:
    headers = {"content-type": kind} if kind is not None else {}
    return await stage.http.post(f"{stage.link_url}/messages", content=body, headers=headers)


def is_problem(answer: httpx.Response, status: int, code: int) -> dict[str, Any]:
    """The answer is a problem document with everything it must have."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    document = dict(answer.json())
    assert document.keys() - {"reason"} == {"type", "title", "status", "detail", "code"}
    assert document["type"] == "about:blank" and document["title"] and document["detail"]
    assert (document["status"], document["code"]) == (status, code), document
    return document


async def unvouched(stage: Stage, kind: str | None, body: bytes, status: int, code: int) -> dict[str, Any]:
    """What nobody vouches for gets a problem document, changes no table, and is in the ring of strangers."""
    before, ring = await counts(stage), await strangers(stage)
    document = is_problem(await post(stage, kind, body), status, code)
    assert await counts(stage) == before
    after = await strangers(stage)
    assert after[-1]["fault"] == document.get("reason", document["title"].lower())
    assert after[:-1] == (ring[1:] if len(ring) == len(after) else ring)
    return document


async def strangers(stage: Stage) -> list[dict[str, Any]]:
    return list((await stage.api.get("/api/v1/strangers")).json())


async def is_refusal(stage: Stage, heard: Heard, body: bytes, code: int) -> None:
    """The answer is a refusal for this reason; it names the bytes it answers, and an entry of the log."""
    assert heard.type == "refusal", heard.items
    assert [f["code"] for f in heard.payload["body"]["findings"]] == [code], heard.payload["body"]
    assert heard.payload["in_reply_to"] == {"id": payload_of(body)["id"], "sha256": sha(body)}
    leaf = base64.urlsafe_b64decode(heard.payload["leaf"] + "=")
    async with stage.gateway.database.reading() as tx:
        found = await db.rows(tx, "SELECT id FROM log_entry WHERE leaf_hash = :leaf", {"leaf": leaf})
    assert len(found) == 1


async def refused(played: Played, kind: str, body: bytes, code: int) -> Heard:
    """What its key has signed and cannot be taken is refused by a signed word, logged, and has no effect."""
    before, ring = await counts(played.stage), await strangers(played.stage)
    heard = await played.post(kind, body)
    after = await counts(played.stage)
    await is_refusal(played.stage, heard, body, code)
    assert effects(before, after) == {}
    assert after["log_entry"] == before["log_entry"] + 2  # what came, and the refusal
    assert await strangers(played.stage) == ring
    return heard


@dataclass(frozen=True)
class Verdict:
    """What a receipt says of one item."""

    state: str
    codes: list[int]


def verdicts(heard: Heard) -> list[Verdict]:
    assert heard.type == "receipt", heard.payload["body"]
    return [Verdict(i["state"], [f["code"] for f in i["findings"]]) for i in heard.items]


async def ineffective(played: Played, message_type: str, items: list[dict[str, Any]]) -> list[Verdict]:
    """Words that have no effect are receipted all the same, and logged."""
    before = await counts(played.stage)
    kind, body = played.compose(message_type, [text(i) for i in items])
    heard = await played.post(kind, body)
    after = await counts(played.stage)
    assert effects(before, after) == {}
    assert after["log_entry"] == before["log_entry"] + 2
    assert heard.payload["in_reply_to"] == {"id": payload_of(body)["id"], "sha256": sha(body)}
    assert [i["item"] for i in heard.items] == [sha(text(i)) for i in items]
    return verdicts(heard)
