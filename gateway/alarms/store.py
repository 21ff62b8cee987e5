"""Rows of alarms: who said what about which transfer, and the log entry of the message that is the evidence.

An alarm changes no transfer and delays none: persons look at it, and at the link it flags. The same alarm about the
same transfer is raised once, however often the registry repeats itself; each of its messages is in the log.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from gateway import db

#: Most alarms of one page.
MAX_PAGE = 500


@dataclass(frozen=True, slots=True)
class Alarm:
    """What is to be looked at: ``link`` is the registry whose message raised it, in log entry ``entry_id``."""

    link: str
    transfer: str
    code: int
    detail: str
    entry_id: int


@dataclass(frozen=True, slots=True)
class Raised(Alarm):
    """An alarm as it was raised."""

    id: int
    at: datetime


async def sound(tx: db.Tx, alarms: Sequence[Alarm], now: datetime) -> None:
    """Raise ``alarms``; those raised before stay as they are."""
    if not alarms:
        return
    await db.execute(
        tx,
        """
        INSERT INTO alarm (at, link, transfer_id, code, detail, entry_id)
        SELECT :now, a.* FROM unnest(CAST(:link AS text[]), CAST(:transfer AS text[]), CAST(:code AS integer[]),
                                     CAST(:detail AS text[]), CAST(:entry AS bigint[])) AS a
        ON CONFLICT DO NOTHING
        """,
        {
            "now": now,
            "link": [a.link for a in alarms],
            "transfer": [a.transfer for a in alarms],
            "code": [a.code for a in alarms],
            "detail": [a.detail for a in alarms],
            "entry": [a.entry_id for a in alarms],
        },
    )


async def listing(
    tx: db.ReadTx, *, link: str | None = None, limit: int = 50, before: int | None = None
) -> list[Raised]:
    """Alarms, newest first, those of one link where one is named; at most ``MAX_PAGE``, from below ``before`` on."""
    found = await db.rows(
        tx,
        """
        SELECT link, transfer_id AS transfer, code, detail, entry_id, id, at FROM alarm
        WHERE (CAST(:link AS text) IS NULL OR link = :link) AND (CAST(:before AS bigint) IS NULL OR id < :before)
        ORDER BY id DESC LIMIT :limit
        """,
        {"link": link, "before": before, "limit": min(limit, MAX_PAGE)},
    )
    return [Raised(**r._mapping) for r in found]


async def counts(tx: db.ReadTx) -> dict[str, int]:
    """How many alarms each link has raised; a link without any is left out."""
    found = await db.rows(tx, "SELECT link, count(*) AS number FROM alarm GROUP BY link")
    return {r.link: int(r.number) for r in found}
