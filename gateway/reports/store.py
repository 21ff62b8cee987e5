"""Reads what units are accounted for: the actions of both Parties' views, and what counts in a Party's account.

Nothing here changes anything. An action is shown to the people of its sides' registries, and where its units are ITMOs
to those of the Party that first transferred them; an account is its own Party's.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime

from gateway import db
from gateway.domain.callers import Sight
from gateway.reports.adjustments import Movement

#: Most movements of one page; each is one action or one of either side.
MAX_PAGE = 500
#: Most causes that figures are explained by in one answer.
MAX_EXPLAINED = 10_000


@dataclass(frozen=True, slots=True)
class Action:
    """An action of ``party``, in ``registry``, as that Party reports it.

    ``movement`` is the row that it shares with the counterparty's action; ``year`` that of a use towards the NDC;
    ``entry_id`` the log entry of the message that completed it.
    """

    movement: int
    type: str
    subtype: str | None
    at: datetime
    party: str
    registry: str
    counterparty: str | None
    counterparty_registry: str | None
    quantity: int
    cause: str
    purpose: str | None
    entity: str | None
    year: int | None
    first_transferring_party: str
    vintage: int
    metric: str
    cooperative_approach: str
    authorisation: str | None
    authorisation_version: int | None
    entry_id: int


_COLUMNS = ", ".join(f"a.{field.name}" for field in fields(Action))
#: Which movements ``m`` are asked for; of those, which actions ``a`` of the two sides are.
_ASKED = """
  (CAST(:before AS bigint) IS NULL OR m.id < :before)
  AND (CAST(:party AS text) IS NULL OR :party IN (m.party, m.acquiring_party)
       OR (m.first_transfer AND m.type IN ('Use', 'Cancellation') AND m.first_transferring_party = :party))
  AND (CAST(:since AS timestamptz) IS NULL OR (m.at >= :since AND m.at < :until)
       OR (m.acquired_at >= :since AND m.acquired_at < :until))
"""
_OF_THESE = """
  (CAST(:party AS text) IS NULL OR a.party = :party)
  AND (CAST(:since AS timestamptz) IS NULL OR (a.at >= :since AND a.at < :until))
"""
_NEWEST = f"SELECT m.id FROM unit_movement m WHERE {{whose}} AND {_ASKED} ORDER BY m.id DESC LIMIT :limit"
#: Each side's in the order they are shown in, so that who sees few reads few.
_MINE = " UNION ".join(
    f"SELECT x.id FROM link_registry r CROSS JOIN LATERAL ({_NEWEST.format(whose=f'm.{side} = r.registry')}) AS x"
    " WHERE :sight IN (r.registry, r.link)"
    for side in ("registry", "acquiring_registry")
)
_OF_MY_ITMOS = _NEWEST.format(whose="m.first_transferring_party = :sight_party AND m.first_transferred")


async def actions(
    tx: db.ReadTx,
    sight: Sight,
    *,
    party: str | None = None,
    year: int | None = None,
    limit: int = 50,
    before: int | None = None,
) -> tuple[list[Action], int | None]:
    """Actions seen, newest first, of one Party or calendar year (UTC) where it is named; from below ``before`` on.

    Of at most ``limit`` movements. With them what ``before`` is for those that follow, if there may be any.
    """
    seen = _NEWEST.format(whose="true") if sight.code is None else f"{_MINE} UNION ({_OF_MY_ITMOS})"
    number = min(limit, MAX_PAGE)
    found = await db.rows(
        tx,
        f"""
        WITH page AS (SELECT id FROM ({seen}) AS s ORDER BY id DESC LIMIT :limit)
        SELECT page.id, {_COLUMNS} FROM page LEFT JOIN party_action a ON a.movement = page.id AND {_OF_THESE}
        ORDER BY page.id DESC, a.side
        """,
        {"party": party, "before": before, "limit": number, **_span(year), **sight.parameters},
    )
    listed = [Action(**{k: v for k, v in r._mapping.items() if k != "id"}) for r in found if r.movement is not None]
    return listed, found[-1].id if len({r.id for r in found}) == number else None


def _span(year: int | None) -> Mapping[str, datetime | None]:
    if year is None:
        return {"since": None, "until": None}
    return {"since": datetime(year, 1, 1, tzinfo=UTC), "until": datetime(year + 1, 1, 1, tzinfo=UTC)}


_LIKE = "type, party, first_transferring_party, vintage, metric, purpose, year, first_transfer, first_transferred"


async def movements(
    tx: db.ReadTx, sight: Sight, *, party: str | None = None, explained: bool = False
) -> tuple[list[Movement], list[Movement]]:
    """What counts in the accounts of a Party, or of all that are seen: summed up, and if ``explained`` by cause.

    By cause are at most ``MAX_EXPLAINED``, the newest. Both are of one moment. Raises FORBIDDEN (8001) for the account
    of another Party than the caller's, to whom not everything is shown.
    """
    if sight.code is not None and party not in (None, sight.party):
        raise sight.absent("no account of that Party is shown", 8001)
    whose = party if sight.code is None else sight.party
    if sight.code is not None and whose is None:
        return [], []
    of = "" if whose is None else "= :party"
    found = await db.rows(
        tx,
        f"""
        WITH counted AS MATERIALIZED (
          SELECT * FROM unit_movement
          WHERE (first_transferred AND first_transfer AND first_transferring_party {of or "IS NOT NULL"})
             OR (type = 'Use' AND party {of or "IS NOT NULL"})
        ), by_cause AS (
          SELECT {_LIKE}, sum(quantity) AS quantity, cause FROM counted WHERE :explained GROUP BY {_LIKE}, cause
          ORDER BY max(id) DESC LIMIT :most
        )
        SELECT {_LIKE}, sum(quantity) AS quantity, CAST(NULL AS text) AS cause FROM counted GROUP BY {_LIKE}
        UNION ALL SELECT * FROM by_cause
        """,
        {"explained": explained, "most": MAX_EXPLAINED, **({"party": whose} if whose is not None else {})},
    )
    read = [Movement(**{**r._mapping, "quantity": int(r.quantity)}) for r in found]
    return [m for m in read if m.cause is None], [m for m in read if m.cause is not None]
