"""Feeds of history as a pull leaves them, planted: texts, digests, and pages that a played registry has really signed.

Each page is the answer to a question that the gateway has stored, and goes through its inbox, so its entry and its
message are those of a page that came; the rows beside it are written here, from the texts. All units are synthetic.
"""

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from gateway import db
from gateway.messages import outbox
from gateway.messages import store as messages
from gateway.messages.outbox import Draft
from gateway.signing.envelope import VerifiedMessage
from tests.integration.test_sandbox_play import sha, stamp
from tests.played import Played, block

#: When the first synthetic record was; each further one is a second later.
BEGIN = datetime(2026, 3, 1, 12, tzinfo=UTC)


def address(registry: str, party: str, account: str = "100-1") -> dict[str, str]:
    return {"registry": registry, "party": party, "account": account}


def at(seconds: int) -> str:
    """A time after the first record's."""
    return stamp(BEGIN + timedelta(seconds=seconds))


def record(units: dict[str, Any], **members: Any) -> str:
    """The text of a record: an issuance to Myanmar in MEC01, where nothing else is said; None leaves a member out."""
    value = {
        "kind": "history", "registry": "MEC01", "transaction": "issued", "type": "issuance", "at": at(0),
        "block": units, "to": address("MEC01", "MMR"), "first_transfer": False, **members,
    }  # fmt: skip
    value = {name: one for name, one in value.items() if one is not None}
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def chain(first: int, last: int, *, series: str = "MMR-A64", to: str = "KOR01") -> list[str]:
    """What the feed of a Party that acquired a block has of it: the transfer, then the issuance before."""
    units = block(first, last, series)
    ends = [f"CA0001-MMR99-MMR-{serial}-2021" for serial in (first, last)]
    named = {**units, "itmo": {"first": ends[0], "last": ends[1]}}
    transfer = f"MEC01-019cade2-11c0-7000-8000-{first:012d}"
    moved = {"type": "transfer", "transaction": transfer, "purpose": "NDC", "first_transfer": True}
    moved |= {"from": address("MEC01", "MMR"), "to": address(to, to[:3])}
    return [record(named, at=at(first + 60), **moved), record(units, at=at(first), transaction=f"issued-{first}")]


@dataclass
class Chain:
    """Where a feed is."""

    number: int = 0
    digest: bytes = bytes(32)

    @property
    def written(self) -> dict[str, Any]:
        digest = base64.urlsafe_b64encode(self.digest).rstrip(b"=").decode()
        return {"number": self.number, "digest": digest}

    def beyond(self, texts: Sequence[str]) -> "Chain":
        digest = self.digest
        for text in texts:
            digest = hashlib.sha256(digest + hashlib.sha256(text.encode()).digest()).digest()
        return Chain(self.number + len(texts), digest)


async def pull(
    source: Played, registry: str, party: str, texts: Sequence[str], *, at_once: int = 1_000, **log: Any
) -> int:
    """Plant a feed of ``source`` for a registry, or go on with it, in pages of so many records; its id."""
    stage, feed = source.stage, await _feed(source, registry, party)
    [(number, digest)] = await stage.rows(f"SELECT number, digest FROM history_feed WHERE id = {feed}")
    where = Chain(number, bytes(digest))
    head = {"of": source.code, "for": {"registry": registry, "party": party}}
    for begin in range(0, len(texts), at_once):
        part = list(texts[begin : begin + at_once])
        reached = where.beyond(part)
        body = {**head, "after": where.written, "until": reached.written, "more": False, **log}
        await page(source, feed, where.number, reached, part, body)
        where = reached
    return feed


async def page(source: Played, feed: int, before: int, reached: Chain, texts: list[str], body: dict[str, Any]) -> None:
    """Let a page come, with this body, and keep it."""
    stage = source.stage
    question = {name: body[name] for name in ("of", "for", "after")} | {"limit": 1_000}
    expires = stage.clock() + timedelta(seconds=300)

    async def stored(tx: db.Tx) -> messages.Message:
        draft = Draft(source.code, "history.query", body=question, expires_at=expires, numbered=False)
        [made] = await outbox.store(tx, stage.gateway.node, [draft])
        [query] = await messages.outgoing(tx, [made.message.id])
        return query

    query = await stage.run(stored)
    named = {"id": query.message_id, "sha256": sha(query.body)}
    _, _, answer = source.party.compose("GWY01", "history.page", texts, body, in_reply_to=named)

    async def keep(tx: db.Tx, message: VerifiedMessage) -> None:
        await _keep(tx, feed, before, reached, texts, message)

    await stage.gateway.inbox.absorb(answer, query, keep)


async def _feed(source: Played, registry: str, party: str) -> int:
    await source.stage.rows(
        "INSERT INTO history_feed (link, registry, party, next_at, pulled_at) VALUES"
        f" ('{source.code}', '{registry}', '{party}', now() + interval '1 hour', now()) ON CONFLICT DO NOTHING;"
        " INSERT INTO history_call (feed_id) SELECT id FROM history_feed ON CONFLICT DO NOTHING"
    )
    which = f"link = '{source.code}' AND registry = '{registry}'"
    return int((await source.stage.rows(f"SELECT id FROM history_feed WHERE {which}"))[0][0])


async def _keep(tx: db.Tx, feed: int, before: int, reached: Chain, texts: list[str], message: VerifiedMessage) -> None:
    values = [_columns(text) for text in texts]
    kinds = {
        "first": "bigint",
        "last": "bigint",
        "itmo_first": "bigint",
        "vintage": "integer",
        "at": "timestamptz",
        "corrects": "bytea",
    }
    names = list(values[0])
    arrays = ", ".join(f"CAST(:{name} AS {kinds.get(name, 'text')}[])" for name in names)
    await db.execute(
        tx,
        f"""
        INSERT INTO history_record ({", ".join(names)}, sha256)
        SELECT x.*, sha256(convert_to(x.item, 'UTF8')) FROM unnest({arrays}) AS x({", ".join(names)})
        ON CONFLICT (sha256) DO NOTHING
        """,
        {name: [value[name] for value in values] for name in names},
    )
    found = await db.one(
        tx, "SELECT entry_id FROM message WHERE message_id = :id AND direction = 'in'", {"id": message.id}
    )
    assert found is not None
    kept = {"feed": feed, "first": before + 1, "last": reached.number, "digest": reached.digest}
    await db.execute(
        tx,
        "INSERT INTO history_page VALUES (:feed, :first, :last, :digest, :jws, :entry)",
        {**kept, "jws": message.jws, "entry": found.entry_id},
    )
    await db.execute(
        tx,
        """
        INSERT INTO history_entry SELECT :feed, :before + t.nr, r.id
        FROM unnest(CAST(:texts AS text[])) WITH ORDINALITY AS t(item, nr)
        JOIN history_record r ON r.sha256 = sha256(convert_to(t.item, 'UTF8'))
        """,
        {"feed": feed, "before": before, "texts": texts},
    )
    await db.execute(tx, "UPDATE history_feed SET number = :last, digest = :digest WHERE id = :feed", kept)


def _columns(text: str) -> dict[str, Any]:
    said = json.loads(text)
    units, attributes = said["block"], said["block"]["attributes"]
    ends = {
        f"{side}_{part}": said.get(side, {}).get(part)
        for side in ("from", "to")
        for part in ("registry", "party", "account")
    }
    named = re.fullmatch(r"(.{16})-([0-9,]+)(-[0-9]{4})", units["itmo"]["first"]) if "itmo" in units else None
    return {
        "itmo_stem": named and named[1] + named[3], "itmo_first": named and int(named[2].replace(",", "")),
        "registry": said["registry"], "transaction": said["transaction"], "type": said["type"],
        "at": datetime.fromisoformat(said["at"]), "origin_registry": units["origin"]["registry"],
        "series": units["origin"]["series"], "first": units["first"], "last": units["last"], **ends,
        "host": attributes["first_transferring_party"], "vintage": attributes["vintage"],
        "activity": attributes["activity"], "authorisation": attributes["authorisation"]["id"],
        "corrects": base64.urlsafe_b64decode(f"{said['corrects']}=") if "corrects" in said else None, "item": text,
    }  # fmt: skip
