"""What leads to the points of history at a registry: questions of the gateway's, deliveries, and what is lacking."""

import base64
import hashlib
import json
from typing import Any

from tests.faults.courses import Act, signer
from tests.faults.network import Network
from tests.handmade import play

KOREA = {"registry": "KOR01", "party": "KOR"}
START = {"number": 0, "digest": base64.urlsafe_b64encode(bytes(32)).decode().rstrip("=")}


async def have_some_made(network: Network) -> None:
    """From the next start on MEC01 makes a synthetic history."""
    network["MEC01"].arguments = [*network["MEC01"].arguments, "--history", "10"]


def asks(receiver: str, message_type: str) -> Act:
    """Somebody with the gateway's key asks on behalf of Korea, until there is an answer."""

    async def ask(network: Network) -> None:
        body: dict[str, Any] = {"of": receiver, "for": KOREA, "limit": 1000}
        body |= {"after": START} if message_type == "history.query" else {}
        await insist(network, receiver, message_type, body, [])

    return ask


async def deliver(network: Network) -> None:
    """Somebody with the gateway's key delivers a page of CHE01's, which nobody pulls, to KOR01."""
    body, texts = _page(network, "CHE01", START)
    await insist(network, "KOR01", "history.deliver", body, texts)


async def have_some_for_korea(network: Network) -> None:
    """MEC01 issues a unit that Korea hosts, and the gateway has pulled its history."""
    wanted = {"activity": "synthetic", "party": "KOR", "vintage": 2021, "series": f"KOR-{play.uuid7()[:13]}", "net": 1}
    terms = {"id": "KOR-SYNTHETIC-2026-1", "version": 1}
    await network.admin("MEC01", "POST", "issue", **wanted, authorisation=terms)

    async def pulled() -> bool:
        return await network.count("history_feed WHERE link = 'MEC01' AND registry = 'KOR01' AND number > 0") == 1

    await network.until(pulled, "the history of a unit of Korea's is pulled")


async def leave_a_gap(network: Network) -> None:
    """KOR01 has forgotten what it was told of MEC01, and what is delivered does not go on from there: it asks."""
    forget = "ALTER TABLE told_history DISABLE TRIGGER USER; DELETE FROM told_history"
    await network.rows(f"{forget}; ALTER TABLE told_history ENABLE TRIGGER USER", "KOR01")
    far = {"number": 10_000_000, "digest": START["digest"]}
    body, texts = _page(network, "MEC01", far)
    await insist(network, "KOR01", "history.deliver", body, texts)


def _page(network: Network, source: str, after: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The body, and the text, of the delivery of a page with one record, under the key of its source."""
    text = _record()
    digest = base64.urlsafe_b64decode(after["digest"] + "=") + hashlib.sha256(text.encode()).digest()
    until = {"number": after["number"] + 1, "digest": play.sha(digest)}
    body = {"of": source, "for": KOREA, "after": after, "until": until}
    named = {"id": play.uuid7(), "sha256": play.sha("a question")}
    page = signer(network, source, source).compose(
        "GWY01", "history.page", [text], {**body, "more": False}, in_reply_to=named
    )
    return {**body, "evidence": [page[0]]}, [text]


def _record() -> str:
    block = {"origin": {"registry": "MEC01", "series": "SYNTHETIC"}, "first": 1, "last": 1}
    record = {"kind": "history", "registry": "MEC01", "transaction": "SYNTHETIC", "type": "authorisation"}
    record |= {"at": "2026-03-01T10:00:00.000Z", "first_transfer": False}
    return json.dumps(
        {**record, "block": {**block, "attributes": play.ATTRIBUTES}}, sort_keys=True, separators=(",", ":")
    )


async def insist(network: Network, receiver: str, message_type: str, body: dict[str, Any], texts: list[str]) -> None:
    """Say it anew until there is an answer."""
    gateway = signer(network, "GWY01", "gateway")

    async def answered() -> bool:
        _, kind, raw = gateway.compose(receiver, message_type, [], body, texts)
        answer = await network.http.post(
            f"{network[receiver].url}/messages", content=raw, headers={"content-type": kind}
        )
        return answer.status_code == 200

    await network.until(answered, f"{receiver} answers {message_type}")
