"""Rows of approvals: what was asked for, as text and hash, and what was decided, once.

One that is open beyond its time is read as *expired*; that it is becomes a row's state when somebody next asks or
decides. Queries for callers take their ``Sight``: what is bound to their registry is seen, and everything by all.
"""

import json
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Any

from gateway import db
from gateway.domain.callers import Sight
from gateway.errors import invariant

#: Most rows of one page.
MAX_PAGE = 500


class State(StrEnum):
    """What became of what was asked for."""

    #: It waits for another person.
    OPEN = "open"
    #: It was approved, and done in the same moment.
    APPROVED = "approved"
    #: Somebody declined it, or who asked for it took it back.
    DECLINED = "declined"
    #: Nobody decided in time.
    EXPIRED = "expired"
    #: It was approved, and could not be done any more; the reason says why.
    VOID = "void"


@dataclass(frozen=True, slots=True)
class Approval:
    """What was asked for and what became of it; ``sha256`` is the hash of ``canonical`` in hexadecimal."""

    id: str
    kind: str
    registry: str | None
    canonical: str
    sha256: str
    initiator: str
    requested_at: datetime
    expires_at: datetime
    state: State = State.OPEN
    decider: str | None = None
    decided_at: datetime | None = None
    reason: str | None = None
    result: dict[str, Any] | None = None

    @classmethod
    def of(
        cls, made: str, kind: str, registry: str | None, text: str, initiator: str, at: datetime, until: datetime
    ) -> "Approval":
        """One that was just asked for."""
        return cls(made, kind, registry, text, sha256(text.encode()).hexdigest(), initiator, at, until)

    @property
    def parameters(self) -> dict[str, Any]:
        """How it is to be done."""
        return dict(json.loads(self.canonical)["parameters"])


@dataclass(frozen=True, slots=True)
class Decision:
    """What became of it: by whom, where somebody decided, and why or with which result."""

    state: State
    person: str | None = None
    reason: str | None = None
    result: dict[str, Any] | None = None


_COLUMNS = """
  CAST(id AS text) AS id, kind, registry, canonical, encode(sha256, 'hex') AS sha256, initiator, requested_at,
  expires_at, decider, decided_at, reason, CAST(result AS text) AS result,
  CASE WHEN state = 'open' AND expires_at <= CAST(:now AS timestamptz) THEN 'expired' ELSE state END AS state
"""


async def ask_alone(tx: db.Tx) -> None:
    """Let nobody else ask for anything until ``tx`` ends: what is asked for twice at one moment waits once."""
    await db.rows(tx, "SELECT pg_advisory_xact_lock(9, 0)")


async def insert(tx: db.Tx, made: Approval, entry_id: int) -> None:
    """Insert one that was asked for."""
    await db.execute(
        tx,
        """
        INSERT INTO approval (id, kind, registry, canonical, sha256, initiator, requested_at, expires_at, requested_by)
        VALUES (CAST(:id AS uuid), :kind, :registry, :canonical, :sha, :initiator, :at, :until, :entry)
        """,
        {
            "id": made.id,
            "kind": made.kind,
            "registry": made.registry,
            "canonical": made.canonical,
            "sha": bytes.fromhex(made.sha256),
            "initiator": made.initiator,
            "at": made.requested_at,
            "until": made.expires_at,
            "entry": entry_id,
        },
    )


async def waiting(tx: db.Tx, canonical: str) -> Approval | None:
    """The open approval of exactly this text."""
    found = await db.one(
        tx,
        f"SELECT {_COLUMNS} FROM approval WHERE sha256 = :sha AND state = 'open'",
        {"sha": sha256(canonical.encode()).digest(), "now": None},
    )
    return _approval(found) if found else None


async def count_open(tx: db.Tx, registry: str, initiator: str) -> tuple[int, int]:
    """How many acts of a registry wait for a decision, and how many of any registry that somebody has asked for."""
    found = await db.one(
        tx,
        """
        SELECT count(*) FILTER (WHERE registry = :registry) AS of_registry,
               count(*) FILTER (WHERE initiator = :initiator) AS of_initiator
        FROM approval WHERE state = 'open' AND registry IS NOT NULL
        """,
        {"registry": registry, "initiator": initiator},
    )
    assert found is not None  # a count always has a row
    return int(found.of_registry), int(found.of_initiator)


async def overdue(tx: db.Tx, now: datetime) -> list[Approval]:
    """Lock what nobody has decided on in time."""
    found = await db.rows(
        tx,
        f"""
        SELECT {_COLUMNS} FROM approval WHERE state = 'open' AND expires_at <= :now
        ORDER BY id FOR UPDATE SKIP LOCKED
        """,
        {"now": now},
    )
    return [_approval(r) for r in found]


async def lock(tx: db.Tx, approval: str, now: datetime) -> Approval | None:
    """One, locked."""
    statement = f"SELECT {_COLUMNS} FROM approval WHERE id = CAST(:id AS uuid) FOR UPDATE"
    found = await db.one(tx, statement, {"id": approval, "now": now})
    return _approval(found) if found else None


async def find(tx: db.Tx | db.ReadTx, approval: str, now: datetime) -> Approval | None:
    """One as it stands."""
    statement = f"SELECT {_COLUMNS} FROM approval WHERE id = CAST(:id AS uuid)"
    found = await db.one(tx, statement, {"id": approval, "now": now})
    return _approval(found) if found else None


async def listing(
    tx: db.ReadTx, sight: Sight, now: datetime, *, state: State | None, limit: int, before: Approval | None
) -> list[Approval]:
    """What is seen, newest first, in one state where one is named, from the one after ``before`` on."""
    seen = "true" if sight.code is None else "registry = :sight"  # in so many words: an index follows it
    found = await db.rows(
        tx,
        f"""
        SELECT * FROM (
          SELECT {_COLUMNS} FROM approval
          WHERE {seen}
            AND (CAST(:edge AS timestamptz) IS NULL OR (requested_at, id) < (:edge, CAST(:before AS uuid)))
        ) AS seen
        WHERE CAST(:state AS text) IS NULL OR state = :state ORDER BY requested_at DESC, CAST(id AS uuid) DESC
        LIMIT :limit
        """,
        {
            **sight.parameters,
            "now": now,
            "state": state.value if state else None,
            "edge": before.requested_at if before else None,
            "before": before.id if before else None,
            "limit": min(limit, MAX_PAGE),
        },
    )
    return [_approval(r) for r in found]


async def decide(tx: db.Tx, found: Approval, decision: Decision, now: datetime, entry_id: int) -> Approval:
    """Write what became of an open approval, which the caller has locked."""
    done = await db.execute(
        tx,
        """
        UPDATE approval SET state = :state, decider = :person, decided_at = :now, decided_by = :entry, reason = :reason,
          result = CAST(:result AS jsonb)
        WHERE id = CAST(:id AS uuid) AND state = 'open'
        """,
        {
            "id": found.id,
            "state": decision.state.value,
            "person": decision.person,
            "now": now,
            "entry": entry_id,
            "reason": decision.reason,
            "result": json.dumps(decision.result) if decision.result is not None else None,
        },
    )
    invariant(done.rowcount == 1, "an approval that was locked has been decided all the same")
    return replace(
        found, state=decision.state, decider=decision.person, decided_at=now, reason=decision.reason,
        result=decision.result,
    )  # fmt: skip


def _approval(r: Any) -> Approval:
    values: dict[str, Any] = dict(r._mapping)
    result: str | None = values.pop("result")
    return Approval(**{**values, "state": State(values["state"])}, result=json.loads(result) if result else None)
