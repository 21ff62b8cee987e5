"""Rows of transfers, of their steps and of their events. The row is the job: it says what is next, and when.

Every write of a state is guarded by the state *and version* that were read, so that of two writers exactly
one wins, and leaves an event that names the log entry of its cause. A step is kept once per (transfer, step),
whatever message brings it. All functions take lists and use a fixed number of statements.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from itertools import accumulate
from typing import Any

from gateway import db
from gateway.domain.transfers import Event, Outcome, Progress, State
from gateway.links.store import CLOSED_NOW

#: What one message may carry at most: the protocol's limits on transfers and on blocks.
MAX_TRANSFERS = 1_000
MAX_BLOCKS = 3_000


@dataclass(frozen=True, slots=True)
class Row:
    """A transfer as the relay sees it."""

    id: str
    source: str
    acquirer: str | None
    transferring_registry: str
    acquiring_registry: str
    quantity: int
    block_count: int
    state: State
    version: int
    outcome: Outcome | None
    findings: list[dict[str, Any]]
    deadline: datetime
    offer_id: str | None
    commit_id: str | None
    cancel_id: str | None
    settle_id: str | None
    closed_source_id: str | None
    closed_acquirer_id: str | None
    told_source_at: datetime | None
    told_acquirer_at: datetime | None
    attempts: int

    @property
    def progress(self) -> Progress:
        """Where the transfer stands, for the transition table."""
        return Progress(self.state, self.outcome, self.settle_id is not None)

    def naming(self, messages: Mapping[str, str]) -> "Row":
        """The row with these messages of ours, by column."""
        changed: dict[str, Any] = dict(messages)
        return replace(self, **changed) if changed else self


@dataclass(frozen=True, slots=True)
class New:
    """A transfer that begins, as log entry ``entry_id`` says; addresses and purpose as the source wrote them."""

    id: str
    source: str
    acquirer: str | None
    request: str | None
    transferring: tuple[str, str, str]
    acquiring: tuple[str, str, str]
    purpose: str
    quantity: int
    block_count: int
    deadline: datetime
    entry_id: int


@dataclass(frozen=True, slots=True)
class Change:
    """A step of one row: from where it stands to ``after``, because of ``event``, as log entry ``entry_id`` says.

    ``messages`` names the stored messages the row has from now on (by column); ``next_at`` is when a worker
    should look at it again (None: not until something arrives).
    """

    row: Row
    event: Event
    after: Progress
    entry_id: int
    next_at: datetime | None
    findings: Sequence[dict[str, Any]] = ()
    messages: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Step:
    """A signed statement about one transfer: the exact text of its item, and the entry of the message it came in."""

    transfer: str
    step: str
    item: str
    sha256: bytes
    entry_id: int


#: What is selected of a transfer ``t`` to make a ``Row`` of it.
COLUMNS = """
  t.id, t.source, t.acquirer, t.transferring_registry, t.acquiring_registry, t.quantity, t.block_count, t.state,
  t.version, t.outcome, CAST(t.findings AS text) AS findings, t.deadline, CAST(t.offer_id AS text) AS offer_id,
  CAST(t.commit_id AS text) AS commit_id, CAST(t.cancel_id AS text) AS cancel_id,
  CAST(t.settle_id AS text) AS settle_id,
  CAST(t.closed_source_id AS text) AS closed_source_id, CAST(t.closed_acquirer_id AS text) AS closed_acquirer_id,
  t.told_source_at, t.told_acquirer_at, t.attempts
"""
MESSAGE_COLUMNS = (
    "offer_id",
    "commit_id",
    "cancel_id",
    "settle_id",
    "closed_source_id",
    "closed_acquirer_id",
)


async def lock(tx: db.Tx, ids: Sequence[str]) -> dict[str, Row]:
    """Lock and read rows by id, in one order so that two messages about the same rows cannot deadlock."""
    found = await db.rows(
        tx,
        f"SELECT {COLUMNS} FROM transfer t WHERE t.id = ANY(CAST(:ids AS text[])) ORDER BY t.id FOR UPDATE",
        {"ids": list(ids)},
    )
    return {r.id: row_of(r) for r in found}


async def lock_due(tx: db.Tx, state: State, now: datetime, limit: int = MAX_TRANSFERS) -> list[Row]:
    """Lock rows of ``state`` that are due, up to one message's worth, passing over those another worker holds."""
    return await _lock_where(
        tx,
        "t.state = :state AND t.next_at <= :now AND (t.leased_until IS NULL OR t.leased_until <= :now)",
        {"state": state.value, "now": now, "limit": limit},
    )


async def lock_outside(tx: db.Tx, now: datetime, limit: int = MAX_TRANSFERS) -> list[Row]:
    """Lock proposals that are due while the transfer window of their source's link is closed, as ``lock_due`` does."""
    return await _lock_where(
        tx,
        "t.state = 'proposed' AND t.next_at <= :now AND (t.leased_until IS NULL OR t.leased_until <= :now)"
        f" AND EXISTS (SELECT FROM link l WHERE l.code = t.source AND {CLOSED_NOW})",
        {"now": now, "minute": minute(now), "limit": limit},
    )


async def lock_overdue(tx: db.Tx, states: Iterable[State], now: datetime, limit: int = MAX_TRANSFERS) -> list[Row]:
    """Lock rows of ``states`` whose time for reaching a commit is over, as ``lock_due`` does."""
    return await _lock_where(
        tx,
        "t.state = ANY(CAST(:states AS text[])) AND t.deadline <= :now AND t.next_at IS NOT NULL"
        " AND (t.leased_until IS NULL OR t.leased_until <= :now)",
        {"states": [s.value for s in states], "now": now, "limit": limit},
    )


async def _lock_where(tx: db.Tx, condition: str, parameters: db.Parameters) -> list[Row]:
    """At most ``limit`` rows, and of these as many as have the blocks of one message together."""
    found = await db.rows(
        tx,
        f"SELECT {COLUMNS} FROM transfer t WHERE {condition} ORDER BY t.next_at LIMIT :limit FOR UPDATE SKIP LOCKED",
        parameters,
    )
    rows = [row_of(r) for r in found]
    reach = accumulate(row.block_count for row in rows)
    return [row for nr, (row, blocks) in enumerate(zip(rows, reach, strict=True)) if nr == 0 or blocks <= MAX_BLOCKS]


def minute(now: datetime) -> int:
    """The minute of the day (UTC)."""
    at = now.astimezone(UTC)
    return at.hour * 60 + at.minute


async def find(tx: db.Tx | db.ReadTx, transfer: str) -> Row | None:
    """One row, as it is, or nothing."""
    found = await db.one(tx, f"SELECT {COLUMNS} FROM transfer t WHERE t.id = :id", {"id": transfer})
    return row_of(found) if found else None


async def insert(tx: db.Tx, new: Sequence[New], event: Event, begun: Progress, now: datetime) -> set[str]:
    """Insert rows that begin in ``begun``, seen by their sides' people; the ids inserted: one in use stays as it is."""
    found = await db.rows(
        tx,
        """
        WITH inserted AS (
          INSERT INTO transfer (id, source, acquirer, request_id, transferring_registry, transferring_party,
            transferring_account, acquiring_registry, acquiring_party, acquiring_account, purpose, quantity,
            block_count, state, version, outcome, deadline, next_at, created_at, changed_at)
          SELECT n.*, :state, 1, :outcome, d.deadline, :now, :now, :now
          FROM unnest(CAST(:id AS text[]), CAST(:source AS text[]), CAST(:acquirer AS text[]), CAST(:request AS uuid[]),
            CAST(:tr AS text[]), CAST(:tp AS text[]), CAST(:ta AS text[]), CAST(:ar AS text[]), CAST(:ap AS text[]),
            CAST(:aa AS text[]), CAST(:purpose AS text[]), CAST(:quantity AS bigint[]), CAST(:blocks AS integer[]))
            AS n(id, source, acquirer, request, tr, tp, ta, ar, ap, aa, purpose, quantity, blocks)
          JOIN unnest(CAST(:id AS text[]), CAST(:deadline AS timestamptz[])) AS d(id, deadline) USING (id)
          ON CONFLICT (id) DO NOTHING
          RETURNING *
        ), seen AS (
          INSERT INTO transfer_viewer (viewer, created_at, transfer_id)
          SELECT DISTINCT v.viewer, i.created_at, i.id FROM inserted i
          LEFT JOIN link_registry r ON r.registry = i.transferring_registry AND r.link = i.source
          CROSS JOIN LATERAL (VALUES (i.source), (r.registry), (i.acquirer),
            (CASE WHEN i.acquirer IS NOT NULL THEN i.acquiring_registry END)) AS v(viewer)
          WHERE v.viewer IS NOT NULL
        ), noted AS (
          INSERT INTO transfer_event (transfer_id, version, state, event, at, entry_id)
          SELECT id, 1, :state, :event, :now, e.entry_id FROM inserted
          JOIN unnest(CAST(:id AS text[]), CAST(:entry AS bigint[])) AS e(id, entry_id) USING (id)
        )
        SELECT id FROM inserted
        """,
        {
            "id": [n.id for n in new],
            "source": [n.source for n in new],
            "acquirer": [n.acquirer for n in new],
            "request": [n.request for n in new],
            "tr": [n.transferring[0] for n in new],
            "tp": [n.transferring[1] for n in new],
            "ta": [n.transferring[2] for n in new],
            "ar": [n.acquiring[0] for n in new],
            "ap": [n.acquiring[1] for n in new],
            "aa": [n.acquiring[2] for n in new],
            "purpose": [n.purpose for n in new],
            "quantity": [n.quantity for n in new],
            "blocks": [n.block_count for n in new],
            "deadline": [n.deadline for n in new],
            "state": begun.state.value,
            "outcome": begun.outcome.value if begun.outcome else None,
            "event": event.value,
            "entry": [n.entry_id for n in new],
            "now": now,
        },
    )
    return {r.id for r in found}


async def apply(tx: db.Tx, changes: Sequence[Change], now: datetime) -> set[str]:
    """Write ``changes``, each only if its row is still in the state (R3) and version (R4) it was read in; the ids."""
    parameters: dict[str, Any] = {
        "id": [c.row.id for c in changes],
        "was": [c.row.state.value for c in changes],
        "version": [c.row.version for c in changes],
        "state": [c.after.state.value for c in changes],
        "outcome": [c.after.outcome.value if c.after.outcome else None for c in changes],
        "findings": [json.dumps([*c.row.findings, *c.findings]) for c in changes],
        "next_at": [c.next_at for c in changes],
        "event": [c.event.value for c in changes],
        "entry": [c.entry_id for c in changes],
        "now": now,
    }
    parameters |= {column: [c.messages.get(column) for c in changes] for column in MESSAGE_COLUMNS}
    named = ", ".join(f"{column} = coalesce(c.{column}, t.{column})" for column in MESSAGE_COLUMNS)
    arrays = ", ".join(f"CAST(:{column} AS uuid[])" for column in MESSAGE_COLUMNS)
    found = await db.rows(
        tx,
        f"""
        WITH c AS (
          SELECT * FROM unnest(CAST(:id AS text[]), CAST(:was AS text[]), CAST(:version AS integer[]),
            CAST(:state AS text[]), CAST(:outcome AS text[]), CAST(:findings AS text[]),
            CAST(:next_at AS timestamptz[]), CAST(:event AS text[]), CAST(:entry AS bigint[]), {arrays})
            AS c(id, was, version, state, outcome, findings, next_at, event, entry_id, {", ".join(MESSAGE_COLUMNS)})
        ), changed AS (
          UPDATE transfer t SET state = c.state, version = t.version + 1, outcome = c.outcome,
            findings = CAST(c.findings AS jsonb), {named}, attempts = 0, next_at = c.next_at, leased_until = NULL,
            leased_by = NULL, waiting = NULL, changed_at = :now
          FROM c WHERE t.id = c.id AND t.state = c.was AND t.version = c.version
          RETURNING t.id, t.version, t.state, c.event, c.entry_id
        ), noted AS (
          INSERT INTO transfer_event (transfer_id, version, state, event, at, entry_id)
          SELECT id, version, state, event, :now, entry_id FROM changed
        )
        SELECT id FROM changed
        """,
        parameters,
    )
    return {r.id for r in found}


async def name_messages(tx: db.Tx, changes: Sequence[Change]) -> None:
    """Let rows that were inserted in this transaction name what was said as they began, and when they are due."""
    if not changes:
        return
    named = ", ".join(f"{column} = c.{column}" for column in MESSAGE_COLUMNS)
    arrays = ", ".join(f"CAST(:{column} AS uuid[])" for column in MESSAGE_COLUMNS)
    await db.execute(
        tx,
        f"""
        UPDATE transfer t SET {named}, next_at = c.next_at, findings = CAST(c.findings AS jsonb)
        FROM unnest(CAST(:id AS text[]), CAST(:next_at AS timestamptz[]), CAST(:findings AS text[]), {arrays})
          AS c(id, next_at, findings, {", ".join(MESSAGE_COLUMNS)})
        WHERE t.id = c.id AND t.version = 1
        """,
        {
            "id": [c.row.id for c in changes],
            "next_at": [c.next_at for c in changes],
            "findings": [json.dumps(list(c.findings)) for c in changes],
            **{column: [c.messages.get(column) for c in changes] for column in MESSAGE_COLUMNS},
        },
    )


async def add_steps(tx: db.Tx, steps: Sequence[Step]) -> None:
    """Keep statements; one that is kept already, by (transfer, step), stays (R24)."""
    await db.execute(
        tx,
        """
        INSERT INTO transfer_step (transfer_id, step, item, sha256, entry_id)
        SELECT * FROM unnest(CAST(:id AS text[]), CAST(:step AS text[]), CAST(:item AS text[]),
                             CAST(:sha AS bytea[]), CAST(:entry AS bigint[]))
        ON CONFLICT DO NOTHING
        """,
        {
            "id": [s.transfer for s in steps],
            "step": [s.step for s in steps],
            "item": [s.item for s in steps],
            "sha": [s.sha256 for s in steps],
            "entry": [s.entry_id for s in steps],
        },
    )


async def steps(tx: db.Tx | db.ReadTx, ids: Iterable[str], names: Sequence[str]) -> dict[tuple[str, str], Step]:
    """The statements kept under ``names`` for these transfers, by (transfer, step)."""
    found = await db.rows(
        tx,
        """
        SELECT transfer_id, step, item, sha256, entry_id FROM transfer_step
        WHERE transfer_id = ANY(CAST(:ids AS text[])) AND step = ANY(CAST(:names AS text[]))
        """,
        {"ids": list(ids), "names": list(names)},
    )
    kept = (Step(*values) for values in map(list[Any], found))
    return {(step.transfer, step.step): step for step in kept}


async def tell(tx: db.Tx, ids: Sequence[str], *, source: bool, now: datetime) -> None:
    """Note that the source (or else the acquirer) has acknowledged the final state of these transfers."""
    column, other = ("told_source_at", "told_acquirer_at") if source else ("told_acquirer_at", "told_source_at")
    untold = "closed_acquirer_id" if source else "closed_source_id"
    done = f"({untold} IS NULL OR {other} IS NOT NULL)"  # nobody else is to be told
    await db.execute(
        tx,
        f"""
        UPDATE transfer SET {column} = :now,
          next_at = CASE WHEN {done} THEN NULL ELSE next_at END,
          leased_until = CASE WHEN {done} THEN NULL ELSE leased_until END,
          leased_by = CASE WHEN {done} THEN NULL ELSE leased_by END,
          waiting = CASE WHEN {done} THEN NULL ELSE waiting END,
          attempts = CASE WHEN {done} THEN 0 ELSE attempts END
        WHERE id = ANY(CAST(:ids AS text[])) AND {column} IS NULL
        """,
        {"ids": list(ids), "now": now},
    )


def row_of(r: Any) -> Row:
    """A row as ``COLUMNS`` select it: in the order of the members of ``Row``."""
    values = list(r)
    values[_STATE] = State(values[_STATE])
    values[_OUTCOME] = Outcome(values[_OUTCOME]) if values[_OUTCOME] else None
    values[_FINDINGS] = json.loads(values[_FINDINGS])
    return Row(*values)


_MEMBERS = [member.name for member in fields(Row)]
_STATE, _OUTCOME, _FINDINGS = map(_MEMBERS.index, ("state", "outcome", "findings"))
