"""Reads the whole database for the doctor: streams of rows through server-side cursors, so that size costs no memory.

Everything is read in one transaction that sees one moment (``one_moment``). Nothing here judges.
"""

import json
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, text

from gateway import db
from gateway.domain.identifiers import AccountType, Standing
from gateway.holdings.book import OVERLAP

#: Rows fetched at once where a row may be megabytes (a message, a proposal), and where it is small.
FEW, MANY = 10, 500
#: Gaps of one stream that are named.
GAPS_NAMED = 20


async def one_moment(tx: db.ReadTx) -> None:
    """Let ``tx``, which has read nothing yet, see the database as it is now until it ends.

    Every cursor is read to its end, so none is planned to give its first rows soon: three times slower, where
    PostgreSQL has no statistics yet.
    """
    await tx.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
    await tx.execute(text("SET LOCAL cursor_tuple_fraction = 1"))


async def stream(
    tx: db.ReadTx, statement: str, at_once: int, parameters: db.Parameters | None = None
) -> AsyncIterator[Row[Any]]:
    """The rows of a statement, so many fetched at once."""
    async with tx.stream(text(statement), parameters or {}, execution_options={"yield_per": at_once}) as found:
        async for rows in found.partitions(at_once):
            for row in rows:
                yield row


async def revocations(tx: db.ReadTx) -> dict[str, datetime]:
    """When the revocation of a key was entered in the log, by key id."""
    found = await db.rows(
        tx,
        "SELECT e.at, r.record FROM log_entry e JOIN log_record r ON r.entry_id = e.id WHERE e.kind = 'key.revoked'",
    )
    entered: dict[str, datetime] = {}
    for r in found:
        try:
            entered[str(json.loads(bytes(r.record))["key"])] = r.at
        except (ValueError, KeyError, TypeError):
            continue  # the check of the log says so
    return entered


def transfers(tx: db.ReadTx) -> AsyncIterator[Row[Any]]:
    """Every transfer with its events, its statements, its claims, what two persons decided, and the messages it names.

    A statement is [entry, hash, text]; the text only of those that name others, and of an answer. ``held`` is how many
    of the units it claims the book shows as held at its source. OFFSET 0 has claims looked up by transfer and messages
    by id, whatever the statistics: by the index of live claims or of what was sent, each transfer would walk past all.
    """
    return stream(
        tx,
        f"""
        SELECT t.*, p.item AS proposal,
          (SELECT jsonb_agg(jsonb_build_array(e.version, e.state, e.event, e.entry_id) ORDER BY e.version)
             FROM transfer_event e WHERE e.transfer_id = t.id) AS events,
          (SELECT jsonb_object_agg(s.step, jsonb_build_array(s.entry_id, encode(s.sha256, 'hex'),
                                   CASE WHEN s.step = ANY(CAST(:read AS text[])) THEN s.item END))
             FROM transfer_step s WHERE s.transfer_id = t.id) AS steps,
          CASE WHEN EXISTS (SELECT FROM transfer_event e WHERE e.transfer_id = t.id AND e.event = 'resumed') THEN
            (SELECT jsonb_agg(CAST(a.canonical AS jsonb) -> 'parameters' -> 'version') FROM approval a
             WHERE a.kind = 'transfer.resume' AND a.state = 'approved'
               AND CAST(a.canonical AS jsonb) -> 'parameters' ->> 'transfer' = t.id) END AS resumptions,
          (SELECT jsonb_agg(jsonb_build_array(u.registry, u.series, c.first, c.last, c.released_by IS NULL))
             FROM claim c JOIN unit_series u ON u.id = c.series_id WHERE c.transfer_id = t.id) AS claims,
          (SELECT jsonb_object_agg(m.message_id, jsonb_build_array(m.entry_id, m.peer, m.type))
             FROM (SELECT * FROM message WHERE message_id IN (t.offer_id, t.commit_id, t.cancel_id, t.settle_id,
                                                              t.closed_source_id, t.closed_acquirer_id) OFFSET 0) AS m
             WHERE m.direction = 'out') AS sent,
          (SELECT coalesce(sum(least(x.last, b.last) - greatest(x.first, b.first) + 1), 0)
             FROM (SELECT * FROM claim WHERE transfer_id = t.id OFFSET 0) AS b
             JOIN position x ON {OVERLAP} AND x.closed_by IS NULL
             WHERE b.released_by IS NULL AND x.registry = t.transferring_registry
               AND x.party = t.transferring_party AND x.account_type = ANY(CAST(:held AS smallint[]))) AS held
        FROM transfer t LEFT JOIN transfer_step p ON p.transfer_id = t.id AND p.step = 'propose'
        ORDER BY t.id
        """,
        FEW,
        {
            "held": [account_type.value for account_type in AccountType if account_type.standing is Standing.HELD],
            "read": ["offer", "commit", "settle", "answer"],
        },
    )


def viewers(tx: db.ReadTx) -> AsyncIterator[Row[Any]]:
    """Every transfer that is there or is seen: by whom it is seen, its sides, and what tells whose units they are."""
    return stream(
        tx,
        """
        SELECT coalesce(t.id, v.transfer_id) AS id, t.id IS NOT NULL AS there, v.viewers, p.item AS proposed,
          ARRAY[t.source, r.registry, t.acquirer, a.registry] AS sides, t.offer_id AS offered, f.item AS released
        FROM transfer t
        FULL JOIN (SELECT transfer_id, created_at, array_agg(viewer) AS viewers FROM transfer_viewer GROUP BY 1, 2) AS v
          ON v.transfer_id = t.id AND v.created_at = t.created_at
        LEFT JOIN transfer_event e ON e.transfer_id = t.id AND e.version = 1
        LEFT JOIN link_registry r ON r.registry = t.transferring_registry AND r.link = t.source
          AND coalesce(r.since, 0) < e.entry_id
        LEFT JOIN link_registry a ON a.registry = t.acquiring_registry AND a.link = t.acquirer
        LEFT JOIN transfer_step p ON p.transfer_id = t.id AND p.step = 'propose'
        LEFT JOIN transfer_step f ON f.transfer_id = t.id AND f.step = 'released'
        """,
        FEW,
    )


def messages(tx: db.ReadTx) -> AsyncIterator[Row[Any]]:
    """Every message with the statements kept from it, and what it answers.

    ``kind`` is that of its log entry (*evidence*: it came only inside another message), ``answered`` holds [hash, leaf
    hash] of each stored message it may answer, ``verdict`` the entry of the answer kept for that message.
    """
    return stream(
        tx,
        """
        WITH kept AS (
          SELECT s.entry_id, jsonb_agg(jsonb_build_array(s.transfer_id, s.step, encode(s.sha256, 'hex'), s.whole,
                                                         t.source, t.acquirer)) AS steps
          FROM (SELECT entry_id, transfer_id, step, sha256, sha256 = sha256(convert_to(item, 'UTF8')) AS whole
                FROM transfer_step) s
          JOIN transfer t ON t.id = s.transfer_id GROUP BY s.entry_id
        )
        SELECT m.entry_id, m.direction, m.peer, CAST(m.message_id AS text) AS message_id, m.type, m.seq,
          CAST(m.in_reply_to AS text) AS in_reply_to, m.sha256, m.content_type, m.body, m.at, kept.steps, entry.kind,
          CASE WHEN m.direction = 'out' AND m.in_reply_to IS NOT NULL THEN
            (SELECT jsonb_agg(jsonb_build_array(encode(a.sha256, 'hex'), encode(e.leaf_hash, 'hex')))
             FROM message a JOIN log_entry e ON e.id = a.entry_id
             WHERE a.message_id = m.in_reply_to AND a.direction = 'in' AND a.peer = m.peer) END AS answered,
          CASE WHEN m.direction = 'out' AND m.in_reply_to IS NOT NULL THEN
            (SELECT k.answer FROM replay_key k WHERE k.sender = m.peer AND k.message_id = m.in_reply_to) END AS verdict
        FROM message m JOIN log_entry entry ON entry.id = m.entry_id LEFT JOIN kept USING (entry_id)
        ORDER BY m.entry_id
        """,
        FEW,
    )


async def refused_as(tx: db.ReadTx, leaf_hash: bytes, before: int) -> bool:
    """Whether the log has this leaf for a message that was refused and not kept, in an entry ``before``.

    Looked for backwards: the answer to such a message is stored right after its entry.
    """
    found = await db.one(
        tx,
        """
        SELECT id FROM log_entry WHERE id < :before AND kind = 'refused' AND leaf_hash = :leaf ORDER BY id DESC LIMIT 1
        """,
        {"before": before, "leaf": leaf_hash},
    )
    return found is not None


async def kept_steps(tx: db.ReadTx, transfers: Sequence[str]) -> set[tuple[str, str]]:
    """Which statements are kept of these transfers, by (transfer, step)."""
    found = await db.rows(
        tx,
        "SELECT transfer_id, step FROM transfer_step WHERE transfer_id = ANY(CAST(:ids AS text[]))",
        {"ids": list(transfers)},
    )
    return {(r.transfer_id, r.step) for r in found}


def entries(tx: db.ReadTx) -> AsyncIterator[Row[Any]]:
    """Every entry of the log with its record, and the message it records if that is kept."""
    return stream(
        tx,
        """
        SELECT e.id, e.kind, e.leaf, e.leaf_hash, r.salt, r.record, m.direction, m.peer, m.type, m.sha256,
               CAST(m.message_id AS text) AS message_id
        FROM log_entry e LEFT JOIN log_record r ON r.entry_id = e.id LEFT JOIN message m ON m.entry_id = e.id
        ORDER BY e.id
        """,
        MANY,
    )


def replay_keys(tx: db.ReadTx) -> AsyncIterator[Row[Any]]:
    """Every message id that was ever used, with the answer kept for it and whether its message is kept."""
    return stream(
        tx,
        """
        SELECT k.sender, CAST(k.message_id AS text) AS message_id, k.answer, m.direction, m.peer, m.type,
               CAST(m.in_reply_to AS text) AS in_reply_to,
               EXISTS (SELECT FROM message a WHERE a.message_id = k.message_id AND a.direction = 'in'
                       AND a.peer = k.sender AND a.sha256 = k.sha256) AS kept
        FROM replay_key k LEFT JOIN message m ON m.entry_id = k.answer ORDER BY k.sender, k.message_id
        """,
        MANY,
    )


def streams(tx: db.ReadTx) -> AsyncIterator[Row[Any]]:
    """Each peer's stream in each direction: its highest number, what ours should be, and where it is not gapless.

    ``broken`` holds [first missing, last missing] of gaps, and [number] of a number that two messages have.
    """
    return stream(
        tx,
        f"""
        WITH numbered AS (
          SELECT DISTINCT direction, peer, seq, message_id, sha256 FROM message WHERE seq IS NOT NULL
        ), placed AS (
          SELECT *, lag(seq, 1, CAST(0 AS bigint)) OVER (PARTITION BY direction, peer ORDER BY seq) AS before
          FROM numbered
        ), breaks AS (
          SELECT direction, peer, max(seq) AS highest, count(*) FILTER (WHERE seq <> before + 1) AS number,
            (array_agg(CASE WHEN seq = before THEN jsonb_build_array(seq) ELSE jsonb_build_array(before + 1, seq - 1)
               END ORDER BY seq) FILTER (WHERE seq <> before + 1))[1:{GAPS_NAMED}] AS broken
          FROM placed GROUP BY direction, peer
        )
        SELECT d.direction, l.code AS peer, coalesce(b.highest, 0) AS highest, o.last_seq,
               coalesce(b.number, 0) AS number, coalesce(to_jsonb(b.broken), '[]') AS broken
        FROM link l CROSS JOIN (VALUES ('in'), ('out')) AS d(direction)
        LEFT JOIN breaks b ON b.peer = l.code AND b.direction = d.direction
        LEFT JOIN outgoing_stream o ON o.peer = l.code AND d.direction = 'out'
        ORDER BY l.code, d.direction
        """,
        FEW,
    )


def alarms(tx: db.ReadTx) -> AsyncIterator[Row[Any]]:
    """Every alarm, oldest first."""
    return stream(tx, "SELECT link, transfer_id, code, detail, entry_id FROM alarm ORDER BY id", MANY)


def requests(tx: db.ReadTx) -> AsyncIterator[Row[Any]]:
    """Every request, where its message is if that is kept, and whether it is owed."""
    return stream(
        tx,
        """
        SELECT CAST(q.id AS text) AS id, q.source, q.state, m.type, m.peer, o.message_id IS NOT NULL AS owed
        FROM transfer_request q LEFT JOIN message m ON m.message_id = q.message_id AND m.direction = 'out'
        LEFT JOIN owed o ON o.message_id = q.message_id
        ORDER BY q.id
        """,
        MANY,
    )


def owed(tx: db.ReadTx) -> AsyncIterator[Row[Any]]:
    """Every message that is owed as a whole, what is stored of it, and whether anything waits for its answer."""
    return stream(
        tx,
        """
        SELECT CAST(o.message_id AS text) AS message_id, o.peer, o.next_at, o.leased_until, m.type, m.peer AS addressed,
               EXISTS (SELECT FROM transfer_request q WHERE q.message_id = o.message_id AND q.state = 'sent')
               OR EXISTS (SELECT FROM action_record r WHERE r.message_id = o.message_id AND r.state = 'sent')
               OR EXISTS (SELECT FROM own_key_told k WHERE k.message_id = o.message_id AND k.receipted_by IS NULL)
               OR EXISTS (SELECT FROM history_feed h WHERE h.delivering = o.message_id)
               OR EXISTS (SELECT FROM reconciliation r WHERE r.result_id = o.message_id) AS awaited
        FROM owed o LEFT JOIN message m ON m.message_id = o.message_id AND m.direction = 'out'
        ORDER BY o.message_id
        """,
        MANY,
    )


def actions(tx: db.ReadTx) -> AsyncIterator[Row[Any]]:
    """Every completed action of a Party that had a section then, and how many units its records say."""
    return stream(
        tx,
        """
        WITH done AS (
          SELECT t.id AS cause, s.side, s.party, t.quantity, e.entry_id
          FROM transfer t JOIN transfer_event e ON e.transfer_id = t.id AND e.state = 'completed'
          CROSS JOIN LATERAL (VALUES ('transfer', t.transferring_party), ('acquisition', t.acquiring_party))
            AS s(side, party)
          UNION ALL
          SELECT registry || '/' || action, type, CAST(item AS json) ->> 'party', quantity, entry_id FROM action
          WHERE type IN ('use', 'cancellation')
        ), said AS (
          SELECT cause, CASE WHEN type IN ('First transfer', 'Transfer') THEN 'transfer' ELSE lower(type) END AS side,
                 sum(quantity) AS quantity FROM action_record WHERE kind = 'record' GROUP BY 1, 2
        )
        SELECT done.*, r.registry AS section, said.quantity AS recorded
        FROM done JOIN link_registry r ON r.party = done.party AND coalesce(r.since, 0) < done.entry_id
        JOIN link l ON l.code = r.link AND l.kind = 'international'
        LEFT JOIN said ON (said.cause, said.side) = (done.cause, done.side)
        ORDER BY done.entry_id, done.cause
        """,
        MANY,
    )


def disposals(tx: db.ReadTx) -> AsyncIterator[Row[Any]]:
    """Every use and cancellation of other Parties' units, once for each Party, and how many units it is told of."""
    return stream(
        tx,
        """
        WITH notice AS (
          SELECT registry || '/' || action AS action, entry_id, CAST(item AS json) AS said FROM action
          WHERE type IN ('use', 'cancellation')
        ), disposed AS (
          SELECT n.action, n.entry_id, n.said ->> 'party' AS party,
                 block -> 'attributes' ->> 'first_transferring_party' AS host,
                 sum(CAST(block ->> 'last' AS bigint) - CAST(block ->> 'first' AS bigint) + 1) AS quantity
          FROM notice n CROSS JOIN LATERAL json_array_elements(n.said -> 'blocks') AS b(block) GROUP BY 1, 2, 3, 4
        )
        SELECT d.*, r.quantity AS notified FROM disposed d
        LEFT JOIN action_record r ON r.kind = 'notification' AND (r.action, r.party) = (d.action, d.host)
        WHERE d.host <> d.party ORDER BY d.entry_id, d.action, d.host
        """,
        MANY,
    )


def records(tx: db.ReadTx) -> AsyncIterator[Row[Any]]:
    """Every record and notification with the signed words behind it, where it goes, its message, its answer, and
    whether it is owed.

    ``completed`` is the log entry that completed its action, ``alarm`` whether its answer raised one, ``judged_first``
    whether its transfer was judged to be a first one (null: what it relies on was lost).
    """
    return stream(
        tx,
        """
        SELECT r.*, s.party AS section_party, s.link AS section_link, m.type AS message_type, m.peer AS message_peer,
               n.type AS answer_type, n.peer AS answer_peer, n.in_reply_to IS NOT DISTINCT FROM r.message_id AS answers,
               EXISTS (SELECT FROM owed o WHERE o.message_id = r.message_id) AS owed,
               EXISTS (SELECT FROM alarm WHERE alarm.entry_id = r.answered_by) AS alarm,
               p.item AS proposed, e.item AS released, c.item AS credited, a.item AS notice,
               (SELECT bool_or(y.first IS NOT NULL) FROM reliance y WHERE y.transfer_id = r.cause) AS judged_first,
               coalesce(a.entry_id, (SELECT min(v.entry_id) FROM transfer_event v
                                     WHERE v.transfer_id = r.cause AND v.state = 'completed')) AS completed
        FROM action_record r LEFT JOIN link_registry s ON s.registry = r.section
        LEFT JOIN message m ON m.message_id = r.message_id AND m.direction = 'out'
        LEFT JOIN message n ON n.entry_id = r.answered_by
        LEFT JOIN transfer_step p ON p.transfer_id = r.cause AND p.step = 'propose'
        LEFT JOIN transfer_step e ON e.transfer_id = r.cause AND e.step = 'released'
        LEFT JOIN transfer_step c ON c.transfer_id = r.cause AND c.step = 'credited'
        LEFT JOIN action a ON a.registry = split_part(r.cause, '/', 1)
          AND a.action = substr(r.cause, strpos(r.cause, '/') + 1)
        ORDER BY r.id
        """,
        FEW,
    )


def record_messages(tx: db.ReadTx) -> AsyncIterator[Row[Any]]:
    """Every message of records or notifications, and the hashes of those kept as said in it."""
    return stream(
        tx,
        """
        SELECT m.entry_id, CAST(m.message_id AS text) AS message_id, m.body,
               (SELECT array_agg(sha256(convert_to(r.item, 'UTF8'))) FROM action_record r
                WHERE r.message_id = m.message_id) AS kept
        FROM message m WHERE m.direction = 'out' AND m.type IN ('action.record', 'action.notice') ORDER BY m.entry_id
        """,
        FEW,
    )


def approvals(tx: db.ReadTx) -> AsyncIterator[Row[Any]]:
    """Every approval, with the entries that record that it was asked for and decided."""
    return stream(
        tx,
        """
        SELECT CAST(a.id AS text) AS id, a.state, encode(a.sha256, 'hex') AS sha256, a.initiator, a.decider,
               asked.kind AS asked, ar.record AS asked_record, decided.kind AS decided, dr.record AS decided_record
        FROM approval a LEFT JOIN log_entry asked ON asked.id = a.requested_by
        LEFT JOIN log_record ar ON ar.entry_id = a.requested_by LEFT JOIN log_entry decided ON decided.id = a.decided_by
        LEFT JOIN log_record dr ON dr.entry_id = a.decided_by ORDER BY a.id
        """,
        FEW,
    )
