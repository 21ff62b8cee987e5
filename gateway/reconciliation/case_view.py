"""Reads cases for people and machines: lists, one case with its steps, and the units in it, page by page.

A case is seen by the people of the registry whose book it is about and of its link, by those of the Parties concerned,
and by the gateway's own. One about units that a registry claims and the book has elsewhere (4007) is seen by those who
have them, too: of its units these, and of its trail what is in their own books. Nothing here changes anything.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any

from gateway import db
from gateway.domain.callers import Sight
from gateway.domain.identifiers import LinkCode, RegistryCode
from gateway.domain.units import Origin, UnitRange
from gateway.holdings.book import OVERLAP
from gateway.reconciliation import proposals
from gateway.reconciliation.case_store import Source, State
from gateway.reconciliation.classify import for_its_people

#: Most rows of one page.
MAX_PAGE = 500
#: What ends a difference, by its code; of another, what ends an inconsistency of Article 6.2.
PROPOSED: Mapping[str, str] = MappingProxyType(
    {
        "4007": "the registry takes the units out of its books, or the other one does and two persons correct the book",
        "6301": "the registry tells how it got the units, or two persons correct the book by its signed word",
        "6302": "the registry restores the units, or a transfer, use or cancellation that was not told is told",
        "6303": "the registry corrects the attributes, or two persons correct the book by its signed word",
        "6304": "the registry moves the units back or tells their use or cancellation, or two persons correct the book",
        "6401": "the registry tells the transfer, or ends it",
        "6402": "the registry asks for what it has not heard of the transfer, and is told",
    }
)
BY_SUBMISSION = "the Party corrects it by a new version of its submission, or explains it"


@dataclass(frozen=True, slots=True)
class Shown:
    """A case as it stands; ``findings`` are the ranges of units in it, ``quantity`` their units in tonnes."""

    id: str
    source: Source
    check_id: str
    registry: str | None
    link: str | None
    parties: Sequence[str]
    effect: bool
    flag: str | None
    reconciliation: str | None
    detail: str
    state: State
    version: int
    opened_at: datetime
    notified_at: datetime | None
    due: datetime | None
    responded_at: datetime | None
    response: str | None
    corrected_by: str | None
    closed_at: datetime | None
    findings: int
    quantity: int

    @property
    def proposed(self) -> str:
        """What would end it."""
        return PROPOSED.get(self.check_id, BY_SUBMISSION)


@dataclass(frozen=True, slots=True)
class Finding:
    """Units of a case with their states in both books; ``left_by`` is the entry by which they left it.

    ``proposed``: what would make these equal; None where no reconciliation found them.
    """

    id: int
    origin_registry: str
    series: str
    first: int
    last: int
    here: str | None
    there: str | None
    detail: str
    opened_by: int
    left_by: int | None
    proposed: str | None


@dataclass(frozen=True, slots=True)
class Event:
    """A step: who took the case to which state, what they said, and the entry of the log."""

    version: int
    event: str
    state: State
    at: datetime
    by: str
    detail: str
    entry_id: int


@dataclass(frozen=True, slots=True)
class Moved:
    """What an entry of the log did to units of a case in the gateway's book: *opened* or *closed* a position.

    ``message`` is the signed message of that entry, from ``peer``, where it was one.
    """

    entry_id: int
    at: datetime
    kind: str
    message: str | None
    peer: str | None
    what: str
    origin_registry: str
    series: str
    first: int
    last: int
    registry: str
    party: str
    account_type: int


#: Whether a case ``c`` concerns who asks in all it has.
_CONCERNED = """
  (CAST(:sight AS text) IS NULL OR CAST(:sight AS text) IN (c.registry, c.link)
   OR CAST(:sight_party AS text) = ANY(c.parties))
"""
#: Whether a position ``x`` is in the books of who asks.
_OWN = """
  (x.registry IN (SELECT r.registry FROM link_registry r WHERE CAST(:sight AS text) IN (r.registry, r.link))
   OR x.party = CAST(:sight_party AS text))
"""
#: Whether who asks has units ``b`` of a case ``c`` that another registry claims, since before it did.
_HELD = f"""
  (c.check_id = '4007' AND EXISTS (SELECT FROM position x
     WHERE x.closed_by IS NULL AND {OVERLAP} AND x.opened_by <= b.opened_by AND {_OWN}))
"""
_SHOWN = f"""
  SELECT c.id, c.source, c.check_id, c.registry, c.link, c.parties, c.effect, c.flag, c.reconciliation, c.detail,
         c.state, c.version, c.opened_at, c.notified_at, c.due, c.responded_at, c.response, c.corrected_by,
         c.closed_at, u.findings, u.quantity
  FROM inconsistency_case c CROSS JOIN LATERAL (
    SELECT count(*) AS findings, coalesce(sum(u.last - u.first + 1), 0) AS quantity
    FROM case_unit u WHERE u.case_id = c.id AND u.closed_by IS NULL) AS u
  WHERE ({_CONCERNED} OR (c.check_id = '4007' AND EXISTS (SELECT FROM case_unit b WHERE b.case_id = c.id AND {_HELD})))
"""


async def find(tx: db.Tx | db.ReadTx, sight: Sight, case: str) -> Shown | None:
    """One case, if it is seen."""
    found = await db.one(tx, f"{_SHOWN} AND c.id = :case", {"case": case, **sight.parameters})
    return _shown(found) if found else None


async def listing(
    tx: db.ReadTx, sight: Sight, *, state: State | None, source: Source | None, registry: str | None, limit: int,
    before: Shown | None,
) -> list[Shown]:  # fmt: skip
    """Cases that are seen, newest first, from the one after ``before`` on; at most ``MAX_PAGE``."""
    found = await db.rows(
        tx,
        f"""
        {_SHOWN} AND (CAST(:state AS text) IS NULL OR c.state = :state)
          AND (CAST(:source AS text) IS NULL OR c.source = :source)
          AND (CAST(:registry AS text) IS NULL OR c.registry = :registry)
          AND (CAST(:at AS timestamptz) IS NULL OR (c.opened_at, c.id) < (:at, CAST(:before AS text)))
        ORDER BY c.opened_at DESC, c.id DESC LIMIT :limit
        """,
        {
            **sight.parameters,
            "state": state.value if state else None,
            "source": source.value if source else None,
            "registry": registry,
            "at": before.opened_at if before else None,
            "before": before.id if before else None,
            "limit": min(limit, MAX_PAGE),
        },
    )
    return [_shown(r) for r in found]


async def findings(tx: db.ReadTx, sight: Sight, case: str, *, after: int, limit: int) -> list[Finding]:
    """The units that are or were in a case, which the caller has found to be seen, in the order they came into it.

    Whoever is bound to a registry is not told who else has them.
    """
    found = await db.rows(
        tx,
        f"""
        SELECT b.id, s.registry AS origin_registry, s.series, b.first, b.last, b.here, b.there, b.detail, b.opened_by,
               b.closed_by AS left_by, c.registry, c.check_id
        FROM case_unit b JOIN inconsistency_case c ON c.id = b.case_id JOIN unit_series s ON s.id = b.series_id
        WHERE b.case_id = :case AND b.id > :after AND ({_CONCERNED} OR {_HELD}) ORDER BY b.id LIMIT :limit
        """,
        {"case": case, "after": after, "limit": min(limit, MAX_PAGE), **sight.parameters},
    )
    return [_finding(r, sight) for r in found]


async def events(tx: db.Tx | db.ReadTx, case: str) -> list[Event]:
    """The last steps of a case, which the caller has found to be seen; at most ``MAX_PAGE``, in order."""
    found = await db.rows(
        tx,
        """
        SELECT * FROM (
          SELECT version, event, state, at, by, detail, entry_id FROM case_event WHERE case_id = :case
          ORDER BY version DESC LIMIT :limit) AS e ORDER BY version
        """,
        {"case": case, "limit": MAX_PAGE},
    )
    return [Event(**{**r._mapping, "state": State(r.state)}) for r in found]


async def trail(tx: db.ReadTx, sight: Sight, case: str, *, since: datetime | None, limit: int) -> list[Moved]:
    """The last movements, since a moment, of the units in a case, which the caller has found to be seen; newest first.

    Whoever is bound to a registry is shown what happened in the book that the case is about, not where else units were.
    """
    found = await db.rows(
        tx,
        f"""
        SELECT e.id AS entry_id, e.at, e.kind, CAST(m.message_id AS text) AS message, m.peer, w.what,
               s.registry AS origin_registry, s.series, w.first, w.last, w.registry, w.party, w.account_type
        FROM (
          SELECT DISTINCT x.id, k.what, k.entry_id, x.series_id, x.first, x.last, x.registry, x.party, x.account_type
          FROM case_unit b JOIN inconsistency_case c ON c.id = b.case_id
          JOIN position x ON x.series_id = b.series_id AND {OVERLAP}
          CROSS JOIN LATERAL (VALUES ('opened', x.opened_by), ('closed', x.closed_by)) AS k(what, entry_id)
          WHERE b.case_id = :case AND k.entry_id IS NOT NULL
            AND (CAST(:sight AS text) IS NULL OR CASE WHEN {_CONCERNED} THEN x.registry = c.registry ELSE {_OWN} END)
        ) AS w
        JOIN log_entry e ON e.id = w.entry_id JOIN unit_series s ON s.id = w.series_id
        LEFT JOIN message m ON m.entry_id = e.id
        WHERE CAST(:since AS timestamptz) IS NULL OR e.at >= :since
        ORDER BY e.id DESC, w.what, w.first LIMIT :limit
        """,
        {"case": case, "since": since, "limit": min(limit, MAX_PAGE), **sight.parameters},
    )
    return [Moved(**r._mapping) for r in found]


async def last_clean(tx: db.ReadTx, case: str) -> datetime | None:
    """At which cut the book of a case was last found equal (5, 6) before the case was opened; None: never."""
    found = await db.one(
        tx,
        """
        SELECT max(r.cut_at) AS at FROM inconsistency_case c
        JOIN reconciliation r ON r.link = c.link AND r.status IN (5, 6) AND r.ended_at < c.opened_at
        JOIN reconciliation_book k ON k.reconciliation_id = r.id AND k.registry = c.registry
        WHERE c.id = :case
        """,
        {"case": case},
    )
    return found.at if found else None


async def transactions(tx: db.ReadTx, names: Sequence[tuple[str, str]]) -> dict[tuple[str, str], tuple[datetime, int]]:
    """Of transactions by registry and id, those that the gateway knows: when each was, and the entry that says so."""
    found = await db.rows(
        tx,
        """
        WITH n AS (SELECT DISTINCT * FROM unnest(CAST(:registry AS text[]), CAST(:name AS text[])) AS n(registry, name))
        SELECT n.registry, n.name, a.at, a.entry_id FROM n
        JOIN action a ON a.registry = n.registry AND a.action = n.name
        UNION ALL
        SELECT n.registry, n.name, CAST(CAST(s.item AS jsonb) ->> 'released_at' AS timestamptz), s.entry_id
        FROM n JOIN transfer t ON t.id = n.name AND t.transferring_registry = n.registry
        JOIN transfer_step s ON s.transfer_id = t.id AND s.step = 'released'
        """,
        {"registry": [registry for registry, _ in names], "name": [name for _, name in names]},
    )
    return {(r.registry, r.name): (r.at, r.entry_id) for r in found}


def _finding(r: Any, sight: Sight) -> Finding:
    said = dict(r._mapping)
    registry, check_id = said.pop("registry"), said.pop("check_id")
    if sight.code is not None and registry is not None and check_id is not None:
        said["detail"] = for_its_people(registry, check_id, said["detail"])
    units = UnitRange(Origin(RegistryCode(LinkCode(r.origin_registry)), r.series), r.first, r.last)
    return Finding(**said, proposed=proposals.proposed(check_id, registry, units, r.here, r.there))


def _shown(r: Any) -> Shown:
    return Shown(**{**r._mapping, "source": Source(r.source), "state": State(r.state), "quantity": int(r.quantity)})
