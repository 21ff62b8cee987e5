"""Rows of runs: which there are, what is due of each and when, and who does it now.

A run's row is the job, and a link that is reconciled always has one that has not ended. A lease saves work and nothing
else: what a run has come to is written only by who holds it, out of the state it was in, so that two who do one run
write one result. Nobody deletes a run.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from gateway import db
from gateway.links.lifecycle import Window
from gateway.messages.outbox import LONGEST_WAIT_SECONDS, Wait


class State(StrEnum):
    """Where a run stands."""

    PLANNED = "planned"
    """Its time has not come. Next: the cut is announced."""
    ANNOUNCED = "announced"
    """The registry knows of the cut, or is still to be told. Next: at the cut's moment the books are marked."""
    MARKED = "marked"
    """Nothing new begins with the books. Next: both cuts are taken and the mark goes, in the end by its time."""
    TAKEN = "taken"
    """Both cuts are known. Next: they are compared, and the run ends."""
    ENDED = "ended"
    """It has its result, which the registry is told until it receipts it."""


@dataclass(frozen=True, slots=True)
class Run:
    """A run as it is leased; what is not known yet is None."""

    id: str
    link: str
    state: State
    announce_seconds: int
    whole: bool
    attempts: int
    cut: str | None
    cut_at: datetime | None
    fence: int | None
    mark_id: int | None
    size: int | None
    answer: str | None
    taken_at: datetime | None
    told: int | None
    cuts: int


@dataclass(frozen=True, slots=True)
class Unplanned:
    """A link that is reconciled and has no run: when its last one ended, and its transfer window."""

    link: str
    ended_at: datetime | None
    window: Window | None


@dataclass(frozen=True, slots=True)
class Planned:
    """A run to be: from when on it is due."""

    id: str
    link: str
    next_at: datetime


#: How long books are left alone whose mark stood for too long: what waited for it goes on meanwhile.
UNMARKED_SECONDS = 10.0
#: Links ``l`` that are reconciled.
OPEN = "l.state = 'active' AND 'reconcile' = ANY(l.capabilities)"
#: Runs ``r`` that somebody should go on with now.
_DUE = f"""
  reconciliation r JOIN link l ON l.code = r.link
  WHERE {OPEN} AND r.next_at <= :now AND (r.leased_until IS NULL OR r.leased_until <= :now)
"""
_MISSING = f"""
  link l WHERE {OPEN} AND NOT EXISTS (SELECT FROM reconciliation r WHERE r.link = l.code AND r.ended_at IS NULL)
"""
#: Runs whose mark has stood for too long.
_OVERDUE = "reconciliation r WHERE r.state = 'marked' AND r.marked_until <= :now"
_COLUMNS = """
  CAST(r.id AS text) AS id, r.link, r.state, r.announce_seconds, r.whole, r.attempts, CAST(r.cut AS text) AS cut,
  r.cut_at, r.fence, r.mark_id, r.size, r.answer, r.taken_at, r.told, r.cuts"""


async def look(tx: db.ReadTx, now: datetime) -> bool:
    """Whether a run is due, or is to be planned, or has marked books for too long."""
    found = await db.one(
        tx,
        f"""
        SELECT EXISTS (SELECT FROM {_DUE}) OR EXISTS (SELECT FROM {_MISSING})
          OR EXISTS (SELECT FROM {_OVERDUE}) AS any
        """,
        {"now": now},
    )
    assert found is not None  # EXISTS always says something
    return bool(found.any)


async def unplanned(tx: db.Tx) -> list[Unplanned]:
    """Links that have no run."""
    found = await db.rows(
        tx,
        f"""
        SELECT l.code, l.window_opens, l.window_closes,
          (SELECT max(r.ended_at) FROM reconciliation r WHERE r.link = l.code AND r.ended_at IS NOT NULL) AS ended_at
        FROM {_MISSING} ORDER BY l.code
        """,
    )
    windows = {r.code: Window(r.window_opens, r.window_closes) for r in found if r.window_opens is not None}
    return [Unplanned(r.code, r.ended_at, windows.get(r.code)) for r in found]


async def plan(tx: db.Tx, runs: Sequence[Planned], announce_seconds: int) -> None:
    """Plan runs; a link for which somebody did it meanwhile has its run."""
    await db.execute(
        tx,
        """
        INSERT INTO reconciliation (id, link, announce_seconds, next_at)
        SELECT p.id, p.link, :announce, p.at
        FROM unnest(CAST(:ids AS uuid[]), CAST(:links AS text[]), CAST(:ats AS timestamptz[])) AS p(id, link, at)
        ON CONFLICT DO NOTHING
        """,
        {
            "ids": [r.id for r in runs],
            "links": [r.link for r in runs],
            "ats": [r.next_at for r in runs],
            "announce": announce_seconds,
        },
    )


async def open_run(tx: db.Tx, link: str) -> tuple[str, State, bool] | None:
    """Lock the run of a link that has not ended; its id, where it stands, and whether it makes books anew."""
    found = await db.one(
        tx,
        """
        SELECT CAST(id AS text) AS id, state, whole FROM reconciliation
        WHERE link = :link AND ended_at IS NULL FOR NO KEY UPDATE
        """,
        {"link": link},
    )
    return (found.id, State(found.state), found.whole) if found else None


async def bring_forward(tx: db.Tx, run: str, by: str, announce_seconds: int, whole: bool, now: datetime) -> bool:
    """Let a planned run, which the caller has locked, begin now; False if a worker is beginning it as it was."""
    done = await db.execute(
        tx,
        """
        UPDATE reconciliation SET next_at = :now, asked_by = :by, announce_seconds = :announce, whole = :whole
        WHERE id = :id AND state = 'planned' AND leased_by IS NULL
        """,
        {"id": run, "now": now, "by": by, "announce": announce_seconds, "whole": whole},
    )
    return bool(done.rowcount)


async def lease_due(tx: db.Tx, worker: str, now: datetime, until: datetime, *, but: Sequence[str]) -> Run | None:
    """Lease the run that is due longest, but none of those that are under way here still, whoever had leased them."""
    found = await db.one(
        tx,
        f"""
        WITH due AS (
          SELECT r.id FROM {_DUE} AND r.id <> ALL(CAST(:but AS uuid[]))
          ORDER BY r.next_at LIMIT 1 FOR UPDATE OF r SKIP LOCKED
        )
        UPDATE reconciliation r SET leased_until = :until, leased_by = :worker, attempts = r.attempts + 1
        FROM due WHERE r.id = due.id RETURNING {_COLUMNS}
        """,
        {"but": list(but), "worker": worker, "now": now, "until": until},
    )
    return _run(found) if found else None


def _run(r: Any) -> Run:
    return Run(**{**r._mapping, "state": State(r.state)})


async def take_over(tx: db.Tx, now: datetime) -> None:
    """Free what workers that are gone have leased (``db.ALIVE``)."""
    await db.execute(
        tx,
        f"""
        UPDATE reconciliation SET leased_until = NULL, leased_by = NULL
        WHERE leased_until > :now AND leased_by <> ALL({db.ALIVE})
        """,
        {"now": now},
    )


async def keep_on(tx: db.Tx, run: Run, worker: str, until: datetime) -> bool:
    """Go on with a run; False if another does it by now, or if its link is not open for it any more."""
    done = await db.execute(
        tx,
        f"""
        UPDATE reconciliation SET leased_until = :until WHERE id = :id AND leased_by = :worker AND state = :state
          AND EXISTS (SELECT FROM link l WHERE l.code = link AND {OPEN})
        """,
        {"id": run.id, "worker": worker, "state": run.state.value, "until": until},
    )
    return bool(done.rowcount)


async def announce(tx: db.Tx, run: Run, worker: str, cut: str, at: datetime, fence: int, now: datetime) -> bool:
    """Note a cut that is to be announced, ``fence`` being the size of the tree before; False if another has the run."""
    done = await db.execute(
        tx,
        """
        UPDATE reconciliation SET state = 'announced', status = 1, cut = :cut, cut_at = :at, fence = :fence,
          begun_at = coalesce(begun_at, :now), cuts = cuts + 1, waiting = NULL,
          attempts = CASE WHEN state = 'planned' THEN 0 ELSE attempts END
        WHERE id = :id AND leased_by = :worker AND state = :state
        """,
        {
            **{"id": run.id, "worker": worker, "state": run.state.value},
            **{"cut": cut, "at": at, "fence": fence, "now": now},
        },
    )
    return bool(done.rowcount)


async def rest(tx: db.Tx, run: Run, worker: str, until: datetime) -> None:
    """Leave a run alone until the moment of its cut; until one was taken the tries begin anew then."""
    await db.execute(
        tx,
        """
        UPDATE reconciliation SET leased_until = NULL, leased_by = NULL, waiting = NULL, next_at = :until,
          attempts = CASE WHEN taken_at IS NULL THEN 0 ELSE attempts END
        WHERE id = :id AND leased_by = :worker AND state = 'announced'
        """,
        {"id": run.id, "worker": worker, "until": until},
    )


async def mark(tx: db.Tx, run: Run, worker: str, entry_id: int, until: datetime) -> bool:
    """Note that the books of a run are marked by an entry, until then at most; False if another has the run."""
    done = await db.execute(
        tx,
        """
        UPDATE reconciliation SET state = 'marked', mark_id = :entry, marked_until = :until
        WHERE id = :id AND leased_by = :worker AND state = 'announced'
        """,
        {"id": run.id, "worker": worker, "entry": entry_id, "until": until},
    )
    return bool(done.rowcount)


async def sequenced(tx: db.ReadTx, entry_id: int) -> int | None:
    """The size of the tree that ends with an entry, once that is in it."""
    found = await db.one(tx, "SELECT leaf_index FROM log_leaf WHERE entry_id = :id", {"id": entry_id})
    return int(found.leaf_index) + 1 if found else None


async def take(
    tx: db.Tx, run: Run, worker: str, size: int, answer: str, taken_at: datetime, told: int, now: datetime
) -> bool:
    """Note both cuts: our tree's size, and what the registry signed; False if the mark is gone or the run another's.

    The tries begin anew with the first cut only: a book that cannot be compared at any is given up.
    """
    done = await db.execute(
        tx,
        """
        UPDATE reconciliation SET state = 'taken', status = 2, marked_until = NULL, size = :size, answer = :answer,
          taken_at = :taken, told = :told, waiting = NULL, next_at = :now,
          attempts = CASE WHEN taken_at IS NULL THEN 0 ELSE attempts END
        WHERE id = :id AND leased_by = :worker AND state = 'marked'
        """,
        {
            **{"id": run.id, "worker": worker, "size": size, "answer": answer},
            **{"taken": taken_at, "told": told, "now": now},
        },
    )
    return bool(done.rowcount)


async def progress(tx: db.Tx, run: Run, worker: str, status: int) -> None:
    """Show what a run that is under way has come to, as a number of the Kyoto log."""
    await db.execute(
        tx,
        "UPDATE reconciliation SET status = :status WHERE id = :id AND leased_by = :worker AND state = 'taken'",
        {"id": run.id, "worker": worker, "status": status},
    )


async def unmark(tx: db.Tx, run: Run, worker: str) -> bool:
    """Note that the books of a run are not marked any more: their cut was not taken. False if another has the run."""
    done = await db.execute(
        tx,
        """
        UPDATE reconciliation SET state = 'announced', marked_until = NULL
        WHERE id = :id AND leased_by = :worker AND state = 'marked'
        """,
        {"id": run.id, "worker": worker},
    )
    return bool(done.rowcount)


async def unmark_overdue(tx: db.Tx, now: datetime) -> list[tuple[str, str]]:
    """The same of every run whose mark has stood for too long, whoever has it; their ids and links."""
    found = await db.rows(
        tx,
        f"""
        WITH due AS (SELECT r.id FROM {_OVERDUE} ORDER BY r.id FOR UPDATE SKIP LOCKED)
        UPDATE reconciliation r SET state = 'announced', marked_until = NULL, leased_until = NULL, leased_by = NULL,
          next_at = greatest(r.next_at, CAST(:now AS timestamptz) + :rest * interval '1 second')
        FROM due WHERE r.id = due.id RETURNING CAST(r.id AS text) AS id, r.link
        """,
        {"now": now, "rest": UNMARKED_SECONDS},
    )
    return [(r.id, r.link) for r in found]


async def wait(tx: db.Tx, run: Run, wait: Wait) -> None:
    """Put off a run: the wait doubles with each try that brought nothing, up to the longest."""
    await db.execute(
        tx,
        """
        UPDATE reconciliation SET leased_until = NULL, leased_by = NULL, waiting = :why,
          next_at = CAST(:now AS timestamptz)
            + greatest(:floor, least(:longest, power(2, least(greatest(attempts, 1), 16) - 1))) * interval '1 second'
        WHERE id = :id AND leased_by = :worker AND ended_at IS NULL
        """,
        {
            **{"id": run.id, "worker": wait.lease.worker, "now": wait.now, "why": wait.why},
            **{"floor": wait.floor_seconds, "longest": LONGEST_WAIT_SECONDS},
        },
    )


async def hold(tx: db.Tx, run: Run, worker: str) -> bool:
    """Lock a run that is about to be ended; False if another has it."""
    found = await db.one(
        tx,
        """
        SELECT 1 AS mine FROM reconciliation
        WHERE id = :id AND leased_by = :worker AND state = :state FOR NO KEY UPDATE
        """,
        {"id": run.id, "worker": worker, "state": run.state.value},
    )
    return found is not None


async def last_remarks(tx: db.Tx, link: str) -> list[str]:
    """The remarks of the last run of a link for which a cut was taken."""
    found = await db.one(
        tx,
        """
        SELECT remarks FROM reconciliation WHERE link = :link AND ended_at IS NOT NULL AND taken_at IS NOT NULL
        ORDER BY ended_at DESC LIMIT 1
        """,
        {"link": link},
    )
    return list(found.remarks) if found else []


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended, by which message the registry is told, and what it took."""

    status: int
    result_id: str
    entry_id: int
    remarks: Sequence[str]
    round_trips: int
    sent: int
    received: int


async def end(tx: db.Tx, run: Run, worker: str, ending: Ending, now: datetime) -> bool:
    """End a run; False if another has it, or has ended it."""
    done = await db.execute(
        tx,
        """
        UPDATE reconciliation SET state = 'ended', status = :status, result_id = :result, entry_id = :entry,
          remarks = CAST(:remarks AS jsonb), round_trips = :rounds, bytes_sent = :sent, bytes_received = :received,
          ended_at = :now, next_at = NULL, leased_until = NULL, leased_by = NULL, waiting = NULL
        WHERE id = :id AND leased_by = :worker AND state = :state
        """,
        {
            **{"id": run.id, "worker": worker, "state": run.state.value, "status": ending.status, "now": now},
            **{"result": ending.result_id, "entry": ending.entry_id, "remarks": json.dumps(list(ending.remarks))},
            **{"rounds": ending.round_trips, "sent": ending.sent, "received": ending.received},
        },
    )
    return bool(done.rowcount)


async def told_by(tx: db.Tx, message_id: str) -> str | None:
    """The link that a message tells of a result, or nothing."""
    found = await db.one(tx, "SELECT link FROM reconciliation WHERE result_id = :id", {"id": message_id})
    return found.link if found else None
