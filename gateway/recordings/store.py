"""Rows of what is told of actions: which wait to be said, which message says each, and what became of it.

A record or a notification is written once (``holdings.recording``). It is *waiting*, then *sent* in a message that is
owed until all in it are answered, then *recorded* or *refused*, for good. A notification goes to whoever keeps the
books of its Party when it is said (the view ``party_books``), and waits while nobody does. Lists, and a fixed number of
statements.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from gateway import db
from gateway.domain.callers import Sight
from gateway.holdings.recording import Told, Type

#: Most records of one page.
MAX_PAGE = 500
#: Most records of one message: the protocol's limit.
MAX_RECORDS = 1_000
#: How long a record waits for others to travel with, while messages before it are unanswered: one second for one such
#: message, twice that for each further one, and at most so long.
LONGEST_COMPANY = timedelta(seconds=60)


class State(StrEnum):
    """What is true of a record, or of a notification."""

    #: No message says it yet.
    WAITING = "waiting"
    #: A stored message says it, and is sent until it is answered.
    SENT = "sent"
    #: The registry that was told has it.
    RECORDED = "recorded"
    #: The registry that was told will not have it, and has said why; persons must look.
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Ready:
    """Something of this kind is to be said to this link now."""

    link: str
    kind: Told


@dataclass(frozen=True, slots=True)
class Waiting:
    """What no message says yet, and where it goes: the registry ``section`` behind ``link``."""

    id: int
    kind: Told
    link: str
    section: str
    item: str
    block_count: int


@dataclass(frozen=True, slots=True)
class Answered:
    """What was answered just now."""

    kind: Told
    action: str
    cause: str
    state: State
    findings: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Record:
    """A record or notification as it stands; ``entry_id`` is the log entry of the message that completed its action.

    ``party`` is the one it is recorded for or that is notified, ``section`` the registry that keeps its books; where a
    notification goes is not known before it is said.
    """

    id: int
    kind: Told
    action: str
    type: Type
    at: datetime
    link: str | None
    section: str | None
    party: str
    quantity: int
    state: State
    findings: list[dict[str, Any]]
    message: str | None
    waiting: str | None
    entry_id: int


async def ready(tx: db.Tx | db.ReadTx, now: datetime) -> list[Ready]:
    """What is to be said to which links now: as many as a message takes, or some that have waited enough."""
    found = await db.rows(
        tx,
        """
        WITH stock AS (
          SELECT l.code AS link, 'record' AS kind, w.number, w.oldest FROM link l
          CROSS JOIN LATERAL (
            SELECT count(*) AS number, min(u.entry_id) AS oldest FROM (
              SELECT r.entry_id FROM action_record r WHERE r.link = l.code AND r.message_id IS NULL
              ORDER BY r.id LIMIT :most) AS u
          ) AS w
          WHERE l.kind = 'international' AND l.state = 'active' AND 'record' = ANY(l.capabilities)
          UNION ALL
          SELECT b.link, 'notification', sum(w.number), min(w.oldest) FROM party_books b
          CROSS JOIN LATERAL (
            SELECT count(*) AS number, min(u.entry_id) AS oldest FROM (
              SELECT r.entry_id FROM action_record r
              WHERE r.party = b.party AND r.kind = 'notification' AND r.message_id IS NULL
              ORDER BY r.id LIMIT :most) AS u
          ) AS w
          WHERE b.link_state = 'active' GROUP BY b.link
        )
        SELECT s.link, s.kind FROM stock s WHERE s.number > 0 AND (
          s.number >= :most OR (SELECT e.at FROM log_entry e WHERE e.id = s.oldest) <= CAST(:now AS timestamptz) - (
            SELECT CASE count(*) WHEN 0 THEN interval '0' ELSE
              least(power(2, least(count(*), 16) - 1) * interval '1 second', :longest) END
            FROM owed o WHERE o.peer = s.link))
        ORDER BY s.link, s.kind
        """,
        {"most": MAX_RECORDS, "now": now, "longest": LONGEST_COMPANY},
    )
    return [Ready(r.link, Told(r.kind)) for r in found]


#: What waits to be said to a link, and the registry there that it goes to.
_WAITING = {
    Told.RECORD: "SELECT r.id, r.kind, r.link, r.section, r.item, r.block_count FROM action_record r"
    " WHERE r.link = :link AND r.message_id IS NULL",
    Told.NOTIFICATION: "SELECT r.id, r.kind, b.link, b.registry AS section, r.item, r.block_count"
    " FROM party_books b JOIN action_record r ON r.party = b.party"
    " WHERE b.link = :link AND r.kind = 'notification' AND r.message_id IS NULL",
}


async def waiting(tx: db.Tx, due: Ready) -> list[Waiting]:
    """Lock what is to be said, oldest first, passing over what another worker holds."""
    statement = f"{_WAITING[due.kind]} ORDER BY r.id LIMIT :most FOR UPDATE OF r SKIP LOCKED"
    found = await db.rows(tx, statement, {"link": due.link, "most": MAX_RECORDS})
    return [Waiting(**{**r._mapping, "kind": Told(r.kind)}) for r in found]


async def say(tx: db.Tx, said: Sequence[tuple[Waiting, str]]) -> None:
    """Note which message says each, and where it goes."""
    await db.execute(
        tx,
        """
        UPDATE action_record r SET message_id = s.message_id, state = 'sent', link = s.link, section = s.section
        FROM unnest(CAST(:ids AS bigint[]), CAST(:messages AS uuid[]), CAST(:links AS text[]),
                    CAST(:sections AS text[])) AS s(id, message_id, link, section) WHERE r.id = s.id
        """,
        {
            "ids": [one.id for one, _ in said],
            "messages": [message for _, message in said],
            "links": [one.link for one, _ in said],
            "sections": [one.section for one, _ in said],
        },
    )


async def answer(
    tx: db.Tx, message_id: str, answers: Mapping[bytes, tuple[State, Sequence[dict[str, Any]]]], entry_id: int
) -> list[Answered]:
    """Note what log entry ``entry_id`` says of records of a message, by the SHA-256 of their items; once each."""
    found = await db.rows(
        tx,
        """
        UPDATE action_record r SET state = a.state, findings = CAST(a.findings AS jsonb), answered_by = :entry
        FROM unnest(CAST(:items AS bytea[]), CAST(:states AS text[]), CAST(:findings AS text[]))
          AS a(item, state, findings)
        WHERE r.message_id = :message AND r.state = 'sent' AND sha256(convert_to(r.item, 'UTF8')) = a.item
        RETURNING r.kind, r.action, r.cause, r.state, r.findings
        """,
        {
            "items": list(answers),
            "states": [state.value for state, _ in answers.values()],
            "findings": [json.dumps(list(findings)) for _, findings in answers.values()],
            "message": message_id,
            "entry": entry_id,
        },
    )
    return [Answered(**{**r._mapping, "kind": Told(r.kind), "state": State(r.state)}) for r in found]


async def refuse(tx: db.Tx, message_id: str, findings: Sequence[dict[str, Any]], entry_id: int) -> list[Answered]:
    """Note that log entry ``entry_id`` refuses a whole message: all that it says and nobody has answered yet."""
    found = await db.rows(
        tx,
        """
        UPDATE action_record SET state = 'refused', findings = CAST(:findings AS jsonb), answered_by = :entry
        WHERE message_id = :message AND state = 'sent' RETURNING kind, action, cause, state, findings
        """,
        {"findings": json.dumps(list(findings)), "message": message_id, "entry": entry_id},
    )
    return [Answered(**{**r._mapping, "kind": Told(r.kind), "state": State(r.state)}) for r in found]


async def settle(tx: db.Tx, message_id: str) -> None:
    """Send a message that tells of actions no more, once every item of it is answered."""
    await db.execute(
        tx,
        """
        DELETE FROM owed WHERE message_id = :id AND EXISTS (SELECT FROM action_record r WHERE r.message_id = :id)
          AND NOT EXISTS (SELECT FROM action_record r WHERE r.message_id = :id AND r.state = 'sent')
        """,
        {"id": message_id},
    )


#: The rows ``r`` that are seen: those of one's own section, or of every section behind one's own link.
_SEEN = "(CAST(:sight AS text) IS NULL OR :sight IN (r.section, r.link))"


async def listing(
    tx: db.ReadTx,
    sight: Sight,
    *,
    kind: Told | None = None,
    state: State | None = None,
    limit: int = 50,
    before: int | None = None,
) -> list[Record]:
    """What is seen, newest first, of one kind and state where named; at most ``MAX_PAGE``, from below ``before`` on.

    A notification is seen by those whom it concerns from when it is said on; until then its place is not known.
    """
    # No section has a link's code. Each of the two is read in the order it is shown in.
    seen = ["true"] if sight.code is None else ["r.section = :sight", "r.link = :sight"]
    newest = " UNION ALL ".join(
        f"""(
          SELECT r.* FROM action_record r
          WHERE {whose} AND (CAST(:kind AS text) IS NULL OR r.kind = :kind)
            AND (CAST(:state AS text) IS NULL OR r.state = :state)
            AND (CAST(:before AS bigint) IS NULL OR r.id < :before)
          ORDER BY r.id DESC LIMIT :limit
        )"""
        for whose in seen
    )
    found = await db.rows(
        tx,
        f"""
        SELECT r.id, r.kind, r.action, r.type, r.at, r.link, r.section, r.party, r.quantity, r.state, r.findings,
               CAST(r.message_id AS text) AS message, o.waiting, r.entry_id
        FROM ({newest}) AS r LEFT JOIN owed o ON o.message_id = r.message_id AND r.state = 'sent'
        ORDER BY r.id DESC LIMIT :limit
        """,
        {
            "kind": kind.value if kind else None,
            "state": state.value if state else None,
            "before": before,
            "limit": min(limit, MAX_PAGE),
            "sight": sight.code,
        },
    )
    return [
        Record(
            **{
                **r._mapping,
                **{"kind": Told(r.kind), "state": State(r.state), "type": Type(r.type)},
                "waiting": sight.why(r.waiting),
            }
        )
        for r in found
    ]


async def counts(tx: db.ReadTx, sight: Sight, kind: Told | None = None) -> dict[str, int]:
    """How many of what is seen, of one kind where one is named, are in each state."""
    found = await db.rows(
        tx,
        f"""
        SELECT r.state, count(*) AS number FROM action_record r
        WHERE {_SEEN} AND (CAST(:kind AS text) IS NULL OR r.kind = :kind) GROUP BY r.state
        """,
        {"sight": sight.code, "kind": kind.value if kind else None},
    )
    number = {r.state: int(r.number) for r in found}
    return {state.value: number.get(state.value, 0) for state in State}
