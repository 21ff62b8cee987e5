"""Reads transfers for people and machines: lists, one transfer with its whole course, and the books' totals.

Nothing here changes anything, and nothing here is on the relay's path.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import DateTime, tuple_
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel, col, select

from gateway import db
from gateway.domain.transfers import State
from gateway.errors import GatewayError, Kind

#: Most rows of one page.
MAX_PAGE = 500


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


@dataclass(frozen=True, slots=True)
class Course:
    """One transfer with everything that happened to it."""

    transfer: TransferRow
    blocks: list[dict[str, Any]]
    events: list[dict[str, Any]]
    messages: list[dict[str, Any]]


async def listing(
    tx: db.ReadTx, *, state: str | None = None, limit: int = 50, before: str | None = None
) -> list[TransferRow]:
    """The newest transfers first, from the one after ``before`` on; at most ``MAX_PAGE``."""
    statement = select(TransferRow).order_by(col(TransferRow.created_at).desc(), col(TransferRow.id).desc())
    if state is not None:
        statement = statement.where(TransferRow.state == state)
    if before is not None:
        edge = (await tx.execute(select(TransferRow.created_at).where(TransferRow.id == before))).scalar_one_or_none()
        if edge is None:
            raise GatewayError(Kind.NOT_FOUND, f"there is no transfer {before}", code=3001)
        place = tuple_(col(TransferRow.created_at), col(TransferRow.id))
        statement = statement.where(place < tuple_(edge, before))
    found = (await tx.execute(statement.limit(min(limit, MAX_PAGE)))).all()
    return [TransferRow.model_validate(dict(r._mapping)) for r in found]


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


async def course(tx: db.ReadTx, transfer: str) -> Course:
    """One transfer; raises NOT_FOUND with 3001."""
    found = (await tx.execute(select(TransferRow).where(TransferRow.id == transfer))).first()
    if found is None:
        raise GatewayError(Kind.NOT_FOUND, f"there is no transfer {transfer}", code=3001)
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
        TransferRow.model_validate(dict(found._mapping)),
        [dict(r._mapping) for r in blocks],
        [dict(r._mapping) for r in events],
        [dict(r._mapping) for r in said],
    )


async def tally(tx: db.ReadTx) -> dict[str, int]:
    """How many transfers stand in each state."""
    found = await db.rows(tx, "SELECT state, count(*) AS number FROM transfer GROUP BY state")
    return {r.state: int(r.number) for r in found}
