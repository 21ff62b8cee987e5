"""Reads the log for auditors: entries in windows of their ids, and what a question is narrowed down by beforehand.

A window is a bounded number of candidates, next to each other along one index; of these the entries that meet the
question and may be seen are given, with where the window ends. So a question that matches little costs many short
statements and never a long one. What is seen is decided here, in SQL: everything by who sees everything; by others the
messages of their own link, what is about transfers they see, and what their own registry told or was told. Nothing here
changes anything.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

from gateway import db
from gateway.audit import store as published
from gateway.domain.callers import Sight
from gateway.transfers.viewers import SEEN

#: Kinds of entries of messages that say codes, and of those refused without being kept; what else says codes has rows.
SAYING_CODES = ("refused", "refusal", "receipt")
#: The entries of one transfer or unit, or of one code, that a question is narrowed down to at most.
MAX_ABOUT = 100_000


class Along(Enum):
    """Which index the candidates are taken from."""

    #: The entries that were found beforehand.
    ABOUT = "about"
    #: The entries of some kinds, and those found beforehand.
    KINDS = "kinds"
    #: The messages of one peer, for who may see all of them.
    PEER = "peer"
    #: The log itself.
    LOG = "log"


@dataclass(frozen=True, slots=True)
class Question:
    """What entries are asked for, by whom, as far as SQL judges it; ``None`` asks for nothing in particular.

    ``about``: only entries among these, which are about ``transfers`` and ``actions``. ``coded``: the entries by which
    a code was given, beside messages whose own words must be read; ``requested``: those of what ``actor`` asked for.
    ``own``: the link whose messages are the caller's.
    """

    sight: Sight
    along: Along
    until_entry: int
    about: tuple[int, ...] | None = None
    transfers: tuple[str, ...] = ()
    actions: tuple[int, ...] = ()
    kinds: tuple[str, ...] = ()
    coded: tuple[int, ...] | None = None
    code: int | None = None
    actor: str | None = None
    requested: tuple[int, ...] = ()
    own: str | None = None
    link: str | None = None
    type: str | None = None
    party: str | None = None
    party_links: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    oldest_first: bool = False


@dataclass(frozen=True, slots=True)
class Window:
    """What was found among some candidates; ``end`` is the last candidate's entry, None when there are no more."""

    rows: Sequence[Any]
    end: int | None


async def window(tx: db.ReadTx, asked: Question, edge: int | None, *, candidates: int, limit: int) -> Window:
    """The entries among the next ``candidates`` after ``edge`` (None: from the beginning), at most ``limit``."""
    begin = edge if edge is not None else (0 if asked.oldest_first else 2**63 - 1)
    found = await db.rows(tx, statement(asked), _parameters(asked, begin, candidates, limit))
    rows = [row for row in found if row.id is not None]
    if len(rows) == limit:
        return Window(rows, rows[-1].id)
    extent = found[0]
    last = extent.high if asked.oldest_first else extent.low
    return Window(rows, last if extent.number == candidates else None)


def statement(asked: Question) -> str:
    """The statement of a window: its candidates, what they are about as far as that matters, and what is shown."""
    order = "ASC" if asked.oldest_first else "DESC"
    bound = asked.sight.code is not None and asked.along is not Along.PEER  # who may go along a peer sees all of it
    relating = bound or asked.party is not None
    wanted = {_SEEN_ENTRY: bound, _SHOWN: bound and asked.actor is not None, _OF_PARTY: asked.party is not None}
    conditions = [*_plain(asked), *(condition for condition, applies in wanted.items() if applies)]
    return f"""
      WITH span AS MATERIALIZED ({_span(asked, order)}),
      extent AS MATERIALIZED (SELECT min(id) AS low, max(id) AS high, count(*) AS number FROM span)
      {_touching(asked) if relating else ""}
      SELECT x.low, x.high, x.number, f.* FROM extent x LEFT JOIN LATERAL (
        SELECT e.id, e.at, e.kind, e.leaf, e.leaf_hash, l.leaf_index, CAST(m.message_id AS text) AS message,
               m.type, m.direction, m.peer, m.seq, CAST(m.in_reply_to AS text) AS in_reply_to, m.sha256,
               CASE WHEN {_SHOWN if bound else "true"} THEN r.record END AS record,
               CASE WHEN {_SHOWN if bound else "true"} THEN r.salt END AS salt,
               {"CASE WHEN e.kind = ANY(CAST(:saying AS text[])) THEN m.body END" if asked.code else "NULL"} AS body
        FROM span JOIN log_entry e ON e.id = span.id
        LEFT JOIN log_record r ON r.entry_id = e.id LEFT JOIN message m ON m.entry_id = e.id
        LEFT JOIN log_leaf l ON l.entry_id = e.id
        WHERE {" AND ".join(conditions) or "true"}
        ORDER BY e.id {order} LIMIT :limit
      ) AS f ON true ORDER BY f.id {order}
    """


def _span(asked: Question, order: str) -> str:
    """The candidates, in order."""
    beyond = ">" if asked.oldest_first else "<"

    def keyset(table: str, name: str, condition: str) -> str:
        return f"""SELECT {name} AS id FROM {table} WHERE {condition} AND {name} {beyond} :edge
          AND {name} <= :until_entry ORDER BY {name} {order} LIMIT :candidates"""

    # Which of two ways leads there sooner, over the ids or by the times, PostgreSQL knows from its statistics.
    times = {"log_entry.at >= :since": asked.since, "log_entry.at < :until": asked.until}
    timely = " AND ".join(["true", *(condition for condition, moment in times.items() if moment is not None)])
    found = f"({keyset('unnest(CAST(:candidates_about AS bigint[])) AS a(id)', 'a.id', 'true')})"
    kinds = f"""SELECT k.id FROM unnest(CAST(:kinds AS text[])) AS w(kind)
      CROSS JOIN LATERAL ({keyset("log_entry", "log_entry.id", f"log_entry.kind = w.kind AND {timely}")}) AS k"""
    several = {
        Along.ABOUT: found,
        Along.KINDS: f"{kinds} UNION {found}",
        Along.PEER: f"({keyset('message', 'message.entry_id', 'message.peer = :link')}) UNION {kinds}",
        Along.LOG: f"({keyset('log_entry', 'log_entry.id', timely)})",
    }[asked.along]
    return f"SELECT id FROM ({several}) AS c ORDER BY id {order} LIMIT :candidates"


#: Of an entry without a kept message, who it came from; the log writes its records in one way only.
_REFUSED_FROM = "(e.kind = 'refused' AND position(convert_to('\"peer\":\"' || {} || '\"', 'UTF8') IN r.record) > 0)"


def _plain(asked: Question) -> list[str]:
    """The conditions on an entry ``e``, its record ``r`` and its message ``m`` that need nothing else."""
    wanted = {
        "e.id = ANY(CAST(:about AS bigint[]))": asked.about is not None and asked.along is not Along.ABOUT,
        f"(m.peer = :link OR {_REFUSED_FROM.format(':link')})": asked.link is not None,
        "e.kind = :type": asked.type is not None,
        "e.at >= :since": asked.since is not None,
        "e.at < :until": asked.until is not None,
        _MAY_SAY: asked.code is not None,
        "(e.id = ANY(CAST(:requested AS bigint[])) OR position(convert_to(:actor, 'UTF8') IN r.record) > 0)": (
            asked.actor is not None
        ),
    }
    return [condition for condition, applies in wanted.items() if applies]


#: Whether an entry may have given a code: what its message says is read by the caller, if the digits are there at all.
_MAY_SAY = """(
  e.id = ANY(CAST(:coded AS bigint[])) OR e.kind = 'refusal'
  OR (e.kind = 'refused' AND position(convert_to(:digits, 'UTF8') IN r.record) > 0)
  OR (e.kind = 'receipt' AND position(convert_to(:digits, 'UTF8') IN m.body) > 0))"""


def _touching(asked: Question) -> str:
    """Which transfers the candidates are about; of these, who sees them or whose they are."""

    def near(table: str, name: str, columns: str) -> str:
        known = f"{name} = ANY(CAST(:{table.partition('_')[0]}s AS {'text' if name == 'transfer_id' else 'bigint'}[]))"
        within = known if asked.along is Along.ABOUT else "entry_id BETWEEN x.low AND x.high"
        return f"""SELECT n.* FROM extent x CROSS JOIN LATERAL (
          SELECT {columns} FROM {table} WHERE {within} OFFSET 0) AS n"""

    steps, events = (
        near(table, "transfer_id", "entry_id, transfer_id") for table in ("transfer_step", "transfer_event")
    )
    told = f"SELECT a.entry_id FROM ({near('action', 'id', 'entry_id, registry, item')}) AS a WHERE "
    return f"""
      , touching AS MATERIALIZED (
        SELECT p.entry_id, p.transfer_id FROM ({steps} UNION {events}) AS p WHERE p.entry_id IN (SELECT id FROM span)
      ), seen AS MATERIALIZED (
        SELECT p.entry_id FROM touching p JOIN transfer t ON t.id = p.transfer_id WHERE {SEEN}
        UNION {told} a.registry = CAST(:sight AS text)
      ), concerned AS MATERIALIZED (
        SELECT p.entry_id FROM touching p JOIN transfer t ON t.id = p.transfer_id
        WHERE CAST(:party AS text) IN (t.transferring_party, t.acquiring_party) OR EXISTS (
          SELECT FROM transfer_viewer v
          WHERE v.viewer = :party AND v.created_at = t.created_at AND v.transfer_id = t.id)
        UNION {told} position('"' || CAST(:party AS text) || '"' IN a.item) > 0
      )
    """


_SEEN_ENTRY = f"""(
  m.peer = :own OR {_REFUSED_FROM.format("CAST(:own AS text)")} OR e.id IN (SELECT entry_id FROM seen)
  OR EXISTS (SELECT FROM action_record n
             WHERE n.message_id IN (m.message_id, m.in_reply_to) AND n.section = :sight))"""
#: What concerns a Party: the link of its registry, transfers between it and others or of its units, what is told or
#: recorded of its units, and what is said of its authorisations.
_OF_PARTY = """(
  m.peer = ANY(CAST(:party_links AS text[])) OR e.id IN (SELECT entry_id FROM concerned)
  OR EXISTS (SELECT FROM action_record n
             WHERE n.message_id IN (m.message_id, m.in_reply_to) AND n.party = :party)
  OR e.id IN (
    SELECT v.entry_id FROM authorisation a JOIN authorisation_version v ON v.authorisation_id = a.id
    WHERE a.party = :party
    UNION ALL SELECT v.entry_id FROM authorisation a JOIN authorisation_revocation v ON v.authorisation_id = a.id
    WHERE a.party = :party
    UNION ALL SELECT h.entry_id FROM host_statement h WHERE h.party = :party))"""
#: Whether the record of an entry that is seen is shown too: that of a message says nothing but hashes; who decided on a
#: transfer, and why, is for the people of its source.
_SHOWN = """(m.entry_id IS NOT NULL OR e.kind = 'refused' OR (e.kind LIKE 'transfer.%' AND EXISTS (
  SELECT FROM touching p JOIN transfer t ON t.id = p.transfer_id
  LEFT JOIN link_registry g ON g.registry = t.transferring_registry AND g.link = t.source
  WHERE p.entry_id = e.id AND CAST(:sight AS text) IN (t.source, g.registry))))"""


def _parameters(asked: Question, edge: int, candidates: int, limit: int) -> Mapping[str, Any]:
    found = (*(asked.coded or ()), *asked.requested) if asked.along is Along.KINDS else asked.about
    return {
        "edge": edge,
        "until_entry": asked.until_entry,
        "candidates": candidates,
        "limit": limit,
        "candidates_about": list(found or ()),
        "about": list(asked.about or ()),
        "transfers": list(asked.transfers),
        "actions": list(asked.actions),
        "kinds": list(asked.kinds),
        "coded": list(asked.coded or ()),
        "saying": list(SAYING_CODES),
        "digits": str(asked.code),
        "actor": asked.actor,
        "requested": list(asked.requested),
        "own": asked.own,
        "link": asked.link,
        "type": asked.type,
        "party": asked.party,
        "party_links": list(asked.party_links),
        "since": asked.since,
        "until": asked.until,
        **asked.sight.parameters,
    }


async def newest(tx: db.ReadTx) -> int:
    """The id of the newest entry; 0 for an empty log."""
    found = await db.one(tx, "SELECT coalesce(max(id), 0) AS id FROM log_entry")
    assert found is not None
    return int(found.id)


async def checkpoint(tx: db.ReadTx) -> tuple[int, str] | None:
    """Size and signed note of the newest published checkpoint; nothing while none is published."""
    found = await published.latest(tx)
    return (found.size, found.note) if found else None


async def own_link(tx: db.ReadTx, sight: Sight) -> str | None:
    """The link whose messages are all the caller's: the one they are bound to, or that only their registry is behind.

    Behind one link there may be the sections of many Parties, whose messages are not each other's.
    """
    found = await db.one(
        tx,
        """
        SELECT code FROM link WHERE code = :sight
        UNION ALL SELECT r.link FROM link_registry r WHERE r.registry = :sight AND NOT EXISTS (
          SELECT FROM link_registry o WHERE o.link = r.link AND o.registry <> r.registry)
        LIMIT 1
        """,
        {"sight": sight.code},
    )
    return str(found.code) if found is not None else None


async def links_of(tx: db.ReadTx, party: str) -> list[str]:
    """The links behind which are books of this Party and of nobody else."""
    found = await db.rows(
        tx, "SELECT link FROM link_registry GROUP BY link HAVING every(party = :party)", {"party": party}
    )
    return [r.link for r in found]


async def seen_transfers(tx: db.ReadTx, sight: Sight, transfers: Sequence[str]) -> list[str]:
    """Which of these transfers there are, and are seen."""
    found = await db.rows(
        tx,
        f"SELECT t.id FROM transfer t WHERE t.id = ANY(CAST(:ids AS text[])) AND {SEEN} ORDER BY t.id",
        {"ids": list(transfers), **sight.parameters},
    )
    return [r.id for r in found]


async def entries_of_transfers(tx: db.ReadTx, transfers: Sequence[str]) -> list[int]:
    """The entries about transfers: what was said of them, the answers to that, what was decided, and alarms."""
    found = await db.rows(
        tx,
        """
        WITH said AS (SELECT entry_id FROM transfer_step WHERE transfer_id = ANY(CAST(:ids AS text[])))
        SELECT entry_id FROM said
        UNION SELECT k.answer FROM said JOIN message m USING (entry_id)
          JOIN replay_key k ON k.sender = m.peer AND k.message_id = m.message_id
          WHERE m.direction = 'in' AND k.answer IS NOT NULL
        UNION SELECT entry_id FROM transfer_event WHERE transfer_id = ANY(CAST(:ids AS text[]))
        UNION SELECT entry_id FROM alarm WHERE transfer_id = ANY(CAST(:ids AS text[]))
        LIMIT :most
        """,
        {"ids": list(transfers), "most": MAX_ABOUT},
    )
    return [r.entry_id for r in found]


async def coded(tx: db.ReadTx, code: int) -> list[int]:
    """The entries by which a code was given to a transfer, a record or an alarm.

    ``transfer.findings`` has those of transfers, which were given with the state they led to; ``action_record`` what
    the international registry refused with; ``alarm`` its own. What is refused otherwise is said in messages alone.
    """
    found = await db.rows(
        tx,
        """
        WITH judged AS (
          SELECT id FROM transfer WHERE findings <> '[]' AND findings @> CAST(:finding AS jsonb) LIMIT :most
        )
        SELECT v.entry_id FROM judged JOIN transfer_event v ON v.transfer_id = judged.id
        WHERE v.state IN ('ending', 'refused', 'rejected', 'cancelled', 'delayed', 'attention')
        UNION SELECT entry_id FROM alarm WHERE code = :code
        UNION SELECT answered_by FROM action_record
          WHERE state = 'refused' AND findings @> CAST(:finding AS jsonb) AND answered_by IS NOT NULL
        LIMIT :most
        """,
        {"code": code, "finding": f'[{{"code": {int(code)}}}]', "most": MAX_ABOUT},
    )
    return [r.entry_id for r in found]


async def kinds(tx: db.ReadTx, of_messages: Sequence[str]) -> list[str]:
    """The kinds of the log's entries but those of messages: each found by one look into the index."""
    found = await db.rows(
        tx,
        """
        WITH RECURSIVE known AS (
          (SELECT kind FROM log_entry ORDER BY kind LIMIT 1)
          UNION ALL
          SELECT (SELECT e.kind FROM log_entry e WHERE e.kind > known.kind ORDER BY e.kind LIMIT 1) FROM known
          WHERE known.kind IS NOT NULL
        )
        SELECT kind FROM known WHERE kind IS NOT NULL AND kind <> ALL(CAST(:messages AS text[]))
        """,
        {"messages": list(of_messages)},
    )
    return [r.kind for r in found]


async def requests_of(tx: db.ReadTx, actor: str) -> list[int]:
    """The entries of messages that ask for transfers in the name of an actor."""
    found = await db.rows(
        tx,
        """
        SELECT m.entry_id FROM transfer_request q JOIN message m ON m.message_id = q.message_id
        WHERE q.caller = :actor LIMIT :most
        """,
        {"actor": actor, "most": MAX_ABOUT},
    )
    return [r.entry_id for r in found]
