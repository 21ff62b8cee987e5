"""Reads transfers for people and machines: lists, one transfer with its whole course, and how many stand where.

Each takes the sight of who asks, and shows what that sees (``viewers``). Nothing here changes anything, and nothing
here is on the relay's path.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import DateTime
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from gateway import db
from gateway.domain.callers import Sight
from gateway.domain.transfers import State
from gateway.errors import GatewayError
from gateway.transfers.viewers import SEEN

#: Most rows of one page, and how many are few.
MAX_PAGE, FEW = 500, 50


class TransferRow(SQLModel, table=True):
    """A transfer as it is shown; the relay's own view of the same table is ``store.Row``."""

    __tablename__ = "transfer"

    id: str = Field(primary_key=True)
    source: str
    acquirer: str | None
    transferring_registry: str
    transferring_party: str
    transferring_account: str
    acquiring_registry: str
    acquiring_party: str
    acquiring_account: str
    purpose: str
    quantity: int
    state: str
    version: int
    outcome: str | None
    findings: list[dict[str, Any]] = Field(sa_type=JSONB)
    deadline: datetime = Field(sa_type=DateTime(timezone=True))
    attempts: int
    next_at: datetime | None = Field(sa_type=DateTime(timezone=True))
    waiting: str | None
    created_at: datetime = Field(sa_type=DateTime(timezone=True))
    changed_at: datetime = Field(sa_type=DateTime(timezone=True))

    @property
    def next_action(self) -> str:
        """Who acts next, and on what."""
        return NEXT_ACTION[State(self.state)].format(source=self.source, acquirer=self.acquirer or "the acquirer")


#: What happens next in each state, for a person who asks why a transfer stands where it does.
NEXT_ACTION: dict[State, str] = {
    State.PROPOSED: "the gateway checks the proposal",
    State.DELAYED: "the checks start again when the units are free of a reconciliation or window",
    State.CHECKED: "{acquirer} answers the offer",
    State.ACCEPTED: "the gateway stores the commit",
    State.COMMITTING: "{source} releases or voids; nothing else can end it now",
    State.RELEASED: "{acquirer} credits the units",
    State.ENDING: "{source} confirms that the units stay",
    State.COMPLETED: "none: the units are at {acquirer}",
    State.REFUSED: "none: the units stayed at {source}",
    State.REJECTED: "none: the units stayed at {source}",
    State.CANCELLED: "none: the units stayed at {source}",
    State.ATTENTION: "persons at {source} and {acquirer} settle it by signed statements",
}


#: What is selected of a transfer ``t`` to make a ``TransferRow`` of it.
_COLUMNS = ", ".join(f"t.{name}" for name in TransferRow.model_fields)
_SEEN_BY = "SELECT transfer_id FROM transfer_viewer WHERE viewer IN (:sight, :sight_party)"


@dataclass(frozen=True, slots=True)
class Course:
    """One transfer with everything that happened to it."""

    transfer: TransferRow
    blocks: list[dict[str, Any]]
    events: list[dict[str, Any]]
    messages: list[dict[str, Any]]


async def listing(
    tx: db.ReadTx, sight: Sight, *, state: str | None = None, limit: int = 50, before: str | None = None
) -> list[TransferRow]:
    """The newest transfers seen first, from the one after ``before`` on; at most ``MAX_PAGE``.

    Raises as ``course`` does for a ``before`` that is not seen.
    """
    given = {"state": state, "limit": min(limit, MAX_PAGE), "before": before, **sight.parameters}
    if before is not None:
        found = await db.one(tx, f"SELECT t.created_at FROM transfer t WHERE t.id = :before AND {SEEN}", given)
        if found is None:
            raise _absent(sight, before)
        given["edge"] = found.created_at
    few = limit <= FEW
    statement = page(bound=sight.code is not None, few=few, of_state=state is not None, onward=before is not None)
    return [_shown(r, sight) for r in await db.rows(tx, statement, given)]


def page(*, bound: bool, few: bool, of_state: bool, onward: bool) -> str:
    """The statement of a listing: of what one code and its Party see, each read in the order it is shown in.

    That few rows are wanted is said in so many words: of a parameter the planner would not know it.
    """
    wanted = ["(v.created_at, v.transfer_id) < (:edge, :before)"] if onward else []
    wanted += ["t.state = :state"] if of_state else []

    def newest(viewers: str, *conditions: str) -> str:
        where = " AND ".join([*conditions, *wanted]) or "true"
        return f"""
          SELECT v.created_at, v.transfer_id FROM {viewers} WHERE {where}
          ORDER BY v.created_at DESC, v.transfer_id DESC LIMIT {FEW if few else MAX_PAGE}
        """

    if bound:
        joined = "transfer_viewer v" + (" JOIN transfer t ON t.id = v.transfer_id" if of_state else "")
        seen = " UNION ".join(f"({newest(joined, f'v.viewer = {name}')})" for name in (":sight", ":sight_party"))
    else:
        seen = newest("transfer t CROSS JOIN LATERAL (SELECT t.created_at, t.id AS transfer_id) AS v")
    return f"""
      SELECT {_COLUMNS} FROM (
        SELECT * FROM ({seen}) AS each ORDER BY created_at DESC, transfer_id DESC LIMIT :limit) AS seen
      JOIN transfer t ON t.id = seen.transfer_id ORDER BY t.created_at DESC, t.id DESC
    """


def _shown(row: Any, sight: Sight) -> TransferRow:
    values = dict(row._mapping)
    return TransferRow.model_validate(values | {"waiting": sight.why(values["waiting"])})


def _absent(sight: Sight, transfer: str) -> GatewayError:
    return sight.absent(f"there is no transfer {transfer}", 3001)


async def since(tx: db.Tx | db.ReadTx, link: str, moment: datetime) -> list[tuple[str, str]]:
    """Every transfer of a link that is open or has changed since ``moment``, with its state: what it must ask about."""
    found = await db.rows(
        tx,
        """
        SELECT id, state FROM transfer
        WHERE (source = :link OR acquirer = :link) AND (changed_at >= :moment OR next_at IS NOT NULL
          OR state NOT IN ('completed', 'refused', 'rejected', 'cancelled')) ORDER BY id
        """,
        {"link": link, "moment": moment},
    )
    return [(r.id, r.state) for r in found]


async def course(tx: db.ReadTx, sight: Sight, transfer: str) -> Course:
    """One transfer; raises FORBIDDEN 8001 where it is not seen or not there, NOT_FOUND 3001 to who sees everything."""
    found = await db.one(
        tx, f"SELECT {_COLUMNS} FROM transfer t WHERE t.id = :id AND {SEEN}", {"id": transfer, **sight.parameters}
    )
    if found is None:
        raise _absent(sight, transfer)
    blocks = await db.rows(
        tx,
        """
        SELECT s.registry, s.series, c.first, c.last, c.last - c.first + 1 AS quantity, c.released_by IS NULL AS claimed
        FROM claim c JOIN unit_series s ON s.id = c.series_id WHERE c.transfer_id = :id ORDER BY s.id, c.first
        """,
        {"id": transfer},
    )
    events = await db.rows(
        tx,
        "SELECT version, state, event, at, entry_id FROM transfer_event WHERE transfer_id = :id ORDER BY version",
        {"id": transfer},
    )
    said = await db.rows(
        tx,
        """
        SELECT s.step, m.direction, m.peer, m.type, CAST(m.message_id AS text) AS message, m.seq, m.at, m.entry_id
        FROM transfer_step s JOIN message m ON m.entry_id = s.entry_id
        WHERE s.transfer_id = :id ORDER BY m.entry_id
        """,
        {"id": transfer},
    )
    return Course(
        _shown(found, sight),
        [dict(r._mapping) for r in blocks],
        [dict(r._mapping) for r in events],
        [dict(r._mapping) for r in said],
    )


async def tally(tx: db.ReadTx, sight: Sight) -> dict[str, int]:
    """How many of the transfers seen stand in each state."""
    seen = "" if sight.code is None else f"WHERE t.id IN ({_SEEN_BY})"
    found = await db.rows(
        tx, f"SELECT t.state, count(*) AS number FROM transfer t {seen} GROUP BY t.state", sight.parameters
    )
    return {r.state: int(r.number) for r in found}
