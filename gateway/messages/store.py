"""Rows of messages, of the streams that number them, and of the replay store. Nothing here is ever changed back.

The replay key (sender, message id) is taken in the transaction of the effect and kept for ever. Two processes
that receive the same message at the same instant meet there: the second waits for the first one's commit and
then finds its answer. Only verdicts are kept as answers; an overload is never one (R23).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gateway import db

#: How far into a message its JWS is looked for: that of a thousand items has 65,000 characters.
LONGEST_JWS = 400_000


@dataclass(frozen=True, slots=True)
class Message:
    """A message as stored: exact bytes, and what is needed to find it.

    ``direction`` is ``in``, ``out``, or ``shown``: a copy that another message carried, without its number and with
    only the items that were shown.
    """

    entry_id: int
    direction: str
    peer: str
    message_id: str
    type: str
    seq: int | None
    in_reply_to: str | None
    sha256: bytes
    content_type: str
    body: bytes
    at: datetime


@dataclass(frozen=True, slots=True)
class Earlier:
    """What is known of a message id that was used before."""

    same_bytes: bool
    answer: bytes | None
    content_type: str | None


async def insert(tx: db.Tx, messages: Sequence[Message], signed_by: str | None = None) -> bool:
    """Keep messages, whatever their number, in one statement; False, and none kept, if a key of ours may not sign."""
    kept = await db.execute(
        tx,
        """
        INSERT INTO message
          (entry_id, direction, peer, message_id, type, seq, in_reply_to, sha256, content_type, body, at)
        SELECT * FROM unnest(
          CAST(:entry AS bigint[]), CAST(:direction AS text[]), CAST(:peer AS text[]), CAST(:id AS uuid[]),
          CAST(:type AS text[]), CAST(:seq AS bigint[]), CAST(:reply AS uuid[]), CAST(:sha AS bytea[]),
          CAST(:content AS text[]), CAST(:body AS bytea[]), CAST(:at AS timestamptz[]))
        WHERE CAST(:signed_by AS text) IS NULL OR (SELECT may_sign(:signed_by))
        """,
        {
            "signed_by": signed_by,
            "entry": [m.entry_id for m in messages],
            "direction": [m.direction for m in messages],
            "peer": [m.peer for m in messages],
            "id": [m.message_id for m in messages],
            "type": [m.type for m in messages],
            "seq": [m.seq for m in messages],
            "reply": [m.in_reply_to for m in messages],
            "sha": [m.sha256 for m in messages],
            "content": [m.content_type for m in messages],
            "body": [m.body for m in messages],
            "at": [m.at for m in messages],
        },
    )
    return kept.rowcount == len(messages)


async def next_numbers(tx: db.Tx, wanted: Mapping[str, int]) -> dict[str, range]:
    """Take the next ``wanted`` numbers of each peer's stream; locks the streams in one order, so nobody deadlocks."""
    found = await db.rows(
        tx,
        """
        WITH wanted AS (SELECT * FROM unnest(CAST(:peer AS text[]), CAST(:count AS bigint[])) AS w(peer, count)),
             locked AS (SELECT s.peer FROM outgoing_stream s JOIN wanted USING (peer) ORDER BY s.peer FOR UPDATE OF s)
        UPDATE outgoing_stream s SET last_seq = s.last_seq + wanted.count
        FROM wanted JOIN locked USING (peer) WHERE s.peer = wanted.peer
        RETURNING s.peer, s.last_seq
        """,
        {"peer": list(wanted), "count": list(wanted.values())},
    )
    return {r.peer: range(r.last_seq - wanted[r.peer] + 1, r.last_seq + 1) for r in found}


async def outgoing(tx: db.Tx | db.ReadTx, message_ids: Sequence[str]) -> list[Message]:
    """Stored outgoing messages, by id."""
    found = await db.rows(
        tx,
        """
        SELECT entry_id, direction, peer, CAST(message_id AS text) AS message_id, type, seq,
               CAST(in_reply_to AS text) AS in_reply_to, sha256, content_type, body, at
        FROM message WHERE direction = 'out' AND message_id = ANY(CAST(:ids AS uuid[]))
        """,
        {"ids": list(message_ids)},
    )
    return [Message(**r._mapping) for r in found]


async def known(tx: db.Tx, message_id: str, jws: str, item: str) -> int | None:
    """The entry of a message that is stored already, to the letter and with this item; nothing when it is not."""
    found = await db.rows(
        tx,
        """
        SELECT entry_id FROM message
        WHERE message_id = :id AND content_type = 'application/a6link+json'
          AND CAST(convert_from(body, 'UTF8') AS json) ->> 'jws' = :jws
          AND CAST(CAST(convert_from(body, 'UTF8') AS json) -> 'items' AS jsonb) ? CAST(:item AS text)
        ORDER BY entry_id LIMIT 1
        """,
        {"id": message_id, "jws": jws, "item": item},
    )
    return int(found[0].entry_id) if found else None


async def signed(tx: db.Tx | db.ReadTx, entry_ids: Sequence[int]) -> dict[int, str]:
    """The compact JWS of each of these messages, as it was signed, by log entry."""
    found = await _signed(tx, "entry_id = ANY(CAST(:ids AS bigint[]))", list(entry_ids))
    return {entry_id: jws for entry_id, _, jws in found}


async def signed_here(tx: db.Tx | db.ReadTx, message_ids: Sequence[str]) -> dict[str, str]:
    """The compact JWS of each of these messages of ours, by message id."""
    found = await _signed(tx, "direction = 'out' AND message_id = ANY(CAST(:ids AS uuid[]))", list(message_ids))
    return {message_id: jws for _, message_id, jws in found}


async def _signed(tx: db.Tx | db.ReadTx, which: str, ids: Sequence[Any]) -> list[tuple[int, str, str]]:
    """Entry, id and JWS of messages.

    A message with items begins with its JWS where its sender writes it first and plainly, as we do; then only that is
    read of what may be megabytes. Anything else is read whole.
    """
    found = await db.rows(
        tx,
        f"""
        WITH m AS (
          SELECT entry_id, message_id, body, substring(body FROM 9 FOR {LONGEST_JWS}) AS start
          FROM message WHERE {which}
        ), quoted AS (
          SELECT m.*, position(convert_to('"', 'UTF8') IN start) - 1 AS long FROM m
        )
        SELECT entry_id, CAST(message_id AS text) AS message_id, plain,
               CASE WHEN plain THEN convert_from(substring(start FROM 1 FOR long), 'UTF8') END AS jws,
               CASE WHEN NOT plain THEN body END AS body
        FROM (SELECT *, long > 0 AND substring(body FROM 1 FOR 8) = convert_to('{{"jws":"', 'UTF8')
                AND position(convert_to('\\', 'UTF8') IN substring(start FROM 1 FOR long)) = 0 AS plain
              FROM quoted) AS q
        """,
        {"ids": ids},
    )
    return [(r.entry_id, r.message_id, r.jws if r.plain else jws_of(bytes(r.body))) for r in found]


def jws_of(body: bytes) -> str:
    """The compact JWS of a message, as it was signed; JSON may begin with white space."""
    return str(json.loads(body)["jws"]) if body.lstrip()[:1] == b"{" else body.decode("ascii")


async def take_replay_key(tx: db.Tx, sender: str, message_id: str, sha256: bytes) -> Earlier | None:
    """Take the key of a message; what was stored under it before, or nothing when it is new."""
    taken = await db.execute(
        tx,
        """
        INSERT INTO replay_key (sender, message_id, sha256) VALUES (:sender, :id, :sha256)
        ON CONFLICT (sender, message_id) DO NOTHING
        """,
        {"sender": sender, "id": message_id, "sha256": sha256},
    )
    if taken.rowcount == 1:
        return None
    # Locked first, then looked at: of two repetitions of a message without an answer, the second finds the first's.
    await db.rows(
        tx,
        "SELECT 1 AS locked FROM replay_key WHERE sender = :sender AND message_id = :id FOR UPDATE",
        {"sender": sender, "id": message_id},
    )
    return await earlier(tx, sender, message_id, sha256)


async def take_new_keys(tx: db.Tx, named: Sequence[tuple[str, str, bytes]]) -> set[str]:
    """Take the keys of (sender, message id, hash) that are new; the ids of the messages that took theirs."""
    found = await db.rows(
        tx,
        """
        INSERT INTO replay_key (sender, message_id, sha256)
        SELECT * FROM unnest(CAST(:sender AS text[]), CAST(:id AS uuid[]), CAST(:sha AS bytea[])) AS n(sender, id, sha)
        ORDER BY id ON CONFLICT (sender, message_id) DO NOTHING RETURNING CAST(message_id AS text) AS id
        """,
        {"sender": [s for s, _, _ in named], "id": [i for _, i, _ in named], "sha": [h for _, _, h in named]},
    )
    return {r.id for r in found}


async def earlier(tx: db.Tx, sender: str, message_id: str, sha256: bytes) -> Earlier | None:
    """What is stored under the key of a message, or nothing."""
    found = await db.one(
        tx,
        """
        SELECT k.sha256, m.body, m.content_type
        FROM replay_key k LEFT JOIN message m ON m.entry_id = k.answer
        WHERE k.sender = :sender AND k.message_id = :id
        """,
        {"sender": sender, "id": message_id},
    )
    if found is None:
        return None
    answer = bytes(found.body) if found.body is not None else None
    return Earlier(bytes(found.sha256) == sha256, answer, found.content_type)


async def keep_answers(tx: db.Tx, answers: Sequence[tuple[str, str, int]]) -> None:
    """Keep the answers messages were given, for every repetition of them: (sender, message id, entry of the answer)."""
    await db.execute(
        tx,
        """
        UPDATE replay_key k SET answer = a.answer
        FROM unnest(CAST(:sender AS text[]), CAST(:id AS uuid[]), CAST(:answer AS bigint[])) AS a(sender, id, answer)
        WHERE k.sender = a.sender AND k.message_id = a.id
        """,
        {"sender": [s for s, _, _ in answers], "id": [i for _, i, _ in answers], "answer": [e for *_, e in answers]},
    )


async def is_known(tx: db.Tx | db.ReadTx, sender: str, message_id: str) -> bool:
    """Whether a message of this sender has arrived under this id."""
    found = await db.one(
        tx,
        "SELECT 1 AS known FROM replay_key WHERE sender = :sender AND message_id = :id",
        {"sender": sender, "id": message_id},
    )
    return found is not None
