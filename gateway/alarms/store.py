"""Rows of alarms: who said what about which transfer, and the log entry of the message that is the evidence.

An alarm changes no transfer and delays none: persons look at it, and at the link it flags. The same alarm about the
same transfer is raised once, however often the registry repeats itself; each of its messages is in the log.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from gateway import db
from gateway.domain.callers import Sight

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


#: The alarms ``a`` that are seen: those one's own link has raised, those about a transfer one sees, and those about a
#: record of one's own section.
_SEEN = """
  alarm a LEFT JOIN transfer t ON t.id = a.transfer_id
  WHERE (CAST(:sight AS text) IS NULL OR a.link = :sight
    OR EXISTS (SELECT FROM transfer_viewer v WHERE v.viewer IN (CAST(:sight AS text), CAST(:sight_party AS text))
               AND v.created_at = t.created_at AND v.transfer_id = t.id)
    OR EXISTS (SELECT FROM action_record r WHERE r.cause = a.transfer_id AND r.state = 'refused'
               AND r.link = a.link AND r.section = :sight))
"""


async def listing(
    tx: db.ReadTx, sight: Sight, *, link: str | None = None, limit: int = 50, before: int | None = None
) -> list[Raised]:
    """Alarms seen, newest first, of one link where one is named; at most ``MAX_PAGE``, from below ``before`` on."""
    found = await db.rows(
        tx,
        f"""
        SELECT a.link, a.transfer_id AS transfer, a.code, a.detail, a.entry_id, a.id, a.at FROM {_SEEN}
        AND (CAST(:link AS text) IS NULL OR a.link = :link) AND (CAST(:before AS bigint) IS NULL OR a.id < :before)
        ORDER BY a.id DESC LIMIT :limit
        """,
        {"link": link, "before": before, "limit": min(limit, MAX_PAGE), **sight.parameters},
    )
    return [Raised(**r._mapping) for r in found]


async def counts(tx: db.ReadTx, sight: Sight) -> dict[str, int]:
    """How many of the alarms seen each link has raised; a link without any is left out."""
    found = await db.rows(tx, f"SELECT a.link, count(*) AS number FROM {_SEEN} GROUP BY a.link", sight.parameters)
    return {r.link: int(r.number) for r in found}
