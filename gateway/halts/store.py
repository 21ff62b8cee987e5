"""Rows of halts: one at a time, each lifted once."""

from dataclasses import dataclass
from datetime import datetime

from gateway import db


@dataclass(frozen=True, slots=True)
class Halt:
    """A halt that is not lifted: why, by whom and since when."""

    id: int
    reason: str
    by: str
    at: datetime


async def halt_alone(tx: db.Tx) -> None:
    """Wait for what has looked and seen no halt, and let nobody look until ``tx`` ends."""
    await db.rows(tx, "SELECT pg_advisory_xact_lock(6, 0)")


async def halted(tx: db.Tx) -> str | None:
    """Why the gateway is halted, if it is; no halt begins before ``tx`` ends."""
    found = await db.one(tx, "SELECT reason FROM halted()")
    return str(found.reason) if found else None


async def now(tx: db.Tx | db.ReadTx) -> Halt | None:
    """The halt that is not lifted, as it is seen without a lock."""
    found = await db.one(tx, "SELECT id, reason, by, at FROM halt WHERE lifted_by IS NULL")
    return Halt(**found._mapping) if found else None


async def insert(tx: db.Tx, reason: str, by: str, at: datetime, entry_id: int) -> Halt:
    """Insert a halt."""
    found = await db.one(
        tx,
        "INSERT INTO halt (reason, by, at, entry_id) VALUES (:reason, :by, :at, :entry) RETURNING id, reason, by, at",
        {"reason": reason, "by": by, "at": at, "entry": entry_id},
    )
    assert found is not None  # an INSERT gives back its row
    return Halt(**found._mapping)


async def lift(tx: db.Tx, halt: int, entry_id: int) -> None:
    """Write that a halt is lifted."""
    await db.execute(tx, "UPDATE halt SET lifted_by = :entry WHERE id = :id", {"id": halt, "entry": entry_id})
