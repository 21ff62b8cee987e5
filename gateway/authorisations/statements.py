"""What host Parties state of Article 6.4 activities: whether their A6.4ERs are authorised, and where they come from.

A host states that it authorises all or a part of an activity's units, none, or perhaps later (3/CMA.3 annex para 42, as
summarised publicly). The latest statement counts. One may say that the activity came over from another mechanism, the
Clean Development Mechanism say; that marks it, and decides nothing.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from gateway import db
from gateway.domain.actions import HostStatement
from gateway.domain.callers import Sight

#: Statements one call lists.
MAX_PAGE = 500


@dataclass(frozen=True, slots=True)
class Stated:
    """A statement as it is listed."""

    id: int
    party: str
    activity: str
    says: str
    transitioned_from: str | None
    at: datetime
    told_by: str
    entry_id: int


async def keep(tx: db.Tx, statements: Sequence[HostStatement], told_by: str, entry_id: int) -> None:
    """Keep statements."""
    await db.execute(
        tx,
        """
        INSERT INTO host_statement (party, activity, says, transitioned_from, at, told_by, entry_id)
        SELECT *, :told_by, :entry FROM unnest(
          CAST(:party AS text[]), CAST(:activity AS text[]), CAST(:says AS text[]), CAST(:came AS text[]),
          CAST(:at AS timestamptz[]))
        """,
        {
            "party": [s.party for s in statements],
            "activity": [s.activity for s in statements],
            "says": [s.says for s in statements],
            "came": [s.transitioned_from for s in statements],
            "at": [s.at for s in statements],
            "told_by": told_by,
            "entry": entry_id,
        },
    )


async def latest(tx: db.Tx, activities: Collection[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """What the latest statement says of each (Party, activity) of which there is one."""
    wanted = sorted(set(activities))
    if not wanted:
        return {}
    found = await db.rows(
        tx,
        """
        SELECT DISTINCT ON (party, activity) party, activity, says FROM host_statement
        JOIN unnest(CAST(:party AS text[]), CAST(:activity AS text[])) AS n(party, activity) USING (party, activity)
        ORDER BY party, activity, at DESC, id DESC
        """,
        {"party": [party for party, _ in wanted], "activity": [activity for _, activity in wanted]},
    )
    return {(r.party, r.activity): r.says for r in found}


async def listing(
    tx: db.ReadTx, sight: Sight, *, party: str | None = None, before: int | None = None, limit: int = 50
) -> list[Stated]:
    """Statements of the caller's Party, or told over the caller's link; newest first, those before ``before``."""
    found = await db.rows(
        tx,
        """
        SELECT s.id, s.party, s.activity, s.says, s.transitioned_from, s.at, s.told_by, s.entry_id FROM host_statement s
        WHERE (CAST(:party AS text) IS NULL OR s.party = :party)
          AND (CAST(:before AS bigint) IS NULL OR s.id < :before)
          AND (CAST(:sight AS text) IS NULL OR s.told_by = :sight OR s.party = CAST(:sight_party AS text)
               OR EXISTS (SELECT FROM link_registry k WHERE :sight IN (k.registry, k.link) AND k.party = s.party))
        ORDER BY s.id DESC LIMIT :limit
        """,
        {"party": party, "before": before, "limit": min(limit, MAX_PAGE), **sight.parameters},
    )
    return [Stated(r.id, r.party, r.activity, r.says, r.transitioned_from, r.at, r.told_by, r.entry_id) for r in found]
